import { serviceName } from '../model/keys.ts'
import type { CompleteServer } from '../model/server-settings.ts'
import { completeServer } from '../model/server-settings.ts'
import { completeService } from '../model/service-settings.ts'
import { completeSysctls } from '../model/sysctls.ts'
import type { State, SyncDaemonSpec } from '../model/types.ts'
import { canonicalAddress } from '../model/address.ts'
import { Pace } from '../util/pace.ts'
import { checkState } from './check.ts'
import { inScope, type ScopeTest } from './scope.ts'
import type { Entry, Table } from './table.ts'

/**
 * Checks a state and completes it.
 *
 * @throws {TypeError | RangeError} naming the field: `services[3].realServers[0].weight`.
 */
export async function completeState(wanted: State): Promise<Table> {
  const services: Entry[] = []
  let servers: CompleteServer[] = []
  // Each part in the instant in which it is checked: whoever owns the state may change it meanwhile.
  const state = await checkState(wanted, {
    onService(key, settings) {
      servers = []
      services.push({ id: serviceName(key), key, spec: completeService(key, settings), servers })
    },
    onServer(key, settings) {
      servers.push(completeServer(key, settings))
    },
  })
  const { timeouts, syncDaemons, sysctls } = state
  return {
    services,
    ...(timeouts !== undefined && { timeouts: { ...timeouts } }),
    ...(syncDaemons !== undefined && { syncDaemons: syncDaemons.map(completeDaemon) }),
    ...(sysctls !== undefined && { sysctls: completeSysctls(sysctls) }),
  }
}

/** The state that a table is of, which shares its objects. */
export async function stateOf(table: Table): Promise<State> {
  const services = await new Pace().map(table.services, ({ spec, servers }) => ({
    ...spec,
    ...(servers.length > 0 && { realServers: servers }),
  }))
  const { timeouts, syncDaemons, sysctls } = table
  return {
    version: 1,
    services,
    ...(timeouts !== undefined && { timeouts }),
    ...(syncDaemons !== undefined && { syncDaemons }),
    ...(sysctls !== undefined && { sysctls }),
  }
}

/** Refuses a wanted table that has anything outside of a scope. */
export async function checkWithin(wanted: Table, scope: ScopeTest): Promise<void> {
  const pace = new Pace()
  for (const [index, { id, key }] of wanted.services.entries()) {
    if (pace.due()) await pace.rest()
    if (inScope(scope, key)) continue
    throw new RangeError(`services[${String(index)}]: ${id} is outside of the scope`)
  }
  for (const part of ['timeouts', 'syncDaemons', 'sysctls'] as const) {
    if (wanted[part] === undefined) continue
    throw new TypeError(
      `${part} belong to the whole director, and so to no scope: leave them out of the state, or the scope`,
    )
  }
}

/** A sync daemon with what the kernel fills in and adjusts. Its length is absent where the interface decides. */
export function completeDaemon(spec: SyncDaemonSpec): SyncDaemonSpec {
  const { state, maxLengthBytes } = spec
  const multicastGroup = canonicalAddress(spec.multicastGroup ?? '224.0.0.81')
  // start_sync_thread(): a datagram holds what its headers leave, and a backup's buffer has at least 1024 bytes.
  const most = multicastGroup.includes(':') ? 65487 : 65507
  const least = state === 'backup' ? 1024 : 1
  return {
    state,
    multicastInterface: spec.multicastInterface,
    syncId: spec.syncId ?? 0,
    ...(maxLengthBytes !== undefined && { maxLengthBytes: Math.min(Math.max(maxLengthBytes, least), most) }),
    multicastGroup,
    multicastPort: spec.multicastPort ?? 8848,
    multicastTtl: spec.multicastTtl ?? 1,
  }
}
