import { canonicalAddress, familyOfAddress, formatIPv4, isIPv4, isMulticast } from '../model/address.ts'
import { DEFAULT_METHOD, DEFAULT_NETMASK, DEFAULT_SCHEDULER, DEFAULT_WEIGHT } from '../model/defaults.ts'
import { PORT, PREFIX_IPV6 } from '../model/ranges.ts'
import type { FlagName } from '../model/scheduler-flags.ts'
import type {
  Endpoint,
  Family,
  ForwardingMethod,
  RealServerKey,
  RealServerSpec,
  ServiceKey,
  ServiceSettings,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
  Tunnel,
} from '../model/types.ts'
import { isModuleName, needsPersistence, reachesFamily } from '../model/validate.ts'
import { readLooseInteger, readLooseIPv4, readNumber, splitAtColon, splitEndpoint } from './numbers.ts'
import {
  type CommandName,
  DAEMON_OPTIONS,
  DEFAULT_INTERFACE,
  MAX_BYTES,
  isDaemonState,
  isTunnelType,
  type Key,
  type NameOption,
  type NumberOption,
  type OptionDefinition,
  PERSISTENT_SECONDS,
  RANGES,
  type ServiceProtocol,
  TUNNEL_OPTIONS,
  type TunnelType,
  wrongOption,
  wrongTunnelOption,
} from './options.ts'
import { portNamesOf, readFlags, serverPort, takesOnePacket, TIMEOUT_ORDER, timeoutsToSet } from './rules.ts'
import { type GivenOption, OptionError, OptionReader } from './words.ts'

/*
 * One class, though long: what an option means depends on the options before
 * it, and the order of the checks is ipvsadm's.
 */

/** The action that a command line asks for, once all of it has been checked. */
export type Action =
  | {
      readonly command: 'add-service' | 'edit-service'
      readonly key: ServiceKey
      readonly service: ServiceSettings
    }
  | { readonly command: 'delete-service'; readonly key: ServiceKey }
  | {
      readonly command: 'add-server' | 'edit-server'
      readonly key: ServiceKey
      readonly server: RealServerSpec & Endpoint
    }
  | { readonly command: 'delete-server'; readonly key: ServiceKey; readonly server: Endpoint }
  | { readonly command: 'zero'; readonly key?: ServiceKey }
  | { readonly command: 'set'; readonly timeouts: Partial<Timeouts> }
  | { readonly command: 'start-daemon'; readonly daemon: SyncDaemonSpec }
  | { readonly command: 'stop-daemon'; readonly state: SyncDaemonState }
  | { readonly command: 'list'; readonly key?: ServiceKey; readonly options: ReadonlySet<Key> }
  | { readonly command: 'save'; readonly options: ReadonlySet<Key> }
  | { readonly command: 'flush' }
  | { readonly command: 'restore' | 'help' | 'version' }

/** A line that ipvsadm refuses. */
export class LineRefusal extends Error {
  /** 2 for an error that ipvsadm finds itself, 255 for one that its option library finds. */
  readonly status: number
  /** Whether it ends a restore. */
  readonly stops: boolean

  constructor(message: string, { status = 2, stops = true }: { status?: number; stops?: boolean } = {}) {
    super(message)
    this.status = status
    this.stops = stops
  }
}

/** Looks up the names in lines. */
interface NameReader {
  /** The IPv4 address of a host; `undefined` if it has none. May throw if it has to find out first: read the line again then. */
  addressOf(host: string): string | undefined
  /** The port of a service. */
  portOf(name: string, protocol: 'tcp' | 'udp' | 'sctp'): number | undefined
}

export interface LineOptions {
  /** The program's name in messages. */
  readonly program: string
  readonly names: NameReader
  readonly posix: boolean
  /** Whether this is a line of a restore, which may not hold another restore. */
  readonly nested?: boolean
}

/**
 * Reads a command line, without the program's name, as ipvsadm 1.31 does: the
 * checks come in its order, and the first that fails is what it reports.
 * Throws {@link LineRefusal}, and HostWanted where a host must be looked up first.
 */
export function readLine(words: readonly string[], options: LineOptions): Action {
  return new Line(words, options).read()
}

class Line {
  readonly #words: readonly string[]
  readonly #options: OptionReader
  readonly #program: string
  readonly #names: NameReader
  readonly #nested: boolean

