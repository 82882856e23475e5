/** The commands and options of ipvsadm 1.31, and which go together. */

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

interface Row {
  /** The name after two dashes. */
  readonly long: string
  /** The letter after one dash. */
  readonly letter?: string
  /** Whether it takes a value. Default: it does not. */
  readonly value?: 'required' | 'optional'
  /** The command that it is. */
  readonly command?: CommandName
  /** The name that it counts as. Absent for a command, and for an option that may be repeated and goes with everything. */
  readonly key?: Key
}

/** The largest `int` of the kernel. */
export const INT_MAX = 2147483647

/** 31 days: ipvsadm takes no longer time. */
export const MAX_SECONDS: number = 31 * 24 * 60 * 60

/** The time of -p without a value. It is neither the kernel's default nor that of the manual page. */
export const PERSISTENT_SECONDS = 360

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
  { long: 'set', command: 'set' },
  { long: 'start-daemon', value: 'required', command: 'start-daemon' },
  { long: 'stop-daemon', value: 'required', command: 'stop-daemon' },
  { letter: 'h', long: 'help', command: 'help' },
  { letter: 'v', long: 'version', command: 'version' },

  { letter: 'n', long: 'numeric', key: 'numeric' },
  { letter: 'c', long: 'connection', key: 'connection' },
  { letter: 't', long: 'tcp-service', value: 'required', key: 'service-address' },
  { letter: 'u', long: 'udp-service', value: 'required', key: 'service-address' },
  { long: 'sctp-service', value: 'required', key: 'service-address' },
  { letter: 'f', long: 'fwmark-service', value: 'required', key: 'service-address' },
  { letter: 's', long: 'scheduler', value: 'required', key: 'scheduler' },
  { letter: 'p', long: 'persistent', value: 'optional', key: 'persistent' },
  { letter: 'M', long: 'netmask', value: 'required', key: 'netmask' },
  { letter: 'r', long: 'real-server', value: 'required', key: 'real-server' },
  { letter: 'g', long: 'gatewaying', key: 'forwarding-method' },
  { letter: 'i', long: 'ipip', key: 'forwarding-method' },
  { letter: 'm', long: 'masquerading', key: 'forwarding-method' },
  { letter: 'w', long: 'weight', value: 'required', key: 'weight' },
  { letter: 'x', long: 'u-threshold', value: 'required', key: 'u-threshold' },
  { letter: 'y', long: 'l-threshold', value: 'required', key: 'l-threshold' },
  { long: 'mcast-interface', value: 'required', key: 'mcast-interface' },
  { long: 'timeout', key: 'timeout' },
  { long: 'daemon', key: 'daemon' },
  { long: 'stats', key: 'stats' },
  { long: 'rate', key: 'rate' },
  { long: 'thresholds', key: 'thresholds' },
  { long: 'persistent-conn', key: 'persistent-conn' },
  { long: 'nosort', key: 'nosort' },
  { long: 'sort' },
  { letter: 'X', long: 'exact', key: 'exact' },
  { letter: '6', long: 'ipv6' },
  { letter: 'o', long: 'ops', key: 'ops' },
  { long: 'pe', value: 'required', key: 'pe' },
  { letter: 'b', long: 'sched-flags', value: 'required', key: 'sched-flags' },
  { long: 'syncid', value: 'required', key: 'syncid' },
  { long: 'mcast-group', value: 'required', key: 'mcast-group' },
  { long: 'mcast-port', value: 'required', key: 'mcast-port' },
  { long: 'mcast-ttl', value: 'required', key: 'mcast-ttl' },
  { long: 'sync-maxlen', value: 'required', key: 'sync-maxlen' },
  { long: 'tun-info', key: 'tun-info' },
  { long: 'tun-type', value: 'required', key: 'tun-type' },
  { long: 'tun-port', value: 'required', key: 'tun-port' },
  { long: 'tun-nocsum', key: 'tun-nocsum' },
  { long: 'tun-csum', key: 'tun-csum' },
  { long: 'tun-remcsum', key: 'tun-remcsum' },
] as const

