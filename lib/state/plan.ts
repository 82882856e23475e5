import { checkOptions } from '../model/check.ts'
import { completeDaemon } from '../model/daemon-settings.ts'
import { DEFAULT_SCHEDULER } from '../model/defaults.ts'
import { dependsOnOrder } from '../model/schedulers.ts'
import {
  completeSysctl,
  meantSysctl,
  remedyOfSysctl,
  sameSysctl,
  SCHEDULER_SYSCTLS,
} from '../model/sysctls.ts'
import type { ServiceKey, State, SyncDaemonSpec, Timeouts } from '../model/types.ts'
import { TIMEOUT_FIELDS } from '../model/validate.ts'
import { forEachOf, slices } from '../util/pace.ts'
import { compareServers } from './compare-servers.ts'
import { sameDaemon, sameService } from './equal.ts'
import { type Comparison, goalOf, PLAN_OPTIONS, type PlanOptions } from './goal.ts'
import { placed } from './origin.ts'
import { pairs } from './pairs.ts'
import { StateRefusal, type StatePath } from './path.ts'
import { inScope } from './scope.ts'
import { addition, quiesces, type Step } from './steps.ts'
import { type Entry, stateOf, type Table, tableOf, type Wanted } from './table.ts'
import { type Warning, warningsIn } from './warnings.ts'

/** How a director differs from what a state wants, and what has to be done. */
export interface Differences {
  /** In the order in which they are done. Empty: nothing differs. */
  readonly steps: readonly Step[]
  /** How many services and real servers are deleted; those that go with their service count too. */
  readonly deletions: number
  /** Services that have real servers with a weight above 0, and would have none. */
  readonly starved: readonly ServiceKey[]
  /**
   * Services whose real servers will be the wanted ones, but in another order: no
   * step changes that. Not those whose scheduler treats servers alike in any
   * order: rr, wrr, lc, wlc, twos and none.
   */
  readonly reordered: readonly ServiceKey[]
  /**
   * Sysctls of the state that this kernel does not have. `apply()` refuses a state
   * that has any; with `keepGoing` it does the rest, and reports them as failed.
   */
  readonly absentSysctls: readonly string[]
  /** Settings of the wanted services that the kernel accepts but ignores, or that make it drop packets. They do not stop an apply. */
  readonly warnings: readonly Warning[]
}

/** The differences, and their steps by phase. */
export interface Found extends Differences {
  readonly phases: Phases
  readonly services: {
    /** How many there are inside the scope. */
    readonly before: number
    /** How many of them go without another in their place. */
    readonly lost: number
    /** How many will have their real servers in another order, whatever their scheduler. */
    readonly moved: number
  }
}

/** The steps by how much they take from traffic. One after the other they are all. */
interface Phases {
  /** Additions and edits, and daemons that stop for good. */
  readonly gentle: readonly Step[]
  /** Weights that become 0: they take nothing but new connections from real servers. */
  readonly quiesced: readonly Step[]
  /** Deletions and restarts: a drain waits before these alone. */
  readonly removals: readonly Step[]
}

/** The steps that make a director what a state wants. Plain data. */
export interface Plan extends Differences {
  /** The state that it leads to, complete. */
  readonly wanted: State
  /** The options it was made with: apply() plans again to see whether it still holds. */
  readonly options: PlanOptions
}

/**
 * Compares two states and says what leads from the first to the second. Needs
 * no kernel: `ipvs.plan()` does the same with what the kernel has.
 *
 * @throws {TypeError | RangeError} naming the field if a state is not one:
 *   `services[3].realServers[0].weight`.
 * @throws {StateSyntaxError} if a state that was read from a text has something that cannot be compared.
 */
export async function planStates(actual: State, wanted: State, options: PlanOptions = {}): Promise<Plan> {
  checkOptions(options, PLAN_OPTIONS)
  const { wanted: goal, comparison, refuse } = await goalOf(wanted, options)
  const { services, ...others } = await tableOf(actual)
  const found = await placed(refuse, async () => {
    if (goal.services !== undefined) known(services, ['services'])
    const found = await compare({ ...others, services: services ?? [] }, goal, comparison)
    refuseAbsentSysctls(found, 'the current state')
    return found
  })
  return planOf(found, goal, options)
}

export async function planOf(
  { steps, deletions, starved, reordered, absentSysctls, warnings }: Differences,
  wanted: Wanted,
  { prune, keepWeights, scope }: PlanOptions,
): Promise<Plan> {
  return {
    steps,
    deletions,
    starved,
    reordered,
    absentSysctls,
    warnings,
    wanted: await stateOf(wanted),
    options: {
      ...(prune !== undefined && { prune }),
      ...(keepWeights !== undefined && { keepWeights }),
      ...(scope !== undefined && { scope }),
    },
  }
}

