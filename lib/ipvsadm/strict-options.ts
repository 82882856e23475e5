import { familyOfService, isIPv4, isMulticast } from '../model/address.ts'
import { isName, show } from '../model/check.ts'
import type { ForwardingMethod, SchedulerFlag, ServiceKey, Tunnel } from '../model/types.ts'
import type { StatePath } from '../state/check.ts'
import { ownText } from '../util/pieces.ts'
import { type GivenOption, LineError, type Word } from './strict-words.ts'

/** What the options of a line say: their values, checked as ipvsadm and the kernel do. */

/** The largest `int` of the kernel. */
export const INT_MAX = 2147483647

/** The options of a line, each at most once. */
export class Given {
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

  /** A name for the kernel. One that is empty is as good as absent. */
  kernelName(name: string, most: number, path: StatePath): string | undefined {
    const given = this.#options.get(name)
    if (given?.value === undefined || given.value === '') return undefined
    const { value, shown, valueColumn } = given
    if (isName(value, most)) return ownText(value)
    throw new LineError(
      valueColumn,
      `${shown} must have 1 to ${String(most)} bytes and no NUL, got ${show(value)}`,
      { path },
    )
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

export function wholeOf(
  { value = '', shown, valueColumn }: GivenOption,
  least: number,
  most: number,
): number {
  return wholeNumber(value, shown, valueColumn, least, most)
}

/** Whether ipvsadm would read a whole number, whatever its size. */
export function isWhole(text: string): boolean {
  return /^\s*[+-]?\d+$/.test(text)
}

export function wholeNumber(text: string, what: string, column: number, least: number, most: number): number {
  const value = isWhole(text) ? Number(text) : NaN
  if (value >= least && value <= most) return value
  throw new LineError(
    column,
    `${what} takes a whole number ${String(least)} to ${String(most)}, got '${text}'`,
  )
}

export function readNetmask(given: Given, key: ServiceKey): string | number {
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

export function schedulerFlags(given: Given, scheduler: string): SchedulerFlag[] {
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

export function readThresholds(
  given: Given,
  path: StatePath,
): { upperThreshold: number; lowerThreshold: number } {
  const upper = given.find('u-threshold')
  const lower = given.find('l-threshold')
  const upperThreshold = upper === undefined ? 0 : wholeOf(upper, 0, INT_MAX)
  const lowerThreshold = lower === undefined ? 0 : wholeOf(lower, 0, INT_MAX)
  if (lower !== undefined && lowerThreshold > upperThreshold) {
    throw new LineError(
      lower.valueColumn,
      `${lower.shown} must not be above ${upper?.shown ?? '-x'} (${String(upperThreshold)}), ` +
        `got ${String(lowerThreshold)}${upper === undefined ? ': name -x too' : ''}`,
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

const CHECKSUMS = { 'tun-nocsum': 'none', 'tun-csum': 'csum', 'tun-remcsum': 'remcsum' } as const

export function readTunnel(given: Given, method: ForwardingMethod): Tunnel | undefined {
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
