import { sameSysctl } from '../model/sysctls.ts'
import type { RealServerSpec, ServiceSpec, SyncDaemonSpec, TimeoutChanges, Timeouts } from '../model/types.ts'
import { forEachOf, slices } from '../util/pace.ts'
import { sameDaemon, sameServer, sameService } from './equal.ts'
import { SERVER_SIGN, serverSubject, type Step } from './steps.ts'
import type { Table } from './table.ts'

/** Something that a step may be about, as it is now. */
export type Present = ServiceSpec | RealServerSpec | SyncDaemonSpec | TimeoutChanges | string

/** Everything that was read, by the name that subjectOf() has for it. */
export async function presentOf({
  services,
  timeouts,
  syncDaemons = [],
  sysctls = {},
}: Table): Promise<Map<string, Present>> {
  const present = new Map<string, Present>()
  for await (const some of slices(services)) {
    for (const { id, spec, servers } of some) {
      present.set(id, spec)
      await forEachOf(servers, (server) => {
        present.set(serverSubject(id, server), server)
      })
    }
  }
  if (timeouts !== undefined) present.set('timeouts', timeouts)
  for (const daemon of syncDaemons) present.set(`${daemon.state} sync daemon`, daemon)
  for (const [name, value] of Object.entries(sysctls)) present.set(`sysctl ${name}`, value)
  return present
}

/** The names that presentOf() has for the real servers of each service, by that of the service. */
export async function serversByService(
  present: ReadonlyMap<string, Present>,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const servers = new Map<string, string[]>()
  for await (const some of slices([...present.keys()])) {
    for (const subject of some) {
      const end = subject.indexOf(SERVER_SIGN)
      if (end < 0) continue
      const service = subject.slice(0, end)
      const known = servers.get(service)
      if (known === undefined) servers.set(service, [subject])
      else known.push(subject)
    }
  }
  return servers
}

/** The thing that a step found, or leaves; `undefined` where there is none. */
export function presentIn(step: Step, when: 'before' | 'after'): Present | undefined {
  return (step as { readonly before?: Present; readonly after?: Present })[when]
}

/** Whether something is as a step leaves it, or as the step found it. */
export function isAs(present: Present | undefined, step: Step, when: 'before' | 'after'): boolean {
  const wanted = presentIn(step, when)
  if (present === undefined || wanted === undefined) return present === wanted
  switch (step.kind) {
    case 'add-service':
    case 'edit-service':
    case 'delete-service':
      return sameService(present as ServiceSpec, wanted as ServiceSpec)
    case 'add-server':
    case 'edit-server':
    case 'delete-server':
      return sameServer(present as RealServerSpec, wanted as RealServerSpec)
    case 'set-timeouts':
      return Object.entries(wanted).every(
        ([name, value]) => (present as Timeouts)[name as keyof Timeouts] === value,
      )
    case 'start-daemon':
    case 'stop-daemon':
      return sameDaemon(present as SyncDaemonSpec, wanted as SyncDaemonSpec)
    case 'set-sysctl':
      return sameSysctl(step.name, present as string, wanted as string)
  }
}
