import { checkOptions, show } from '../model/check.ts'
import type { IpvsError } from '../model/errors.ts'
import type { RequestOptions } from '../model/types.ts'
import { checkedSteps } from '../state/check-steps.ts'
import type { RunnableStep } from '../state/steps.ts'
import type { Session } from './session.ts'

/** The outcome of one step of `runSteps()`. */
export interface StepOutcome<S extends RunnableStep = RunnableStep> {
  /** The step, as it was given. */
  readonly step: S
  /** Why it was not done. Absent: it was done. */
  readonly error?: IpvsError
}

/** Runs all steps in order, also after one has failed. See Ipvs.runSteps(). */
export async function runSteps<S extends RunnableStep>(
  session: Session,
  steps: readonly S[],
  options: RequestOptions,
): Promise<StepOutcome<S>[]> {
  checkOptions(options, ['signal'])
  if (!Array.isArray(steps)) throw new TypeError(`steps must be an array, got ${show(steps)}`)
  const given = [...(steps as readonly S[])]
  // It takes its place in the order of calls now, and is checked when its turn comes.
  const errors = await session.exclusive(
    'runSteps',
    async (access) => access.write(await checkedSteps(given)),
    options.signal,
  )
  return given.map((step, index) => {
    const error = errors[index]
    return error === undefined ? { step } : { step, error }
  })
}
