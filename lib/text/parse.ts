import type { Lookups } from '../ipvsadm/endpoints.ts'
import { formatLines, type StateLoss } from '../ipvsadm/format-state.ts'
import { isProgram, parseLines } from '../ipvsadm/parse-state.ts'
import { checkOptions, flag, oneOf, optionalFunction, show } from '../model/check.ts'
import type { State } from '../model/types.ts'
import { describeAt, formatStatePath, type StatePath } from '../state/path.ts'
import { checkState } from '../state/table.ts'
import { Pace } from '../util/pace.ts'
import { formatJson, formatYaml } from './format-document.ts'
import { JsonError, locateInJson, parseJson } from './json.ts'
import { parseYaml, YamlError } from './parse-yaml.ts'
import { placeOf, type StateFormat, StateSyntaxError } from './syntax-error.ts'

/** How a text is read. */
export interface ParseStateOptions extends Lookups {
  /**
   * Form of the text. Default: what the first line that is neither empty nor a
   * comment (`#`) looks like. JSON begins with `{`; lines of ipvsadm with `-`
   * and an option, or with `ipvsadm`, a path to it included; all else is YAML.
   */
  readonly format?: StateFormat
  /**
   * Whether the text is known to be whole. If not, YAML and lines of ipvsadm
   * whose last line has no end are refused: they may be cut off, and part of a
   * number is a number too. Default true for a text, false for a file.
   */
  readonly whole?: boolean
  /** Ends the reading, between two pieces of work; parseState() then rejects with its reason. */
  readonly signal?: AbortSignal
}

/** How a text is written. */
export interface FormatStateOptions {
  /** Form of the text. Default 'json'. */
  readonly format?: StateFormat
  /**
   * Hears of what lines of ipvsadm cannot say, and lets them be written without
   * it. Default: that is an error, so nothing is lost without a word.
   */
  readonly onLoss?: (loss: StateLoss) => void
  /** Ends the writing, between two pieces of work; formatState() then rejects with its reason. */
  readonly signal?: AbortSignal
}

/** More characters than this take milliseconds to copy. */
const LONG = 1 << 20

const FORMATS: readonly StateFormat[] = ['json', 'yaml', 'ipvsadm']
const NAMES = { json: 'JSON', yaml: 'YAML', ipvsadm: 'lines of ipvsadm' } as const

/** Names of the options that say how a text is read. */
export const FORMAT_OPTIONS = ['format', 'whole', 'lookupService', 'lookupHost'] as const

/** Checks how a text is to be read. */
export function checkParseOptions(options: ParseStateOptions): void {
  checkOptions(options, [...FORMAT_OPTIONS, 'signal'])
  const { format, whole = true, lookupService, lookupHost } = options
  flag(whole, 'whole')
  if (format !== undefined) oneOf(format, 'format', FORMATS)
  optionalFunction(lookupService, 'lookupService')
  optionalFunction(lookupHost, 'lookupHost')
}

/**
 * Reads a state from JSON, YAML or lines of ipvsadm. All of it has been read
 * and checked before anything is returned. JSON and lines are read in slices of
 * a few milliseconds; YAML holds the JS thread for as long as it takes.
 *
 * An empty text is an empty table only if `format` says 'ipvsadm': anything
 * else may be a file that lost its contents.
 *
 * @throws {StateSyntaxError} with line, column and reason.
 */
export async function parseState(text: string, options: ParseStateOptions = {}): Promise<State> {
  checkParseOptions(options)
  if (typeof text !== 'string') throw new TypeError(`a state's text must be a text, got ${show(text)}`)
  const pace = new StatePace(options.signal)
  // Looking into a text that was put together of parts makes it one, which takes a while if it is long.
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text
  if (body.length > LONG) await pace.rest()
  const { format = recognise(body) } = options
  refuseBinary(body)
  refuseOther(body, format)
  const state = await parseAs(format, body, options, pace)
  if (options.whole === false) refuseCutOff(body, format)
  return state
}

function parseAs(
  format: StateFormat,
  body: string,
  options: ParseStateOptions,
  pace: StatePace,
): Promise<State> {
  switch (format) {
    case 'json':
      return parseJsonState(body, pace)
    case 'yaml':
      return parseYamlState(body, pace)
    case 'ipvsadm':
      return parseIpvsadmState(body, options, pace)
  }
}

/** JSON has an end of its own. */
function refuseCutOff(text: string, format: StateFormat): void {
  if (format === 'json' || text === '' || text.endsWith('\n')) return
  throw new StateSyntaxError({
    format,
    ...placeOf(text, text.length),
    reason:
      'the last line has no end, so the text may be cut off; if it is whole, end the line, or give `whole`',
  })
}

/**
 * Writes a state as text that ends with a newline. The same state always gives
 * the same text, and JSON and YAML have a line for each real server. Works in
 * slices of a few milliseconds.
 *
 * @throws {TypeError | RangeError} if the state is none: `services[3].port must be ...`.
 * @throws {TypeError} if it has what lines of ipvsadm cannot say, unless `onLoss` hears of it.
 */
export async function formatState(state: State, options: FormatStateOptions = {}): Promise<string> {
  checkOptions(options, ['format', 'onLoss', 'signal'])
  const { format = 'json', onLoss = refuseLoss } = options
  optionalFunction(onLoss, 'onLoss')
  oneOf(format, 'format', FORMATS)
  const pace = new StatePace(options.signal)
  await checkState(state, { signal: options.signal })
  switch (format) {
    case 'json':
      return formatJson(state, pace)
    case 'yaml':
      return formatYaml(state, pace)
    case 'ipvsadm':
      return formatLines(state, onLoss, pace)
  }
}

