import { constants, promises as fs } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { basename } from 'node:path'
import { Errno } from '../model/errno.ts'
import type { Addon } from './addon.ts'
import type { Failure, LockHolder, TransportLock } from './transport.ts'

/** Where the locks of this machine are. Only root can make it, and what serves as root: RuntimeDirectory=ipvs of systemd. */
const FOLDER = '/run/ipvs'
const LONGEST_COMMAND = 200

/**
 * Tries to take the lock of a network namespace: a flock(2), which ends with the
 * process that has it, however it ends.
 *
 * @param netns Path of the namespace. One that was entered by another path has the same inode, so the same lock.
 */
export async function tryLockFile(
  { lockFile }: Pick<Addon, 'lockFile'>,
  netns: string,
  folder: string = FOLDER,
): Promise<TransportLock | { readonly holder: LockHolder } | Failure> {
  let file: FileHandle | undefined
  try {
    const { ino } = await fs.stat(netns)
    if (!(await makeFolder(folder))) return { errno: Errno.EPERM, syscall: 'open' }
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants
    const path = `${folder}/netns-${String(ino)}.lock`
    file = await fs.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600)
    const failure = lockFile(file.fd)
    if (failure !== undefined) {
      const holder = failure.errno === Errno.EAGAIN && holderOf(await file.readFile('utf8'))
      await file.close()
      return holder === false ? { errno: failure.errno, syscall: failure.operation } : { holder }
    }
    const locked = file
    // The folder was removed and made again since: this file is one that nobody else will find.
    if ((await locked.stat()).ino !== (await fs.stat(path).catch(() => undefined))?.ino) {
      await locked.close()
      return { holder: {} }
    }
    await locked.truncate()
    await locked.write(JSON.stringify(ourselves()), 0)
    return {
      // Whoever waits is not told of us any more.
      release: () => locked.truncate().finally(() => locked.close()),
    }
  } catch (error) {
    await file?.close().catch(() => undefined)
    const { errno, syscall } = error as NodeJS.ErrnoException
    if (errno === undefined) throw error
    return { errno: -errno, ...(syscall !== undefined && { syscall }) }
  }
}

/** Makes the folder if it is missing. Returns whether nobody but its owner can put a file there, or a link. */
async function makeFolder(folder: string): Promise<boolean> {
  await fs.mkdir(folder, 0o700).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  })
  const { mode } = await fs.lstat(folder)
  return (mode & constants.S_IFMT) === constants.S_IFDIR && (mode & 0o022) === 0
}

function ourselves(): LockHolder {
  const [program = '', script, ...words] = process.argv
  const command = [basename(script ?? program), ...words].join(' ').slice(0, LONGEST_COMMAND)
  return { pid: process.pid, command }
}

/** Who has the lock, as far as the file says so: it is empty for a moment. */
function holderOf(text: string): LockHolder {
  try {
    const { pid, command } = JSON.parse(text) as Partial<LockHolder>
    return {
      ...(typeof pid === 'number' && { pid }),
      ...(typeof command === 'string' && { command }),
    }
  } catch {
    return {}
  }
}
