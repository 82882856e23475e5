import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel, type MemoryKernelOptions } from '../../lib/testing.ts'

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const

async function open(options: MemoryKernelOptions = {}): Promise<{
  kernel: ReturnType<typeof createMemoryKernel>
  ipvs: Ipvs
}> {
  const kernel = createMemoryKernel(options)
  return { kernel, ipvs: await Ipvs.open({ transport: kernel }) }
}

describe('opening', () => {
  test('several Ipvs see one table, at the same time and one after the other', async () => {
    const { kernel, ipvs } = await open()
    const other = await Ipvs.open({ transport: kernel })
    await ipvs.addService(WEB)
    expect(await other.services()).toHaveLength(1)
    await ipvs.close()
    await other.addRealServer(WEB, { address: '10.1.0.1' })
    await other.close()
    await using third = await Ipvs.open({ transport: kernel })
    expect(await third.realServers(WEB)).toHaveLength(1)
  })

  test('a closed Ipvs is closed', async () => {
    const { ipvs } = await open()
    await ipvs.close()
    await expect(ipvs.info()).rejects.toMatchObject({ code: 'EBADF' })
  })

  test('another kernel is another table', async () => {
    const { ipvs } = await open()
    await ipvs.addService(WEB)
    expect(await (await open()).ipvs.services()).toEqual([])
  })

  test('options that do not exist, and values out of range, are refused', () => {
    expect(() => createMemoryKernel({ hertz: 100 } as MemoryKernelOptions)).toThrow("no option 'hertz'")
    expect(() => createMemoryKernel({ hz: 0 })).toThrow(RangeError)
    expect(() => createMemoryKernel({ hashSeed: 256 })).toThrow(RangeError)
    expect(() => createMemoryKernel({ sysctls: { nosuch: '1' } })).toThrow('net.ipv4.vs.nosuch')
  })
})

describe('probe', () => {
  test('finds what the kernel was made with, in a table of its own', async () => {
    const { kernel, ipvs } = await open({ schedulers: ['rr', 'mh'], persistenceEngines: [], ipv6: false })
    await ipvs.addService({ ...WEB, scheduler: 'rr' })
    expect(await Ipvs.probe({ transport: kernel })).toEqual({
      available: true,
      info: { version: '1.2.1', connectionTableSize: 4096 },
      ipv6: false,
      schedulers: ['rr', 'mh'],
      persistenceEngines: [],
      counters64: true,
      tunnelTypes: ['ipip', 'gue', 'gre'],
      mixedFamilies: true,
    })
    expect(await ipvs.services()).toHaveLength(1)
  })

  test('finds nothing where the module is absent', async () => {
    const kernel = createMemoryKernel({ loaded: false })
    expect(await Ipvs.probe({ transport: kernel })).toMatchObject({ available: false, schedulers: [] })
  })

  test('may not without privileges', async () => {
    const kernel = createMemoryKernel({ privileged: false })
    await expect(Ipvs.probe({ transport: kernel })).rejects.toMatchObject({
      code: 'EPERM',
      syscall: 'unshare',
    })
  })
})

