import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  formatPlan,
  type Plan,
  planStates,
  type PlanOptions,
  type State,
  type StateService,
} from '../../lib/index.ts'
import { canonicalTable, table } from '../helpers/kernel-arbitraries.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed } from '../helpers/random.ts'

/** planStates() and formatPlan(): no kernel anywhere. */

const WEB = { protocol: 'tcp', address: '10.0.0.2', port: 80 } as const
const real = (last: number, more: object = {}) =>
  ({ address: `10.1.0.${String(last)}`, port: 8080, method: 'masquerade', weight: 1, ...more }) as const
const web = (...realServers: StateService['realServers'] & object): State => ({
  services: [{ ...WEB, realServers }],
})

const kinds = ({ steps }: Plan): string[] => steps.map(({ kind }) => kind)

describe('planStates', () => {
  test('finds nothing between two ways of saying the same', async () => {
    const short: State = {
      services: [
        {
          protocol: 'tcp',
          address: '2001:DB8:0:0::1',
          port: 80,
          realServers: [{ address: '2001:db8::0:2' }],
        },
        { protocol: 6, address: '10.0.0.1', port: 0, persistence: { netmask: 24 } },
        { protocol: 'fwmark', fwmark: 3, scheduler: 'sh', schedulerFlags: ['flag-2'] },
      ],
      syncDaemons: [{ state: 'backup', multicastInterface: 'eth0', maxLengthBytes: 100 }],
      sysctls: { sync_threshold: ' 3\t50', secure_tcp: '2' },
    }
    const long: State = {
      version: 1,
      services: [
        {
          protocol: 'fwmark',
          fwmark: 3,
          family: 'ipv4',
          scheduler: 'sh',
          schedulerFlags: ['sh-port'],
          onePacket: false,
          realServers: [],
        },
        {
          protocol: 'tcp',
          address: '10.0.0.1',
          port: 0,
          scheduler: 'wlc',
          persistence: { timeoutSeconds: 300, netmask: '255.255.255.0' },
        },
        {
          protocol: 'tcp',
          address: '2001:db8::1',
          port: 80,
          realServers: [
            { address: '2001:db8::2', port: 80, method: 'direct', weight: 1, tunnel: { type: 'ipip' } },
          ],
        },
      ],
      // What the kernel reports: it raises a backup's length to 1024.
      syncDaemons: [
        {
          state: 'backup',
          multicastInterface: 'eth0',
          syncId: 0,
          maxLengthBytes: 1024,
          multicastGroup: '224.0.0.81',
          multicastPort: 8848,
          multicastTtl: 1,
        },
      ],
      sysctls: { sync_threshold: '3 50', secure_tcp: '1' },
    }
    for (const [actual, wanted] of [
      [short, long],
      [long, short],
    ] as const) {
      const plan = await planStates(actual, wanted)
      expect([plan.steps, plan.reordered, plan.deletions, plan.starved]).toEqual([[], [], 0, []])
    }
  })

  test('leads from any state to any other, and back', async () => {
    await fc.assert(
      fc.asyncProperty(table({ ipvsadm: false }, 4), table({ ipvsadm: false }, 4), async (one, two) => {
        const state = (rules: typeof one): State => ({
          services: canonicalTable(rules).map(({ service, realServers }) => ({ ...service, realServers })),
        })
        const [from, to] = [state(one), state(two)]
        const plan = await planStates(from, to)
        const again = await planStates(to, from)
        const count = (name: string, { steps }: Plan): number =>
          steps.filter(({ kind }) => kind === name).length
        expect(count('add-service', plan)).toBe(count('delete-service', again))
        expect(count('edit-server', plan)).toBe(count('edit-server', again))
        expect((await planStates(to, plan.wanted)).steps).toEqual([])
      }),
      { seed: chooseSeed('plans'), numRuns: cases(50, 2_000) },
    )
  })

  test('raises weights before it takes any to 0, and deletes last', async () => {
    const plan = await planStates(
      web(real(1), real(2, { weight: 0 }), real(3)),
      web(real(1, { weight: 0 }), real(2, { weight: 4 }), real(4)),
    )
    expect(plan.steps.map((step) => [step.kind, 'server' in step && step.server.address])).toEqual([
      ['add-server', '10.1.0.4'],
      ['edit-server', '10.1.0.2'],
      ['edit-server', '10.1.0.1'],
      ['delete-server', '10.1.0.3'],
    ])
  })

  test('says of a server with another port, and of a sync daemon, that it is replaced', async () => {
    const daemon = { state: 'master', multicastInterface: 'eth0' } as const
    const plan = await planStates(
      { ...web(real(1), real(2)), syncDaemons: [{ ...daemon, syncId: 1 }] },
      { ...web(real(1, { port: 9090 }), real(2)), syncDaemons: [{ ...daemon, syncId: 2 }] },
    )
    expect(kinds(plan)).toEqual(['add-server', 'delete-server', 'stop-daemon', 'start-daemon'])
    expect(plan.steps[0]).toMatchObject({ replaces: { address: '10.1.0.1', port: 8080 } })
    expect(plan.steps[3]).toMatchObject({ replaces: { syncId: 1 } })
  })

  test.each([
    ['cache_bypass', '1', '01', true],
    ['cache_bypass', '1', '0x1', true],
    ['cache_bypass', '0', '-00', true],
    ['sync_qlen_max', '16384', '0X4000', true],
    ['sync_qlen_max', '8', '010', true],
    ['sync_qlen_max', '10', '010', false],
    ['conn_lfactor', '-4', '-0x4', true],
    ['conn_lfactor', '-4', '4', false],
    ['sync_threshold', '3\t50', '0x3 062', true],
    ['sync_threshold', '3\t50', '3 62', false],
    ['secure_tcp', '2', '0x1', true],
    ['est_cpulist', '0-3,5', '0-3,5', true],
    ['est_cpulist', '', '0', false],
    ['est_cpulist', '0-3,5', '5,3,0,1,2-3', true],
    ['est_cpulist', '0-1,4-5,8', '0-8:2/4', true],
    ['est_cpulist', '0,2', ',2  0', true],
    ['est_cpulist', '0-3', '0-2', false],
    // What the kernel refuses is no empty list.
    ['est_cpulist', '', '3-0', false],
    // How many CPUs there are is not known.
    ['est_cpulist', '0-3', 'all', false],
    // No numbers to the kernel, which says so.
    ['cache_bypass', '8', '08', false],
    ['cache_bypass', '1', '+1', false],
    ['cache_bypass', '1', '1e0', false],
  ])('takes the values of a sysctl as the kernel reads them: %s %j, %j', async (name, one, other, same) => {
    for (const [actual, wanted] of [
      [one, other],
      [other, one],
    ] as const) {
      const plan = await planStates(
        { services: [], sysctls: { [name]: actual } },
        { services: [], sysctls: { [name]: wanted } },
      )
      expect(plan.steps).toHaveLength(same ? 0 : 1)
    }
  })

  describe('a sysctl of a scheduler, which is not there before its module', () => {
    const lblc = (expiration: string, ...schedulers: string[]): State => ({
      services: schedulers.map((scheduler, index) => ({ ...WEB, port: 80 + index, scheduler })),
      sysctls: { lblc_expiration: expiration },
    })
    const none: State = { services: [], sysctls: {} }

    test('is equal where its value is that of a module just loaded', async () => {
      for (const wanted of [lblc('86400'), lblc('86400', 'lblc')]) {
        expect((await planStates(none, wanted)).steps.filter(({ kind }) => kind === 'set-sysctl')).toEqual([])
      }
    })

    test('is set once a service that is added, or edited, has loaded the module', async () => {
      const from: State = { ...none, services: [{ ...WEB, realServers: [real(1)] }] }
      const to = lblc('60', 'lblc', 'lblc')
      const plan = await planStates(
        { ...from, sysctls: { conntrack: '0' } },
        { ...to, sysctls: { ...to.sysctls, conntrack: '1' } },
        { prune: false },
      )
      expect(kinds(plan)).toEqual(['set-sysctl', 'add-service', 'edit-service', 'set-sysctl'])
      expect(plan.steps[3]).toEqual({
        kind: 'set-sysctl',
        name: 'lblc_expiration',
        before: '86400',
        after: '60',
      })
    })

    test('comes before anything is taken away', async () => {
      const plan = await planStates(
        { ...none, services: [{ ...WEB, realServers: [real(1), real(2)] }] },
        { ...lblc('60'), services: [{ ...WEB, scheduler: 'lblc', realServers: [real(1, { weight: 0 })] }] },
      )
      expect(kinds(plan)).toEqual(['edit-service', 'set-sysctl', 'edit-server', 'delete-server'])
    })

    test('is set where a service that is there must have loaded it', async () => {
      const from: State = { ...none, services: [{ ...WEB, scheduler: 'lblc' }] }
      expect(kinds(await planStates(from, lblc('60'), { prune: false }))).toEqual(['set-sysctl'])
    })

    test('is refused where nothing loads it, and the error says what would', async () => {
      await expect(planStates(none, lblc('60', 'lblcr'))).rejects.toThrow(
        "sysctls.lblc_expiration: the current state has no such sysctl; it belongs to the module ip_vs_lblc, which is loaded by a service with the scheduler 'lblc' or by `modprobe ip_vs_lblc`",
      )
    })
  })

  const replacing = ({ steps }: Plan): unknown[] =>
    steps.flatMap((step) => ('replaces' in step ? [step.replaces] : []))
  const tunnel = { address: '2001:db8::1', port: 8080, method: 'tunnel' } as const

  test.each<[string, State, State, unknown[]]>([
    ['one of two ports', web(real(1)), web(real(1, { port: 81 }), real(1, { port: 82 })), []],
    ['two ports by one', web(real(1), real(1, { port: 81 })), web(real(1, { port: 82 })), []],
    ['two servers', web(real(1)), web(real(2)), []],
    ['a family', web(real(1), real(2)), web(tunnel, real(2)), [{ address: '10.1.0.1', port: 8080 }]],
    ['a family and a port', web(real(1)), web({ ...tunnel, port: 81 }), []],
    ['one of two families', web(real(1), real(2)), web(tunnel), []],
    [
      'a port, and a family of what is left',
      web(real(1), real(2)),
      web(real(1, { port: 81 }), tunnel),
      [
        { address: '10.1.0.2', port: 8080 },
        { address: '10.1.0.1', port: 8080 },
      ],
    ],
    ['a service by one with another port', web(), { services: [{ ...WEB, port: 81 }] }, [WEB]],
    ['a service by two', web(), { services: [81, 82].map((port) => ({ ...WEB, port })) }, []],
    ['two services by one', { services: [81, 82].map((port) => ({ ...WEB, port })) }, web(), []],
    ['a service by another protocol', web(), { services: [{ ...WEB, protocol: 'udp' }] }, []],
    [
      'a mark of the other family',
      { services: [{ protocol: 'fwmark', fwmark: 5 }] },
      { services: [{ protocol: 'fwmark', fwmark: 5, family: 'ipv6' }] },
      [{ protocol: 'fwmark', fwmark: 5, family: 'ipv4' }],
    ],
  ])('says what replaces what, one for one: %s', async (_, from, to, replaced) => {
    expect(replacing(await planStates(from, to))).toEqual(replaced)
    // What stays is not replaced.
    expect(replacing(await planStates(from, to, { prune: false }))).toEqual([])
  })

  test('keepWeights keeps the weight of a server that is replaced for its port', async () => {
    const from = web(real(1, { weight: 0 }), real(2))
    const to = web(real(1, { port: 81, weight: 5 }), real(3, { weight: 5 }))
    const weights = ({ steps }: Plan): unknown[] =>
      steps.flatMap((step) => (step.kind === 'add-server' ? [[step.server.port, step.after.weight]] : []))
    expect(weights(await planStates(from, to, { keepWeights: true }))).toEqual([
      [8080, 5],
      [81, 0],
    ])
    expect(weights(await planStates(from, to))).toEqual([
      [8080, 5],
      [81, 5],
    ])
    // Nobody may take it for live.
    const last = web(real(1, { port: 81, weight: 5 }))
    expect((await planStates(from, last, { keepWeights: true })).starved).toEqual([WEB])
  })

  test('stops a daemon before it adds a tunnel to another family, and starts one after the last is gone', async () => {
    const mixed = web({ address: '2001:db8::1', method: 'tunnel' })
    const daemons: State['syncDaemons'] = [{ state: 'master', multicastInterface: 'eth0' }]
    const to = await planStates({ ...web(), syncDaemons: daemons }, { ...mixed, syncDaemons: [] })
    expect(kinds(to)).toEqual(['stop-daemon', 'add-server'])
    const back = await planStates({ ...mixed, syncDaemons: [] }, { ...web(), syncDaemons: daemons })
    expect(kinds(back)).toEqual(['delete-server', 'start-daemon'])
  })

  test.each<[string, State, State, boolean]>([
    ['the same order', web(real(1), real(2), real(3)), web(real(1), real(2), real(3)), false],
    ['another order', web(real(1), real(2)), web(real(2), real(1)), true],
    ['one that is gone', web(real(1), real(2), real(3)), web(real(1), real(3)), false],
    ['a new one in front', web(real(1), real(2)), web(real(3), real(1), real(2)), false],
    ['a new one behind', web(real(1), real(2)), web(real(1), real(2), real(3)), true],
    ['a new one in front of a gone one', web(real(1), real(2)), web(real(3), real(2)), false],
    ['new ones alone', web(real(1)), web(real(2), real(3)), false],
  ])('knows whether the order will be the wanted one: %s', async (_, from, to, reordered) => {
    const by = (scheduler: string, { services = [] }: State): State => ({
      services: services.map((service) => ({ ...service, scheduler })),
    })
    for (const scheduler of ['sh', 'dh', 'mh', 'fo', 'ovf', 'sed', 'nq', 'lblc', 'lblcr', 'ours']) {
      const plan = await planStates(by(scheduler, from), by(scheduler, to))
      expect([scheduler, plan.reordered]).toEqual([scheduler, reordered ? [WEB] : []])
    }
    for (const scheduler of ['rr', 'wrr', 'lc', 'wlc', 'twos', 'none']) {
      expect((await planStates(by(scheduler, from), by(scheduler, to))).reordered).toEqual([])
    }
  })

  const two: State = {
    services: [
      { ...WEB, realServers: [real(1)] },
      { protocol: 'tcp', address: '192.0.2.1', port: 80 },
      { protocol: 'tcp', address: '2001:db8::1', port: 80 },
      { protocol: 'fwmark', fwmark: 5 },
    ],
  }
  test.each<[string, PlanOptions['scope'], number[]]>([
    ['an address', { addresses: ['192.0.2.1'] }, [1]],
    ['networks', { addresses: ['10.0.0.0/8', '2001:db8::/32'] }, [0, 2]],
    ['all of one family', { addresses: ['0.0.0.0/0'] }, [0, 1]],
    ['a network with odd bits', { addresses: ['10.0.0.3/31', '192.0.2.2/31'] }, [0]],
    ['a mark', { fwmarks: [5] }, [3]],
    ['a mark and an address', { fwmarks: [4, 5], addresses: ['::/0'] }, [2, 3]],
    ['a service', { services: ['tcp/192.0.2.1:80'] }, [1]],
    ['services, however they are written', { services: ['tcp/[2001:DB8:0::1]:80', WEB] }, [0, 2]],
    ['a mark of IPv4', { services: ['fwmark/5'] }, [3]],
    ['a mark of IPv6', { services: ['fwmark6/5'] }, []],
    ['nothing', {}, []],
    ['a function', ({ protocol }) => protocol === 'fwmark', [3]],
  ])('looks only at what is inside of a scope: %s', async (_, scope, inside) => {
    const plan = await planStates(two, { services: [] }, scope === undefined ? {} : { scope })
    const ids = (keys: readonly object[]): string[] => keys.map((key) => JSON.stringify(key)).sort()
    expect(
      ids(plan.steps.map((step) => ('service' in step ? { ...step.service, family: undefined } : {}))),
    ).toEqual(ids(inside.map((index) => ({ ...two.services?.[index], realServers: undefined }))))
  })

  test('a mark in a scope is that of both families, a service of one', async () => {
    const marks: State = {
      services: (['ipv4', 'ipv6'] as const).map((family) => ({ protocol: 'fwmark', fwmark: 5, family })),
    }
    const deleted = async (scope: PlanOptions['scope'] & object): Promise<unknown[]> => {
      const { steps } = await planStates(marks, { services: [] }, { scope })
      return steps.map((step) => 'service' in step && 'family' in step.service && step.service.family)
    }
    expect((await deleted({ fwmarks: [5] })).sort()).toEqual(['ipv4', 'ipv6'])
    expect(await deleted({ services: ['fwmark/5'] })).toEqual(['ipv4'])
    expect(await deleted({ services: ['fwmark6/5'] })).toEqual(['ipv6'])
  })

  test.each<[State, PlanOptions, string]>([
    [two, { scope: { addresses: ['10.0.0.0/8'] } }, 'services[1]: tcp/192.0.2.1:80 is outside the scope'],
    [{ services: [], timeouts: { tcpSeconds: 1 } }, { scope: {} }, 'timeouts belong to the whole director'],
    [
      { services: [], sysctls: { conntrack: '1' } },
      {},
      'sysctls.conntrack: the current state has no such sysctl; sysctls() lists those that a kernel has',
    ],
    [
      { services: [], sysctls: { conntrak: '1' } },
      {},
      "sysctls.conntrak: there is no such sysctl; did you mean 'conntrack'?",
    ],
    [
      { services: [], timeouts: { tcpSeconds: 1 } },
      {},
      'timeouts.tcpSeconds: the current state does not include this, so it cannot be compared; leave it out',
    ],
    [
      { services: [], sysctls: { constructor: '1' } },
      {},
      'sysctls.constructor: the current state has no such sysctl',
    ],
    [
      '-A -f 1' as never,
      {},
      "a state must be an object, got '-A -f 1': restore() and parseState() read text",
    ],
    [
      Buffer.from('{}') as never,
      {},
      'a state must be an object, got bytes: restore() and parseState() read text',
    ],
    [
      { services: [{ ...WEB, realServers: [real(1), real(2, { weight: -1 })] }] },
      {},
      'services[0].realServers[1].weight must be a whole number 0 to 2147483647, got -1',
    ],
    [web(real(1), real(1)), {}, 'appears twice'],
    [{ services: [], sysctls: { '../../kernel/panic': '1' } }, {}, 'sysctls'],
    [
      two,
      { scope: { addresses: ['192.0.2.0/x'] } },
      "scope.addresses[0]: its prefix length must be a whole number 0 to 32, got 'x'",
    ],
    [
      two,
      { scope: { services: ['192.0.2.1:80'] } },
      "scope.services[0]: a virtual service is written like 'tcp/192.0.2.10:80'",
    ],
    [
      two,
      { scope: { services: [WEB, { ...WEB, port: 65536 }] } },
      'scope.services[1]: port must be a whole number 0 to 65535, got 65536',
    ],
    [two, { scope: { services: 'fwmark6/5' as never } }, "scope.services must be an array, got 'fwmark6/5'"],
    [two, { scope: (() => 'yes') as never }, "scope must return true or false, got 'yes' for"],
  ])('refuses %j with %j', async (wanted, options, message) => {
    await expect(planStates({ services: [], sysctls: {} }, wanted, options)).rejects.toThrow(message)
  })
})

