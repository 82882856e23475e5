import { serviceName } from '../model/keys.ts'
import type { Endpoint, RealServerSpec, StateService } from '../model/types.ts'
import { sameServer } from '../state/equal.ts'
import { isAs, presentOf } from '../state/present.ts'
import { serverSubject, type Step, subjectOf } from '../state/steps.ts'
import type { Entry, Table } from '../state/table.ts'
import { slices } from '../util/pace.ts'
import type { Leaving } from './drain.ts'
import { stale } from './errors.ts'

/** Deletions with a drain: set weights to 0, wait, then check again what is left to delete. */

/** A real server that a step deletes, alone or with its service. */
export interface LeavingServer extends Leaving {
  readonly before: RealServerSpec
}

/** The real servers that steps delete. */
export async function serversLeaving(removals: readonly Step[]): Promise<readonly LeavingServer[]> {
  const leaving: LeavingServer[] = []
  for await (const some of slices(removals)) {
    for (const step of some) {
      if (step.kind === 'delete-server') {
        leaving.push({ service: step.service, server: step.server, before: step.before })
      } else if (step.kind === 'delete-service') {
        for await (const few of slices(step.before.realServers ?? [])) {
          for (const before of few) {
            leaving.push({ service: step.service, server: withPort(before), before })
          }
        }
      }
    }
  }
  return leaving
}

/** The same server with weight 0. */
export function quiesce(server: RealServerSpec): RealServerSpec {
  return { ...server, weight: 0 }
}

/**
 * The removals that are left to do after a drain, during which others may have
 * changed the table. Leaves out what is already gone. Refuses if something else
 * than the weight, which the drain set to 0, has changed.
 */
export async function stillToRemove(removals: readonly Step[], table: Table): Promise<readonly Step[]> {
  const now = await presentOf(table)
  const entries = new Map<string, Entry>()
  for await (const some of slices(table.services)) {
    for (const entry of some) {
      entries.set(entry.id, entry)
    }
  }
  const left: Step[] = []
  for await (const some of slices(removals)) {
    for (const planned of some) {
      const step = withQuiescedServers(planned)
      const subject = subjectOf(step)
      const present = now.get(subject)
      // Already gone or, for a daemon, already started.
      if ('after' in step ? isAs(present, step, 'after') : present === undefined) continue
      if (!isAs(present, step, 'before')) throw stale(`${subject} changed during the drain`)
      // Another daemon may be started after this one is stopped.
      if (step.kind === 'stop-daemon') now.delete(subject)
      if (step.kind !== 'delete-service') {
        left.push(step)
        continue
      }
      const known = new Map<string, RealServerSpec>()
      for await (const few of slices(step.before.realServers ?? [])) {
        for (const server of few) {
          known.set(serverSubject(subject, withPort(server)), server)
        }
      }
      const servers = entries.get(subject)?.servers ?? []
      for await (const few of slices(servers)) {
        for (const server of few) {
          const id = serverSubject(subject, server)
          const before = known.get(id)
          if (before === undefined) throw stale(`${id} was added during the drain of its service`)
          if (!sameServer(before, server)) throw stale(`${id} changed during the drain`)
        }
      }
      left.push({ ...step, before: withServers(step.before, servers) })
    }
  }
  return left
}

/**
 * Refuses to delete the last live servers of a service if someone else has
 * meanwhile removed, or set to weight 0, those that were to stay.
 *
 * @param quiescing The steps that set the weights of live servers to 0.
 */
export async function refuseStarved(
  removals: readonly Step[],
  quiescing: Iterable<Step>,
  table: Table,
): Promise<void> {
  const wereLive = new Set<string>()
  for await (const some of slices([...quiescing])) {
    for (const step of some) {
      if ('service' in step) wereLive.add(serviceName(step.service))
    }
  }
  const live = new Set<string>()
  for await (const some of slices(table.services)) {
    for (const { id, servers } of some) {
      if (servers.some(({ weight }) => weight !== 0)) live.add(id)
    }
  }
  for await (const some of slices(removals)) {
    for (const step of some) {
      if (step.kind !== 'delete-server') continue
      const service = serviceName(step.service)
      if (!wereLive.has(service) || live.has(service)) continue
      throw stale(
        `${service} would now be left without a real server whose weight is above 0, because its other real servers changed during the drain`,
      )
    }
  }
}

/** The same deletion, of servers that have weight 0 by now. */
function withQuiescedServers(step: Step): Step {
  if (step.kind === 'delete-server') return { ...step, before: quiesce(step.before) }
  if (step.kind !== 'delete-service') return step
  return { ...step, before: withServers(step.before, (step.before.realServers ?? []).map(quiesce)) }
}

function withServers(service: StateService, realServers: readonly RealServerSpec[]): StateService {
  const { realServers: _, ...rest } = service
  return realServers.length === 0 ? rest : { ...rest, realServers }
}

function withPort({ address, port = 0 }: RealServerSpec): Endpoint {
  return { address, port }
}
