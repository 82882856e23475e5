import { familyOfAddress } from '../model/address.ts'
import * as check from '../model/check.ts'
import type { CompleteServer } from '../model/server-settings.ts'
import { completeSysctl, remedyOfSysctl, sameSysctl, SCHEDULER_SYSCTLS } from '../model/sysctls.ts'
import type { RealServerKey, ServiceKey, State, SyncDaemonSpec, Timeouts } from '../model/types.ts'
import { Pace } from '../util/pace.ts'
import { checkWithin, completeDaemon, completeState, stateOf } from './complete.ts'
import { sameDaemon, sameServer, sameService } from './equal.ts'
import { inScope, type Scope, scopeTest, type ScopeTest } from './scope.ts'
import { addition, type Step } from './steps.ts'
import type { Entry, Table } from './table.ts'

/** What is compared, and what a difference leads to. */
export interface PlanOptions {
  /**
   * Whether what the state does not name is deleted: services, real servers of
   * its services and, where it lists sync daemons, those. Default true.
   */
  readonly prune?: boolean
  /**
   * Leaves the weights of real servers that exist, for something else decides
   * them, such as health checks; one that is replaced for its port keeps its
   * weight too. New ones get theirs from the state. Default false.
   */
  readonly keepWeights?: boolean
  /**
   * Which services the state speaks of. Default: all. What lies outside is
   * neither looked at nor touched, and may not be in the state.
   */
  readonly scope?: Scope
}

/** How a director differs from what a state wants, and what has to be done. */
export interface Differences {
  /** In the order in which they are done. Empty: nothing differs. */
  readonly steps: readonly Step[]
  /** How many services and real servers are deleted; those that go with their service count too. */
  readonly deletions: number
  /** Services that have real servers with a weight above 0, and would have none. */
  readonly starved: readonly ServiceKey[]
  /** Services whose real servers will be the wanted ones, but in another order: no step changes that. */
  readonly reordered: readonly ServiceKey[]
}

/** What compare() finds. */
export interface Found extends Differences {
  readonly phases: Phases
}

/** The steps by how much they take from traffic. One after the other they are all. */
export interface Phases {
  /** What gives or edits, and daemons that stop for good. */
  readonly gentle: readonly Step[]
  /** What only takes new connections from real servers: their weight. */
  readonly quiesced: readonly Step[]
  /** What deletes, or restarts: a drain waits before this alone. */
  readonly removals: readonly Step[]
}

/** What has to be done so that a director is as a state wants it. Plain data. */
export interface Plan extends Differences {
  /** The state that it leads to, complete. */
  readonly wanted: State
  /** What it was made with: apply() plans again to see whether it still holds. */
  readonly options: PlanOptions
}

export const PLAN_OPTIONS = ['prune', 'keepWeights', 'scope'] as const

/** Checked options. */
export interface Comparison {
  readonly prune: boolean
  readonly keepWeights: boolean
  readonly scope: ScopeTest
}

/**
 * Compares two states and says what leads from the first to the second. Needs
 * no kernel: `ipvs.plan()` does the same with what the kernel has.
 *
 * @throws {TypeError | RangeError} naming the field if a state is not one:
 *   `services[3].realServers[0].weight`.
 */
export async function planStates(actual: State, wanted: State, options: PlanOptions = {}): Promise<Plan> {
  check.checkOptions(options, PLAN_OPTIONS)
  const comparison = comparisonOf(options)
  const goal = await completeState(wanted)
  const differences = await compare(await completeState(actual), goal, comparison)
  return planOf(differences, goal, options)
}

export async function planOf(
  { steps, deletions, starved, reordered }: Differences,
  wanted: Table,
  { prune, keepWeights, scope }: PlanOptions,
): Promise<Plan> {
  return {
    steps,
    deletions,
    starved,
    reordered,
    wanted: await stateOf(wanted),
    options: {
      ...(prune !== undefined && { prune }),
      ...(keepWeights !== undefined && { keepWeights }),
      ...(scope !== undefined && { scope }),
    },
  }
}

