import { familyOfAddress } from '../model/address.ts'
import { CommandAttribute, DestAttribute, ForwardMethod } from '../model/constants.ts'
import {
  checksumNumber,
  type CompleteSettings,
  IPIP,
  tunnelOf,
  tunnelTypeNumber,
} from '../model/server-settings.ts'
import type { Counter, Endpoint, Family, ForwardingMethod, RealServerState } from '../model/types.ts'
import { familyName, familyNumber, formatAddress, writeAddress } from './address.ts'
import { type AttributeReader, type AttributeWriter, malformed } from './attributes.ts'
import { type CounterKind, decodeStatistics } from './stats.ts'

const METHOD_NUMBERS = {
  masquerade: ForwardMethod.MASQ,
  local: ForwardMethod.LOCALNODE,
  tunnel: ForwardMethod.TUNNEL,
  direct: ForwardMethod.DROUTE,
  bypass: ForwardMethod.BYPASS,
} as const

const METHOD_NAMES: readonly ForwardingMethod[] = [
  'masquerade',
  'local',
  'tunnel',
  'direct',
  'bypass',
  5,
  6,
  7,
]

/** Writes IPVS_CMD_ATTR_DEST: the identity, and for NEW and SET the settings. */
export function encodeDest(writer: AttributeWriter, key: Endpoint, settings?: CompleteSettings): void {
  writer.nest(CommandAttribute.DEST, () => {
    // Without a family the kernel reads the address in the family of the service.
    writer.u16(DestAttribute.ADDR_FAMILY, familyNumber(familyOfAddress(key.address)))
    writeAddress(writer, DestAttribute.ADDR, key.address)
    writer.u16be(DestAttribute.PORT, key.port)
    if (settings === undefined) return
    const { method, tunnel = IPIP } = settings
    writer.u32(DestAttribute.FWD_METHOD, typeof method === 'number' ? method : METHOD_NUMBERS[method])
    writer.u32(DestAttribute.WEIGHT, settings.weight)
    writer.u32(DestAttribute.U_THRESH, settings.upperThreshold)
    writer.u32(DestAttribute.L_THRESH, settings.lowerThreshold)
    writer.u8(DestAttribute.TUN_TYPE, tunnelTypeNumber(tunnel.type))
    writer.u16be(DestAttribute.TUN_PORT, tunnel.port ?? 0)
    writer.u16(DestAttribute.TUN_FLAGS, checksumNumber(tunnel.checksum))
  })
}

/**
 * Reads the real server of a reply to GET_DEST, from the reader of its top
 * level. `serviceFamily` is for kernels before 3.18, which report no family.
 *
 * @throws {IpvsError} EBADMSG if there is none, or it has no address.
 */
export function decodeDest<N extends Counter>(
  reader: AttributeReader,
  serviceFamily: Family,
  kind: CounterKind<N>,
): RealServerState<N> {
  if (!reader.enter(CommandAttribute.DEST)) throw malformed('no real server in it')
  let addressAt = -1
  let port = 0
  let method = 0
  let weight = 0
  let upperThreshold = 0
  let lowerThreshold = 0
  let activeConnections = 0
  let inactiveConnections = 0
  let persistentConnections = 0
  let af = familyNumber(serviceFamily)
  let tunnelType = -1
  let tunnelPort = 0
  let tunnelFlags = 0
  // The 32-bit statistics count only if the kernel sends no others.
  let statsAt = 0
  let statsEnd = 0
  let wide = false
  while (reader.next()) {
    switch (reader.type) {
      case DestAttribute.ADDR:
        addressAt = reader.at(16)
        break
      case DestAttribute.PORT:
        port = reader.u16be()
        break
      case DestAttribute.FWD_METHOD:
        method = reader.u32() & ForwardMethod.FWD_MASK
        break
      case DestAttribute.WEIGHT:
        weight = reader.u32()
        break
      case DestAttribute.U_THRESH:
        upperThreshold = reader.u32()
        break
      case DestAttribute.L_THRESH:
        lowerThreshold = reader.u32()
        break
      case DestAttribute.ACTIVE_CONNS:
        activeConnections = reader.u32()
        break
      case DestAttribute.INACT_CONNS:
        inactiveConnections = reader.u32()
        break
      case DestAttribute.PERSIST_CONNS:
        persistentConnections = reader.u32()
        break
      case DestAttribute.ADDR_FAMILY:
        af = reader.u16()
        break
      case DestAttribute.TUN_TYPE:
        tunnelType = reader.u8()
        break
      case DestAttribute.TUN_PORT:
        tunnelPort = reader.u16be()
        break
      case DestAttribute.TUN_FLAGS:
        tunnelFlags = reader.u16()
        break
      case DestAttribute.STATS:
        if (wide) break
        statsAt = reader.start
        statsEnd = statsAt + reader.length
        break
      case DestAttribute.STATS64:
        wide = true
        statsAt = reader.start
        statsEnd = statsAt + reader.length
        break
    }
  }
  if (addressAt < 0) throw malformed('a real server without an address')
  const plain = tunnelType === 0 && tunnelPort === 0 && tunnelFlags === 0
  const tunnel = plain ? IPIP : tunnelOf(tunnelType, tunnelPort, tunnelFlags)
  const { stats, rates } = decodeStatistics(reader.seek(statsAt, statsEnd), wide, kind)
  return {
    address: formatAddress(reader.view, addressAt, af),
    port,
    family: familyName(af),
    method: METHOD_NAMES[method] as ForwardingMethod,
    weight,
    upperThreshold,
    lowerThreshold,
    ...(tunnelType >= 0 && (method === ForwardMethod.TUNNEL || !plain) && { tunnel }),
    activeConnections,
    inactiveConnections,
    persistentConnections,
    stats,
    rates,
  }
}
