import { describe, expect, test } from 'vitest'
import { ApplyError, planStates, type State } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { DNS, server, start, WANTED, WEB, writes } from './setup.ts'

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
      '5 services and real servers would be deleted, 4 may be',
    )
    const { ipvs } = await start()
    await ipvs.apply(WANTED, { maxDeletions: 5 })
  })

  test('refuse a kind of step that is not allowed, by force too', async () => {
    expect(await refusal({ allow: ['edit-server', 'edit-service'], force: true })).toContain(
      '`allow`: set-sysctl',
    )
    expect(await refusal({ allow: [] })).toContain('`allow` is empty: set-sysctl sysctl conntrack may not be')
  })

  test.each<[string, State['services'][number]['realServers']]>([
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

  test('let a service go that goes whole', async () => {
    const { ipvs } = await start()
    await ipvs.apply({ services: [] })
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
      await ipvs.apply(await planStates(await ipvs.save(), { services: [], syncDaemons }))
      expect((await ipvs.save()).syncDaemons).toMatchObject(syncDaemons)
    }
  })

  test('does a plan that went through JSON', async () => {
    const { ipvs } = await start()
    const plan = JSON.parse(JSON.stringify(await ipvs.plan(WANTED))) as Awaited<ReturnType<Ipvs['plan']>>
    await ipvs.apply(plan)
    expect((await ipvs.plan(WANTED)).steps).toEqual([])
  })
})
