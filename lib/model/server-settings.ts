import { familyOfAddress } from './address.ts'
import { DEFAULT_METHOD, DEFAULT_WEIGHT } from './defaults.ts'
import { CHECKSUMS, TUNNEL_TYPES } from './ranges.ts'
import { NO_STATISTICS } from './statistics.ts'
import {
  type Counter,
  type Endpoint,
  type RealServerChanges,
  type RealServerSettings,
  type RealServerSpec,
  type RealServerState,
  type Tunnel,
} from './types.ts'
import { checkThresholds, checkTunnel } from './validate.ts'

/** A real server's settings as the kernel's SET wants them: all of them, each time. Without `tunnel`: plain IP-in-IP. */
export type CompleteSettings = Pick<
  RealServerState,
  'method' | 'weight' | 'upperThreshold' | 'lowerThreshold' | 'tunnel'
>

const DEFAULTS: CompleteSettings = {
  method: DEFAULT_METHOD,
  weight: DEFAULT_WEIGHT,
  upperThreshold: 0,
  lowerThreshold: 0,
}

/** Plain IP-in-IP, which almost every tunnel is: one object for all of them. */
export const IPIP: Tunnel = { type: 'ipip' }

/** The settings of a new real server for the kernel, with ipvsadm's defaults for absent fields. */
export function completeSettings(settings: RealServerSettings): CompleteSettings {
  return merged(DEFAULTS, settings)
}

/**
 * The settings after a change: what is not named stays, inside `tunnel` too if
 * its type stays.
 *
 * @throws {RangeError} if the thresholds, or a GUE tunnel without port, are what the kernel would refuse.
 */
export function mergeSettings(current: CompleteSettings, changes: RealServerChanges): CompleteSettings {
  const settings = merged(current, changes)
  if (changes.upperThreshold !== undefined || changes.lowerThreshold !== undefined) {
    checkThresholds(settings.upperThreshold, settings.lowerThreshold)
  }
  if (changes.tunnel !== undefined && settings.tunnel !== undefined) checkTunnel(settings.tunnel)
  return settings
}

function merged(current: CompleteSettings, changes: RealServerSettings): CompleteSettings {
  const upperThreshold = changes.upperThreshold ?? current.upperThreshold
  const lowerThreshold = changes.lowerThreshold ?? current.lowerThreshold
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
  const kept = type === tunnelTypeNumber(current.type) ? current : undefined
  // A number for what has a name, or a 0 for what is absent, reads back as that.
  return tunnelOf(type, change.port ?? kept?.port ?? 0, checksumNumber(change.checksum ?? kept?.checksum))
}

/** Settings as they are read back. */
function reportedSettings(settings: CompleteSettings): CompleteSettings {
  const tunnel = reportedTunnel(settings)
  if (tunnel === settings.tunnel) return settings
  const { tunnel: _, ...plain } = settings
  return tunnel === undefined ? plain : { ...plain, tunnel }
}

/** A real server that was just added, without asking the kernel. */
export function newDest(key: Endpoint, settings: CompleteSettings): RealServerState {
  // Spelt out: spreading these into one object costs more than the rest of an addition.
  const { stats, rates } = NO_STATISTICS
  return withServerSettings(
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
export function withServerSettings<N extends Counter>(
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

export function tunnelOf(type: number, port: number, flags: number): Tunnel {
  return {
    type: TUNNEL_TYPES[type] ?? type,
    ...(port !== 0 && { port }),
    ...(flags !== 0 && { checksum: CHECKSUMS[flags] ?? flags }),
  }
}

export function tunnelTypeNumber(type: Tunnel['type']): number {
  return typeof type === 'number' ? type : TUNNEL_TYPES.indexOf(type)
}

export function checksumNumber(checksum: Tunnel['checksum'] = 'none'): number {
  return typeof checksum === 'number' ? checksum : CHECKSUMS.indexOf(checksum)
}

/** A real server with its port, method and weight, and no other field that has its default. */
export type CompleteServer = RealServerSpec & Endpoint & { readonly weight: number }

/** The spec that would add a real server again. */
export function specOfServer(
  { address, port }: Endpoint,
  { method, weight, upperThreshold, lowerThreshold, tunnel }: CompleteSettings,
): CompleteServer {
  // Field by field: spreading costs more than all else here, and a table has ten thousands of these.
  const spec: { -readonly [Name in keyof CompleteServer]: CompleteServer[Name] } = {
    address,
    port,
    method,
    weight,
  }
  if (upperThreshold !== 0) spec.upperThreshold = upperThreshold
  if (lowerThreshold !== 0) spec.lowerThreshold = lowerThreshold
  if (tunnel !== undefined) spec.tunnel = tunnel
  return spec
}

/** The spec that a real server reads back as once it is added. */
export function completeServer(server: Endpoint, settings: RealServerSettings): CompleteServer {
  return specOfServer(server, reportedSettings(completeSettings(settings)))
}
