import { checkOptions } from '../model/check.ts'
import { Errno } from '../model/errno.ts'
import { serviceName } from '../model/keys.ts'
import type { RealServerSpec, ServiceKey } from '../model/types.ts'
import { refusal } from '../session/refusals.ts'
import type { Session } from '../session/session.ts'
import { withPath } from '../state/path.ts'
import { CheckedState, type Table, tableOf, type Wanted } from '../state/table.ts'
import { applyTo } from './apply.ts'
import { APPLY_OPTIONS, type ApplyOptions, type ApplyResult, checkApplyOptions } from './options.ts'

/** Options of `setRealServers()`: those of `apply()`, except `scope`, which is the one service. */
export type SetRealServersOptions = Omit<ApplyOptions, 'scope'>

const OPTIONS = APPLY_OPTIONS.filter((name) => name !== 'scope')

/** See Ipvs.setRealServers(). */
export async function setRealServers(
  session: Session,
  service: ServiceKey,
  list: readonly RealServerSpec[],
  options: SetRealServersOptions,
): Promise<ApplyResult> {
  checkOptions(options, OPTIONS)
  checkApplyOptions(options)
  const wanted = await tableOf(
    { services: [{ ...service, realServers: list }] },
    // The caller gave a list, not a state.
    { refuse: (error, path) => withPath(error, path.slice(2)) },
  )
  const scope = { services: [service] }
  return applyTo(session, new CheckedState(wanted), { ...options, scope }, (table) =>
    withSettingsOf(table, service, wanted),
  )
}

/** The wanted servers of the service as it is in the table that was just read: nothing of it is changed. */
function withSettingsOf(
  { services }: Table,
  service: ServiceKey,
  { services: [wanted] = [] }: Wanted,
): Wanted {
  const id = serviceName(service)
  const now = services.find((entry) => entry.id === id)
  if (now === undefined) throw refusal({ errno: Errno.ESRCH }, 'setRealServers', { service })
  return { services: [{ ...now, servers: wanted?.servers ?? [] }] }
}
