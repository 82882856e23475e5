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
import { DEFAULT_METHOD, DEFAULT_SCHEDULER } from './defaults.ts'
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
  SchedulerFlag,
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

/** The largest `int` of the kernel. */
const INT_MAX = 2147483647
/** floor((2^32 - 1) / 1000): the kernel keeps seconds times HZ in 32 bits, and HZ is at most 1000. */
export const PERSISTENCE_MAX_SECONDS = 4294967

/** The limits that are not the same for everybody. */
export interface Limits {
  /** Of `persistence.timeoutSeconds`. */
  readonly persistenceSeconds: number
  /** Whether a service may have port 0 without persistence, with which it does nothing. */
  readonly portZeroAlone: boolean
  /** Whether flags of a service may be numbers: bits without a name. */
  readonly unnamedFlags: boolean
  /** Of `upperThreshold` and `lowerThreshold`. */
  readonly threshold: number
  readonly syncId: number
}

/** Limits of what a caller asks for: what works on every kernel. */
export const SPEC_LIMITS: Limits = {
  persistenceSeconds: PERSISTENCE_MAX_SECONDS,
  portZeroAlone: false,
  unnamedFlags: false,
  threshold: INT_MAX,
  syncId: 255,
}

/** Limits of a state, which may say all that some kernel can hold. */
export const STATE_LIMITS: Limits = {
  /** floor((2^32 - 1) / 100): HZ is at least 100. Kernels with more wrap. */
  persistenceSeconds: 42949672,
  portZeroAlone: true,
  unnamedFlags: true,
  /** Up to Linux 6.1; 6.12 answers EINVAL from 2^31 on. */
  threshold: 0xffffffff,
  /** Eight of its bits travel. */
  syncId: 0xffffffff,
}
/** floor(INT_MAX / 100): HZ is at least 100. A kernel with more answers EINVAL to less. */
const TIMEOUT_MAX_SECONDS = 21474836
/** IP_VS_SCHEDNAME_MAXLEN, IP_VS_IFNAME_MAXLEN (16) without the NUL; IP_VS_PENAME_MAXLEN, which has room for it. */
export const NAME_MAX_BYTES = 15
export const ENGINE_NAME_MAX_BYTES = 16

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

const METHODS: readonly unknown[] = ['masquerade', 'tunnel', 'direct', 'local', 'bypass', 5, 6, 7]
const SCHEDULER_FLAGS: readonly unknown[] = [
  'flag-1',
  'flag-2',
  'flag-3',
  'sh-fallback',
  'sh-port',
  'mh-fallback',
  'mh-port',
]
const PROTOCOL_NAMES: Readonly<Record<number, Protocol>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }

/** Checks the identity of a virtual service and gives its plain, complete form. */
export function checkServiceKey(key: unknown): ServiceKey {
  const fields = object(key, 'a virtual service')
  const { protocol } = fields
  if (protocol === undefined) misspelt(fields, 'protocol', 'a virtual service')
  if (protocol === 'fwmark') {
    if (fields.fwmark === undefined) misspelt(fields, 'fwmark', 'a virtual service')
    const fwmark = whole(fields.fwmark, 'fwmark', 1, 0xffffffff)
    if (fields.family === undefined) misspelt(fields, 'family', 'a virtual service')
    const family = fields.family === undefined ? 'ipv4' : oneOf(fields.family, 'family', ['ipv4', 'ipv6'])
    return { protocol, fwmark, family }
  }
  if (fields.address === undefined) misspelt(fields, 'address', 'a virtual service')
  if (fields.port === undefined) misspelt(fields, 'port', 'a virtual service')
  return {
    protocol: checkProtocol(protocol),
    address: address(fields.address, 'address'),
    port: whole(fields.port, 'port', 0, 65535),
  }
}

/**
 * Checks a virtual service to add, without its identity. `more` names fields
 * that the caller has taken out: a misspelt one may be meant for them.
 */
export function checkServiceSpec(
  spec: unknown,
  key: ServiceKey,
  limits: Limits = SPEC_LIMITS,
  more: readonly string[] = [],
): ServiceSettings {
  const fields = object(spec, 'a virtual service')
  known(
    fields,
    key.protocol === 'fwmark' ? FWMARK_KEY_FIELDS : ADDRESS_KEY_FIELDS,
    more.length === 0 ? SERVICE_FIELDS : [...SERVICE_FIELDS, ...more],
    'a virtual service',
  )
  checkServiceSettings(fields, key, limits)
  if (
    !limits.portZeroAlone &&
    key.protocol !== 'fwmark' &&
    key.port === 0 &&
    fields.persistence === undefined
  ) {
    throw about(
      'port',
      new RangeError(
        'port 0 takes every port and works only with persistence: give `persistence`, or another port',
      ),
    )
  }
  const settings = fields as ServiceSettings
  checkFlagsFit(settings.schedulerFlags, settings.scheduler ?? DEFAULT_SCHEDULER)
  return settings
}

