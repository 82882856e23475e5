import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import type { Connection } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import type { OpenFile } from '../../lib/transport/transport.ts'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'
import { SPELLINGS } from '../helpers/sysctl-spellings.ts'
import { until } from '../helpers/until.ts'

/** Readers of what netlink does not carry, on the in-memory kernel. */

/** As Linux writes it. */
const STATISTICS = `   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
       8       14        0              2D8                0

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       0        0        0                0                0
`

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const

async function all(connections: AsyncIterable<Connection>): Promise<Connection[]> {
  const list: Connection[] = []
  for await (const connection of connections) list.push(connection)
  return list
}

describe('sysctls', () => {
  test('are read together or one by one, and set', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    expect(await ipvs.sysctls()).toMatchObject({ conntrack: '0', sync_threshold: '3\t50' })
    await ipvs.setSysctl('conntrack', 1)
    await ipvs.setSysctl('sync_threshold', '5 60')
    expect(await ipvs.sysctl('conntrack')).toBe('1')
    expect(await ipvs.sysctl('sync_threshold')).toBe('5\t60')
    expect(await ipvs.sysctl('no_such_sysctl')).toBeUndefined()
  })

  test.each(SPELLINGS)('take a number in the spellings of C: %s', async (written, read) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    const set = ipvs.setSysctl('sync_qlen_max', written)
    if (read === undefined) await expect(set).rejects.toMatchObject({ code: 'EINVAL' })
    else await set
    expect(await ipvs.sysctl('sync_qlen_max')).toBe(read ?? '16384')
  })

  test('that cannot be read are not taken for absent', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    transport.values.set('conntrack', { errno: 24, syscall: 'open' })
    const error = { code: 'EMFILE', syscall: 'open' }
    await expect(ipvs.sysctl('conntrack')).rejects.toMatchObject({ ...error, command: 'sysctl' })
    await expect(ipvs.sysctls()).rejects.toMatchObject({ ...error, command: 'sysctls' })
    await expect(ipvs.save({ sysctls: true })).rejects.toMatchObject({ ...error, command: 'save' })
  })

  test.each([
    ['3,0,1', '0-1,3'],
    ['3 ,,0\t1,', '0-1,3'],
    ['0-7:2/4', '0-1,4-5'],
    ['0-0:0/1', ''],
    ['1-9:1/3,0-7:1/3,4-5:1/3', '0-1,3-4,6-7'],
    ['0-5:2/4,4-13:2/4', '0-1,4-5,8-9,12-13'],
    ['0-8:3/4,0-65535:0/2,65534-65535', '0-2,4-6,8,65534-65535'],
    ['', ''],
    // How many CPUs there are is not known.
    ['all', 'all'],
    ['2-N', '2-N'],
  ])('give a list of CPUs back as Linux prints it: %j', async (written, read) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    await ipvs.setSysctl('est_cpulist', written)
    expect(await ipvs.sysctl('est_cpulist')).toBe(read)
  })

  // As Linux 6.12 has it; no machine has CPU 65536.
  test.each([
    ['3-0', 'EINVAL', 'it is not a list of CPUs such as 0-3,5'],
    ['x', 'EINVAL', 'it is not a list of CPUs'],
    ['0:1/1', 'EINVAL', 'it is not a list of CPUs'],
    ['0-3:2/1', 'EINVAL', 'it is not a list of CPUs'],
    ['0-3:0/0', 'EINVAL', 'it is not a list of CPUs'],
    ['all,x', 'EINVAL', 'it is not a list of CPUs'],
    ['0,65536', 'ERANGE', 'this machine does not have all of these CPUs'],
    ['65536,x', 'ERANGE', 'this machine does not have all of these CPUs'],
  ])('refuse what is no list of CPUs, and CPUs that are not there: %s', async (written, code, said) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    await ipvs.setSysctl('est_cpulist', '1')
    await expect(ipvs.setSysctl('est_cpulist', written)).rejects.toMatchObject({
      code,
      syscall: 'write',
      message: expect.stringContaining(said) as string,
    })
    expect(await ipvs.sysctl('est_cpulist')).toBe('1')
    expect(() => createMemoryKernel({ sysctls: { est_cpulist: written } })).toThrow(`Linux answers ${code}`)
  })

  test('that cannot be set say why', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await expect(ipvs.setSysctl('no_such_sysctl', 1)).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'open',
    })
    await expect(ipvs.setSysctl('sync_version', 2)).rejects.toMatchObject({
      code: 'EINVAL',
      command: 'setSysctl',
      message: expect.stringContaining('net.ipv4.vs.sync_version to "2"') as string,
    })
    kernel.privileged = false
    await expect(ipvs.setSysctl('conntrack', 1)).rejects.toMatchObject({ code: 'EACCES' })
  })

  test('are files of one folder, and take one line', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    for (const name of ['', '../conf/all/forwarding', 'a/b', 'A', 'a b', 7]) {
      await expect(ipvs.sysctl(name as string), String(name)).rejects.toThrow(/sysctl/)
      await expect(ipvs.setSysctl(name as string, 1), String(name)).rejects.toThrow(/sysctl/)
    }
    for (const value of ['1\n', '\0', 1.5, NaN, true, undefined]) {
      await expect(ipvs.setSysctl('conntrack', value as string), String(value)).rejects.toThrow(
        /sysctl conntrack/,
      )
    }
    expect(await ipvs.sysctl('conntrack')).toBe('0')
  })
})

