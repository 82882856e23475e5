import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel, type MemoryKernel, type MemoryKernelOptions } from '../../lib/testing.ts'

/** What docs/kernels.md says of older and newer kernels, on the in-memory kernel of that version. */

type Version = NonNullable<MemoryKernelOptions['version']>

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const SERVER = { address: '10.1.0.1', port: 8080 }

async function open(
  version: Version,
  options: MemoryKernelOptions = {},
): Promise<{ readonly kernel: MemoryKernel; readonly ipvs: Ipvs }> {
  const kernel = createMemoryKernel({ version, ...options })
  return { kernel, ipvs: await Ipvs.open({ transport: kernel }) }
}

/** Every version with which something came, and some between. */
const VERSIONS: readonly Version[] = [
  '3.10',
  '3.11',
  '3.18',
  '4.1',
  '4.2',
  '4.3',
  '4.7',
  '4.18',
  '4.19',
  '5.2',
  '5.3',
  '5.10',
  '5.15',
  '6.1',
  '6.6',
  '6.12',
  '6.18',
  '7.0',
  '7.1',
]

describe.each(VERSIONS)('on Linux %s', (version) => {
  test.each([true, false])('an edit keeps what it does not name, with padding: %s', async (padding) => {
    const { ipvs } = await open(version, { padding })
    await ipvs.addService({ ...WEB, scheduler: 'sh', schedulerFlags: ['sh-port'], persistence: {} })
    await ipvs.addRealServer(WEB, { ...SERVER, method: 'tunnel', upperThreshold: 9, lowerThreshold: 8 })
    await ipvs.editService(WEB, { persistence: { timeoutSeconds: 60 } })
    await ipvs.editRealServer(WEB, SERVER, { weight: 7 })
    const [entry] = await ipvs.snapshot()
    expect(entry?.service.toJSON()).toEqual({
      ...WEB,
      scheduler: 'sh',
      schedulerFlags: ['sh-port'],
      persistence: { timeoutSeconds: 60, netmask: '255.255.255.255' },
    })
    expect(entry?.realServers[0]).toMatchObject({
      ...SERVER,
      method: 'tunnel',
      weight: 7,
      upperThreshold: 9,
      lowerThreshold: 8,
    })
  })

  test('counters below 2^32 are read as they are, and bytes above', async () => {
    const { kernel, ipvs } = await open(version)
    await ipvs.addService({ ...WEB, scheduler: 'rr' })
    await ipvs.addRealServer(WEB, { ...SERVER, method: 'masquerade' })
    kernel.connect(WEB).send({ packetsIn: 7, bytesIn: 2 ** 40, packetsOut: 2 ** 32 - 2, bytesOut: 1 })
    kernel.advance(2)
    const before = {
      connections: 1,
      packetsIn: 9,
      bytesIn: 2 ** 40 + 80,
      packetsOut: 2 ** 32 - 1,
      bytesOut: 41,
    }
    expect((await ipvs.realServer(WEB, SERVER)).stats).toEqual(before)
    expect((await ipvs.service(WEB, { bigint: true })).stats.bytesIn).toBe(2n ** 40n + 80n)
  })

  test('a server is drained', async () => {
    const { ipvs } = await open(version)
    await ipvs.addService(WEB)
    const server = await ipvs.addRealServer(WEB, SERVER)
    expect(await server.drain({ timeoutMs: 0, force: true })).toMatchObject({ outcome: 'deleted' })
  })

  test('the sysctls are those that it has', async () => {
    const { ipvs } = await open(version)
    const [major = 0, minor = 0] = version.split('.').map(Number)
    const since = (at: number, least: number): boolean => major > at || (major === at && minor >= least)
    const names = Object.keys(await ipvs.sysctls())
    expect(names.includes('expire_quiescent_template')).toBe(true)
    expect(names.includes('schedule_icmp')).toBe(since(4, 4))
    expect(names.includes('run_estimation')).toBe(since(5, 16))
    expect(names.includes('est_nice')).toBe(since(6, 2))
    expect(names.includes('svc_lfactor')).toBe(since(7, 1))
  })
})

