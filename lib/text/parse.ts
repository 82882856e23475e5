import type { Lookups } from '../ipvsadm/endpoints.ts'
import { parseLines } from '../ipvsadm/parse-state.ts'
import { checkOptions, flag, oneOf, optionalFunction, wrong } from '../model/check.ts'
import type { State } from '../model/types.ts'
import { setOrigin } from '../state/origin.ts'
import {
  describeAt,
  formatStatePath,
  StateRefusal,
  type Refuse,
  type StatePath,
  withPath,
} from '../state/path.ts'
import { CheckedState, type CheckOptions, checkState, tableOf } from '../state/table.ts'
import { nextTurn } from '../util/pace.ts'
import { foreign, scriptOf } from './foreign.ts'
import { JsonError, locateInJson, parseJson } from './json.ts'
import { parseYaml } from './parse-yaml.ts'
import { recognise, refuseBinary, refuseOther } from './recognise.ts'
import {
  type Place,
  placeOf,
  placesOf,
  STATE_FORMATS,
  type StateFormat,
  StateSyntaxError,
} from './syntax-error.ts'
import { decodeUtf8 } from './utf8.ts'
import { YamlError } from './yaml-value.ts'

/** How a text is read. */
export interface ParseStateOptions extends Lookups {
  /**
   * Form of the text. Default: guessed from the first line that is neither
   * blank nor a comment (`#`). JSON begins with `{`; ipvsadm lines begin with
   * `-` and an option, or with `ipvsadm` or a path to it; anything else is YAML.
   */
  readonly format?: StateFormat | undefined
  /**
   * Whether the text is known to be whole. If not, YAML and lines of ipvsadm
   * whose last line has no end are refused: they may be cut off, and part of a
   * number is a number too. Default true for a text, false for a file.
   */
  readonly whole?: boolean | undefined
  /** Stops the work between two slices; parseState() then rejects with its reason. */
  readonly signal?: AbortSignal | undefined
}

/** A text that was put together of parts is joined at the first look into it; more characters than this take milliseconds. */
const LONG = 1 << 20

/** Names of the options that say how a text is read. */
export const FORMAT_OPTIONS = ['format', 'whole', 'lookupService', 'lookupHost'] as const

/** Checks how a text is to be read. */
export function checkParseOptions(options: ParseStateOptions): void {
  checkOptions(options, [...FORMAT_OPTIONS, 'signal'])
  const { format, whole = true, lookupService, lookupHost } = options
  flag(whole, 'whole')
  if (format !== undefined) oneOf(format, 'format', STATE_FORMATS)
  optionalFunction(lookupService, 'lookupService')
  optionalFunction(lookupHost, 'lookupHost')
}

/**
 * Reads a state from JSON, YAML or ipvsadm lines, given as a string or as bytes in
 * UTF-8. Nothing is returned before
 * the whole text has been read and checked. JSON and ipvsadm lines are read in
 * slices of a few milliseconds; YAML keeps the JS thread until it is done.
 *
 * An empty text is an empty table only if `format` is 'ipvsadm': otherwise it
 * may be a file that has lost its contents.
 *
 * @throws {StateSyntaxError} with line, column and reason.
 */
export async function parseState(text: string | Uint8Array, options: ParseStateOptions = {}): Promise<State> {
  return parse(text, options, async (value, how) => {
    const state = await checkState(value, how)
    // The object was made here.
    delete (state as { $schema?: unknown }).$schema
    return state
  })
}

/** Reads a state as parseState() does, and completes it in the same pass. */
export async function parseCheckedState(
  text: string | Uint8Array,
  options: ParseStateOptions,
): Promise<CheckedState> {
  return parse(text, options, async (value, how) => new CheckedState(await tableOf(value, how)))
}

/** Checks a value that was read. */
type Check<T> = (value: unknown, how: CheckOptions) => Promise<T>

async function parse<T extends object>(
  given: string | Uint8Array,
  options: ParseStateOptions,
  check: Check<T>,
): Promise<T> {
  checkParseOptions(options)
  if (typeof given !== 'string' && !ArrayBuffer.isView(given))
    throw wrong('text', given, 'a string, or bytes in UTF-8')
  options.signal?.throwIfAborted()
  const text = typeof given === 'string' ? given : decodeUtf8(given)
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text
  if (body.length > LONG) {
    await nextTurn()
    options.signal?.throwIfAborted()
  }
  try {
    return await parseBody(body, options, check)
  } catch (error) {
    // The signal's reason is the caller's, whatever it is.
    if (!(error instanceof StateSyntaxError) || error === options.signal?.reason) throw error
    const other = foreign(body)
    if (other === undefined) throw error
    const { offset, reason } = other
    throw new StateSyntaxError({ ...placeOf(body, offset), reason, cause: error })
  }
}

