import { checkDrainOptions, drain, type DrainOptions, isGone } from '../drain.ts'
import { formatServiceKey, IpvsError } from '../errors.ts'
import type { Ipvs } from '../ipvs.ts'
import type { Actual, Parts } from '../kernel.ts'
import { Pace } from '../pace.ts'
import type { RequestOptions } from '../transport/transport.ts'
import type { RealServerSpec, ServiceKey, ServiceSpec, State, SyncDaemonSpec, Timeouts } from '../types.ts'
import * as check from '../validate.ts'
import {
  compare,
  type Comparison,
  comparisonOf,
  type Differences,
  type Plan,
  PLAN_OPTIONS,
  planOf,
  type PlanOptions,
  sameDaemon,
  sameServer,
  sameService,
  sameSysctl,
  takesAway,
} from './plan.ts'
import { invert, serverSubject, type Step, STEP_KINDS, type StepKind, subjectOf } from './steps.ts'
import { checkWithin, completeState, type Entry, type Table } from './table.ts'

/** Options of `apply()` and `restore()`. */
export interface ApplyOptions extends PlanOptions, RequestOptions {
  /** The kinds of steps that may be done: a plan with any other is refused. Default: all. */
  readonly allow?: readonly StepKind[]
  /** A plan that deletes more services and real servers than this is refused, unless `force`. Default: no limit. */
  readonly maxDeletions?: number
  /**
   * Goes beyond `maxDeletions`, and lets a service that has real servers with a
   * weight above 0 be left with none, which is refused otherwise. Default false.
   */
  readonly force?: boolean
  /** Says what would be done, by the same checks, and does nothing. Default false. */
  readonly dryRun?: boolean
  /**
   * Gives real servers that are about to be deleted, with their service too, a
   * weight of 0 and time for their connections to end: at most `timeoutMs`,
   * default five minutes. Then they are deleted. Default: they are deleted at once.
   */
  readonly drain?: Pick<DrainOptions, 'timeoutMs' | 'waitFor' | 'intervalMs'>
  /** Called now and then as steps are done. What it throws ends the apply as a failure does. */
  readonly onProgress?: (progress: ApplyProgress) => void
  /**
   * Gives up: what was done is undone, and the apply rejects with the signal's
   * reason. Requests that were sent cannot be stopped, and are waited for.
   */
  readonly signal?: AbortSignal
}

/** How far an apply is. */
export interface ApplyProgress {
  /** 'apply': steps are done. 'drain': servers wait for the end of their connections. 'roll-back': steps are undone. */
  readonly phase: 'apply' | 'drain' | 'roll-back'
  /** Steps, or servers, that are done. */
  readonly done: number
  readonly total: number
}

/** What an apply did. */
export interface ApplyResult extends Differences {
  /** Whether it was done. False with `dryRun`; true when there was nothing to do. */
  readonly applied: boolean
}

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
  write(steps: readonly Step[]): Promise<readonly (IpvsError | undefined)[]>
}

const APPLY_OPTIONS = [
  ...PLAN_OPTIONS,
  'allow',
  'maxDeletions',
  'force',
  'dryRun',
  'drain',
  'onProgress',
  'signal',
]

/** So many steps travel together: between two lots the JS thread is free, and a signal counts. */
const LOT = 512

const ENOENT = -2
const ESRCH = -3

/** See Ipvs.plan(). */
export async function plan(ipvs: Ipvs, wanted: State, options: PlanOptions & RequestOptions): Promise<Plan> {
  check.checkOptions(options, [...PLAN_OPTIONS, 'signal'])
  const comparison = comparisonOf(options)
  const goal = await goalOf(wanted, comparison)
  const actual = await ipvs.unit(
    'plan',
    async (unit) => tableOf(await unit.read(partsOf(goal))),
    options.signal,
  )
  return planOf(await compare(actual, goal, comparison), goal, options)
}

/** See Ipvs.apply(). */
export async function apply(ipvs: Ipvs, target: State | Plan, options: ApplyOptions): Promise<ApplyResult> {
  const guard = checkApplyOptions(options)
  const given = isPlan(target) ? target : undefined
  const comparison = comparisonOf(given === undefined ? options : optionsOfPlan(given, options))
  const goal = await goalOf(given?.wanted ?? (target as State), comparison)
  const parts = partsOf(goal)
  const task = new Task(options, parts)

  const differences = await ipvs.unit(
    'apply',
    async (unit) => {
      const found = await compare(await tableOf(await unit.read(parts)), goal, comparison)
      if (given !== undefined) await refuseStale(given.steps, found.steps)
      guard(found)
      options.signal?.throwIfAborted()
      if (options.dryRun === true) return found
      const { gentle, quiesced, removals } = phasesOf(found.steps)
      task.total = found.steps.length
      await task.guarded(unit, async () => {
        await task.run(unit, gentle)
        await task.run(unit, options.drain === undefined ? [...quiesced, ...removals] : quiesced)
      })
      return found
    },
    options.signal,
  )
  if (options.drain !== undefined && options.dryRun !== true) {
    await task.drainAndRemove(ipvs, phasesOf(differences.steps).removals, options.drain)
  }
  return { ...differences, applied: options.dryRun !== true }
}

