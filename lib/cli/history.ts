import { promises as fs } from 'node:fs'
import { join } from 'node:path'
import type { SavedState } from '../index.ts'
import { readBytes } from '../util/read-file.ts'
import { replaceFile } from '../util/replace-file.ts'
import { FileError } from './exit-status.ts'
import {
  checkFolders,
  type HistoryPlace,
  type Namespace,
  NoHistory,
  placeOf,
  refuseOwner,
} from './history-place.ts'
import type { Run } from './run.ts'
import { fileError } from './state-file.ts'

/** The states that a table had before it was changed by commands, a file for each. */

/** A state from before a change. */
export interface HistoryEntry {
  /** Date and time in UTC, as Date.toISOString() has it. */
  readonly when: string
  /** The command line that made the change, without the program's name. */
  readonly command: readonly string[]
  readonly who: Who
  /** Of the table; absent if that is in a file. */
  readonly namespace?: Namespace
  /** The server that was drained, as `drainName()` writes it. */
  readonly drained?: string
  readonly state: SavedState
}

export interface Who {
  readonly uid: number
  readonly user?: string
  /** Who ran sudo. */
  readonly sudoUser?: string
}

/** A file of the history. */
export interface EntryFile {
  readonly path: string
  readonly number: number
  readonly bytes: number
}

/** Entries that a table has at most. */
const MOST_ENTRIES = 20
/** Bytes that they have at most, together. */
const MOST_BYTES = 2 ** 26
const FORMAT = 1
/** Two commands at a time may take the same number. */
const NAME = /^(\d{6,15})-[0-9a-f]{8}\.json$/

/** The history of the table that a command works on. */
export class History {
  readonly place: HistoryPlace

  private constructor(place: HistoryPlace) {
    this.place = place
  }

  static async of(run: Run): Promise<History> {
    return new History(await placeOf(run))
  }

  /** The files, the newest first. None where there is no folder. */
  async files(): Promise<EntryFile[]> {
    const { folder } = this.place
    let names: string[]
    try {
      await checkFolders(folder)
      names = await fs.readdir(folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
    const files: EntryFile[] = []
    for (const name of names) {
      const [, digits] = NAME.exec(name) ?? []
      if (digits === undefined) continue
      const path = join(folder, name)
      // Another command may have removed it meanwhile.
      const found = await fs.lstat(path).catch(() => undefined)
      if (found !== undefined) files.push({ path, number: Number(digits), bytes: found.size })
    }
    return files.sort((one, other) => other.number - one.number || (one.path < other.path ? 1 : -1))
  }

  async read({ path }: EntryFile): Promise<HistoryEntry> {
    const found = await fs.lstat(path)
    if (!found.isFile()) throw new NoHistory(`${path} is not a regular file`)
    refuseOwner(path, found.uid)
    try {
      const { version, ...entry } = JSON.parse(new TextDecoder().decode(await readBytes(path))) as Stored
      if (version === FORMAT && typeof entry.state === 'object') return entry
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
    }
    throw new NoHistory(`${path} is not an entry of the history`)
  }

  /** Writes an entry as the newest. Gives its file. */
  async add(entry: HistoryEntry): Promise<string> {
    const text = `${JSON.stringify({ version: FORMAT, ...entry } satisfies Stored)}\n`
    const bytes = Buffer.byteLength(text)
    if (bytes > MOST_BYTES)
      throw new NoHistory(`it is longer than ${String(MOST_BYTES)} bytes: save it to a file beforehand`)
    await checkFolders(this.place.folder, true)
    const [newest] = await this.files()
    const number = String((newest?.number ?? 0) + 1).padStart(6, '0')
    const path = join(this.place.folder, `${number}-${crypto.randomUUID().slice(0, 8)}.json`)
    await replaceFile(path, text)
    return path
  }

  /** Removes the oldest entries that are too many, or too large. */
  async prune(): Promise<void> {
    let bytes = 0
    for (const [index, file] of (await this.files()).entries()) {
      bytes += file.bytes
      if (index >= MOST_ENTRIES || bytes > MOST_BYTES) await remove(file.path)
    }
  }
}

interface Stored extends HistoryEntry {
  readonly version: number
}

/** Opens the history for a command that reads it. */
export async function openHistory(run: Run): Promise<{
  readonly history: History
  readonly files: readonly EntryFile[]
}> {
  try {
    const history = await History.of(run)
    return { history, files: await history.files() }
  } catch (error) {
    throw historyError(error)
  }
}

/** Why the history cannot be used, for a command that needs it. */
export function historyError(error: unknown): unknown {
  return error instanceof NoHistory
    ? new FileError(`the history cannot be used: ${error.message}`)
    : asFileError('read', error)
}

/** An error of the file system, in words, with the file or folder that it is about. */
export function asFileError(verb: string, error: unknown): unknown {
  return fileError(verb, (error as NodeJS.ErrnoException).path ?? 'the history', error)
}

/** Whether an entry is of the network namespace that the table is in now. That of an earlier boot cannot be told. */
export function isOfNamespace({ namespace }: HistoryEntry, { namespace: now }: HistoryPlace): boolean {
  return namespace === undefined || namespace.boot !== now?.boot || namespace.inode === now.inode
}

/** Who made the change: who ran sudo, if it was run. */
export function whoOf({ who: { uid, user, sudoUser } }: HistoryEntry): string {
  return sudoUser ?? user ?? `uid ${String(uid)}`
}

/** The command line as a shell reads it. */
export function commandLine({ command }: HistoryEntry): string {
  return ['ipvs', ...command].map(quoted).join(' ')
}

/** A command line for the table that this run works on. */
export function commandFor({ table: { netns, memory } }: Run, ...words: readonly string[]): string {
  const place = netns !== undefined ? ['--netns', netns] : memory !== undefined ? ['--memory', memory] : []
  return ['ipvs', ...words, ...place].map(quoted).join(' ')
}

/** A word of a command line, in quotes if a shell would not take it as it is. */
export function quoted(word: string): string {
  return /^[\w./:,=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** A date and time where this runs: '2026-01-05 09:30:00'. */
export function localTime(when: string): string {
  const date = new Date(when)
  const two = (number: number): string => String(number).padStart(2, '0')
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-')
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')}`
}

/** An entry in a line: 'ipvs apply web.yaml  (2026-01-05 09:30:00, alice)'. */
export function describeEntry(entry: HistoryEntry): string {
  return `${commandLine(entry)}  (${localTime(entry.when)}, ${whoOf(entry)})`
}

/** Another command may have removed it. */
export async function remove(path: string): Promise<void> {
  await fs.unlink(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  })
}
