import { familyOfService, isIPv4, isMulticast } from '../model/address.ts'
import { isName, show } from '../model/check.ts'
import { DEFAULT_NETMASK } from '../model/defaults.ts'
import { PREFIX_IPV6, type Range } from '../model/ranges.ts'
import type { ForwardingMethod, SchedulerFlag, ServiceKey, Tunnel } from '../model/types.ts'
import type { StatePath } from '../state/path.ts'
import { ownText } from '../util/pieces.ts'
import { LineError } from './line-error.ts'
import { readNumber } from './numbers.ts'
import {
  CHECKSUMS,
  type CommandName,
  isTunnelType,
  type Key,
  MAX_BYTES,
  type NameOption,
  type NumberOption,
  type OptionDefinition,
  RANGES,
  type ServiceProtocol,
  takes,
  tunnelNeeds,
  tunnelTakes,
} from './options.ts'
import { readFlags } from './rules.ts'
import { OptionError, OptionReader, type Word } from './words.ts'

/** The options of a line of a state: each at most once, their values checked as ipvsadm and the kernel do. */

/** An option and where it is in its line. */
export interface ShownOption {
  readonly option: OptionDefinition
  /** As it was written, for messages. */
  readonly shown: string
  readonly value: string | undefined
  /** Of the option's word. */
  readonly column: number
  /** Of its value, else of the option's word. */
  readonly valueColumn: number
}

/** The options of a line in their order, and its other words. */
export function readOptions(words: readonly Word[]): { options: ShownOption[]; others: Word[] } {
  const texts = words.map(({ text }) => text)
  const columnOf = (word: number, at = 0): number => (words[word]?.column ?? 1) + at
  const reader = new OptionReader(texts)
  const options: ShownOption[] = []
  try {
    for (let given = reader.next(); given !== undefined; given = reader.next()) {
      const { option, value, word, at, valueWord, valueAt } = given
      options.push({
        option,
        value,
        shown: shownAt(texts[word], at),
        column: columnOf(word),
        valueColumn: columnOf(valueWord, valueAt),
      })
    }
  } catch (error) {
    if (!(error instanceof OptionError)) throw error
    const { reason, word, at } = error
    const shown = shownAt(texts[word], at)
    if (reason === 'unknown option') throw new LineError(columnOf(word, at), `ipvsadm has no option ${shown}`)
    if (reason !== 'missing argument') throw new LineError(columnOf(word, at), `${shown} takes no value`)
    // `ipvsadm -S` writes flag 3 of sh and mh as -b with nothing behind it.
    if (error.option?.long !== 'sched-flags') throw new LineError(columnOf(word), `${shown} needs a value`)
    const column = columnOf(word)
    options.push({ option: error.option, shown, value: '', column, valueColumn: column })
  }
  return { options, others: reader.others.map((index) => words[index] as Word) }
}

function shownAt(text = '', at: number): string {
  if (at > 0) return `-${text.charAt(at)}`
  const equals = text.indexOf('=')
  return equals < 0 ? text : text.slice(0, equals)
}

/** The kind of value that an option itself says, as messages call it: a line has one option of each kind. */
function kindOf({ protocol, method, checksum }: OptionDefinition): string | undefined {
  if (protocol !== undefined) return 'service'
  if (method !== undefined) return 'method'
  return checksum === undefined ? undefined : 'tunnel checksum'
}

/** The name that an option counts as. -6 has none in ipvsadm. */
type GivenName = Key | 'ipv6'

/** The options of a line, each at most once. */
export class Given {
  readonly command: ShownOption
  readonly #options = new Map<GivenName, ShownOption>()

  constructor(command: ShownOption, options: readonly ShownOption[], others: readonly Word[]) {
    this.command = command
    const kinds = new Map<string, string>()
    for (const given of options) {
      const { long } = given.option
      // Without effect, or with the same effect when it comes again.
      if (given === command || long === 'sort') continue
      const name = given.option.key ?? 'ipv6'
      const kind = kindOf(given.option)
      const before = kinds.get(kind ?? name)
      if (before !== undefined && name !== 'ipv6') {
        const what =
          kind === undefined
            ? `${given.shown} appears twice`
            : `one ${kind}, not ${before} and ${given.shown}`
        throw new LineError(given.column, what)
      }
      kinds.set(kind ?? name, given.shown)
      this.#options.set(name, given)
    }
    const [word] = others
    if (word !== undefined) throw new LineError(word.column, `unexpected argument '${word.text}'`)
    for (const { option, shown, column } of this.#options.values()) {
      // -6 belongs to the virtual service.
      if (!takes(command.option.command as CommandName, option.key ?? 'service-address')) {
        throw new LineError(column, `${shown} does not go with ${command.shown}`)
      }
    }
  }

  find(name: GivenName): ShownOption | undefined {
    return this.#options.get(name)
  }

