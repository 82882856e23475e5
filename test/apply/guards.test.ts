import { describe, expect, test } from 'vitest'
import { ApplyError, type PlanOptions, planStates, type State, type StateService } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { BEFORE, DNS, MARK, server, start, WANTED, WEB, writes } from './setup.ts'

/** What is refused before anything is sent. */

describe('guards', () => {
  const refusal = async (options: Parameters<Ipvs['apply']>[1], state: State = WANTED): Promise<string> => {
    const { ipvs, kernel } = await start()
    const error = (await ipvs.apply(state, options).catch((reason: unknown) => reason)) as ApplyError
    expect(error).toMatchObject({ code: 'ERR_IPVS_GUARD' })
    expect(writes(kernel)).toEqual([])
    return error.message
  }

  test('refuse more deletions than may be, and count the servers that go with a service', async () => {
    // Two servers of web, and dns with its two.
    expect(await refusal({ maxDeletions: 4 })).toContain(
      '5 services and real servers would be deleted, more than `maxDeletions` (4)',
    )
    const { ipvs } = await start()
    await ipvs.apply(WANTED, { maxDeletions: 5 })
  })

  test('refuse a kind of step that is not allowed, by force too', async () => {
    expect(await refusal({ allow: ['edit-server', 'edit-service'], force: true })).toContain(
      'set-sysctl sysctl conntrack is not allowed, because `allow` has only edit-server, edit-service. To allow this, add set-sysctl to `allow`.',
    )
    expect(await refusal({ allow: [] })).toContain(
      'set-sysctl sysctl conntrack is not allowed, because `allow` is empty. To allow this, add set-sysctl to `allow`.',
    )
  })

  test('say together what each of them refuses, and what allows it', async () => {
    const state = { ...WANTED, services: [{ ...WEB, realServers: [server(1, { weight: 0 })] }] }
    const message = await refusal({ allow: [], maxDeletions: 1 }, state)
    expect(message).toMatch(/because `allow` is empty; 6 services .*; tcp\/10\.0\.0\.1:80 would be left/)
    expect(message).toMatch(/To allow this, add set-sysctl to `allow` and give `force`\.$/)
  })

  test.each<[string, StateService['realServers']]>([
    ['by deletion', []],
    ['by weight 0', [server(1, { weight: 0 })]],
  ])('refuse to leave a service without a live server %s, unless forced', async (_, realServers) => {
    const state: State = {
      services: [
        { ...WEB, realServers: realServers ?? [] },
        { ...DNS, realServers: [server(1)] },
      ],
    }
    expect(await refusal({}, state)).toContain('tcp/10.0.0.1:80 would be left without a real server')
    const { ipvs } = await start()
    await ipvs.apply(state, { force: true })
    expect((await ipvs.plan(state)).steps).toEqual([])
  })

  test('refuse to delete more than half of the services, unless a number says how many', async () => {
    const services = [1, 2, 3, 4].map((port) => ({ ...WEB, port }))
    const { ipvs, kernel } = await start({ services })
    const left = (count: number, more: readonly StateService[] = []): State => ({
      services: [...services.slice(0, count), ...more],
    })
    const message =
      'refused, nothing was changed: 3 of 4 services would be deleted, which is more than half. ' +
      'To allow this, give `maxDeletions` or `force`.'
    for (const options of [{}, { dryRun: true }, { keepGoing: true }]) {
      await expect(ipvs.apply(left(1), options)).rejects.toMatchObject({ code: 'ERR_IPVS_GUARD', message })
      await expect(ipvs.restore(left(1), options)).rejects.toMatchObject({ message })
    }
    await expect(ipvs.apply(await ipvs.plan(left(1)))).rejects.toMatchObject({ message })
    expect(writes(kernel)).toEqual([])
    for (const options of [
      { maxDeletions: 3 },
      { maxDeletions: Infinity },
      { force: true },
      { prune: false },
    ]) {
      expect((await ipvs.apply(left(1), { ...options, dryRun: true })).applied).toBe(false)
    }
    await ipvs.apply(left(2))
    // New ones do not make up for them.
    await expect(ipvs.apply(left(0, [DNS, MARK]))).rejects.toThrow('2 of 2 services would be deleted')
  })

  test('do not count a service whose place another takes', async () => {
    const { ipvs } = await start({ services: [WEB, { ...DNS, address: '10.0.0.2' }] })
    await ipvs.apply({
      services: [
        { ...WEB, port: 8080 },
        { ...DNS, address: '10.0.0.2', port: 54 },
      ],
    })
    expect((await ipvs.services()).map(({ port }) => port).sort()).toEqual([54, 8080])
  })

  test('count the services inside the scope alone', async () => {
    const { ipvs } = await start()
    await expect(ipvs.apply({ services: [] }, { scope: { services: ['udp/10.0.0.1:53'] } })).rejects.toThrow(
      '1 of 1 service would be deleted',
    )
  })

  test('let a service go that goes whole', async () => {
    const { ipvs } = await start()
    await ipvs.apply({ services: [] }, { maxDeletions: 8 })
    expect(await ipvs.services()).toEqual([])
  })

  test('hold for a dry run, which sends nothing', async () => {
    expect(await refusal({ dryRun: true, maxDeletions: 1 })).toContain('maxDeletions')
    const { ipvs, kernel } = await start()
    const { applied, steps } = await ipvs.apply(WANTED, { dryRun: true })
    expect([applied, steps.length]).toEqual([false, 16])
    expect(writes(kernel)).toEqual([])
  })
})

