// Which folders root may run programs from, and work in: not those that somebody else could put other files into.
import { realpath, stat } from 'node:fs/promises'
import { homedir, tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))

const WRITABLE_BY_ANYONE = 0o002
const WRITABLE_BY_GROUP = 0o020
/** In such a folder only owners rename and delete. */
const STICKY = 0o1000

/** The home of the user; by the system's list of users where HOME says nothing. */
export function home() {
  // Empty or relative it would be whatever folder we are in.
  return path.isAbsolute(homedir()) ? homedir() : userInfo().homedir
}

/** Where temporary folders are made: TMPDIR, unless that is somebody else's, who could put another in their place. */
export async function temporaryFolder() {
  return path.isAbsolute(tmpdir()) && (await whyNotTrusted(tmpdir())) === undefined ? tmpdir() : '/tmp'
}

/**
 * Why root should not use what is in a folder, or `undefined`. Others than root know whose folders they name. One that
 * was `named` to be used may belong to anybody, but for those in a folder like /tmp, where anyone may have made it.
 *
 * @param {string} folder which need not be there yet
 * @param {{ readonly named?: boolean }} [options]
 * @returns {Promise<string | undefined>}
 */
export async function whyNotTrusted(folder, { named = false } = {}) {
  if (process.geteuid?.() !== 0) return undefined
  const owners = new Set([0])
  // Whoever may change these programs need not change others.
  for (const above of foldersAbove(here)) {
    const { uid, mode } = await stat(above)
    if ((mode & (WRITABLE_BY_ANYONE | STICKY)) === WRITABLE_BY_ANYONE) return undefined
    owners.add(uid)
  }
  for (const each of foldersAbove(await existing(folder))) {
    if (within(each, here)) return undefined
    const { uid, gid, mode } = await stat(each)
    const parent = await stat(path.dirname(each))
    const shared = (parent.mode & WRITABLE_BY_ANYONE) !== 0
    if (!owners.has(uid) && (shared || !named)) return `${each} belongs to user ${uid}`
    if ((mode & STICKY) !== 0) continue
    if ((mode & WRITABLE_BY_ANYONE) !== 0) return `anyone may write to ${each}`
    if ((mode & WRITABLE_BY_GROUP) !== 0 && !named && gid !== 0 && gid !== process.getegid?.()) {
      return `group ${gid} may write to ${each}`
    }
  }
  return undefined
}

/** The folder, and those that it is in. @param {string} folder */
function foldersAbove(folder) {
  const folders = [folder]
  for (let last = folder; last !== path.dirname(last);) folders.push((last = path.dirname(last)))
  return folders
}

/** @param {string} folder @param {string} file */
function within(folder, file) {
  return file === folder || file.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}

/**
 * The folder, or the first above it that is there, without links.
 *
 * @param {string} folder
 * @returns {Promise<string>}
 */
async function existing(folder) {
  try {
    return await realpath(folder)
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error
    return await existing(path.dirname(folder))
  }
}
