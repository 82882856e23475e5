import { canonicalAddress } from './address.ts'
import { MULTICAST_PAYLOAD_BYTES } from './ranges.ts'
import type { SyncDaemonSpec } from './types.ts'

/** A sync daemon with what the kernel fills in and adjusts. Its length is absent where the interface decides. */
export function completeDaemon(spec: SyncDaemonSpec): SyncDaemonSpec {
  const { state, maxLengthBytes } = spec
  const multicastGroup = canonicalAddress(spec.multicastGroup ?? '224.0.0.81')
  // start_sync_thread(): a datagram holds what its headers leave, and a backup's buffer has at least 1024 bytes.
  const most = MULTICAST_PAYLOAD_BYTES[1] - (multicastGroup.includes(':') ? 20 : 0)
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