export type OptionName = (typeof ROWS)[number]['long']

export interface OptionDefinition extends Row {
  readonly long: OptionName
  /** The least and the most of a value that is a whole number. */
  readonly range?: Range
}

type Range = readonly [least: number, most: number]

const RANGES: Readonly<Partial<Record<OptionName, Range>>> = {
  'fwmark-service': [1, 0xffffffff],
  persistent: [1, MAX_SECONDS],
  weight: [0, INT_MAX],
  'u-threshold': [0, INT_MAX],
  'l-threshold': [0, INT_MAX],
  'tun-port': [1, 65535],
  syncid: [0, 255],
  'mcast-port': [1, 65535],
  'mcast-ttl': [1, 255],
  'sync-maxlen': [1, 65507],
}

const OPTIONS: readonly OptionDefinition[] = ROWS.map((row) => {
  const range = RANGES[row.long]
  return range === undefined ? row : { ...row, range }
})

/** Options by their long names. */
export const LONG: ReadonlyMap<string, OptionDefinition> = new Map(
  OPTIONS.map((option) => [option.long, option]),
)

/** Options by their letters. */
export const SHORT: ReadonlyMap<string, OptionDefinition> = new Map(
  OPTIONS.flatMap((option) => (option.letter === undefined ? [] : [[option.letter, option]])),
)

/** Options that go together. At most one of `exclusive` may be given. */
interface Rules {
  readonly required?: readonly Key[]
  readonly optional?: readonly Key[]
  readonly exclusive?: readonly Key[]
}

const SERVICE: readonly Key[] = ['scheduler', 'persistent', 'netmask', 'ops', 'pe', 'sched-flags']
const TUNNEL: readonly Key[] = ['tun-type', 'tun-port', 'tun-nocsum', 'tun-csum', 'tun-remcsum']
const TUNNEL_DETAILS: readonly Key[] = TUNNEL.filter((key) => key !== 'tun-type')
const SERVER: readonly Key[] = ['forwarding-method', 'weight', 'u-threshold', 'l-threshold', ...TUNNEL]
const DAEMON: readonly Key[] = [
  'mcast-interface',
  'syncid',
  'mcast-group',
  'mcast-port',
  'mcast-ttl',
  'sync-maxlen',
]
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
  'start-daemon': { optional: DAEMON },
  'stop-daemon': { optional: ['syncid'] },
  help: {},
  version: {},
}

export type TunnelType = 'ipip' | 'gue' | 'gre'

export function isTunnelType(type: unknown): type is TunnelType {
  return type === 'ipip' || type === 'gue' || type === 'gre'
}

/** Of these a tunnel has one. */
export const CHECKSUMS = ['tun-nocsum', 'tun-csum', 'tun-remcsum'] as const
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

export const TUNNEL_OPTIONS: readonly Key[] = TUNNEL

/** A bit that a name of -b stands for, as every scheduler's name of it. */
export type FlagBit = 'flag-1' | 'flag-2' | 'flag-3'

interface SchedulerFlagName {
  /** The scheduler that the name is for; absent for any. */
  readonly scheduler?: string
  readonly bit: FlagBit
}

/** The names of -b. */
export const SCHEDULER_FLAGS: ReadonlyMap<unknown, SchedulerFlagName> = new Map<string, SchedulerFlagName>([
  ['flag-1', { bit: 'flag-1' }],
  ['flag-2', { bit: 'flag-2' }],
  ['flag-3', { bit: 'flag-3' }],
  ['sh-fallback', { scheduler: 'sh', bit: 'flag-1' }],
  ['sh-port', { scheduler: 'sh', bit: 'flag-2' }],
  ['mh-fallback', { scheduler: 'mh', bit: 'flag-1' }],
  ['mh-port', { scheduler: 'mh', bit: 'flag-2' }],
])

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
