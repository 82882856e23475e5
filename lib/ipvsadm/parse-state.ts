import { familyOfService } from '../model/address.ts'
import { DEFAULT_METHOD, DEFAULT_SCHEDULER, DEFAULT_WEIGHT } from '../model/defaults.ts'
import { endpointName, serviceName } from '../model/keys.ts'
import { FWMARK, INT, SPEC_LIMITS } from '../model/ranges.ts'
import type {
  RealServerSpec,
  ServiceKey,
  ServiceSpec,
  State,
  SyncDaemonSpec,
  Timeouts,
} from '../model/types.ts'
import { checkServiceKey, needsPersistence, reachesFamily } from '../model/validate.ts'
import type { StatePath } from '../state/path.ts'
import { slices } from '../util/pace.ts'
import { EndpointReader, type Lookups } from './endpoints.ts'
import {
  Given,
  readMulticastGroup,
  readNetmask,
  readOptions,
  readThresholds,
  readTunnel,
  schedulerFlags,
  wholeNumber,
  wholeOf,
} from './given.ts'
import { LineError } from './line-error.ts'
import { DAEMON_OPTIONS, DEFAULT_INTERFACE, isDaemonState, PERSISTENT_SECONDS, RANGES } from './options.ts'
import { serverPort, TIMEOUT_ORDER, timeoutsToSet } from './rules.ts'
import { splitQuotedWords, type Word } from './words.ts'

/**
 * Lines as `ipvsadm -S` prints and `ipvsadm -R` takes them. A line has the
 * meaning that it has there, or is refused: if ipvsadm reads it as something
 * other than it seems to say (a port that it drops, `-M 24`), the error says so.
 */

/** The state that lines describe, and where each part of it comes from. */
interface ParsedLines {
  readonly state: State
  /** Line and column of the value at a path, or of the nearest value around it. */
  readonly placeOf: (path: StatePath) => Place
}

interface Place {
  readonly line: number
  readonly column: number
}

type Draft<T> = { -readonly [K in keyof T]: T[K] }
type DraftService = Draft<ServiceSpec> & { realServers?: RealServerSpec[] }

/** A virtual service, with the facts that later lines need. */
interface AddedService {
  readonly service: DraftService
  readonly path: StatePath
  readonly line: number
  /** Line of each of its real servers, by address and port. */
  readonly serverLines: Map<string, number>
}

/** Reads all lines. `failed` makes the error that is thrown of a LineError. */
export async function parseLines(
  text: string,
  lookups: Lookups,
  signal: AbortSignal | undefined,
  failed: (error: LineError, line: number) => Error,
): Promise<ParsedLines> {
  const reader = new LineReader(lookups)
  let number = 0
  for await (const blocks of slices(blocksOf(text), signal)) {
    for (const block of blocks) {
      for (const line of block.split('\n')) {
        number += 1
        try {
          await reader.read(line, number)
        } catch (error) {
          throw error instanceof LineError ? failed(error, number) : error
        }
      }
    }
  }
  return reader
}

/** Characters of a few lines. To split a long text into single lines takes too long at once. */
const BLOCK_LENGTH = 256

/** A text in blocks of whole lines, without the newline after each block. */
function blocksOf(text: string): string[] {
  const blocks: string[] = []
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf('\n', start + BLOCK_LENGTH)
    const end = newline < 0 ? text.length - (text.endsWith('\n') ? 1 : 0) : newline
    blocks.push(text.slice(start, end))
    start = newline < 0 ? text.length : newline + 1
  }
  return blocks
}

class LineReader implements ParsedLines {
  readonly #endpoints: EndpointReader
  readonly #services: DraftService[] = []
  readonly #byKey = new Map<string, AddedService>()
  readonly #places = new Map<unknown, Place>()
  readonly #daemons: SyncDaemonSpec[] = []
  readonly #daemonLines = new Map<string, number>()
  #timeouts: Partial<Timeouts> | undefined
  #place: Place = { line: 1, column: 1 }

