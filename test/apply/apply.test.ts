import { describe, expect, test } from 'vitest'
import { ApplyError, type ApplyProgress, type State, type StepKind } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { FailingTransport } from '../helpers/failing-transport.ts'
import { COMMANDS, identity, membersOfMessage, nest, readU32, text, u32 } from '../helpers/kernel-bytes.ts'

/** apply() on the in-memory kernel: what is sent, in which order, and what becomes of the table where it fails. */

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const DNS = { protocol: 'udp', address: '10.0.0.1', port: 53 } as const
const MARK = { protocol: 'fwmark', fwmark: 7 } as const
const server = (last: number, more: object = {}) =>
  ({ address: `10.1.0.${String(last)}`, port: 8080, method: 'masquerade', ...more }) as const

/** What is there before, and what is wanted: every kind of step lies between. */
const BEFORE: State = {
  services: [
    { ...WEB, scheduler: 'wlc', realServers: [server(1), server(2, { weight: 5 }), server(3), server(4)] },
    { ...DNS, scheduler: 'rr', realServers: [server(1), server(2)] },
  ],
  timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
  syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 1 }],
  sysctls: { conntrack: '0', sync_threshold: '3 50' },
}
const WANTED: State = {
  services: [
    {
      ...WEB,
      scheduler: 'sh',
      schedulerFlags: ['sh-port'],
      persistence: { timeoutSeconds: 60, netmask: 24 },
      realServers: [server(5, { weight: 9 }), server(2, { weight: 0 }), server(3, { upperThreshold: 10 })],
    },
    { ...MARK, realServers: [server(6), server(7)] },
  ],
  timeouts: { tcpSeconds: 1000 },
  syncDaemons: [
    { state: 'master', multicastInterface: 'eth0', syncId: 2 },
    { state: 'backup', multicastInterface: 'eth0', syncId: 2, maxLengthBytes: 1400 },
  ],
  sysctls: { conntrack: '1', sync_threshold: '5\t60' },
}
const ALL = { timeouts: true, syncDaemons: true, sysctls: ['conntrack', 'sync_threshold'] }

async function start(state: State = BEFORE): Promise<{
  readonly kernel: MemoryKernel
  readonly transport: FailingTransport
  readonly ipvs: Ipvs
}> {
  const kernel = createMemoryKernel()
  const transport = new FailingTransport(kernel)
  const ipvs = await Ipvs.open({ transport })
  await ipvs.restore(state)
  kernel.clearLog()
  transport.writes = 0
  return { kernel, transport, ipvs }
}

const writes = (kernel: MemoryKernel): string[] =>
  kernel.log.filter(({ command }) => !String(command).startsWith('get')).map(({ command }) => String(command))

/** Why an apply failed. */
async function failureOf(applied: Promise<unknown>): Promise<ApplyError> {
  return (await applied.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  )) as ApplyError
}

/** A table without the order of its services and servers: a server that was deleted and comes back is in front. */
function unordered(state: State): unknown {
  const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)
  return {
    ...state,
    services: state.services
      .map((service) => ({ ...service, realServers: [...(service.realServers ?? [])].sort(byText) }))
      .sort(byText),
  }
}

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

  test.each([
    [
      'conntrak',
      "sysctls: this kernel has no 'conntrak': did you mean 'conntrack'? sysctls() lists those that",
    ],
    ['nosuch', "sysctls: this kernel has no 'nosuch': sysctls() lists those that a kernel has"],
    ['svc_lfactor', "sysctls: this kernel has no 'svc_lfactor': sysctls() lists those that a kernel has"],
    ['constructor', "sysctls: this kernel has no 'constructor': sysctls() lists those that a kernel has"],
    ['lblc_expiration', "sysctls: this kernel has no 'lblc_expiration': the module ip_vs_lblc has it"],
  ])('refuses to save a sysctl that is not there: %s', async (name, message) => {
    const { ipvs } = await start()
    const saved = ipvs.save({ sysctls: ['conntrack', name] })
    await expect(saved).rejects.toThrow(message)
    await expect(saved).rejects.toBeInstanceOf(RangeError)
  })

  test('saves once two reads have the same sysctls', async () => {
    const { kernel, ipvs } = await start()
    const other = await Ipvs.open({ transport: kernel })
    kernel.beforeNext('getService', () => {
      kernel.beforeNext('getService', async () => {
        await other.addService({ ...MARK, scheduler: 'lblc' })
        await other.setSysctl('lblc_expiration', 60)
        await other.deleteService(MARK)
      })
    })
    expect((await ipvs.save({ sysctls: true })).sysctls).toMatchObject({ lblc_expiration: '60' })
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
      applied: true,
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
    // A health check decides weights, and conntrack is a sysctl that the plan does not have.
    await other.setSysctl('drop_entry', 1)
    const { steps } = await ipvs.apply(plan)
    expect(steps).toEqual(plan.steps)
  })

  test('does a plan that went through JSON', async () => {
    const { ipvs } = await start()
    const plan = JSON.parse(JSON.stringify(await ipvs.plan(WANTED))) as Awaited<ReturnType<Ipvs['plan']>>
    await ipvs.apply(plan)
    expect((await ipvs.plan(WANTED)).steps).toEqual([])
  })
})

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
    const [service] = wanted.services
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
    [{ keepWeight: true }, "options has no field 'keepWeight': did you mean 'keepWeights'?"],
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

