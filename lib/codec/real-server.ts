import { checkThresholds, checkTunnel, familyOfAddress } from '../validate.ts'
import type {
  Counter,
  Family,
  ForwardingMethod,
  RealServerChanges,
  RealServerKey,
  RealServerSettings,
  RealServerState,
  Tunnel,
} from '../types.ts'
import { canonicalAddress, familyName, familyNumber, formatAddress, parseAddress } from './address.ts'
import { type AttributeReader, type AttributeWriter, malformed } from './attributes.ts'
import { CommandAttribute, DestAttribute, ForwardMethod, TunnelFlag, TunnelType } from './constants.ts'
import { type CounterKind, decodeStatistics, noStatistics, numbers, type Statistics } from './stats.ts'

/** A real server's settings as the kernel's SET wants them: all of them, each time. */
export interface KernelDest {
  readonly method: number
  readonly weight: number
  readonly upperThreshold: number
  readonly lowerThreshold: number
  /** `undefined` from kernels that do not report them. */
  readonly tunnelType: number | undefined
  readonly tunnelPort: number
  readonly tunnelFlags: number
}

/** A real server as it was read: for people, and for a SET that changes only part of it. */
export interface DecodedDest<N extends Counter> {
  readonly state: RealServerState<N>
  readonly kernel: KernelDest
}

const NEW_DEST: KernelDest = {
  method: ForwardMethod.DROUTE,
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  tunnelType: TunnelType.IPIP,
  tunnelPort: 0,
  tunnelFlags: TunnelFlag.NOCSUM,
}

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
export function kernelDestOf(settings: RealServerSettings): KernelDest {
  return mergeDest(NEW_DEST, settings)
}

/**
 * The settings after a change: what is not named stays, inside `tunnel` too if
 * its type stays.
 *
 * @throws {RangeError} if the thresholds, or a GUE tunnel without port, are what the kernel would refuse.
 */
export function mergeDest(current: KernelDest, changes: RealServerChanges): KernelDest {
  const { method, weight, tunnel } = changes
  const upperThreshold = changes.upperThreshold ?? current.upperThreshold
  const lowerThreshold = changes.lowerThreshold ?? current.lowerThreshold
  if (changes.upperThreshold !== undefined || changes.lowerThreshold !== undefined) {
    checkThresholds(upperThreshold, lowerThreshold)
  }
  let { tunnelType, tunnelPort, tunnelFlags } = current
  if (tunnel !== undefined) {
    const type = typeof tunnel.type === 'number' ? tunnel.type : TUNNEL_TYPE_NAMES.indexOf(tunnel.type)
    const same = type === tunnelType
    tunnelType = type
    tunnelPort = tunnel.port ?? (same ? tunnelPort : 0)
    tunnelFlags = tunnel.checksum === undefined ? (same ? tunnelFlags : 0) : checksumNumber(tunnel.checksum)
    checkTunnel(tunnelOf(type, tunnelPort, tunnelFlags))
  }
  return {
    method: method === undefined ? current.method : methodNumber(method),
    weight: weight ?? current.weight,
    upperThreshold,
    lowerThreshold,
    tunnelType,
    tunnelPort,
    tunnelFlags,
  }
}

/** The method of a real server's settings. */
export function methodOf(kernel: KernelDest): ForwardingMethod {
  return METHOD_NAMES[kernel.method & ForwardMethod.FWD_MASK] as ForwardingMethod
}

/** Writes IPVS_CMD_ATTR_DEST: the identity, and for NEW and SET the settings. */
export function encodeDest(writer: AttributeWriter, key: Required<RealServerKey>, kernel?: KernelDest): void {
  writer.nest(CommandAttribute.DEST, () => {
    // Without its family the kernel reads the address in the service's.
    writer.u16(DestAttribute.ADDR_FAMILY, familyNumber(familyOfAddress(key.address)))
    writer.bytes(DestAttribute.ADDR, parseAddress(key.address))
    writer.u16be(DestAttribute.PORT, key.port)
    if (kernel === undefined) return
    writer.u32(DestAttribute.FWD_METHOD, kernel.method)
    writer.u32(DestAttribute.WEIGHT, kernel.weight)
    writer.u32(DestAttribute.U_THRESH, kernel.upperThreshold)
    writer.u32(DestAttribute.L_THRESH, kernel.lowerThreshold)
    if (kernel.tunnelType === undefined) return
    writer.u8(DestAttribute.TUN_TYPE, kernel.tunnelType)
    writer.u16be(DestAttribute.TUN_PORT, kernel.tunnelPort)
    writer.u16(DestAttribute.TUN_FLAGS, kernel.tunnelFlags)
  })
}