  readonly #given = new Set<Key>()
  #family: Family = 'ipv4'
  #protocol: ServiceProtocol | undefined
  #fwmark = 0
  #address = '0.0.0.0'
  #port = 0

  #scheduler: string = DEFAULT_SCHEDULER
  #flagNames = ''
  #persistence: number | undefined
  #netmask: string | number = DEFAULT_NETMASK.ipv4
  #engine = ''

  #server: Endpoint | undefined
  #method: ForwardingMethod = DEFAULT_METHOD
  #weight = DEFAULT_WEIGHT
  #upper = 0
  #lower = 0
  #tunnel: TunnelType = 'ipip'
  #tunnelPort = 0
  #checksum: NonNullable<Tunnel['checksum']> = 'none'

  readonly #daemon: { -readonly [Field in keyof Omit<SyncDaemonSpec, 'state'>]: SyncDaemonSpec[Field] } = {
    multicastInterface: DEFAULT_INTERFACE,
  }
  #state: SyncDaemonState = 'master'

  constructor(words: readonly string[], { program, names, posix, nested = false }: LineOptions) {
    this.#words = words
    this.#options = new OptionReader(words, { posix })
    this.#program = program
    this.#names = names
    this.#nested = nested
  }

  read(): Action {
    const command = this.#readCommand()
    if (command === 'help' || command === 'version') return { command }
    this.#readOptions()
    const others = this.#options.others.map((index) => this.#words[index] as string)
    const timeouts = command === 'set' ? readTimeouts(others.splice(0, TIMEOUT_ORDER.length)) : {}
    const [left] = others
    if (left !== undefined) throw new LineRefusal(`unexpected argument ${left}`)
    const flags = readFlags(this.#flagNames, this.#scheduler, refuseFlag)
    const wrong = wrongOption(command, this.#given)
    if (wrong !== undefined) throw new LineRefusal(wrong)

    switch (command) {
      case 'add-service':
      case 'edit-service':
        return { command, key: this.#key(), service: this.#service(flags) }
      case 'delete-service':
        return { command, key: this.#key() }
      case 'add-server':
      case 'edit-server':
        return { command, key: this.#key(), server: this.#serverSpec() }
      case 'delete-server': {
        const { address, port } = this.#server as Endpoint
        return { command, key: this.#key(), server: { address, port } }
      }
      case 'zero':
        return this.#zeroes() ? { command } : { command, key: this.#key() }
      case 'list':
        return {
          command,
          options: this.#given,
          ...(this.#given.has('service-address') && { key: this.#key() }),
        }
      case 'save':
        return { command, options: this.#given }
      case 'set':
        return { command, timeouts }
      case 'start-daemon':
        return { command, daemon: { ...this.#daemon, state: this.#state } }
      case 'stop-daemon':
        return { command, state: this.#state }
      case 'flush':
        return { command }
      case 'restore':
        if (this.#nested) throw this.#usage()
        return { command }
    }
  }

  /** The first option must be a command. */
  #readCommand(): CommandName {
    let given: GivenOption | undefined
    try {
      given = this.#options.next()
    } catch (error) {
      if (error instanceof OptionError) throw this.#usage()
      throw error
    }
    const command = given?.option.command
    if (command === undefined) throw this.#usage()
    if (command === 'start-daemon' || command === 'stop-daemon') {
      const state = given?.value
      if (!isDaemonState(state)) {
        throw new LineRefusal(
          command === 'start-daemon'
            ? 'illegal start-daemon parameter specified'
            : 'illegal start_daemon specified',
        )
      }
      this.#state = state
    }
    return command
  }

  #usage(): LineRefusal {
    const program = this.#program
    return new LineRefusal(`Try \`${program} -h' or '${program} --help' for more information.`, {
      status: 255,
    })
  }

  #readOptions(): void {
    for (;;) {
      let given: GivenOption | undefined
      try {
        given = this.#options.next()
      } catch (error) {
        if (error instanceof OptionError) throw new LineRefusal(error.message, { status: 255, stops: false })
        throw error
      }
      if (given === undefined) return
      const { option, value } = given
      if (option.command !== undefined) throw new LineRefusal(`invalid option \`${this.#options.last}'`)
      if (option.key !== undefined) {
        if (this.#given.has(option.key)) throw new LineRefusal(`multiple '${option.key}' options specified`)
        this.#given.add(option.key)
      }
      this.#readOption(option, value)
    }
  }

  #readOption(option: OptionDefinition, given: string | undefined): void {
    // Some options say a value themselves.
    const { protocol = this.#protocol, method = this.#method, checksum = this.#checksum } = option
    this.#protocol = protocol
    this.#method = method
    this.#checksum = checksum
    const value = given ?? ''
    switch (option.long) {
      case 'tcp-service':
      case 'udp-service':
      case 'sctp-service': {
        const endpoint = this.#endpoint(value)
        if (endpoint === undefined) throw new LineRefusal('illegal virtual server address[:port] specified')
        const family = familyOfAddress(endpoint.address)
        this.#family = family
        this.#address = endpoint.address
        this.#port = endpoint.port ?? 0
        if (family === 'ipv6') this.#netmask = DEFAULT_NETMASK.ipv6
        return
      }
      case 'fwmark-service':
        this.#fwmark = numberOf(option.long, value, `invalid fwmark value \`${value}' specified`)
        return
      case 'ipv6':
        if (this.#protocol !== 'fwmark') throw new LineRefusal('-6 used before -f\n')
        this.#family = 'ipv6'
        this.#netmask = DEFAULT_NETMASK.ipv6
        return
      case 'scheduler':
        if (value !== '') this.#scheduler = nameOf(option.long, value)
        return
      case 'persistent':
        this.#persistence =
          given === undefined
            ? PERSISTENT_SECONDS
            : numberOf(option.long, value, `invalid timeout value \`${value}' specified`)
        return
      case 'netmask':
        this.#netmask = this.#readNetmask(value)
        return
      case 'real-server': {
        const endpoint = this.#endpoint(value)
        if (endpoint === undefined) throw new LineRefusal('illegal real server address[:port] specified')
        this.#server = { ...endpoint, port: endpoint.port ?? this.#port }
        return
      }
      case 'weight':
        this.#weight = numberOf(option.long, value, 'illegal weight specified')
        return
      case 'u-threshold':
        this.#upper = numberOf(option.long, value, 'illegal u_threshold specified')
        return
      case 'l-threshold':
        this.#lower = numberOf(option.long, value, 'illegal l_threshold specified')
        return
      case 'pe':
        this.#engine = nameOf(option.long, value)
        return
      case 'sched-flags':
        this.#flagNames = nameOf(option.long, value)
        return
      case 'tun-type':
        if (!isTunnelType(value)) throw new LineRefusal('illegal tunnel type specified')
        this.#tunnel = value
        return
      case 'tun-port':
        this.#tunnelPort = numberOf(option.long, value, 'illegal tunnel port specified')
        return
      case 'mcast-interface':
        if (value !== '') this.#daemon.multicastInterface = nameOf(option.long, value)
        return
      case 'mcast-group':
        this.#daemon.multicastGroup = readGroup(value)
        return
      case 'syncid':
      case 'sync-maxlen':
      case 'mcast-port':
      case 'mcast-ttl':
        this.#daemon[DAEMON_OPTIONS[option.long]] = numberOf(
          option.long,
          value,
          `illegal ${option.long} specified`,
        )
        return
      default:
      // The other options have no value.
    }
  }

  /** Reads ADDRESS[:PORT], [ADDRESS]:PORT or HOST[:PORT]. */
  #endpoint(text: string): RealServerKey | undefined {
    if (/^\d*$/.test(text)) return undefined
    const parts = splitEndpoint(text)
    if (parts === undefined) return undefined
    const { ipv6, brackets } = parts
    // If brackets hold something else, ipvsadm looks for a port in there: [10.0.0.1]:80 has none.
    const { host, port } = brackets && !ipv6 ? splitAtColon(parts.host) : parts
    const address = ipv6 ? host : this.#ipv4(host)
    if (address === undefined) return undefined
    if (port === undefined) return { address }
    const number = this.#portNumber(port)
    return number === undefined ? undefined : { address, port: number }
  }

  #ipv4(host: string): string | undefined {
    // Most addresses are written as they are printed.
    if (isIPv4(host)) return host
    const number = readLooseIPv4(host)
    if (number !== undefined) return formatIPv4(number)
    return host === '' ? undefined : this.#names.addressOf(host)
  }

  #portNumber(text: string): number | undefined {
    const number = readNumber(text, PORT)
    if (number !== undefined || this.#protocol === undefined) return number
    return this.#names.portOf(text, portNamesOf(this.#protocol))
  }

  /** A mask or a prefix length, by the family of the service before it. */
  #readNetmask(value: string): string | number {
    if (this.#family === 'ipv4') {
      const mask = this.#ipv4(value)
      if (mask === undefined) throw new LineRefusal('illegal virtual server persistent mask specified')
      return mask
    }
    const length = readLooseInteger(value)
    if (length < PREFIX_IPV6[0] || length > PREFIX_IPV6[1])
      throw new LineRefusal('illegal ipv6 netmask specified')
    return length
  }

  #service(schedulerFlags: readonly FlagName[]): ServiceSettings {
    const key = this.#key()
    const onePacket = this.#given.has('ops')
    if (needsPersistence(key) && this.#persistence === undefined) {
      throw new LineRefusal('Zero port specified for non-persistent service')
    }
    if (onePacket && !takesOnePacket(key.protocol)) {
      throw new LineRefusal('One-Packet Scheduling is only for UDP virtual services')
    }
    return {
      scheduler: this.#scheduler,
      schedulerFlags,
      onePacket,
      ...(this.#persistence !== undefined && {
        persistence: { timeoutSeconds: this.#persistence, netmask: this.#netmask },
      }),
      ...(this.#engine !== '' && { persistenceEngine: this.#engine }),
    }
  }

  #serverSpec(): RealServerSpec & Endpoint {
    const { address, port } = this.#server as Endpoint
    const key = this.#key()
    const method = this.#method
    if (!reachesFamily(method, { address }, key)) {
      throw new LineRefusal('Different address family is allowed only for tunneling servers')
    }
    const tunnel = this.#readTunnel()
    const spec = {
      address,
      port: serverPort(key, method, port),
      method,
      weight: this.#weight,
      upperThreshold: this.#upper,
      lowerThreshold: this.#lower,
    }
    return tunnel === undefined ? spec : { ...spec, tunnel }
  }

  /** `undefined` if there is no option about a tunnel. */
  #readTunnel(): Tunnel | undefined {
    const given = this.#given
    if (!TUNNEL_OPTIONS.some((key) => given.has(key))) return undefined
    if (this.#method !== 'tunnel') throw new LineRefusal('Tunnel options conflict with forward method')
    const wrong = wrongTunnelOption(this.#tunnel, given)
    if (wrong !== undefined) throw new LineRefusal(wrong)
    return { type: this.#tunnel, port: this.#tunnelPort, checksum: this.#checksum }
  }

  #key(): ServiceKey {
    const protocol = this.#protocol ?? 'tcp'
    return protocol === 'fwmark'
      ? { protocol, fwmark: this.#fwmark, family: this.#family }
      : { protocol, address: this.#address, port: this.#port }
  }

  /** Whether -Z is for all services: the kernel takes a service with address 0 and port 0 for no service. */
  #zeroes(): boolean {
    if (!this.#given.has('service-address')) return true
    const { protocol } = this.#key()
    const address = canonicalAddress(this.#address)
    return protocol !== 'fwmark' && this.#port === 0 && ['0.0.0.0', '::'].includes(address)
  }
}

function numberOf(name: NumberOption, text: string, message: string): number {
  const number = readNumber(text, RANGES[name])
  if (number === undefined) throw new LineRefusal(message)
  return number
}

function readTimeouts(words: readonly string[]): Partial<Timeouts> {
  if (words.length < TIMEOUT_ORDER.length) throw new LineRefusal('--set option requires 3 timeout values')
  return timeoutsToSet(
    words.map((word) => numberOf('set', word, `invalid timeout value \`${word}' specified`)),
  )
}

function refuseFlag(name: string, known: boolean): LineRefusal {
  return new LineRefusal(`${known ? 'incompatible' : 'invalid'} scheduler flag \`${name}'`)
}

function readGroup(value: string): string {
  if (isMulticast(value)) return value
  throw new LineRefusal(`invalid ${value.includes(':') ? 'IPv6' : 'IPv4'} mcast-group \`${value}'`)
}

/** The letters of a name that ipvsadm has room for. */
function nameOf(name: NameOption, text: string): string {
  let kept = ''
  let size = 0
  for (const letter of text) {
    size += Buffer.byteLength(letter)
    if (size > MAX_BYTES[name]) break
    kept += letter
  }
  return kept
}

/** Whether a service's scheduler and engine can be names of kernel modules. */
export function hasModuleNames({ scheduler, persistenceEngine }: ServiceSettings): boolean {
  return [scheduler, persistenceEngine].every((name) => name === undefined || isModuleName(name))
}