/** Checks changes of a virtual service and gives a copy: an edit waits its turn, and the caller may go on with the object. */
export function checkServiceChanges(changes: unknown, key: ServiceKey): ServiceChanges {
  const fields = object(changes, 'changes of a virtual service')
  known(fields, SERVICE_FIELDS, [], 'changes of a virtual service')
  const copy = copyOf(fields, SERVICE_FIELDS)
  if (copy.persistence === null && key.protocol !== 'fwmark' && key.port === 0) {
    throw new RangeError('persistence cannot be removed from a service with port 0, which works only with it')
  }
  // null takes away; everything else is a setting.
  const settings = { ...copy }
  if (settings.persistence === null) delete settings.persistence
  if (settings.persistenceEngine === null) delete settings.persistenceEngine
  checkServiceSettings(settings, key, SPEC_LIMITS)
  return copy
}

/** Scheduler flags by name must be those of the scheduler: 'sh-port' means nothing to mh. */
export function checkFlagsFit(flags: readonly SchedulerFlag[] | undefined, scheduler: string): void {
  for (const flag of flags ?? []) {
    if (typeof flag === 'number' || flag.startsWith('flag-') || flag.startsWith(`${scheduler}-`)) continue
    throw about(
      'schedulerFlags',
      new TypeError(`schedulerFlags: '${flag}' is not a flag of scheduler '${scheduler}'`),
    )
  }
}

/** Checks the identity of a real server and gives its plain form; a port that is absent is that of the service. */
export function checkServerKey(key: unknown, service: ServiceKey): Required<RealServerKey> {
  const fields = object(key, 'a real server')
  if (fields.address === undefined) misspelt(fields, 'address', 'a real server')
  if (fields.port === undefined) misspelt(fields, 'port', 'a real server')
  const defaultPort = service.protocol === 'fwmark' ? 0 : service.port
  return {
    address: address(fields.address, 'address'),
    port: fields.port === undefined ? defaultPort : whole(fields.port, 'port', 0, 65535),
  }
}

/** Checks a real server to add, without its identity. */
export function checkServerSpec(
  spec: unknown,
  key: RealServerKey,
  service: ServiceKey,
  limits: Limits = SPEC_LIMITS,
): RealServerSettings {
  const fields = object(spec, 'a real server')
  known(fields, SERVER_KEY_FIELDS, SERVER_FIELDS, 'a real server')
  checkServerSettings(fields, limits)
  const settings = fields as RealServerSettings
  checkThresholds(settings.upperThreshold ?? 0, settings.lowerThreshold ?? 0)
  if (settings.tunnel !== undefined) checkTunnel(settings.tunnel)
  checkMixedFamily(key, service, settings.method ?? DEFAULT_METHOD)
  return settings
}

/** Checks changes of a real server and gives a copy, as checkServiceChanges() does. */
export function checkServerChanges(changes: unknown): RealServerChanges {
  const fields = object(changes, 'changes of a real server')
  known(fields, SERVER_FIELDS, [], 'changes of a real server')
  const copy = copyOf(fields, SERVER_FIELDS)
  checkServerSettings(copy, SPEC_LIMITS)
  return copy
}