describe('formatPlan', () => {
  const from: State = {
    services: [
      { ...WEB, realServers: [real(9), real(10), real(11, { weight: 3 })] },
      { protocol: 'udp', address: '10.0.0.10', port: 53, scheduler: 'rr', realServers: [real(1), real(2)] },
    ],
    timeouts: { tcpSeconds: 900, udpSeconds: 300 },
    syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 1 }],
    sysctls: { conntrack: '0' },
  }
  const to: State = {
    services: [
      {
        ...WEB,
        scheduler: 'sh',
        schedulerFlags: ['sh-port'],
        realServers: [
          real(10, { weight: 0, upperThreshold: 100 }),
          real(9, { port: 9090, weight: 0 }),
          real(11, { weight: 0, method: 'tunnel', tunnel: { type: 'gue', port: 6080, checksum: 'csum' } }),
        ],
      },
      { protocol: 'fwmark', fwmark: 7, persistence: { netmask: 24 }, realServers: [real(3, { weight: 5 })] },
    ],
    timeouts: { tcpSeconds: 1000, udpSeconds: 300 },
    syncDaemons: [{ state: 'master', multicastInterface: 'eth1' }],
    sysctls: { conntrack: '1' },
  }
  const EXPECTED = `
~ sysctl net.ipv4.vs.conntrack  0 -> 1
~ timeouts  tcpSeconds 900 -> 1000
- master sync daemon  multicastInterface eth0, syncId 1, multicastGroup 224.0.0.81, multicastPort 8848, multicastTtl 1
+ master sync daemon  multicastInterface eth1, syncId 0, multicastGroup 224.0.0.81, multicastPort 8848, multicastTtl 1  (replaces the running one, which cannot be edited)
+ fwmark/7  scheduler wlc, persistence 300s/255.255.255.0
+   10.1.0.3:8080  method masquerade, weight 5
~ tcp/10.0.0.2:80  scheduler wlc -> sh, schedulerFlags none -> sh-port
-   10.1.0.9:8080  method masquerade, weight 1  (replaced by 10.1.0.9:9090)
+   10.1.0.9:9090  method masquerade, weight 0  (replaces 10.1.0.9:8080: a port cannot be edited)
~   10.1.0.10:8080  weight 1 -> 0, upperThreshold none -> 100
~   10.1.0.11:8080  method masquerade -> tunnel, weight 3 -> 0, tunnel none -> gue:6080/csum
- udp/10.0.0.10:53  scheduler rr
-   10.1.0.1:8080  method masquerade, weight 1
-   10.1.0.2:8080  method masquerade, weight 1
! tcp/10.0.0.2:80 would be left without a real server whose weight is above 0
  tcp/10.0.0.2:80: its real servers stay in an order that differs from the state's
! tcp/10.0.0.2:80 -> 10.1.0.11:8080: port 8080 is ignored with method tunnel: packets go to port 80. Use method masquerade, or port 80.
! fwmark/7 -> 10.1.0.3:8080: port 8080 is ignored, because the service is persistent and a firewall mark: packets keep the port that the client used. Use port 0, or leave out persistence.
4 to add, 5 to change, 5 to delete.
`.slice(1)

  test('prints what a person reads at a glance', async () => {
    expect(await formatPlan(await planStates(from, to))).toBe(EXPECTED)
  })

  test('prints the same in colour, if asked', async () => {
    const text = await formatPlan(await planStates(from, to), { color: true })
    expect(text).toContain('\u001B[32m+ fwmark/7  scheduler wlc, persistence 300s/255.255.255.0\u001B[39m\n')
    expect(text).toContain('\u001B[31m-   10.1.0.1:8080')
    expect(text.replaceAll(/\u001B\[[\d;]*m/g, '')).toBe(EXPECTED)
  })

  test('lets no name change the terminal, or be a line of its own', async () => {
    const odd = 'a\u001B]0;x\u0007\n- \u009B31m\u202E'
    const from: State = { services: [{ ...WEB, scheduler: odd, realServers: [] }] }
    const to: State = {
      services: [
        { ...WEB, persistence: { timeoutSeconds: 60, netmask: 24 }, persistenceEngine: odd, realServers: [] },
      ],
    }
    const shown = String.raw`a\u001b]0;x\u0007\n- \u009b31m\u202e`
    // planStates() may refuse such names; a plan may come from anywhere.
    const step = { kind: 'edit-service', service: WEB, before: from.services?.[0], after: to.services?.[0] }
    const plan = {
      steps: [step],
      starved: [],
      reordered: [],
      absentSysctls: [],
      warnings: [],
      deletions: 0,
    } as unknown as Plan
    for (const color of [false, true]) {
      const text = await formatPlan(plan, { color })
      expect(text.replaceAll(/\u001B\[\d+m/g, '')).toBe(
        `~ tcp/10.0.0.2:80  scheduler ${shown} -> wlc, persistence none -> 60s/24, persistenceEngine none -> ${shown}\n` +
          '0 to add, 1 to change, 0 to delete.\n',
      )
      expect(text.match(/\u001B/g)?.length ?? 0).toBe(color ? 2 : 0)
    }
  })

  test('sorts a plan of any length', async () => {
    const last = (index: number): string => `${String(index >> 8)}.${String(index & 255)}`
    const servers = Array.from({ length: 20_000 }, (_, index) => ({
      ...real(1),
      address: `10.1.${last((index * 7919) % 20_000)}`,
    }))
    const text = await formatPlan(await planStates(web(), web(...servers)))
    const found = [...text.matchAll(/10\.1\.(\d+)\.(\d+):8080/g)].map(
      ([, high, low]) => Number(high) * 256 + Number(low),
    )
    expect(found).toEqual(Array.from({ length: 20_000 }, (_, index) => index))
  })

  test('says that there is nothing to do', async () => {
    expect(await formatPlan(await planStates(from, from))).toBe('Nothing to do.\n')
  })

  test('says of both what replaces what, and sorts by number', async () => {
    const server = (address: string, method: 'tunnel' | 'masquerade' = 'tunnel'): object => ({
      address,
      port: 80,
      method,
    })
    const from = { services: [{ ...WEB, realServers: [server('10.0.0.9', 'masquerade')] }] } as State
    const to = { services: [{ ...WEB, realServers: [server('2001:db8::1')] }] } as State
    expect(await formatPlan(await planStates(from, to))).toBe(
      `
  tcp/10.0.0.2:80
-   10.0.0.9:80  method masquerade, weight 1  (replaced by [2001:db8::1]:80)
+   [2001:db8::1]:80  method tunnel, weight 1  (replaces 10.0.0.9:80: a family cannot be edited)
1 to add, 0 to change, 1 to delete.
`.slice(1),
    )
    const services = (port: number, family: 'ipv4' | 'ipv6'): State => ({
      services: [
        ...['10', 'a', '9'].map((last) => ({
          protocol: 'tcp' as const,
          address: `2001:db8::${last}`,
          port,
          scheduler: 'rr',
        })),
        { protocol: 'fwmark', fwmark: 5, family, scheduler: 'rr' },
      ],
    })
    expect(await formatPlan(await planStates(services(80, 'ipv4'), services(443, 'ipv6')))).toBe(
      `
- fwmark/5  scheduler rr  (replaced by fwmark6/5)
+ fwmark6/5  scheduler rr  (replaces fwmark/5: a family cannot be edited)
- tcp/[2001:db8::9]:80  scheduler rr  (replaced by tcp/[2001:db8::9]:443)
+ tcp/[2001:db8::9]:443  scheduler rr  (replaces tcp/[2001:db8::9]:80: a port cannot be edited)
- tcp/[2001:db8::a]:80  scheduler rr  (replaced by tcp/[2001:db8::a]:443)
+ tcp/[2001:db8::a]:443  scheduler rr  (replaces tcp/[2001:db8::a]:80: a port cannot be edited)
- tcp/[2001:db8::10]:80  scheduler rr  (replaced by tcp/[2001:db8::10]:443)
+ tcp/[2001:db8::10]:443  scheduler rr  (replaces tcp/[2001:db8::10]:80: a port cannot be edited)
4 to add, 0 to change, 4 to delete.
`.slice(1),
    )
  })

  test('refuses half a plan', async () => {
    await expect(formatPlan({ steps: [] } as never)).rejects.toThrow(
      'this is not a complete plan: starved is missing. Pass the awaited result of plan()',
    )
  })

  test.each([undefined, web(real(1)), Promise.resolve({ steps: [] })])(
    'refuses what is no plan',
    async (plan) => {
      await expect(formatPlan(plan as never)).rejects.toThrow(
        /^(this is not a complete plan: steps is missing|a plan must be an object)/,
      )
    },
  )

  test('names the service of a server that changes alone', async () => {
    expect(await formatPlan(await planStates(web(real(1)), web(real(1, { weight: 5 }))))).toBe(
      '  tcp/10.0.0.2:80\n~   10.1.0.1:8080  weight 1 -> 5\n0 to add, 1 to change, 0 to delete.\n',
    )
  })
})