describe('connections', () => {
  test('are those of clients, and the templates of persistence', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService({ ...WEB, persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' } })
    await ipvs.addRealServer(WEB, { address: '10.1.0.1', port: 8080, method: 'masquerade' })
    kernel.connect(WEB, { clientAddress: '198.51.100.7', clientPort: 40000 })
    kernel.advance(10)
    const common = {
      protocol: 'tcp',
      virtualAddress: '10.0.0.1',
      virtualPort: 80,
      serverAddress: '10.1.0.1',
      serverPort: 8080,
    }
    const found = await all(ipvs.connections())
    expect(found).toHaveLength(2)
    expect(found).toEqual(
      expect.arrayContaining([
        {
          ...common,
          clientAddress: '198.51.100.7',
          clientPort: 40000,
          state: 'ESTABLISHED',
          expiresSeconds: 890,
          template: false,
        },
        {
          ...common,
          clientAddress: '198.51.100.0',
          clientPort: 0,
          state: 'ASSURED',
          expiresSeconds: 50,
          template: true,
        },
      ]),
    )
  })

  test('of a firewall mark have the mark in their template', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    const key = { protocol: 'fwmark', fwmark: 7 } as const
    await ipvs.addService({ ...key, persistence: { timeoutSeconds: 60 } })
    await ipvs.addRealServer(key, { address: '10.1.0.1', method: 'masquerade' })
    kernel.connect(key, { clientAddress: '198.51.100.7' })
    const [template] = (await all(ipvs.connections())).filter((connection) => connection.template)
    expect(template).toMatchObject({ protocol: 0, virtualAddress: '0.0.0.7', virtualPort: 0, serverPort: 0 })
  })

  test('without the module say how to load it', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel({ loaded: false }) })
    await expect(all(ipvs.connections())).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'open',
      command: 'connections',
      message: 'ENOENT: connections: there is no /proc/net/ip_vs_conn: load IPVS with `modprobe ip_vs`.',
    })
  })

  test('may be left early, and are refused after close()', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService(WEB)
    await ipvs.addRealServer(WEB, { address: '10.1.0.1', method: 'masquerade' })
    kernel.traffic(WEB, { connections: 100 })
    let seen = 0
    for await (const connection of ipvs.connections()) {
      expect(connection.state).toBe('ESTABLISHED')
      seen += 1
      if (seen === 10) break
    }
    expect(seen).toBe(10)
    await ipvs.close()
    await expect(all(ipvs.connections())).rejects.toMatchObject({ code: 'EBADF', command: 'connections' })
  })
})

