// Not from node:fs/promises: see replace-file.ts.
import { constants, promises as fs, type Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { fileSystemError, namingFile } from './file-error.ts'
import { sleep } from './sleep.ts'

/** The longest file that is read, about a million real servers as JSON: what never ends must not fill the memory. */
export const LONGEST_FILE_BYTES: number = 2 ** 28

/** Files that somebody writes to are read again, so often at most. */
const READS = 5
/** The first buffer where the size is not known, as in /proc. */
const FIRST_BYTES = 2 ** 16
/** An abort is noticed between two reads. */
const MOST_AT_ONCE_BYTES = 2 ** 23
/** How long to wait for a pipe that has nothing yet. */
const PIPE_MS = 10

/** What this process has open already, such as a shell's <(COMMAND), may be a pipe or a terminal. */
const OPEN_ALREADY = /^\/dev\/(null|stdin|fd\/\d+)$|^\/proc\/self\/fd\/\d+$/

// Opening a FIFO would wait for its other end, and a terminal would become that of this process.
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY

/**
 * Reads a file that may be in a folder of others: it is a regular one, no longer
 * than LONGEST_FILE_BYTES, and nobody wrote to it meanwhile. Errors name it.
 */
export async function readBytes(path: string, signal?: AbortSignal): Promise<Uint8Array> {
  signal?.throwIfAborted()
  const anyKind = OPEN_ALREADY.test(path)
  try {
    // Before it is opened, which does something to some devices.
    const found = anyKind ? undefined : await fs.stat(path).catch(() => undefined)
    if (found !== undefined) refuseSpecial(found, path)
    const file = await fs.open(path, FLAGS)
    try {
      if (!anyKind) refuseSpecial(await file.stat(), path)
      return await readStable(file, path, signal)
    } finally {
      await file.close()
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw namingFile(error, path)
  }
}

/** A folder is left to read(2), which has an error of its own for it. */
function refuseSpecial(stats: Stats, path: string): void {
  if (stats.isFile() || stats.isDirectory()) return
  const kind = stats.isFIFO() ? 'a FIFO' : stats.isSocket() ? 'a socket' : 'a device'
  throw fileSystemError(
    'EINVAL',
    path,
    `is ${kind}, not a regular file, and was not read; to read from a pipe, use /dev/stdin`,
  )
}

async function readStable(
  file: FileHandle,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  for (let reads = 1; ; reads++) {
    const before = await file.stat()
    const regular = before.isFile()
    const bytes = await readAll(file, path, regular ? before.size : undefined, signal)
    if (!regular) return bytes
    const after = await file.stat()
    if (after.size === before.size && after.mtimeMs === before.mtimeMs) return bytes
    if (reads === READS) {
      throw fileSystemError('EAGAIN', path, 'was written to each time it was read; try again later')
    }
  }
}

/** Reads to the end; from the beginning if the `size` is given, which is that of a regular file. */
async function readAll(
  file: FileHandle,
  path: string,
  size: number | undefined,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  if (size !== undefined && size > LONGEST_FILE_BYTES) throw tooLong(path)
  // One byte more, to see that there is no more.
  let bytes = new Uint8Array(size === undefined || size === 0 ? FIRST_BYTES : size + 1)
  let length = 0
  for (;;) {
    signal?.throwIfAborted()
    if (length > LONGEST_FILE_BYTES) throw tooLong(path)
    if (length === bytes.length) {
      const longer = new Uint8Array(Math.min(2 * length, LONGEST_FILE_BYTES + 1))
      longer.set(bytes)
      bytes = longer
    }
    const most = Math.min(bytes.length - length, MOST_AT_ONCE_BYTES)
    const got = await readSome(file, bytes, length, most, size === undefined ? null : length, signal)
    if (got === 0) return bytes.subarray(0, length)
    length += got
  }
}

/** Waits for a pipe that has nothing yet. */
async function readSome(
  file: FileHandle,
  bytes: Uint8Array,
  offset: number,
  most: number,
  position: number | null,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (;;) {
    try {
      return (await file.read(bytes, offset, most, position)).bytesRead
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
    await sleep(PIPE_MS, signal)
  }
}

function tooLong(path: string): Error {
  return fileSystemError('EFBIG', path, `is longer than ${String(LONGEST_FILE_BYTES)} bytes and was not read`)
}
