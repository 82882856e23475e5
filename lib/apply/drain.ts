import { checkOptions, type Complete, flag, oneOf, show, whole } from '../model/check.ts'
import { IpvsError } from '../model/errors.ts'
import { endpointId, serviceName } from '../model/keys.ts'
import type { Endpoint, RealServerState, ServiceKey } from '../model/types.ts'
import {
  deleteRealServer,
  editRealServer,
  listRealServersAs,
  quiesceRealServer,
  readRealServer,
} from '../session/real-servers.ts'
import { readService } from '../session/services.ts'
import type { Session } from '../session/session.ts'
import { readTimeouts } from '../session/settings.ts'
import { readSysctl } from '../session/sysctls.ts'
import { slices } from '../util/pace.ts'
import { heard, whileAnyOf } from '../util/signals.ts'
import { sleep, TIMER_MAX_MS } from '../util/sleep.ts'
import { refused, wouldStarve } from './errors.ts'

/** Options of `realServer.drain()`. */
export interface DrainOptions {
  /** How long to wait for the connections to end, 0 to 2147483647 ms. Default 300000, five minutes. */
  readonly timeoutMs?: number | undefined
  /**
   * What to do if connections are left after that time: 'keep' leaves the
   * server at weight 0, 'delete' deletes it anyway. Default 'keep'.
   */
  readonly atTimeout?: 'keep' | 'delete' | undefined
  /**
   * Which connections to wait for. 'all', the default, includes inactive ones.
   * These are TCP connections that one side has closed, which the kernel keeps
   * for up to two minutes, and all UDP connections. 'active' does not wait for
   * them: a TCP server is drained when its last connection is closed, but a
   * client that has closed its side and still waits for the answer is cut off.
   */
  readonly waitFor?: 'all' | 'active' | undefined
  /** How often to check, 10 to 2147483647 ms. Default 1000. */
  readonly intervalMs?: number | undefined
  /**
   * Keeps the server at weight 0 when its connections have ended, for maintenance,
   * instead of deleting it. Not together with `atTimeout: 'delete'`. Default false.
   */
  readonly keep?: boolean | undefined
  /**
   * Allows draining the last real server of its service with a weight above 0:
   * new connections then have no server. Default false.
   */
  readonly force?: boolean | undefined
  /** Ends the drain: the server gets its old weight back, and the drain rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /**
   * Called after each look, first when the weight is 0. An error that it throws
   * ends the drain like an abort. An async callback is not waited for; if it
   * rejects, that ends a drain that still waits.
   */
  readonly onProgress?: ((progress: DrainProgress) => unknown) | undefined
}

/** Progress of a drain. */
export interface DrainProgress {
  /** As the real server has them now. */
  readonly activeConnections: number
  /** As the real server has them now. */
  readonly inactiveConnections: number
  /** As the real server has them now. */
  readonly persistentConnections: number
  /** Time since the weight was set to 0. */
  readonly elapsedMs: number
  /**
   * What the drain still waits for. 'active': open connections. 'inactive':
   * connections that end only by timeout. 'persistent': clients that persistence
   * would still send here. Empty: nothing; the server is about to be deleted.
   */
  readonly waitsFor: readonly ('active' | 'inactive' | 'persistent')[]
  /**
   * How long the kernel can still keep these if they stay idle, in seconds, by
   * its timeouts and the persistence of the service. Absent while active
   * connections are left: nothing limits those.
   */
  readonly atMostSeconds?: number
}

/** How a drain ended. */
export interface DrainResult {
  /**
   * 'deleted': no connection was left, or `atTimeout` is 'delete'. 'drained': no
   * connection was left, and the server still exists at weight 0, as `keep` asks.
   * 'kept': the time was up, and the server still exists at weight 0. 'gone':
   * someone else deleted it or its service. 'overruled': someone else set its
   * weight again, and it keeps that weight.
   */
  readonly outcome: 'deleted' | 'drained' | 'kept' | 'gone' | 'overruled'
  /** The progress at the last look. */
  readonly last: DrainProgress
  /**
   * Why it was 'kept' or 'overruled', for people; absent for other outcomes. What
   * it still has, and why that does not end: '2 clients that persistence
   * remembers, because expire_quiescent_template=0 keeps sending them here'.
   */
  readonly reason?: string
}