  constructor(lookups: Lookups) {
    this.#endpoints = new EndpointReader(lookups)
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
    const words = splitQuotedWords(line)
    if (words[0] !== undefined && isProgram(words[0].text)) words.shift()
    const [first] = words
    if (first === undefined) return
    this.#place = { line: number, column: first.column }
    const { options, others } = readOptions(words)
    const command = options[0]
    if (command?.option.command === undefined) {
      throw new LineError(first.column, 'a line must begin with a command of ipvsadm, such as -A or -a')
    }
    for (const { option, shown, column } of options.slice(1)) {
      if (option.command !== undefined) {
        throw new LineError(column, `a line has one command: ${shown} comes after ${command.shown}`)
      }
    }
    switch (command.option.command) {
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
      case 'flush':
        new Given(command, options, others)
        if (this.#services.length > 0) {
          throw new LineError(
            command.column,
            `${command.shown} would empty the table: it may only come before the first service`,
          )
        }
        break
      default:
        throw new LineError(
          command.column,
          `${command.shown} does not describe a table; only -A, -a, --set and --start-daemon lines are allowed`,
        )
    }
  }

  async #addService(given: Given): Promise<void> {
    const key = await this.#serviceKey(given)
    const path = ['services', this.#services.length]
    const scheduler = given.kernelName('scheduler', [...path, 'scheduler']) ?? DEFAULT_SCHEDULER
    const service: DraftService = { ...key, scheduler }
    const flags = schedulerFlags(given, scheduler)
    if (flags.length > 0) service.schedulerFlags = flags
    // For TCP too: ipvsadm takes it only for UDP, but prints it if another program has set it.
    if (given.find('ops') !== undefined) service.onePacket = true
    const persistent = given.find('persistent')
    // Without persistence a mask means nothing, but ipvsadm takes it.
    const netmask = readNetmask(given, key)
    if (persistent !== undefined) {
      // ipvsadm takes 1 second to 31 days, and prints any number.
      const timeoutSeconds =
        persistent.value === undefined
          ? PERSISTENT_SECONDS
          : wholeOf(persistent, SPEC_LIMITS.persistenceSeconds)
      service.persistence = { timeoutSeconds, netmask }
    }
    const engine = given.kernelName('pe', [...path, 'persistenceEngine'])
    if (engine !== undefined) service.persistenceEngine = engine
    if (needsPersistence(key) && persistent === undefined) {
      throw new LineError(
        given.service.valueColumn,
        'port 0 means every port, and works only with persistence: give -p, or another port',
        { path: [...path, 'port'] },
      )
    }
    const name = serviceName(key)
    this.#refuseTwice(name, this.#byKey.get(name)?.line, path)
    this.#byKey.set(name, { service, path, line: this.#place.line, serverLines: new Map() })
    this.#services.push(service)
    this.#places.set(service, this.#place)
  }

  async #addServer(given: Given): Promise<void> {
    const key = await this.#serviceKey(given)
    const added = this.#byKey.get(serviceName(key))
    if (added === undefined) {
      throw new LineError(
        given.command.column,
        `no -A line before this one adds the virtual service ${serviceName(key)}`,
      )
    }
    const endpoint = given.required('real-server')
    const read = await this.#endpoints.read(endpoint, given.protocol)
    if (read.port === undefined && endpoint.column < given.service.column && key.protocol !== 'fwmark') {
      throw new LineError(
        endpoint.column,
        `${endpoint.shown} without a port must come after the virtual service: before it, ipvsadm takes port 0`,
      )
    }
    const option = given.find('forwarding-method')
    const method = option?.option.method ?? DEFAULT_METHOD
    const port = serverPort(key, method, read.port)
    const servers = (added.service.realServers ??= [])
    const path = [...added.path, 'realServers', servers.length]
    const { upperThreshold, lowerThreshold } = readThresholds(given, path)
    const tunnel = readTunnel(given, method)
    const server: RealServerSpec = {
      address: read.address,
      port,
      method,
      weight: given.whole('weight') ?? DEFAULT_WEIGHT,
      ...(upperThreshold !== 0 && { upperThreshold }),
      ...(lowerThreshold !== 0 && { lowerThreshold }),
      ...(tunnel !== undefined && { tunnel }),
    }
    if (!reachesFamily(method, read, key)) {
      throw new LineError(
        (option ?? endpoint).valueColumn,
        `the method must be -i for a real server of another family than its virtual service ` +
          `(${read.address}, service ${familyOfService(key)}), got ${option?.shown ?? '-g'}`,
        { path: [...path, 'method'] },
      )
    }
    const name = endpointName(read.address, port)
    this.#refuseTwice(name, added.serverLines.get(name), path)
    added.serverLines.set(name, this.#place.line)
    servers.push(server)
    this.#places.set(server, this.#place)
  }

