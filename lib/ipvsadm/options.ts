import type { NamedProtocol } from '../model/protocols.ts'
import {
  DAEMON_STATES,
  ENGINE_NAME_MAX_BYTES,
  FWMARK,
  GUE_PORT,
  INT,
  MULTICAST_PAYLOAD_BYTES,
  MULTICAST_PORT,
  MULTICAST_TTL,
  NAME_MAX_BYTES,
  type Range,
  SPEC_LIMITS,
  TUNNEL_TYPES,
} from '../model/ranges.ts'
import type { ForwardingMethod, SyncDaemonState, Tunnel } from '../model/types.ts'

/** The commands and options of ipvsadm 1.31, what each means, and which go together. */

/** A command by the name that messages use; -C is 'flush'. */
export type CommandName =
  | 'add-service'
  | 'edit-service'
  | 'delete-service'
  | 'flush'
  | 'list'
  | 'zero'
  | 'add-server'
  | 'edit-server'
  | 'delete-server'
  | 'restore'
  | 'save'
  | 'set'
  | 'start-daemon'
  | 'stop-daemon'
  | 'help'
  | 'version'

/** Options by the names that messages use, in the order in which they are checked against the command. */
const KEYS = [
  'numeric',
  'connection',
  'service-address',
  'scheduler',
  'persistent',
  'netmask',
  'real-server',
  'forwarding-method',
  'weight',
  'u-threshold',
  'l-threshold',
  'mcast-interface',
  'timeout',
  'daemon',
  'stats',
  'rate',
  'thresholds',
  'persistent-conn',
  'nosort',
  'syncid',
  'exact',
  'ops',
  'pe',
  'sched-flags',
  'mcast-group',
  'mcast-port',
  'mcast-ttl',
  'sync-maxlen',
  'tun-info',
  'tun-type',
  'tun-port',
  'tun-nocsum',
  'tun-csum',
  'tun-remcsum',
] as const

export type Key = (typeof KEYS)[number]

/** What a service option names. */
export type ServiceProtocol = NamedProtocol | 'fwmark'

interface Row {
  /** The name after two dashes. */
  readonly long: string
  /** The letter after one dash. */
  readonly letter?: string
  /** Whether it takes a value. Default: it does not. */
  readonly value?: 'required' | 'optional'
  /** The command that it is. */
  readonly command?: CommandName
  /** The name that it counts as. Default: `long`, if that is one of KEYS. An option without may be repeated and goes with everything. */
  readonly key?: Key
  /** Its value is a whole number in RANGES (--set has three of them), or a name that MAX_BYTES limits. */
  readonly type?: 'number' | 'name'
  /** The value that the option itself says. */
  readonly protocol?: ServiceProtocol
  readonly method?: ForwardingMethod
  readonly checksum?: NonNullable<Tunnel['checksum']>
}

/** The time of -p without a value. It is neither the kernel's default nor that of the manual page. */
export const PERSISTENT_SECONDS = 360

/** The interface of a daemon without --mcast-interface. */
export const DEFAULT_INTERFACE = 'eth0'

const ROWS = [
  { letter: 'A', long: 'add-service', command: 'add-service' },
  { letter: 'E', long: 'edit-service', command: 'edit-service' },
  { letter: 'D', long: 'delete-service', command: 'delete-service' },
  { letter: 'C', long: 'clear', command: 'flush' },
  { letter: 'L', long: 'list', command: 'list' },
  { letter: 'l', long: 'list', command: 'list' },
  { letter: 'Z', long: 'zero', command: 'zero' },
  { letter: 'a', long: 'add-server', command: 'add-server' },
  { letter: 'e', long: 'edit-server', command: 'edit-server' },
  { letter: 'd', long: 'delete-server', command: 'delete-server' },
  { letter: 'R', long: 'restore', command: 'restore' },
  { letter: 'S', long: 'save', command: 'save' },
  { long: 'set', command: 'set', type: 'number' },
  { long: 'start-daemon', value: 'required', command: 'start-daemon' },
  { long: 'stop-daemon', value: 'required', command: 'stop-daemon' },
  { letter: 'h', long: 'help', command: 'help' },
  { letter: 'v', long: 'version', command: 'version' },

  { letter: 'n', long: 'numeric' },
  { letter: 'c', long: 'connection' },
  { letter: 't', long: 'tcp-service', value: 'required', key: 'service-address', protocol: 'tcp' },
  { letter: 'u', long: 'udp-service', value: 'required', key: 'service-address', protocol: 'udp' },
  { long: 'sctp-service', value: 'required', key: 'service-address', protocol: 'sctp' },
  {
    letter: 'f',
    long: 'fwmark-service',
    value: 'required',
    key: 'service-address',
    protocol: 'fwmark',
    type: 'number',
  },
  { letter: 's', long: 'scheduler', value: 'required', type: 'name' },
  { letter: 'p', long: 'persistent', value: 'optional', type: 'number' },
  { letter: 'M', long: 'netmask', value: 'required' },
  { letter: 'r', long: 'real-server', value: 'required' },
  { letter: 'g', long: 'gatewaying', key: 'forwarding-method', method: 'direct' },
  { letter: 'i', long: 'ipip', key: 'forwarding-method', method: 'tunnel' },
  { letter: 'm', long: 'masquerading', key: 'forwarding-method', method: 'masquerade' },
  { letter: 'w', long: 'weight', value: 'required', type: 'number' },
  { letter: 'x', long: 'u-threshold', value: 'required', type: 'number' },
  { letter: 'y', long: 'l-threshold', value: 'required', type: 'number' },
  { long: 'mcast-interface', value: 'required', type: 'name' },
  { long: 'timeout' },
  { long: 'daemon' },
  { long: 'stats' },
  { long: 'rate' },
  { long: 'thresholds' },
  { long: 'persistent-conn' },
  { long: 'nosort' },
  { long: 'sort' },
  { letter: 'X', long: 'exact' },
  { letter: '6', long: 'ipv6' },
  { letter: 'o', long: 'ops' },
  { long: 'pe', value: 'required', type: 'name' },
  { letter: 'b', long: 'sched-flags', value: 'required', type: 'name' },
  { long: 'syncid', value: 'required', type: 'number' },
  { long: 'mcast-group', value: 'required' },
  { long: 'mcast-port', value: 'required', type: 'number' },
  { long: 'mcast-ttl', value: 'required', type: 'number' },
  { long: 'sync-maxlen', value: 'required', type: 'number' },
  { long: 'tun-info' },
  { long: 'tun-type', value: 'required' },
  { long: 'tun-port', value: 'required', type: 'number' },
  { long: 'tun-nocsum', checksum: 'none' },
  { long: 'tun-csum', checksum: 'csum' },
  { long: 'tun-remcsum', checksum: 'remcsum' },
] as const

