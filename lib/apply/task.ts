import { type Leaving, waitForAll } from '../drain.ts'
import { formatServiceKey, IpvsError } from '../errors.ts'
import type { Ipvs } from '../ipvs.ts'
import type { Actual, Parts } from '../kernel.ts'
import { Pace } from '../pace.ts'
import type { RealServerSpec, ServiceSpec, StateService, SyncDaemonSpec, Timeouts } from '../types.ts'
import type { ApplyOptions, ApplyProgress } from './apply.ts'
import { sameDaemon, sameServer, sameService, sameSysctl } from './plan.ts'
import { invert, serverSubject, type Step, subjectOf, type Write } from './steps.ts'

/** A step that failed, and why. */
export interface FailedStep {
  readonly step: Step
  /** Absent: someone else changed the same thing meanwhile, and it was left so. */
  readonly error?: Error
  /**
   * Whether it is not known that the step was done: its answer was lost, as
   * `error` says, and afterwards the table could not be read. Absent: no.
   */
  readonly unknown?: true
}

/**
 * Why a state was not applied.
 *
 * `ERR_IPVS_GUARD`: a guard refused it, and nothing was sent.
 * `ERR_IPVS_STALE_PLAN`: the table is not as it was when the plan was made, and
 * nothing was sent; or what a drain waited for was changed by someone else
 * meanwhile, and what had been done was undone.
 * `ERR_IPVS_APPLY`: a step failed. What had been done was undone, but for `notUndone`.
 */
export class ApplyError extends Error {
  readonly code: 'ERR_IPVS_GUARD' | 'ERR_IPVS_STALE_PLAN' | 'ERR_IPVS_APPLY'
  /** The step that failed first. */
  declare readonly failed?: FailedStep
  /** Steps that were done and then undone, the last one first. */
  readonly undone: readonly Step[]
  /**
   * Steps that were done, or are not known not to be, and could not be undone.
   * Empty: the table is as it was.
   */
  readonly notUndone: readonly FailedStep[]

  /** @internal */
  constructor(
    code: ApplyError['code'],
    message: string,
    details: {
      failed?: FailedStep
      undone?: readonly Step[]
      notUndone?: readonly FailedStep[]
      cause?: unknown
    } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'ApplyError'
    this.code = code
    if (details.failed !== undefined) this.failed = details.failed
    this.undone = details.undone ?? []
    this.notUndone = details.notUndone ?? []
  }
}

/** The kernel, for a task that has it for itself. */
export interface Unit {
  read(parts: Parts): Promise<Actual>
  /** Runs steps in order, whatever becomes of those before. */
  write(steps: readonly Write[]): Promise<readonly (IpvsError | undefined)[]>
}

/** So many steps travel together: between two lots the JS thread is free, and a signal counts. */
const LOT = 512

const ENOENT = -2
const ESRCH = -3

/** The steps of one apply: what was sent, and how it is undone. */
export class Task {
  readonly #options: ApplyOptions
  readonly #parts: Parts
  /** Steps that were sent, and the errors that some were answered with. */
  readonly #sent: Step[] = []
  readonly #errors = new Map<Step, Error>()
  /** Those of them that took the weight of a server which is about to be deleted. */
  readonly #quieting = new Set<Step>()
  #done = 0
  total = 0

  constructor(options: ApplyOptions, parts: Parts) {
    this.#options = options
    this.#parts = parts
  }

