import { describe, expect, test } from 'vitest'
import {
  formatState,
  Ipvs,
  parseState,
  planStates,
  restrictState,
  type State,
  type StateLoss,
} from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

/** What a state may say, and what it leaves alone. */

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const FULL: State = {
  services: [{ ...WEB, realServers: [{ address: '10.1.0.1' }] }],
  timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
  syncDaemons: [],
  sysctls: { conntrack: '0' },
}

async function memory(): Promise<Ipvs> {
  const ipvs = await Ipvs.open({
    transport: createMemoryKernel(),
  })
  await ipvs.restore(FULL)
  return ipvs
}

describe('a state without services', () => {
  const PARTS: readonly (readonly [string, State, readonly string[]])[] = [
    ['timeouts', { timeouts: { tcpSeconds: 60 } }, ['set-timeouts']],
    ['sync daemons', { syncDaemons: [{ state: 'master', multicastInterface: 'eth0' }] }, ['start-daemon']],
    ['sysctls', { sysctls: { conntrack: '1' } }, ['set-sysctl']],
  ]

  test.each(PARTS)('of %s alone neither compares nor prunes services', async (_, state, kinds) => {
    const plan = await planStates(FULL, state)
    expect(plan.steps.map(({ kind }) => kind)).toEqual(kinds)
    expect([plan.deletions, plan.starved, plan.reordered]).toEqual([0, [], []])
    expect(plan.wanted).not.toHaveProperty('services')

    const ipvs = await memory()
    const before = await ipvs.save()
    expect((await ipvs.apply(await ipvs.plan(state))).steps.map(({ kind }) => kind)).toEqual(kinds)
    expect((await ipvs.save()).services).toEqual(before.services)
    expect((await ipvs.plan(state)).steps).toEqual([])
  })

  test.each(PARTS)('of %s is the same in JSON and YAML', async (_, state) => {
    for (const format of ['json', 'yaml'] as const) {
      const text = await formatState(state, { format })
      expect(text).not.toContain('services')
      expect(await parseState(text, { format })).toEqual({ version: 1, ...state })
    }
  })

  test('would be an empty table in lines of ipvsadm: that is an error, or heard of', async () => {
    const state: State = { timeouts: { tcpSeconds: 60 } }
    await expect(formatState(state, { format: 'ipvsadm' })).rejects.toThrow(
      'ipvsadm lines cannot express services: ',
    )
    const losses: StateLoss[] = []
    const onLoss = (loss: StateLoss): void => void losses.push(loss)
    expect(await formatState(state, { format: 'ipvsadm', onLoss })).toBe('--set 60 0 0\n')
    expect(losses.map(({ path }) => path)).toEqual(['services'])
  })

  test('has nothing that can be compared with services, and nothing inside a scope', async () => {
    const timeouts: State = { timeouts: { tcpSeconds: 60 } }
    await expect(planStates(timeouts, FULL)).rejects.toThrow(
      'services: the current state does not include this, so it cannot be compared; leave it out',
    )
    expect((await planStates(timeouts, timeouts)).steps).toEqual([])
    await expect(restrictState(timeouts, { fwmarks: [1] })).rejects.toThrow(
      'a state without services cannot be restricted to a scope',
    )
  })

  test.each([{}, { version: 1 }, { $schema: 'x' }])(
    'and without anything else is an error: %j',
    async (state) => {
      await expect(planStates(FULL, state as State)).rejects.toThrow(
        'a state must have services, timeouts, syncDaemons or sysctls; an empty table is `services: []`',
      )
    },
  )
})

test.each<[string, unknown, string]>([
  ['services', { services: [, WEB] }, 'services[0]: a virtual service must be an object, got undefined'],
  [
    'real servers',

    { services: [{ ...WEB, realServers: [{ address: '10.1.0.1' }, ,] }] },
    'services[0].realServers[1]: a real server must be an object, got undefined',
  ],
])('a hole in a list of %s is an error', async (_, state, message) => {
  await expect(planStates(FULL, state as State)).rejects.toThrow(message)
})

