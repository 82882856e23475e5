import type { ApplyErrorCode } from '../model/error-codes.ts'
import { serviceName } from '../model/keys.ts'
import type { ServiceKey } from '../model/types.ts'
import { type Step, subjectOf } from '../state/steps.ts'

/** A step that failed, and why. */
export interface FailedStep {
  /** The step as it was planned. */
  readonly step: Step
  /** Absent: someone else changed the same thing meanwhile, so it was left alone. */
  readonly error?: Error
  /**
   * It is not known whether the step was done: its answer was lost, as `error`
   * says, and then the table could not be read. Absent: the outcome is known.
   */
  readonly unknown?: true
}

/**
 * Why a state was not applied.
 *
 * `ERR_IPVS_GUARD`: a guard refused the plan. Nothing was sent.
 * `ERR_IPVS_STALE_PLAN`: the table has changed since the plan was made. Nothing
 * was sent; or, if someone else changed servers while they were drained, the
 * steps that were done were undone.
 * `ERR_IPVS_APPLY`: a step failed. The steps that were done were undone, except `notUndone`.
 */
export class ApplyError extends Error {
  /** The reason, one of the codes above. */
  readonly code: ApplyErrorCode
  /** The step that failed first. */
  declare readonly failed?: FailedStep
  /** Steps that were done and then undone, last one first. */
  readonly undone: readonly Step[]
  /**
   * Steps that were done, or may have been, and could not be undone.
   * Empty: the table is as it was.
   */
  readonly notUndone: readonly FailedStep[]

  /** @hidden */
  constructor(
    code: ApplyErrorCode,
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

/** The error of a guard that refuses. The remedies are parts of one sentence. */
export function refused(reasons: readonly string[], remedies: Iterable<string>): ApplyError {
  return new ApplyError(
    'ERR_IPVS_GUARD',
    `refused, nothing was changed: ${reasons.join('; ')}. To allow this, ${[...remedies].join(' and ')}.`,
  )
}

/** Why a guard refuses to take the last real server of these services. */
export function wouldStarve(services: readonly ServiceKey[]): string {
  const some = services.slice(0, 5).map(serviceName).join(', ')
  const more = services.length > 5 ? ` and ${String(services.length - 5)} more` : ''
  return `${some}${more} would be left without a real server whose weight is above 0`
}

/** A step that failed, on its way to the roll-back. */
export class StepFailure extends Error {
  readonly failed: FailedStep

  constructor(failed: FailedStep) {
    super(failed.error?.message)
    this.failed = failed
  }
}

/** The error of an apply that was rolled back. */
export function errorOf(cause: unknown, undone: readonly Step[], notUndone: readonly FailedStep[]): unknown {
  const failed = cause instanceof StepFailure ? cause.failed : undefined
  // If the table is as it was, an abort or an error of a callback reaches the caller as it is.
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
          ...(undone.length === 0 ? [] : [`${count(undone)} undone`]),
          ...(left.length === 0 ? [] : [`NOT undone: ${list(left)}`]),
          ...(unknown.length === 0
            ? []
            : [
                `NOT KNOWN whether done, because the table could not be read: ${list(unknown)}. Read the table`,
              ]),
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
  return steps.length === 0 ? 'Nothing was changed' : `Undid ${count(steps)}`
}

/** The error for a plan that no longer fits the table. */
export function stale(what: string): ApplyError {
  return new ApplyError(
    'ERR_IPVS_STALE_PLAN',
    `the table has changed since the plan was made: ${what}. Make a new plan.`,
  )
}