/** Checks the options of a comparison, and completes them. */
export function comparisonOf({ prune, keepWeights, scope }: PlanOptions): Comparison {
  return {
    prune: check.flag(prune ?? true, 'prune'),
    keepWeights: check.flag(keepWeights ?? false, 'keepWeights'),
    scope: scopeTest(scope),
  }
}

/**
 * Compares two tables. The steps come in an order that never leaves a service
 * without its real servers: what is added, each new service with its servers
 * behind it; then edits, then what takes something away.
 */
export async function compare(actual: Table, wanted: Table, options: Comparison): Promise<Found> {
  const { prune, scope } = options
  if (scope !== undefined) await checkWithin(wanted, scope)
  const pace = new Pace()
  const before = new Map<string, Entry>()
  for (const entry of actual.services) {
    if (inScope(scope, entry.key)) before.set(entry.id, entry)
    if (pace.due()) await pace.rest()
  }

  const newServices: { readonly key: ServiceKey; readonly step: AddService; readonly at: number }[] = []
  const added: Step[] = []
  const edited: Step[] = []
  const quiesced: Step[] = []
  const deletedServers: Step[] = []
  const deletedServices: Step[] = []
  const starved: ServiceKey[] = []
  const reordered: ServiceKey[] = []
  let deletions = 0

  // From the end: the kernel puts the newest in front, in its hash table too.
  for (let index = wanted.services.length - 1; index >= 0; index--) {
    const entry = wanted.services[index] as Entry
    const now = before.get(entry.id)
    if (now === undefined) {
      const step = { kind: 'add-service', service: entry.key, after: entry.spec } as const
      newServices.push({ key: entry.key, step, at: added.length })
      added.push(step)
      for (let last = entry.servers.length - 1; last >= 0; last--) {
        added.push(addition(entry.key, entry.servers[last] as CompleteServer))
        if (pace.due()) await pace.rest()
      }
      if (pace.due()) await pace.rest()
      continue
    }
    before.delete(entry.id)
    if (!sameService(now.spec, entry.spec)) {
      edited.push({ kind: 'edit-service', service: entry.key, before: now.spec, after: entry.spec })
    }
    const servers = await compareServers(now, entry, options, pace)
    for (const step of servers.steps) {
      if (step.kind === 'add-server') added.push(step)
      else if (step.kind === 'delete-server') deletedServers.push(step)
      else if (quiesces(step)) quiesced.push(step)
      else edited.push(step)
      if (pace.due()) await pace.rest()
    }
    if (servers.starved) starved.push(entry.key)
    if (servers.reordered) reordered.push(entry.key)
    if (pace.due()) await pace.rest()
  }
  deletions += deletedServers.length
  if (prune) {
    for (const [{ step, at }, old] of await pairs(newServices, [...before.values()], withoutPort, pace)) {
      added[at] = { ...step, replaces: old.key }
      if (pace.due()) await pace.rest()
    }
    for (const { key, spec, servers } of before.values()) {
      const realServers = servers.length > 0 && { realServers: servers }
      deletedServices.push({ kind: 'delete-service', service: key, before: { ...spec, ...realServers } })
      deletions += 1 + servers.length
      if (pace.due()) await pace.rest()
    }
  }

  const daemons = compareDaemons(actual.syncDaemons, wanted.syncDaemons, prune)
  const sysctls = compareSysctls(actual, wanted)
  // In one go, and not one by one: a long list is copied faster than it grows.
  const gentle = ([] as Step[]).concat(
    sysctls.there,
    compareTimeouts(actual.timeouts, wanted.timeouts),
    // While a daemon runs the kernel refuses real servers of another family than their service (EINVAL).
    daemons.stopped,
    added,
    edited,
    // After the services: adding one loads its scheduler's module, which brings these sysctls.
    sysctls.loaded,
  )
  const removals = ([] as Step[]).concat(
    deletedServers,
    deletedServices,
    // Last: no daemon starts while there is a real server of another family than its service.
    daemons.started,
  )
  const onlyGentle = quiesced.length === 0 && removals.length === 0
  return {
    steps: onlyGentle ? gentle : gentle.concat(quiesced, removals),
    phases: { gentle, quiesced, removals },
    deletions,
    starved: starved.reverse(),
    reordered: reordered.reverse(),
  }
}