describe('probe', () => {
  const BASIC = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq']

  test.each<[Version, object]>([
    ['3.10', { schedulers: BASIC, counters64: false, tunnelTypes: ['ipip'], mixedFamilies: false }],
    ['3.18', { schedulers: [...BASIC, 'fo'], counters64: false, tunnelTypes: ['ipip'], mixedFamilies: true }],
    ['4.1', { schedulers: [...BASIC, 'fo'], counters64: true, tunnelTypes: ['ipip'], mixedFamilies: true }],
    ['4.3', { schedulers: [...BASIC, 'fo', 'ovf'], tunnelTypes: ['ipip'] }],
    ['4.18', { schedulers: [...BASIC, 'fo', 'ovf', 'mh'], tunnelTypes: ['ipip'] }],
    ['5.2', { schedulers: [...BASIC, 'fo', 'ovf', 'mh'], tunnelTypes: ['ipip', 'gue'] }],
    ['5.3', { tunnelTypes: ['ipip', 'gue', 'gre'] }],
    ['5.12', { schedulers: [...BASIC, 'fo', 'ovf', 'mh', 'twos'] }],
    ['7.1', { schedulers: [...BASIC, 'fo', 'ovf', 'mh', 'twos'], counters64: true, mixedFamilies: true }],
  ])('finds what Linux %s has', async (version, expected) => {
    const found = await Ipvs.probe({ transport: createMemoryKernel({ version }) })
    expect(found).toMatchObject({ available: true, ipv6: true, persistenceEngines: ['sip'], ...expected })
  })
})

describe('a kernel that lacks something', () => {
  test('before 3.11 a scheduler has no flags, though they are kept', async () => {
    for (const [version, expected] of [
      ['3.10', 'REFUSED'],
      ['3.11', 'ESTABLISHED'],
    ] as const) {
      const { kernel, ipvs } = await open(version)
      await ipvs.addService({ ...WEB, scheduler: 'sh', schedulerFlags: ['sh-fallback'] })
      // Newest first: the table of 256 places begins with the one of weight 0, which has every other place.
      await ipvs.addRealServer(WEB, { ...SERVER, method: 'masquerade' })
      await ipvs.addRealServer(WEB, { address: '10.1.0.2', method: 'masquerade', weight: 0 })
      const states = Array.from({ length: 8 }, (_, i) =>
        kernel.connect(WEB, { clientAddress: `198.18.0.${String(i)}` }),
      ).map(({ state }) => state)
      expect(states).toContain(expected)
      expect(states).toContain('ESTABLISHED')
      expect(states.includes('REFUSED')).toBe(expected === 'REFUSED')
      expect((await ipvs.service(WEB)).schedulerFlags).toEqual(['sh-fallback'])
    }
  })

  test('before 3.18 takes a server of another family for one of the service', async () => {
    const { ipvs } = await open('3.17')
    await ipvs.addService(WEB)
    await ipvs.addRealServer(WEB, { address: '2001:db8::1', port: 80, method: 'tunnel' })
    expect(await ipvs.realServers(WEB)).toMatchObject([{ address: '32.1.13.184', family: 'ipv4' }])
    const other = await open('3.18')
    await other.ipvs.addService(WEB)
    await other.ipvs.addRealServer(WEB, { address: '2001:db8::1', method: 'tunnel' })
    expect(await other.ipvs.realServers(WEB)).toMatchObject([{ address: '2001:db8::1', family: 'ipv6' }])
  })

  test('before 3.18 reads servers of IPv6 services all the same', async () => {
    const { ipvs } = await open('3.10')
    const six = { ...WEB, address: '2001:db8::1' }
    await ipvs.addService(six)
    await ipvs.addRealServer(six, { address: '2001:db8::7', weight: 3 })
    expect(await ipvs.realServers(six)).toMatchObject([{ address: '2001:db8::7', family: 'ipv6', weight: 3 }])
    await ipvs.deleteRealServer(six, { address: '2001:db8::7' })
    expect(await ipvs.realServers(six)).toEqual([])
  })

  test.each<[Version, number]>([
    ['4.0', 5],
    ['4.1', 2 ** 32 + 5],
  ])('counts packets on Linux %s up to %d', async (version, expected) => {
    const { kernel, ipvs } = await open(version)
    await ipvs.addService({ ...WEB, scheduler: 'rr' })
    await ipvs.addRealServer(WEB, { ...SERVER, method: 'masquerade' })
    // Opening has two packets of the client.
    kernel.connect(WEB).send({ packetsIn: 2 ** 32 + 3, bytesIn: 2 ** 32 + 3 })
    kernel.advance(2)
    const { stats } = await ipvs.service(WEB)
    expect(stats).toMatchObject({ packetsIn: expected, bytesIn: 2 ** 32 + 83 })
    expect((await ipvs.service(WEB, { bigint: true })).stats.packetsIn).toBe(BigInt(expected))
    expect((await ipvs.totals()).stats).toEqual(stats)
  })

  test("before 4.2 has no scheduler 'none'", async () => {
    const { ipvs } = await open('4.1')
    await expect(ipvs.addService({ ...WEB, scheduler: 'none' })).rejects.toMatchObject({ code: 'ENOENT' })
    await (await open('4.2')).ipvs.addService({ ...WEB, scheduler: 'none' })
  })

  test('before 4.3 a sync daemon has nothing but interface and id', async () => {
    const spec = {
      state: 'master',
      multicastInterface: 'eth0',
      syncId: 7,
      maxLengthBytes: 1200,
      multicastGroup: '224.0.0.99',
      multicastPort: 9000,
      multicastTtl: 3,
    } as const
    const { ipvs } = await open('4.2')
    await ipvs.startSyncDaemon(spec)
    expect(await ipvs.syncDaemons()).toEqual([{ state: 'master', multicastInterface: 'eth0', syncId: 7 }])
    await ipvs.stopSyncDaemon('master')
    const other = await open('4.3')
    await other.ipvs.startSyncDaemon(spec)
    expect(await other.ipvs.syncDaemons()).toEqual([spec])
  })

  test.each<[Version, object]>([
    ['5.1', {}],
    ['5.2', { tunnel: { type: 'gue', port: 6080 } }],
    ['5.3', { tunnel: { type: 'gue', port: 6080, checksum: 'csum' } }],
  ])(
    'on Linux %s a GUE tunnel reads as what it can be, and an edit goes on from there',
    async (version, expected) => {
      const { ipvs } = await open(version)
      await ipvs.addService(WEB)
      const tunnel = { type: 'gue', port: 6080, checksum: 'csum' } as const
      await ipvs.addRealServer(WEB, { ...SERVER, method: 'tunnel', tunnel })
      await ipvs.editRealServer(WEB, SERVER, { weight: 2 })
      const spec = (await ipvs.realServer(WEB, SERVER)).toJSON()
      expect(spec).toEqual({
        ...SERVER,
        method: 'tunnel',
        weight: 2,
        ...expected,
      })
    },
  )
})

