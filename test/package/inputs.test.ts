import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  diagnose,
  formatPlan,
  formatServiceKey,
  formatState,
  Ipvs,
  IpvsError,
  type IpvsErrorDetails,
  parseState,
  type RealServerKey,
  readState,
  restrictState,
  type State,
  type Step,
  StateSyntaxError,
  type Transport,
} from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { checker, inputs } from './published-types.ts'

/** What users pass in: a field that is `undefined` is the same as one that is absent, and keys may be text. */

const { optional, positions } = inputs()

/** The names that may be left out, by the type that has them. */
const optionalOf = new Map<string, string[]>()
for (const { owner, name } of optional) optionalOf.set(owner, [...(optionalOf.get(owner) ?? []), name])

/** Passes an object of a type on as it is, or with `undefined` in every field that it leaves out. */
type Give = <T extends object>(object: T) => T

/** A kernel with something of everything. */
interface Setting {
  readonly ipvs: Ipvs
  readonly kernel: MemoryKernel
}

const WEB = 'tcp/192.0.2.1:80'
const SERVER = '10.0.0.7'

/** For each type: a use of it, whose result tells whether its fields did anything. */
const USES: Readonly<Record<string, (give: Give, setting: Setting) => unknown>> = {
  FwmarkServiceKey: (give, { ipvs }) => ipvs.addService(give({ protocol: 'fwmark', fwmark: 9 })),
  ServiceSettings: (give, { ipvs }) =>
    ipvs.addService(give({ protocol: 'tcp', address: '192.0.2.9', port: 80 })),
  PersistenceSpec: (give, { ipvs }) =>
    ipvs.addService({ protocol: 'tcp', address: '192.0.2.9', port: 80, persistence: give({}) }),
  'PersistenceSpec of an edit': (give, { ipvs }) => ipvs.editService(WEB, { persistence: give({}) }),
  ServiceChanges: (give, { ipvs }) => ipvs.editService(WEB, give({})),
  RealServerKey: (give, { ipvs }) => ipvs.realServer(WEB, give<RealServerKey>({ address: SERVER })),
  RealServerSettings: (give, { ipvs }) => ipvs.addRealServer(WEB, give({ address: '10.0.0.9' })),
  Tunnel: (give, { ipvs }) => ipvs.editRealServer(WEB, SERVER, { tunnel: give({ type: 'gue' as const }) }),
  TimeoutChanges: async (give, { ipvs }) => {
    await ipvs.setTimeouts(give({ udpSeconds: 7 }))
    return ipvs.timeouts()
  },
  SyncDaemonSpec: async (give, { ipvs }) => {
    await ipvs.startSyncDaemon(give({ state: 'backup' as const, multicastInterface: 'eth0' }))
    return ipvs.syncDaemons()
  },
  State: (give, { ipvs }) => ipvs.plan(give<State>({ services: [] })),
  StateService: (give, { ipvs }) =>
    ipvs.plan({ services: [give({ protocol: 'tcp', address: '192.0.2.1', port: 80 } as const)] }),
  Step: async (give) => {
    const step: Step = {
      kind: 'add-server',
      service: { protocol: 'tcp', address: '192.0.2.1', port: 80 },
      server: { address: SERVER, port: 80 },
      after: { address: SERVER, port: 80, method: 'direct', weight: 1 },
    }
    const differences = { deletions: 0, starved: [], reordered: [], absentSysctls: [], warnings: [] }
    return formatPlan({ ...differences, steps: [give(step)] })
  },
  Scope: (give, { ipvs }) => ipvs.save({ scope: give({ services: [WEB] }) }),
  DiagnoseOptions: (give, { kernel }) => diagnose(give({ transport: kernel })),
  RequestOptions: (give, { ipvs }) => ipvs.info(give({})),
  ReadOptions: (give, { ipvs }) => ipvs.services(give({})),
  SnapshotOptions: (give, { ipvs }) => ipvs.snapshot(give({})),
  SaveOptions: (give, { ipvs }) => ipvs.save(give({})),
  PlanOptions: (give, { ipvs }) => ipvs.plan({ services: [] }, give({})),
  ApplyOptions: (give, { ipvs }) => ipvs.apply({ services: [] }, give({ force: true })),
  DrainOptions: async (give, { ipvs }) =>
    (await ipvs.realServer(WEB, SERVER))
      .drain(give({ timeoutMs: 0, force: true }))
      .then(({ outcome }) => outcome),
  ReconcileOptions: (give, { ipvs }) =>
    new Promise((resolve) => {
      const loop = ipvs.reconcile({ services: [] }, give({ onRun: resolve, onError: resolve, force: true }))
      void loop.runNow().then(() => loop.stop())
    }),
  FileSource: (give, { ipvs }) =>
    new Promise((resolve) => {
      const loop = ipvs.reconcile(give({ file: join(folder, 'cut.yaml') }), {
        onRun: resolve,
        onError: resolve,
      })
      void loop.runNow().then(() => loop.stop())
    }),
  SaveToFileOptions: (give, { ipvs }) => ipvs.saveToFile(join(folder, 'saved.json'), give({})),
  ParseStateOptions: (give) => parseState('services: []', give({})),
  'ParseStateOptions of a file': (give) => readState(join(folder, 'cut.yaml'), give({})),
  Lookups: (give) => parseState('-A -t localhost:http', give({})),
  FormatStateOptions: (give) => formatState({ services: [] }, give({})),
  FormatPlanOptions: async (give, { ipvs }) => formatPlan(await ipvs.plan({ services: [] }), give({})),
  OpenOptions: async (give, { kernel }) => (await Ipvs.open(give({ transport: kernel }))).services(),
  IpvsErrorDetails: (give) => new IpvsError(give<IpvsErrorDetails>({ errno: 2, command: 'addService' })),
  StateSyntaxErrorDetails: (give) => new StateSyntaxError(give({ line: 1, column: 2, reason: 'because' })),
  MemoryKernelOptions: async (give) =>
    (await Ipvs.open({ transport: createMemoryKernel(give({})) })).save({ sysctls: true }),
  MemoryInterface: async (give) => {
    const transport = createMemoryKernel({ interfaces: [give({ name: 'eth0' })] })
    const ipvs = await Ipvs.open({ transport })
    return ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })
  },
  ClientOptions: (give, { kernel }) => kernel.connect(WEB, give({})).state,
  Traffic: async (give, { ipvs, kernel }) => {
    kernel.connect(WEB).send(give({ bytesIn: 1000 }))
    kernel.advance(2)
    return (await ipvs.service(WEB)).stats
  },
  TrafficOptions: async (give, { ipvs, kernel }) => {
    kernel.traffic(WEB, give({}))
    kernel.advance(2)
    return (await ipvs.service(WEB)).stats
  },
  Fault: async (give, { ipvs, kernel }) => {
    kernel.failNext(give({ errno: 'ENOMEM' }))
    return ipvs.services()
  },
  'MemoryKernel.delayNext(delay)': (give, { kernel }) => {
    kernel.delayNext(give({ ms: 0 }))
  },
  LockOptions: async (give, { ipvs }) => (await ipvs.lock(give({}))).release(),
  Transport: async (give, { kernel }) => {
    const calls: Transport = {
      batch: (requests) => kernel.batch(requests),
      dump: (request) => kernel.dump(request),
      dumpOfDumps: (...given) => kernel.dumpOfDumps(...given),
      sysctls: (names) => kernel.sysctls(names),
      setSysctl: (...given) => kernel.setSysctl(...given),
      openProcNet: (name) => kernel.openProcNet(name),
      openScratch: () => kernel.openScratch(),
      close: () => kernel.close(),
    }
    return (await Ipvs.open({ transport: give(calls) })).apply({ services: [] }, { force: true })
  },
  LockHolder: async (give, { kernel }) => {
    const lock = (): Promise<{ holder: object }> => Promise.resolve({ holder: give({}) })
    const transport = Object.assign(Object.create(kernel) as MemoryKernel, { lock })
    return (await Ipvs.open({ transport })).lock({ wait: false }).catch(String)
  },
  Warning: async (give, { ipvs }) => {
    const plan = await ipvs.plan({ services: [] })
    const warning = {
      code: 'needs-persistence',
      message: 'so',
      service: { protocol: 'fwmark', fwmark: 1 },
    } as const
    return formatPlan({ ...plan, warnings: [give(warning)] })
  },
  Failure: answering((give) => ({ dump: { failure: give({ errno: 12 }) } })),
  Reply: answering((give) => ({ reply: give({}) })),
  Dump: answering((give) => ({ dump: give({}) })),
}

