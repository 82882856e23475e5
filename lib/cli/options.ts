import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  type ApplyOptions,
  parseEndpoint,
  parseServiceKey,
  type PlanOptions,
  type Endpoint,
  type Scope,
  type ServiceKey,
  STEP_KINDS,
  type StepKind,
} from '../index.ts'
import { checked, UsageError } from './exit-status.ts'
import type { ReadOptions } from './state-file.ts'

/** Arguments and options that several commands have, and how their values are read. */

export const SERVICE = 'tcp/192.0.2.10:80, tcp/[2001:db8::1]:443, fwmark/5, or fwmark6/5 for IPv6'
export const SCOPE =
  'an address, a network such as 192.0.2.0/24, fwmark/5 (both families), fwmark6/5, or a service; may be repeated'
export const STATE_FILE = 'a state: JSON, YAML or lines of ipvsadm; - is standard input'
export const FORMATS = ['json', 'yaml', 'ipvsadm'] as const

/** How two states are compared. */
export interface CompareOptions extends ReadOptions {
  readonly prune?: boolean
  readonly keepWeights?: boolean
  readonly scope?: readonly string[]
}

/** What a command that changes the table may do. */
export interface ChangeOptions extends CompareOptions {
  readonly force?: boolean
  readonly allow?: readonly StepKind[]
  readonly maxDeletions?: number
  /** Seconds. */
  readonly drain?: number
}

/** How a table is shown. */
export interface WideOption {
  readonly wide?: boolean
}

export function withWide(command: Command): Command {
  return command.option('--wide', 'on a terminal: all columns and exact numbers, however wide the lines are')
}

export function withComparison(command: Command): Command {
  return withFormat(command)
    .option('--prune', 'delete what the state does not name (default)')
    .option('--no-prune', 'keep what the state does not name')
    .option('--keep-weights', 'keep the weights of existing real servers')
    .option('--scope <scope>', `only services inside ${SCOPE}`, listOf())
}

export function withGuards(command: Command): Command {
  return withComparison(command)
    .addOption(listOption('--allow <kinds>', 'refuse steps of any other kind', STEP_KINDS))
    .addOption(maxDeletionsOption())
    .option('--force', FORCE)
    .option(
      '--drain <seconds>',
      'wait up to this long for the connections of removed real servers to end',
      seconds,
    )
}

/** For each command that changes the table. */
export function withChange(command: Command): Command {
  return command
    .option('--no-history', 'keep nothing for ipvs undo; IPVS_HISTORY=off does the same')
    .option('--no-wait', 'refuse to change the table while another program changes it, instead of waiting')
}

/** The guard that every command has which makes the table equal to a state. */
export function maxDeletionsOption(): Option {
  return new Option(
    '--max-deletions <number>',
    'refuse to delete more services and real servers than this (default: it may not delete more than half of the services)',
  ).argParser(wholeNumber)
}

export const FORCE = 'override --max-deletions, and allow a service to lose its last live real server'

/** How a file is read. */
export function withFormat(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--format <format>',
        'format of the file (default: by its extension, or else by its contents)',
      ).choices(FORMATS),
    )
    .option('--whole', 'accept a last line without a line feed, which may mean that the rest is missing')
}

/** An option whose value is some of these, with commas between them. */
function listOption(flags: string, description: string, choices: readonly string[]): Option {
  const option = new Option(flags, description).argParser(listOf(choices))
  // For the help and the completion. Option.choices() would take just one of them.
  option.argChoices = [...choices]
  return option
}

/** A value with commas in it, of an option that may be repeated. */
export function listOf(
  choices?: readonly string[],
): (value: string, before?: readonly string[]) => readonly string[] {
  return (value, before = []) => {
    const words = value.split(',').filter((word) => word !== '')
    if (words.length === 0) throw new InvalidArgumentError('Give at least one value.')
    const unknown = words.find((word) => choices?.includes(word) === false)
    if (unknown !== undefined) {
      throw new InvalidArgumentError(
        `Unknown value '${unknown}'; expected one of ${choices?.join(', ') ?? ''}.`,
      )
    }
    return [...before, ...words]
  }
}

export function filled(value: string): string {
  if (value === '') throw new InvalidArgumentError('It must not be empty.')
  return value
}

/** Collects the values of an argument, or of an option, that may have several. */
export function several(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), filled(value)]
}

export function wholeNumber(value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(value)
}

/** Longest that a timer of Node lasts. */
const MOST_SECONDS = 2147483

export function seconds(value: string): number {
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : NaN
  if (!(number <= MOST_SECONDS))
    throw new InvalidArgumentError(`It must be a number of seconds, at most ${String(MOST_SECONDS)}.`)
  return number
}

/** Shortest time that the library waits between two looks. */
const LEAST_INTERVAL_SECONDS = 0.01

export function interval(value: string): number {
  const number = seconds(value)
  if (number < LEAST_INTERVAL_SECONDS)
    throw new InvalidArgumentError(`It must be at least ${String(LEAST_INTERVAL_SECONDS)} seconds.`)
  return number
}

/** Reads a SERVICE of the command line. */
export function serviceOf(text: string): ServiceKey {
  return checked(() => parseServiceKey(text))
}

/** Reads a SERVER of the command line; its default port is that of its service. */
export function serverOf(text: string, service: ServiceKey): Endpoint {
  const { address, port } = checked(() => parseEndpoint(text))
  return { address, port: port ?? (service.protocol === 'fwmark' ? 0 : service.port) }
}

/** Addresses and networks; `fwmark/5`, which means both families; `fwmark6/5` and services. */
export function scopeOf(words: readonly string[]): Scope {
  // A mark of both families, a network, or a single service.
  const mark = /^fwmark\/(\d+)$/
  const network = /^[\d.a-f:]+(\/\d+)?$/i
  const service = /^(tcp|udp|sctp|\d+|fwmark6)\/./
  const strange = words.find((word) => ![mark, network, service].some((form) => form.test(word)))
  if (strange !== undefined) {
    throw new UsageError(
      `--scope must be an address, a network such as 192.0.2.0/24, a mark such as fwmark/5 (both families) or fwmark6/5, ` +
        `or a service such as tcp/192.0.2.1:80; got '${strange}'`,
    )
  }
  const of = (form: RegExp): string[] => words.filter((word) => form.test(word))
  return {
    addresses: of(network),
    fwmarks: of(mark).map((word) => Number(mark.exec(word)?.[1])),
    services: of(service),
  }
}

export function planOptions({ prune, keepWeights, scope }: CompareOptions): PlanOptions {
  return {
    ...(prune !== undefined && { prune }),
    ...(keepWeights !== undefined && { keepWeights }),
    ...(scope !== undefined && { scope: scopeOf(scope) }),
  }
}

/** The guards, and how long a drain takes. */
export function guardsOf({ allow, maxDeletions, force, drain }: ChangeOptions): ApplyOptions {
  return {
    ...(allow !== undefined && { allow }),
    ...(maxDeletions !== undefined && { maxDeletions }),
    ...(force !== undefined && { force }),
    ...(drain !== undefined && { drain: { timeoutMs: milliseconds(drain) } }),
  }
}

export function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000)
}