describe('values of sysctls', () => {
  test('may be numbers, which become their text', async () => {
    const state: State = { sysctls: { conntrack: 1, conn_lfactor: -4 } }
    const plan = await planStates({ sysctls: { conntrack: '0', conn_lfactor: '-4' } }, state)
    expect(plan.steps).toEqual([{ kind: 'set-sysctl', name: 'conntrack', before: '0', after: '1' }])
    expect(plan.wanted.sysctls).toEqual({ conntrack: '1', conn_lfactor: '-4' })
    for (const format of ['json', 'yaml'] as const) {
      const read = await parseState(await formatState(state, { format }))
      expect(read.sysctls).toEqual({ conntrack: '1', conn_lfactor: '-4' })
    }
    expect(await parseState('sysctls: { conntrack: 1 }')).toEqual({ sysctls: { conntrack: 1 } })
    const ipvs = await memory()
    await ipvs.apply({ sysctls: { conntrack: 1 } })
    expect(await ipvs.sysctl('conntrack')).toBe('1')
  })

  test.each([
    [true, 'sysctls.conntrack must be a number or a string, got true'],
    [1.5, 'sysctls.conntrack must be a whole number'],
    [NaN, 'sysctls.conntrack must be a whole number'],
    [['1'], 'sysctls.conntrack must be a number or a string, got an array'],
    ['1\n', "sysctls.conntrack must be one line of plain text, got '1\\n'"],
  ])('are refused otherwise: %j', async (value, message) => {
    await expect(planStates(FULL, { sysctls: { conntrack: value } } as State)).rejects.toThrow(message)
  })
})

describe('what only a state may say', () => {
  const server = (more: object): State => ({
    services: [{ ...WEB, realServers: [{ address: '10.1.0.1', ...more }] }],
  })
  const service = (more: object): State => ({ services: [{ ...WEB, ...more }] })

  test.each<[string, State, (ipvs: Ipvs) => Promise<unknown>]>([
    ['port 0 without persistence', service({ port: 0 }), (ipvs) => ipvs.addService({ ...WEB, port: 0 })],
    [
      'persistence that wraps in some kernels',
      // The in-memory kernel has HZ 250.
      service({ persistence: { timeoutSeconds: 17179869 } }),
      (ipvs) => ipvs.addService({ ...WEB, persistence: { timeoutSeconds: 4294968 } }),
    ],
    [
      'flags without a name',
      service({ schedulerFlags: ['flag-1', 64] }),
      (ipvs) => ipvs.addService({ ...WEB, schedulerFlags: ['flag-1', 64] }),
    ],
    [
      'thresholds from 2^31 on',
      server({ upperThreshold: 4294967295, lowerThreshold: 2147483648 }),
      (ipvs) => ipvs.addRealServer(WEB, { address: '10.1.0.1', upperThreshold: 4294967295 }),
    ],
    [
      'an id that does not fit into what is sent',
      { syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 256 }] },
      (ipvs) => ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0', syncId: 256 }),
    ],
  ])('%s', async (_, state, ask) => {
    for (const format of ['json', 'yaml'] as const) {
      const text = await formatState(state, { format })
      expect(await parseState(text, { format })).toEqual({ version: 1, ...state })
    }
    expect((await planStates(state, state)).steps).toEqual([])
    const ipvs = await Ipvs.open({
      transport: createMemoryKernel({ version: '6.1' }),
    })
    await expect(ask(ipvs)).rejects.toThrow(/must be|works only with persistence/)
    await ipvs.restore(state)
    expect((await ipvs.plan(state)).steps).toEqual([])
    const saved = await ipvs.save()
    await ipvs.flush()
    await ipvs.restore(await formatState(saved))
    expect(await ipvs.save()).toEqual(saved)
  })

  test.each<[string, State, string]>([
    ['persistence that wraps everywhere', service({ persistence: { timeoutSeconds: 42949673 } }), '42949672'],
    ['a flag that has a name, as a number', service({ schedulerFlags: [8] }), 'a multiple of 64'],
    ['half a flag', service({ schedulerFlags: [64.5] }), 'a multiple of 64'],
    ['no flag', service({ schedulerFlags: [0] }), 'a multiple of 64'],
    ['a threshold of 2^32', server({ upperThreshold: 4294967296 }), '4294967295'],
    ['a weight of 2^31', server({ weight: 2147483648 }), '2147483647'],
    ['a lower threshold above the upper one', server({ upperThreshold: 1, lowerThreshold: 2 }), 'above'],
    ['GUE without a port', server({ tunnel: { type: 'gue' } }), 'tunnel.port must be'],
    [
      'an id of 33 bits',
      { syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 4294967296 }] },
      '4294967295',
    ],
  ])('ends where no kernel goes: %s', async (_, state, message) => {
    await expect(planStates(FULL, state)).rejects.toThrow(message)
  })
})
