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
} from '../index.ts'
import type { Line, Word } from './terminal/line.ts'
import type { Style } from './terminal/style.ts'

/** How services and real servers are shown, in columns, in words and as JSON. */

/** A column of numbers, for services and for their real servers. */
export interface Column {
  readonly title: string
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
  active: { title: 'ACTIVE', ...sum(({ activeConnections }) => activeConnections), bar: true },
  inactive: { title: 'INACTIVE', ...sum(({ inactiveConnections }) => inactiveConnections) },
  persistent: { title: 'PERSISTENT', ...sum(({ persistentConnections }) => persistentConnections) },
} as const satisfies Readonly<Record<string, Column>>

export const WEIGHTS: readonly Column[] = [
  { title: WEIGHT, ...sum(({ weight }) => weight), bar: true },
  CONNECTIONS.active,
  CONNECTIONS.inactive,
  CONNECTIONS.persistent,
]

export const COUNTERS: readonly Column[] = [
  { title: 'CONNECTIONS', ...each(({ stats }) => stats.connections), bar: true },
  { title: 'PACKETS-IN', ...each(({ stats }) => stats.packetsIn) },
  { title: 'PACKETS-OUT', ...each(({ stats }) => stats.packetsOut) },
  { title: 'BYTES-IN', ...each(({ stats }) => stats.bytesIn) },
  { title: 'BYTES-OUT', ...each(({ stats }) => stats.bytesOut) },
]

export const RATES: readonly Column[] = [
  { title: 'CONNECTIONS/S', ...each(({ rates }) => rates.connectionsPerSecond), bar: true },
  { title: 'PACKETS-IN/S', ...each(({ rates }) => rates.packetsInPerSecond) },
  { title: 'PACKETS-OUT/S', ...each(({ rates }) => rates.packetsOutPerSecond) },
  { title: 'BYTES-IN/S', ...each(({ rates }) => rates.bytesInPerSecond) },
  { title: 'BYTES-OUT/S', ...each(({ rates }) => rates.bytesOutPerSecond) },
]

/** The number of a real server. Weight 0 stands out: it gets no new connections. */
export function numberOf(column: Column, server: RealServer, style: Style): Line | string {
  const value = column.server(server)
  return column.title === WEIGHT && value === 0 ? style.yellow(0) : String(value)
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
export function serviceToJson({ service, realServers }: SnapshotEntry): object {
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
    realServers: realServers.map(serverToJson),
  }
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

/** Counters and rates in words. */
export function trafficText({
  stats,
  rates,
}: Totals): Readonly<Record<'connections' | 'in' | 'out', string>> {
  return {
    connections: `${String(stats.connections)} so far (${String(rates.connectionsPerSecond)}/s)`,
    in: `${String(stats.packetsIn)} packets (${String(rates.packetsInPerSecond)}/s), ${String(stats.bytesIn)} bytes (${String(rates.bytesInPerSecond)}/s)`,
    out: `${String(stats.packetsOut)} packets (${String(rates.packetsOutPerSecond)}/s), ${String(stats.bytesOut)} bytes (${String(rates.bytesOutPerSecond)}/s)`,
  }
}
