// Not from node:fs/promises or node:crypto: this is in every start of the command, and those load at once, and half of
// Node with them.
import { constants, promises as fs } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { dirname, extname, join } from 'node:path'
import { checkOptions, oneOf, optionalFunction, show } from '../model/check.ts'
import type { State } from '../model/types.ts'
import type { Session } from '../session/session.ts'
import { formatState, type FormatStateOptions } from '../text/format.ts'
import { checkParseOptions, parseState, type ParseStateOptions } from '../text/parse.ts'
import { detectStateFormat } from '../text/recognise.ts'
import { type StateFormat, StateSyntaxError } from '../text/syntax-error.ts'
import { decodeUtf8 } from '../text/utf8.ts'
import { apply } from './apply.ts'
import { type ApplyResult } from './options.ts'
import { type RestoreOptions, save, SAVE_OPTIONS, type SaveOptions, splitOptions } from './save.ts'

/** Options of `saveToFile()`. */
export interface SaveToFileOptions extends SaveOptions, Pick<FormatStateOptions, 'onLoss'> {
  /**
   * Format of the file. Default, by its extension: JSON for .json, YAML for
   * .yaml and .yml, ipvsadm lines for .rules, .ipvs and .save.
   */
  readonly format?: StateFormat
}

const FORMATS: Readonly<Record<string, StateFormat>> = {
  '.json': 'json',
  '.yaml': 'yaml',
  '.yml': 'yaml',
  '.rules': 'ipvsadm',
  '.ipvs': 'ipvsadm',
  '.save': 'ipvsadm',
}

/** Only the owner may read and write: a table reveals a lot about a network. */
const MODE = 0o600

/** See Ipvs.saveToFile(). */
export async function saveToFile(session: Session, path: string, options: SaveToFileOptions): Promise<State> {
  checkPath(path)
  checkOptions(options, ['format', 'onLoss', ...SAVE_OPTIONS])
  const { format, onLoss, ...saving } = options
  optionalFunction(onLoss, 'onLoss')
  const chosen = format === undefined ? FORMATS[extname(path).toLowerCase()] : checkFormat(format)
  if (chosen === undefined) {
    throw new TypeError(
      `the name ${show(path)} does not say the format: end it in ${Object.keys(FORMATS).join(', ')}, or name the format`,
    )
  }
  const { signal } = saving
  const state = await save(session, saving)
  const text = await formatState(state, {
    format: chosen,
    ...(onLoss !== undefined && { onLoss }),
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
  return apply(session, await readState(path, reading), applying)
}

/**
 * Reads a state from a file. The format follows its extension, or else is
 * guessed from its contents. Errors name the file.
 *
 * @throws {StateSyntaxError} if it is not a state, or seems to be cut off; errors of the file system.
 */
export async function readState(path: string, options: ParseStateOptions = {}): Promise<State> {
  checkPath(path)
  checkParseOptions(options)
  const { signal } = options
  const bytes = await readBytes(path, signal)
  try {
    const text = decodeUtf8(bytes)
    // The ipvsadm lines of an empty table are an empty file, but so is a file that was cut off.
    const named = detectStateFormat(text) === undefined ? undefined : FORMATS[extname(path).toLowerCase()]
    const format = options.format ?? named
    return await parseState(text, { whole: false, ...options, ...(format !== undefined && { format }) })
  } catch (error) {
    // The reason of the caller's signal is passed on as it is.
    if (!(error instanceof StateSyntaxError) || error === signal?.reason) throw error
    throw error.in(path)
  }
}

/** Reads a file. Node's errors after the opening, such as EISDIR, do not name it; these do. */
async function readBytes(path: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  signal?.throwIfAborted()
  try {
    return await fs.readFile(path, { ...(signal !== undefined && { signal }) })
  } catch (error) {
    signal?.throwIfAborted()
    const { message, code, errno, syscall, path: named } = error as NodeJS.ErrnoException
    if (code === undefined || named !== undefined) throw error
    throw Object.assign(new Error(`${message} '${path}'`, { cause: error }), { code, errno, syscall, path })
  }
}

/**
 * Replaces a file, completely or not at all: a reader sees the old text or the
 * new one, and one of the two is there after a loss of power.
 */
async function replaceFile(path: string, text: string): Promise<void> {
  const folder = dirname(path)
  const { mode, owner } = await inheritance(path, folder)
  // Without the file's own name, which may be as long as a name can be.
  const temporary = join(folder, `.ipvs-${crypto.randomUUID().slice(0, 8)}.tmp`)
  // O_EXCL: never opens a file or link that someone else put there.
  const file = await fs.open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, MODE)
  try {
    try {
      await file.writeFile(text)
      if (owner !== undefined) await file.chown(owner.uid, owner.gid)
      await file.chmod(mode)
      await file.sync()
    } finally {
      await file.close()
    }
    await fs.rename(temporary, path)
  } catch (error) {
    await fs.unlink(temporary).catch(() => undefined)
    throw error
  }
  await syncFolder(folder)
}

/** What a new file takes over from the file that it replaces. */
async function inheritance(
  path: string,
  folder: string,
): Promise<{ readonly mode: number; readonly owner?: { readonly uid: number; readonly gid: number } }> {
  const old = await fs.lstat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  })
  if (old === undefined) return { mode: MODE }
  if (old.isSymbolicLink()) {
    const message = `ELOOP: ${path} is a symbolic link to ${await fs.readlink(path)}: name the file itself, or delete the link`
    throw Object.assign(new Error(message), { code: 'ELOOP', path })
  }
  if (!old.isFile()) {
    const message = `EINVAL: ${path} is not a regular file and was not replaced`
    throw Object.assign(new Error(message), { code: 'EINVAL', path })
  }
  const mode = old.mode & MODE
  const { uid, gid } = old
  // Root that saves for a service leaves the service its file. But only where the whole folder is that user's: in one
  // that is open to all, such as /tmp, anyone may have put a file there. A link leads to it where a service of systemd
  // has DynamicUser=yes.
  if (uid === 0 || process.geteuid?.() !== 0 || (await fs.stat(folder)).uid !== uid) return { mode }
  return { mode, owner: { uid, gid } }
}

/** The name has to reach the disk too. Some file systems cannot do that and answer EINVAL. */
async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await fs.open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
    await handle.sync()
  } catch (error) {
    if (!['EINVAL', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  } finally {
    await handle?.close()
  }
}

function checkPath(path: unknown): void {
  if (typeof path !== 'string' || path === '')
    throw new TypeError(`path must be a non-empty string, got ${show(path)}`)
}

function checkFormat(format: unknown): StateFormat {
  return oneOf(format, 'format', ['json', 'yaml', 'ipvsadm'])
}
