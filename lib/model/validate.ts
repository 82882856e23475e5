import { familyOfAddress, familyOfService, isIPv4, isMulticast } from './address.ts'
import {
  about,
  address,
  copyOf,
  type Fields,
  known,
  list,
  misspelt,
  name,
  named,
  namesOf,
  object,
  oneOf,
  optional,
  show,
  whole,
  wrong,
} from './check.ts'
import { Errno } from './errno.ts'
import {
  CHECKSUM,
  CHECKSUMS,
  DAEMON_STATES,
  ENGINE_NAME_MAX_BYTES,
  FAMILIES,
  FWMARK,
  INT,
  METHODS,
  MULTICAST_PAYLOAD_BYTES,
  MULTICAST_PORT,
  MULTICAST_TTL,
  NAME_MAX_BYTES,
  PERSISTENCE_SECONDS,
  PORT,
  PREFIX_IPV4,
  PREFIX_IPV6,
  PROTOCOL,
  type Range,
  SCHEDULER_FLAGS,
  SYNC_ID,
  SYSCTL_NAME,
  SYSCTL_VALUE,
  TIMEOUT_SECONDS,
  TUNNEL_TYPE,
  TUNNEL_TYPES,
} from './ranges.ts'
import type {
  AddressServiceKey,
  Family,
  ForwardingMethod,
  FwmarkServiceKey,
  PersistenceSpec,
  Protocol,
  RealServerChanges,
  RealServerKey,
  RealServerSettings,
  ServiceChanges,
  ServiceKey,
  ServiceSettings,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
  Tunnel,
} from './types.ts'

/**
 * Misuse becomes TypeError or RangeError here, before a byte is made: the field,
 * the value and what it may be. What passes needs no further check.
 *
 * Values are checked as if TypeScript had not been there: callers may be
 * JavaScript, and specs are often read from files.
 */

export const SERVICE_FIELDS: readonly string[] = namesOf<ServiceSettings>({
  scheduler: true,
  schedulerFlags: true,
  onePacket: true,
  persistence: true,
  persistenceEngine: true,
})
export const ADDRESS_KEY_FIELDS: readonly string[] = namesOf<AddressServiceKey>({
  protocol: true,
  address: true,
  port: true,
})
export const FWMARK_KEY_FIELDS: readonly string[] = namesOf<FwmarkServiceKey>({
  protocol: true,
  fwmark: true,
  family: true,
})
export const SERVER_FIELDS: readonly string[] = namesOf<RealServerSettings>({
  method: true,
  weight: true,
  upperThreshold: true,
  lowerThreshold: true,
  tunnel: true,
})
export const SERVER_KEY_FIELDS: readonly string[] = namesOf<RealServerKey>({
  address: true,
  port: true,
})
export const PERSISTENCE_FIELDS: readonly string[] = namesOf<PersistenceSpec>({
  timeoutSeconds: true,
  netmask: true,
})
export const TUNNEL_FIELDS: readonly string[] = namesOf<Tunnel>({
  type: true,
  port: true,
  checksum: true,
})
export const TIMEOUT_FIELDS: readonly string[] = namesOf<Timeouts>({
  tcpSeconds: true,
  tcpFinSeconds: true,
  udpSeconds: true,
})
export const DAEMON_FIELDS: readonly string[] = namesOf<SyncDaemonSpec>({
  state: true,
  multicastInterface: true,
  syncId: true,
  maxLengthBytes: true,
  multicastGroup: true,
  multicastPort: true,
  multicastTtl: true,
})

const PROTOCOL_NAMES: Readonly<Record<number, Protocol>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }

/** Checks the identity of a virtual service and gives its plain, complete form. */
export function checkServiceKey(key: unknown): ServiceKey {
  const fields = object(key, 'a virtual service')
  const { protocol } = fields
  if (protocol === undefined) misspelt(fields, 'protocol', 'a virtual service')
  if (protocol === 'fwmark') {
    if (fields.fwmark === undefined) misspelt(fields, 'fwmark', 'a virtual service')
    const fwmark = inRange(fields.fwmark, 'fwmark', FWMARK)
    if (fields.family === undefined) misspelt(fields, 'family', 'a virtual service')
    const family = fields.family === undefined ? 'ipv4' : oneOf(fields.family, 'family', FAMILIES)
    return { protocol, fwmark, family }
  }
  if (fields.address === undefined) misspelt(fields, 'address', 'a virtual service')
  if (fields.port === undefined) misspelt(fields, 'port', 'a virtual service')
  return {
    protocol: checkProtocol(protocol),
    address: address(fields.address, 'address'),
    port: inRange(fields.port, 'port', PORT),
  }
}

/**
 * Checks a virtual service to add, without its identity. `more` names fields
 * that the caller has taken out: a misspelt one may be meant for them.
 */