export type OptionName = (typeof ROWS)[number]['long']

type With<Type extends Row['type']> = Extract<(typeof ROWS)[number], { readonly type: Type }>['long']

export type NumberOption = With<'number'>

export type NameOption = With<'name'>

/** 31 days: the longest time that ipvsadm takes. */
const MAX_SECONDS = 31 * 24 * 60 * 60

/** The numbers that ipvsadm takes. */
export const RANGES: Readonly<Record<NumberOption, Range>> = {
  // 0 keeps the present timeout.
  set: [0, MAX_SECONDS],
  'fwmark-service': FWMARK,
  persistent: [1, MAX_SECONDS],
  weight: INT,
  'u-threshold': INT,
  'l-threshold': INT,
  syncid: SPEC_LIMITS.syncId,
  'mcast-port': MULTICAST_PORT,
  'mcast-ttl': MULTICAST_TTL,
  'sync-maxlen': MULTICAST_PAYLOAD_BYTES,
  'tun-port': GUE_PORT,
}

/** The bytes of a name that ipvsadm has room for. It cuts off the rest. */
export const MAX_BYTES: Readonly<Record<NameOption, number>> = {
  scheduler: NAME_MAX_BYTES,
  pe: ENGINE_NAME_MAX_BYTES,
  'sched-flags': 127,
  'mcast-interface': NAME_MAX_BYTES,
}

export interface OptionDefinition extends Row {
  readonly long: OptionName
}

const OPTIONS: readonly OptionDefinition[] = ROWS.map((row) => {
  const key = KEYS.find((name) => name === row.long)
  return key === undefined ? row : { ...row, key }
})

/** Options by their long names. */
export const LONG: ReadonlyMap<string, OptionDefinition> = new Map(
  OPTIONS.map((option) => [option.long, option]),
)

/** Options by their letters. */
export const SHORT: ReadonlyMap<string, OptionDefinition> = new Map(
  OPTIONS.flatMap((option) => (option.letter === undefined ? [] : [[option.letter, option]])),
)

type Meaning = 'protocol' | 'method' | 'checksum'

const byMeaning = (meaning: Meaning): ReadonlyMap<unknown, OptionDefinition> =>
  new Map(OPTIONS.flatMap((option) => (option[meaning] === undefined ? [] : [[option[meaning], option]])))

const BY_MEANING: Readonly<Record<Meaning, ReadonlyMap<unknown, OptionDefinition>>> = {
  protocol: byMeaning('protocol'),
  method: byMeaning('method'),
  checksum: byMeaning('checksum'),
}

/** The option that says this protocol, method or checksum; `undefined` if there is none. */
export function optionFor(meaning: Meaning, value: unknown): OptionDefinition | undefined {
  return BY_MEANING[meaning].get(value)
}

/** Options that go together. At most one of `exclusive` may be given. */
interface Rules {
  readonly required?: readonly Key[]
  readonly optional?: readonly Key[]
  readonly exclusive?: readonly Key[]
}

const SERVICE: readonly Key[] = ['scheduler', 'persistent', 'netmask', 'ops', 'pe', 'sched-flags']

/** Of these a tunnel has one. */
export const CHECKSUMS: readonly Key[] = OPTIONS.flatMap(({ checksum, key = [] }) =>
  checksum === undefined ? [] : key,
)
const TUNNEL_DETAILS: readonly Key[] = ['tun-port', ...CHECKSUMS]
export const TUNNEL_OPTIONS: readonly Key[] = ['tun-type', ...TUNNEL_DETAILS]
const SERVER: readonly Key[] = [
  'forwarding-method',
  'weight',
  'u-threshold',
  'l-threshold',
  ...TUNNEL_OPTIONS,
]

