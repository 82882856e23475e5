import { canonicalAddress } from '../codec/address.ts'
import { formatServiceKey } from '../errors.ts'
import type { Pace } from '../pace.ts'
import type { StatePath } from '../state.ts'
import type {
  Family,
  ForwardingMethod,
  RealServerSpec,
  SchedulerFlag,
  ServiceKey,
  ServiceSpec,
  State,
  SyncDaemonSpec,
  Timeouts,
  Tunnel,
} from '../types.ts'
import { checkServiceKey, familyOfAddress, familyOfService, isIPv4, isIPv6 } from '../validate.ts'
import { type GivenOption, LineError, splitOptions, splitWords, type Word } from './ipvsadm-words.ts'
import { ownText } from './pieces.ts'

/**
 * Lines as `ipvsadm -S` prints and `ipvsadm -R` takes them. A line means here
 * what it means there, or is refused: what ipvsadm reads as something else than
 * it seems to say (a port that it drops, `-M 24`) is an error that says so.
 */

/** How names in lines become numbers. */
export interface Lookups {
  /** Port of a service's name, such as 80 for 'http' and 'tcp', as /etc/services has it; undefined if it has none. */
  readonly lookupService?: (
    name: string,
    protocol: 'tcp' | 'udp' | 'sctp',
  ) => number | undefined | Promise<number | undefined>
  /**
   * Address of a host's name in this family; undefined if it has none. A name
   * means an IPv4 host, and one in brackets an IPv6 host, as `ipvsadm -S` prints it.
   */
  readonly lookupHost?: (name: string, family: Family) => string | undefined | Promise<string | undefined>
}

/** What lines say, and where they say it. */
export interface ParsedLines {
  readonly state: State
  /** Line and column of what stands at a path, or of what that is part of. */
  readonly placeOf: (path: StatePath) => Place
}

interface Place {
  readonly line: number
  readonly column: number
}

type Draft<T> = { -readonly [K in keyof T]: T[K] }
type DraftService = Draft<ServiceSpec> & { realServers?: RealServerSpec[] }

/** ipvsadm's own, not ours and not its manual page's. */
const PERSISTENT_SECONDS = 360
const MAX_TIMEOUT_SECONDS = 31 * 24 * 3600
const INT_MAX = 2147483647

const SERVICE_OPTIONS = ['scheduler', 'persistent', 'netmask', 'ops', 'pe', 'sched-flags']
const SERVER_OPTIONS = [
  'real-server',
  'gatewaying',
  'ipip',
  'masquerading',
  'weight',
  'u-threshold',
  'l-threshold',
  'tun-type',
  'tun-port',
  'tun-nocsum',
  'tun-csum',
  'tun-remcsum',
]
const SERVICE_KEY_OPTIONS = ['tcp-service', 'udp-service', 'sctp-service', 'fwmark-service', 'ipv6']
const DAEMON_OPTIONS = ['mcast-interface', 'syncid', 'mcast-group', 'mcast-port', 'mcast-ttl', 'sync-maxlen']

/** Reads all lines. A refusal is a LineError, and `failed` makes what is thrown of it. */
export async function parseLines(
  text: string,
  lookups: Lookups,
  pace: Pace,
  failed: (error: LineError, line: number) => Error,
): Promise<ParsedLines> {
  const reader = new LineReader(lookups)
  let number = 0
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline
    number += 1
    try {
      await reader.read(text.slice(start, end), number)
    } catch (error) {
      throw error instanceof LineError ? failed(error, number) : error
    }
    if (pace.due()) await pace.rest()
    start = end + 1
  }
  return reader
}

class LineReader implements ParsedLines {
  readonly #lookups: Lookups
  readonly #services: DraftService[] = []
  readonly #byKey = new Map<string, DraftService>()
  readonly #places = new Map<unknown, Place>()
  readonly #daemons: SyncDaemonSpec[] = []
  #timeouts: Draft<Partial<Timeouts>> | undefined
  #place: Place = { line: 1, column: 1 }