/** A use of what a transport answers: a dump, or each reply of a batch. */
function answering(
  make: (give: Give) => { readonly dump?: object; readonly reply?: object },
): (give: Give, setting: Setting) => Promise<unknown> {
  return async (give) => {
    const { dump, reply } = make(give)
    const transport = Object.assign(Object.create(createMemoryKernel()) as MemoryKernel, {
      dump: () => Promise.resolve({ messages: [], interrupted: false, ...dump }),
      batch: (requests: readonly unknown[]) => Promise.resolve(requests.map(() => reply ?? {})),
    })
    const ipvs = await Ipvs.open({ transport })
    await ipvs.flush()
    return ipvs.services()
  }
}

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ipvs-inputs-'))
  // Without a newline at its end: a file is not taken for whole, unless it is said to be.
  await writeFile(join(folder, 'cut.yaml'), 'services: []')
})
afterAll(() => rm(folder, { recursive: true }))

/** What a use gives on a kernel of its own, and the table that it leaves. */
async function outcomeOf(
  use: (give: Give, setting: Setting) => unknown,
  give: Give,
): Promise<{ readonly result: string | undefined; readonly table: State }> {
  const kernel = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport: kernel })
  const web = await ipvs.addService({
    protocol: 'tcp',
    address: '192.0.2.1',
    port: 80,
    persistence: { timeoutSeconds: 60 },
  })
  await web.addRealServer({
    address: SERVER,
    weight: 3,
    method: 'tunnel',
    tunnel: { type: 'gue', port: 6080 },
  })
  const result = await Promise.resolve(use(give, { ipvs, kernel })).catch((error: unknown) => ({
    thrown: error,
  }))
  const shown = result instanceof Error ? { thrown: result } : result
  return { result: JSON.stringify(shown, errorsWithFields), table: await ipvs.save() }
}