export function checkServiceSpec(
  spec: unknown,
  key: ServiceKey,
  more: readonly string[] = [],
): ServiceSettings {
  const fields = object(spec, 'a virtual service')
  known(
    fields,
    key.protocol === 'fwmark' ? FWMARK_KEY_FIELDS : ADDRESS_KEY_FIELDS,
    more.length === 0 ? SERVICE_FIELDS : [...SERVICE_FIELDS, ...more],
    'a virtual service',
  )
  checkServiceSettings(fields, key)
  if (key.protocol !== 'fwmark' && key.port === 0 && fields.persistence === undefined) {
    throw about(
      'port',
      new RangeError(
        'port 0 takes every port, and works only with persistence: name `persistence`, or another port',
      ),
    )
  }
  const settings = fields as ServiceSettings
  checkFlagsFit(settings.schedulerFlags, settings.scheduler ?? 'wlc')
  return settings
}

/** Checks changes of a virtual service and gives a copy: an edit waits its turn, and the caller may go on with the object. */
export function checkServiceChanges(changes: unknown, key: ServiceKey): ServiceChanges {
  const fields = object(changes, 'changes of a virtual service')
  known(fields, SERVICE_FIELDS, [], 'changes of a virtual service')
  const copy = copyOf(fields, SERVICE_FIELDS)
  if (copy.persistence === null && key.protocol !== 'fwmark' && key.port === 0) {
    throw new RangeError(
      'persistence cannot be taken from a service with port 0: it works only with persistence',
    )
  }
  // null takes away; everything else is a setting.
  const settings = { ...copy }
  if (settings.persistence === null) delete settings.persistence
  if (settings.persistenceEngine === null) delete settings.persistenceEngine
  checkServiceSettings(settings, key)
  return copy
}

/** Scheduler flags by name must be those of the scheduler: 'sh-port' means nothing to mh. */
export function checkFlagsFit(flags: readonly string[] | undefined, scheduler: string): void {
  for (const flag of flags ?? []) {
    if (flag.startsWith('flag-') || flag.startsWith(`${scheduler}-`)) continue
    throw about(
      'schedulerFlags',
      new TypeError(`schedulerFlags: '${flag}' is not a flag of scheduler ${show(scheduler)}`),
    )
  }
}

/** Checks the identity of a real server and gives its plain form, with the port that it has by default. */
export function checkServerKey(key: unknown, service: ServiceKey): Required<RealServerKey> {
  const fields = object(key, 'a real server')
  if (fields.address === undefined) misspelt(fields, 'address', 'a real server')
  if (fields.port === undefined) misspelt(fields, 'port', 'a real server')
  const defaultPort = service.protocol === 'fwmark' ? 0 : service.port
  return {
    address: address(fields.address, 'address'),
    port: fields.port === undefined ? defaultPort : inRange(fields.port, 'port', PORT),
  }
}

/** Checks a real server to add, without its identity. */
export function checkServerSpec(spec: unknown, key: RealServerKey, service: ServiceKey): RealServerSettings {
  const fields = object(spec, 'a real server')
  known(fields, SERVER_KEY_FIELDS, SERVER_FIELDS, 'a real server')
  checkServerSettings(fields)
  const settings = fields as RealServerSettings
  checkThresholds(settings.upperThreshold ?? 0, settings.lowerThreshold ?? 0)
  checkMixedFamily(key, service, settings.method ?? 'direct')
  return settings
}

/** Checks changes of a real server and gives a copy, as checkServiceChanges() does. */
export function checkServerChanges(changes: unknown): RealServerChanges {
  const fields = object(changes, 'changes of a real server')
  known(fields, SERVER_FIELDS, [], 'changes of a real server')
  const copy = copyOf(fields, SERVER_FIELDS)
  checkServerSettings(copy)
  return copy
}

/** ip_vs_add_dest() answers ERANGE. */
export function checkThresholds(upper: number, lower: number): void {
  if (lower <= upper) return
  throw about(
    'lowerThreshold',
    new RangeError(
      `lowerThreshold must not be above upperThreshold (${String(upper)}), got ${String(lower)}` +
        (upper === 0 ? ': name upperThreshold too' : ''),
    ),
  )
}

/** ip_vs_genl_set_cmd() answers EINVAL to any other method. */
export function checkMixedFamily(server: RealServerKey, service: ServiceKey, method: ForwardingMethod): void {
  if (method === 'tunnel' || familyOfAddress(server.address) === familyOfService(service)) return
  throw about(
    'method',
    new TypeError(
      `method must be 'tunnel' for a real server of another family than its virtual service ` +
        `(${server.address}, service ${familyOfService(service)}), got ${show(method)}`,
    ),
  )
}

/** IP_VS_CONN_F_TUNNEL_TYPE_GUE: a tunnel's type may be its number too. */
const GUE = 1

