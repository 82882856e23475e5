import { canonicalAddress, formatIPv4, isIPv4, isIPv6, isMulticast } from '../model/address.ts'
import { DEFAULT_SCHEDULER } from '../model/defaults.ts'
import type {
  Family,
  RealServerKey,
  RealServerSpec,
  ServiceKey,
  ServiceSettings,
  SyncDaemonSpec,
  SyncDaemonState,
  Tunnel,
} from '../model/types.ts'
import { isModuleName } from '../model/validate.ts'
import { readLooseInteger, readLooseIPv4, readNumber } from './numbers.ts'
import {
  type CommandName,
  type FlagBit,
  isTunnelType,
  type Key,
  MAX_SECONDS,
  type OptionDefinition,
  PERSISTENT_SECONDS,
  SCHEDULER_FLAGS,
  TUNNEL_OPTIONS,
  type TunnelType,
  wrongOption,
  wrongTunnelOption,
} from './options.ts'
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
      readonly server: RealServerSpec & Required<RealServerKey>
    }
  | { readonly command: 'delete-server'; readonly key: ServiceKey; readonly server: Required<RealServerKey> }
  | { readonly command: 'zero'; readonly key?: ServiceKey }
  | { readonly command: 'set'; readonly seconds: readonly [tcp: number, tcpFin: number, udp: number] }
  | { readonly command: 'start-daemon'; readonly daemon: SyncDaemonSpec }
  | { readonly command: 'stop-daemon'; readonly state: SyncDaemonState }
  | { readonly command: 'list'; readonly key?: ServiceKey; readonly options: ReadonlySet<Key> }
  | { readonly command: 'save'; readonly options: ReadonlySet<Key> }
  | { readonly command: 'flush' }
  | { readonly command: 'restore' | 'help' | 'version' }

/** A line that ipvsadm refuses. */
export class Refusal extends Error {
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
 * Throws {@link Refusal}, and HostWanted where a host must be looked up first.
 */
export function readLine(words: readonly string[], options: LineOptions): Action {
  return new Line(words, options).read()
}

type Endpoint = { readonly family: Family; readonly address: string; readonly port?: number }

class Line {
  readonly #words: readonly string[]
  readonly #options: OptionReader
  readonly #program: string
  readonly #names: NameReader
  readonly #nested: boolean

  readonly #given = new Set<Key>()
  #family: Family = 'ipv4'
  /** For names of ports. Undefined before the service is named; a firewall mark counts as TCP. */
  #protocol: 'tcp' | 'udp' | 'sctp' | undefined
  #fwmark = 0
  #address = '0.0.0.0'
  #port = 0

  #scheduler = ''
  #flagNames: string | undefined
  #persistence: number | undefined
  #netmask: string | number = '255.255.255.255'
  #engine = ''

  #server: Required<Endpoint> | undefined
  #method: 'direct' | 'tunnel' | 'masquerade' = 'direct'
  #weight = 1
  #upper = 0
  #lower = 0
  #tunnel: TunnelType = 'ipip'
  #tunnelPort = 0

  readonly #daemon: { -readonly [Field in keyof Omit<SyncDaemonSpec, 'state'>]: SyncDaemonSpec[Field] } = {
    multicastInterface: '',
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
    const seconds = command === 'set' ? readTimeouts(others.splice(0, 3)) : undefined
    const [left] = others
    if (left !== undefined) throw new Refusal(`unexpected argument ${left}`)
    const flags = this.#readFlags()
    const wrong = wrongOption(command, this.#given)
    if (wrong !== undefined) throw new Refusal(wrong)

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
        const { address, port } = this.#server as Required<Endpoint>
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
        return { command, seconds: seconds ?? [0, 0, 0] }
      case 'start-daemon':
        return {
          command,
          daemon: { ...this.#daemon, state: this.#state, multicastInterface: this.#interface() },
        }
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
      if (given?.value !== 'master' && given?.value !== 'backup') {
        throw new Refusal(
          command === 'start-daemon'
            ? 'illegal start-daemon parameter specified'
            : 'illegal start_daemon specified',
        )
      }
      this.#state = given.value
    }
    return command
  }

  #usage(): Refusal {
    const program = this.#program
    return new Refusal(`Try \`${program} -h' or '${program} --help' for more information.`, { status: 255 })
  }

  #readOptions(): void {
    for (;;) {
      let given: GivenOption | undefined
      try {
        given = this.#options.next()
      } catch (error) {
        if (error instanceof OptionError) throw new Refusal(error.message, { status: 255, stops: false })
        throw error
      }
      if (given === undefined) return
      const { option, value } = given
      if (option.command !== undefined) throw new Refusal(`invalid option \`${this.#options.last}'`)
      if (option.key !== undefined) {
        if (this.#given.has(option.key)) throw new Refusal(`multiple '${option.key}' options specified`)
        this.#given.add(option.key)
      }
      this.#readOption(option, value)
    }
  }