  /** A name for the kernel. An empty one counts as absent. */
  kernelName(name: Key & NameOption, path: StatePath): string | undefined {
    const given = this.#options.get(name)
    if (given?.value === undefined || given.value === '') return undefined
    const { value, shown, valueColumn } = given
    const most = MAX_BYTES[name]
    if (isName(value, most)) return ownText(value)
    throw new LineError(
      valueColumn,
      `${shown} must have 1 to ${String(most)} bytes and no NUL, got ${show(value)}`,
      { path },
    )
  }

  /** A whole number in the range that ipvsadm takes. */
  whole(name: Key & NumberOption): number | undefined {
    const given = this.#options.get(name)
    return given === undefined ? undefined : wholeOf(given, RANGES[name])
  }

  required(name: Key): ShownOption {
    const given = this.#options.get(name)
    if (given === undefined) throw new LineError(this.command.column, `${this.command.shown} needs --${name}`)
    return given
  }

  get service(): ShownOption {
    const given = this.#options.get('service-address')
    if (given !== undefined) return given
    throw new LineError(
      this.command.column,
      `${this.command.shown} needs a virtual service: -t, -u, --sctp-service or -f`,
    )
  }

  get protocol(): ServiceProtocol {
    return this.service.option.protocol as ServiceProtocol
  }
}

export function wholeOf({ value = '', shown, valueColumn }: ShownOption, range: Range): number {
  return wholeNumber(value, shown, valueColumn, range)
}

export function wholeNumber(text: string, what: string, column: number, range: Range): number {
  const value = readNumber(text, range)
  if (value !== undefined) return value
  throw new LineError(column, `${what} takes a whole number ${range.join(' to ')}, got '${text}'`)
}

export function readNetmask(given: Given, key: ServiceKey): string | number {
  const option = given.find('netmask')
  const family = familyOfService(key)
  if (option === undefined) return DEFAULT_NETMASK[family]
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
    throw new LineError(
      option.column,
      `${shown} must come after ${after.shown}: before it, ipvsadm ignores it`,
    )
  }
  return wholeOf(option, PREFIX_IPV6)
}

export function schedulerFlags(given: Given, scheduler: string): SchedulerFlag[] {
  const option = given.find('sched-flags')
  if (option === undefined) return []
  const { value = '', valueColumn } = option
  return readFlags(value, scheduler, (name, known) => {
    const reason = known
      ? `'${name}' is not a flag of scheduler '${scheduler}'`
      : `no scheduler has a flag '${name}'`
    return new LineError(valueColumn, reason)
  })
}

export function readThresholds(
  given: Given,
  path: StatePath,
): { upperThreshold: number; lowerThreshold: number } {
  const upper = given.find('u-threshold')
  const lower = given.find('l-threshold')
  const upperThreshold = given.whole('u-threshold') ?? 0
  const lowerThreshold = given.whole('l-threshold') ?? 0
  if (lower !== undefined && lowerThreshold > upperThreshold) {
    throw new LineError(
      lower.valueColumn,
      `${lower.shown} must not be above ${upper?.shown ?? '-x'} (${String(upperThreshold)}), ` +
        `got ${String(lowerThreshold)}${upper === undefined ? ': give -x as well' : ''}`,
      { path: [...path, 'lowerThreshold'] },
    )
  }
  return { upperThreshold, lowerThreshold }
}

export function readMulticastGroup(given: Given, path: StatePath): string | undefined {
  const option = given.find('mcast-group')
  if (option === undefined) return undefined
  const { value = '', valueColumn, shown } = option
  if (isMulticast(value)) return ownText(value)
  throw new LineError(
    valueColumn,
    `${shown} must be a multicast address such as 224.0.0.81 or ff02::81, got ${show(value)}`,
    { path },
  )
}

export function readTunnel(given: Given, method: ForwardingMethod): Tunnel | undefined {
  const type = given.find('tun-type')
  const port = given.find('tun-port')
  const sum = CHECKSUMS.map((key) => given.find(key)).find((option) => option !== undefined)
  const details = [port, sum].filter((one) => one !== undefined)
  if (method !== 'tunnel') {
    const [any] = [...(type === undefined ? [] : [type]), ...details]
    if (any === undefined) return undefined
    throw new LineError(any.column, `${any.shown} goes only with method -i`)
  }
  const { value: typeName = 'ipip' } = type ?? {}
  if (!isTunnelType(typeName)) {
    throw new LineError(type?.valueColumn ?? 1, `--tun-type takes ipip, gue or gre, got '${typeName}'`)
  }
  const refused = details.find(({ option }) => !tunnelTakes(typeName, option.key as Key))
  if (refused !== undefined) {
    throw new LineError(refused.column, `${refused.shown} does not go with tunnel type ${typeName}`)
  }
  if (port === undefined && tunnelNeeds(typeName, 'tun-port')) {
    throw new LineError(type?.column ?? 1, `tunnel type ${typeName} needs --tun-port`)
  }
  const number = given.whole('tun-port')
  const checksum = sum?.option.checksum ?? 'none'
  return {
    type: typeName,
    ...(number !== undefined && { port: number }),
    ...(checksum !== 'none' && { checksum }),
  }
}
