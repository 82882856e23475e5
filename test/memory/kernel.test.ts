import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import {
  createMemoryKernel,
  type MemoryKernel,
  type MemoryKernelOptions,
  type Traffic,
} from '../../lib/testing.ts'

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

  const refused: readonly (readonly [string, unknown])[] = [
    ['the options of a kernel must be an object, got null', null],
    ["a kernel has no field 'schedulrs': did you mean 'schedulers'?", { schedulrs: [] }],
    ['hz must be a whole number 1 to 10000, got 0', { hz: 0 }],
    ['hashSeed must be a whole number 0 to 255, got 256', { hashSeed: 256 }],
    ["version must be a version of Linux from '3.10' to '7.1', such as '5.15', got 6.1", { version: 6.1 }],
    ["got '6.01'", { version: '6.01' }],
    ["schedulers must be an array, got 'rr'", { schedulers: 'rr' }],
    ['persistenceEngines[1] must be a name, got 5', { persistenceEngines: ['sip', 5] }],
    ["ipv6 must be true or false, got 'no'", { ipv6: 'no' }],
    ['privileged must be true or false, got 0', { privileged: 0 }],
    ["interfaces[0] must be an object, got 'eth0'", { interfaces: ['eth0'] }],
    ['interfaces[0].name must be a name, got undefined', { interfaces: [{ addresses: [] }] }],
    ["interfaces[0] has no field 'address': did you mean 'addresses'?", one({ address: '10.0.0.1/8' })],
    ["interfaces[0].addresses[1] must be an IPv4 or IPv6 address, got 'x'", one({ addresses: ['::1', 'x'] })],
    [
      "interfaces[0].addresses[0] must end in a prefix length of 0 to 32, got '10.0.0.1/33'",
      one({ addresses: ['10.0.0.1/33'] }),
    ],
    ['there is no sysctl net.ipv4.vs.nosuch in Linux 6.12', { sysctls: { nosuch: '1' } }],
    ["sysctl conntrack cannot be set to 'on': Linux answers EINVAL", { sysctls: { conntrack: 'on' } }],
    ['sysctl conntrack must be a number or a string, got true', { sysctls: { conntrack: true } }],
  ]

  function one(more: object): object {
    return { interfaces: [{ name: 'eth0', ...more }] }
  }

  test.each(refused)('refuses to make one: %s', (message, options) => {
    expect(() => createMemoryKernel(options as MemoryKernelOptions)).toThrow(message)
  })

  test('a sysctl may be given as a number', async () => {
    const { ipvs } = await open({ sysctls: { conntrack: 1 } })
    expect(await ipvs.sysctl('conntrack')).toBe('1')
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

  test('without the module its connections are gone, and time and the log go on', async () => {
    const { kernel, ipvs } = await open()
    await ipvs.addService(WEB)
    await ipvs.addRealServer(WEB, { address: '10.1.0.1' })
    const connection = kernel.connect(WEB)
    kernel.advance(10)
    kernel.loaded = false
    expect([connection.state, connection.send(), kernel.seconds]).toEqual(['FORGOTTEN', false, 10])
    kernel.loaded = true
    await ipvs.services()
    expect(kernel.log.map(({ call }) => call)).toEqual([0, 1, 2])
  })

  test('a module that comes back in the middle of a request has a table of its own', async () => {
    const { kernel, ipvs } = await open()
    await ipvs.addService(WEB)
    kernel.beforeNext('addRealServer', () => {
      kernel.loaded = false
      kernel.loaded = true
    })
    await expect(ipvs.addRealServer(WEB, { address: '10.1.0.1' })).rejects.toMatchObject({ code: 'ESRCH' })
  })

  test("the sysctl of a scheduler's module is there from its first service on", async () => {
    const { kernel, ipvs } = await open()
    expect(await ipvs.sysctl('lblc_expiration')).toBeUndefined()
    await expect(ipvs.setSysctl('lblc_expiration', 60)).rejects.toMatchObject({ code: 'ENOENT' })
    await ipvs.addService({ ...WEB, scheduler: 'lblc' })
    expect(await ipvs.sysctl('lblc_expiration')).toBe('86400')
    await ipvs.setSysctl('lblc_expiration', 60)
    await ipvs.editService(WEB, { scheduler: 'lblcr' })
    expect(await ipvs.sysctls()).toMatchObject({ lblc_expiration: '60', lblcr_expiration: '86400' })
    await ipvs.deleteService(WEB)
    await ipvs.addService({ ...WEB, scheduler: 'lblc' })
    expect(await ipvs.sysctl('lblc_expiration')).toBe('60')
    kernel.loaded = false
    kernel.loaded = true
    expect(await ipvs.sysctl('lblc_expiration')).toBeUndefined()
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

describe('what a test says wrongly', () => {
  const MARK = { protocol: 'fwmark', fwmark: 1 }
  const wrong: readonly (readonly [string, keyof MemoryKernel, ...unknown[]])[] = [
    ["errno must be a name such as 'ENOMEM' or a number, got 'EX'", 'failNext', { errno: 'EX' }],
    ['errno must be a whole number 1 to 4095, got -12', 'failNext', { errno: -12 }],
    ["command must be one of 'addService'", 'failNext', { errno: 'EPERM', command: 'snapshot' }],
    ["a fault has no field 'comand': did you mean 'command'?", 'failNext', { errno: 1, comand: 'flush' }],
    ['a fault must be an object, got undefined', 'failNext'],
    ['times must be a whole number', 'failNext', { errno: 'EPERM', times: 0 }],
    ["got 'toString'", 'beforeNext', 'toString', (): void => undefined],
    ['run must be a function, got undefined', 'beforeNext', 'flush'],
    ["command must be one of 'getService', 'getRealServers', got 'flush'", 'duringNextDump', 'flush'],
    ["'getSyncDaemons', got 'flush'", 'interruptNextDump', 'flush'],
    ['a delay must be an object, got 5', 'delayNext', 5],
    ['ms must be a whole number', 'delayNext', { ms: -1 }],
    ["seconds must be a number, 0 or more, got '5'", 'advance', '5'],
    ["a virtual service is written like 'tcp/192.0.2.10:80'", 'connect', '192.0.2.1:80'],
    ['a virtual service must be an object, got 5', 'connect', 5],
    [
      "a client has no field 'clientAdress': did you mean 'clientAddress'?",
      'connect',
      WEB,
      { clientAdress: '' },
    ],
    ['clientAddress must be an IPv4 or IPv6 address', 'connect', WEB, { clientAddress: '198.51.100' }],
    [
      'clientAddress must have the address family of the service, ipv4',
      'connect',
      WEB,
      { clientAddress: '::1' },
    ],
    ['clientPort must be a whole number 1 to 65535', 'connect', WEB, { clientPort: 0 }],
    ['established must be true or false', 'connect', WEB, { established: 'no' }],
    ['virtualPort is only for services without one', 'connect', WEB, { virtualPort: 443 }],
    ['protocol is only for services without one', 'connect', WEB, { protocol: 'udp' }],
    ["protocol must be one of 'tcp', 'udp', 'sctp', got 'icmp'", 'connect', MARK, { protocol: 'icmp' }],
    ['virtualPort must be a whole number 1 to 65535', 'connect', MARK, { virtualPort: 65536 }],
    [
      'virtualAddress must have the address family of the service',
      'connect',
      MARK,
      { virtualAddress: '::1' },
    ],
    ["traffic has no field 'conections': did you mean 'connections'?", 'traffic', WEB, { conections: 9 }],
    ['connections must be a whole number', 'traffic', WEB, { connections: -1 }],
    ['close must be true or false', 'traffic', WEB, { close: 1 }],
  ]

  for (const [message, method, ...words] of wrong) {
    test(`is refused: ${message}`, () => {
      const kernel = createMemoryKernel() as unknown as Record<string, (...words: unknown[]) => unknown>
      expect(() => kernel[method]?.(...words)).toThrow(message)
    })
  }

  test('is refused by a connection, too', () => {
    const connection = createMemoryKernel().connect(WEB)
    expect(() => connection.send({ bytes: 9 } as Traffic)).toThrow("traffic has no field 'bytes'")
    expect(() => connection.send({ bytesIn: 0.5 })).toThrow('bytesIn must be a whole number')
  })

  test('is refused by switches, too', () => {
    const kernel = createMemoryKernel()
    expect(() => (kernel.loaded = 'no' as never)).toThrow("loaded must be true or false, got 'no'")
    expect(() => (kernel.privileged = 0 as never)).toThrow('privileged must be true or false, got 0')
  })
})