  #readOption(option: OptionDefinition, given: string | undefined): void {
    const value = given ?? ''
    switch (option.long) {
      case 'tcp-service':
      case 'udp-service':
      case 'sctp-service': {
        this.#protocol =
          option.long === 'tcp-service' ? 'tcp' : option.long === 'udp-service' ? 'udp' : 'sctp'
        const endpoint = this.#endpoint(value)
        if (endpoint === undefined) throw new Refusal('illegal virtual server address[:port] specified')
        this.#family = endpoint.family
        this.#address = endpoint.address
        this.#port = endpoint.port ?? 0
        if (endpoint.family === 'ipv6') this.#netmask = 128
        return
      }
      case 'fwmark-service':
        // The ports of its servers may have names, as if it was TCP.
        this.#protocol = 'tcp'
        this.#fwmark = numberOf(option, value, `invalid fwmark value \`${value}' specified`)
        return
      case 'ipv6':
        if (this.#fwmark === 0) throw new Refusal('-6 used before -f\n')
        this.#family = 'ipv6'
        this.#netmask = 128
        return
      case 'scheduler':
        this.#scheduler = cut(value, 15)
        return
      case 'persistent':
        this.#persistence =
          given === undefined
            ? PERSISTENT_SECONDS
            : numberOf(option, value, `invalid timeout value \`${value}' specified`)
        return
      case 'netmask':
        this.#netmask = this.#readNetmask(value)
        return
      case 'real-server': {
        const endpoint = this.#endpoint(value)
        if (endpoint === undefined) throw new Refusal('illegal real server address[:port] specified')
        this.#server = { ...endpoint, port: endpoint.port ?? this.#port }
        return
      }
      case 'gatewaying':
        this.#method = 'direct'
        return
      case 'ipip':
        this.#method = 'tunnel'
        return
      case 'masquerading':
        this.#method = 'masquerade'
        return
      case 'weight':
        this.#weight = numberOf(option, value, 'illegal weight specified')
        return
      case 'u-threshold':
        this.#upper = numberOf(option, value, 'illegal u_threshold specified')
        return
      case 'l-threshold':
        this.#lower = numberOf(option, value, 'illegal l_threshold specified')
        return
      case 'pe':
        this.#engine = cut(value, 16)
        return
      case 'sched-flags':
        this.#flagNames = cut(value, 127)
        return
      case 'tun-type':
        if (!isTunnelType(value)) throw new Refusal('illegal tunnel type specified')
        this.#tunnel = value
        return
      case 'tun-port':
        this.#tunnelPort = numberOf(option, value, 'illegal tunnel port specified')
        return
      case 'mcast-interface':
        this.#daemon.multicastInterface = cut(value, 15)
        return
      case 'syncid':
        this.#daemon.syncId = numberOf(option, value, 'illegal syncid specified')
        return
      case 'mcast-group':
        this.#daemon.multicastGroup = readGroup(value)
        return
      case 'mcast-port':
        this.#daemon.multicastPort = numberOf(option, value, 'illegal mcast-port specified')
        return
      case 'mcast-ttl':
        this.#daemon.multicastTtl = numberOf(option, value, 'illegal mcast-ttl specified')
        return
      case 'sync-maxlen':
        this.#daemon.maxLengthBytes = numberOf(option, value, 'illegal sync-maxlen specified')
        return
      default:
      // The other options have no value.
    }
  }

