import { describe, expect, test } from 'vitest'
import { formatPlan, planStates, type StateService, type Warning, warningsOf } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

/** warningsOf(): what a table asks for and the kernel ignores. test/kernel/warnings.test.ts sees the kernel do so. */

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const DNS = { protocol: 'udp', address: '192.0.2.10', port: 53 } as const
const ANY = { protocol: 'tcp', address: '192.0.2.10', port: 0 } as const
const MARK = { protocol: 'fwmark', fwmark: 5 } as const
const persistence = {}
const at = (port: number, more: object = {}) => ({ address: '10.0.0.7', port, ...more })
const other = (more: object) => ({ address: '10.0.0.8', ...more })

const CASES: readonly (readonly [title: string, service: StateService, ...warnings: readonly string[]])[] = [
  [
    'another port without a method',
    { ...WEB, realServers: [at(8080)] },
    'port-ignored tcp/192.0.2.10:80 -> 10.0.0.7:8080: port 8080 is ignored with method direct: packets go to port 80. Use method masquerade, or port 80.',
  ],
  [
    'another port of a tunnel to the other family, which nothing else can reach',
    { ...WEB, realServers: [{ address: '2001:db8::7', port: 8080, method: 'tunnel' }] },
    'port-ignored tcp/192.0.2.10:80 -> [2001:db8::7]:8080: port 8080 is ignored with method tunnel: packets go to port 80. Use port 80.',
  ],
  ['another port with masquerade', { ...WEB, realServers: [at(8080, { method: 'masquerade' })] }],
  ['the same port, or port 0', { ...WEB, realServers: [at(80), other({ port: 0 })] }],
  [
    'a port behind a mark',
    { ...MARK, realServers: [at(80), other({ method: 'masquerade', port: 80 })] },
    'port-ignored fwmark/5 -> 10.0.0.7:80: port 80 is ignored with method direct: packets keep the port that the client used. Use method masquerade, or port 0.',
  ],
  [
    'a port behind a persistent mark',
    { ...MARK, persistence, realServers: [at(80), other({ method: 'masquerade', port: 80 })] },
    'port-ignored fwmark/5 -> 10.0.0.7:80: port 80 is ignored with method direct: packets keep the port that the client used. Use port 0.',
    'port-ignored fwmark/5 -> 10.0.0.8:80: port 80 is ignored, because the service is persistent and a firewall mark: packets keep the port that the client used. Use port 0, or leave out persistence.',
  ],
  [
    'a port behind a service of every port',
    { ...ANY, persistence, realServers: [at(80, { method: 'masquerade' })] },
    'port-ignored tcp/192.0.2.10:0 -> 10.0.0.7:80: port 80 is ignored, because the service is persistent and takes every port: packets keep the port that the client used. Use port 0.',
  ],
  ['every port without a port behind it', { ...ANY, persistence, realServers: [at(0)] }],
  [
    'port 0 without persistence',
    { ...ANY },
    'needs-persistence tcp/192.0.2.10:0: port 0 without persistence: the kernel refuses all connections. Give persistence, or another port.',
  ],
  [
    'a tunnel with another method',
    {
      ...WEB,
      realServers: [
        at(80, { tunnel: { type: 'gue', port: 6080 } }),
        other({ method: 'masquerade', tunnel: { type: 'ipip' } }),
      ],
    },
    'tunnel-ignored tcp/192.0.2.10:80 -> 10.0.0.7:80: tunnel gue:6080 is ignored with method direct: packets are not wrapped. Use method tunnel, or leave out tunnel.',
    'tunnel-ignored tcp/192.0.2.10:80 -> 10.0.0.8:80: tunnel ipip is ignored with method masquerade: packets are not wrapped. Use method tunnel, or leave out tunnel.',
  ],
  [
    'parts of a tunnel that its type does not have',
    {
      ...WEB,
      realServers: [
        at(80, { method: 'tunnel', tunnel: { type: 'gre', port: 6080, checksum: 'remcsum' } }),
        other({ method: 'tunnel', tunnel: { type: 'ipip', checksum: 'csum' } }),
      ],
    },
    'tunnel-ignored tcp/192.0.2.10:80 -> 10.0.0.7:80: tunnel port 6080 is ignored with type gre: only gue has a port. Use type gue, or leave out the port.',
    'tunnel-ignored tcp/192.0.2.10:80 -> 10.0.0.7:80: tunnel checksum remcsum is ignored with type gre, which does not have it. Leave it out, or use type gue.',
    'tunnel-ignored tcp/192.0.2.10:80 -> 10.0.0.8:80: tunnel checksum csum is ignored with type ipip, which does not have it. Leave it out, or use type gue or gre.',
  ],
  [
    'tunnels of each type with what it has',
    {
      ...WEB,
      realServers: [
        at(80, { method: 'tunnel', tunnel: { type: 'gue', port: 6080, checksum: 'remcsum' } }),
        other({ method: 'tunnel', tunnel: { type: 'gre', checksum: 'csum' } }),
        { address: '10.0.0.9', method: 'tunnel' },
      ],
    },
  ],
  [
    'one packet of TCP',
    { ...WEB, onePacket: true },
    'one-packet-ignored tcp/192.0.2.10:80: onePacket is ignored: the kernel schedules single packets of UDP only. Leave it out.',
  ],
  ['one packet of UDP', { ...DNS, onePacket: true }],
  ['one packet of a mark', { ...MARK, onePacket: true }],
  [
    'flags of a scheduler without flags',
    { ...WEB, scheduler: 'wlc', schedulerFlags: ['flag-1', 'flag-2'] },
    'scheduler-flags-ignored tcp/192.0.2.10:80: schedulerFlags flag-1, flag-2 are ignored: scheduler wlc has no flags. Leave them out, or use sh or mh.',
  ],
  [
    'the third flag of sh',
    { ...WEB, scheduler: 'sh', schedulerFlags: ['sh-port', 'flag-3'] },
    'scheduler-flags-ignored tcp/192.0.2.10:80: schedulerFlags flag-3 is ignored: scheduler sh reads its first two flags only. Leave out the rest.',
  ],
  ['flags of mh', { ...WEB, scheduler: 'mh', schedulerFlags: ['mh-port', 'mh-fallback'] }],
  ['flags of a scheduler that nobody knows', { ...WEB, scheduler: 'ours', schedulerFlags: ['flag-3'] }],
  [
    'an engine without persistence',
    { ...DNS, persistenceEngine: 'sip' },
    'persistence-engine-ignored udp/192.0.2.10:53: persistenceEngine sip is ignored without persistence: clients are scheduled as if there were none. Give persistence, or leave out persistenceEngine.',
  ],
  [
    'the engine for SIP with TCP',
    { ...WEB, persistence, persistenceEngine: 'sip' },
    'persistence-engine-drops tcp/192.0.2.10:80: persistenceEngine sip reads UDP only: the kernel drops all new connections. Leave out persistenceEngine.',
  ],
  ['the engine for SIP with UDP', { ...DNS, persistence, persistenceEngine: 'sip' }],
  ['the engine for SIP with a mark', { ...MARK, persistence, persistenceEngine: 'sip' }],
  ...(['rr', 'lc', 'dh'] as const).map((scheduler): [string, StateService, string] => [
    `weights with ${scheduler}`,
    { ...WEB, scheduler, realServers: [at(80), other({ weight: 5 }), { address: '10.0.0.9', weight: 7 }] },
    `weights-ignored tcp/192.0.2.10:80: weights are ignored with scheduler ${scheduler}, except 0: all other real servers are treated alike. ` +
      {
        rr: 'Use scheduler wrr, or equal weights.',
        lc: 'Use scheduler wlc, or equal weights.',
        dh: 'Use equal weights.',
      }[scheduler],
  ]),
  ...['wrr', 'wlc', 'lblc', 'lblcr', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh', 'twos', 'ours'].map(
    (scheduler): [string, StateService] => [
      `weights with ${scheduler}`,
      { ...WEB, scheduler, realServers: [at(80), other({ weight: 5 })] },
    ],
  ),
  [
    'equal weights, and 0',
    {
      ...WEB,
      scheduler: 'rr',
      realServers: [at(80, { weight: 3 }), other({ weight: 0 }), { address: '10.0.0.9', weight: 3 }],
    },
  ],
]