  constructor(lookups: Lookups) {
    this.#lookups = lookups
  }

  get state(): State {
    return {
      version: 1,
      services: this.#services,
      ...(this.#timeouts !== undefined && { timeouts: this.#timeouts }),
      ...(this.#daemons.length > 0 && { syncDaemons: this.#daemons }),
    }
  }

  readonly placeOf = (path: StatePath): Place => {
    let value: unknown = this.state
    let place: Place = { line: 1, column: 1 }
    for (const step of path) {
      if (typeof value !== 'object' || value === null) break
      value = (value as Readonly<Record<string | number, unknown>>)[step]
      place = this.#places.get(value) ?? place
    }
    return place
  }

  async read(line: string, number: number): Promise<void> {
    const words = splitWords(line)
    if (words[0] !== undefined && isProgram(words[0].text)) words.shift()
    const [first] = words
    if (first === undefined) return
    this.#place = { line: number, column: first.column }
    const { options, others } = splitOptions(words)
    const command = options[0]
    if (command?.option.command !== true) {
      throw new LineError(first.column, 'a line begins with a command of ipvsadm, such as -A or -a')
    }
    for (const { option, shown, column } of options.slice(1)) {
      if (option.command === true) {
        throw new LineError(column, `a line has one command: ${shown} comes after ${command.shown}`)
      }
    }
    switch (command.option.name) {
      case 'add-service':
        await this.#addService(new Given(command, options, others))
        break
      case 'add-server':
        await this.#addServer(new Given(command, options, others))
        break
      case 'set':
        this.#setTimeouts(new Given(command, options, []), others)
        break
      case 'start-daemon':
        this.#startDaemon(new Given(command, options, others))
        break
      case 'clear':
        new Given(command, options, others).only([])
        if (this.#services.length > 0) {
          throw new LineError(
            command.column,
            `${command.shown} empties the table in the middle of it: it can only come before the first service`,
          )
        }
        break
      default:
        throw new LineError(
          command.column,
          `${command.shown} is no part of a table: lines say what there is, with -A, -a, --set and --start-daemon`,
        )
    }
  }

  async #addService(given: Given): Promise<void> {
    given.only([...SERVICE_KEY_OPTIONS, ...SERVICE_OPTIONS])
    const key = await this.#serviceKey(given)
    const service: DraftService = { ...key, scheduler: given.named('scheduler') ?? 'wlc' }
    const flags = schedulerFlags(given, service.scheduler as string)
    if (flags.length > 0) service.schedulerFlags = flags
    const ops = given.find('ops')
    if (ops !== undefined) {
      if (key.protocol !== 'udp' && key.protocol !== 'fwmark') {
        throw new LineError(ops.column, `${ops.shown} is for UDP and firewall marks alone`)
      }
      service.onePacket = true
    }
    const persistent = given.find('persistent')
    // Without persistence a mask means nothing, and ipvsadm takes it all the same.
    const netmask = readNetmask(given, key)
    if (persistent !== undefined) {
      const timeoutSeconds =
        persistent.value === undefined ? PERSISTENT_SECONDS : wholeOf(persistent, 1, MAX_TIMEOUT_SECONDS)
      service.persistence = { timeoutSeconds, netmask }
    }
    const engine = given.named('pe')
    if (engine !== undefined) service.persistenceEngine = engine
    this.#services.push(service)
    this.#places.set(service, this.#place)
    const name = formatServiceKey(key)
    if (!this.#byKey.has(name)) this.#byKey.set(name, service)
  }

  async #addServer(given: Given): Promise<void> {
    given.only([...SERVICE_KEY_OPTIONS, ...SERVER_OPTIONS])
    const key = await this.#serviceKey(given)
    const service = this.#byKey.get(formatServiceKey(key))
    if (service === undefined) {
      throw new LineError(
        given.command.column,
        `no -A line before this one adds the virtual service ${formatServiceKey(key)}`,
      )
    }
    const endpoint = given.required('real-server')
    const read = await this.#endpoint(endpoint, key.protocol === 'fwmark' ? 'tcp' : key.protocol)
    if (read.port === undefined && endpoint.column < given.serviceColumn && key.protocol !== 'fwmark') {
      throw new LineError(
        endpoint.column,
        `${endpoint.shown} without a port comes after the virtual service: before it, ipvsadm takes port 0`,
      )
    }
    const method: ForwardingMethod =
      given.find('masquerading') !== undefined
        ? 'masquerade'
        : given.find('ipip') !== undefined
          ? 'tunnel'
          : 'direct'
    const servicePort = key.protocol === 'fwmark' ? 0 : key.port
    // ipvsadm gives what is not rewritten the port of the service, whatever the line says.
    const ownPort = key.protocol === 'fwmark' || method === 'masquerade'
    const upperThreshold = given.whole('u-threshold', 0, INT_MAX) ?? 0
    const lowerThreshold = given.whole('l-threshold', 0, INT_MAX) ?? 0
    const tunnel = readTunnel(given, method)
    const server: RealServerSpec = {
      address: read.address,
      port: ownPort ? (read.port ?? servicePort) : servicePort,
      method,
      weight: given.whole('weight', 0, INT_MAX) ?? 1,
      ...(upperThreshold !== 0 && { upperThreshold }),
      ...(lowerThreshold !== 0 && { lowerThreshold }),
      ...(tunnel !== undefined && { tunnel }),
    }
    service.realServers ??= []
    service.realServers.push(server)
    this.#places.set(server, this.#place)
  }

  #setTimeouts(given: Given, words: readonly Word[]): void {
    given.only([])
    if (words.length !== 3) {
      throw new LineError(
        (words[3] ?? given.command).column,
        `--set takes three timeouts in seconds, tcp, tcpfin and udp, got ${String(words.length)}`,
      )
    }
    const [tcpSeconds = 0, tcpFinSeconds = 0, udpSeconds = 0] = words.map(({ text, column }) =>
      wholeNumber(text, '--set', column, 0, MAX_TIMEOUT_SECONDS),
    )
    // 0 keeps what there is.
    this.#timeouts = {
      ...this.#timeouts,
      ...(tcpSeconds !== 0 && { tcpSeconds }),
      ...(tcpFinSeconds !== 0 && { tcpFinSeconds }),
      ...(udpSeconds !== 0 && { udpSeconds }),
    }
    this.#places.set(this.#timeouts, this.#place)
  }

  #startDaemon(given: Given): void {
    given.only(DAEMON_OPTIONS)
    const state = given.command.value
    if (state !== 'master' && state !== 'backup') {
      throw new LineError(
        given.command.valueColumn,
        `${given.command.shown} takes 'master' or 'backup', got '${state ?? ''}'`,
      )
    }
    const maxLengthBytes = given.whole('sync-maxlen', 1, 65507)
    const multicastGroup = given.value('mcast-group')
    const multicastPort = given.whole('mcast-port', 1, 65535)
    const multicastTtl = given.whole('mcast-ttl', 1, 255)
    const daemon: SyncDaemonSpec = {
      state,
      multicastInterface: given.named('mcast-interface') ?? 'eth0',
      syncId: given.whole('syncid', 0, 255) ?? 0,
      ...(maxLengthBytes !== undefined && { maxLengthBytes }),
      ...(multicastGroup !== undefined && { multicastGroup }),
      ...(multicastPort !== undefined && { multicastPort }),
      ...(multicastTtl !== undefined && { multicastTtl }),
    }
    this.#daemons.push(daemon)
    this.#places.set(daemon, this.#place)
  }

  async #serviceKey(given: Given): Promise<ServiceKey> {
    const option = given.service
    const ipv6 = given.find('ipv6')
    if (option.option.name === 'fwmark-service') {
      if (ipv6 !== undefined && ipv6.column < option.column) {
        throw new LineError(ipv6.column, `${ipv6.shown} comes after ${option.shown}`)
      }
      // ipvsadm prints marks from 2^31 on as negative numbers, and then does not take them back.
      const mark = wholeOf(option, -INT_MAX - 1, 0xffffffff)
      if (mark === 0) throw new LineError(option.valueColumn, 'a firewall mark is 1 to 4294967295, got 0')
      return { protocol: 'fwmark', fwmark: mark >>> 0, family: ipv6 === undefined ? 'ipv4' : 'ipv6' }
    }
    if (ipv6 !== undefined) {
      throw new LineError(ipv6.column, `${ipv6.shown} goes with a firewall mark; an address says what it is`)
    }
    const protocol =
      option.option.name === 'tcp-service' ? 'tcp' : option.option.name === 'udp-service' ? 'udp' : 'sctp'
    const { address, port = 0 } = await this.#endpoint(option, protocol)
    return checkServiceKey({ protocol, address, port })
  }

  /** Reads ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT, or names for either. */
  async #endpoint(
    given: GivenOption,
    protocol: 'tcp' | 'udp' | 'sctp' | number,
  ): Promise<{ address: string; port?: number }> {
    const { value = '', valueColumn: column, shown } = given
    const colon = value.lastIndexOf(':')
    if (value.indexOf(':') < colon && isIPv6(value)) return { address: canonicalAddress(value) }
    const brackets = /^\[([^\]]*)\](.*)$/.exec(value)
    let host = colon < 0 ? value : value.slice(0, colon)
    let portText = colon < 0 ? undefined : value.slice(colon + 1)
    if (brackets !== null) {
      const [, inside = '', rest = ''] = brackets
      if (!rest.startsWith(':')) {
        throw new LineError(
          column,
          `${shown} takes [ADDRESS]:PORT, or an IPv6 address without brackets, got '${value}'`,
        )
      }
      if (!inside.includes(':') && IPV4_LIKE.test(inside)) {
        throw new LineError(column, `ipvsadm drops the port of '${value}': an IPv4 address has no brackets`)
      }
      host = inside
      portText = rest.slice(1)
    }
    const address = await this.#address(host, given, brackets !== null)
    if (portText === undefined) return { address }
    return {
      address,
      port: await this.#port(portText, given, protocol, column + value.length - portText.length),
    }
  }

  async #address(
    host: string,
    { value = '', valueColumn: column, shown }: GivenOption,
    ipv6: boolean,
  ): Promise<string> {
    if (isIPv4(host)) return ownText(host)
    if (isIPv6(host) && ipv6) return canonicalAddress(host)
    if (IPV4_LIKE.test(host) || host === '' || !/^[\w.-]+$/.test(host)) {
      throw new LineError(
        column,
        `${shown} takes an address such as 192.0.2.10:80 or [2001:db8::1]:80, in full, got '${value}'`,
      )
    }
    const { lookupHost } = this.#lookups
    if (lookupHost === undefined) {
      throw new LineError(
        column,
        `'${host}' is a host's name: give lookupHost, or write the address, as \`ipvsadm -Sn\` does`,
      )
    }
    const family = ipv6 ? 'ipv6' : 'ipv4'
    const shownHost = ipv6 ? `[${host}]` : host
    const address = await lookedUp('lookupHost', shownHost, column, () => lookupHost(host, family))
    if (address === undefined) {
      throw new LineError(column, `no ${ipv6 ? 'IPv6 ' : ''}host '${shownHost}' was found`)
    }
    if (!isIPv4(address) && !isIPv6(address)) {
      throw new LineError(column, `lookupHost gave '${address}' for '${shownHost}', which is no address`)
    }
    if (familyOfAddress(address) !== family) {
      throw new LineError(
        column,
        `lookupHost gave '${address}' for '${shownHost}': a name in brackets means an IPv6 host, and without an IPv4 host`,
      )
    }
    return canonicalAddress(address)
  }

  async #port(
    text: string,
    { shown }: GivenOption,
    protocol: 'tcp' | 'udp' | 'sctp' | number,
    column: number,
  ): Promise<number> {
    // Services may begin with a digit, such as 9pfs.
    if (WHOLE.test(text) || text === '') return wholeNumber(text, `the port of ${shown}`, column, 0, 65535)
    const { lookupService } = this.#lookups
    if (lookupService === undefined) {
      throw new LineError(
        column,
        `'${text}' is a service's name: give lookupService, or write the port, as \`ipvsadm -Sn\` does`,
      )
    }
    const port =
      typeof protocol === 'number'
        ? undefined
        : await lookedUp('lookupService', text, column, () => lookupService(text, protocol))
    if (port === undefined) throw new LineError(column, `no ${String(protocol)} service '${text}' was found`)
    if (!Number.isInteger(port) || port < 0 || port > 65535) {
      throw new LineError(column, `lookupService gave ${String(port)} for '${text}', which is no port`)
    }
    return port
  }
}

