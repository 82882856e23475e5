import { checkOptions, oneOf, optionalFunction, show } from '../model/check.ts'
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
  readonly format?: StateFormat
}

/** See Ipvs.saveToFile(). */
export async function saveToFile(
  session: Session,
  path: string,
  options: SaveToFileOptions,
): Promise<SavedState> {
  checkPath(path)
  checkOptions(options, ['format', 'onLoss', 'schema', ...SAVE_OPTIONS])
  const { format, onLoss, schema, ...saving } = options
  optionalFunction(onLoss, 'onLoss')
  checkSchema(schema)
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
  await replaceFile(path, text)
  return state
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
    const state = await parse(text, { whole: false, ...options, ...(format !== undefined && { format }) })
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