  /** Runs steps lot by lot, and throws where one fails. */
  async run(unit: Unit, steps: readonly Step[]): Promise<void> {
    const { signal, onProgress } = this.#options
    for (let from = 0; from < steps.length; from += LOT) {
      signal?.throwIfAborted()
      const lot = steps.slice(from, from + LOT)
      let outcomes: readonly (IpvsError | undefined)[]
      try {
        outcomes = await unit.write(lot)
      } catch (error) {
        // Nobody knows how far it came.
        outcomes = lot.map(() => error as IpvsError)
      }
      let failed: FailedStep | undefined
      for (const [index, step] of lot.entries()) {
        const error = outcomes[index]
        this.#sent.push(step)
        if (error === undefined) continue
        this.#errors.set(step, error)
        if (!this.#isGoneAlready(step, error)) failed ??= { step, error }
      }
      if (failed !== undefined) throw new StepFailure(failed)
      // Nobody planned those.
      this.#done += lot.filter((step) => !this.#quieting.has(step)).length
      onProgress?.({ phase: 'apply', done: this.#done, total: this.total })
    }
  }

  /** Does something, and where that fails undoes all that was done. */
  async guarded(unit: Unit, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      throw await this.#rollBack(unit, error)
    }
  }

  /** Takes the weight of the servers that are about to be deleted, so that a drain can wait for the end of their connections. */
  async quiet(unit: Unit, removals: readonly Step[]): Promise<void> {
    const steps: Step[] = []
    const pace = new Pace()
    for (const { service, server, before } of removals.flatMap(serversLeaving)) {
      if (pace.due()) await pace.rest()
      if (before.weight === 0) continue
      const step: Step = { kind: 'edit-server', service, server, before, after: quiet(before) }
      steps.push(step)
      this.#quieting.add(step)
    }
    await this.run(unit, steps)
  }

  /** Waits until what is about to be deleted has no more connections, and deletes it. */
  async drainAndRemove(
    ipvs: Ipvs,
    removals: readonly Step[],
    options: NonNullable<ApplyOptions['drain']>,
    ending: AbortSignal,
  ): Promise<void> {
    let failure: { readonly cause: unknown } | undefined
    try {
      await this.#drain(ipvs, removals.flatMap(serversLeaving), options, ending)
    } catch (cause) {
      failure = { cause }
    }
    await ipvs.unit('apply', (unit) =>
      this.guarded(unit, async () => {
        if (failure !== undefined) throw failure.cause
        this.#options.signal?.throwIfAborted()
        await this.run(unit, await this.#stillToRemove(unit, removals.map(withQuietServers)))
      }),
    )
  }

  async #drain(
    ipvs: Ipvs,
    leaving: readonly Leaving[],
    options: NonNullable<ApplyOptions['drain']>,
    ending: AbortSignal,
  ): Promise<void> {
    if (leaving.length === 0) return
    const { signal, onProgress } = this.#options
    const how = { ...options, ...(signal !== undefined && { signal }) }
    let done = 0
    await waitForAll(ipvs, leaving, how, ending, ({ service, server }, outcome) => {
      if (outcome === 'overruled') {
        throw stale(
          `${serverSubject(formatServiceKey(service), server)} got a weight again while it was drained`,
        )
      }
      done += 1
      onProgress?.({ phase: 'drain', done, total: leaving.length })
    })
  }

  /**
   * What of the removals is left to do, now that a drain is over in which others
   * may have changed the table: what is gone already is not, and what is no
   * longer what was to be removed must not be.
   */
  async #stillToRemove(unit: Unit, removals: readonly Step[]): Promise<readonly Step[]> {
    const actual = await unit.read(this.#parts)
    const now = await presentOf(actual)
    const servers = new Map<string, readonly RealServerSpec[]>()
    const pace = new Pace()
    for (const { service, realServers } of actual.rules) {
      servers.set(formatServiceKey(service.key), realServers)
      if (pace.due()) await pace.rest()
    }
    const left: Step[] = []
    for (const step of removals) {
      if (pace.due()) await pace.rest()
      const subject = subjectOf(step)
      const present = now.get(subject)
      // Gone already, or, for a daemon, started already.
      if ('after' in step ? isAs(present, step, 'after') : present === undefined) continue
      if (!isAs(present, step, 'before')) throw stale(`${subject} changed while it was drained`)
      // A daemon that is stopped here may be followed by another.
      if (step.kind === 'stop-daemon') now.delete(subject)
      if (step.kind !== 'delete-service') {
        left.push(step)
        continue
      }
      const known = new Map<string, RealServerSpec>()
      for (const server of step.before.realServers ?? [])
        known.set(serverSubject(subject, withPort(server)), server)
      const realServers = servers.get(subject) ?? []
      for (const server of realServers) {
        const id = serverSubject(subject, withPort(server))
        const before = known.get(id)
        if (before === undefined) throw stale(`${id} was added while its service was drained`)
        if (!sameServer(before, server)) throw stale(`${id} changed while it was drained`)
        if (pace.due()) await pace.rest()
      }
      left.push({ ...step, before: withServers(step.before, realServers) })
    }
    if (this.#options.force !== true) this.#refuseStarved(left, servers)
    return left
  }

  /** Refuses to delete the last servers of a service that were live, where someone else took those that were to stay. */
  #refuseStarved(removals: readonly Step[], servers: ReadonlyMap<string, readonly RealServerSpec[]>): void {
    const live = new Set<string>()
    for (const step of this.#quieting) if ('service' in step) live.add(formatServiceKey(step.service))
    for (const step of removals) {
      if (step.kind !== 'delete-server') continue
      const service = formatServiceKey(step.service)
      if (!live.delete(service) || servers.get(service)?.some(({ weight }) => weight !== 0) === true) continue
      throw stale(
        `${service} would be left without a real server whose weight is above 0, for the others changed while it was drained`,
      )
    }
  }

  /** Undoes what was done, in reverse, and gives the error that says so. */
  async #rollBack(unit: Unit, cause: unknown): Promise<unknown> {
    const undone: Step[] = []
    const notUndone: FailedStep[] = []
    const inverse: { readonly step: Step; readonly of: Step }[] = []
    let now: Map<string, Present> | undefined
    try {
      if (this.#sent.length > 0) now = await presentOf(await unit.read(this.#parts))
    } catch {
      // What was answered has to do.
    }
    const pace = new Pace()
    for (let last = this.#sent.length - 1; last >= 0; last--) {
      if (pace.due()) await pace.rest()
      const step = this.#sent[last] as Step
      const error = this.#errors.get(step)
      // What the kernel refused it did not do, whoever else may have.
      if (error !== undefined && isRefusal(error)) continue
      if (now === undefined) {
        if (error !== undefined) {
          notUndone.push({ step, error, unknown: true })
          continue
        }
      } else if (this.#quieting.has(step)) {
        // Only the weight was taken, and only that is given back; a weight that someone else gave stands.
        const present = now.get(subjectOf(step)) as RealServerSpec | undefined
        if (present?.weight !== 0 || step.kind !== 'edit-server') continue
        const after = { ...present, weight: step.before.weight ?? 1 }
        inverse.push({ step: { ...step, before: present, after }, of: step })
        now.set(subjectOf(step), after)
        continue
      } else {
        const present = now.get(subjectOf(step))
        if (!isAs(present, step, 'after')) {
          if (error === undefined && !isAs(present, step, 'before')) notUndone.push({ step })
          continue
        }
      }
      for (const back of invert(step)) {
        inverse.push({ step: back, of: step })
        if (now === undefined) continue
        if ('after' in back) now.set(subjectOf(back), back.after)
        else now.delete(subjectOf(back))
      }
    }
    const failures = new Map<Step, Error>()
    for (let from = 0; from < inverse.length; from += LOT) {
      const lot = inverse.slice(from, from + LOT)
      let outcomes: readonly (Error | undefined)[]
      try {
        outcomes = await unit.write(lot.map(({ step }) => step))
      } catch (error) {
        outcomes = lot.map(() => error as Error)
      }
      for (const [index, { step, of }] of lot.entries()) {
        const error = outcomes[index]
        if (error !== undefined && !this.#isGoneAlready(step, error)) failures.set(of, error)
      }
      this.#report({ phase: 'roll-back', done: Math.min(from + LOT, inverse.length), total: inverse.length })
    }
    for (const step of new Set(inverse.map(({ of }) => of))) {
      const error = failures.get(step)
      if (error === undefined) undone.push(step)
      else notUndone.push({ step, error })
    }
    return errorOf(cause, undone, notUndone)
  }

  /** Whether a step failed because what it takes away was not there any more. */
  #isGoneAlready(step: Step, error: Error): boolean {
    const deletes = 'before' in step && !('after' in step)
    if (!deletes && !this.#quieting.has(step)) return false
    return error instanceof IpvsError && error.noFamily !== true && [ENOENT, ESRCH].includes(error.errno)
  }

  /** While steps are undone nobody may interfere. */
  #report(progress: ApplyProgress): void {
    try {
      this.#options.onProgress?.(progress)
    } catch {
      // The error that led here is the one to tell.
    }
  }
}

/** A step that failed, on its way to the roll-back. */
class StepFailure extends Error {
  readonly failed: FailedStep

  constructor(failed: FailedStep) {
    super(failed.error?.message)
    this.failed = failed
  }
}

/** The error of an apply that was rolled back. */
function errorOf(cause: unknown, undone: readonly Step[], notUndone: readonly FailedStep[]): unknown {
  const failed = cause instanceof StepFailure ? cause.failed : undefined
  // An abort, or what a callback threw, is nobody else's affair where the table is as it was.
  if (failed === undefined && notUndone.length === 0) {
    if (!(cause instanceof ApplyError) || cause.code !== 'ERR_IPVS_STALE_PLAN') return cause
    return new ApplyError(cause.code, `${cause.message} ${wasUndone(undone)}.`, { undone })
  }
  const reason = failed?.error ?? cause
  const list = (steps: readonly FailedStep[]): string =>
    steps
      .slice(0, 5)
      .map(
        ({ step, error }) =>
          `${step.kind} ${subjectOf(step)} (${error?.message ?? 'changed by someone else'})`,
      )
      .join('; ') + (steps.length > 5 ? `; and ${String(steps.length - 5)} more` : '')
  const unknown = notUndone.filter((one) => one.unknown === true)
  const left = notUndone.filter((one) => one.unknown !== true)
  const end =
    notUndone.length === 0
      ? `${wasUndone(undone)}: the table is as it was.`
      : [
          `${count(undone)} undone`,
          ...(left.length === 0 ? [] : [`NOT undone: ${list(left)}`]),
          ...(unknown.length === 0
            ? []
            : [`NOT KNOWN whether done, for the table could not be read: ${list(unknown)}. Read the table`]),
        ].join('; ') + '.'
  const subject = failed === undefined ? '' : ` at ${failed.step.kind} ${subjectOf(failed.step)}`
  const message = `apply failed${subject}: ${reason instanceof Error ? reason.message : String(reason)} ${end}`
  return new ApplyError('ERR_IPVS_APPLY', message, {
    ...(failed !== undefined && { failed }),
    undone,
    notUndone,
    cause: reason,
  })
}

function count(steps: readonly unknown[]): string {
  return `${String(steps.length)} ${steps.length === 1 ? 'step' : 'steps'}`
}

function wasUndone(steps: readonly Step[]): string {
  return `What had been done (${count(steps)}) was undone`
}

/** The error of a plan that the table has left behind. */
export function stale(what: string): ApplyError {
  return new ApplyError('ERR_IPVS_STALE_PLAN', `the table has changed since: ${what}. Plan again.`)
}

/** Whether an error says that its step was not done. Otherwise the answer was lost. */
function isRefusal(error: Error): boolean {
  if (!(error instanceof IpvsError)) return false
  // Those of files are not lost: they are a sysctl's.
  return error.code === 'ECANCELED' || [undefined, 'open', 'write'].includes(error.syscall)
}

/** Something that a step may be about, as it is now. */
type Present = ServiceSpec | RealServerSpec | SyncDaemonSpec | Partial<Timeouts> | string

/** Everything that was read, by what subjectOf() calls it. */
async function presentOf({
  rules,
  timeouts,
  syncDaemons = [],
  sysctls = {},
}: Actual): Promise<Map<string, Present>> {
  const present = new Map<string, Present>()
  const pace = new Pace()
  for (const { service, realServers } of rules) {
    const id = formatServiceKey(service.key)
    present.set(id, service.spec)
    for (const server of realServers) {
      present.set(serverSubject(id, server), server)
      if (pace.due()) await pace.rest()
    }
  }
  if (timeouts !== undefined) present.set('timeouts', timeouts)
  for (const daemon of syncDaemons) present.set(`${daemon.state} sync daemon`, daemon)
  for (const [name, value] of Object.entries(sysctls)) present.set(`sysctl ${name}`, value)
  return present
}

/** Whether something is as a step leaves it, or as the step found it. */
function isAs(present: Present | undefined, step: Step, when: 'before' | 'after'): boolean {
  const wanted = (step as { readonly before?: Present; readonly after?: Present })[when]
  if (present === undefined || wanted === undefined) return present === wanted
  switch (step.kind) {
    case 'add-service':
    case 'edit-service':
    case 'delete-service':
      return sameService(present as ServiceSpec, wanted as ServiceSpec)
    case 'add-server':
    case 'edit-server':
    case 'delete-server':
      return sameServer(present as RealServerSpec, wanted as RealServerSpec)
    case 'set-timeouts':
      return Object.entries(wanted).every(
        ([name, value]) => (present as Timeouts)[name as keyof Timeouts] === value,
      )
    case 'start-daemon':
    case 'stop-daemon':
      return sameDaemon(present as SyncDaemonSpec, wanted as SyncDaemonSpec)
    case 'set-sysctl':
      return sameSysctl(step.name, present as string, wanted as string)
  }
}

/** The real servers that a step takes away. */
function serversLeaving(step: Step): readonly (Leaving & { readonly before: RealServerSpec })[] {
  if (step.kind === 'delete-server')
    return [{ service: step.service, server: step.server, before: step.before }]
  if (step.kind !== 'delete-service') return []
  return (step.before.realServers ?? []).map((before) => ({
    service: step.service,
    server: withPort(before),
    before,
  }))
}

/** The same deletion of servers that stand at weight 0 by now. */
function withQuietServers(step: Step): Step {
  if (step.kind === 'delete-server') return { ...step, before: quiet(step.before) }
  if (step.kind !== 'delete-service') return step
  return { ...step, before: withServers(step.before, (step.before.realServers ?? []).map(quiet)) }
}

function withServers(service: StateService, realServers: readonly RealServerSpec[]): StateService {
  const { realServers: _, ...rest } = service
  return realServers.length === 0 ? rest : { ...rest, realServers }
}

function quiet(server: RealServerSpec): RealServerSpec {
  return { ...server, weight: 0 }
}

function withPort({ address, port = 0 }: RealServerSpec): {
  readonly address: string
  readonly port: number
} {
  return { address, port }
}
