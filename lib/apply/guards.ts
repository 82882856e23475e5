import { endpointId } from '../model/keys.ts'
import type { RealServerSpec } from '../model/types.ts'
import { sameServer } from '../state/equal.ts'
import type { Comparison } from '../state/goal.ts'
import type { Found } from '../state/plan.ts'
import { isAs, presentIn } from '../state/present.ts'
import { type Step, type StepKind, subjectOf } from '../state/steps.ts'
import { slices } from '../util/pace.ts'
import { refused, stale, wouldStarve } from './errors.ts'
import type { ApplyOptions } from './options.ts'

/** Refuses a plan that would come out differently now. With `keepWeights`, weights may differ. */
export async function refuseStale(
  planned: readonly Step[],
  found: readonly Step[],
  { keepWeights }: Pick<Comparison, 'keepWeights'>,
): Promise<void> {
  // The order of services in a table has no meaning, and may change by itself.
  const expected = new Map<string, Step>()
  for await (const some of slices(planned)) {
    for (const step of some) {
      expected.set(`${step.kind} ${subjectOf(step)}`, keepWeights ? weightless(step) : step)
    }
  }
  for await (const some of slices(found)) {
    for (const step of some) {
      const id = `${step.kind} ${subjectOf(step)}`
      const before = expected.get(id)
      if (before === undefined) throw stale(`${id} is now needed as well`)
      if (!sameStep(before, keepWeights ? weightless(step) : step))
        throw stale(`${id} would now make a different change`)
      expected.delete(id)
    }
  }
  for (const id of expected.keys()) throw stale(`${id} is no longer needed, or no longer possible`)
}

/** Whether two steps of one kind about the same thing start and end with equal values. */
function sameStep(one: Step, other: Step): boolean {
  // Both ways, because a step has only the timeouts that it changes.
  const same = (['before', 'after'] as const).every(
    (when) => isAs(presentIn(one, when), other, when) && isAs(presentIn(other, when), one, when),
  )
  if (!same || one.kind !== 'delete-service' || other.kind !== 'delete-service') return same
  const { realServers: gone = [] } = one.before
  const servers = new Map((other.before.realServers ?? []).map((server) => [endpointId(server), server]))
  return (
    gone.length === servers.size &&
    gone.every((server) => {
      const again = servers.get(endpointId(server))
      return again !== undefined && sameServer(server, again)
    })
  )
}

/** The same step without the weights of its servers. */
function weightless(step: Step): Step {
  const without = (server: RealServerSpec): RealServerSpec => ({ ...server, weight: 0 })
  switch (step.kind) {
    case 'add-server':
      return { ...step, after: without(step.after) }
    case 'edit-server':
      return { ...step, before: without(step.before), after: without(step.after) }
    case 'delete-server':
      return { ...step, before: without(step.before) }
    case 'delete-service': {
      const { realServers = [] } = step.before
      return { ...step, before: { ...step.before, realServers: realServers.map(without) } }
    }
    default:
      return step
  }
}

/** The guard that the options of an apply ask for: it throws if one of the differences is not allowed. */
export function guardOf({
  allow,
  maxDeletions,
  force = false,
}: ApplyOptions): (found: Found) => Promise<void> {
  return async ({ steps, deletions, starved, services }) => {
    const reasons: string[] = []
    const remedies = new Set<string>()
    const other = allow && (await firstOtherThan(allow, steps))
    if (other !== undefined) {
      const kinds = allow?.join(', ') ?? ''
      reasons.push(
        `${other.kind} ${subjectOf(other)} is not allowed, because \`allow\` ${kinds === '' ? 'is empty' : `has only ${kinds}`}`,
      )
      remedies.add(`add ${other.kind} to \`allow\``)
    }
    if (!force && maxDeletions !== undefined && deletions > maxDeletions) {
      reasons.push(
        `${deletions === 1 ? '1 service or real server' : `${String(deletions)} services and real servers`} would be deleted, more than \`maxDeletions\` (${String(maxDeletions)})`,
      )
      remedies.add(starved.length > 0 ? 'give `force`' : 'raise `maxDeletions` or give `force`')
    }
    const surprise = maxDeletions === undefined ? surpriseOf(services) : undefined
    if (!force && surprise !== undefined) {
      reasons.push(surprise)
      remedies.add(starved.length > 0 ? 'give `force`' : 'give `maxDeletions` or `force`')
    }
    if (!force && starved.length > 0) {
      reasons.push(wouldStarve(starved))
      remedies.add('give `force`')
    }
    if (reasons.length === 0) return
    throw refused(reasons, remedies)
  }
}

/** Why so many services that go are probably not meant; `undefined` if they may be. */
function surpriseOf({ before, lost }: Found['services']): string | undefined {
  if (lost * 2 <= before) return undefined
  const services = before === 1 ? '1 service' : `${String(before)} services`
  return `${String(lost)} of ${services} would be deleted, which is more than half`
}

async function firstOtherThan(kinds: readonly StepKind[], steps: readonly Step[]): Promise<Step | undefined> {
  for await (const some of slices(steps)) {
    for (const step of some) {
      if (!kinds.includes(step.kind)) return step
    }
  }
  return undefined
}