/** The steps of one apply: what was sent, and how it is undone. */
class Task {
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

function stale(what: string): ApplyError {
  return new ApplyError('ERR_IPVS_STALE_PLAN', `the table has changed since: ${what}. Plan again.`)
}

/** Refuses a plan that would not be made again. */
async function refuseStale(planned: readonly Step[], found: readonly Step[]): Promise<void> {
  const pace = new Pace()
  // The order of services in a table has no meaning, and may change by itself.
  const expected = new Map<string, string>()
  for (const step of planned) {
    expected.set(`${step.kind} ${subjectOf(step)}`, JSON.stringify(step))
    if (pace.due()) await pace.rest()
  }
  for (const step of found) {
    const id = `${step.kind} ${subjectOf(step)}`
    const before = expected.get(id)
    if (before === undefined) throw stale(`${id} is needed too`)
    if (before !== JSON.stringify(step)) throw stale(`${id} is no longer what it was`)
    expected.delete(id)
    if (pace.due()) await pace.rest()
  }
  for (const id of expected.keys()) throw stale(`${id} is no longer needed, or no longer possible`)
}

/** Checks the options of an apply, and gives the guard that they make. */
export function checkApplyOptions(options: ApplyOptions): (found: Differences) => void {
  check.checkOptions(options, APPLY_OPTIONS)
  const { allow, maxDeletions, onProgress } = options
  if (allow !== undefined) {
    if (!Array.isArray(allow)) throw new TypeError(`allow must be an array, got ${check.show(allow)}`)
    for (const kind of allow as unknown[]) check.oneOf(kind, 'allow', STEP_KINDS)
  }
  if (maxDeletions !== undefined) check.whole(maxDeletions, 'maxDeletions', 0, Number.MAX_SAFE_INTEGER)
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`onProgress must be a function, got ${check.show(onProgress)}`)
  }
  const force = check.flag(options.force ?? false, 'force')
  check.flag(options.dryRun ?? false, 'dryRun')
  if (options.drain !== undefined) {
    check.known(check.object(options.drain, 'drain'), ['timeoutMs', 'waitFor', 'intervalMs'], [], 'drain')
    checkDrainOptions(options.drain)
  }

  return ({ steps, deletions, starved }) => {
    const reasons: string[] = []
    const refused = allow && steps.find(({ kind }) => !allow.includes(kind))
    if (refused !== undefined)
      reasons.push(`\`allow\`: ${refused.kind} ${subjectOf(refused)} is not among ${allow?.join(', ') ?? ''}`)
    if (!force && maxDeletions !== undefined && deletions > maxDeletions) {
      reasons.push(
        `\`maxDeletions\`: ${String(deletions)} services and real servers would be deleted, ${String(maxDeletions)} may be`,
      )
    }
    if (!force && starved.length > 0) {
      const some = starved.slice(0, 5).map(formatServiceKey).join(', ')
      reasons.push(
        `${some}${starved.length > 5 ? ` and ${String(starved.length - 5)} more` : ''} would be left without a real server whose weight is above 0`,
      )
    }
    if (reasons.length === 0) return
    throw new ApplyError(
      'ERR_IPVS_GUARD',
      `refused, nothing was changed: ${reasons.join('; ')}. \`force\` goes beyond all guards but \`allow\`.`,
    )
  }
}

function isPlan(target: State | Plan): target is Plan {
  // Callers without types may give anything; completeState() says what is wrong with it.
  const given = target as unknown
  return typeof given === 'object' && given !== null && 'steps' in target && Array.isArray(target.steps)
}

function optionsOfPlan(given: Plan, options: ApplyOptions): PlanOptions {
  for (const name of PLAN_OPTIONS) {
    if (options[name] !== undefined) throw new TypeError(`${name} belongs to the plan: give it to plan()`)
  }
  return check.object(given.options, 'options of a plan')
}

async function goalOf(wanted: State, { scope }: Comparison): Promise<Table> {
  const goal = await completeState(wanted)
  if (scope !== undefined) checkWithin(goal, scope)
  return goal
}

/** What has to be read of a director to compare it with a state. */
function partsOf({ timeouts, syncDaemons, sysctls }: Table): Parts {
  return {
    timeouts: timeouts !== undefined,
    syncDaemons: syncDaemons !== undefined,
    ...(sysctls !== undefined && { sysctls: Object.keys(sysctls) }),
  }
}

/** What was read, as a table. */
export async function tableOf({ rules, ...rest }: Actual): Promise<Table> {
  const services: Entry[] = []
  const pace = new Pace()
  for (const { service, realServers } of rules) {
    const { key, spec } = service
    services.push({ id: formatServiceKey(key), key, spec, servers: realServers })
    if (pace.due()) await pace.rest()
  }
  return { services, ...rest }
}

/** What gives or edits, what only takes new connections away, and what deletes: a drain waits before that alone. */
function phasesOf(steps: readonly Step[]): {
  readonly gentle: readonly Step[]
  readonly quiesced: readonly Step[]
  readonly removals: readonly Step[]
} {
  const first = steps.findIndex((step, at) => takesAway(step, steps[at + 1]))
  const gentle = first < 0 ? steps : steps.slice(0, first)
  const rest = steps.slice(gentle.length)
  const deletion = rest.findIndex(({ kind }) => kind !== 'edit-server')
  const quiesced = deletion < 0 ? rest : rest.slice(0, deletion)
  return { gentle, quiesced, removals: rest.slice(quiesced.length) }
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
