import {
  compareEndpoints,
  compareServiceKeys,
  formatEndpoint,
  formatServiceKey,
  formatTunnel,
  type RealServer,
  type Service,
  type SnapshotEntry,
  type Totals,
  type Warning,
} from '../index.ts'
import { FIRST_SPARE } from './terminal/fitted-table.ts'
import type { Line, Word } from './terminal/line.ts'
import type { Style } from './terminal/style.ts'
import type { Warned } from './warned.ts'

/** How services and real servers are shown, in columns, in words and as JSON. */

/** A column of numbers, for services and for their real servers. */
export interface Column {
  readonly title: string
  /** Its title on a terminal, which has less room. */
  readonly short: string
  /** Where it does not fit on a terminal, columns with a higher number are left out first. None: it stays. */
  readonly spare?: number
  readonly service: (entry: SnapshotEntry) => number
  readonly server: (server: RealServer) => number
  /** Whether a bar shows it on a terminal. */
  readonly bar?: true
}

/** A service has the sum of its real servers. */
function sum(of: (server: RealServer) => number): Pick<Column, 'service' | 'server'> {
  return {
    server: of,
    service: ({ realServers }) => realServers.reduce((total, server) => total + of(server), 0),
  }
}

/** A service has a number of its own. */
function each(of: (one: Service | RealServer) => number): Pick<Column, 'service' | 'server'> {
  return { service: ({ service }) => of(service), server: of }
}

const WEIGHT = 'WEIGHT'

export const CONNECTIONS = {
  active: {
    title: 'ACTIVE',
    short: 'ACTIVE',
    ...sum(({ activeConnections }) => activeConnections),
    bar: true,
  },
  inactive: {
    title: 'INACTIVE',
    short: 'INACTIVE',
    spare: 1,
    ...sum(({ inactiveConnections }) => inactiveConnections),
  },
  persistent: {
    title: 'PERSISTENT',
    short: 'PERSISTENT',
    spare: FIRST_SPARE,
    ...sum(({ persistentConnections }) => persistentConnections),
  },
} as const satisfies Readonly<Record<string, Column>>

export const WEIGHTS: readonly Column[] = [
  { title: WEIGHT, short: WEIGHT, ...sum(({ weight }) => weight), bar: true },
  CONNECTIONS.active,
  CONNECTIONS.inactive,
  CONNECTIONS.persistent,
]

export const COUNTERS: readonly Column[] = [
  { title: 'CONNECTIONS', short: 'CONNS', ...each(({ stats }) => stats.connections), bar: true },
  { title: 'PACKETS-IN', short: 'PKTS-IN', spare: 3, ...each(({ stats }) => stats.packetsIn) },
  { title: 'PACKETS-OUT', short: 'PKTS-OUT', spare: 4, ...each(({ stats }) => stats.packetsOut) },
  { title: 'BYTES-IN', short: 'BYTES-IN', spare: 1, ...each(({ stats }) => stats.bytesIn) },
  { title: 'BYTES-OUT', short: 'BYTES-OUT', spare: 2, ...each(({ stats }) => stats.bytesOut) },
]

export const RATES: readonly Column[] = [
  { title: 'CONNECTIONS/S', short: 'CONN/S', ...each(({ rates }) => rates.connectionsPerSecond), bar: true },
  { title: 'PACKETS-IN/S', short: 'PKT-IN/S', spare: 3, ...each(({ rates }) => rates.packetsInPerSecond) },
  { title: 'PACKETS-OUT/S', short: 'PKT-OUT/S', spare: 4, ...each(({ rates }) => rates.packetsOutPerSecond) },
  { title: 'BYTES-IN/S', short: 'BYTE-IN/S', spare: 1, ...each(({ rates }) => rates.bytesInPerSecond) },
  { title: 'BYTES-OUT/S', short: 'BYTE-OUT/S', spare: 2, ...each(({ rates }) => rates.bytesOutPerSecond) },
]

/** A number of a real server, as `text` writes it. Weight 0 stands out: the server gets no new connections. */
export function numberOf(column: Column, value: number, style: Style, text = String(value)): Line | string {
  return column.title === WEIGHT && value === 0 ? style.yellow(text) : text
}

