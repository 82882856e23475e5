import type { Command } from 'commander'
import {
  type ApplyOptions,
  formatServiceKey,
  type Ipvs,
  type Plan,
  planStates,
  type ServiceKey,
  type StateService,
} from '../index.ts'
import { applyPlan } from './apply-plan.ts'
import { type Applied, hasChanged, progressOf, sayApplied } from './commands/apply.ts'
import { checked, STATUS } from './exit-status.ts'
import { makeChange } from './make-change.ts'
import { type ChangeOptions, guardsOf, withChange } from './options.ts'
import { isSame, printPlan } from './print-plan.ts'
import type { CommonOptions, Run } from './run.ts'

/** What the verbs have in common: they read services, make the wanted ones of them, and apply what differs. */

export interface VerbOptions extends CommonOptions, Pick<ChangeOptions, 'force' | 'drain'> {
  readonly dryRun?: boolean
  readonly everywhere?: boolean
}

export function withDryRun(command: Command): Command {
  return command.option('--dry-run', 'only print what would be done')
}

export function withVerb(command: Command): Command {
  return withChange(withDryRun(command))
}

export function withForce(command: Command): Command {
  return command.option('--force', 'allow a service to be left without a real server that gets connections')
}

/** Makes the services that are there into those that are wanted. Pure: it may be called again. */
type Edit = (services: readonly StateService[]) => readonly StateService[]

/** Changes one service, or all. Gives the exit status. */
export async function changeTable(
  run: Run,
  options: VerbOptions,
  service: ServiceKey | undefined,
  edit: Edit,
): Promise<number> {
  const { status, say } = await run.withTable((ipvs) =>
    run.interruptible((signal) => change(run, ipvs, options, service, edit, signal)),
  )
  // A table in a file is written last, so only now it is true.
  await say?.()
  return status
}

/**
 * The plan is made from what was read and not from the table as it is by then:
 * apply() refuses it if something else has changed these services in between,
 * so no change of another program is undone.
 */
async function change(
  run: Run,
  ipvs: Ipvs,
  options: VerbOptions,
  service: ServiceKey | undefined,
  edit: Edit,
  signal: AbortSignal,
): Promise<Applied> {
  const { onProgress, clear } = progressOf(run)
  const how: ApplyOptions = {
    ...guardsOf(options),
    // Whoever names what to remove means it.
    maxDeletions: Infinity,
    dryRun: options.dryRun === true,
    signal,
    onProgress,
  }
  const scope = service && { scope: { services: [service] } }
  const planned = async (): Promise<Plan> => {
    const { services } = await ipvs.save({ ...scope, timeouts: false, syncDaemons: false, signal })
    return planOf(
      services,
      checked(() => edit(services)),
    )
  }
  // Once before the table is locked: most mistakes show here, and there may be nothing to do.
  const first = await planned()
  const result = await applyPlan(first, {
    apply: (plan) => ipvs.apply(plan, how).finally(clear),
    again: planned,
    change: (work) =>
      how.dryRun === true ? work() : makeChange(run, ipvs, work, { changed: hasChanged, signal }),
  })
  if (result.applied) return { status: STATUS.done, say: () => sayApplied(run, result, {}) }
  return {
    status: isSame(result) ? STATUS.done : STATUS.differs,
    say: () => printPlan(run, result, { applied: false }),
  }
}

/** What leads from some services to others. Those that stay are outside of its scope, and free to change meanwhile. */
function planOf(before: readonly StateService[], after: readonly StateService[]): Promise<Plan> {
  const [gone, come] = [outside(before, after), outside(after, before)]
  const names = [...gone, ...come].map((service) => formatServiceKey(service))
  return planStates({ services: gone }, { services: come }, { scope: { services: names } })
}

function outside(some: readonly StateService[], others: readonly StateService[]): StateService[] {
  const known = new Set(others)
  return some.filter((service) => !known.has(service))
}