/** The options of a line, each at most once. */
class Given {
  readonly command: GivenOption
  readonly #options = new Map<string, GivenOption>()
  #service: GivenOption | undefined

  constructor(command: GivenOption, options: readonly GivenOption[], others: readonly Word[]) {
    this.command = command
    const sets = new Map<string, string>()
    for (const given of options) {
      const { name, set = name } = given.option
      // Without effect, or none that differs when it comes again.
      if (given === command || name === 'sort') continue
      const before = sets.get(set)
      if (before !== undefined && name !== 'ipv6') {
        const what =
          set === name ? `${given.shown} comes twice` : `one ${set}, not ${before} and ${given.shown}`
        throw new LineError(given.column, what)
      }
      sets.set(set, given.shown)
      this.#options.set(name, given)
      if (set === 'service') this.#service = given
    }
    const [word] = others
    if (word !== undefined) throw new LineError(word.column, `'${word.text}' belongs to no option`)
  }

  /** Refuses options that the command does not have. */
  only(names: readonly string[]): void {
    for (const [name, { shown, column }] of this.#options) {
      if (!names.includes(name))
        throw new LineError(column, `${shown} does not go with ${this.command.shown}`)
    }
  }

  find(name: string): GivenOption | undefined {
    return this.#options.get(name)
  }

