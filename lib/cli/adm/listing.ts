import {
  type Connection,
  type Counter,
  type Info,
  printable,
  type Rates,
  type RealServer,
  type Service,
  type SnapshotEntry,
  type Stats,
  type SyncDaemon,
  type Timeouts,
} from '../../index.ts'
import {
  isHostMask,
  listedFlags,
  markWords,
  namedFlags,
  NO_OPTION,
  protocolOption,
  serverLine,
  serviceLine,
} from '../../ipvsadm/lines.ts'
import { isNumber, readLooseIPv4 } from '../../ipvsadm/numbers.ts'
import type { Key } from '../../ipvsadm/options.ts'
import type { Names } from '../names.ts'

/**
 * The text of ipvsadm's listings and of its save. Names are made printable
 * before they are padded or cut, so that no name moves a column or begins a line.
 */

/** Writes an address with a port, by name or by number. */
type EndpointWriter = (address: string, port: number, protocol?: string) => string

/** No address is longer than this, with names or without. */
const ENDPOINT_MAX = 59

/** Writes numbers, or with `names` what they know. */
export function endpointWriter(names?: Names): EndpointWriter {
  return (address, port, protocol) => {
    const host = names?.hostOf(address)
    const hostText = host === undefined ? address : printable(host)
    const service = protocol === undefined ? undefined : names?.serviceOf(port, protocol)
    const portText = service === undefined ? String(port) : printable(service)
    const text = `${address.includes(':') ? `[${hostText}]` : hostText}:${portText}`
    return text.slice(0, ENDPOINT_MAX)
  }
}

/** The first line of a whole table's listing. */
export function formatInfo({ version, connectionTableSize }: Info): string {
  return `IP Virtual Server version ${version} (size=${String(connectionTableSize)})\n`
}

/** How a table is listed; where several are asked for, the first of these. */
const MODES = ['stats', 'rate', 'thresholds', 'persistent-conn', 'tun-info'] as const
type Mode = (typeof MODES)[number] | 'default'

export interface ListOptions {
  readonly given: ReadonlySet<Key>
  readonly write: EndpointWriter
}

const LOCAL = 'Prot LocalAddress:Port'
const REMOTE = '  -> RemoteAddress:Port'
const SERVICE_WIDTH = 33
const SERVER_WIDTH = 28

const TITLES: Readonly<Record<Mode, readonly [string, string]>> = {
  stats: [LOCAL.padEnd(SERVICE_WIDTH) + right(['Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes']), REMOTE],
  rate: [LOCAL.padEnd(SERVICE_WIDTH) + right(['CPS', 'InPPS', 'OutPPS', 'InBPS', 'OutBPS']), REMOTE],
  thresholds: [
    LOCAL.padEnd(SERVICE_WIDTH) +
      left([10, 10, 10, 10], ['Uthreshold', 'Lthreshold', 'ActiveConn', 'InActConn']),
    REMOTE,
  ],
  'persistent-conn': [
    LOCAL.padEnd(SERVICE_WIDTH) + left([9, 11, 10, 10], ['Weight', 'PersistConn', 'ActiveConn', 'InActConn']),
    REMOTE,
  ],
  'tun-info': [
    `${LOCAL} Scheduler Flags`,
    `${REMOTE}           Forward TunnelInfo    Weight ActiveConn InActConn`,
  ],
  default: [`${LOCAL} Scheduler Flags`, `${REMOTE}           Forward Weight ActiveConn InActConn`],
}

/** The titles, then the services with their real servers, in the order that they are in. */
export function formatTable(list: readonly SnapshotEntry<Counter>[], options: ListOptions): string {
  const mode = MODES.find((each) => options.given.has(each)) ?? 'default'
  const lines: string[] = [...TITLES[mode]]
  for (const { service, realServers } of list) {
    lines.push(serviceRow(service, mode, options))
    for (const server of realServers) lines.push(serverRow(server, service, mode, options))
  }
  return `${lines.join('\n')}\n`
}

function serviceRow(service: Service<Counter>, mode: Mode, { given, write }: ListOptions): string {
  const name = serviceName(service, write)
  if (mode === 'stats') return name.padEnd(SERVICE_WIDTH) + counters(service.stats, given.has('exact'))
  if (mode === 'rate') return name.padEnd(SERVICE_WIDTH) + rates(service.rates, given.has('exact'))
  return `${name} ${printable(service.scheduler + attributes(service))}`
}

function serviceName({ key, family }: Service<Counter>, write: EndpointWriter): string {
  if (key.protocol === 'fwmark') return `FWM  ${String(key.fwmark | 0)}${family === 'ipv6' ? ' IPv6' : ''}`
  const known = typeof key.protocol === 'string'
  const protocol = known ? key.protocol.toUpperCase() : '?'
  const name = `${protocol.padEnd(4)} ${write(key.address, key.port, known ? key.protocol : undefined)}`
  return family === 'ipv6' ? name : name.slice(0, SERVICE_WIDTH)
}