async function parseBody<T extends object>(
  text: string,
  options: ParseStateOptions,
  check: Check<T>,
): Promise<T> {
  const script = options.format === undefined ? scriptOf(text) : undefined
  if (script !== undefined) throw new StateSyntaxError({ line: 1, column: 1, reason: script })
  const { format = recognise(text), whole = true } = options
  refuseBinary(text)
  refuseOther(text, format)
  const state = await parseAs(format, text, options, check)
  if (!whole) refuseCutOff(text, format)
  return state
}

function parseAs<T extends object>(
  format: StateFormat,
  text: string,
  options: ParseStateOptions,
  check: Check<T>,
): Promise<T> {
  switch (format) {
    case 'json':
      return parseJsonState(text, options.signal, check)
    case 'yaml':
      return parseYamlState(text, options.signal, check)
    case 'ipvsadm':
      return parseIpvsadmState(text, options, check)
  }
}

/** JSON has an end of its own. */
function refuseCutOff(text: string, format: StateFormat): void {
  if (format === 'json' || text === '' || text.endsWith('\n')) return
  throw new StateSyntaxError({
    format,
    ...placeOf(text, text.length),
    reason:
      'the last line does not end in a newline, so the text may be cut off; if it is complete, add the newline, or give `whole`',
  })
}

async function parseJsonState<T extends object>(
  text: string,
  signal: AbortSignal | undefined,
  check: Check<T>,
): Promise<T> {
  const start = text.search(/\S/)
  if (text.charAt(start) === '#') {
    throw new StateSyntaxError({
      format: 'json',
      ...placeOf(text, start),
      reason: "JSON has no comments: remove this line, or name the format 'yaml', which reads both",
    })
  }
  let value: unknown
  try {
    value = await parseJson(text, signal)
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw new StateSyntaxError({ format: 'json', ...placeOf(text, error.offset), reason: error.message })
  }
  return checked('json', value, signal, check, async (paths) =>
    placesOf(text, await locateInJson(text, paths, signal)),
  )
}

async function parseYamlState<T extends object>(
  text: string,
  signal: AbortSignal | undefined,
  check: Check<T>,
): Promise<T> {
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
      reason: 'this is not a state: neither JSON, nor YAML, nor ipvsadm lines',
    })
  }
  return checked('yaml', value, signal, check, (paths) => placesOf(text, paths.map(locate)))
}

async function parseIpvsadmState<T extends object>(
  text: string,
  options: ParseStateOptions,
  check: Check<T>,
): Promise<T> {
  refuseLongLines(text)
  const { state, placeOf } = await parseLines(
    text,
    options,
    options.signal,
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
  // parseLines() refuses almost everything in its own words; this is for the rest.
  return checked('ipvsadm', state, options.signal, check, (paths) => paths.map(placeOf))
}

/** No ipvsadm line is nearly as long; its words take much more memory than it has characters. */
const LONGEST_LINE = 16_384

function refuseLongLines(text: string): void {
  for (let start = 0, line = 1; start < text.length; line++) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline
    if (end - start > LONGEST_LINE && !/\s*#/y.test(text.slice(start, end))) {
      throw new StateSyntaxError({
        format: 'ipvsadm',
        line,
        column: LONGEST_LINE + 1,
        reason: `a line of more than ${String(LONGEST_LINE)} characters: too much for a state`,
      })
    }
    start = end + 1
  }
}

type Locate = (paths: readonly StatePath[]) => readonly Place[] | Promise<readonly Place[]>

/** Of more doubtful things than this the places are not kept: nobody mends them one by one. */
const MOST_PLACES = 1000

/** Checks what was read, and keeps the places of what may still be refused beside a table. */
async function checked<T extends object>(
  format: StateFormat,
  value: unknown,
  signal: AbortSignal | undefined,
  check: Check<T>,
  locate: Locate,
): Promise<T> {
  const doubtful: StatePath[] = []
  try {
    const state = await check(value, {
      signal,
      refuse: (error, path) => new StateRefusal(error, path),
      doubtful: (path) => {
        if (doubtful.length < MOST_PLACES) doubtful.push(path)
      },
    })
    if (doubtful.length > 0) {
      const places = await locate(doubtful)
      const entries = doubtful.map((path, index) => [formatStatePath(path), places[index] as Place] as const)
      setOrigin(state, originIn(format, new Map(entries)))
    }
    return state
  } catch (error) {
    if (!(error instanceof StateRefusal)) throw error
    const [place] = await locate([error.path])
    throw syntaxError(format, error, place as Place)
  }
}

function originIn(format: StateFormat, places: ReadonlyMap<string, Place>): Refuse {
  return (refused, path) => {
    const place = places.get(formatStatePath(path))
    return place === undefined ? withPath(refused, path) : syntaxError(format, { refused, path }, place)
  }
}

function syntaxError(
  format: StateFormat,
  { refused, path }: Pick<StateRefusal, 'refused' | 'path'>,
  place: Place,
): StateSyntaxError {
  return new StateSyntaxError({
    format,
    ...place,
    reason: describeAt(refused, path),
    ...(path.length > 0 && { path: formatStatePath(path) }),
    cause: refused,
  })
}