/** Until the first look. */
const NO_PROGRESS: DrainProgress = {
  activeConnections: 0,
  inactiveConnections: 0,
  persistentConnections: 0,
  elapsedMs: 0,
  waitsFor: [],
}

const DEFAULT_TIMEOUT_MS = 300_000
const DEFAULT_INTERVAL_MS = 1000
const OPTIONS = ['timeoutMs', 'atTimeout', 'waitFor', 'intervalMs', 'keep', 'force', 'signal', 'onProgress']

/** How long the kernel remembers a closed TCP connection (TIME_WAIT), and one of SCTP; neither can be set. */
const TCP_CLOSED_SECONDS = 120
const SCTP_CLOSED_SECONDS = 61
/** How long persistence keeps a client whose time is over but who still has connections (ip_vs_conn_expire()). */
const CONTROLLING_SECONDS = 60

/** Checks the options of a drain and fills in the defaults. */
export function checkDrainOptions(
  options: DrainOptions,
): Complete<Omit<DrainOptions, 'signal' | 'onProgress'>> {
  checkOptions(options, OPTIONS)
  const { onProgress } = options
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`onProgress must be a function, got ${show(onProgress)}`)
  }
  const atTimeout = oneOf(options.atTimeout ?? 'keep', 'atTimeout', ['keep', 'delete'])
  const keep = flag(options.keep ?? false, 'keep')
  if (keep && atTimeout === 'delete') {
    throw new TypeError("keep and atTimeout 'delete' contradict each other: leave out one of the two")
  }
  return {
    timeoutMs: whole(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, 'timeoutMs', 0, TIMER_MAX_MS),
    intervalMs: whole(options.intervalMs ?? DEFAULT_INTERVAL_MS, 'intervalMs', 10, TIMER_MAX_MS),
    atTimeout,
    keep,
    force: flag(options.force ?? false, 'force'),
    waitFor: oneOf(options.waitFor ?? 'all', 'waitFor', ['all', 'active']),
  }
}

/** See RealServer.drain(). */
export async function drain(
  session: Session,
  service: ServiceKey,
  server: Endpoint,
  options: DrainOptions = {},
): Promise<DrainResult> {
  checkDrainOptions(options)
  return session.background('drain', (open, ending) =>
    whileAnyOf([options.signal, ending], (joined) => {
      const onProgress = heard(options.onProgress, joined)
      return drainWhileOpen(open, service, server, { ...options, onProgress, signal: joined.signal })
    }),
  )
}

async function drainWhileOpen(
  session: Session,
  service: ServiceKey,
  server: Endpoint,
  options: DrainOptions & { readonly signal: AbortSignal },
): Promise<DrainResult> {
  const { timeoutMs, atTimeout, waitFor, keep, force } = checkDrainOptions(options)
  const { signal, onProgress } = options

  signal.throwIfAborted()
  const start = performance.now()
  const rules = await rulesOf(session, service)
  // What it was is known once the first look has passed the guard; until then nothing was sent.
  let weight = -1
  let last = NO_PROGRESS
  let outcome = 'gone' as DrainResult['outcome']
  let reason: string | undefined
  try {
    const look = (before: RealServerState, all: readonly RealServerState[]): void => {
      if (!force) refuseLast(service, before, all)
      signal.throwIfAborted()
      weight = before.weight
      last = progressOf(before, rules, waitFor, start)
    }
    // Two processes that drain two servers must not take each other for the one that stays.
    await session.locked(() => quiesceRealServer(session, service, server, look, 'drain'), signal)
    await watch(session, [{ service, server }], options, (_, now) => {
      if (now === undefined) return true
      last = progressOf(now, rules, waitFor, start)
      onProgress?.(last)
      const over = last.elapsedMs >= timeoutMs
      if (now.weight !== 0) {
        outcome = 'overruled'
        reason = `something else has set its weight to ${String(now.weight)}`
      } else if (last.waitsFor.length === 0) outcome = keep ? 'drained' : 'deleted'
      else if (!over) return false
      else if (atTimeout === 'delete') outcome = 'deleted'
      else {
        outcome = 'kept'
        reason = reasonOf(last)
      }
      return true
    })
    if (outcome === 'deleted') await deleteRealServer(session, service, server, {})
    return { outcome, last, ...(reason !== undefined && { reason }) }
  } catch (error) {
    if (weight < 0) throw error
    // The reason of a signal may be any error, even one that says that another server is gone.
    if (error !== signal.reason && isGone(error)) return { outcome: 'gone', last }
    await restoreWeight(session, service, server, weight)
    throw error
  }
}