function attributes(service: Service<Counter>): string {
  const { scheduler, schedulerFlags, persistence, persistenceEngine, onePacket } = service
  const flags = listedFlags(schedulerFlags, scheduler).join(',')
  let text = namedFlags(schedulerFlags).length === 0 ? '' : ` (${flags})`
  if (persistence !== undefined) {
    text += ` persistent ${String(persistence.timeoutSeconds)}`
    if (!isHostMask(persistence.netmask)) text += ` mask ${String(persistence.netmask)}`
    if (persistenceEngine !== undefined) text += ` pe ${persistenceEngine}`
  }
  return onePacket ? `${text} ops` : text
}

function serverRow(
  server: RealServer<Counter>,
  service: Service<Counter>,
  mode: Mode,
  { given, write }: ListOptions,
): string {
  const { protocol } = service.key
  const endpoint = write(
    server.address,
    server.port,
    protocol === 'fwmark' || typeof protocol === 'number' ? undefined : protocol,
  )
  const name = server.family === 'ipv6' ? endpoint : endpoint.slice(0, SERVER_WIDTH)
  const start = `  -> ${name.padEnd(SERVER_WIDTH)}`
  const { activeConnections: active, inactiveConnections: inactive, weight } = server
  switch (mode) {
    case 'stats':
      return start + counters(server.stats, given.has('exact'))
    case 'rate': {
      const { connectionsPerSecond, packetsInPerSecond, packetsOutPerSecond } = server.rates
      const plain = right([connectionsPerSecond, packetsInPerSecond, packetsOutPerSecond])
      const { bytesInPerSecond, bytesOutPerSecond } = server.rates
      return start + plain + scaled([bytesInPerSecond, bytesOutPerSecond], given.has('exact'))
    }
    case 'thresholds':
      return start + left([10, 10, 10, 10], [server.upperThreshold, server.lowerThreshold, active, inactive])
    case 'persistent-conn':
      return start + left([9, 11, 10, 10], [weight, server.persistentConnections, active, inactive])
    case 'tun-info':
      return start + left([7, 13, 6, 10, 10], [method(server), tunnel(server), weight, active, inactive])
    case 'default':
      return start + left([7, 6, 10, 10], [method(server), weight, active, inactive])
  }
}

const METHODS: Readonly<Record<string, string>> = {
  masquerade: 'Masq',
  local: 'Local',
  tunnel: 'Tunnel',
  direct: 'Route',
}

function method(server: RealServer<Counter>): string {
  return METHODS[server.method] ?? NO_OPTION
}

const CHECKSUMS: Readonly<Record<string, string>> = { none: '-c', csum: '+c', remcsum: 'r+c' }

function tunnel(server: RealServer<Counter>): string {
  if (server.method !== 'tunnel') return 'n/a'
  const { type, port = 0, checksum = 'none' } = server.tunnel ?? { type: 'ipip' }
  const sum = CHECKSUMS[checksum] ?? NO_OPTION
  if (type === 'gue') return `gue:${String(port)}:${sum}`
  if (type === 'gre') return `gre:${sum}`
  return type === 'ipip' ? 'ipip' : 'n/a'
}

function counters(stats: Stats<Counter>, exact: boolean): string {
  const { connections, packetsIn, packetsOut, bytesIn, bytesOut } = stats
  return scaled([connections, packetsIn, packetsOut, bytesIn, bytesOut], exact)
}

function rates(all: Rates, exact: boolean): string {
  const { connectionsPerSecond, packetsInPerSecond, packetsOutPerSecond } = all
  const { bytesInPerSecond, bytesOutPerSecond } = all
  return scaled(
    [connectionsPerSecond, packetsInPerSecond, packetsOutPerSecond, bytesInPerSecond, bytesOutPerSecond],
    exact,
  )
}

/** A number below the limit is divided and gets the unit. It is not rounded. */
const SCALES: readonly (readonly [bigint, bigint, string])[] = [
  [100_000_000n, 1n, ''],
  [1_000_000_000n, 1000n, 'K'],
  [100_000_000_000n, 1_000_000n, 'M'],
  [100_000_000_000_000n, 1_000_000_000n, 'G'],
]
const LARGEST_SCALE = [0n, 1_000_000_000_000n, 'T'] as const

function scaled(values: readonly Counter[], exact: boolean): string {
  return values
    .map((value) => {
      if (exact) {
        const digits = String(value)
        return digits.length <= 8 ? digits.padStart(9) : ` ${digits}`
      }
      const whole = BigInt(value)
      const [, divisor, unit] = SCALES.find(([limit]) => whole < limit) ?? LARGEST_SCALE
      return `${String(whole / divisor)}${unit}`.padStart(9)
    })
    .join('')
}

function right(cells: readonly (string | number)[]): string {
  return cells.map((cell) => ` ${String(cell).padStart(8)}`).join('')
}

