import { checkDrainOptions, type DrainOptions } from '../drain.ts'
import { formatServiceKey } from '../errors.ts'
import type { Ipvs } from '../ipvs.ts'
import type { Actual, Parts } from '../kernel.ts'
import { Pace } from '../pace.ts'
import type { RequestOptions } from '../transport/transport.ts'
import type { State } from '../types.ts'
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
  takesAway,
} from './plan.ts'
import { type Step, STEP_KINDS, type StepKind, subjectOf } from './steps.ts'
import { checkWithin, completeState, type Entry, type Table } from './table.ts'
import { ApplyError, stale, Task } from './task.ts'

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

/** Names of the options of `apply()`. */
export const APPLY_OPTIONS: readonly string[] = [
  ...PLAN_OPTIONS,
  'allow',
  'maxDeletions',
  'force',
  'dryRun',
  'drain',
  'onProgress',
  'signal',
]

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
  return ipvs.lasting('apply', (open, ending) => applyWhileOpen(open, target, options, guard, ending))
}

async function applyWhileOpen(
  ipvs: Ipvs,
  target: State | Plan,
  options: ApplyOptions,
  guard: (found: Differences) => void,
  ending: AbortSignal,
): Promise<ApplyResult> {
  const given = isPlan(target) ? target : undefined
  const comparison = comparisonOf(given === undefined ? options : optionsOfPlan(given, options))
  const goal = await goalOf(given?.wanted ?? (target as State), comparison)
  const parts = partsOf(goal)
  const task = new Task(options, parts)
  const { drain } = options

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
        await task.run(unit, drain === undefined ? [...quiesced, ...removals] : quiesced)
        if (drain !== undefined) await task.quiet(unit, removals)
      })
      return found
    },
    options.signal,
  )
  if (drain !== undefined && options.dryRun !== true) {
    const { removals } = phasesOf(differences.steps)
    if (removals.length > 0) await task.drainAndRemove(ipvs, removals, drain, ending)
  }
  return { ...differences, applied: options.dryRun !== true }
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
    for (const [index, kind] of (allow as unknown[]).entries()) {
      check.oneOf(kind, `allow[${String(index)}]`, STEP_KINDS)
    }
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
    if (refused !== undefined) {
      const id = `${refused.kind} ${subjectOf(refused)}`
      const kinds = allow?.join(', ') ?? ''
      reasons.push(
        kinds === '' ? `\`allow\` is empty: ${id} may not be` : `\`allow\`: ${id} is not among ${kinds}`,
      )
    }
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
  // What plan(), save() and readState() give, without an await.
  if (wanted instanceof Promise) throw new TypeError('a promise was given, not what it is of: await it first')
  const goal = await completeState(wanted)
  if (scope !== undefined) await checkWithin(goal, scope)
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