/** What differs between the real servers of a service that is there, and of the one that is wanted. */
async function compareServers(
  now: Entry,
  wanted: Entry,
  { prune, keepWeights }: Comparison,
  pace: Pace,
): Promise<{ readonly steps: readonly Step[]; readonly starved: boolean; readonly reordered: boolean }> {
  const { key: service } = wanted
  const steps: Step[] = []
  let live = 0
  const withWeight = (before: CompleteServer, server: CompleteServer): CompleteServer =>
    keepWeights && server.weight !== before.weight ? { ...server, weight: before.weight } : server
  const edit = (before: CompleteServer, server: CompleteServer): void => {
    const after = withWeight(before, server)
    if (after.weight > 0) live += 1
    if (sameServer(before, after)) return
    steps.push({ kind: 'edit-server', service, server: keyOf(before), before, after })
  }
  let index = 0
  for (; index < wanted.servers.length; index++) {
    const [before, after] = [now.servers[index], wanted.servers[index] as CompleteServer]
    if (before === undefined || !sameEndpoint(before, after)) break
    edit(before, after)
    if (pace.due()) await pace.rest()
  }
  // Most often that was all. Otherwise each of the others is looked up.
  const others = now.servers.slice(index)
  const left = new Map<string, CompleteServer>()
  for (const server of others) {
    left.set(endpointOf(server), server)
    if (pace.due()) await pace.rest()
  }
  const missing: CompleteServer[] = []
  const kept: CompleteServer[] = []
  for (; index < wanted.servers.length; index++) {
    const after = wanted.servers[index] as CompleteServer
    const endpoint = endpointOf(after)
    const before = left.get(endpoint)
    if (before === undefined) {
      missing.push(after)
    } else {
      left.delete(endpoint)
      kept.push(before)
      edit(before, after)
    }
    if (pace.due()) await pace.rest()
  }
  const surplus = [...left.values()]
  const replaced = await replacements(missing, prune ? surplus : [], pace)
  for (let last = missing.length - 1; last >= 0; last--) {
    const server = missing[last] as CompleteServer
    const old = replaced.get(server)
    // One of another family has another address, and so is another machine to whoever checks its health.
    const after = old?.address === server.address ? withWeight(old, server) : server
    if (after.weight > 0) live += 1
    const step = addition(service, after)
    steps.push(old === undefined ? step : { ...step, replaces: keyOf(old) })
    if (pace.due()) await pace.rest()
  }
  for (const server of surplus) {
    if (prune) steps.push({ kind: 'delete-server', service, server: keyOf(server), before: server })
    else if (server.weight > 0) live += 1
    if (pace.due()) await pace.rest()
  }
  // New ones come in front, and those that were there keep their order.
  const first = wanted.servers.length - missing.length - kept.length
  const inFront =
    missing.length === 0 || (first === 0 && missing.every((server, at) => server === wanted.servers[at]))
  let place = -1
  const inOrder = kept.every((server) => (place = others.indexOf(server, place + 1)) >= 0)
  return {
    steps,
    starved: live === 0 && now.servers.some(({ weight }) => weight > 0),
    reordered: !inFront || !inOrder,
  }
}

type AddService = Extract<Step, { readonly kind: 'add-service' }>

/** What stays of a service's identity where its port, or the family of its mark, becomes another. */
function withoutPort({ key }: { readonly key: ServiceKey }): string {
  return key.protocol === 'fwmark' ? `fwmark ${String(key.fwmark)}` : `${String(key.protocol)} ${key.address}`
}

/** Which servers new ones stand in for: by their address, or else the last one left for the last one of another family. */
async function replacements(
  added: readonly CompleteServer[],
  deleted: readonly CompleteServer[],
  pace: Pace,
): Promise<ReadonlyMap<CompleteServer, CompleteServer>> {
  const replaced = await pairs(added, deleted, ({ address }) => address, pace)
  if (added.length - replaced.size !== 1 || deleted.length - replaced.size !== 1) return replaced
  const paired = new Set(replaced.values())
  const after = added.find((server) => !replaced.has(server))
  const before = deleted.find((server) => !paired.has(server))
  if (after === undefined || before?.port !== after.port) return replaced
  if (familyOfAddress(after.address) !== familyOfAddress(before.address)) {
    replaced.set(after, before)
  }
  return replaced
}

