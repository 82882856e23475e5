import type { Ipvs } from '../ipvs.ts'
import * as check from '../model/check.ts'
import type { RequestOptions, State } from '../model/types.ts'
import type { Parts } from '../session/requests.ts'
import { checkWithin, completeState } from '../state/complete.ts'
import {
  compare,
  type Comparison,
  comparisonOf,
  type Differences,
  type Plan,
  PLAN_OPTIONS,
  planOf,
  type PlanOptions,
} from '../state/plan.ts'
import { STEP_KINDS, type StepKind } from '../state/steps.ts'
import type { Table } from '../state/table.ts'
import { heard, whileAnyOf } from '../util/signals.ts'
import { checkDrainOptions, type DrainOptions } from './drain.ts'
import { guardOf, refuseStale } from './guards.ts'
import { Task } from './transaction.ts'

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
  /**
   * Called now and then as steps are done. What it throws ends the apply as a
   * failure does. One that is async is not waited for; what it rejects with ends
   * an apply that still has something to do.
   */
  readonly onProgress?: (progress: ApplyProgress) => unknown
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
  const actual = await ipvs.unit('plan', (unit) => unit.read(partsOf(goal)), options.signal)
  return planOf(await compare(actual, goal, comparison), goal, options)
}

/** See Ipvs.apply(). */
export async function apply(ipvs: Ipvs, target: State | Plan, options: ApplyOptions): Promise<ApplyResult> {
  checkApplyOptions(options)
  return ipvs.lasting('apply', (open, ending) =>
    whileAnyOf([options.signal], (joined) => {
      const onProgress = heard(options.onProgress, joined)
      return applyWhileOpen(open, target, { ...options, onProgress, signal: joined.signal }, ending)
    }),
  )
}

async function applyWhileOpen(
  ipvs: Ipvs,
  target: State | Plan,
  options: ApplyOptions,
  ending: AbortSignal,
): Promise<ApplyResult> {
  const { drain, signal, dryRun } = options
  const guard = guardOf(options)
  const given = isPlan(target) ? target : undefined
  const comparison = comparisonOf(given === undefined ? options : optionsOfPlan(given, options))
  const goal = await goalOf(given?.wanted ?? (target as State), comparison)
  const parts = partsOf(goal)

  const { found, task } = await ipvs.unit(
    'apply',
    async (unit) => {
      const found = await compare(await unit.read(parts), goal, comparison)
      if (given !== undefined) await refuseStale(given.steps, found.steps, comparison)
      await guard(found)
      signal?.throwIfAborted()
      if (dryRun === true) return { found, task: undefined }
      const task = new Task(options, parts, comparison, found.steps.length)
      const { gentle, quiesced, removals } = found.phases
      await task.guarded(unit, async () => {
        await task.run(unit, gentle)
        await task.run(unit, drain === undefined ? quiesced.concat(removals) : quiesced)
        if (drain !== undefined) await task.quiesce(unit, removals)
      })
      return { found, task }
    },
    signal,
  )
  const {
    phases: { removals },
    ...differences
  } = found
  if (task !== undefined && drain !== undefined && removals.length > 0) {
    await task.drainAndRemove(ipvs, removals, drain, ending)
  }
  return { ...differences, applied: task !== undefined }
}

/** Checks the options of an apply. */
export function checkApplyOptions(options: ApplyOptions): void {
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
  check.flag(options.force ?? false, 'force')
  check.flag(options.dryRun ?? false, 'dryRun')
  if (options.drain !== undefined) {
    check.known(check.object(options.drain, 'drain'), ['timeoutMs', 'waitFor', 'intervalMs'], [], 'drain')
    checkDrainOptions(options.drain)
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
