import { createHash } from 'node:crypto'
import { type BigIntStats, promises as fs } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Run } from './run.ts'
import { memoryFileOf } from './table.ts'
import { type Environment, isSet } from './terminal/surroundings.ts'

/** Where the history of a table is kept, which only its owner can read, and which network namespace the table is of. */

export interface HistoryPlace {
  /** Folder of the entries. */
  readonly folder: string
  /** Absent for a table in a file, and where there is no /proc of Linux. */
  readonly namespace?: Namespace
}

/** A network namespace. Another one may have its name later, and its inode after a boot. */
export interface Namespace {
  readonly inode: string
  readonly boot: string
}

/** Why there is no history here. */
export class NoHistory extends Error {}

export async function placeOf(run: Run): Promise<HistoryPlace> {
  const { env } = run.surroundings
  const below = join(await baseFolder(env), 'history')
  const file = memoryFileOf(run.table, env)
  if (file !== undefined) return { folder: join(below, `memory-${hash(resolve(file))}`) }
  const { netns } = run.table
  const path = netns === undefined ? OWN_NETNS : netns.includes('/') ? netns : `${NAMED_NETNS}/${netns}`
  const [found, boot] = await Promise.all([statOf(path), bootId()])
  const name = await tableName(netns, path, found)
  return {
    folder: join(below, name),
    ...(found !== undefined && boot !== undefined && { namespace: { inode: String(found.ino), boot } }),
  }
}

/**
 * The folder of this program's state: that of the service, if systemd has given
 * one; else where systemd would have it, or, for a user, the XDG base directories.
 */
async function baseFolder(env: Environment): Promise<string> {
  // Several are possible, with colons between them.
  const [given] = (env.STATE_DIRECTORY ?? '').split(':')
  // A link where a service has DynamicUser=yes.
  if (isSet(given)) return fs.realpath(given).catch(() => resolve(given))
  if (process.geteuid?.() === 0) return '/var/lib/ipvs'
  if (isSet(env.XDG_STATE_HOME)) return resolve(env.XDG_STATE_HOME, 'ipvs')
  if (isSet(env.HOME)) return resolve(env.HOME, '.local/state/ipvs')
  throw new NoHistory('none of the variables STATE_DIRECTORY, XDG_STATE_HOME and HOME is set')
}

const OWN_NETNS = '/proc/self/ns/net'
const NAMED_NETNS = '/run/netns'
/** Bytes that the name of a folder may have, less those of what is put before. */
const LONGEST_NAME = 200

/** 'default', 'netns-NAME', or 'netns-PATH' with `%2F` in place of each slash for a namespace without a name. */
async function tableName(
  netns: string | undefined,
  path: string,
  found: BigIntStats | undefined,
): Promise<string> {
  const named = netns !== undefined && !netns.includes('/') ? netns : await netnsName(found)
  if (named !== undefined) return `netns-${short(named)}`
  if (netns === undefined) return 'default'
  const own = await statOf(OWN_NETNS)
  return own !== undefined && isSame(own, found) ? 'default' : `netns-${short(resolve(path))}`
}

/** The name of a network namespace under /run/netns. */
async function netnsName(wanted: BigIntStats | undefined): Promise<string | undefined> {
  if (wanted === undefined) return undefined
  for (const name of (await fs.readdir(NAMED_NETNS).catch(() => [])).sort()) {
    if (isSame(wanted, await statOf(join(NAMED_NETNS, name)))) return name
  }
  return undefined
}

function statOf(path: string): Promise<BigIntStats | undefined> {
  return fs.stat(path, { bigint: true }).catch(() => undefined)
}

function isSame(one: BigIntStats, other: BigIntStats | undefined): boolean {
  return one.ino === other?.ino && one.dev === other.dev
}

async function bootId(): Promise<string | undefined> {
  const text = await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => undefined)
  return text?.trim()
}

/** A text as part of the name of a folder. */
function short(text: string): string {
  const name = encodeURIComponent(text)
  return name.length > LONGEST_NAME ? hash(text) : name
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

/**
 * Refuses folders in which somebody else could put or change entries: root would
 * apply them. Creates them where they do not exist, if that is asked for.
 */
export async function checkFolders(folder: string, create = false): Promise<void> {
  const history = resolve(folder, '..')
  const base = resolve(history, '..')
  if (create) {
    await fs.mkdir(base, { recursive: true, mode: 0o700 })
    await refuseForeign(base)
    await makeFolder(history)
  } else {
    await refuseForeign(base)
  }
  await refuseForeign(history)
  if (create) await makeFolder(folder)
  await refuseForeign(folder)
}

async function makeFolder(path: string): Promise<void> {
  await fs.mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  })
}

async function refuseForeign(path: string): Promise<void> {
  const found = await fs.lstat(path)
  if (found.isSymbolicLink()) throw new NoHistory(`${path} is a symbolic link`)
  if (!found.isDirectory()) throw new NoHistory(`${path} is not a folder`)
  refuseOwner(path, found.uid)
  if ((found.mode & 0o022) !== 0) throw new NoHistory(`others may write to ${path}: run chmod go-w on it`)
}

/** Refuses what belongs to somebody else. */
export function refuseOwner(path: string, uid: number): void {
  if (uid !== process.geteuid?.())
    throw new NoHistory(`${path} belongs to another user, with ID ${String(uid)}`)
}