/** Pairs what is added with what is deleted: where just one of either has a name. */
async function pairs<New, Old>(
  added: readonly New[],
  deleted: readonly Old[],
  nameOf: (one: New | Old) => string,
  pace: Pace,
): Promise<Map<New, Old>> {
  const found = new Map<New, Old>()
  if (added.length === 0 || deleted.length === 0) return found
  const news = await onlyOnes(added, nameOf, pace)
  const olds = await onlyOnes(deleted, nameOf, pace)
  for (const [name, one] of news) {
    const old = olds.get(name)
    if (one !== undefined && old !== undefined) found.set(one, old)
    if (pace.due()) await pace.rest()
  }
  return found
}

/** By name; `undefined` where several have the same. */
async function onlyOnes<T>(
  list: readonly T[],
  nameOf: (one: T) => string,
  pace: Pace,
): Promise<Map<string, T | undefined>> {
  const named = new Map<string, T | undefined>()
  for (const one of list) {
    const name = nameOf(one)
    named.set(name, named.has(name) ? undefined : one)
    if (pace.due()) await pace.rest()
  }
  return named
}

function compareTimeouts(
  actual: Partial<Timeouts> | undefined,
  wanted: Partial<Timeouts> | undefined,
): Step[] {
  if (wanted === undefined) return []
  const before: { -readonly [Name in keyof Timeouts]?: number } = {}
  const after: typeof before = {}
  for (const name of ['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const) {
    const value = wanted[name]
    if (value === undefined) continue
    const now = known(actual?.[name], `timeouts.${name}`)
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
  const running = known(actual, 'syncDaemons')
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

/** Sysctls that differ: those that are there, and those that are once a service has loaded the module of its scheduler. */
function compareSysctls(
  actual: Table,
  wanted: Table,
): { readonly there: readonly Step[]; readonly loaded: readonly Step[] } {
  const there: Step[] = []
  const loaded: Step[] = []
  // As a map: an object has a 'constructor' that is no sysctl.
  const present = new Map(Object.entries(actual.sysctls ?? {}))
  for (const [name, value] of Object.entries(wanted.sysctls ?? {})) {
    const now = present.get(name) ?? onceLoaded(actual, wanted, name, value)
    if (sameSysctl(name, now, value)) continue
    const steps = present.has(name) ? there : loaded
    steps.push({ kind: 'set-sysctl', name, before: completeSysctl(now), after: value })
  }
  return { there, loaded }
}

/** What a sysctl that is not there will read once a service of this state, or of this table, has loaded its module. */
function onceLoaded(actual: Table, wanted: Table, name: string, value: string): string {
  const module = actual.sysctls && SCHEDULER_SYSCTLS.get(name)
  if (module !== undefined) {
    const { scheduler, value: initial } = module
    const loads = ({ services }: Table): boolean => services.some(({ spec }) => spec.scheduler === scheduler)
    if (sameSysctl(name, initial, value) || loads(wanted) || loads(actual)) return initial
  }
  throw absent(`sysctls.${name}`, remedyOfSysctl(name))
}

function known<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw absent(field, 'leave it out of the state')
  return value
}

function absent(field: string, remedy: string): RangeError {
  return new RangeError(`${field}: what is there does not have it, so it cannot be wanted: ${remedy}`)
}

/** Whether a step takes the weight of a real server. */
function quiesces(step: Step): boolean {
  return step.kind === 'edit-server' && step.after.weight === 0 && step.before.weight !== 0
}

function keyOf({ address, port }: CompleteServer): Required<RealServerKey> {
  return { address, port }
}

/** Shorter than formatEndpoint(), and made for each server of a service that changed its list. */
function endpointOf({ address, port }: CompleteServer): string {
  return `${address} ${String(port)}`
}

function sameEndpoint(one: CompleteServer, other: CompleteServer): boolean {
  return one.address === other.address && one.port === other.port
}