/** An error's message and fields, which JSON leaves out. */
function errorsWithFields(_: string, value: unknown): unknown {
  return value instanceof Error
    ? Object.assign(Object.fromEntries(Object.entries(value)), { message: value.message })
    : value
}

describe('a field that may be left out', () => {
  test.each(optional.map((one) => [`${one.owner}.${one.name}`, one] as const))(
    'takes undefined in its type: %s',
    (_, { takesUndefined }) => {
      expect(takesUndefined).toBe(true)
    },
  )

  test('has a use of its type here', () => {
    const used = new Set(Object.keys(USES).map((name) => name.replace(/ of .*/, '')))
    expect([...optionalOf.keys()].filter((owner) => !used.has(owner))).toEqual([])
    expect([...used].filter((owner) => !optionalOf.has(owner))).toEqual([])
  })

  test.each(Object.keys(USES))('is the same when it is undefined: %s', async (name) => {
    const use = USES[name] as (give: Give, setting: Setting) => unknown
    const names = optionalOf.get(name.replace(/ of .*/, '')) ?? []
    let given = 0
    const filled: Give = (object) => {
      given += 1
      return { ...Object.fromEntries(names.map((field) => [field, undefined])), ...object }
    }
    expect(names.length).toBeGreaterThan(0)
    expect(await outcomeOf(use, filled)).toEqual(await outcomeOf(use, (object) => object))
    expect(given).toBeGreaterThan(0)
  })

  test('is taken with undefined where nothing is wrong', async () => {
    // Two uses that fail are alike too: these are the only ones that are meant to.
    const failing: string[] = []
    for (const [name, use] of Object.entries(USES)) {
      const { result } = await outcomeOf(use, (object) => object)
      if (result?.startsWith('{"thrown"') === true) failing.push(name)
    }
    expect(failing).toEqual([
      'FileSource',
      'ParseStateOptions of a file',
      'Lookups',
      'IpvsErrorDetails',
      'StateSyntaxErrorDetails',
      'Fault',
      'Failure',
    ])
  })
})

describe('a key', () => {
  test('may be text wherever it may be an object', () => {
    // Not in what has been read or made of it, nor in what a user's own function is given.
    const made = /^(IpvsErrorDetails|Step|Warning|Differences|Plan)\.|^__type\(/
    const KEYS = ['AddressServiceKey', 'FwmarkServiceKey', 'RealServerKey', 'Endpoint']
    // A union or an intersection is listed as a whole, and then each of its parts.
    const wholes = new Map(
      positions.filter(({ type }) => type.isUnionOrIntersection()).map((one) => [one.where, one]),
    )
    const missing = positions
      .filter(
        (one) =>
          !made.test(one.where) && (wholes.get(one.where) ?? one) === one && !one.type.isIntersection(),
      )
      .filter(({ type }) => {
        const names = (type.isUnion() ? type.types : [type]).map((one) => checker.typeToString(one))
        return names.some((name) => KEYS.includes(name)) && !names.includes('string')
      })
      .map(({ where, type }) => `${where}: ${checker.typeToString(type)}`)
    expect(missing).toEqual([])
  })

  test('as text means the same service and server in every method', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService({ protocol: 'tcp', address: '2001:db8::1', port: 80 })
    const service = 'tcp/[2001:DB8:0::1]:80'
    await ipvs.addRealServer(service, { address: 'fd00::7', port: 80 })
    const server = 'fd00::7'
    expect((await ipvs.realServer(service, server)).port).toBe(80)
    expect((await ipvs.realServer(service, '[fd00::7]:80')).address).toBe('fd00::7')
    expect((await ipvs.editRealServer(service, server, { weight: 5 })).weight).toBe(5)
    expect((await ipvs.editService(service, { scheduler: 'rr' })).scheduler).toBe('rr')
    expect(await ipvs.realServers(service)).toHaveLength(1)
    const read = await ipvs.service(service)
    expect(formatServiceKey(read.key)).toBe(formatServiceKey(service))
    expect((await read.realServer(server)).weight).toBe(5)
    await ipvs.zero(service)
    expect(kernel.connect(service).realServer).toEqual({ address: 'fd00::7', port: 80 })
    expect(await ipvs.save({ scope: { services: [service] } })).toMatchObject({ services: [{}] })
    expect((await restrictState(await ipvs.save(), { services: ['fwmark/5'] })).services).toEqual([])
    const outcomes = await ipvs.runSteps([
      { kind: 'delete-server', service, server },
      { kind: 'delete-service', service },
    ])
    expect(outcomes.map(({ error }) => error)).toEqual([undefined, undefined])
    await expect(ipvs.deleteService(service)).rejects.toMatchObject({
      code: 'ESRCH',
      service: { protocol: 'tcp', address: '2001:db8::1', port: 80 },
    })
  })
})