describe('a plan that was made before', () => {
  test.each([0, 1, 2, 3])(
    'notices at write %i of a plan that the table has changed, and sends nothing',
    async (change) => {
      const { ipvs, kernel } = await start()
      const plan = await ipvs.plan(WANTED)
      const other = await Ipvs.open({ transport: kernel })
      const changes = [
        () => other.editRealServer(WEB, server(2), { weight: 6 }),
        () => other.deleteRealServer(WEB, server(4)),
        () => other.addService({ ...WEB, port: 81 }),
        () => other.setTimeouts({ tcpSeconds: 950 }),
      ]
      await changes[change]?.()
      kernel.clearLog()
      await expect(ipvs.apply(plan)).rejects.toMatchObject({
        code: 'ERR_IPVS_STALE_PLAN',
        undone: [],
        notUndone: [],
      })
      expect(writes(kernel)).toEqual([])
    },
  )

  test('does a plan that still holds, though what it does not look at has changed', async () => {
    const { ipvs, kernel } = await start()
    const plan = await ipvs.plan(WANTED, { keepWeights: true })
    const other = await Ipvs.open({ transport: kernel })
    // A health check decides weights, of edited servers and of those that go too; the sysctl is none of the plan's.
    await other.editRealServer(WEB, server(3), { weight: 7 })
    await other.editRealServer(WEB, server(4), { weight: 8 })
    await other.editRealServer(DNS, server(1), { weight: 9 })
    await other.setSysctl('drop_entry', 1)
    const { steps } = await ipvs.apply(plan)
    expect(steps.map(({ kind }) => kind)).toEqual(plan.steps.map(({ kind }) => kind))
    expect((await ipvs.realServer(WEB, server(3))).weight).toBe(7)
    expect((await ipvs.plan(WANTED, { keepWeights: true })).steps).toEqual([])
  })

  test('does a plan of two states, one of which was saved', async () => {
    const { ipvs } = await start()
    for (const syncDaemons of [[{ state: 'master', multicastInterface: 'eth0', syncId: 2 }], []] as const) {
      await ipvs.apply(await planStates(await ipvs.save(), { services: [], syncDaemons }), { force: true })
      expect((await ipvs.save()).syncDaemons).toMatchObject(syncDaemons)
    }
  })

  test('does a plan of two states that say less of what is there than the kernel', async () => {
    const { ipvs, kernel } = await start()
    // A running daemon has a length, a number other spellings, and 1 becomes 2 by itself where memory is short.
    const before: State = {
      services: BEFORE.services ?? [],
      syncDaemons: BEFORE.syncDaemons ?? [],
      sysctls: { sync_threshold: '0x3 062', secure_tcp: '2' },
    }
    await ipvs.restore(
      { services: [], sysctls: { sync_threshold: '3 50', secure_tcp: '1' } },
      { prune: false },
    )
    const wanted: State = {
      services: [],
      syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 2 }],
      sysctls: { sync_threshold: '5 60', secure_tcp: '0' },
    }
    const plan = await planStates(before, wanted)
    kernel.clearLog()
    await ipvs.apply(plan, { maxDeletions: Infinity })
    expect((await ipvs.plan(wanted)).steps).toEqual([])
    const none = { services: [], syncDaemons: [] }
    await ipvs.apply(await planStates(wanted, none))
    expect((await ipvs.save()).syncDaemons).toEqual([])
  })

  test('does a plan of two states for a kernel that reports no tunnels', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel({ version: '4.19' }) })
    const one = { services: [{ ...WEB, realServers: [server(1, { method: 'tunnel' })] }] } as const
    await ipvs.restore(one)
    for (const realServers of [[server(1, { method: 'tunnel', weight: 2 })], []]) {
      const other = { services: [{ ...WEB, realServers }] }
      await ipvs.apply(await planStates(await ipvs.save(), other), { force: true })
    }
    expect(await ipvs.realServers(WEB)).toEqual([])
  })

  test.each<[string, State, PlanOptions, (other: Ipvs) => Promise<unknown>]>([
    [
      'another daemon',
      { services: [], syncDaemons: [] },
      {},
      async (other) => {
        await other.stopSyncDaemon('master')
        await other.startSyncDaemon({ state: 'master', multicastInterface: 'eth0', syncId: 9 })
      },
    ],
    [
      'another timeout',
      { services: [], timeouts: { tcpSeconds: 1000, udpSeconds: 300 } },
      {},
      (other) => other.setTimeouts({ udpSeconds: 301 }),
    ],
    [
      'another value',
      { services: [], sysctls: { conntrack: '1' } },
      {},
      (other) => other.setSysctl('conntrack', 2),
    ],
    ['another service', { services: [] }, {}, (other) => other.editService(DNS, { scheduler: 'lc' })],
    ['a server that goes along', { services: [] }, {}, (other) => other.deleteRealServer(DNS, server(1))],
    [
      'another server that goes along',
      { services: [] },
      {},
      (other) => other.editRealServer(DNS, server(1), { weight: 2 }),
    ],
    [
      'thresholds of a server that goes along, though weights may change',
      { services: [] },
      { keepWeights: true },
      (other) => other.editRealServer(DNS, server(1), { weight: 2, upperThreshold: 5 }),
    ],
    [
      'thresholds of a server that is edited, though weights may change',
      WANTED,
      { keepWeights: true },
      (other) => other.editRealServer(WEB, server(3), { upperThreshold: 5 }),
    ],
  ])('notices in the place of what it was made for %s', async (_, wanted, options, change) => {
    const { ipvs, kernel } = await start()
    const plan = await ipvs.plan(wanted, options)
    const other = await Ipvs.open({ transport: kernel })
    await change(other)
    kernel.clearLog()
    await expect(ipvs.apply(plan)).rejects.toMatchObject({
      code: 'ERR_IPVS_STALE_PLAN',
      message: expect.stringContaining('would now make a different change') as string,
    })
    expect(writes(kernel)).toEqual([])
  })

  test('does a plan that went through JSON', async () => {
    const { ipvs } = await start()
    const plan = JSON.parse(JSON.stringify(await ipvs.plan(WANTED))) as Awaited<ReturnType<Ipvs['plan']>>
    await ipvs.apply(plan)
    expect((await ipvs.plan(WANTED)).steps).toEqual([])
  })
})