/** ip_vs_genl_set_cmd() answers EINVAL. */
export function checkTunnel(tunnel: Tunnel): void {
  if ((tunnel.type === 'gue' || tunnel.type === GUE) && (tunnel.port ?? 0) === 0) {
    throw about(
      'tunnel.port',
      new RangeError(
        `tunnel.port must be a whole number 1 to 65535 for type 'gue', got ${show(tunnel.port)}`,
      ),
    )
  }
}

/** Checks timeouts to set and gives those that are named. */
export function checkTimeouts(timeouts: unknown): Partial<Timeouts> {
  const fields = object(timeouts, 'timeouts')
  known(fields, TIMEOUT_FIELDS, [], 'timeouts')
  for (const name of TIMEOUT_FIELDS) {
    optional(fields, name, (value) => inRange(value, name, TIMEOUT_SECONDS))
  }
  return fields
}

/** Checks a sync daemon to start. */
export function checkDaemonSpec(spec: unknown): SyncDaemonSpec {
  const fields = object(spec, 'a sync daemon')
  known(fields, DAEMON_FIELDS, [], 'a sync daemon')
  checkDaemonState(fields.state)
  name(fields.multicastInterface, 'multicastInterface', NAME_MAX_BYTES)
  optional(fields, 'syncId', (value) => inRange(value, 'syncId', SYNC_ID))
  optional(fields, 'maxLengthBytes', (value) => inRange(value, 'maxLengthBytes', MULTICAST_PAYLOAD_BYTES))
  optional(fields, 'multicastPort', (value) => inRange(value, 'multicastPort', MULTICAST_PORT))
  optional(fields, 'multicastTtl', (value) => inRange(value, 'multicastTtl', MULTICAST_TTL))
  optional(fields, 'multicastGroup', (value) => {
    const group = address(value, 'multicastGroup')
    if (!isMulticast(group)) {
      throw about(
        'multicastGroup',
        new RangeError(`multicastGroup must be a multicast address, got '${group}'`),
      )
    }
  })
  return fields as unknown as SyncDaemonSpec
}

/** Checks which half of synchronisation is meant. */
export function checkDaemonState(state: unknown): SyncDaemonState {
  return oneOf(state, 'state', DAEMON_STATES)
}

const NAME_OF_SYSCTL = new RegExp(SYSCTL_NAME)
const VALUE_OF_SYSCTL = new RegExp(SYSCTL_VALUE)

/** Name of a file below /proc/sys/net/ipv4/vs. */
export function checkSysctlName(name: unknown): void {
  if (typeof name !== 'string') throw wrong('sysctl', name, 'its name below net.ipv4.vs')
  if (!NAME_OF_SYSCTL.test(name)) {
    throw new RangeError(`sysctl must be a name below net.ipv4.vs, such as 'conntrack', got ${show(name)}`)
  }
}

/** What is written to a sysctl: a number, or the text of several. */
export function checkSysctlValue(name: string, value: unknown): string {
  if (typeof value === 'number') {
    return String(whole(value, `sysctl ${name}`, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER))
  }
  if (typeof value !== 'string') throw wrong(`sysctl ${name}`, value, 'a number, or the text of the file')
  if (!VALUE_OF_SYSCTL.test(value)) {
    throw new RangeError(`sysctl ${name} must be one line of plain text, got ${show(value)}`)
  }
  return value
}

/** As many CPUs as no kernel has. */
const MOST_CPUS = 65536

/** What the kernel makes of a list of CPUs. Neither: that depends on the machine (`all`, `N`). */
export interface CpuList {
  /** As it is read back. */
  readonly printed?: string
  /** What it is refused with. */
  readonly errno?: number
}

/** Reads a list of CPUs (est_cpulist) as bitmap_parselist() does. */
export function readCpuList(text: string): CpuList {
  const cpus = new Set<number>()
  let known = true
  for (const part of text.split(/[\s,]+/)) {
    if (part === '') continue
    if (/^all/i.test(part) || part.includes('N')) {
      known = false
      continue
    }
    // A number, a range, or the first few of each group of a range.
    const [, first, last = first, used = '1', group = used] =
      /^(\d+)(?:-(\d+)(?::(\d+)\/(\d+))?)?$/.exec(part) ?? []
    const [from, to, some, many] = [Number(first), Number(last), Number(used), Number(group)]
    if (first === undefined || from > to || some > many || many === 0) return { errno: Errno.EINVAL }
    if (to >= MOST_CPUS) return { errno: Errno.ERANGE }
    for (let cpu = from; cpu <= to; cpu++) if ((cpu - from) % many < some) cpus.add(cpu)
  }
  if (!known) return {}
  const ranges: { readonly first: number; last: number }[] = []
  for (const cpu of [...cpus].sort((a, b) => a - b)) {
    const range = ranges.at(-1)
    if (range?.last === cpu - 1) range.last = cpu
    else ranges.push({ first: cpu, last: cpu })
  }
  const printed = ranges
    .map(({ first, last }) => (first === last ? String(first) : `${String(first)}-${String(last)}`))
    .join(',')
  return { printed }
}