describe('padding', () => {
  /** Bytes of the first messages of GET_SERVICE and GET_DEST, as they were measured on a kernel that pads. */
  const PADDED = { service: 360, dest: 400 }
  const PLAIN = { service: 320, dest: 356 }

  test.each<[Version, boolean, object]>([
    ['6.1', true, PADDED],
    ['6.1', false, PLAIN],
    ['5.1', true, { service: 360, dest: 376 }],
    ['4.6', true, { service: 320, dest: 332 }],
    ['4.0', true, { service: 196, dest: 208 }],
  ])('on Linux %s, wanted: %s', async (version, padding, expected) => {
    const { kernel, ipvs } = await open(version, { padding })
    await ipvs.addService({ ...WEB, scheduler: 'rr' })
    await ipvs.addRealServer(WEB, SERVER)
    const { messages } = await kernel.dumpOfDumps({ command: 4, attributes: new Uint8Array(0) }, 8, 1)
    expect({ service: messages[0]?.length, dest: messages[1]?.length }).toEqual(expected)
  })
})

describe('Linux 7.1', () => {
  test('has a connection table while there is a service', async () => {
    const { ipvs } = await open('7.1', { connectionTableSize: 512 })
    expect(await ipvs.info()).toMatchObject({ connectionTableSize: 0 })
    await ipvs.addService(WEB)
    expect(await ipvs.info()).toMatchObject({ connectionTableSize: 512 })
    await ipvs.flush()
    expect(await ipvs.info()).toMatchObject({ connectionTableSize: 0 })
    expect(await (await open('7.0')).ipvs.info()).toMatchObject({ connectionTableSize: 4096 })
  })

  test('lists every service once, in an order that changes as the table grows', async () => {
    const { ipvs } = await open('7.1')
    const ports = (from: number, to: number): number[] =>
      Array.from({ length: to - from }, (_, i) => from + i)
    const listed = async (): Promise<number[]> =>
      (await ipvs.services()).map((service) => ('port' in service.key ? service.key.port : 0))
    for (const port of ports(1, 17)) await ipvs.addService({ ...WEB, port })
    const before = await listed()
    expect([...before].sort((a, b) => a - b)).toEqual(ports(1, 17))
    await ipvs.addService({ ...WEB, port: 17 })
    const after = await listed()
    expect([...after].sort((a, b) => a - b)).toEqual(ports(1, 18))
    expect(after.filter((port) => port !== 17)).not.toEqual(before)
    for (const port of ports(1, 17)) await ipvs.deleteService({ ...WEB, port })
    expect(await listed()).toEqual([17])
  })
})

describe('a version', () => {
  test.each(['2.6.32', '3.9', '7.2', '6', 'six', '6.1.2', ''])('cannot be %j', (version) => {
    expect(() => createMemoryKernel({ version: version as Version })).toThrow(
      `version must be a version of Linux from '3.10' to '7.1', such as '5.15', got '${version}'`,
    )
  })

  test('decides which sysctls may be given', () => {
    expect(() => createMemoryKernel({ version: '5.15', sysctls: { run_estimation: '0' } })).toThrow(
      'there is no sysctl net.ipv4.vs.run_estimation in Linux 5.15',
    )
  })
})
