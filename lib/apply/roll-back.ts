import { IpvsError } from '../model/errors.ts'
import type { RealServerSpec } from '../model/types.ts'
import { isAs, type Present, serversByService } from '../state/present.ts'
import { invert, type Step, subjectOf } from '../state/steps.ts'
import { slices } from '../util/pace.ts'
import type { FailedStep } from './errors.ts'

/** A step that undoes another. */
interface Inverse {
  readonly step: Step
  readonly of: Step
}

/**
 * The steps that undo those that were sent, last one first, and the steps that
 * cannot be undone, because someone else changed the same thing or because
 * nobody knows whether they were done.
 *
 * @param errors The errors of those that failed.
 * @param quiescing Those of them that set a server to weight 0 for a drain.
 * @param now The table as it is now; `undefined` if it could not be read.
 * @param keepWeights Whether someone else sets the weights of servers: existing servers keep their present weight.
 */
export async function inverseOf(
  sent: readonly Step[],
  errors: ReadonlyMap<Step, Error>,
  quiescing: ReadonlySet<Step>,
  now: ReadonlyMap<string, Present> | undefined,
  keepWeights = false,
): Promise<{ readonly inverse: readonly Inverse[]; readonly notUndone: readonly FailedStep[] }> {
  const inverse: Inverse[] = []
  const notUndone: FailedStep[] = []
  /** The values that the steps of `inverse` leave behind. */
  const later = new Map<string, Present | undefined>()
  let servers: ReadonlyMap<string, readonly string[]> | undefined
  for await (const some of slices([...sent].reverse())) {
    for (const of of some) {
      const error = errors.get(of)
      // The kernel did not do what it refused, even if someone else did.
      if (error !== undefined && isRefusal(error)) continue
      const subject = subjectOf(of)
      const present = later.has(subject) ? later.get(subject) : now?.get(subject)
      const step = keepWeights ? withWeightOf(present, of) : of
      if (now === undefined) {
        if (error !== undefined) {
          notUndone.push({ step: of, error, unknown: true })
          continue
        }
      } else {
        if (quiescing.has(of)) {
          // Only the weight was changed, so only that is restored, unless someone else has set one.
          const server = present as RealServerSpec | undefined
          if (server?.weight !== 0 || of.kind !== 'edit-server') continue
          const after = { ...server, weight: of.before.weight ?? 1 }
          inverse.push({ step: { ...of, before: server, after }, of })
          later.set(subject, after)
          continue
        }
        if (!isAs(present, step, 'after')) {
          if (error === undefined && !isAs(present, step, 'before')) notUndone.push({ step: of })
          continue
        }
        if (of.kind === 'add-service') {
          servers ??= await serversByService(now)
          if (await anyStays(servers.get(subject) ?? [], later)) {
            // That would delete what someone else added or changed inside it.
            notUndone.push({ step: of })
            continue
          }
        }
      }
      for await (const some of slices(invert(step))) {
        for (const back of some) {
          inverse.push({ step: back, of })
          later.set(subjectOf(back), 'after' in back ? back.after : undefined)
        }
      }
    }
  }
  return { inverse, notUndone }
}

/** The same step, as if the server had had its present weight all along. */
function withWeightOf(present: Present | undefined, step: Step): Step {
  if (present === undefined || (step.kind !== 'add-server' && step.kind !== 'edit-server')) return step
  const { weight = 1 } = present as RealServerSpec
  if (step.kind === 'add-server') return { ...step, after: { ...step.after, weight } }
  return { ...step, before: { ...step.before, weight }, after: { ...step.after, weight } }
}

/** Whether any of these still exists once the steps of `inverse` are done. */
async function anyStays(
  subjects: readonly string[],
  later: ReadonlyMap<string, Present | undefined>,
): Promise<boolean> {
  for await (const some of slices(subjects)) {
    for (const subject of some) {
      if (!later.has(subject) || later.get(subject) !== undefined) return true
    }
  }
  return false
}

/** Whether an error says that its step was not done. Otherwise the answer was lost. */
function isRefusal(error: Error): boolean {
  if (!(error instanceof IpvsError)) return false
  // The other calls are about a sysctl's file, and their outcome is certain.
  return (
    error.code === 'ECANCELED' ||
    [undefined, 'pthread_create', 'setns', 'open', 'write'].includes(error.syscall)
  )
}
