import { userInfo } from 'node:os'
import { type Ipvs, IpvsError, type SavedState, type SaveOptions, type TableLock } from '../index.ts'
import { asFileError, History, remove, type Who } from './history.ts'
import { NoHistory } from './history-place.ts'
import type { Run } from './run.ts'
import { line } from './terminal/line.ts'

/** What is kept before a change, and when it stays. */
export interface ChangeDetails<T> {
  /** Whether the change that ended so has changed the table. */
  readonly changed: (result: T) => boolean
  /** Ends the wait for another program that changes the table. */
  readonly signal: AbortSignal
  /** Sysctls that will be set: an undo brings them back too. */
  readonly sysctls?: readonly string[]
  /** The server that is drained. That takes minutes, in which others may change the table. */
  readonly drained?: string
}

/**
 * Makes a change of the table: holds out other programs meanwhile, and keeps the
 * state from before in the history unless nothing was changed. A lock that cannot be had
 * and a history that cannot be written stop nothing. `change` is told whether the
 * state from before was kept.
 */
export async function makeChange<T>(
  run: Run,
  ipvs: Ipvs,
  change: (kept: boolean) => Promise<T>,
  how: ChangeDetails<T>,
): Promise<T> {
  const lock = await lockTable(run, ipvs, how.signal)
  try {
    const kept = run.history ? await keep(run, ipvs, how) : undefined
    if (how.drained !== undefined) await lock?.release()
    let changed = true
    try {
      const result = await change(kept !== undefined)
      changed = how.changed(result)
      return result
    } catch (error) {
      changed = !(await kept?.isCurrent())
      throw error
    } finally {
      await kept?.settle(changed)
    }
  } finally {
    await lock?.release()
  }
}

async function lockTable(run: Run, ipvs: Ipvs, signal: AbortSignal): Promise<TableLock | undefined> {
  try {
    return await ipvs.lock({
      wait: run.wait,
      signal,
      onWait: ({ pid, command = 'another process' }) => {
        const who = pid === undefined ? command : `${command} (process ${String(pid)})`
        run.note(line`waiting for ${who}, which is changing this table; Ctrl-C gives up`)
      },
    })
  } catch (error) {
    if (!(error instanceof IpvsError)) throw error
    run.note(line`other programs are not held out meanwhile. ${error.message}`)
    return undefined
  }
}

interface Kept {
  /** Whether the table is as it was. */
  isCurrent(): Promise<boolean>
  /** Ends it: the entry goes if nothing was changed. */
  settle(changed: boolean): Promise<void>
}

/** Keeps the table as it is now. `undefined` if it cannot be kept. */
async function keep(
  run: Run,
  ipvs: Ipvs,
  { sysctls = [], drained }: Pick<ChangeDetails<never>, 'sysctls' | 'drained'>,
): Promise<Kept | undefined> {
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (error) {
      const { message } = asFileError('write', error) as Error
      run.note(line`the state from before was not kept for ipvs undo: ${message}`)
      return undefined
    }
  }
  const parts = await partsOf(ipvs, sysctls)
  const state = await save(ipvs, parts)
  return attempt(async () => {
    if (state === undefined) throw new NoHistory('other programs change the table all the time')
    const text = JSON.stringify(state)
    const history = await History.of(run)
    const { namespace } = history.place
    const path = await history.add({
      when: new Date().toISOString(),
      command: run.words,
      who: whoRuns(run.surroundings.env.SUDO_USER),
      ...(namespace !== undefined && { namespace }),
      ...(drained !== undefined && { drained }),
      state,
    })
    return {
      async isCurrent() {
        return JSON.stringify(await save(ipvs, parts).catch(() => undefined)) === text
      },
      async settle(changed) {
        await attempt(() => (changed ? history.prune() : remove(path)))
      },
    }
  })
}

/** Those of the sysctls that this kernel has: the command that sets the others says so. */
async function partsOf(ipvs: Ipvs, names: readonly string[]): Promise<SaveOptions> {
  const sysctls: string[] = []
  for (const name of names) if ((await ipvs.sysctl(name)) !== undefined) sysctls.push(name)
  return sysctls.length === 0 ? {} : { sysctls }
}

/** The table; `undefined` if it is never the same for two reads. */
async function save(ipvs: Ipvs, parts: SaveOptions): Promise<SavedState | undefined> {
  try {
    return await ipvs.save(parts)
  } catch (error) {
    if (error instanceof IpvsError && error.code === 'EAGAIN') return undefined
    throw error
  }
}

function whoRuns(sudoUser: string | undefined): Who {
  let user: string | undefined
  try {
    user = userInfo().username
  } catch {
    // This user has no entry in passwd(5).
  }
  return {
    uid: process.geteuid?.() ?? -1,
    ...(user !== undefined && { user }),
    ...(sudoUser !== undefined && sudoUser !== '' && { sudoUser }),
  }
}