  value(name: string): string | undefined {
    const value = this.#options.get(name)?.value
    return value === undefined ? undefined : ownText(value)
  }

  /** The value of an option that, if it is empty, is as good as absent. */
  named(name: string): string | undefined {
    const value = this.value(name)
    return value === '' ? undefined : value
  }

  whole(name: string, least: number, most: number): number | undefined {
    const given = this.#options.get(name)
    return given === undefined ? undefined : wholeOf(given, least, most)
  }

  required(name: string): GivenOption {
    const given = this.#options.get(name)
    if (given === undefined) throw new LineError(this.command.column, `${this.command.shown} needs --${name}`)
    return given
  }

  get service(): GivenOption {
    if (this.#service !== undefined) return this.#service
    throw new LineError(
      this.command.column,
      `${this.command.shown} needs a virtual service: -t, -u, --sctp-service or -f`,
    )
  }

  get serviceColumn(): number {
    return this.service.column
  }
}

/** What the caller's function gives; what it throws comes with the place of the name. */
async function lookedUp<T>(
  what: keyof Lookups,
  name: string,
  column: number,
  look: () => T | Promise<T>,
): Promise<T> {
  try {
    return await look()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new LineError(column, `${what} failed for '${name}': ${why}`, { cause })
  }
}

/** The word `ipvsadm`, or a path to it. */
export function isProgram(word: string): boolean {
  return word === 'ipvsadm' || word.endsWith('/ipvsadm')
}

function wholeOf({ value = '', shown, valueColumn }: GivenOption, least: number, most: number): number {
  return wholeNumber(value, shown, valueColumn, least, most)
}

const WHOLE = /^\s*[+-]?\d+$/

function wholeNumber(text: string, what: string, column: number, least: number, most: number): number {
  const value = WHOLE.test(text) ? Number(text) : NaN
  if (value >= least && value <= most) return value
  throw new LineError(
    column,
    `${what} takes a whole number ${String(least)} to ${String(most)}, got '${text}'`,
  )
}

function readNetmask(given: Given, key: ServiceKey): string | number {
  const option = given.find('netmask')
  const family = familyOfService(key)
  if (option === undefined) return family === 'ipv6' ? 128 : '255.255.255.255'
  const { value = '', valueColumn, shown } = option
  if (family === 'ipv4') {
    if (isIPv4(value)) return ownText(value)
    throw new LineError(
      valueColumn,
      `${shown} takes a mask such as 255.255.255.0, in full, got '${value}'` +
        (/^\d+$/.test(value) ? `, which ipvsadm reads as 0.0.0.${value}` : ''),
    )
  }
  const after = given.find('ipv6') ?? given.service
  if (option.column < after.column) {
    throw new LineError(option.column, `${shown} comes after ${after.shown}: before it, ipvsadm loses it`)
  }
  return wholeOf(option, 1, 128)
}

const FLAG_NAMES = ['flag-1', 'flag-2', 'flag-3', 'sh-fallback', 'sh-port', 'mh-fallback', 'mh-port']

function schedulerFlags(given: Given, scheduler: string): SchedulerFlag[] {
  const option = given.find('sched-flags')
  const flags = new Set<SchedulerFlag>()
  for (const flag of (option?.value ?? '').split(',')) {
    if (flag === '') continue
    const { valueColumn: column } = option as GivenOption
    if (!FLAG_NAMES.includes(flag)) throw new LineError(column, `no scheduler has a flag '${flag}'`)
    if (!flag.startsWith('flag-') && !flag.startsWith(`${scheduler}-`)) {
      throw new LineError(column, `'${flag}' is not a flag of scheduler '${scheduler}'`)
    }
    flags.add(flag as SchedulerFlag)
  }
  return [...flags]
}

const CHECKSUMS = { 'tun-nocsum': 'none', 'tun-csum': 'csum', 'tun-remcsum': 'remcsum' } as const

function readTunnel(given: Given, method: ForwardingMethod): Tunnel | undefined {
  const type = given.find('tun-type')
  const port = given.find('tun-port')
  const names = ['tun-nocsum', 'tun-csum', 'tun-remcsum'] as const
  const name = names.find((option) => given.find(option) !== undefined)
  const checksum = name === undefined ? undefined : given.find(name)
  const any = type ?? port ?? checksum
  if (method !== 'tunnel') {
    if (any === undefined) return undefined
    throw new LineError(any.column, `${any.shown} goes with method -i alone`)
  }
  const { value: typeName = 'ipip' } = type ?? {}
  if (typeName !== 'ipip' && typeName !== 'gue' && typeName !== 'gre') {
    throw new LineError(
      (type as GivenOption).valueColumn,
      `--tun-type takes ipip, gue or gre, got '${typeName}'`,
    )
  }
  const refused =
    typeName === 'ipip'
      ? (port ?? checksum)
      : typeName === 'gre'
        ? (port ?? given.find('tun-remcsum'))
        : undefined
  if (refused !== undefined)
    throw new LineError(refused.column, `${refused.shown} does not go with tunnel type ${typeName}`)
  if (typeName === 'gue' && port === undefined) {
    throw new LineError((type as GivenOption).column, 'tunnel type gue needs --tun-port')
  }
  return {
    type: typeName,
    ...(port !== undefined && { port: wholeOf(port, 1, 65535) }),
    ...(name !== undefined && name !== 'tun-nocsum' && { checksum: CHECKSUMS[name] }),
  }
}

/** Digits, dots and what else numbers are made of: no host's name, though ipvsadm would read some of it. */
const IPV4_LIKE = /^(?:0x[\da-f]*|\d+)(?:\.(?:0x[\da-f]*|\d*))*$/i
