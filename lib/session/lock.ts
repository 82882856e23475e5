import { checkOptions, flag, optionalFunction } from '../model/check.ts'
import type { RequestOptions } from '../model/types.ts'
import type { Failure, LockHolder, Transport, TransportLock } from '../transport/transport.ts'
import { sleep } from '../util/sleep.ts'
import { refusal } from './refusals.ts'

/** Options of `lock()`. */
export interface LockOptions extends RequestOptions {
  /** Whether to wait while another process has the lock. False: {@link LockedError} at once. Default true. */
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

/** Another process has the lock of the table, and the caller does not want to wait. */
export class LockedError extends Error {
  /** Names the kind of error. */
  readonly code = 'ERR_IPVS_LOCKED'
  /** Who has it. */
  readonly holder: LockHolder

  /** @hidden */
  constructor(holder: LockHolder) {
    super(`${nameOf(holder)} is changing this table: wait until it has ended; nothing was changed`)
    this.name = 'LockedError'
    this.holder = holder
  }
}

/** How often to ask for a lock that another process has. flock(2) could wait, but not until a signal is raised. */
const INTERVAL_MS = 20

/** The locks of one conversation. */
export class Locks {
  readonly #transport: Transport
  #held = 0

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
    return this.#holding(taken)
  }

  /**
   * Does some work with the lock, and waits for it if another process has it, until
   * `signal` is raised. Where the lock cannot be had, for example because /run is
   * read-only, the work is done without it.
   */
  async during<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#held > 0) return work()
    const taken = await this.#take(signal, () => undefined)
    const lock = this.#holding(taken !== undefined && 'errno' in taken ? undefined : taken)
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

  #holding(lock: TransportLock | undefined): TableLock {
    this.#held += 1
    let released: Promise<void> | undefined
    const release = (): Promise<void> => {
      if (released === undefined) {
        this.#held -= 1
        // Its file is closed in any case.
        released = lock?.release().catch(() => undefined) ?? Promise.resolve()
      }
      return released
    }
    return { release, [Symbol.asyncDispose]: release }
  }
}

function nameOf({ pid, command }: LockHolder): string {
  if (command === undefined) return 'another process'
  return pid === undefined ? command : `${command} (process ${String(pid)})`
}
