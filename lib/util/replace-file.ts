// Not from node:fs/promises or node:crypto: this is in every start of the command, and those load at once, and half of
// Node with them.
import { constants, promises as fs, type Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { fileSystemError, namingFile } from './file-error.ts'

/** Only the owner may read and write: a table tells much of a network. */
const MODE = 0o600

// Without the file's own name, which may be as long as a name can be.
const TEMPORARY = /^\.ipvs-[0-9a-f]{8}\.tmp$/
/** A temporary file that is older belongs to nobody: who made it was killed. */
const ABANDONED_MS = 3_600_000

/** Linux's; Node has no name for it. Such a handle stays with a folder that may not be read. */
const O_PATH = 0o10000000

export interface ReplaceOptions {
  /** Called when all is written; a rejection keeps the old file. */
  readonly check?: () => Promise<void>
  /** How many versions before this one are kept, if they differ: FILE~, FILE~2 and so on, the newest first. Default 0. */
  readonly keep?: number
}

/**
 * Puts a file in the place of another, whole or not at all: a reader sees the
 * old text or the new one, and after a loss of power there is one of the two.
 * The old file stays if anything fails, and so does what is not a regular file.
 */
export async function replaceFile(
  path: string,
  text: string,
  { check = () => Promise.resolve(), keep = 0 }: ReplaceOptions = {},
): Promise<void> {
  const folder = await openFolder(dirname(path))
  const temporaries: string[] = []
  const write = async (content: string | Uint8Array, owned: Inheritance): Promise<string> => {
    const temporary = folder.at(`.ipvs-${crypto.randomUUID().slice(0, 8)}.tmp`)
    temporaries.push(temporary)
    await writeNew(temporary, content, owned)
    return temporary
  }
  try {
    const name = basename(path) + (path.endsWith('/') ? '/' : '')
    const place = folder.at(name)
    const inherited = await inheritance(place, path, folder)
    await removeAbandoned(folder)
    try {
      const written = await write(text, inherited)
      await check()
      const old = keep === 0 ? undefined : await versionBefore(place, text, folder)
      const copy = old === undefined ? undefined : await write(old.bytes, old)
      if (copy !== undefined) await shiftVersions(folder, { name, path, keep, copy })
      // To write may have taken a while, and rename() would take the place of a link too.
      await inheritance(place, path, folder)
      await fs.rename(written, place)
    } catch (error) {
      for (const temporary of temporaries) await fs.unlink(temporary).catch(() => undefined)
      throw error
    }
    await syncFolder(folder, path)
  } catch (error) {
    throw namingFile(folder.asNamed(error), path)
  } finally {
    await folder.handle.close()
  }
}

/** Writes a new file, to the disk. */
async function writeNew(
  path: string,
  content: string | Uint8Array,
  { mode, owner }: Inheritance,
): Promise<void> {
  // O_EXCL: no file and no link that someone put there is opened.
  const file = await fs.open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, MODE)
  try {
    await file.writeFile(content)
    if (owner !== undefined) await file.chown(owner.uid, owner.gid)
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * The file that is there, if it differs. A copy of it becomes FILE~, so that there is always a FILE. What is
 * read, and whose it is, are of the same open file: others may put another one in its place at any time.
 */
async function versionBefore(
  place: string,
  text: string,
  folder: Folder,
): Promise<(Inheritance & { readonly bytes: Uint8Array }) | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  let file: FileHandle
  try {
    file = await fs.open(place, flags)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const stats = await file.stat()
    if (!stats.isFile()) return undefined
    const bytes = await file.readFile()
    if (bytes.equals(Buffer.from(text))) return undefined
    return { bytes, ...inheritedFrom(stats, folder) }
  } finally {
    await file.close()
  }
}

/** FILE~ becomes FILE~2 and so on, the oldest goes, and the copy becomes FILE~. */
async function shiftVersions(
  folder: Folder,
  { name, path, keep, copy }: { name: string; path: string; keep: number; copy: string },
): Promise<void> {
  const suffix = (number: number): string => (number === 1 ? '~' : `~${String(number)}`)
  let last = 0
  for (let number = 1; number <= keep; number++) {
    const place = folder.at(name + suffix(number))
    // Refuses a link, and what is not a file.
    await inheritance(place, path + suffix(number), folder)
    last = number
    if ((await fs.lstat(place).catch(() => undefined)) === undefined) break
  }
  for (let number = last; number > 1; number--) {
    await fs.rename(folder.at(name + suffix(number - 1)), folder.at(name + suffix(number)))
  }
  await fs.rename(copy, folder.at(name + suffix(1)))
}

/**
 * A folder that stays the same one while it is worked in, even where others can
 * give its name to another folder, or to a link.
 */
interface Folder {
  readonly handle: FileHandle
  readonly uid: number
  /** The path of a name in it. */
  readonly at: (name: string) => string
  /** An error with the folder as the caller named it. */
  readonly asNamed: (error: unknown) => unknown
}

async function openFolder(path: string): Promise<Folder> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY
  const handle = await fs.open(path, flags).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES' || process.platform !== 'linux') throw error
    return fs.open(path, flags | O_PATH)
  })
  try {
    const { uid, ino, dev } = await handle.stat()
    const pinned = `/proc/self/fd/${String(handle.fd)}`
    const found = await fs.stat(pinned).catch(() => undefined)
    // Where there is no /proc of Linux.
    const base = found?.ino === ino && found.dev === dev ? pinned : path
    const within = (folder: string): string => (folder.endsWith('/') ? folder : `${folder}/`)
    return {
      handle,
      uid,
      at: (name) => within(base) + name,
      asNamed: (error) => {
        if (!(error instanceof Error)) return error
        const named = (text: string): string => text.replaceAll(within(base), within(path))
        error.message = named(error.message)
        const fields = error as { path?: unknown; dest?: unknown }
        if (typeof fields.path === 'string') fields.path = named(fields.path)
        if (typeof fields.dest === 'string') fields.dest = named(fields.dest)
        return error
      },
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** What a new file has from the one whose place it takes. */
interface Inheritance {
  readonly mode: number
  readonly owner?: { readonly uid: number; readonly gid: number }
}

async function inheritance(place: string, path: string, folder: Folder): Promise<Inheritance> {
  const old = await fs.lstat(place).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  })
  if (old === undefined) return { mode: MODE }
  if (old.isSymbolicLink()) {
    const target = await fs.readlink(place)
    throw fileSystemError(
      'ELOOP',
      path,
      `is a symbolic link to ${target}: name the file itself, or delete the link`,
    )
  }
  if (!old.isFile()) throw fileSystemError('EINVAL', path, 'is not a regular file and was not replaced')
  return inheritedFrom(old, folder)
}