function refuseLoss({ path, reason }: StateLoss): never {
  throw new TypeError(
    `lines of ipvsadm cannot say ${path}: ${reason}. Choose format 'json' or 'yaml', or give onLoss to go without it.`,
  )
}

/** Rests end when the caller aborts. */
class StatePace extends Pace {
  readonly signal: AbortSignal | undefined

  constructor(signal: AbortSignal | undefined) {
    super()
    signal?.throwIfAborted()
    this.signal = signal
  }

  override async rest(): Promise<void> {
    await super.rest()
    this.signal?.throwIfAborted()
  }
}

function recognise(text: string): StateFormat {
  const format = detectStateFormat(text)
  if (format === undefined) {
    throw new StateSyntaxError({
      line: 1,
      column: 1,
      reason:
        `the text is empty${text.trim() === '' ? '' : ' but for comments'}; ` +
        "if an empty table is meant, name the format 'ipvsadm'",
    })
  }
  return format
}

/**
 * What a text looks like: the format that `parseState()` reads it in where none
 * is named. `undefined` where it has nothing but blanks and comments.
 */
export function detectStateFormat(text: string): StateFormat | undefined {
  const line = firstLine(text)?.line
  return line === undefined ? undefined : looksLike(line)
}

function looksLike(line: string): StateFormat {
  if (line.startsWith('{')) return 'json'
  const [word = ''] = line.split(/\s/, 1)
  return isProgram(word) || /^-(?:\w|-\w)/.test(word) ? 'ipvsadm' : 'yaml'
}

/** JSON is YAML, and what looks like YAML may be anything; but JSON is never lines of ipvsadm, nor these something else. */
function refuseOther(text: string, format: StateFormat): void {
  const first = firstLine(text)
  if (first === undefined) return
  const look = looksLike(first.line)
  if (look === format || look === 'yaml' || (look === 'json' && format === 'yaml')) return
  throw new StateSyntaxError({
    format,
    ...placeOf(text, first.offset),
    reason: `this is read as ${NAMES[format]}, but looks like ${NAMES[look]}: name the format '${look}'`,
  })
}

/** The first line that is neither empty nor a comment, without the blanks before it, and where that is. */
function firstLine(text: string): { readonly line: string; readonly offset: number } | undefined {
  const next = /\s*(\S[^\n]*)/y
  for (;;) {
    const line = next.exec(text)?.[1]
    if (line === undefined) return undefined
    if (!line.startsWith('#')) return { line, offset: next.lastIndex - line.length }
  }
}

/** What no text has, but a compressed file, a database or UTF-16 does. */
function refuseBinary(text: string): void {
  const offset = text.indexOf('\0')
  if (offset < 0) return
  throw new StateSyntaxError({
    ...placeOf(text, offset),
    reason: 'a NUL: this is no text, or none in UTF-8',
  })
}

async function parseJsonState(text: string, pace: StatePace): Promise<State> {
  const start = text.search(/\S/)
  if (text.charAt(start) === '#') {
    throw new StateSyntaxError({
      format: 'json',
      ...placeOf(text, start),
      reason: "JSON has no comments: take this line out, or name the format 'yaml', which reads both",
    })
  }
  let value: unknown
  try {
    value = await parseJson(text, pace)
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw new StateSyntaxError({ format: 'json', ...placeOf(text, error.offset), reason: error.message })
  }
  return checked('json', value, pace, async (path) => placeOf(text, await locateInJson(text, path, pace)))
}

async function parseYamlState(text: string, pace: StatePace): Promise<State> {
  let parsed
  try {
    parsed = await parseYaml(text)
  } catch (error) {
    if (!(error instanceof YamlError)) throw error
    throw new StateSyntaxError({ format: 'yaml', ...placeOf(text, error.offset), reason: error.message })
  }
  const { value, locate } = parsed
  if (typeof value !== 'object' || value === null) {
    throw new StateSyntaxError({
      format: 'yaml',
      ...placeOf(text, locate([])),
      reason: text.includes('LocalAddress:Port')
        ? 'this is what `ipvsadm -L` prints; `ipvsadm -Sn` prints what can be restored'
        : 'this is neither JSON nor YAML of a state, nor lines of ipvsadm',
    })
  }
  return checked('yaml', value, pace, (path) => placeOf(text, locate(path)))
}

async function parseIpvsadmState(text: string, lookups: Lookups, pace: StatePace): Promise<State> {
  const { state, placeOf } = await parseLines(
    text,
    lookups,
    pace,
    ({ column, message, path, cause }, line) =>
      new StateSyntaxError({
        format: 'ipvsadm',
        line,
        column,
        reason: message,
        ...(path !== undefined && { path: formatStatePath(path) }),
        cause,
      }),
  )
  // Lines refuse what a state could not have in words of their own; this is for what they forget.
  return checked('ipvsadm', state, pace, placeOf)
}

/** A refusal of checkState(), before it is known where in the text it is. */
class Refusal extends Error {
  readonly refused: Error
  readonly path: StatePath

  constructor(refused: Error, path: StatePath) {
    super(refused.message)
    this.refused = refused
    this.path = path
  }
}

type Locate = (
  path: StatePath,
) => { line: number; column: number } | Promise<{ line: number; column: number }>

/** Checks what was read. */
async function checked(format: StateFormat, value: unknown, pace: StatePace, locate: Locate): Promise<State> {
  try {
    const state = await checkState(value, {
      signal: pace.signal,
      refuse: (error, path) => new Refusal(error, path),
    })
    // The object was made here.
    delete (state as { $schema?: unknown }).$schema
    return state
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const { refused, path } = error
    throw new StateSyntaxError({
      format,
      ...(await locate(path)),
      reason: describeAt(refused, path),
      ...(path.length > 0 && { path: formatStatePath(path) }),
      cause: refused,
    })
  }
}