describe('limits', () => {
  test('a scheduler or engine without a module is ENOENT, none needs none', async () => {
    const { ipvs } = await open({ schedulers: ['rr'], persistenceEngines: [] })
    await expect(ipvs.addService({ ...WEB, scheduler: 'wlc' })).rejects.toMatchObject({ code: 'ENOENT' })
    const engine = { ...WEB, scheduler: 'rr', persistenceEngine: 'sip' }
    await expect(ipvs.addService(engine)).rejects.toMatchObject({ code: 'ENOENT' })
    await ipvs.addService({ ...WEB, scheduler: 'none' })
    await ipvs.editService(WEB, { scheduler: 'rr' })
  })

  test('without privileges everything is EPERM, and works again with them', async () => {
    const { kernel, ipvs } = await open()
    kernel.privileged = false
    const calls = [ipvs.info(), ipvs.services(), ipvs.snapshot(), ipvs.addService(WEB), ipvs.syncDaemons()]
    for (const outcome of await Promise.allSettled(calls)) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'EPERM' } })
    }
    kernel.privileged = true
    expect(await ipvs.snapshot()).toEqual([])
  })

  test('without the module there is no IPVS, and an empty table when it comes back', async () => {
    const { kernel, ipvs } = await open()
    await ipvs.addService(WEB)
    kernel.loaded = false
    await expect(ipvs.services()).rejects.toMatchObject({ code: 'ENOENT', noFamily: true })
    await expect(ipvs.info()).rejects.toThrow('modprobe ip_vs')
    kernel.loaded = true
    expect(await ipvs.services()).toEqual([])
  })

  test('an address is refused where no interface is up, or is not unicast there', async () => {
    const { ipvs } = await open({ interfaces: [] })
    await ipvs.addService(WEB)
    await expect(ipvs.addRealServer(WEB, { address: '10.1.0.1' })).rejects.toMatchObject({ code: 'EINVAL' })
    const interfaces = [{ name: 'eth7', addresses: ['10.1.0.9/24', 'fe80::1/64'] }]
    const other = await open({ interfaces })
    await other.ipvs.addService(WEB)
    await other.ipvs.addRealServer(WEB, { address: '10.1.0.1' })
    await expect(other.ipvs.addRealServer(WEB, { address: '10.1.0.255' })).rejects.toMatchObject({
      code: 'EINVAL',
    })
    await other.ipvs.addRealServer(WEB, { address: 'fe80::1', method: 'tunnel' })
    const refused = { address: 'fe80::2', method: 'tunnel' } as const
    await expect(other.ipvs.addRealServer(WEB, refused)).rejects.toMatchObject({ code: 'EINVAL' })
  })

  test('the addresses of an interface that is down count for nothing', async () => {
    const interfaces = [{ name: 'd0', addresses: ['10.1.0.9/24'] }]
    for (const up of [true, false]) {
      const { ipvs } = await open({ interfaces: interfaces.map((one) => ({ ...one, up })) })
      await ipvs.addService(WEB)
      const added = ipvs.addRealServer(WEB, { address: '10.2.0.1' })
      if (up) await added
      else await expect(added).rejects.toMatchObject({ code: 'EINVAL' })
    }
  })

  test('a master sync daemon needs an interface that is up', async () => {
    const { ipvs } = await open({ interfaces: [{ name: 'd0', up: false }] })
    const daemon = { multicastInterface: 'd0' }
    await expect(ipvs.startSyncDaemon({ ...daemon, state: 'master' })).rejects.toMatchObject({
      code: 'ENETUNREACH',
    })
    await ipvs.startSyncDaemon({ ...daemon, state: 'backup' })
    expect(await ipvs.syncDaemons()).toMatchObject([{ state: 'backup', maxLengthBytes: 1472 }])
  })
})

describe('the log', () => {
  test('has what was asked, about what, what came of it, and what travelled together', async () => {
    const { kernel, ipvs } = await open()
    await Promise.allSettled([
      ipvs.addService({ ...WEB, address: '2001:DB8::1' }),
      ipvs.addRealServer(WEB, { address: '10.1.0.1' }),
    ])
    await ipvs.snapshot()
    const service = { ...WEB, address: '2001:db8::1' }
    expect(kernel.log).toEqual([
      { command: 'addService', call: 0, service },
      {
        command: 'addRealServer',
        call: 0,
        service: WEB,
        realServer: { address: '10.1.0.1', port: 80 },
        code: 'ESRCH',
      },
      { command: 'getService', call: 1 },
      { command: 'getRealServers', call: 1, service },
      { command: 'getService', call: 2, service },
    ])
    kernel.clearLog()
    await ipvs.deleteService({ protocol: 'fwmark', fwmark: 4 }).catch(() => undefined)
    const mark = { protocol: 'fwmark', fwmark: 4, family: 'ipv4' }
    expect(kernel.log).toEqual([{ command: 'deleteService', call: 3, service: mark, code: 'ESRCH' }])
  })
})