describe('a list of connections', () => {
  const line = (port: number): string =>
    `TCP C6336407 ${port.toString(16).toUpperCase().padStart(4, '0')} 0A000001 0050 0A010001 1F90 ESTABLISHED     894\n`
  const piece = (from: number, to: number): Uint8Array =>
    new TextEncoder().encode(Array.from({ length: to - from }, (_, index) => line(from + index)).join(''))
  const ports = (connections: readonly Connection[]): number[] =>
    connections.map(({ clientPort }) => clientPort)

  test('is read a piece at a time, while other calls go on', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    transport.pieces = [piece(1, 101), piece(101, 201)]
    const seen: Connection[] = []
    for await (const connection of ipvs.connections()) {
      if (connection.clientPort === 50) expect(await ipvs.sysctl('conntrack')).toBeUndefined()
      seen.push(connection)
    }
    expect(ports(seen)).toEqual(Array.from({ length: 200 }, (_, index) => index + 1))
    expect(transport.openFiles).toBe(0)
    expect(transport.log).toEqual(['openProcNet ip_vs_conn', 'sysctls conntrack'])
  })

  test('takes no more memory than a piece: what is not asked for is not read', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    transport.pieces = [piece(1, 11), { errno: 5, syscall: 'read' }]
    for await (const { clientPort } of ipvs.connections()) if (clientPort === 10) break
    expect(transport.openFiles).toBe(0)
    const seen: Connection[] = []
    await expect(
      (async () => {
        for await (const connection of ipvs.connections()) seen.push(connection)
      })(),
    ).rejects.toMatchObject({ code: 'EIO', syscall: 'read', command: 'connections' })
    expect(seen).toHaveLength(10)
    expect(transport.openFiles).toBe(0)
  })

  test.each<[string, object, (ipvs: Ipvs, controller: AbortController) => unknown]>([
    ['close()', { code: 'EBADF', command: 'connections' }, (ipvs) => ipvs.close()],
    [
      'its signal',
      { message: 'enough' },
      (_, controller) => {
        controller.abort(new Error('enough'))
      },
    ],
  ])('ends by %s, between two pieces and while one is read', async (_, error, end) => {
    for (const during of [false, true]) {
      const transport = new ScriptedTransport()
      const ipvs = await Ipvs.open({ transport })
      transport.pieces = [piece(1, 3), piece(3, 5)]
      const controller = new AbortController()
      const connections = ipvs.connections({ signal: controller.signal })
      expect((await connections.next()).value).toMatchObject({ clientPort: 1 })
      let ended: unknown
      if (during) {
        transport.hold()
        await connections.next()
        const next = connections.next()
        ended = end(ipvs, controller)
        expect(transport.openFiles).toBe(0)
        transport.release()
        await expect(next).rejects.toMatchObject(error)
      } else {
        ended = end(ipvs, controller)
        // What was read before is still given.
        expect((await connections.next()).value).toMatchObject({ clientPort: 2 })
        await expect(connections.next()).rejects.toMatchObject(error)
      }
      await ended
      expect(transport.openFiles).toBe(0)
      expect(await connections.next()).toEqual({ done: true, value: undefined })
    }
  })

  test('is closed with the signal, and when nobody holds its loop any more', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    transport.pieces = [piece(1, 3)]
    const controller = new AbortController()
    const connections = ipvs.connections({ signal: controller.signal })
    await connections.next()
    controller.abort(new Error('enough'))
    expect(transport.openFiles).toBe(0)
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    // The session holds no loop: its file can be collected, which closes that of the addon.
    const dropped: WeakRef<OpenFile>[] = []
    const open = transport.openProcNet.bind(transport)
    transport.openProcNet = async (name) => {
      const file = await open(name)
      if (!('errno' in file)) dropped.push(new WeakRef(file))
      return file
    }
    for (let round = 0; round < 20; round++) await ipvs.connections().next()
    await until('files are collected', async () => {
      await turn()
      collectGarbage()
      return dropped.filter((held) => held.deref() !== undefined).length < 2
    })
    expect(dropped).toHaveLength(20)
  })

  test('holds up close() for a read, and not for a loop that nobody goes on with', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    transport.pieces = [piece(1, 2)]
    await ipvs.connections().next()
    expect(transport.openFiles).toBe(1)
    const reading = ipvs.connections()
    await reading.next()
    transport.hold()
    const next = expect(reading.next()).rejects.toMatchObject({ code: 'EBADF' })
    let closed = false
    const closing = ipvs.close().then(() => {
      closed = true
    })
    await turn()
    expect(closed).toBe(false)
    transport.release()
    await closing
    await next
    expect(transport.openFiles).toBe(0)
  })
})