test('a promise is no state, and says so', async () => {
  const { ipvs, kernel } = await start()
  const planned = ipvs.plan(BEFORE)
  for (const given of [planned, ipvs.save()]) {
    await expect(ipvs.apply(given as never)).rejects.toThrow(
      new TypeError('a promise was given, not what it is of: await it first'),
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
  const { steps } = await ipvs.apply({ services: [] }, { scope: scope as never })
  expect(steps.map((step) => 'service' in step && step.service)).toEqual([DNS, WEB])
  expect(await ipvs.services()).toEqual([])
})

describe('drain', () => {
  test('gives servers that leave a weight of 0, and deletes them when their connections have ended', async () => {
    const { ipvs, kernel } = await start()
    const connections = kernel.traffic(WEB, { connections: 4 })
    const wanted: State = { services: [{ ...WEB, realServers: [server(3), server(9)] }] }
    let looks = 0
    const seen: ApplyProgress[] = []
    const done = ipvs.apply(wanted, {
      drain: { intervalMs: 10, waitFor: 'active' },
      onProgress: (progress) => seen.push(progress),
    })
    // The new one is there at once, and those that leave are quiet while they still have clients.
    for (; looks < 200; looks++) {
      const list = await ipvs.realServers(WEB)
      if (list.filter(({ weight }) => weight === 0).length === 3 && list.length === 5) break
    }
    expect(looks).toBeLessThan(200)
    for (const connection of connections) connection.close()
    await done
    expect((await ipvs.realServers(WEB)).map(({ address }) => address)).toEqual(['10.1.0.9', '10.1.0.3'])
    expect((await ipvs.services()).length).toBe(1)
    expect(seen.filter(({ phase }) => phase === 'drain').at(-1)).toMatchObject({ done: 5, total: 5 })
  })

  test('does not keep a weight that becomes 0 waiting', async () => {
    const { ipvs, kernel } = await start()
    const connections = kernel.traffic(WEB, { connections: 4 })
    const wanted: State = { services: [{ ...WEB, realServers: [server(2, { weight: 0 }), server(9)] }] }
    const done = ipvs.apply(wanted, { drain: { intervalMs: 10, waitFor: 'active' } })
    const seen = new Promise<number>((resolve, reject) => {
      let looks = 0
      const look = async (): Promise<void> => {
        const list = await ipvs.realServers(WEB)
        const quiet = list.find(({ address }) => address === '10.1.0.2')?.weight === 0
        if (quiet) resolve(list.length)
        else if (++looks < 200) setImmediate(() => void look())
        else reject(new Error('its weight stays'))
      }
      void look()
    })
    try {
      expect(await seen).toBe(5)
    } finally {
      for (const connection of connections) connection.close()
      await done
    }
    expect((await ipvs.realServers(WEB)).map(({ address }) => address)).toEqual(['10.1.0.9', '10.1.0.2'])
  })

  test('of many servers counts them all, and warns of no leak', async () => {
    const many: State = {
      services: [{ ...WEB, realServers: Array.from({ length: 40 }, (_, index) => server(index + 1)) }],
    }
    const { ipvs } = await start(many)
    const warnings: Error[] = []
    const listener = (warning: Error): void => void warnings.push(warning)
    process.on('warning', listener)
    const seen: ApplyProgress[] = []
    await ipvs.apply(
      { services: [{ ...WEB, realServers: [server(1)] }] },
      {
        drain: { intervalMs: 10 },
        signal: new AbortController().signal,
        onProgress: (one) => seen.push(one),
      },
    )
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', listener)
    expect(warnings).toEqual([])
    expect(seen.filter(({ phase }) => phase === 'drain')).toHaveLength(39)
    expect(seen.at(-1)).toEqual({ phase: 'apply', done: 39, total: 39 })
  })

  test('deletes them all the same when the time is over', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    await ipvs.apply({ services: [] }, { drain: { timeoutMs: 30, intervalMs: 10 } })
    expect(await ipvs.services()).toEqual([])
  })

  test('that is aborted leaves everything as it was', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    const before = unordered(await ipvs.save(ALL))
    const controller = new AbortController()
    const done = ipvs.apply(WANTED, { drain: { intervalMs: 10 }, signal: controller.signal })
    for (let looks = 0; looks < 200; looks++) {
      if ((await ipvs.realServers(WEB)).some(({ address, weight }) => address === '10.1.0.1' && weight === 0))
        break
    }
    controller.abort(new Error('stop it'))
    await expect(done).rejects.toThrow('stop it')
    expect(unordered(await ipvs.save(ALL))).toEqual(before)
  })

  test('that somebody else overrules fails, and undoes the rest', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    const other = await Ipvs.open({ transport: kernel })
    const done = ipvs.apply(
      { services: [{ ...WEB, realServers: [server(3)] }] },
      { drain: { intervalMs: 10 } },
    )
    done.catch(() => undefined)
    for (let looks = 0; looks < 200; looks++) {
      if ((await ipvs.realServers(WEB)).filter(({ weight }) => weight === 0).length === 3) break
    }
    await other.editRealServer(WEB, server(1), { weight: 3 })
    await expect(done).rejects.toMatchObject({ code: 'ERR_IPVS_STALE_PLAN' })
    const weights = Object.fromEntries(
      (await ipvs.realServers(WEB)).map(({ address, weight }) => [address, weight]),
    )
    expect(weights).toEqual({ '10.1.0.1': 3, '10.1.0.2': 5, '10.1.0.3': 1, '10.1.0.4': 1 })
  })

  /** An apply that waits for the clients of the servers 1, 2 and 4 of WEB before it takes these and DNS, and somebody else. */
  async function draining(wanted: State, options: Parameters<Ipvs['apply']>[1] = {}) {
    const { ipvs, kernel } = await start()
    const other = await Ipvs.open({ transport: kernel })
    const before = unordered(await other.save(ALL))
    const clients = kernel.traffic(WEB, { connections: 8 })
    const done = ipvs.apply(wanted, { drain: { intervalMs: 10, waitFor: 'active' }, ...options })
    done.catch(() => undefined)
    const quiet = async (): Promise<number> =>
      (await other.snapshot()).flatMap(({ realServers }) => realServers).filter(({ weight }) => weight === 0)
        .length
    for (let looks = 0; (await quiet()) < 5; looks++) {
      expect(looks).toBeLessThan(200)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const end = (): void => {
      for (const client of clients) client.close()
    }
    return { ipvs, other, kernel, done, before, end }
  }
  const LEFT: State = { services: [{ ...WEB, realServers: [server(3)] }] }
  const weightsOf = async (ipvs: Ipvs, service: typeof WEB | typeof DNS) =>
    Object.fromEntries((await ipvs.realServers(service)).map(({ address, weight }) => [address, weight]))

  test('does not delete a service that somebody gave a server meanwhile, and gives the weights back', async () => {
    const { other, done, end } = await draining(LEFT)
    await other.addRealServer(DNS, server(77))
    end()
    await expect(done).rejects.toMatchObject({
      code: 'ERR_IPVS_STALE_PLAN',
      message:
        'the table has changed since: udp/10.0.0.1:53 -> 10.1.0.77:8080 was added while its service was drained. ' +
        'Plan again. What had been done (5 steps) was undone.',
      undone: expect.objectContaining({ length: 5 }) as unknown,
      notUndone: [],
    })
    expect(await weightsOf(other, DNS)).toEqual({ '10.1.0.1': 1, '10.1.0.2': 1, '10.1.0.77': 1 })
    expect(await weightsOf(other, WEB)).toEqual({
      '10.1.0.1': 1,
      '10.1.0.2': 5,
      '10.1.0.3': 1,
      '10.1.0.4': 1,
    })
  })

  test('does not leave a service without a live server, where somebody takes the others away meanwhile', async () => {
    for (const take of [
      (other: Ipvs) => other.deleteRealServer(WEB, server(3)),
      (other: Ipvs) => other.editRealServer(WEB, server(3), { weight: 0 }),
    ]) {
      const { other, done, end } = await draining(LEFT)
      await take(other)
      end()
      await expect(done).rejects.toMatchObject({
        code: 'ERR_IPVS_STALE_PLAN',
        message: expect.stringContaining('tcp/10.0.0.1:80 would be left without') as string,
      })
      expect(await weightsOf(other, WEB)).toMatchObject({ '10.1.0.1': 1, '10.1.0.2': 5, '10.1.0.4': 1 })
      expect(await weightsOf(other, DNS)).toEqual({ '10.1.0.1': 1, '10.1.0.2': 1 })
    }
    const forced = await draining(LEFT, { force: true })
    await forced.other.deleteRealServer(WEB, server(3))
    forced.end()
    await forced.done
    expect(await weightsOf(forced.other, WEB)).toEqual({})
  })

  test('does not delete what somebody changes meanwhile, and leaves the change', async () => {
    const { other, done, end } = await draining(LEFT)
    await other.editRealServer(WEB, server(1), { upperThreshold: 5 })
    end()
    await expect(done).rejects.toMatchObject({
      code: 'ERR_IPVS_STALE_PLAN',
      message: expect.stringContaining('tcp/10.0.0.1:80 -> 10.1.0.1:8080 changed') as string,
    })
    expect(await other.realServer(WEB, server(1))).toMatchObject({ weight: 1, upperThreshold: 5 })
    const service = await draining(LEFT)
    await service.other.editService(DNS, { scheduler: 'sh' })
    service.end()
    await expect(service.done).rejects.toMatchObject({ code: 'ERR_IPVS_STALE_PLAN' })
    expect(await weightsOf(service.other, DNS)).toEqual({ '10.1.0.1': 1, '10.1.0.2': 1 })
  })

  test('does not mind what somebody deletes meanwhile, nor what has nothing to do with it', async () => {
    const { other, done, end } = await draining(LEFT)
    await other.deleteRealServer(WEB, server(1))
    await other.deleteRealServer(DNS, server(1))
    await other.addService({ ...MARK, scheduler: 'rr' })
    await other.addRealServer(WEB, server(50))
    await other.editService(WEB, { scheduler: 'rr' })
    await other.setSysctl('conntrack', 1)
    end()
    await done
    expect(await weightsOf(other, WEB)).toEqual({ '10.1.0.3': 1, '10.1.0.50': 1 })
    expect((await other.services()).map(({ protocol }) => protocol).sort()).toEqual(['fwmark', 'tcp'])
    const gone = await draining(LEFT)
    await gone.other.flush()
    await gone.done
    expect(await gone.other.services()).toEqual([])
  })

  test('whose deletions fail gives everything back, the weights too', async () => {
    const { other, kernel, done, end, before } = await draining(LEFT)
    kernel.failNext({ command: 'deleteService', errno: 'ENOMEM' })
    end()
    await expect(done).rejects.toMatchObject({ code: 'ERR_IPVS_APPLY', notUndone: [] })
    expect(unordered(await other.save(ALL))).toEqual(before)
  })

  test('whose weights cannot be taken gives everything back', async () => {
    const { ipvs, kernel } = await start()
    const before = unordered(await ipvs.save(ALL))
    kernel.failNext({ command: 'editRealServer', errno: 'ENOMEM' })
    await expect(ipvs.apply(LEFT, { drain: { intervalMs: 10 } })).rejects.toMatchObject({
      code: 'ERR_IPVS_APPLY',
    })
    expect(unordered(await ipvs.save(ALL))).toEqual(before)
  })

  test('ends by close(), which gives everything back before it closes', async () => {
    const { ipvs, other, done, before } = await draining(WANTED)
    await ipvs.close()
    expect(unordered(await other.save(ALL))).toEqual(before)
    await expect(done).rejects.toMatchObject({ code: 'EBADF', command: 'apply' })
    await expect(ipvs.apply(BEFORE)).rejects.toMatchObject({ code: 'EBADF' })
  })

  test('close() waits for an apply that has just been called', async () => {
    const { ipvs, kernel } = await start()
    const done = ipvs.apply(WANTED)
    await ipvs.close()
    await done
    const other = await Ipvs.open({ transport: kernel })
    expect((await other.plan(WANTED)).steps).toEqual([])
  })

  test('of a service with many servers reads it once for all of them', async () => {
    const many = Array.from({ length: 300 }, (_, index) =>
      server(0, { address: `10.2.${String(index >> 8)}.${String(index & 255)}` }),
    )
    const { ipvs, kernel } = await start({ services: [{ ...WEB, scheduler: 'rr', realServers: many }] })
    const reads = (): number => kernel.log.filter(({ command }) => command === 'getRealServers').length
    const clients = kernel.traffic(WEB, { connections: 300 })
    kernel.clearLog()
    const looks = new Set<number>()
    await ipvs.apply(
      { services: [] },
      {
        drain: { intervalMs: 20, timeoutMs: 60_000, waitFor: 'active' },
        onProgress: ({ phase }) => {
          if (phase === 'drain') looks.add(reads())
          for (const client of clients) client.close()
        },
      },
    )
    // One with the table, one for each look, one with the table again.
    expect(reads()).toBeLessThanOrEqual(5)
    expect(looks.size).toBe(1)
    expect(kernel.log.filter(({ command }) => command === 'editRealServer')).toHaveLength(300)
  })
})