/**
 * Reads the real server of a reply to GET_DEST, from the reader of its top
 * level. `serviceFamily` serves kernels before 3.18, which report none.
 *
 * @throws {IpvsError} EBADMSG if there is none, or it has no address.
 */
export function decodeDest<N extends Counter>(
  message: AttributeReader,
  serviceFamily: Family,
  kind: CounterKind<N>,
): DecodedDest<N> {
  while (message.next()) {
    if (message.type === CommandAttribute.DEST) return decodeMembers(message.nested(), serviceFamily, kind)
  }
  throw malformed('no real server in it')
}

/** The same identity as it is read back: the address as inet_ntop(3) writes it. */
export function canonicalServerKey({ address, port }: Required<RealServerKey>): Required<RealServerKey> {
  return { address: canonicalAddress(address), port }
}

/** A real server that was just added, without asking the kernel. */
export function newDest(key: Required<RealServerKey>, kernel: KernelDest): DecodedDest<number> {
  const none = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 }
  return {
    state: realServerState(key, familyOfAddress(key.address), kernel, none, noStatistics(numbers)),
    kernel,
  }
}

/** A real server with other settings than were read. */
export function withSettings<N extends Counter>(read: DecodedDest<N>, kernel: KernelDest): DecodedDest<N> {
  return { state: realServerState(read.state, read.state.family, kernel, read.state, read.state), kernel }
}

function decodeMembers<N extends Counter>(
  reader: AttributeReader,
  serviceFamily: Family,
  kind: CounterKind<N>,
): DecodedDest<N> {
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
  let tunnelType: number | undefined
  let tunnelPort = 0
  let tunnelFlags = 0
  // The 32-bit statistics serve only where the kernel sends no others.
  let statistics: AttributeReader | undefined
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
        method = reader.u32()
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
        if (!wide) statistics = reader.nested()
        break
      case DestAttribute.STATS64:
        statistics = reader.nested()
        wide = true
        break
    }
  }
  if (addressAt < 0) throw malformed('a real server without address')
  const family = familyName(af)
  const key = { address: formatAddress(reader.view, addressAt, af), port }
  const kernel = { method, weight, upperThreshold, lowerThreshold, tunnelType, tunnelPort, tunnelFlags }
  const read = statistics === undefined ? noStatistics(kind) : decodeStatistics(statistics, wide, kind)
  const connections = { activeConnections, inactiveConnections, persistentConnections }
  return { state: realServerState(key, family, kernel, connections, read), kernel }
}

function realServerState<N extends Counter>(
  { address, port }: Required<RealServerKey>,
  family: Family,
  kernel: KernelDest,
  connections: Pick<RealServerState, 'activeConnections' | 'inactiveConnections' | 'persistentConnections'>,
  { stats, rates }: Statistics<N>,
): RealServerState<N> {
  const method = methodOf(kernel)
  const { tunnelType, tunnelPort, tunnelFlags } = kernel
  const plain = tunnelType === undefined || (tunnelType === 0 && tunnelPort === 0 && tunnelFlags === 0)
  const tunnel = tunnelType !== undefined && (method === 'tunnel' || !plain)
  return {
    address,
    port,
    family,
    method,
    weight: kernel.weight,
    upperThreshold: kernel.upperThreshold,
    lowerThreshold: kernel.lowerThreshold,
    ...(tunnel && { tunnel: plain ? IPIP : tunnelOf(tunnelType, tunnelPort, tunnelFlags) }),
    activeConnections: connections.activeConnections,
    inactiveConnections: connections.inactiveConnections,
    persistentConnections: connections.persistentConnections,
    stats,
    rates,
  }
}

function tunnelOf(type: number, port: number, flags: number): Tunnel {
  return {
    type: TUNNEL_TYPE_NAMES[type] ?? type,
    ...(port !== 0 && { port }),
    ...(flags !== 0 && { checksum: CHECKSUM_NAMES[flags] ?? flags }),
  }
}

function methodNumber(method: ForwardingMethod): number {
  return typeof method === 'number' ? method : METHOD_NUMBERS[method]
}

function checksumNumber(checksum: NonNullable<Tunnel['checksum']>): number {
  return typeof checksum === 'number' ? checksum : CHECKSUM_NAMES.indexOf(checksum)
}
