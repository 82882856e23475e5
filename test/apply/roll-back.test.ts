import { describe, expect, test } from 'vitest'
import type { Present } from '../../lib/state/present.ts'
import { inverseOf } from '../../lib/apply/roll-back.ts'
import { ApplyError, IpvsError, type State, type Step } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { FailingTransport } from '../helpers/failing-transport.ts'
import { ALL, MARK, server, start, unordered, WANTED, WEB } from './setup.ts'

/** What undoes steps that were sent, and what becomes of the table where an apply fails. */

describe('inverseOf', () => {
  const weighed = (last: number, weight = 1) => ({ ...server(last), weight }) as const
  const keyOf = ({ address, port }: ReturnType<typeof weighed>) => ({ address, port })
  const idOf = (last: number): string => `tcp/10.0.0.1:80 -> 10.1.0.${String(last)}:8080`

  const add = (last: number): Step => ({
    kind: 'add-server',
    service: WEB,
    server: keyOf(weighed(last)),
    after: weighed(last),
  })
  const reweigh = (last: number, from: number, to: number): Step => ({
    kind: 'edit-server',
    service: WEB,
    server: keyOf(weighed(last)),
    before: weighed(last, from),
    after: weighed(last, to),
  })

  const REFUSED = new IpvsError({ errno: 12, command: 'addRealServer' })
  const CANCELED = new IpvsError({ errno: 125, syscall: 'sendmsg', command: 'addRealServer' })
  const LOST = new IpvsError({ errno: 110, syscall: 'recvmsg', command: 'addRealServer' })
  const UNENTERED = new IpvsError({ errno: 1, syscall: 'setns', command: 'setSysctl' })
  const UNWRITTEN = new IpvsError({ errno: 22, syscall: 'write', command: 'setSysctl' })

  interface Given {
    readonly errors?: readonly (readonly [Step, Error])[]
    readonly quiescing?: readonly Step[]
    /** Absent: it cannot be read. */
    readonly now?: Readonly<Record<string, Present>>
    readonly keepWeights?: boolean
  }

  async function undo(sent: readonly Step[], { errors = [], quiescing = [], now, keepWeights }: Given) {
    const present = now && new Map(Object.entries(now))
    const { inverse, notUndone } = await inverseOf(
      sent,
      new Map(errors),
      new Set(quiescing),
      present,
      keepWeights,
    )
    // It is asked what there is, and changes nothing of it.
    expect(present && Object.fromEntries(present)).toEqual(now)
    return { inverse: inverse.map(({ step, of }) => [step, sent.indexOf(of)]), notUndone }
  }

  test('undoes the last step first', async () => {
    const now = { [idOf(1)]: weighed(1), [idOf(2)]: weighed(2, 7) }
    expect(await undo([add(1), reweigh(2, 3, 7)], { now })).toEqual({
      inverse: [
        [reweigh(2, 7, 3), 1],
        [{ kind: 'delete-server', service: WEB, server: keyOf(weighed(1)), before: weighed(1) }, 0],
      ],
      notUndone: [],
    })
  })

  test('undoes several steps of one thing, each as those after it are undone', async () => {
    const deletion: Step = {
      kind: 'delete-service',
      service: WEB,
      before: { ...WEB, scheduler: 'rr', realServers: [weighed(1, 5), weighed(2)] },
    }
    const { inverse, notUndone } = await undo([add(1), reweigh(1, 1, 5), deletion], { now: {} })
    expect(notUndone).toEqual([])
    expect(inverse).toMatchObject([
      [{ kind: 'add-service', service: WEB, after: { ...WEB, scheduler: 'rr' } }, 2],
      // The kernel puts the newest in front.
      [{ kind: 'add-server', service: WEB, after: weighed(2) }, 2],
      [{ kind: 'add-server', service: WEB, after: weighed(1, 5) }, 2],
      [reweigh(1, 5, 1), 1],
      [{ kind: 'delete-server', service: WEB, before: weighed(1) }, 0],
    ])
    const steps = [reweigh(1, 1, 5), reweigh(1, 5, 9)]
    expect(await undo(steps, { now: { [idOf(1)]: weighed(1, 9) } })).toMatchObject({
      inverse: [
        [reweigh(1, 9, 5), 1],
        [reweigh(1, 5, 1), 0],
      ],
      notUndone: [],
    })
  })

  test.each([
    ['refused', REFUSED],
    ['never sent', CANCELED],
    ['a write of a file that failed', UNWRITTEN],
    ['a namespace that could not be entered for it', UNENTERED],
  ])('leaves alone what somebody else did in place of a step that was %s', async (_, error) => {
    const step = add(1)
    for (const now of [{ [idOf(1)]: weighed(1) }, {}, undefined]) {
      const given = { errors: [[step, error]] as const, ...(now && { now }) }
      expect(await undo([step], given)).toEqual({ inverse: [], notUndone: [] })
    }
  })

  test('of a step whose answer was lost goes by what there is', async () => {
    const step = reweigh(1, 1, 5)
    const errors = [[step, LOST]] as const
    expect(await undo([step], { errors, now: { [idOf(1)]: weighed(1, 5) } })).toMatchObject({
      inverse: [[reweigh(1, 5, 1), 0]],
      notUndone: [],
    })
    // Not done, or overwritten: nothing of it is there to undo.
    for (const weight of [1, 8]) {
      expect(await undo([step], { errors, now: { [idOf(1)]: weighed(1, weight) } })).toEqual({
        inverse: [],
        notUndone: [],
      })
    }
  })

  test('where nothing can be read believes the answers, and says what had none', async () => {
    const [first, second, third] = [add(1), add(2), add(3)]
    const errors = [
      [second, LOST],
      [third, REFUSED],
    ] as const
    expect(await undo([first, second, third], { errors })).toMatchObject({
      inverse: [[{ kind: 'delete-server', server: keyOf(weighed(1)) }, 0]],
      notUndone: [{ step: second, error: LOST, unknown: true }],
    })
  })

  test('leaves what somebody else changed, and says so unless it is as before', async () => {
    const step = reweigh(1, 1, 5)
    expect(await undo([step], { now: { [idOf(1)]: weighed(1, 8) } })).toEqual({
      inverse: [],
      notUndone: [{ step }],
    })
    expect(await undo([step], { now: {} })).toEqual({ inverse: [], notUndone: [{ step }] })
    expect(await undo([step], { now: { [idOf(1)]: weighed(1, 1) } })).toEqual({ inverse: [], notUndone: [] })
  })

  test('goes by all but the weight where that belongs to somebody else, and leaves it', async () => {
    const tunnelled = { ...weighed(2), method: 'tunnel' } as const
    const change: Step = {
      kind: 'edit-server',
      service: WEB,
      server: keyOf(weighed(2)),
      before: weighed(2),
      after: tunnelled,
    }
    const now = { [idOf(1)]: weighed(1, 0), [idOf(2)]: { ...tunnelled, weight: 0 } }
    expect(await undo([add(1), change], { now, keepWeights: true })).toEqual({
      inverse: [
        [{ ...change, before: { ...tunnelled, weight: 0 }, after: weighed(2, 0) }, 1],
        [{ kind: 'delete-server', service: WEB, server: keyOf(weighed(1)), before: weighed(1, 0) }, 0],
      ],
      notUndone: [],
    })
    expect(await undo([add(1), change], { now })).toEqual({
      inverse: [],
      notUndone: [{ step: change }, { step: add(1) }],
    })
    // As it was, but for the weight.
    const back = { [idOf(2)]: weighed(2, 0) }
    expect(await undo([change], { now: back, keepWeights: true })).toEqual({ inverse: [], notUndone: [] })
  })

  test('leaves a service that others have real servers in, or changed one of', async () => {
    const service: Step = { kind: 'add-service', service: WEB, after: { ...WEB, scheduler: 'rr' } }
    const sent = [service, add(1)]
    const id = 'tcp/10.0.0.1:80'
    const there = { [id]: service.after, [idOf(1)]: weighed(1) }
    const deletion = { kind: 'delete-server', server: keyOf(weighed(1)) }
    expect(await undo(sent, { now: there })).toMatchObject({
      inverse: [
        [deletion, 1],
        [{ kind: 'delete-service' }, 0],
      ],
      notUndone: [],
    })
    expect(await undo(sent, { now: { ...there, [idOf(2)]: weighed(2) } })).toMatchObject({
      inverse: [[deletion, 1]],
      notUndone: [{ step: service }],
    })
    expect(await undo(sent, { now: { ...there, [idOf(1)]: weighed(1, 9) } })).toEqual({
      inverse: [],
      notUndone: [{ step: sent[1] }, { step: service }],
    })
  })

  test('gives back the weight that a drain took, and nothing else', async () => {
    const step = reweigh(1, 4, 0)
    const now = { ...weighed(1, 0), upperThreshold: 9 }
    expect(await undo([step], { quiescing: [step], now: { [idOf(1)]: now } })).toMatchObject({
      inverse: [[{ before: now, after: { ...now, weight: 4 } }, 0]],
      notUndone: [],
    })
    // A weight that someone else gave stands, and a server that is gone stays so.
    expect(await undo([step], { quiescing: [step], now: { [idOf(1)]: weighed(1, 2) } })).toEqual({
      inverse: [],
      notUndone: [],
    })
    expect(await undo([step], { quiescing: [step], now: {} })).toEqual({ inverse: [], notUndone: [] })
  })
})