describe('faults', () => {
  test('the next request of a command fails, is not done, and the one after it is', async () => {
    const { kernel, ipvs } = await open()
    kernel.failNext({ command: 'addService', errno: 'ENOMEM', kernelMessage: 'no pages' })
    await ipvs.info()
    await expect(ipvs.addService(WEB)).rejects.toMatchObject({ code: 'ENOMEM', kernelMessage: 'no pages' })
    expect(await ipvs.services()).toEqual([])
    await ipvs.addService(WEB)
    expect(await ipvs.services()).toHaveLength(1)
  })

  test('come in their order, so often, by name or number; forgotten they do not come', async () => {
    const { kernel, ipvs } = await open()
    kernel.failNext({ errno: 12, times: 2 })
    kernel.failNext({ errno: 'EAGAIN' })
    for (const code of ['ENOMEM', 'ENOMEM', 'EAGAIN']) {
      await expect(ipvs.info()).rejects.toMatchObject({ code })
    }
    kernel.failNext({ errno: 'EIO' })
    kernel.clearFaults()
    await ipvs.info()
    expect(() => {
      kernel.failNext({ errno: 'ENOSUCH' })
    }).toThrow(RangeError)
    expect(() => {
      kernel.failNext({ errno: 'EIO', command: 'nosuch' as 'flush' })
    }).toThrow(TypeError)
  })

  test('ENOBUFS: the answer is lost, and the request done', async () => {
    const { kernel, ipvs } = await open()
    kernel.failNext({ command: 'addService', errno: 'ENOBUFS' })
    await expect(ipvs.addService(WEB)).rejects.toMatchObject({ code: 'ENOBUFS', syscall: 'recvmsg' })
    expect(await ipvs.services()).toHaveLength(1)
  })

  test('a dump fails as a whole', async () => {
    const { kernel, ipvs } = await open()
    await ipvs.addService(WEB)
    await ipvs.addRealServer(WEB, { address: '10.1.0.1' })
    kernel.failNext({ command: 'getRealServers', errno: 'ENOMEM' })
    await expect(ipvs.snapshot()).rejects.toMatchObject({ code: 'ENOMEM' })
    expect(await ipvs.snapshot()).toHaveLength(1)
  })

  test('an interrupted dump says so', async () => {
    const kernel = createMemoryKernel()
    const request = { command: 4, attributes: new Uint8Array(0) }
    kernel.interruptNextDump('getService')
    expect(await kernel.dump(request)).toMatchObject({ interrupted: true })
    expect(await kernel.dump(request)).toMatchObject({ interrupted: false })
  })

  test('a foreign writer between the two dumps of a snapshot makes a service vanish from it', async () => {
    const { kernel, ipvs } = await open()
    const other = await Ipvs.open({ transport: kernel })
    await ipvs.addService(WEB)
    kernel.beforeNext('getRealServers', () => other.deleteService(WEB))
    expect(await ipvs.snapshot()).toEqual([])
  })

  test('a foreign writer within a dump makes it miss entries, or repeat them', async () => {
    const { kernel, ipvs } = await open()
    const other = await Ipvs.open({ transport: kernel })
    await ipvs.addService(WEB)
    const servers = Array.from({ length: 40 }, (_, index) => ({ address: `10.1.0.${index + 1}` }))
    for (const server of servers) await ipvs.addRealServer(WEB, server)
    // The newest five are in the first piece: without them the next piece begins five later.
    kernel.duringNextDump('getRealServers', async () => {
      for (const server of servers.slice(-5)) await other.deleteRealServer(WEB, server)
    })
    const missing = (await ipvs.realServers(WEB)).map(({ address }) => address)
    expect(missing).toHaveLength(35)
    expect(await ipvs.realServers(WEB)).toHaveLength(35)
    expect(missing).toContain('10.1.0.40')
    expect(missing).not.toContain('10.1.0.28')
    kernel.duringNextDump('getRealServers', async () => {
      for (const server of servers.slice(-5)) await other.addRealServer(WEB, server)
    })
    const request = await rawDests(kernel, ipvs)
    expect(request).toBe(40)
  })

  test('a kernel that holds answers nothing until it is released', async () => {
    const { kernel, ipvs } = await open()
    const release = kernel.hold()
    let answered = false
    const info = ipvs.info().then(() => {
      answered = true
    })
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    expect(answered).toBe(false)
    release()
    await info
    expect(answered).toBe(true)
  })

  test('a delayed request is answered later, and lets an abort come first for those behind it', async () => {
    const { kernel, ipvs } = await open()
    kernel.delayNext({ ms: 5, command: 'getInfo' })
    const start = performance.now()
    await ipvs.info()
    expect(performance.now() - start).toBeGreaterThan(4)
    expect(() => {
      kernel.delayNext({ ms: -1 })
    }).toThrow(RangeError)
  })
})

/** How many messages a dump of the real servers of WEB brings, repeats included. */
async function rawDests(kernel: ReturnType<typeof createMemoryKernel>, ipvs: Ipvs): Promise<number> {
  const service = await kernel.dump({ command: 4, attributes: new Uint8Array(0) })
  const head = service.messages[0] as Uint8Array
  const { messages } = await kernel.dump({ command: 8, attributes: head.subarray(20) })
  expect(await ipvs.realServers(WEB)).toHaveLength(40)
  return messages.length
}
