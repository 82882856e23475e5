import { afterEach, describe, expect, test, vi } from 'vitest'
import { type ApplyProgress, type Plan, planStates, type State, type StepKind } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { hurry } from '../helpers/hurry.ts'
import { identity, membersOfMessage, nest, readU32, text, u32 } from '../helpers/kernel-bytes.ts'
import { ALL, BEFORE, DNS, server, start, unordered, WANTED, WEB, writes } from './setup.ts'

/** apply() on the in-memory kernel: what is sent, in which order, and what becomes of the table. */

describe('apply', () => {
  test('makes the table equal to the state, the order of servers that are new to it included', async () => {
    const { ipvs } = await start()
    const { applied, steps } = await ipvs.apply(WANTED)
    expect(applied).toBe(true)
    expect(new Set(steps.map(({ kind }) => kind))).toEqual(
      new Set<StepKind>([
        'set-sysctl',
        'set-timeouts',
        'add-service',
        'add-server',
        'edit-service',
        'edit-server',
        'delete-server',
        'delete-service',
        'stop-daemon',
        'start-daemon',
      ]),
    )
    expect(await ipvs.save({ ...ALL })).toEqual({
      version: 1,
      services: [
        {
          ...WEB,
          scheduler: 'sh',
          schedulerFlags: ['sh-port'],
          persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' },
          realServers: [
            server(5, { weight: 9 }),
            server(2, { weight: 0 }),
            server(3, { weight: 1, upperThreshold: 10 }),
          ],
        },
        {
          protocol: 'fwmark',
          fwmark: 7,
          family: 'ipv4',
          scheduler: 'wlc',
          realServers: [server(6, { weight: 1 }), server(7, { weight: 1 })],
        },
      ],
      timeouts: { tcpSeconds: 1000, tcpFinSeconds: 120, udpSeconds: 300 },
      syncDaemons: [
        {
          state: 'master',
          multicastInterface: 'eth0',
          syncId: 2,
          maxLengthBytes: 1472,
          multicastGroup: '224.0.0.81',
          multicastPort: 8848,
          multicastTtl: 1,
        },
        {
          state: 'backup',
          multicastInterface: 'eth0',
          syncId: 2,
          maxLengthBytes: 1400,
          multicastGroup: '224.0.0.81',
          multicastPort: 8848,
          multicastTtl: 1,
        },
      ],
      sysctls: { conntrack: '1', sync_threshold: '5 60' },
    })
  })

  test('adds first, then edits, and takes away last', async () => {
    const { ipvs, kernel } = await start()
    await ipvs.apply(WANTED)
    expect(writes(kernel)).toEqual([
      'setTimeouts',
      'addService',
      'addRealServer',
      'addRealServer',
      'addRealServer',
      'editService',
      'editRealServer',
      // From here on something is taken away: the weight of a server, then servers.
      'editRealServer',
      'deleteRealServer',
      'deleteRealServer',
      'deleteService',
      'stopSyncDaemon',
      'startSyncDaemon',
      'startSyncDaemon',
    ])
    const [first, last] = [
      kernel.log.find(({ service }) => service?.protocol === 'fwmark'),
      kernel.log.at(-1),
    ]
    expect(first).toMatchObject({ command: 'addService' })
    expect(last).toMatchObject({ command: 'startSyncDaemon' })
  })

  test('brings back the sysctl of a scheduler whose module is not loaded yet, as after a reboot', async () => {
    const service = { ...WEB, scheduler: 'lblc' } as const
    const before = await start({ services: [service] })
    await before.ipvs.setSysctl('lblc_expiration', 60)
    const saved = await before.ipvs.save({ sysctls: true })
    expect(saved.sysctls).toMatchObject({ lblc_expiration: '60' })

    const after = await start({ services: [] })
    expect((await after.ipvs.restore(saved)).steps.map(({ kind }) => kind)).toEqual([
      'add-service',
      'set-sysctl',
    ])
    expect(await after.ipvs.save({ sysctls: true })).toEqual(saved)

    // The module stays when the service goes.
    const failed = await start({ services: [] })
    failed.transport.fault = { at: 1, failure: { errno: 22, syscall: 'write' } }
    await expect(failed.ipvs.restore(saved)).rejects.toMatchObject({ notUndone: [] })
    expect(await failed.ipvs.save({ sysctls: ['lblc_expiration'] })).toMatchObject({
      services: [],
      sysctls: { lblc_expiration: '86400' },
    })
  })

  test('sends nothing the second time', async () => {
    const { ipvs, kernel } = await start()
    await ipvs.apply(WANTED)
    kernel.clearLog()
    expect(await ipvs.apply(WANTED)).toEqual({
      steps: [],
      deletions: 0,
      starved: [],
      reordered: [],
      absentSysctls: [],
      warnings: [],
      applied: true,
      failed: [],
    })
    expect(writes(kernel)).toEqual([])
  })

  test('sends one request for each difference, together', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    const state = (weight: number): State => ({
      services: Array.from({ length: 100 }, (_, index) => ({
        protocol: 'fwmark',
        fwmark: index + 1,
        realServers: Array.from({ length: 10 }, (__, at) =>
          server(at + 1, { weight: index % 10 === 0 && at === 3 ? weight : 1 }),
        ),
      })),
    })
    await ipvs.apply(state(1))
    kernel.clearLog()
    await ipvs.apply(state(5))
    const sent = kernel.log.filter(({ command }) => command === 'editRealServer')
    expect(sent).toHaveLength(10)
    expect(new Set(sent.map(({ call }) => call)).size).toBe(1)
    expect(writes(kernel)).toHaveLength(10)
    kernel.clearLog()
    await ipvs.apply(state(5))
    expect(writes(kernel)).toEqual([])
  })

  test('keeps counters and connections of what it does not touch, and of what it edits', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 8 })
    kernel.advance(2)
    const before = await ipvs.snapshot()
    await ipvs.apply({
      services: [{ ...WEB, scheduler: 'rr', realServers: [server(9), server(2, { weight: 7 }), server(3)] }],
    })
    const after = await ipvs.snapshot()
    const web = (list: typeof before) => list.find(({ service }) => service.port === 80)
    const find = (list: typeof before, last: number) =>
      web(list)?.realServers.find(({ address }) => address === `10.1.0.${String(last)}`)
    for (const last of [2, 3]) {
      expect(find(before, last)?.stats.connections).toBeGreaterThan(0)
      for (const field of ['stats', 'activeConnections', 'inactiveConnections'] as const) {
        expect(find(after, last)?.[field]).toEqual(find(before, last)?.[field])
      }
    }
    expect(web(after)?.service.stats).toEqual(web(before)?.service.stats)
  })

  test('keeps the hidden timeout of a service that is no longer persistent, as an edit does', async () => {
    const { ipvs, kernel } = await start({ services: [] })
    // A timeout and a mask without the flag.
    const settings = [text(6, 'wlc'), u32(7, 0, 0xffffffff), u32(8, 77), u32(9, 0x00ffffff)]
    await kernel.batch([
      { command: COMMANDS.newService, attributes: nest(1, ...identity(WEB.address, WEB.port), ...settings) },
    ])
    await ipvs.apply({ services: [{ ...WEB, scheduler: 'rr' }] })
    const hidden = async (): Promise<unknown> => {
      const { messages } = await kernel.dump({ command: COMMANDS.getService, attributes: new Uint8Array(0) })
      const members = membersOfMessage(messages[0]!, 1)
      return [readU32(members.get(8)), readU32(members.get(9))]
    }
    expect(await hidden()).toEqual([77, 0x00ffffff])
    expect(await ipvs.service(WEB)).toMatchObject({ scheduler: 'rr' })
  })
})

