import { familyOfAddress, familyOfService, isIPv4, isMulticast, portOfService } from './address.ts'
import {
  about,
  address,
  copyOf,
  type Fields,
  known,
  list,
  missing,
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
import { TunnelType } from './constants.ts'
import { DEFAULT_METHOD, DEFAULT_SCHEDULER } from './defaults.ts'
import { type NamedProtocol, PROTOCOL_NAMES, protocolName } from './protocols.ts'
import {
  CHECKSUM,
  CHECKSUMS,
  DAEMON_STATES,
  ENGINE_NAME_MAX_BYTES,
  FAMILIES,
  FWMARK,
  GUE_PORT,
  INT,
  INTERFACE_NAME,
  type Limits,
  METHODS,
  MODULE_NAME,
  MULTICAST_PAYLOAD_BYTES,
  MULTICAST_PORT,
  MULTICAST_TTL,
  NAME_MAX_BYTES,
  PORT,
  PREFIX_IPV4,
  PREFIX_IPV6,
  PROTOCOL,
  type Range,
  SPEC_LIMITS,
  STATE_LIMITS,
  TIMEOUT_SECONDS,
  TUNNEL_TYPE,
  TUNNEL_TYPES,
  UNNAMED_FLAGS,
} from './ranges.ts'
import { ourValue } from './foreign-names.ts'
import { FLAG_NAMES, flagFits, isFlagName } from './scheduler-flags.ts'
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
 * Misuse becomes TypeError or RangeError here, before a byte is made: the error
 * names the field, the value and its range. A value that passes needs no further
 * check. Values are checked without trust in types: callers may be JavaScript,
 * and specs are often read from files.
 *
 * One file, because a service, its real servers and its daemons are checked by
 * the same few rules, and by the two sets of limits.
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
export const TIMEOUT_FIELDS: readonly (keyof Timeouts)[] = namesOf<Timeouts>({
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

const ALL_SERVICE_FIELDS = [...ADDRESS_KEY_FIELDS, ...FWMARK_KEY_FIELDS, ...SERVICE_FIELDS, 'realServers']
const ALL_SERVER_FIELDS = [...SERVER_KEY_FIELDS, ...SERVER_FIELDS]

/** Checks the identity of a virtual service and gives its plain, complete form. */
export function checkServiceKey(key: unknown): ServiceKey {
  const fields = object(key, 'a virtual service')
  const { protocol } = fields
  if (protocol === undefined) missing(fields, 'protocol', 'a virtual service', ALL_SERVICE_FIELDS)
  if (protocol === 'fwmark') {
    if (fields.fwmark === undefined) missing(fields, 'fwmark', 'a virtual service', ALL_SERVICE_FIELDS)
    const fwmark = inRange(fields.fwmark, 'fwmark', FWMARK)
    if (fields.family === undefined) misspelt(fields, 'family', 'a virtual service')
    const family = fields.family === undefined ? 'ipv4' : oneOf(fields.family, 'family', FAMILIES)
    return { protocol, fwmark, family }
  }
  if (fields.address === undefined) missing(fields, 'address', 'a virtual service', ALL_SERVICE_FIELDS)
  if (fields.port === undefined) missing(fields, 'port', 'a virtual service', ALL_SERVICE_FIELDS)
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
  if (!limits.portZeroAlone && needsPersistence(key) && fields.persistence === undefined) {
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
  if (copy.persistence === null && needsPersistence(key)) {
    throw new RangeError('persistence cannot be removed from a service with port 0, which needs it')
  }
  // null takes away; everything else is a setting.
  const settings = { ...copy }
  if (settings.persistence === null) delete settings.persistence
  if (settings.persistenceEngine === null) delete settings.persistenceEngine
  checkServiceSettings(settings, key, SPEC_LIMITS)
  return copy
}

/** Whether a service has port 0, which means every port and works only with persistence. */
export function needsPersistence(key: ServiceKey): boolean {
  return key.protocol !== 'fwmark' && key.port === 0
}

/** Scheduler flags by name must be those of the scheduler. */
export function checkFlagsFit(flags: readonly SchedulerFlag[] | undefined, scheduler: string): void {
  for (const flag of flags ?? []) {
    if (flagFits(flag, scheduler)) continue
    throw about(
      'schedulerFlags',
      new TypeError(`schedulerFlags: '${flag}' is not a flag of scheduler ${show(scheduler)}`),
    )
  }
}

/** Checks the identity of a real server and gives its plain form; a port that is absent is that of the service. */
export function checkServerKey(key: unknown, service: ServiceKey): Required<RealServerKey> {
  const fields = object(key, 'a real server')
  if (fields.address === undefined) missing(fields, 'address', 'a real server', ALL_SERVER_FIELDS)
  if (fields.port === undefined) misspelt(fields, 'port', 'a real server')
  return {
    address: address(fields.address, 'address'),
    port: fields.port === undefined ? portOfService(service) : inRange(fields.port, 'port', PORT),
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

/** Whether a method reaches a real server in its family. ip_vs_genl_set_cmd() answers EINVAL if it does not. */
export function reachesFamily(method: ForwardingMethod, server: RealServerKey, service: ServiceKey): boolean {
  return method === 'tunnel' || familyOfAddress(server.address) === familyOfService(service)
}

export function checkMixedFamily(server: RealServerKey, service: ServiceKey, method: ForwardingMethod): void {
  if (reachesFamily(method, server, service)) return
  throw about(
    'method',
    new TypeError(
      `method must be 'tunnel' for a real server of another family than its virtual service ` +
        `(${server.address}, service ${familyOfService(service)}), got ${show(method)}`,
    ),
  )
}

/** ip_vs_genl_set_cmd() answers EINVAL. */
export function checkTunnel(tunnel: Tunnel): void {
  const { type, port = 0 } = tunnel
  const [least, most] = GUE_PORT
  if ((type === 'gue' || type === TunnelType.GUE) && port < least) {
    throw about(
      'tunnel.port',
      new RangeError(
        `tunnel.port must be a whole number ${String(least)} to ${String(most)} for type 'gue', got ${show(tunnel.port)}`,
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
export function checkDaemonSpec(spec: unknown, { anyName, syncId }: Limits = SPEC_LIMITS): SyncDaemonSpec {
  const fields = object(spec, 'a sync daemon')
  known(fields, DAEMON_FIELDS, [], 'a sync daemon')
  checkDaemonState(fields.state)
  name(fields.multicastInterface, 'multicastInterface', NAME_MAX_BYTES)
  if (!anyName) checkInterfaceName(fields.multicastInterface as string)
  optional(fields, 'syncId', (value) => inRange(value, 'syncId', syncId))
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
  if ((PROTOCOL_NAMES as readonly unknown[]).includes(protocol)) return protocol as NamedProtocol
  if (typeof protocol !== 'number') {
    throw wrong(
      'protocol',
      protocol,
      `${list(PROTOCOL_NAMES)}, 'fwmark' or an IP protocol number`,
      ourValue('protocol', protocol),
    )
  }
  return protocolName(inRange(protocol, 'protocol', PROTOCOL))
}

function checkServiceSettings(fields: Fields, key: ServiceKey, limits: Limits): void {
  optional(fields, 'scheduler', (value) => {
    if (!limits.anyName) checkForeignScheduler(value)
    name(value, 'scheduler', NAME_MAX_BYTES)
    if (!limits.anyName) checkModuleName(value as string, 'scheduler')
  })
  optional(fields, 'schedulerFlags', (value) => {
    if (!Array.isArray(value)) throw wrong('schedulerFlags', value, 'an array of flag names')
    for (const flag of value as unknown[]) {
      if (isFlagName(flag)) continue
      if (!limits.unnamedFlags) throw wrong('schedulerFlags', flag, `one of ${list(FLAG_NAMES)}`)
      if (typeof flag !== 'number' || !isUnnamedFlags(flag)) {
        throw wrong('schedulerFlags', flag, `one of ${list(FLAG_NAMES)}, or ${UNNAMED_FLAGS_RANGE}`)
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
    if (!limits.anyName) checkModuleName(value as string, 'persistenceEngine')
  })
}

const NAME_OF_MODULE = new RegExp(MODULE_NAME)
const NAME_OF_INTERFACE = new RegExp(INTERFACE_NAME)

/** Whether a name can be that of a kernel module. */
export function isModuleName(name: string): boolean {
  return NAME_OF_MODULE.test(name)
}

/** The kernel would look for a module of this name, and say no more than that there is none. */
export function checkForeignScheduler(name: unknown): void {
  const ours = ourValue('scheduler', name)
  if (ours !== undefined) throw wrong('scheduler', name, 'the name of a scheduler of the kernel', ours)
}

/** The kernel loads module ip_vs_<scheduler> or ip_vs_pe_<engine>, as root. */
export function checkModuleName(name: string, field: 'scheduler' | 'persistenceEngine'): void {
  if (isModuleName(name)) return
  throw about(
    field,
    new RangeError(
      `${field} must consist of letters, digits, '-' and '_', like the name of a kernel module; got ${show(name)}`,
    ),
  )
}

/** Whether a name can be that of a network interface. */
export function isInterfaceName(name: string): boolean {
  return NAME_OF_INTERFACE.test(name)
}

export function checkInterfaceName(name: string): void {
  if (isInterfaceName(name)) return
  throw about(
    'multicastInterface',
    new RangeError(`multicastInterface must be the name of a network interface, got ${show(name)}`),
  )
}

/** Bits that have no name in <linux/ip_vs.h>: those above IP_VS_SVC_F_SCHED3. */
function isUnnamedFlags(bits: number): boolean {
  const [least, most] = UNNAMED_FLAGS
  return Number.isInteger(bits) && bits >= least && bits <= most && bits % least === 0
}

const UNNAMED_FLAGS_RANGE = `a multiple of ${String(UNNAMED_FLAGS[0])} from ${UNNAMED_FLAGS.join(' to ')} for flags without a name`

function checkPersistence(
  value: unknown,
  family: Family,
  { persistenceSeconds }: Limits,
): asserts value is PersistenceSpec {
  const fields = object(value, 'persistence')
  known(fields, PERSISTENCE_FIELDS, [], 'persistence', 'persistence.')
  optional(fields, 'timeoutSeconds', (seconds) =>
    inRange(seconds, 'persistence.timeoutSeconds', persistenceSeconds),
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

function checkServerSettings(fields: Fields, limits: Limits): void {
  const checks = limits === SPEC_LIMITS ? SPEC_SERVER_CHECKS : STATE_SERVER_CHECKS
  for (const [name, check] of checks) optional(fields, name, check)
}

type ServerChecks = readonly (readonly [string, (value: unknown) => void])[]

const serverChecks = ({ threshold }: Limits): ServerChecks => [
  [
    'method',
    (value) => {
      if (!METHODS.includes(value))
        throw wrong('method', value, `one of ${list(METHODS)}`, ourValue('method', value))
    },
  ],
  ['weight', (value) => inRange(value, 'weight', INT)],
  ['upperThreshold', (value) => inRange(value, 'upperThreshold', threshold)],
  ['lowerThreshold', (value) => inRange(value, 'lowerThreshold', threshold)],
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

// Made once: a function made for each field of each real server would be a third of the garbage of a restore.
const SPEC_SERVER_CHECKS = serverChecks(SPEC_LIMITS)
const STATE_SERVER_CHECKS = serverChecks(STATE_LIMITS)
