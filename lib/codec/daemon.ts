import { parseAddress } from '../model/address.ts'
import { AddressFamily, CommandAttribute, DaemonAttribute, DaemonState } from '../model/constants.ts'
import type { SyncDaemon, SyncDaemonSpec, SyncDaemonState } from '../model/types.ts'
import { formatAddress } from './address.ts'
import { type AttributeReader, type AttributeWriter, malformed } from './attributes.ts'

/** Writes IPVS_CMD_ATTR_DAEMON for a daemon to start. */
export function encodeDaemon(writer: AttributeWriter, spec: SyncDaemonSpec): void {
  writer.nest(CommandAttribute.DAEMON, () => {
    writer.u32(DaemonAttribute.STATE, stateNumber(spec.state))
    writer.string(DaemonAttribute.MCAST_IFN, spec.multicastInterface)
    writer.u32(DaemonAttribute.SYNC_ID, spec.syncId ?? 0)
    if (spec.maxLengthBytes !== undefined) writer.u16(DaemonAttribute.SYNC_MAXLEN, spec.maxLengthBytes)
    if (spec.multicastGroup !== undefined) {
      const group = parseAddress(spec.multicastGroup)
      if (spec.multicastGroup.includes(':')) writer.bytes(DaemonAttribute.MCAST_GROUP6, group)
      else writer.bytes(DaemonAttribute.MCAST_GROUP, group.subarray(0, 4))
    }
    if (spec.multicastPort !== undefined) writer.u16(DaemonAttribute.MCAST_PORT, spec.multicastPort)
    if (spec.multicastTtl !== undefined) writer.u8(DaemonAttribute.MCAST_TTL, spec.multicastTtl)
  })
}

/** Writes IPVS_CMD_ATTR_DAEMON for a daemon to stop: the kernel looks only at the state. */
export function encodeDaemonState(writer: AttributeWriter, state: SyncDaemonState): void {
  writer.nest(CommandAttribute.DAEMON, () => {
    writer.u32(DaemonAttribute.STATE, stateNumber(state))
  })
}

/**
 * Reads the daemon of a reply to GET_DAEMON, from the reader of its top level.
 *
 * @throws {IpvsError} EBADMSG if there is none, or its state has no name.
 */
export function decodeDaemon(message: AttributeReader): SyncDaemon {
  if (!message.enter(CommandAttribute.DAEMON)) throw malformed('no sync daemon in it')
  let state = 0
  let multicastInterface = ''
  let syncId = 0
  const rest: { -readonly [K in keyof SyncDaemon]?: SyncDaemon[K] } = {}
  while (message.next()) {
    switch (message.type) {
      case DaemonAttribute.STATE:
        state = message.u32()
        break
      case DaemonAttribute.MCAST_IFN:
        multicastInterface = message.string()
        break
      case DaemonAttribute.SYNC_ID:
        syncId = message.u32()
        break
      case DaemonAttribute.SYNC_MAXLEN:
        rest.maxLengthBytes = message.u16()
        break
      case DaemonAttribute.MCAST_GROUP:
        rest.multicastGroup = formatAddress(message.view, message.at(4), AddressFamily.INET)
        break
      case DaemonAttribute.MCAST_GROUP6:
        rest.multicastGroup = formatAddress(message.view, message.at(16), AddressFamily.INET6)
        break
      case DaemonAttribute.MCAST_PORT:
        rest.multicastPort = message.u16()
        break
      case DaemonAttribute.MCAST_TTL:
        rest.multicastTtl = message.u8()
        break
    }
  }
  return { state: stateName(state), multicastInterface, syncId, ...rest }
}

function stateNumber(state: SyncDaemonState): number {
  return state === 'master' ? DaemonState.MASTER : DaemonState.BACKUP
}

function stateName(state: number): SyncDaemonState {
  if (state === DaemonState.MASTER) return 'master'
  if (state === DaemonState.BACKUP) return 'backup'
  throw malformed(`a sync daemon of unknown state ${String(state)}`)
}
