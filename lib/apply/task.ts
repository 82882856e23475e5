import { drain, isGone } from '../drain.ts'
import { formatServiceKey, IpvsError } from '../errors.ts'
import type { Ipvs } from '../ipvs.ts'
import type { Actual, Parts } from '../kernel.ts'
import { Pace } from '../pace.ts'
import type { RealServerSpec, ServiceKey, ServiceSpec, SyncDaemonSpec, Timeouts } from '../types.ts'
import type { ApplyOptions, ApplyProgress } from './apply.ts'
import { sameDaemon, sameServer, sameService, sameSysctl } from './plan.ts'
import { invert, serverSubject, type Step, subjectOf, type Write } from './steps.ts'

/** A step that failed, and why. */
export interface FailedStep {
  readonly step: Step
  /** Absent: someone else changed the same thing meanwhile, and it was left so. */
  readonly error?: Error
}

/**
 * Why a state was not applied.
 *
 * `ERR_IPVS_GUARD`: a guard refused it, and nothing was sent.
 * `ERR_IPVS_STALE_PLAN`: the table is not as it was when the plan was made, and
 * nothing was sent; or what a drain waited for was changed by someone else.
 * `ERR_IPVS_APPLY`: a step failed. What had been done was undone, but for `notUndone`.
 */
export class ApplyError extends Error {
  readonly code: 'ERR_IPVS_GUARD' | 'ERR_IPVS_STALE_PLAN' | 'ERR_IPVS_APPLY'
  /** The step that failed first. */
  declare readonly failed?: FailedStep
  /** Steps that were done and then undone, the last one first. */
  readonly undone: readonly Step[]
  /** Steps that were done and could not be undone. Empty: the table is as it was. */
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
        if (!isGoneAlready(step, error)) failed ??= { step, error }
      }
      if (failed !== undefined) throw new StepFailure(failed)
      this.#done += lot.length
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

  /** Waits until what is about to be deleted has no more connections, and deletes it. */
  async drainAndRemove(
    ipvs: Ipvs,
    removals: readonly Step[],
    options: NonNullable<ApplyOptions['drain']>,
  ): Promise<void> {
    const leaving = removals.flatMap(serversLeaving)
    const { signal, onProgress } = this.#options
    const stop = new AbortController()
    const signals = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])
    let done = 0
    let cause: unknown
    const drains = leaving.map(async ({ service, server }) => {
      let quieted = server.weight !== 0
      try {
        const how = { ...options, atTimeout: 'delete', signal: signals } as const
        // They are deleted together, once all of them wait for nothing.
        const { outcome } = await drain(ipvs, service, withPort(server), how, () => Promise.resolve())
        if (outcome !== 'deleted') quieted = false
        if (outcome === 'overruled') {
          const subject = serverSubject(formatServiceKey(service), withPort(server))
          throw stale(`${subject} got a weight again while it was drained`)
        }
        done += 1
        onProgress?.({ phase: 'drain', done, total: leaving.length })
      } catch (error) {
        if (isGone(error)) {
          quieted = false
          return
        }
        if (!stop.signal.aborted) cause = error
        stop.abort()
      } finally {
        const step = { kind: 'edit-server', service, server: withPort(server), before: server } as const
        if (quieted) this.#sent.push({ ...step, after: quiet(server) })
      }
    })
    await Promise.all(drains)
    await ipvs.unit('apply', (unit) =>
      this.guarded(unit, async () => {
        if (stop.signal.aborted) throw cause
        signal?.throwIfAborted()
        await this.run(unit, removals.map(withQuietServers))
      }),
    )
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
      if (error instanceof IpvsError && error.syscall === undefined) continue
      const present = now?.get(subjectOf(step))
      if (now === undefined ? error !== undefined : !isAs(present, step, 'after')) {
        if (now !== undefined && error === undefined && !isAs(present, step, 'before'))
          notUndone.push({ step })
        continue
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
        if (error !== undefined && !isGoneAlready(step, error)) failures.set(of, error)
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
  if (failed === undefined && notUndone.length === 0) return cause
  const reason = failed?.error ?? cause
  const count = (steps: readonly unknown[]): string =>
    `${String(steps.length)} ${steps.length === 1 ? 'step' : 'steps'}`
  const end =
    notUndone.length === 0
      ? `What had been done (${count(undone)}) was undone: the table is as it was.`
      : `${count(undone)} undone; NOT undone: ${notUndone
          .slice(0, 5)
          .map(
            ({ step, error }) =>
              `${step.kind} ${subjectOf(step)} (${error?.message ?? 'changed by someone else'})`,
          )
          .join('; ')}${notUndone.length > 5 ? `; and ${String(notUndone.length - 5)} more` : ''}.`
  const subject = failed === undefined ? '' : ` at ${failed.step.kind} ${subjectOf(failed.step)}`
  const message = `apply failed${subject}: ${reason instanceof Error ? reason.message : String(reason)} ${end}`
  return new ApplyError('ERR_IPVS_APPLY', message, {
    ...(failed !== undefined && { failed }),
    undone,
    notUndone,
    cause: reason,
  })
}

/** The error of a plan that the table has left behind. */
export function stale(what: string): ApplyError {
  return new ApplyError('ERR_IPVS_STALE_PLAN', `the table has changed since: ${what}. Plan again.`)
}

/** Whether a deletion failed because what it names was not there any more. */
function isGoneAlready(step: Step, error: Error): boolean {
  if (!('before' in step) || 'after' in step) return false
  return error instanceof IpvsError && error.noFamily !== true && [ENOENT, ESRCH].includes(error.errno)
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
function serversLeaving(
  step: Step,
): readonly { readonly service: ServiceKey; readonly server: RealServerSpec }[] {
  if (step.kind === 'delete-server') return [{ service: step.service, server: step.before }]
  if (step.kind !== 'delete-service') return []
  return (step.before.realServers ?? []).map((server) => ({ service: step.service, server }))
}

/** The same deletion of servers that stand at weight 0 by now. */
function withQuietServers(step: Step): Step {
  if (step.kind === 'delete-server') return { ...step, before: quiet(step.before) }
  if (step.kind !== 'delete-service') return step
  const { realServers, ...rest } = step.before
  return realServers === undefined
    ? step
    : { ...step, before: { ...rest, realServers: realServers.map(quiet) } }
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
