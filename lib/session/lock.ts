import { checkOptions, flag, optionalFunction } from '../model/check.ts'
import type { RequestOptions } from '../model/types.ts'
import type { Failure, LockHolder, Transport, TransportLock } from '../transport/transport.ts'
import { sleep } from '../util/sleep.ts'
import { refusal } from './refusals.ts'

/** Options of `lock()`. */
export interface LockOptions extends RequestOptions {
  /** Whether to wait while another has the lock. False: {@link LockedError} at once. Default true. */
  readonly wait?: boolean | undefined
  /** Called once if there is something to wait for, with who has the lock. */
  readonly onWait?: ((holder: LockHolder) => unknown) | undefined
}

/** The lock of a table, which holds out other processes until it is released. */
export interface TableLock {
  /** Lets the next one have it. May be called again. */
  release(): Promise<void>
  /** The same as `release()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** The lock of the table is taken, mostly by another process, and the caller does not want to wait. */
export class LockedError extends Error {
  /** Names the kind of error. */
  readonly code = 'ERR_IPVS_LOCKED'
  /** Who has it. */
  readonly holder: LockHolder

  /** @hidden */
  constructor(holder: LockHolder) {
    super(
      holder.pid === process.pid
        ? 'this process has the lock of this table already: release it first; nothing was changed'
        : `${nameOf(holder)} is changing this table: wait until it has ended; nothing was changed`,
    )
    this.name = 'LockedError'
    this.holder = holder
  }
}

/** How often to ask for a lock that another process has. flock(2) could wait, but not until a signal is raised. */
const INTERVAL_MS = 20

/** The lock in hand, and for how many it is held. */
interface Held {
  readonly lock: TransportLock | undefined
  users: number
}

/** The locks of one conversation. */
export class Locks {
  readonly #transport: Transport
  #held: Held | undefined

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** See Ipvs.lock(). */
  async take(options: LockOptions): Promise<TableLock> {
    checkOptions(options, ['wait', 'onWait', 'signal'])
    const wait = flag(options.wait ?? true, 'wait')
    optionalFunction(options.onWait, 'onWait')
    const { onWait, signal } = options
    signal?.throwIfAborted()
    const taken = await this.#take(signal, (holder) => {
      if (!wait) throw new LockedError(holder)
      onWait?.(holder)
    })
    if (taken !== undefined && 'errno' in taken) throw refusal(taken, 'lock')
    return this.#use((this.#held = { lock: taken, users: 0 }))
  }

  /**
   * Does some work with the lock, and waits for it if another has it, until
   * `signal` is raised. Where the lock cannot be had, for example because /run is
   * read-only, the work is done without it.
   */
  async during<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    let held = this.#held
    if (held === undefined) {
      const taken = await this.#take(signal, () => undefined)
      held = { lock: taken !== undefined && 'errno' in taken ? undefined : taken, users: 0 }
      this.#held = held
    }
    const lock = this.#use(held)
    try {
      return await work()
    } finally {
      await lock.release()
    }
  }

  /** The lock; a failure; or `undefined` where no other process has this table. */
  async #take(
    signal: AbortSignal | undefined,
    waiting: (holder: LockHolder) => void,
  ): Promise<TransportLock | Failure | undefined> {
    let told = false
    for (;;) {
      const taken = await this.#transport.lock?.()
      if (taken === undefined || !('holder' in taken)) return taken
      if (!told) waiting(taken.holder)
      told = true
      await sleep(INTERVAL_MS, signal)
    }
  }

  /** One use of the lock. The last one to end gives it back. */
  #use(held: Held): TableLock {
    held.users += 1
    let released: Promise<void> | undefined
    const end = async (): Promise<void> => {
      held.users -= 1
      if (held.users > 0) return
      if (this.#held === held) this.#held = undefined
      // Its file is closed in any case.
      await held.lock?.release().catch(() => undefined)
    }
    const release = (): Promise<void> => (released ??= end())
    return { release, [Symbol.asyncDispose]: release }
  }
}

function nameOf({ pid, command }: LockHolder): string {
  if (command === undefined) return 'another process'
  return pid === undefined ? command : `${command} (process ${String(pid)})`
}