/** The bar of a number. */
export function barOf({ title }: Column, bar: string, style: Style): Word {
  return title === WEIGHT ? style.cyan(bar) : style.green(bar)
}

/** In the order that people see. */
export function inOrder(table: readonly SnapshotEntry[]): SnapshotEntry[] {
  return table
    .map(({ service, realServers }) => ({
      service,
      realServers: [...realServers].sort((one, other) => compareEndpoints(one, other)),
    }))
    .sort((one, other) => compareServiceKeys(one.service.key, other.service.key))
}

/** A service with its real servers, as docs/command.md has it. */
export function serviceToJson({ service, realServers }: SnapshotEntry, warned: Warned): object {
  const { key, family, scheduler, schedulerFlags, onePacket, persistence, persistenceEngine, stats, rates } =
    service
  return {
    service: formatServiceKey(key),
    ...key,
    family,
    scheduler,
    schedulerFlags,
    onePacket,
    ...(persistence !== undefined && { persistence }),
    ...(persistenceEngine !== undefined && { persistenceEngine }),
    stats,
    rates,
    warnings: warned.about(key).map(warningToJson),
    realServers: realServers.map((server) => ({
      ...serverToJson(server),
      warnings: warned.about(key, server.key).map(warningToJson),
    })),
  }
}

function warningToJson({ code, message }: Warning): object {
  return { code, message }
}

function serverToJson(server: RealServer): object {
  const { address, port, family, method, weight, upperThreshold, lowerThreshold, tunnel } = server
  const { activeConnections, inactiveConnections, persistentConnections, stats, rates } = server
  return {
    server: formatEndpoint({ address, port }),
    address,
    port,
    family,
    method,
    weight,
    upperThreshold,
    lowerThreshold,
    ...(tunnel !== undefined && { tunnel }),
    activeConnections,
    inactiveConnections,
    persistentConnections,
    stats,
    rates,
  }
}

/** The options of a service that differ from the defaults, a word each. */
export function serviceOptions(service: Service): string[] {
  const { family, schedulerFlags, onePacket, persistence, persistenceEngine } = service
  const words: string[] = []
  if (persistence !== undefined) {
    words.push(`persistent=${String(persistence.timeoutSeconds)}s`)
    const whole = family === 'ipv6' ? 128 : '255.255.255.255'
    if (persistence.netmask !== whole) words.push(`netmask=${String(persistence.netmask)}`)
  }
  if (persistenceEngine !== undefined) words.push(`engine=${persistenceEngine}`)
  if (onePacket) words.push('one-packet')
  return [...words, ...schedulerFlags.map(String)]
}

/** The same of a real server. */
export function serverOptions({ upperThreshold, lowerThreshold, tunnel }: RealServer): string[] {
  const words: string[] = []
  if (upperThreshold !== 0) words.push(`upper=${String(upperThreshold)}`)
  if (lowerThreshold !== 0) words.push(`lower=${String(lowerThreshold)}`)
  if (tunnel !== undefined && tunnel.type !== 'ipip') words.push(`tunnel=${formatTunnel(tunnel)}`)
  return words
}

/** Options as one word of a line, `-` for none. */
export function oneWord(options: readonly string[]): string {
  return options.length === 0 ? '-' : options.join(',')
}

/** Counters and rates in words, each number as `format` writes it. */
export function trafficText(
  { stats, rates }: Totals,
  format: (value: number) => string,
): Readonly<Record<'connections' | 'in' | 'out', string>> {
  const way = (packets: number, packetRate: number, bytes: number, byteRate: number): string =>
    `${format(packets)} packets (${format(packetRate)}/s), ${format(bytes)} bytes (${format(byteRate)}/s)`
  return {
    connections: `${format(stats.connections)} so far (${format(rates.connectionsPerSecond)}/s)`,
    in: way(stats.packetsIn, rates.packetsInPerSecond, stats.bytesIn, rates.bytesInPerSecond),
    out: way(stats.packetsOut, rates.packetsOutPerSecond, stats.bytesOut, rates.bytesOutPerSecond),
  }
}