  /** Refuses a name that an earlier line has already. */
  #refuseTwice(name: string, before: number | undefined, path: StatePath): void {
    if (before === undefined) return
    const reason = `${name} appears twice: it is already on line ${String(before)}`
    throw new LineError(this.#place.column, reason, { path })
  }

  #setTimeouts(given: Given, words: readonly Word[]): void {
    const wanted = TIMEOUT_ORDER.length
    if (words.length !== wanted) {
      throw new LineError(
        (words[wanted] ?? given.command).column,
        `--set takes three timeouts in seconds, tcp, tcpfin and udp, got ${String(words.length)}`,
      )
    }
    const seconds = words.map(({ text, column }) => wholeNumber(text, '--set', column, RANGES.set))
    this.#timeouts = { ...this.#timeouts, ...timeoutsToSet(seconds) }
    this.#places.set(this.#timeouts, this.#place)
  }

  #startDaemon(given: Given): void {
    const state = given.command.value
    if (!isDaemonState(state)) {
      throw new LineError(
        given.command.valueColumn,
        `${given.command.shown} takes 'master' or 'backup', got '${state ?? ''}'`,
      )
    }
    const path = ['syncDaemons', this.#daemons.length]
    const daemon: Draft<SyncDaemonSpec> = {
      state,
      multicastInterface:
        given.kernelName('mcast-interface', [...path, 'multicastInterface']) ?? DEFAULT_INTERFACE,
      syncId: 0,
    }
    for (const name of ['syncid', 'sync-maxlen', 'mcast-port', 'mcast-ttl'] as const) {
      const number = given.whole(name)
      if (number !== undefined) daemon[DAEMON_OPTIONS[name]] = number
    }
    const multicastGroup = readMulticastGroup(given, [...path, 'multicastGroup'])
    if (multicastGroup !== undefined) daemon.multicastGroup = multicastGroup
    this.#refuseTwice(state, this.#daemonLines.get(state), path)
    this.#daemonLines.set(state, this.#place.line)
    this.#daemons.push(daemon)
    this.#places.set(daemon, this.#place)
  }

  async #serviceKey(given: Given): Promise<ServiceKey> {
    const { service: option, protocol } = given
    const ipv6 = given.find('ipv6')
    if (protocol === 'fwmark') {
      if (ipv6 !== undefined && ipv6.column < option.column) {
        throw new LineError(ipv6.column, `${ipv6.shown} must come after ${option.shown}`)
      }
      // ipvsadm prints marks from 2^31 on as negative numbers, and then does not take them back.
      const mark = wholeOf(option, [-INT[1] - 1, FWMARK[1]])
      if (mark === 0)
        throw new LineError(option.valueColumn, `a firewall mark is ${FWMARK.join(' to ')}, got 0`)
      return { protocol, fwmark: mark >>> 0, family: ipv6 === undefined ? 'ipv4' : 'ipv6' }
    }
    if (ipv6 !== undefined) {
      throw new LineError(
        ipv6.column,
        `${ipv6.shown} goes only with a firewall mark; an address has its family`,
      )
    }
    const { address, port = 0 } = await this.#endpoints.read(option, protocol)
    return checkServiceKey({ protocol, address, port })
  }
}

/** The word `ipvsadm`, or a path to it. */
export function isProgram(word: string): boolean {
  return word === 'ipvsadm' || word.endsWith('/ipvsadm')
}