describe('totals', () => {
  const DNS = { protocol: 'udp', address: '10.0.0.1', port: 53 } as const

  test('are read in the order of the calls, and close() waits for them', async () => {
    const transport = new ScriptedTransport()
    const text = new TextEncoder().encode(STATISTICS)
    transport.pieces = [text.subarray(0, 100), text.subarray(100)]
    const ipvs = await Ipvs.open({ transport })
    const steps: string[] = []
    const totals = ipvs.totals().then(({ stats }) => steps.push(`totals ${String(stats.connections)}`))
    const zero = ipvs.zero().then(() => steps.push('zero'))
    await Promise.all([totals, zero])
    expect(steps).toEqual(['totals 8', 'zero'])
    const last = ipvs.totals()
    await ipvs.close()
    expect((await last).stats.connections).toBe(8)
    expect(transport.openFiles).toBe(0)
  })

  test('are of all services, those that are gone too, until all is set to zero', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    for (const key of [WEB, DNS]) {
      await ipvs.addService(key)
      await ipvs.addRealServer(key, { address: '10.1.0.1', method: 'masquerade' })
      kernel.connect(key, { established: false })
      kernel.traffic(key, { connections: 3, packetsIn: 2, bytesIn: 100, packetsOut: 1, bytesOut: 5000 })
    }
    expect((await ipvs.totals()).stats.connections).toBe(0)
    kernel.advance(2)
    const services = await ipvs.services()
    const sum = (name: 'connections' | 'packetsIn' | 'bytesOut'): number =>
      services.reduce((total, { stats }) => total + stats[name], 0)
    const totals = await ipvs.totals()
    expect(totals.stats).toMatchObject({
      connections: 8,
      packetsIn: sum('packetsIn'),
      bytesOut: sum('bytesOut'),
    })
    expect(sum('bytesOut')).toBeGreaterThanOrEqual(30_000)
    expect(totals.rates.bytesOutPerSecond).toBeGreaterThan(0)
    await ipvs.deleteService(DNS)
    await ipvs.zero(WEB)
    expect(await ipvs.totals()).toEqual(totals)
    expect((await ipvs.totals({ bigint: true })).stats.bytesOut).toBe(BigInt(totals.stats.bytesOut))
    await ipvs.zero()
    const none = await ipvs.totals()
    expect([...Object.values(none.stats), ...Object.values(none.rates)]).toEqual(Array(10).fill(0))
  })

  test('that cannot be had say why', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    await expect(ipvs.totals()).rejects.toMatchObject({ code: 'EBADMSG', command: 'totals' })
    transport.pieces = { errno: 24, syscall: 'open' }
    await expect(ipvs.totals()).rejects.toMatchObject({ code: 'EMFILE', command: 'totals' })
    await expect(ipvs.totals({ signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
    await expect(ipvs.totals({ big: true } as never)).rejects.toThrow("no field 'big'")
    await ipvs.close()
    await expect(ipvs.totals()).rejects.toMatchObject({ code: 'EBADF', command: 'totals' })
    const kernel = createMemoryKernel({ loaded: false })
    const absent = await Ipvs.open({ transport: kernel })
    await expect(absent.totals()).rejects.toThrow('there is no /proc/net/ip_vs_stats: load IPVS')
  })
})
