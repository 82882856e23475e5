import * as check from '../model/check.ts'
import { type RequestOptions } from '../model/types.ts'
import { PLAN_OPTIONS, type PlanOptions } from '../state/goal.ts'
import type { Differences } from '../state/plan.ts'
import { STEP_KINDS, type StepKind } from '../state/steps.ts'
import { checkDrainOptions, type DrainOptions } from './drain.ts'
import type { FailedStep } from './errors.ts'

/** Options of `apply()` and `restore()`. */
export interface ApplyOptions extends PlanOptions, RequestOptions {
  /** The kinds of steps that may be done: a plan with any other kind is refused. Default: all. */
  readonly allow?: readonly StepKind[] | undefined
  /**
   * A plan that deletes more services and real servers than this is refused, unless
   * `force`. `Infinity`: no limit. Default: a plan is refused that deletes more
   * than half of the services that there are inside the scope. A service that
   * another one replaces, such as one with another port, does not count.
   */
  readonly maxDeletions?: number | undefined
  /**
   * Overrides `maxDeletions` and its default. Also allows a plan that leaves a service without a
   * real server of weight above 0 where it has one now. Default false.
   */
  readonly force?: boolean | undefined
  /**
   * Does what can be done. A step that fails does not stop the apply and is not
   * rolled back; the result lists it in `failed`. If a step of a service failed,
   * nothing is taken from that service: its real servers keep their weights, and
   * neither they nor a service that has no replacement are deleted. Guards still
   * refuse, and an abort still rolls everything back. Default false: all or nothing.
   */
  readonly keepGoing?: boolean | undefined
  /** Makes the same checks, reports what would be done, and changes nothing. Default false. */
  readonly dryRun?: boolean | undefined
  /**
   * Sets real servers that are about to be deleted, alone or with their service,
   * to weight 0 and waits for their connections to end: at most `timeoutMs`,
   * default five minutes. Then deletes them. Default: deletes them at once.
   */
  readonly drain?: Pick<DrainOptions, 'timeoutMs' | 'waitFor' | 'intervalMs'> | undefined
  /**
   * Called from time to time while steps are done. An error that it throws ends the
   * apply, as a failed step does. An async callback is not waited for; if it
   * rejects, that ends an apply that still has something to do.
   */
  readonly onProgress?: ((progress: ApplyProgress) => unknown) | undefined
  /**
   * Ends the apply: the steps that were done are undone, and the apply rejects with the
   * signal's reason. Requests that were sent cannot be stopped and are waited for.
   */
  readonly signal?: AbortSignal | undefined
}

/** Progress of an apply. */
export interface ApplyProgress {
  /** 'apply': steps are done. 'drain': the connections of servers are waited for. 'roll-back': steps are undone. */
  readonly phase: 'apply' | 'drain' | 'roll-back'
  /** Steps, or servers, that are done. */
  readonly done: number
  /** Of how many. */
  readonly total: number
}

/** What an apply did. */
export interface ApplyResult extends Differences {
  /** Whether it was done. False with `dryRun`; true when there was nothing to do. */
  readonly applied: boolean
  /** With `keepGoing`: the steps that failed or were skipped, and why. Otherwise empty. */
  readonly failed: readonly FailedStep[]
}

/** Names of the options of `apply()`. */
export const APPLY_OPTIONS: readonly string[] = [
  ...PLAN_OPTIONS,
  'allow',
  'maxDeletions',
  'force',
  'keepGoing',
  'dryRun',
  'drain',
  'onProgress',
  'signal',
]

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
  if (maxDeletions !== undefined && maxDeletions !== Infinity) {
    check.whole(maxDeletions, 'maxDeletions', 0, Number.MAX_SAFE_INTEGER)
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`onProgress must be a function, got ${check.show(onProgress)}`)
  }
  check.flag(options.force ?? false, 'force')
  check.flag(options.keepGoing ?? false, 'keepGoing')
  check.flag(options.dryRun ?? false, 'dryRun')
  if (options.drain !== undefined) {
    check.known(check.object(options.drain, 'drain'), ['timeoutMs', 'waitFor', 'intervalMs'], [], 'drain')
    checkDrainOptions(options.drain)
  }
}