describe('options', () => {
  test('prune: false keeps what the state does not name', async () => {
    const { ipvs } = await start()
    const plan = await ipvs.plan({ ...WANTED, syncDaemons: [] }, { prune: false })
    expect(plan.deletions).toBe(0)
    expect(plan.steps.filter(({ kind }) => /delete|stop/.test(kind))).toEqual([])
  })

  test('keepWeights leaves the weights of servers that are there, and no others', async () => {
    const { ipvs } = await start()
    await ipvs.apply(WANTED, { keepWeights: true })
    const weights = (await ipvs.realServers(WEB)).map(({ address, weight }) => [address, weight])
    expect(weights).toEqual([
      ['10.1.0.5', 9],
      ['10.1.0.2', 5],
      ['10.1.0.3', 1],
    ])
  })

  test('signal undoes what was done, at every stage', async () => {
    for (let at = 0; at < 16; at++) {
      const { ipvs, transport } = await start()
      const before = unordered(await ipvs.save(ALL))
      const controller = new AbortController()
      const reason = new Error('enough')
      transport.beforeWrite = (index) => {
        if (index === at) controller.abort(reason)
      }
      const outcome = await ipvs.apply(WANTED, { signal: controller.signal }).then(
        () => 'applied',
        (error: unknown) => error,
      )
      if (outcome === 'applied') expect((await ipvs.plan(WANTED)).steps).toEqual([])
      else {
        expect(outcome).toBe(reason)
        expect(unordered(await ipvs.save(ALL))).toEqual(before)
      }
    }
    const { ipvs, kernel } = await start()
    await expect(ipvs.apply(WANTED, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow(
      'before',
    )
    expect(writes(kernel)).toEqual([])
  })

  test('what an async onProgress rejects with ends the apply where it still does something', async () => {
    const { ipvs } = await start()
    const before = await ipvs.save(ALL)
    const many = Array.from({ length: 2000 }, (_, index) => ({
      protocol: 'fwmark' as const,
      fwmark: index + 1,
    }))
    const reason = new Error('no more')
    const onProgress = (): Promise<never> => Promise.reject(reason)
    await expect(ipvs.apply({ services: many }, { prune: false, onProgress })).rejects.toBe(reason)
    expect(unordered(await ipvs.save(ALL))).toEqual(unordered(before))
    // The last that it hears of: nothing is left to end.
    await ipvs.apply({ services: many.slice(0, 1) }, { prune: false, onProgress })
  })

  test('onProgress counts to the end, and ends the apply with what it throws', async () => {
    const { ipvs, kernel } = await start()
    const seen: ApplyProgress[] = []
    await ipvs.apply(WANTED, { onProgress: (progress) => seen.push(progress) })
    expect(seen.at(-1)).toEqual({ phase: 'apply', done: 16, total: 16 })
    const before = await ipvs.save(ALL)
    kernel.clearLog()
    const thrown = new Error('no more')
    await expect(
      ipvs.apply(BEFORE, {
        onProgress: () => {
          throw thrown
        },
      }),
    ).rejects.toBe(thrown)
    expect(unordered(await ipvs.save(ALL))).toEqual(unordered(before))
  })

  test.each<[object, string]>([
    [{ keepWeight: true }, "options have no field 'keepWeight': did you mean 'keepWeights'?"],
    [{ prune: 'yes' }, "prune must be true or false, got 'yes'"],
    [{ allow: ['edit-server', 'add-servers'] }, "allow[1] must be one of 'add-service'"],
    [{ maxDeletions: -1 }, 'maxDeletions must be a whole number 0 to'],
    [
      { scope: { addresses: ['10.0.0.0/33'] } },
      'scope.addresses[0]: its prefix length must be a whole number 0 to 32',
    ],
    [{ scope: { fwmarks: [0] } }, 'scope.fwmarks[0] must be a whole number 1 to 4294967295'],
    [{ scope: { networks: [] } }, "scope has no field 'networks'"],
    [{ drain: { timeoutMs: -1 } }, 'timeoutMs must be a whole number'],
    [{ drain: { atTimeout: 'keep' } }, "drain has no field 'atTimeout'"],
  ])('%j are refused before anything is read', async (options, message) => {
    const { ipvs, kernel } = await start()
    await expect(ipvs.apply(WANTED, options)).rejects.toThrow(message)
    expect(kernel.log).toEqual([])
  })
})

test('a promise is not a state, and the error says so', async () => {
  const { ipvs, kernel } = await start()
  const planned = ipvs.plan(BEFORE)
  for (const given of [planned, ipvs.save()]) {
    await expect(ipvs.apply(given as never)).rejects.toThrow(
      'a state must be an object, got a promise: await it first',
    )
    await expect(ipvs.plan(given as never)).rejects.toThrow('await it first')
  }
  expect(writes(kernel)).toEqual([])
})

test('what a function for a scope writes into a key is not sent', async () => {
  const { ipvs } = await start({ services: [WEB, DNS] })
  const scope = (key: { port?: number }): boolean => {
    key.port = 99
    return true
  }
  const { steps } = await ipvs.apply({ services: [] }, { scope: scope as never, maxDeletions: 2 })
  expect(steps.map((step) => 'service' in step && step.service)).toEqual([DNS, WEB])
  expect(await ipvs.services()).toEqual([])
})

describe('a long state', () => {
  const many = (count: number): State => ({
    services: [
      {
        ...WEB,
        realServers: Array.from({ length: count }, (_, index) => ({
          address: `10.2.${String(index >> 8)}.${String(index & 255)}`,
          weight: 5,
        })),
      },
    ],
  })

  afterEach(() => {
    vi.restoreAllMocks()
  })

  test('is taken as it was when it was checked, whatever its owner does meanwhile', async () => {
    hurry()
    /** A plan whose state gets another real server while it is made. */
    const planWhile = async (at: number): Promise<Plan> => {
      const state = many(200)
      const planning = planStates({ services: [] }, state)
      await new Promise((resolve) => setImmediate(resolve))
      Object.assign(state.services?.[0]?.realServers?.[at] ?? {}, { address: 'nowhere', weight: -1 })
      return planning
    }
    // By then the first has been checked, and the last has not.
    const { wanted, steps } = await planWhile(0)
    expect(wanted.services?.[0]?.realServers?.[0]).toMatchObject({ address: '10.2.0.0', weight: 5 })
    expect(steps.at(-1)).toMatchObject({ kind: 'add-server', after: { address: '10.2.0.0', weight: 5 } })
    await expect(planWhile(199)).rejects.toThrow('services[0].realServers[199].address must be')
  })

  test('lets others have the JS thread while its requests are made', async () => {
    const { ipvs, kernel } = await start()
    await ipvs.flush()
    kernel.clearLog()
    const { steps } = await planStates({ services: [] }, many(500))
    let turns = 0
    hurry()
    const count = (): void => {
      turns += 1
      if (kernel.log.length === 0) setImmediate(count)
    }
    setImmediate(count)
    expect(await ipvs.runSteps(steps)).toEqual(steps.map((step) => ({ step })))
    expect(turns).toBeGreaterThan(5)
  })
})