function left(widths: readonly number[], cells: readonly (string | number)[]): string {
  return cells.map((cell, index) => ` ${String(cell).padEnd(widths[index] ?? 0)}`).join('')
}

export function formatTimeouts({ tcpSeconds, tcpFinSeconds, udpSeconds }: Timeouts): string {
  return `Timeout (tcp tcpfin udp): ${String(tcpSeconds)} ${String(tcpFinSeconds)} ${String(udpSeconds)}\n`
}

export function formatDaemons(list: readonly SyncDaemon[]): string {
  return list
    .map((daemon) => {
      let text = `${daemon.state} sync daemon (mcast=${printable(daemon.multicastInterface)}, syncid=${String(daemon.syncId | 0)}`
      if (daemon.maxLengthBytes !== undefined) text += `, maxlen=${String(daemon.maxLengthBytes)}`
      if (daemon.multicastGroup !== undefined) text += `, group=${daemon.multicastGroup}`
      if (daemon.multicastPort !== undefined) text += `, port=${String(daemon.multicastPort)}`
      if (daemon.multicastTtl !== undefined) text += `, ttl=${String(daemon.multicastTtl)}`
      return `${text})\n`
    })
    .join('')
}

/** The titles of -L -c; `engines` adds the columns of persistence engines, whose titles are not above them. */
export function connectionTitles(engines: boolean): string {
  const more = engines ? `${'destination'.padEnd(18)} ${'pe name'.padEnd(16)} pe_data` : 'destination'
  return (
    'IPVS connection entries\n' +
    `pro expire ${'state'.padEnd(11)} ${'source'.padEnd(18)} ${'virtual'.padEnd(18)} ${more}\n`
  )
}

export function connectionLine(connection: Connection, engines: boolean, write: EndpointWriter): string {
  const { protocol, expiresSeconds, state, persistenceEngine, persistenceData } = connection
  const named = typeof protocol === 'string' ? protocol : undefined
  const word = named?.toUpperCase() ?? PROTOCOL_WORDS[protocol as number] ?? `IP_${String(protocol)}`
  const two = (count: number): string => String(count).padStart(2, '0')
  const cells = [
    word.padEnd(3),
    `${two(Math.floor(expiresSeconds / 60))}:${two(expiresSeconds % 60)}`.padEnd(6),
    printable(state).padEnd(11),
    write(connection.clientAddress, connection.clientPort, named).padEnd(18),
    write(connection.virtualAddress, connection.virtualPort, named).padEnd(18),
  ]
  const server = write(connection.serverAddress, connection.serverPort, named)
  const more =
    engines && persistenceEngine !== undefined
      ? [server.padEnd(16), printable(persistenceEngine).padEnd(18), printable(persistenceData ?? '')]
      : [server]
  return `${[...cells, ...more].join(' ')}\n`
}

/** ip_vs_proto_name() */
const PROTOCOL_WORDS: Readonly<Record<number, string>> = { 0: 'IP', 1: 'ICMP', 58: 'ICMPv6' }

/**
 * The table as -R reads it. Where ipvsadm would write what it cannot read
 * (docs/ipvsadm.md), this can be read.
 */
export function formatSave(list: readonly SnapshotEntry<Counter>[], names?: Names): string {
  const number = endpointWriter()
  const write = endpointWriter(names)
  const readable: EndpointWriter = (address, port, protocol) => {
    const text = write(address, port, protocol)
    const host = names?.hostOf(address)
    const service = protocol === undefined ? undefined : names?.serviceOf(port, protocol)
    const unreadable =
      // A name too long for its port has lost it.
      text.length >= ENDPOINT_MAX ||
      (host !== undefined && (address.includes(':') || !isReadableHost(host))) ||
      (service !== undefined && !isReadableService(service))
    return unreadable ? number(address, port) : text
  }
  const lines: string[] = []
  for (const { service, realServers } of list) {
    const { key } = service
    const protocol = key.protocol === 'fwmark' || typeof key.protocol === 'number' ? undefined : key.protocol
    const name =
      key.protocol === 'fwmark'
        ? markWords(key.fwmark, service.family)
        : `${protocolOption(key.protocol) ?? '--xxx-service'} ${readable(key.address, key.port, protocol)}`
    lines.push(printable(serviceLine(name, service)))
    for (const { address, port, method, weight, tunnel } of realServers) {
      const server = { method, weight, ...(tunnel !== undefined && { tunnel }) }
      lines.push(serverLine(name, readable(address, port, protocol), server))
    }
  }
  return lines.map((line) => `${line}\n`).join('')
}

/** Whether -R looks this name up: it is one word, and not another address. Names of IPv6 hosts are not looked up at all. */
function isReadableHost(host: string): boolean {
  return /^\w[\w.-]*$/.test(host) && readLooseIPv4(host) === undefined
}

/** Whether -R looks this name up: it is the end of one word, and not another port. */
function isReadableService(service: string): boolean {
  return /^[\w.+*/-]+$/.test(service) && !isNumber(service)
}
