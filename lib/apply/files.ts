import { checkOptions, flag, oneOf, optionalFunction, show, whole } from '../model/check.ts'
import type { SavedState, State } from '../model/types.ts'
import type { Session } from '../session/session.ts'
import { originOf, setOrigin } from '../state/origin.ts'
import type { CheckedState } from '../state/table.ts'
import { EXTENSIONS, formatOfName } from '../text/extensions.ts'
import { checkSchema, formatState, type FormatStateOptions } from '../text/format.ts'
import { checkParseOptions, parseCheckedState, parseState, type ParseStateOptions } from '../text/parse.ts'
import { detectStateFormat } from '../text/recognise.ts'
import { type StateFormat, StateSyntaxError } from '../text/syntax-error.ts'
import { decodeUtf8 } from '../text/utf8.ts'
import { readBytes } from '../util/read-file.ts'
import { replaceFile } from '../util/replace-file.ts'
import { apply } from './apply.ts'
import { type ApplyResult } from './options.ts'
import { type RestoreOptions, save, SAVE_OPTIONS, type SaveOptions, splitOptions } from './save.ts'

/** Options of `saveToFile()`. */
export interface SaveToFileOptions extends SaveOptions, Pick<FormatStateOptions, 'onLoss' | 'schema'> {
  /**
   * Format of the file. Default, by its extension: JSON for .json, YAML for
   * .yaml and .yml, ipvsadm lines for .rules, .ipvs and .save.
   */
  readonly format?: StateFormat | undefined
  /**
   * How many versions before this one are kept, 0 to 100. The file that is replaced, if it
   * differs, becomes FILE~; what was FILE~ becomes FILE~2, and so on. Default 1: only FILE~.
   */
  readonly keep?: number | undefined
  /**
   * Allows a state without services to replace a file that has services, or that
   * cannot be read as a state. Default false: an empty table is more often an
   * accident than something to save.
   */
  readonly allowEmpty?: boolean | undefined
}

const MOST_VERSIONS = 100

/** See Ipvs.saveToFile(). */
export async function saveToFile(
  session: Session,
  path: string,
  options: SaveToFileOptions,
): Promise<SavedState> {
  checkPath(path)
  checkOptions(options, ['format', 'onLoss', 'schema', 'keep', 'allowEmpty', ...SAVE_OPTIONS])
  const { format, onLoss, schema, keep = 1, allowEmpty = false, ...saving } = options
  optionalFunction(onLoss, 'onLoss')
  checkSchema(schema)
  whole(keep, 'keep', 0, MOST_VERSIONS)
  flag(allowEmpty, 'allowEmpty')
  const chosen = format === undefined ? formatOfName(path) : checkFormat(format)
  if (chosen === undefined) {
    throw new TypeError(
      `the name ${show(path)} does not say the format: end it in ${EXTENSIONS.join(', ')}, or name the format`,
    )
  }
  const { signal } = saving
  const state = await save(session, saving)
  const text = await formatState(state, {
    format: chosen,
    ...(onLoss !== undefined && { onLoss }),
    ...(schema !== undefined && { schema }),
    ...(signal !== undefined && { signal }),
  })
  signal?.throwIfAborted()
  const empty = state.services.length === 0 && !allowEmpty
  await replaceFile(path, text, { keep, ...(empty && { check: () => refuseFull(path, signal) }) })
  return state
}

/**
 * Refuses to put an empty table in the place of a file that has services, in any
 * format, or may have some: one that cannot be read as a state.
 */
async function refuseFull(path: string, signal: AbortSignal | undefined): Promise<void> {
  const found = await contentsOf(path, signal)
  if (found === undefined) return
  throw Object.assign(
    new Error(
      `${path} was not replaced: ${found}, and the table to save has none. If that is intended, give \`allowEmpty\`.`,
    ),
    { code: 'ERR_IPVS_EMPTY', path },
  )
}

/** What a file has that an empty table would take away; `undefined` if there is nothing. */
async function contentsOf(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    const text = decodeUtf8(await readBytes(path, signal))
    if (text.trim() === '') return undefined
    const { services = [] } = await parseState(text, { whole: true, signal })
    if (services.length === 0) return undefined
    return services.length === 1 ? 'it has 1 service' : `it has ${String(services.length)} services`
  } catch (error) {
    if (error instanceof StateSyntaxError) return 'it cannot be read as a state, so it may have services'
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** See Ipvs.restoreFromFile(). */
export async function restoreFromFile(
  session: Session,
  path: string,
  options: RestoreOptions,
): Promise<ApplyResult> {
  const { reading, applying } = splitOptions(options)
  return apply(session, await readCheckedState(path, reading), applying)
}

/**
 * Reads a state from a file. The format follows its extension, or else is
 * guessed from its contents. Errors name the file.
 *
 * @throws {StateSyntaxError} if it is not a state, or seems to be cut off; errors of the file system.
 */
export async function readState(path: string, options: ParseStateOptions = {}): Promise<State> {
  return read(path, options, parseState)
}

/** Reads a state as readState() does, and completes it in the same pass. */
export function readCheckedState(path: string, options: ParseStateOptions): Promise<CheckedState> {
  return read(path, options, parseCheckedState)
}

async function read<T extends object>(
  path: string,
  options: ParseStateOptions,
  parse: (text: string, options: ParseStateOptions) => Promise<T>,
): Promise<T> {
  checkPath(path)
  checkParseOptions(options)
  const { signal } = options
  const bytes = await readBytes(path, signal)
  try {
    const text = decodeUtf8(bytes)
    // The ipvsadm lines of an empty table are an empty file, but so is a file that was cut off.
    const named = detectStateFormat(text) === undefined ? undefined : formatOfName(path)
    const format = options.format ?? named
    const state = await parse(text, { ...options, whole: options.whole ?? false, format })
    const origin = originOf(state)
    setOrigin(state, (...refusal) => inFile(path, origin(...refusal)))
    return state
  } catch (error) {
    // The reason of the caller's signal is passed on as it is.
    throw error === signal?.reason ? error : inFile(path, error)
  }
}

function inFile<E>(path: string, error: E): E | StateSyntaxError {
  return error instanceof StateSyntaxError ? error.in(path) : error
}

function checkPath(path: unknown): void {
  if (typeof path !== 'string' || path === '')
    throw new TypeError(`path must be a non-empty string, got ${show(path)}`)
}

function checkFormat(format: unknown): StateFormat {
  return oneOf(format, 'format', ['json', 'yaml', 'ipvsadm'])
}