const cases = CASES.map(([title, service, ...warnings]) => ({ title, service, warnings }))
const textOf = ({ code, message }: Warning): string => `${code} ${message}`

describe('warningsOf', () => {
  test.each(cases)('$title', async ({ service, warnings }) => {
    expect((await warningsOf([service])).map(textOf)).toEqual(warnings)
    const plan = await planStates({ services: [] }, { services: [service] })
    expect(plan.warnings.map(textOf)).toEqual(warnings)
  })

  test.each(cases)('the same of a table that was read: $title', async ({ service, warnings }) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    if (service.scheduler === 'ours') return
    await ipvs.apply({ services: [service] })
    const found = await warningsOf(await ipvs.snapshot())
    // Plain IP-in-IP of a server with another method is not in a table: that is every server.
    const expected = warnings.filter((text) => !text.includes('tunnel ipip is'))
    // The kernel lists servers newest first, as the state does.
    expect(found.map(textOf)).toEqual(expected)
    expect(await warningsOf(await ipvs.snapshot({ bigint: true }))).toEqual(found)
    await ipvs.close()
  })

  test('says which service and which real server it is about', async () => {
    expect(await warningsOf([{ ...WEB, onePacket: true, realServers: [at(8080)] }])).toEqual([
      { code: 'one-packet-ignored', service: WEB, message: expect.any(String) as string },
      {
        code: 'port-ignored',
        service: WEB,
        server: { address: '10.0.0.7', port: 8080 },
        message: expect.any(String) as string,
      },
    ])
  })

  test('finds one among many', async () => {
    const realServers = Array.from({ length: 3000 }, (_, index) => ({
      address: `10.1.${String(index >> 8)}.${String(index & 255)}`,
      port: index === 2345 ? 8080 : 80,
      weight: index === 2999 ? 2 : 1,
    }))
    const many = [{ ...WEB, scheduler: 'rr', realServers }, { ...DNS }]
    expect((await warningsOf(many)).map(({ code, server }) => [code, server?.address])).toEqual([
      ['port-ignored', '10.1.9.41'],
      ['weights-ignored', undefined],
    ])
  })

  test('refuses what is no service, by its place', async () => {
    await expect(warningsOf([WEB, { ...DNS, port: -1 }])).rejects.toThrow(/^services\[1\]\.port must be/)
    await expect(warningsOf([null] as never)).rejects.toThrow(/^services\[0\]/)
    expect(await warningsOf([])).toEqual([])
  })
})

describe('a plan', () => {
  const wanted = { services: [{ ...WEB, realServers: [at(8080)] }] }

  test('warns of a table that is already so, and that is no step', async () => {
    const plan = await planStates(wanted, wanted)
    expect(plan.steps).toEqual([])
    expect(await formatPlan(plan)).toBe(
      '! tcp/192.0.2.10:80 -> 10.0.0.7:8080: port 8080 is ignored with method direct: packets go to port 80. ' +
        'Use method masquerade, or port 80.\nNothing to do.\n',
    )
  })

  test('warns of nothing that the state does not name', async () => {
    const before = { services: [...wanted.services, { ...ANY, realServers: [at(80)] }] }
    const plan = await planStates(before, { services: [WEB] }, { prune: false })
    expect(plan.warnings).toEqual([])
  })

  test('is applied with its warnings, and the result has them', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    const { warnings, applied } = await ipvs.apply(wanted)
    expect([applied, warnings.map(({ code }) => code)]).toEqual([true, ['port-ignored']])
    await ipvs.close()
  })
})
