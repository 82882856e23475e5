import { completeDaemon } from '../model/daemon-settings.ts'
import { IPIP } from '../model/server-settings.ts'
import type { RealServerSettings, ServiceSpec, SyncDaemonSpec, Tunnel } from '../model/types.ts'

/** When two things are equal: no step leads from one to the other. */

export function sameService(one: ServiceSpec, other: ServiceSpec): boolean {
  return (
    one.scheduler === other.scheduler &&
    String(one.schedulerFlags ?? '') === String(other.schedulerFlags ?? '') &&
    (one.onePacket ?? false) === (other.onePacket ?? false) &&
    one.persistence?.timeoutSeconds === other.persistence?.timeoutSeconds &&
    one.persistence?.netmask === other.persistence?.netmask &&
    one.persistenceEngine === other.persistenceEngine
  )
}

export function sameServer(one: RealServerSettings, other: RealServerSettings): boolean {
  return (
    one.weight === other.weight &&
    one.method === other.method &&
    (one.upperThreshold ?? 0) === (other.upperThreshold ?? 0) &&
    (one.lowerThreshold ?? 0) === (other.lowerThreshold ?? 0) &&
    sameTunnel(one.tunnel, other.tunnel)
  )
}

/** A kernel before 5.2 reports none, and tunnels by IP-in-IP. */
function sameTunnel(one: Tunnel = IPIP, other: Tunnel = IPIP): boolean {
  return one.type === other.type && one.port === other.port && one.checksum === other.checksum
}

/**
 * Whether a daemon that runs is the one that is wanted, which may be one that
 * was read too. What an old kernel does not report cannot differ.
 */
export function sameDaemon(running: SyncDaemonSpec, wanted: SyncDaemonSpec): boolean {
  const [one, other] = [completeDaemon(running), completeDaemon(wanted)]
  return (
    one.multicastInterface === other.multicastInterface &&
    one.syncId === other.syncId &&
    (['maxLengthBytes', 'multicastGroup', 'multicastPort', 'multicastTtl'] as const).every(
      (name) => running[name] === undefined || wanted[name] === undefined || one[name] === other[name],
    )
  )
}