  /** Reads ADDRESS[:PORT], [ADDRESS]:PORT or HOST[:PORT]. */
  #endpoint(text: string): Endpoint | undefined {
    if (/^\d*$/.test(text)) return undefined
    let host = text
    let port: string | undefined
    if (text.startsWith('[')) {
      const end = text.indexOf(']')
      if (end < 0 || text[end + 1] !== ':') return undefined
      host = text.slice(1, end)
      port = text.slice(end + 2)
    }
    let family: Family = 'ipv6'
    let address: string | undefined = host
    // The first test is quick, and tells almost every IPv4 address.
    if (host.indexOf(':') === host.lastIndexOf(':') || !isIPv6(host)) {
      // A port outside of brackets is no longer looked at: [10.0.0.1]:80 has none.
      family = 'ipv4'
      const colon = host.lastIndexOf(':')
      port = colon < 0 ? undefined : host.slice(colon + 1)
      address = this.#ipv4(colon < 0 ? host : host.slice(0, colon))
      if (address === undefined) return undefined
    }
    if (port === undefined) return { family, address }
    const number = this.#portNumber(port)
    return number === undefined ? undefined : { family, address, port: number }
  }

  #ipv4(host: string): string | undefined {
    // Most addresses are written as they are printed.
    if (isIPv4(host)) return host
    const number = readLooseIPv4(host)
    if (number !== undefined) return formatIPv4(number)
    return host === '' ? undefined : this.#names.addressOf(host)
  }

  #portNumber(text: string): number | undefined {
    const number = readNumber(text, 0, 65535)
    if (number !== undefined || this.#protocol === undefined) return number
    return this.#names.portOf(text, this.#protocol)
  }

  /** A mask or a prefix length, by the family of the service before it. */
  #readNetmask(value: string): string | number {
    if (this.#family === 'ipv4') {
      const mask = this.#ipv4(value)
      if (mask === undefined) throw new Refusal('illegal virtual server persistent mask specified')
      return mask
    }
    const length = readLooseInteger(value)
    if (!(length >= 1 && length <= 128)) throw new Refusal('illegal ipv6 netmask specified')
    return length
  }

  /** The bits of -b, by the names that every scheduler has for them. */
  #readFlags(): FlagBit[] {
    const scheduler = this.#schedulerName()
    const flags = (this.#flagNames ?? '').split(',').filter((name) => name !== '')
    return flags.map((name) => {
      const flag = SCHEDULER_FLAGS.get(name)
      if (flag === undefined) throw new Refusal(`invalid scheduler flag \`${name}'`)
      if (flag.scheduler !== undefined && flag.scheduler !== scheduler) {
        throw new Refusal(`incompatible scheduler flag \`${name}'`)
      }
      return flag.bit
    })
  }

  #schedulerName(): string {
    return this.#scheduler === '' ? DEFAULT_SCHEDULER : this.#scheduler
  }

  #service(flags: readonly FlagBit[]): ServiceSettings {
    if (this.#fwmark === 0) {
      if (this.#port === 0 && this.#persistence === undefined) {
        throw new Refusal('Zero port specified for non-persistent service')
      }
      if (this.#given.has('ops') && this.#protocol !== 'udp') {
        throw new Refusal('One-Packet Scheduling is only for UDP virtual services')
      }
    }
    return {
      scheduler: this.#schedulerName(),
      schedulerFlags: flags,
      onePacket: this.#given.has('ops'),
      ...(this.#persistence !== undefined && {
        persistence: { timeoutSeconds: this.#persistence, netmask: this.#netmask },
      }),
      ...(this.#engine !== '' && { persistenceEngine: this.#engine }),
    }
  }

  #serverSpec(): RealServerSpec & Required<RealServerKey> {
    const { family, address, port } = this.#server as Required<Endpoint>
    const method = this.#method
    if (family !== this.#family && method !== 'tunnel') {
      throw new Refusal('Different address family is allowed only for tunneling servers')
    }
    const tunnel = this.#readTunnel()
    const spec = {
      address,
      // With -g and -i the port is that of the service.
      port: method !== 'masquerade' && this.#fwmark === 0 ? this.#port : port,
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
    if (this.#method !== 'tunnel') throw new Refusal('Tunnel options conflict with forward method')
    const wrong = wrongTunnelOption(this.#tunnel, given)
    if (wrong !== undefined) throw new Refusal(wrong)
    return {
      type: this.#tunnel,
      port: this.#tunnelPort,
      checksum: given.has('tun-csum') ? 'csum' : given.has('tun-remcsum') ? 'remcsum' : 'none',
    }
  }

  #key(): ServiceKey {
    if (this.#fwmark !== 0) return { protocol: 'fwmark', fwmark: this.#fwmark, family: this.#family }
    return { protocol: this.#protocol ?? 'tcp', address: this.#address, port: this.#port }
  }

  /** Whether -Z is for all services: the kernel takes a service with address 0 and port 0 for no service. */
  #zeroes(): boolean {
    if (!this.#given.has('service-address')) return true
    return (
      this.#fwmark === 0 && this.#port === 0 && ['0.0.0.0', '::'].includes(canonicalAddress(this.#address))
    )
  }

  #interface(): string {
    const { multicastInterface } = this.#daemon
    return multicastInterface === '' ? 'eth0' : multicastInterface
  }
}

function numberOf(
  { range = [0, MAX_SECONDS] }: Pick<OptionDefinition, 'range'>,
  text: string,
  message: string,
): number {
  const number = readNumber(text, range[0], range[1])
  if (number === undefined) throw new Refusal(message)
  return number
}

function readTimeouts(words: readonly string[]): [number, number, number] {
  const [tcp, tcpFin, udp] = words
  if (tcp === undefined || tcpFin === undefined || udp === undefined) {
    throw new Refusal('--set option requires 3 timeout values')
  }
  const seconds = (word: string): number =>
    numberOf({ range: [0, MAX_SECONDS] }, word, `invalid timeout value \`${word}' specified`)
  return [seconds(tcp), seconds(tcpFin), seconds(udp)]
}

function readGroup(value: string): string {
  if (isMulticast(value)) return value
  throw new Refusal(`invalid ${value.includes(':') ? 'IPv6' : 'IPv4'} mcast-group \`${value}'`)
}

/** The letters of a text that fit into a number of bytes. */
function cut(text: string, bytes: number): string {
  let kept = ''
  let size = 0
  for (const letter of text) {
    size += Buffer.byteLength(letter)
    if (size > bytes) break
    kept += letter
  }
  return kept
}

/** Whether a service's scheduler and engine can be names of kernel modules. */
export function hasModuleNames({ scheduler, persistenceEngine }: ServiceSettings): boolean {
  return [scheduler, persistenceEngine].every((name) => name === undefined || isModuleName(name))
}
