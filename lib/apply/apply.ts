import * as check from '../model/check.ts'
import { Errno } from '../model/errno.ts'
import type { RequestOptions, State } from '../model/types.ts'
import type { Access } from '../session/access.ts'
import { sysctlRefusal } from '../session/refusals.ts'
import type { Session } from '../session/session.ts'
import { checkNamesOf } from '../state/check-steps.ts'
import { type Goal, goalOf, PLAN_OPTIONS, type PlanOptions } from '../state/goal.ts'
import { placed } from '../state/origin.ts'
import { compare, type Found, type Plan, planOf, refuseAbsentSysctls } from '../state/plan.ts'
import type { CheckedState, Table, Wanted } from '../state/table.ts'
import { heard, whileAnyOf } from '../util/signals.ts'
import type { FailedStep } from './errors.ts'
import { guardOf, refuseStale } from './guards.ts'
import { type ApplyOptions, type ApplyResult, checkApplyOptions } from './options.ts'
import { Transaction } from './transaction.ts'

/** See Ipvs.plan(). */
export async function plan(
  session: Session,
  wanted: State,
  options: PlanOptions & RequestOptions,
): Promise<Plan> {
  check.checkOptions(options, [...PLAN_OPTIONS, 'signal'])
  const goal = await goalOf(wanted, options)
  const actual = await session.exclusive('plan', (access) => access.read(goal.parts), options.signal)
  return planOf(await differencesOf(actual, goal, true), goal.wanted, options)
}

/** Compares a table with a state, which must not write names that the kernel cannot have. */
function differencesOf(
  actual: Table,
  { wanted, comparison, refuse }: Goal,
  lenient: boolean,
): Promise<Found> {
  return placed(refuse, async () => {
    const found = await compare(actual, wanted, comparison)
    await checkNamesOf(found.steps, wanted)
    if (!lenient) refuseAbsentSysctls(found, 'this kernel')
    return found
  })
}

/** A sysctl that the kernel does not have, as a step that it refused. */
function failedSysctl(name: string, { sysctls }: Goal['wanted']): FailedStep {
  const after = sysctls?.[name] ?? ''
  return {
    step: { kind: 'set-sysctl', name, before: '', after },
    error: sysctlRefusal({ errno: Errno.ENOENT, syscall: 'open' }, name, after),
  }
}

/** See Ipvs.apply(). */
export async function apply(
  session: Session,
  target: State | CheckedState | Plan,
  options: ApplyOptions,
): Promise<ApplyResult> {
  checkApplyOptions(options)
  return applyTo(session, target, options)
}

/**
 * Applies with options that have been checked.
 *
 * @param settle Decides what is wanted once the table has been read, and nothing comes in between.
 */
export function applyTo(
  session: Session,
  target: State | CheckedState | Plan,
  options: ApplyOptions,
  settle?: (actual: Table) => Wanted,
): Promise<ApplyResult> {
  return session.background('apply', (open, ending) =>
    whileAnyOf([options.signal], (joined) => {
      const onProgress = heard(options.onProgress, joined)
      return applyWhileOpen(open, target, { ...options, onProgress, signal: joined.signal }, ending, settle)
    }),
  )
}

async function applyWhileOpen(
  session: Session,
  target: State | CheckedState | Plan,
  options: ApplyOptions,
  ending: AbortSignal,
  settle?: (actual: Table) => Wanted,
): Promise<ApplyResult> {
  const { drain, signal, dryRun, keepGoing = false } = options
  const guard = guardOf(options)
  const given = isPlan(target) ? target : undefined
  const goal =
    given === undefined
      ? await goalOf(target as State, options)
      : await goalOf(given.wanted, optionsOfPlan(given, options))
  const { comparison, parts } = goal
  const locked =
    <T>(task: (access: Access) => Promise<T>) =>
    (access: Access): Promise<T> =>
      dryRun === true
        ? task(access)
        : whileAnyOf([signal, ending], (waiting) => session.locked(() => task(access), waiting.signal))

  const {
    found,
    transaction,
    removals = [],
  } = await session.exclusive(
    'apply',
    locked(async (access) => {
      const actual = await access.read(parts)
      const settled = settle === undefined ? goal : { ...goal, wanted: settle(actual) }
      const found = await differencesOf(actual, settled, keepGoing)
      if (given !== undefined) await refuseStale(given.steps, found.steps, comparison)
      await guard(found)
      signal?.throwIfAborted()
      if (dryRun === true) return { found, transaction: undefined }
      const transaction = new Transaction(options, parts, comparison, found.steps.length)
      const { gentle, quiesced, removals } = found.phases
      for (const name of found.absentSysctls) transaction.failed.push(failedSysctl(name, goal.wanted))
      let left = removals
      await transaction.guarded(access, async () => {
        await transaction.run(access, gentle)
        await transaction.run(access, transaction.withoutFailed(quiesced))
        left = transaction.withoutFailed(removals)
        if (drain === undefined) await transaction.run(access, left)
        else await transaction.quiesce(access, left)
      })
      return { found, transaction, removals: left }
    }),
    signal,
  )
  const { phases: _, services: __, ...differences } = found
  if (transaction !== undefined && drain !== undefined && removals.length > 0) {
    await transaction.drainAndRemove(session, removals, drain, ending)
  }
  return { ...differences, applied: transaction !== undefined, failed: transaction?.failed ?? [] }
}

function isPlan(target: State | CheckedState | Plan): target is Plan {
  // Callers without types may pass anything; goalOf() says what is wrong with it.
  const given = target as unknown
  return typeof given === 'object' && given !== null && 'steps' in target && Array.isArray(target.steps)
}

function optionsOfPlan(given: Plan, options: ApplyOptions): PlanOptions {
  for (const name of PLAN_OPTIONS) {
    if (options[name] !== undefined) throw new TypeError(`${name} is part of the plan: pass it to plan()`)
  }
  return check.object(given.options, 'options of a plan')
}
