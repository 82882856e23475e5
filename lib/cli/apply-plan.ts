import { ApplyError, type ApplyResult, type Plan } from '../index.ts'
import { isSame } from './print-plan.ts'

/** How a plan is applied, and made again. */
export interface PlanWork {
  readonly apply: (plan: Plan) => Promise<ApplyResult>
  /** Makes the plan again, for the table as it is by now. It may throw the error instead. */
  readonly again: (stale: ApplyError) => Promise<Plan>
  /** Runs what changes the table, with the table locked. */
  readonly change: (work: () => Promise<ApplyResult>) => Promise<ApplyResult>
}

/** How often a change is planned, if something else keeps changing the same services. */
const MOST_PLANS = 8

/**
 * Applies a plan that was made before the table was locked. If the table has changed
 * since then, the plan is made again. Where there is nothing to do, nothing is waited for.
 */
export async function applyPlan(first: Plan, { apply, again, change }: PlanWork): Promise<ApplyResult> {
  const work = async (): Promise<ApplyResult> => {
    let plan = first
    for (let plans = 1; ; plans += 1) {
      try {
        return await apply(plan)
      } catch (error) {
        if (plans >= MOST_PLANS || !isStale(error)) throw error
        plan = await again(error)
      }
    }
  }
  if (isSame(first)) {
    try {
      return await apply(first)
    } catch (error) {
      if (!isStale(error)) throw error
    }
  }
  return change(work)
}

/** Whether the table had changed before anything was done. */
function isStale(error: unknown): error is ApplyError {
  return error instanceof ApplyError && error.code === 'ERR_IPVS_STALE_PLAN' && error.undone.length === 0
}