function inheritedFrom(old: Stats, folder: Folder): Inheritance {
  // No set-user-ID bits either.
  const mode = old.mode & MODE
  const { uid, gid } = old
  // Root that saves for a service leaves the service its file. But only where the whole folder is that user's: in one
  // that is open to all, such as /tmp, anyone may have put a file there. A link leads to it where a service of systemd
  // has DynamicUser=yes.
  if (uid === 0 || process.geteuid?.() !== 0 || folder.uid !== uid) return { mode }
  return { mode, owner: { uid, gid } }
}

/** Removes what saves left behind that were killed: it may be what fills the disk. */
async function removeAbandoned(folder: Folder): Promise<void> {
  const names = await fs.readdir(folder.at('.')).catch(() => [])
  for (const name of names) {
    if (!TEMPORARY.test(name)) continue
    const found = await fs.lstat(folder.at(name)).catch(() => undefined)
    if (found?.isFile() !== true || Date.now() - found.mtimeMs < ABANDONED_MS) continue
    if (found.uid !== process.geteuid?.() && found.uid !== folder.uid) continue
    await fs.unlink(folder.at(name)).catch(() => undefined)
  }
}

/** The name too has to reach the disk. Some file systems cannot do that, nor can a folder that may not be read. */
async function syncFolder({ handle }: Folder, path: string): Promise<void> {
  try {
    await handle.sync()
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException
    if (['EINVAL', 'EBADF', 'ENOTSUP'].includes(code)) return
    const reason =
      'was replaced, but may be the old one again after a loss of power: its folder was not synced'
    throw Object.assign(fileSystemError(code, path, reason), { cause })
  }
}
