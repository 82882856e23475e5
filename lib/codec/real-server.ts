import { checkThresholds, checkTunnel, familyOfAddress } from '../model/validate.ts'
import type {
  Counter,
  Family,
  ForwardingMethod,
  RealServerChanges,
  RealServerKey,
  RealServerSettings,
  RealServerState,
  Tunnel,
} from '../model/types.ts'
import { familyName, familyNumber, formatAddress, writeAddress } from './address.ts'
import { type AttributeReader, type AttributeWriter, malformed } from './attributes.ts'
import { CommandAttribute, DestAttribute, ForwardMethod } from '../model/constants.ts'
import { type CounterKind, decodeStatistics, numbers } from './stats.ts'

/** A real server's settings as the kernel's SET wants them: all of them, each time. Without `tunnel`: plain IP-in-IP. */
export type CompleteSettings = Required<Omit<RealServerSettings, 'tunnel'>> &
  Pick<RealServerSettings, 'tunnel'>

const DEFAULTS: CompleteSettings = { method: 'direct', weight: 1, upperThreshold: 0, lowerThreshold: 0 }

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
const TUNNEL_TYPE_NAMES = ['ipip', 'gue', 'gre'] as const
const CHECKSUM_NAMES = ['none', 'csum', 'remcsum'] as const

/** Plain IP-in-IP, which almost every tunnel is: one object for all of them. */
const IPIP: Tunnel = { type: 'ipip' }

/** What the kernel gets for a new real server: ipvsadm's defaults for what the spec leaves out. */
export function completeSettings(settings: RealServerSettings): CompleteSettings {
  return mergeSettings(DEFAULTS, settings)
}

/**
 * The settings after a change: what is not named stays, inside `tunnel` too if
 * its type stays.
 *
 * @throws {RangeError} if the thresholds, or a GUE tunnel without port, are what the kernel would refuse.
 */
export function mergeSettings(current: CompleteSettings, changes: RealServerChanges): CompleteSettings {
  const upperThreshold = changes.upperThreshold ?? current.upperThreshold
  const lowerThreshold = changes.lowerThreshold ?? current.lowerThreshold
  if (changes.upperThreshold !== undefined || changes.lowerThreshold !== undefined) {
    checkThresholds(upperThreshold, lowerThreshold)
  }
  const tunnel =
    changes.tunnel === undefined ? current.tunnel : mergeTunnel(current.tunnel ?? IPIP, changes.tunnel)
  const method = changes.method ?? current.method
  const weight = changes.weight ?? current.weight
  // Spelt out: spreading costs more than all else here, and most have no tunnel.
  return tunnel === undefined
    ? { method, weight, upperThreshold, lowerThreshold }
    : { method, weight, upperThreshold, lowerThreshold, tunnel }
}

function mergeTunnel(current: Tunnel, change: Tunnel): Tunnel {
  const type = tunnelTypeNumber(change.type)
  const { port = 0, checksum } = type === tunnelTypeNumber(current.type) ? { ...current, ...change } : change
  // A number for what has a name, or a 0 for what is absent, reads back as that.
  const tunnel = tunnelOf(type, port, checksumNumber(checksum))
  checkTunnel(tunnel)
  return tunnel
}

/** Writes IPVS_CMD_ATTR_DEST: the identity, and for NEW and SET the settings. */
export function encodeDest(
  writer: AttributeWriter,
  key: Required<RealServerKey>,
  settings?: CompleteSettings,
): void {
  writer.nest(CommandAttribute.DEST, () => {
    // Without its family the kernel reads the address in the service's.
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
 * level. `serviceFamily` serves kernels before 3.18, which report none.
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
  // The 32-bit statistics serve only where the kernel sends no others.
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
  if (addressAt < 0) throw malformed('a real server without address')
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

/** Settings as they are read back. */
export function reportedSettings(settings: CompleteSettings): CompleteSettings {
  const tunnel = reportedTunnel(settings)
  if (tunnel === settings.tunnel) return settings
  const { tunnel: _, ...plain } = settings
  return tunnel === undefined ? plain : { ...plain, tunnel }
}

/** A real server that was just added, without asking the kernel. */
export function newDest(key: Required<RealServerKey>, settings: CompleteSettings): RealServerState {
  // Spelt out: spreading these into one object costs more than the rest of an addition.
  const { stats, rates } = numbers.none
  return withSettings(
    {
      address: key.address,
      port: key.port,
      family: familyOfAddress(key.address),
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
      stats,
      rates,
    },
    settings,
  )
}

/** A real server with other settings than were read. */
export function withSettings<N extends Counter>(
  read: Omit<RealServerState<N>, keyof RealServerSettings>,
  settings: CompleteSettings,
): RealServerState<N> {
  const tunnel = reportedTunnel(settings)
  return {
    address: read.address,
    port: read.port,
    family: read.family,
    method: settings.method,
    weight: settings.weight,
    upperThreshold: settings.upperThreshold,
    lowerThreshold: settings.lowerThreshold,
    ...(tunnel !== undefined && { tunnel }),
    activeConnections: read.activeConnections,
    inactiveConnections: read.inactiveConnections,
    persistentConnections: read.persistentConnections,
    stats: read.stats,
    rates: read.rates,
  }
}

/** The tunnel that is read back: plain IP-in-IP shows only where it is used. */
function reportedTunnel({ method, tunnel = IPIP }: CompleteSettings): Tunnel | undefined {
  const plain = tunnel.type === 'ipip' && tunnel.port === undefined && tunnel.checksum === undefined
  return method === 'tunnel' || !plain ? tunnel : undefined
}

function tunnelOf(type: number, port: number, flags: number): Tunnel {
  return {
    type: TUNNEL_TYPE_NAMES[type] ?? type,
    ...(port !== 0 && { port }),
    ...(flags !== 0 && { checksum: CHECKSUM_NAMES[flags] ?? flags }),
  }
}

function tunnelTypeNumber(type: Tunnel['type']): number {
  return typeof type === 'number' ? type : TUNNEL_TYPE_NAMES.indexOf(type)
}

function checksumNumber(checksum: Tunnel['checksum'] = 'none'): number {
  return typeof checksum === 'number' ? checksum : CHECKSUM_NAMES.indexOf(checksum)
}