/** Refuses to take the last real server with a weight above 0, as apply() does. */
function refuseLast(service: ServiceKey, server: RealServerState, all: readonly RealServerState[]): void {
  if (server.weight === 0 || all.some((one) => one.weight > 0 && one !== server)) return
  throw refused([wouldStarve([service])], ['give `force`'])
}

/** What a server still has when its time is up, and why that does not end. */
function reasonOf(last: DrainProgress): string {
  const { waitsFor, activeConnections, inactiveConnections, persistentConnections } = last
  const counts: readonly string[] = [
    waitsFor.includes('active') ? counted(activeConnections, 'open connection') : '',
    waitsFor.includes('inactive')
      ? `${counted(inactiveConnections, 'inactive connection')} until the kernel's timeouts end`
      : '',
    waitsFor.includes('persistent')
      ? `${counted(persistentConnections, 'client')} that persistence remembers, because expire_quiescent_template=0 keeps sending ${persistentConnections === 1 ? 'it' : 'them'} here`
      : '',
  ]
  return `it still has ${counts.filter((text) => text !== '').join('; ')}`
}

function counted(count: number, thing: string): string {
  return `${String(count)} ${thing}${count === 1 ? '' : 's'}`
}

/** A real server that is drained, and its service. */
export interface Leaving {
  readonly service: ServiceKey
  readonly server: Endpoint
}

/**
 * Waits for the connections of many real servers to end. All of them have
 * weight 0 by now. Calls `ended` for each that waits for nothing more, is gone
 * or got a weight again, and for all that are left when the time is over.
 */
export async function waitForAll(
  session: Session,
  leaving: readonly Leaving[],
  options: DrainOptions & { readonly signal: AbortSignal },
  ended: (one: Leaving, how: 'deleted' | 'gone' | 'overruled') => void,
): Promise<void> {
  const { timeoutMs, waitFor } = checkDrainOptions(options)
  const start = performance.now()
  const expire = await templatesExpire(session)
  await watch(session, leaving, options, (one, now) => {
    const over = performance.now() - start >= timeoutMs
    if (!over && now?.weight === 0 && busyWith(now, waitFor, expire).length > 0) return false
    ended(one, now === undefined ? 'gone' : now.weight === 0 ? 'deleted' : 'overruled')
    return true
  })
}

/**
 * Looks at real servers again and again until `look` has said that each has
 * ended. Reads each service once for all its servers. The last look is when
 * the time is over.
 *
 * @param look Gets the server as it is now, or `undefined` if it or its service is gone.
 */
async function watch(
  session: Session,
  servers: readonly Leaving[],
  options: DrainOptions & { readonly signal: AbortSignal },
  look: (one: Leaving, now: RealServerState | undefined) => boolean,
): Promise<void> {
  const { timeoutMs, intervalMs } = checkDrainOptions(options)
  const { signal } = options
  const start = performance.now()
  const waiting = new Map<string, Leaving[]>()
  for await (const some of slices(servers)) {
    for (const one of some) {
      const id = serviceName(one.service)
      const group = waiting.get(id)
      if (group === undefined) waiting.set(id, [one])
      else group.push(one)
    }
  }
  for (;;) {
    for (const [id, group] of waiting) {
      const [{ service }] = group as [Leaving]
      const now = new Map<string, RealServerState>()
      for await (const some of slices(await serversOf(session, service))) {
        for (const server of some) now.set(endpointId(server), server)
      }
      const left: Leaving[] = []
      for await (const some of slices(group)) {
        for (const one of some) if (!look(one, now.get(endpointId(one.server)))) left.push(one)
      }
      signal.throwIfAborted()
      if (left.length === 0) waiting.delete(id)
      else waiting.set(id, left)
    }
    if (waiting.size === 0) return
    await sleep(pauseOf(intervalMs, timeoutMs - (performance.now() - start)), signal)
  }
}