/**
 * Compares two tables. The steps come in an order that never leaves a service
 * without its real servers: what is added, each new service with its servers
 * behind it; then edits, then what takes something away.
 */
export async function compare(actual: Table, wanted: Wanted, options: Comparison): Promise<Found> {
  const { prune } = options
  const services = await compareServices(actual, wanted.services, options)
  const daemons = compareDaemons(actual.syncDaemons, wanted.syncDaemons, prune)
  const sysctls = compareSysctls(actual, wanted)
  // In one go, and not one by one: a long list is copied faster than it grows.
  const gentle = ([] as Step[]).concat(
    sysctls.there,
    compareTimeouts(actual.timeouts, wanted.timeouts),
    // While a daemon runs the kernel refuses real servers of another family than their service (EINVAL).
    daemons.stopped,
    services.added,
    services.edited,
    // After the services: adding one loads its scheduler's module, which brings these sysctls.
    sysctls.loaded,
  )
  const removals = ([] as Step[]).concat(
    services.deletedServers,
    services.deletedServices,
    // Last: no daemon starts while there is a real server of another family than its service.
    daemons.started,
  )
  const { quiesced, deletions, starved, reordered } = services
  const onlyGentle = quiesced.length === 0 && removals.length === 0
  return {
    steps: onlyGentle ? gentle : gentle.concat(quiesced, removals),
    phases: { gentle, quiesced, removals },
    services: { before: services.before, lost: services.lost, moved: services.moved },
    deletions,
    starved: starved.reverse(),
    reordered: reordered.reverse(),
    absentSysctls: sysctls.absent,
    warnings: await warningsIn(wanted.services ?? []),
  }
}

/** @throws {StateRefusal} with the place of a sysctl that is not there. */
export function refuseAbsentSysctls({ absentSysctls: [name] }: Differences, where: string): void {
  if (name !== undefined) throw absentSysctl(name, `${where} has`)
}

function absentSysctl(name: string, has: string): StateRefusal {
  return new StateRefusal(new RangeError(`${has} no such sysctl; ${remedyOfSysctl(name)}`), ['sysctls', name])
}

/** Differences between services; the steps by their effect. */
class ServiceDifferences {
  readonly added: Step[] = []
  readonly edited: Step[] = []
  readonly quiesced: Step[] = []
  readonly deletedServers: Step[] = []
  readonly deletedServices: Step[] = []
  readonly starved: ServiceKey[] = []
  readonly reordered: ServiceKey[] = []
  deletions = 0
  before = 0
  lost = 0
  moved = 0
}

async function compareServices(
  actual: Table,
  wanted: Wanted['services'],
  options: Comparison,
): Promise<ServiceDifferences> {
  const found = new ServiceDifferences()
  if (wanted === undefined) return found
  const { added, edited, quiesced, deletedServers, deletedServices } = found
  const before = new Map<string, Entry>()
  for await (const some of slices(actual.services)) {
    for (const entry of some) if (inScope(options.scope, entry.key)) before.set(entry.id, entry)
  }

  found.before = before.size

  const newServices: { readonly key: ServiceKey; readonly step: AddService; readonly at: number }[] = []
  const sort = (step: Step): void => {
    if (step.kind === 'add-server') added.push(step)
    else if (step.kind === 'delete-server') deletedServers.push(step)
    else if (quiesces(step)) quiesced.push(step)
    else edited.push(step)
  }
  // From the end: the kernel puts the newest in front, in its hash table too.
  for await (const some of slices([...wanted].reverse())) {
    for (const entry of some) {
      const now = before.get(entry.id)
      if (now === undefined) {
        const step = { kind: 'add-service', service: entry.key, after: entry.spec } as const
        newServices.push({ key: entry.key, step, at: added.length })
        added.push(step)
        await forEachOf([...entry.servers].reverse(), (server) => {
          added.push(addition(entry.key, server))
        })
        continue
      }
      before.delete(entry.id)
      if (!sameService(now.spec, entry.spec)) {
        edited.push({ kind: 'edit-service', service: entry.key, before: now.spec, after: entry.spec })
      }
      const servers = await compareServers(now, entry, options)
      await forEachOf(servers.steps, sort)
      if (servers.starved) found.starved.push(entry.key)
      if (!servers.reordered) continue
      found.moved += 1
      if (dependsOnOrder(entry.spec.scheduler ?? DEFAULT_SCHEDULER)) found.reordered.push(entry.key)
    }
  }
  found.deletions += deletedServers.length
  if (!options.prune) return found
  const surplus = [...before.values()]
  const replaced = await pairs(newServices, surplus, withoutPort)
  found.lost = surplus.length - replaced.size
  await forEachOf([...replaced], ([{ step, at }, old]) => {
    added[at] = { ...step, replaces: old.key }
  })
  await forEachOf(surplus, ({ key, spec, servers }) => {
    const realServers = servers.length > 0 && { realServers: servers }
    deletedServices.push({ kind: 'delete-service', service: key, before: { ...spec, ...realServers } })
    found.deletions += 1 + servers.length
  })
  return found
}