/** ip_vs_add_dest() answers ERANGE. */
export function checkThresholds(upper: number, lower: number): void {
  if (lower <= upper) return
  throw about(
    'lowerThreshold',
    new RangeError(
      `lowerThreshold must not be above upperThreshold (${String(upper)}), got ${String(lower)}` +
        (upper === 0 ? ': give upperThreshold too' : ''),
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
    optional(fields, name, (value) => whole(value, name, 1, TIMEOUT_MAX_SECONDS))
  }
  return fields
}

/** Checks a sync daemon to start. */
export function checkDaemonSpec(spec: unknown, { syncId }: Limits = SPEC_LIMITS): SyncDaemonSpec {
  const fields = object(spec, 'a sync daemon')
  known(fields, DAEMON_FIELDS, [], 'a sync daemon')
  checkDaemonState(fields.state)
  name(fields.multicastInterface, 'multicastInterface', NAME_MAX_BYTES)
  optional(fields, 'syncId', (value) => whole(value, 'syncId', 0, syncId))
  optional(fields, 'maxLengthBytes', (value) => whole(value, 'maxLengthBytes', 1, 65507))
  optional(fields, 'multicastPort', (value) => whole(value, 'multicastPort', 1, 65535))
  optional(fields, 'multicastTtl', (value) => whole(value, 'multicastTtl', 1, 255))
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
  return oneOf(state, 'state', ['master', 'backup'])
}

/** Path of a network namespace: a name is one under /run/netns, as ip-netns(8) makes them. */
export function netnsPath(netns: unknown): string {
  if (typeof netns !== 'string') throw wrong('netns', netns, 'a name or a path')
  if (netns === '' || netns === '.' || netns === '..' || netns.includes('\0')) {
    throw new RangeError(`netns must be a name under /run/netns or a path, got ${show(netns)}`)
  }
  return netns.includes('/') ? netns : `/run/netns/${netns}`
}

function checkProtocol(protocol: unknown): Protocol {
  if (protocol === 'tcp' || protocol === 'udp' || protocol === 'sctp') return protocol
  if (typeof protocol !== 'number') {
    throw wrong('protocol', protocol, `'tcp', 'udp', 'sctp', 'fwmark' or an IP protocol number`)
  }
  return PROTOCOL_NAMES[protocol] ?? whole(protocol, 'protocol', 0, 65535)
}

function checkServiceSettings(fields: Fields, key: ServiceKey, limits: Limits): void {
  optional(fields, 'scheduler', (value) => {
    name(value, 'scheduler', NAME_MAX_BYTES)
  })
  optional(fields, 'schedulerFlags', (value) => {
    if (!Array.isArray(value)) throw wrong('schedulerFlags', value, 'an array of flag names')
    for (const flag of value as unknown[]) {
      if (SCHEDULER_FLAGS.includes(flag)) continue
      if (!limits.unnamedFlags) throw wrong('schedulerFlags', flag, `one of ${list(SCHEDULER_FLAGS)}`)
      if (typeof flag !== 'number' || !isUnnamedFlags(flag)) {
        throw wrong('schedulerFlags', flag, `one of ${list(SCHEDULER_FLAGS)}, or ${UNNAMED_FLAGS_RANGE}`)
      }
    }
  })
  optional(fields, 'onePacket', (value) => {
    if (typeof value !== 'boolean') throw wrong('onePacket', value, 'true or false')
  })
  optional(fields, 'persistence', (value) => {
    checkPersistence(value, familyOfService(key), limits)
  })
  optional(fields, 'persistenceEngine', (value) => {
    name(value, 'persistenceEngine', ENGINE_NAME_MAX_BYTES)
  })
}

/** Bits that have no name in <linux/ip_vs.h>: those above IP_VS_SVC_F_SCHED3. */
function isUnnamedFlags(bits: number): boolean {
  return Number.isInteger(bits) && bits >= 64 && bits <= 0xffffffc0 && bits % 64 === 0
}

const UNNAMED_FLAGS_RANGE = 'a multiple of 64 from 64 to 4294967232 for flags without a name'

function checkPersistence(
  value: unknown,
  family: Family,
  { persistenceSeconds }: Limits,
): asserts value is PersistenceSpec {
  const fields = object(value, 'persistence')
  known(fields, ['timeoutSeconds', 'netmask'], [], 'persistence', 'persistence.')
  optional(fields, 'timeoutSeconds', (seconds) =>
    whole(seconds, 'persistence.timeoutSeconds', 0, persistenceSeconds),
  )
  optional(fields, 'netmask', (netmask) => {
    if (family === 'ipv6') whole(netmask, 'persistence.netmask', 1, 128)
    else if (typeof netmask === 'number') whole(netmask, 'persistence.netmask', 0, 32)
    else if (typeof netmask !== 'string' || !isIPv4(netmask)) {
      throw wrong(
        'persistence.netmask',
        netmask,
        `an IPv4 mask such as '255.255.255.0', or a prefix length 0 to 32`,
      )
    }
  })
}

function checkServerSettings(fields: Fields, limits: Limits): void {
  const checks = limits === SPEC_LIMITS ? SPEC_SERVER_CHECKS : STATE_SERVER_CHECKS
  for (const [name, check] of checks) optional(fields, name, check)
}

type ServerChecks = readonly (readonly [string, (value: unknown) => void])[]

const serverChecks = ({ threshold }: Limits): ServerChecks => [
  [
    'method',
    (value) => {
      if (!METHODS.includes(value)) throw wrong('method', value, `one of ${list(METHODS)}`)
    },
  ],
  ['weight', (value) => whole(value, 'weight', 0, INT_MAX)],
  ['upperThreshold', (value) => whole(value, 'upperThreshold', 0, threshold)],
  ['lowerThreshold', (value) => whole(value, 'lowerThreshold', 0, threshold)],
  [
    'tunnel',
    (value) => {
      const tunnel = object(value, 'tunnel')
      known(tunnel, ['type', 'port', 'checksum'], [], 'tunnel', 'tunnel.')
      named(tunnel.type, 'tunnel.type', ['ipip', 'gue', 'gre'], 255)
      optional(tunnel, 'port', (port) => whole(port, 'tunnel.port', 0, 65535))
      optional(tunnel, 'checksum', (checksum) => {
        named(checksum, 'tunnel.checksum', ['none', 'csum', 'remcsum'], 65535)
      })
    },
  ],
]

// Made once: a function made for each field of each real server would be a third of the garbage of a restore.
const SPEC_SERVER_CHECKS = serverChecks(SPEC_LIMITS)
const STATE_SERVER_CHECKS = serverChecks(STATE_LIMITS)