/** A list of CPUs as the kernel prints it: `0,2,1` reads `0-2`. One that cannot be known, or is refused, as it is. */
export function cpuList(text: string): string {
  return readCpuList(text).printed ?? text
}

/** Path of a network namespace: a name is one under /run/netns, as ip-netns(8) makes them. */
export function netnsPath(netns: unknown): string {
  if (typeof netns !== 'string') throw wrong('netns', netns, 'a name or a path')
  if (netns === '' || netns === '.' || netns === '..' || netns.includes('\0')) {
    throw new RangeError(`netns must be a name under /run/netns or a path, got ${show(netns)}`)
  }
  return netns.includes('/') ? netns : `/run/netns/${netns}`
}

function inRange(value: unknown, field: string, range: Range): number {
  return whole(value, field, range[0], range[1])
}

function checkProtocol(protocol: unknown): Protocol {
  if (protocol === 'tcp' || protocol === 'udp' || protocol === 'sctp') return protocol
  if (typeof protocol !== 'number') {
    throw wrong('protocol', protocol, `'tcp', 'udp', 'sctp', 'fwmark' or an IP protocol number`)
  }
  return PROTOCOL_NAMES[protocol] ?? inRange(protocol, 'protocol', PROTOCOL)
}

function checkServiceSettings(fields: Fields, key: ServiceKey): void {
  optional(fields, 'scheduler', (value) => {
    name(value, 'scheduler', NAME_MAX_BYTES)
  })
  optional(fields, 'schedulerFlags', (value) => {
    if (!Array.isArray(value)) throw wrong('schedulerFlags', value, 'an array of flag names')
    for (const flag of value) {
      if (!SCHEDULER_FLAGS.includes(flag))
        throw wrong('schedulerFlags', flag, `one of ${list(SCHEDULER_FLAGS)}`)
    }
  })
  optional(fields, 'onePacket', (value) => {
    if (typeof value !== 'boolean') throw wrong('onePacket', value, 'true or false')
  })
  optional(fields, 'persistence', (value) => {
    checkPersistence(value, familyOfService(key))
  })
  optional(fields, 'persistenceEngine', (value) => {
    name(value, 'persistenceEngine', ENGINE_NAME_MAX_BYTES)
  })
}

function checkPersistence(value: unknown, family: Family): asserts value is PersistenceSpec {
  const fields = object(value, 'persistence')
  known(fields, PERSISTENCE_FIELDS, [], 'persistence', 'persistence.')
  optional(fields, 'timeoutSeconds', (seconds) =>
    inRange(seconds, 'persistence.timeoutSeconds', PERSISTENCE_SECONDS),
  )
  optional(fields, 'netmask', (netmask) => {
    if (family === 'ipv6') inRange(netmask, 'persistence.netmask', PREFIX_IPV6)
    else if (typeof netmask === 'number') inRange(netmask, 'persistence.netmask', PREFIX_IPV4)
    else if (typeof netmask !== 'string' || !isIPv4(netmask)) {
      throw wrong(
        'persistence.netmask',
        netmask,
        `an IPv4 mask such as '255.255.255.0', or a prefix length 0 to 32`,
      )
    }
  })
}

function checkServerSettings(fields: Fields): void {
  for (const [name, check] of SERVER_CHECKS) optional(fields, name, check)
}

/** Made once: a function made for each field of each real server would be a third of the garbage of a restore. */
const SERVER_CHECKS: readonly (readonly [string, (value: unknown) => void])[] = [
  [
    'method',
    (value) => {
      if (!METHODS.includes(value)) throw wrong('method', value, `one of ${list(METHODS)}`)
    },
  ],
  ['weight', (value) => inRange(value, 'weight', INT)],
  ['upperThreshold', (value) => inRange(value, 'upperThreshold', INT)],
  ['lowerThreshold', (value) => inRange(value, 'lowerThreshold', INT)],
  [
    'tunnel',
    (value) => {
      const tunnel = object(value, 'tunnel')
      known(tunnel, TUNNEL_FIELDS, [], 'tunnel', 'tunnel.')
      named(tunnel.type, 'tunnel.type', TUNNEL_TYPES, TUNNEL_TYPE[1])
      optional(tunnel, 'port', (port) => inRange(port, 'tunnel.port', PORT))
      optional(tunnel, 'checksum', (checksum) => {
        named(checksum, 'tunnel.checksum', CHECKSUMS, CHECKSUM[1])
      })
    },
  ],
]