type AddService = Extract<Step, { readonly kind: 'add-service' }>

/** The rest of a service's identity, without its port or the family of its mark. */
function withoutPort({ key }: { readonly key: ServiceKey }): string {
  return key.protocol === 'fwmark' ? `fwmark ${String(key.fwmark)}` : `${String(key.protocol)} ${key.address}`
}

function compareTimeouts(
  actual: Partial<Timeouts> | undefined,
  wanted: Partial<Timeouts> | undefined,
): Step[] {
  if (wanted === undefined) return []
  const before: { -readonly [Name in keyof Timeouts]?: number } = {}
  const after: typeof before = {}
  for (const name of TIMEOUT_FIELDS) {
    const value = wanted[name]
    if (value === undefined) continue
    const now = known(actual?.[name], ['timeouts', name])
    if (now === value) continue
    before[name] = now
    after[name] = value
  }
  return Object.keys(after).length === 0 ? [] : [{ kind: 'set-timeouts', before, after }]
}

function compareDaemons(
  actual: readonly SyncDaemonSpec[] | undefined,
  wanted: readonly SyncDaemonSpec[] | undefined,
  prune: boolean,
): { readonly stopped: readonly Step[]; readonly started: readonly Step[] } {
  if (wanted === undefined) return { stopped: [], started: [] }
  const running = known(actual, ['syncDaemons'])
  const stopped: Step[] = []
  const started: Step[] = []
  for (const state of ['master', 'backup'] as const) {
    const now = running.find((daemon) => daemon.state === state)
    const after = wanted.find((daemon) => daemon.state === state)
    if (now === undefined) {
      if (after !== undefined) started.push({ kind: 'start-daemon', state, after })
      continue
    }
    const before = completeDaemon(now)
    if (after === undefined) {
      if (prune) stopped.push({ kind: 'stop-daemon', state, before })
    } else if (!sameDaemon(now, after)) {
      // Right before the other starts, so that connections go unsynchronised for an instant only.
      started.push({ kind: 'stop-daemon', state, before })
      started.push({ kind: 'start-daemon', state, after, replaces: before })
    }
  }
  return { stopped, started }
}

/** Sysctls that differ: those that are there, those that are once a service has loaded the module of its scheduler, and the rest. */
function compareSysctls(
  actual: Table,
  wanted: Wanted,
): { readonly there: readonly Step[]; readonly loaded: readonly Step[]; readonly absent: readonly string[] } {
  const there: Step[] = []
  const loaded: Step[] = []
  const absent: string[] = []
  // As a map: an object has a 'constructor', which is not a sysctl.
  const present = new Map(Object.entries(actual.sysctls ?? {}))
  for (const [name, value] of Object.entries(wanted.sysctls ?? {})) {
    const now = present.get(name) ?? onceLoaded(actual, wanted, name, value)
    if (now === undefined) {
      if (meantSysctl(name) !== undefined) throw absentSysctl(name, 'there is')
      absent.push(name)
    }
    if (now === undefined || sameSysctl(name, now, value)) continue
    const steps = present.has(name) ? there : loaded
    steps.push({ kind: 'set-sysctl', name, before: completeSysctl(now), after: value })
  }
  return { there, loaded, absent }
}

/** The value that an absent sysctl will have once a service of this state, or of this table, has loaded its module. */
function onceLoaded(actual: Table, wanted: Wanted, name: string, value: string): string | undefined {
  const module = actual.sysctls && SCHEDULER_SYSCTLS.get(name)
  if (module === undefined) return undefined
  const { scheduler, value: initial } = module
  const loads = ({ services = [] }: Wanted): boolean =>
    services.some(({ spec }) => spec.scheduler === scheduler)
  return sameSysctl(name, initial, value) || loads(wanted) || loads(actual) ? initial : undefined
}

function known<T>(value: T | undefined, path: StatePath): T {
  if (value !== undefined) return value
  const what = 'the current state does not include this, so it cannot be compared; leave it out'
  throw new StateRefusal(new RangeError(what), path)
}
