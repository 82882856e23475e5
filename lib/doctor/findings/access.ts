import { serviceName } from '../../model/keys.ts'
import { PERSISTENCE_ENGINES, SCHEDULERS } from '../../model/schedulers.ts'
import type { Finding } from './finding.ts'
import { finding, type Look } from './situation.ts'

/** What keeps the table, or a part of it, from being there. */

/** What a failure to read the table means; `undefined` if it is another failure. */
export function notAvailable(error: unknown): Finding | undefined {
  const { code, noFamily } = error as { readonly code?: unknown; readonly noFamily?: unknown }
  if (noFamily === true) {
    return finding('no-module', 'error', 'the kernel has no IPVS: module ip_vs is not loaded', NOBODY, {
      commands: ['modprobe ip_vs'],
    })
  }
  if (code === 'EPERM') {
    return finding(
      'no-permission',
      'error',
      'this process may not read the table of IPVS: it lacks CAP_NET_ADMIN. Run this as root.',
      'Nothing is known of the services.',
    )
  }
  return undefined
}

const NOBODY = 'No client is served: connections to virtual addresses are refused, or time out.'

export const unread: Look = ({ host }) =>
  host.unread.map(({ what, why }) =>
    finding(
      'cannot-look',
      'note',
      `could not run ${what}: ${why}`,
      'Whatever depends on it was not looked at.',
      // Debian's, and most others' name for it.
      what === 'ip' && why.includes('not found') ? { commands: ['apt-get install iproute2'] } : {},
    ),
  )

export const schedulersAndEngines: Look = function* ({ services, capabilities }) {
  for (const { key, scheduler, persistenceEngine } of services) {
    const about = { services: [key] }
    const name = serviceName(key)
    if (scheduler === 'none') {
      yield finding(
        'scheduler-missing',
        'error',
        `${name} has no scheduler`,
        'Every new connection is refused.',
        { ...about, commands: [`ipvs set ${name} scheduler=wlc`] },
      )
    }
    if (capabilities === undefined) continue
    if (SCHEDULERS.includes(scheduler) && !capabilities.schedulers.includes(scheduler)) {
      yield finding(
        'scheduler-missing',
        'error',
        `${name}: the kernel does not have scheduler ${scheduler}, and cannot load it`,
        'The service cannot be added, so its clients are refused.',
        { ...about, commands: [`modprobe ip_vs_${scheduler}`] },
      )
    }
    const engine = persistenceEngine ?? ''
    if (PERSISTENCE_ENGINES.includes(engine) && !capabilities.persistenceEngines.includes(engine)) {
      yield finding(
        'engine-missing',
        'error',
        `${name}: the kernel does not have persistence engine ${engine}, and cannot load it`,
        'The service cannot be added, so its clients are refused.',
        { ...about, commands: [`modprobe ip_vs_pe_${engine}`] },
      )
    }
  }
}