/** Time until the next look. The last look is when the time is over. */
function pauseOf(intervalMs: number, leftMs: number): number {
  return Math.min(intervalMs, Math.max(1, Math.ceil(leftMs)))
}

/** The real servers of a service, none if it is gone. */
async function serversOf(session: Session, service: ServiceKey): Promise<readonly RealServerState[]> {
  try {
    return await listRealServersAs(session, service, {}, (state) => state)
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

/** The settings of the director that decide when connections end. Read once. */
interface ExpiryRules {
  /** Longest that the kernel remembers an idle, inactive connection. */
  readonly inactiveSeconds: number
  readonly persistenceSeconds: number
  /** Whether persistence no longer leads clients to a server of weight 0. */
  readonly templatesExpire: boolean
}

async function rulesOf(session: Session, key: ServiceKey): Promise<ExpiryRules> {
  const [service, timeouts, expire] = await Promise.all([
    readService(session, key, {}),
    readTimeouts(session, {}),
    templatesExpire(session),
  ])
  const closed = {
    tcp: Math.max(TCP_CLOSED_SECONDS, timeouts.tcpFinSeconds),
    udp: timeouts.udpSeconds,
    sctp: SCTP_CLOSED_SECONDS,
  }
  // A firewall mark, and a protocol without a name, can have connections of every kind.
  const inactiveSeconds =
    key.protocol === 'fwmark' || typeof key.protocol === 'number'
      ? Math.max(closed.tcp, closed.udp, closed.sctp)
      : closed[key.protocol]
  return {
    inactiveSeconds,
    persistenceSeconds: service.persistence?.timeoutSeconds ?? 0,
    templatesExpire: expire,
  }
}

async function templatesExpire(session: Session): Promise<boolean> {
  const expire = await readSysctl(session, 'expire_quiescent_template', {})
  return expire !== undefined && expire !== '0'
}

/** What a server still has to wait for. */
function busyWith(
  { activeConnections, inactiveConnections, persistentConnections }: RealServerState,
  waitFor: 'all' | 'active',
  templatesExpire: boolean,
): DrainProgress['waitsFor'] {
  const waitsFor: DrainProgress['waitsFor'][number][] = []
  if (activeConnections > 0) waitsFor.push('active')
  if (inactiveConnections > 0 && waitFor === 'all') waitsFor.push('inactive')
  if (persistentConnections > 0 && !templatesExpire) waitsFor.push('persistent')
  return waitsFor
}

function progressOf(
  server: RealServerState,
  rules: ExpiryRules,
  waitFor: 'all' | 'active',
  start: number,
): DrainProgress {
  const { activeConnections, inactiveConnections, persistentConnections } = server
  const waitsFor = busyWith(server, waitFor, rules.templatesExpire)
  const inactiveSeconds = inactiveConnections > 0 ? rules.inactiveSeconds : 0
  const atMostSeconds = Math.max(
    waitsFor.includes('inactive') ? inactiveSeconds : 0,
    waitsFor.includes('persistent')
      ? Math.max(rules.persistenceSeconds, inactiveSeconds + CONTROLLING_SECONDS)
      : 0,
  )
  return {
    activeConnections,
    inactiveConnections,
    persistentConnections,
    elapsedMs: Math.round(performance.now() - start),
    waitsFor,
    ...(activeConnections === 0 && { atMostSeconds }),
  }
}

/** Whether an error says that a server, or its service, is no longer there. */
export function isGone(error: unknown): boolean {
  return (
    error instanceof IpvsError &&
    error.noFamily !== true &&
    (error.code === 'ENOENT' || error.code === 'ESRCH')
  )
}

/** Restores the weight, unless someone else has set one meanwhile. */
async function restoreWeight(
  session: Session,
  service: ServiceKey,
  server: Endpoint,
  weight: number,
): Promise<void> {
  try {
    const now = await readRealServer(session, service, server, {})
    if (now.weight === 0) await editRealServer(session, service, server, { weight }, {})
  } catch (error) {
    if (!isGone(error)) throw error
  }
}