/** The field of a sync daemon that an option sets, in the order in which a line has them. */
export const DAEMON_OPTIONS = {
  'mcast-interface': 'multicastInterface',
  syncid: 'syncId',
  'sync-maxlen': 'maxLengthBytes',
  'mcast-group': 'multicastGroup',
  'mcast-port': 'multicastPort',
  'mcast-ttl': 'multicastTtl',
} as const

const LIST: readonly Key[] = [
  'numeric',
  'stats',
  'rate',
  'thresholds',
  'persistent-conn',
  'nosort',
  'exact',
  'tun-info',
  'syncid',
]

const COMMAND_RULES: Readonly<Record<CommandName, Rules>> = {
  'add-service': { required: ['service-address'], optional: SERVICE },
  'edit-service': { required: ['service-address'], optional: SERVICE },
  'delete-service': { required: ['service-address'] },
  'add-server': { required: ['service-address', 'real-server'], optional: SERVER },
  'edit-server': { required: ['service-address', 'real-server'], optional: SERVER },
  'delete-server': { required: ['service-address', 'real-server'] },
  flush: {},
  list: { optional: LIST, exclusive: ['connection', 'service-address', 'timeout', 'daemon'] },
  zero: { optional: ['service-address'] },
  restore: {},
  save: { optional: ['numeric'] },
  set: {},
  'start-daemon': { optional: Object.keys(DAEMON_OPTIONS) as Key[] },
  'stop-daemon': { optional: ['syncid'] },
  help: {},
  version: {},
}

export type TunnelType = (typeof TUNNEL_TYPES)[number]

export function isTunnelType(type: unknown): type is TunnelType {
  return (TUNNEL_TYPES as readonly unknown[]).includes(type)
}

export function isDaemonState(state: unknown): state is SyncDaemonState {
  return (DAEMON_STATES as readonly unknown[]).includes(state)
}

const TUNNEL_RULES: Readonly<Record<TunnelType, Rules>> = {
  ipip: {},
  gue: { required: ['tun-port'], exclusive: CHECKSUMS },
  gre: { exclusive: ['tun-nocsum', 'tun-csum'] },
}

/** Whether a command takes an option. */
export function takes(command: CommandName, key: Key): boolean {
  return has(COMMAND_RULES[command], key)
}

/** Whether a tunnel type takes an option. */
export function tunnelTakes(type: TunnelType, key: Key): boolean {
  return has(TUNNEL_RULES[type], key)
}

/** Whether a tunnel type cannot do without an option. */
export function tunnelNeeds(type: TunnelType, key: Key): boolean {
  return TUNNEL_RULES[type].required?.includes(key) === true
}

function has({ required = [], optional = [], exclusive = [] }: Rules, key: Key): boolean {
  return required.includes(key) || optional.includes(key) || exclusive.includes(key)
}

/** The first thing wrong with these options for a command, as ipvsadm says it; `undefined` if nothing is. */
export function wrongOption(command: CommandName, given: ReadonlySet<Key>): string | undefined {
  const rules = COMMAND_RULES[command]
  const wrong = fits(rules, given) ? undefined : firstWrong(KEYS, rules, given, `'${command}' command`)
  if (wrong !== undefined || command !== 'list') return wrong
  const any = (...keys: Key[]): boolean => keys.some((key) => given.has(key))
  const clash =
    (any('connection', 'timeout', 'daemon') && any('stats', 'rate', 'thresholds')) ||
    (any('timeout', 'daemon') && any('persistent-conn'))
  return clash ? 'options conflicts in the list command' : undefined
}

/** The same for the options of a tunnel type. */
export function wrongTunnelOption(type: TunnelType, given: ReadonlySet<Key>): string | undefined {
  return firstWrong(TUNNEL_DETAILS, TUNNEL_RULES[type], given, `'${type}' tunnel type`)
}

/** A quick look that finds almost every line right. Where it says no, each key has to be looked at. */
function fits({ required = [], optional = [] }: Rules, given: ReadonlySet<Key>): boolean {
  for (const key of given) if (!required.includes(key) && !optional.includes(key)) return false
  return required.every((key) => given.has(key))
}

function firstWrong(
  keys: readonly Key[],
  { required = [], optional = [], exclusive = [] }: Rules,
  given: ReadonlySet<Key>,
  whose: string,
): string | undefined {
  let first: Key | undefined
  for (const key of keys) {
    if (!given.has(key)) {
      if (required.includes(key)) return `You need to supply the '${key}' option for the ${whose}`
    } else if (exclusive.includes(key)) {
      if (first !== undefined) {
        return `The option '${key}' conflicts with the '${first}' option in the ${whose}`
      }
      first = key
    } else if (!required.includes(key) && !optional.includes(key)) {
      return `Illegal '${key}' option with the ${whose}`
    }
  }
  return undefined
}