/** Why an apply failed. */
async function failureOf(applied: Promise<unknown>): Promise<ApplyError> {
  return (await applied.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  )) as ApplyError
}

describe('a failure', () => {
  const REFUSED = { errno: 12 }
  const LOST = { errno: 110, syscall: 'recvmsg' }

  test.each([
    ['is refused', REFUSED, false],
    ['is not answered, and was done', LOST, true],
    ['is not answered, and was not done', LOST, false],
  ])('of any single step that %s leaves the table as it was', async (_, failure, executed) => {
    const probe = await start()
    await probe.ipvs.apply(WANTED)
    const count = probe.transport.writes
    expect(count).toBe(16)
    for (let at = 0; at < count; at++) {
      const { ipvs, transport } = await start()
      const before = unordered(await ipvs.save(ALL))
      transport.fault = { at, failure, executed }
      const error = await ipvs.apply(WANTED).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error, `step ${String(at)}`).toBeInstanceOf(ApplyError)
      const { code, failed, notUndone } = error as ApplyError
      expect([code, notUndone]).toEqual(['ERR_IPVS_APPLY', []])
      expect(failed?.error).toMatchObject({ errno: -failure.errno })
      expect(unordered(await ipvs.save(ALL)), `step ${String(at)}`).toEqual(before)
      // And then it works.
      transport.fault = undefined
      await ipvs.apply(WANTED)
      expect((await ipvs.plan(WANTED)).steps).toEqual([])
    }
  })

  test.each<[string, State, string]>([
    ['scheduler', { services: [{ ...MARK, scheduler: 'nosuch' }] }, 'module ip_vs_nosuch'],
    ['scheduler', { services: [{ ...WEB, scheduler: 'nosuch' }] }, 'module ip_vs_nosuch'],
    ['engine', { services: [{ ...MARK, persistence: {}, persistenceEngine: 'no' }] }, 'module ip_vs_pe_no'],
    [
      'interface',
      { services: [], syncDaemons: [{ state: 'backup', multicastInterface: 'eth9' }] },
      "interface 'eth9'",
    ],
  ])('names the %s that is not there, as a single call does', async (_, wanted, named) => {
    const { ipvs } = await start({ services: [WEB] })
    await expect(ipvs.apply(wanted, { prune: false })).rejects.toThrow(named)
    const [service] = wanted.services ?? []
    const [daemon] = wanted.syncDaemons ?? []
    if (daemon !== undefined) await expect(ipvs.startSyncDaemon(daemon)).rejects.toThrow(named)
    if (service === undefined) return
    const { scheduler, persistenceEngine, ...key } = service
    if (service.protocol === 'fwmark') await expect(ipvs.addService(service)).rejects.toThrow(named)
    else if (scheduler !== undefined)
      await expect(ipvs.editService(key, { scheduler })).rejects.toThrow(named)
    expect(persistenceEngine === undefined || named.includes(persistenceEngine)).toBe(true)
  })

  test('of a deletion of what somebody else deleted is none', async () => {
    const { ipvs, kernel } = await start()
    const other = await Ipvs.open({ transport: kernel })
    kernel.beforeNext('deleteRealServer', () => other.deleteRealServer(WEB, server(4)))
    await ipvs.apply(WANTED)
    expect((await ipvs.plan(WANTED)).steps).toEqual([])
  })

  test('does not undo what somebody else did meanwhile, though it is just what was to be done', async () => {
    const { ipvs, kernel, transport } = await start()
    const other = await Ipvs.open({ transport: kernel })
    transport.beforeWrite = async (index) => {
      if (index === 5) await other.addRealServer(WEB, server(5, { weight: 9 }))
    }
    await expect(ipvs.apply(WANTED)).rejects.toMatchObject({
      failed: { error: { code: 'EEXIST' } },
      notUndone: [],
    })
    expect((await ipvs.realServer(WEB, server(5))).weight).toBe(9)
  })

  test('does not bring back what somebody else deleted just before', async () => {
    const { ipvs, kernel, transport } = await start()
    const other = await Ipvs.open({ transport: kernel })
    transport.beforeWrite = async (index) => {
      if (index === 10) await other.deleteRealServer(WEB, server(4))
    }
    transport.fault = { at: 15, failure: REFUSED }
    await expect(ipvs.apply(WANTED)).rejects.toMatchObject({ code: 'ERR_IPVS_APPLY', notUndone: [] })
    expect((await ipvs.realServers(WEB)).map(({ address }) => address).sort()).toEqual([
      '10.1.0.1',
      '10.1.0.2',
      '10.1.0.3',
    ])
  })

  test('leaves alone what somebody else changed meanwhile, and says so', async () => {
    const { ipvs, kernel, transport } = await start()
    const other = await Ipvs.open({ transport: kernel })
    transport.fault = { at: 8, failure: REFUSED }
    transport.beforeWrite = async (index) => {
      if (index === 8) await other.editRealServer(WEB, server(5), { weight: 77 })
    }
    const error = await ipvs.apply(WANTED).catch((reason: unknown) => reason as ApplyError)
    expect((error as ApplyError).notUndone).toMatchObject([
      { step: { kind: 'add-server', server: { address: '10.1.0.5' } } },
    ])
    expect((await ipvs.realServer(WEB, server(5))).weight).toBe(77)
  })

  test('that cannot be undone is told whole', async () => {
    const { ipvs, kernel, transport } = await start()
    transport.beforeWrite = (index) => {
      if (index === 8) kernel.privileged = false
    }
    const error = (await ipvs.apply(WANTED).catch((reason: unknown) => reason)) as ApplyError
    expect(error).toMatchObject({ code: 'ERR_IPVS_APPLY', failed: { error: { code: 'EPERM' } }, undone: [] })
    expect(error.notUndone).toHaveLength(8)
    expect(error.message).toContain('NOT undone')
  })

  test.each([
    ['was done', true],
    ['was not done', false],
  ])('of which nobody can say whether it %s is told, with what to do', async (_, executed) => {
    const { ipvs, kernel } = await start()
    const wanted: State = { services: [{ ...WEB, realServers: [server(1, { weight: 4 }), server(9)] }] }
    kernel.failNext({ command: 'editRealServer', errno: 'ENOBUFS', executed })
    // The read of the roll-back.
    kernel.beforeNext('editRealServer', () => {
      kernel.failNext({ command: 'getService', errno: 'ETIMEDOUT' })
    })
    const error = await failureOf(ipvs.apply(wanted, { prune: false }))
    expect(error).toMatchObject({
      code: 'ERR_IPVS_APPLY',
      undone: [{ kind: 'add-server', server: { address: '10.1.0.9' } }],
      notUndone: [{ step: { kind: 'edit-server' }, error: { code: 'ENOBUFS' }, unknown: true }],
    })
    expect(error.message).toMatch(
      /1 step undone; NOT KNOWN whether done.*edit-server .*10\.1\.0\.1.*Read the table\.$/,
    )
    expect(error.message).not.toContain('as it was')
    expect((await ipvs.realServer(WEB, server(1))).weight).toBe(executed ? 4 : 1)
  })

  test('of a whole send leaves nothing unsaid, and nothing said of what was not sent', async () => {
    const { ipvs, kernel } = await start({ services: [] })
    const wanted: State = { services: [{ ...WEB, realServers: [server(1), server(2)] }] }
    kernel.batch = () => Promise.reject(new Error('no way'))
    kernel.dumpOfDumps = (
      (dump) =>
      (...given: Parameters<typeof dump>) => {
        kernel.dumpOfDumps = () => Promise.reject(new Error('no way'))
        return dump(...given)
      }
    )(kernel.dumpOfDumps.bind(kernel))
    const error = await failureOf(ipvs.apply(wanted))
    expect(error.notUndone.map(({ step, unknown }) => [step.kind, unknown])).toEqual([
      ['add-server', true],
      ['add-server', true],
      ['add-service', true],
    ])
  })

  test('of a socket says nothing of the steps that were not sent after it', async () => {
    const { ipvs, transport } = await start()
    transport.fault = { at: 0, failure: { errno: 125, syscall: 'sendmsg' } }
    const before = unordered(await ipvs.save(ALL))
    transport.dumpOfDumps = (
      (dump) =>
      (...given: Parameters<typeof dump>) => {
        transport.dumpOfDumps = () =>
          Promise.resolve({ messages: [], interrupted: false, failure: { errno: 105, syscall: 'recvmsg' } })
        return dump(...given)
      }
    )(transport.dumpOfDumps.bind(transport))
    const error = await failureOf(
      ipvs.apply({ services: [{ ...WEB, realServers: [server(8)] }] }, { prune: false }),
    )
    expect(error).toMatchObject({ failed: { error: { code: 'ECANCELED' } }, notUndone: [] })
    transport.dumpOfDumps = FailingTransport.prototype.dumpOfDumps.bind(transport)
    expect(unordered(await ipvs.save(ALL))).toMatchObject(before as object)
  })
})
