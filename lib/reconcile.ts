import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { type ApplyOptions, type ApplyResult, checkApplyOptions } from './apply/apply.ts'
import { ApplyError } from './apply/task.ts'
import { comparisonOf } from './apply/plan.ts'
import { readState } from './files.ts'
import type { Ipvs } from './ipvs.ts'
import { sleep } from './sleep.ts'
import { parseState, type ParseStateOptions, type StateFormat } from './text.ts'
import type { State } from './types.ts'
import { known, object, show, whole } from './validate.ts'

/**
 * Where a wanted state comes from: a state; a function, which is asked before
 * each run, for a state or its text; or a file, which is read before each run
 * and watched.
 */
export type ReconcileSource =
  | State
  /** Its signal is raised when the answer is no longer waited for. */
  | ((signal: AbortSignal) => State | string | Promise<State | string>)
  | { readonly file: string; readonly format?: StateFormat }

/** Options of `reconcile()`: those of `apply()` hold for each run. */
export interface ReconcileOptions extends Omit<ApplyOptions, 'dryRun'> {
  /** How long to wait between two runs, 10 to 2147483647 ms. Default 10000. */
  readonly intervalMs?: number
  /**
   * How long to wait at most where runs fail: each failure in a row doubles the
   * wait, and chance takes up to half of it away. Default 300000, five minutes,
   * and never less than `intervalMs`.
   */
  readonly maxIntervalMs?: number
  /** Called after each run with what it did; `steps` is empty where nothing differed. */
  readonly onRun?: (result: ApplyResult) => void
  /**
   * Called when a run fails: the state cannot be had, a guard refuses it, the
   * kernel does. The table is as it was, or the error says otherwise, and the
   * next run comes later. What this throws ends it all, and `stop()` rejects with it.
   */
  readonly onError: (error: unknown) => void
  /** Ends it all. What a run is about to do then is undone, as with `apply()`. */
  readonly signal?: AbortSignal
}

/** Something that keeps a table as it is wanted. It keeps the process alive until it is stopped. */
export interface Reconciler {
  /** Makes the next run come at once. Resolves when one that began after the call has ended, well or not. */
  runNow(): Promise<void>
  /**
   * Makes no other run. One that waits for its source ends at once; one that is
   * applied is waited for. May be called again.
   */
  stop(): Promise<void>
  /** The same as `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

const DEFAULT_INTERVAL_MS = 10_000
const DEFAULT_MAX_INTERVAL_MS = 300_000
const TIMER_MAX_MS = 2147483647
/** A program that writes a file makes several changes of it. */
const SETTLE_MS = 50

/** See Ipvs.reconcile(). */
export function reconcile(ipvs: Ipvs, source: ReconcileSource, options: ReconcileOptions): Reconciler {
  const { intervalMs, maxIntervalMs, onRun, onError, signal, ...apply } = object(
    options,
    'options',
  ) as unknown as ReconcileOptions
  checkApplyOptions({ ...apply, ...(signal !== undefined && { signal }) })
  if ('dryRun' in apply) throw new TypeError('dryRun has no meaning for reconcile(): use plan()')
  comparisonOf(apply)
  if (onRun !== undefined && typeof onRun !== 'function') {
    throw new TypeError(`onRun must be a function, got ${show(onRun)}`)
  }
  if (typeof onError !== 'function') {
    throw new TypeError(`onError must be a function, got ${show(onError)}: errors have nowhere else to go`)
  }
  const interval = whole(intervalMs ?? DEFAULT_INTERVAL_MS, 'intervalMs', 10, TIMER_MAX_MS)
  const most = whole(maxIntervalMs ?? DEFAULT_MAX_INTERVAL_MS, 'maxIntervalMs', 10, TIMER_MAX_MS)
  return new Loop(ipvs, source, {
    apply,
    onRun,
    onError,
    signal,
    interval,
    most: Math.max(interval, most),
  })
}

interface LoopOptions {
  readonly apply: ApplyOptions
  readonly onRun: ReconcileOptions['onRun']
  readonly onError: ReconcileOptions['onError']
  readonly signal: AbortSignal | undefined
  readonly interval: number
  readonly most: number
}

class Loop implements Reconciler {
  readonly #ipvs: Ipvs
  readonly #read: (signal: AbortSignal) => Promise<State>
  readonly #options: LoopOptions
  readonly #ended: Promise<void>
  readonly #watched: string | undefined
  /** Raised to end the wait between two runs. */
  #wait = new AbortController()
  /** Raised when no state is wanted any more: no source can keep stop() waiting. */
  readonly #reading = new AbortController()
  /** Ends a run that is under way. */
  readonly #abort = new AbortController()
  #stopped = false
  /** A run was asked for since the last one began. */
  #asked = false
  #waiting: (() => void)[] = []
  #watcher: FSWatcher | undefined

  constructor(ipvs: Ipvs, source: ReconcileSource, options: LoopOptions) {
    this.#ipvs = ipvs
    this.#options = options
    const { read, file } = reader(source)
    this.#read = read
    this.#watched = file
    const { signal } = options
    const abort = (): void => {
      this.#abort.abort(signal?.reason)
      this.#end()
    }
    if (signal?.aborted === true) abort()
    signal?.addEventListener('abort', abort)
    this.#ended = this.#loop().finally(() => {
      signal?.removeEventListener('abort', abort)
      this.#watcher?.close()
      for (const resolve of this.#waiting) resolve()
    })
    // Whoever stops it hears of it.
    this.#ended.catch(() => undefined)
  }

  runNow(): Promise<void> {
    if (this.#stopped) return this.#ended
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#ask()
    })
  }

  stop(): Promise<void> {
    this.#end()
    return this.#ended
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #end(): void {
    this.#stopped = true
    this.#reading.abort(this.#abort.signal.reason)
    this.#wait.abort()
  }

  #ask(): void {
    this.#asked = true
    this.#wait.abort()
  }

  async #loop(): Promise<void> {
    const { onRun, onError, interval, most, apply } = this.#options
    let failures = 0
    // Whoever began this hears of nothing before it has the object in hand.
    await Promise.resolve()
    while (!this.#stopped) {
      const resolved = this.#waiting
      this.#waiting = []
      this.#asked = false
      this.#wait = new AbortController()
      this.#watch()
      try {
        const wanted = await unlessAborted(this.#reading.signal, this.#read)
        const result = await this.#ipvs.apply(wanted, { ...apply, signal: this.#abort.signal })
        failures = 0
        onRun?.(result)
      } catch (error) {
        failures += 1
        // That it was to end is no error; that something could not be undone is.
        const unread = this.#reading.signal.aborted && error === this.#reading.signal.reason
        if ((!unread && !this.#abort.signal.aborted) || error instanceof ApplyError) onError(error)
      }
      for (const resolve of resolved) resolve()
      // Many directors that fail together do not come back together.
      const longest = Math.min(most, interval * 2 ** failures)
      const ms = failures === 0 ? interval : longest * (1 - Math.random() / 2)
      await this.#pause(ms)
    }
  }

  /** Waits, unless a run was asked for; a file that changes has a moment to settle. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#wait
    if (this.#stopped || this.#asked) return
    await sleep(ms, signal).catch(() => undefined)
  }

  /**
   * Watches the folder and not the file: one that is replaced is another file.
   * Anew for each run, since the folder may have been replaced too. Where that
   * cannot be, the file is still read before each run.
   */
  #watch(): void {
    if (this.#watched === undefined) return
    const before = this.#watcher
    this.#watcher = undefined
    const name = basename(this.#watched)
    try {
      const watcher = watch(dirname(this.#watched), { persistent: false }, (_, changed) => {
        if (changed !== null && changed !== name) return
        const wait = this.#wait
        setTimeout(() => {
          if (wait === this.#wait) this.#ask()
        }, SETTLE_MS).unref()
      })
      watcher.on('error', () => {
        watcher.close()
      })
      this.#watcher = watcher
    } catch {
      // The folder is not there, or nothing more can be watched.
    }
    before?.close()
  }
}

/** What a task gives, or the reason of the signal as soon as that is raised. */
async function unlessAborted<T>(signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  signal.throwIfAborted()
  let abort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', abort)
  })
  try {
    return await Promise.race([task(signal), aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function reader(source: ReconcileSource): {
  readonly read: (signal: AbortSignal) => Promise<State>
  readonly file?: string
} {
  if (typeof source === 'function') {
    return {
      read: async (signal) => {
        const state = await source(signal)
        return typeof state === 'string' ? parseState(state, { signal }) : state
      },
    }
  }
  const fields = object(source, 'the source of reconcile()')
  if (!('file' in fields)) return { read: () => Promise.resolve(source as State) }
  known(fields, ['file', 'format'], [], 'the source of reconcile()')
  const { file, format } = source as { readonly file: string; readonly format?: StateFormat }
  if (typeof file !== 'string' || file === '') throw new TypeError(`file must be a path, got ${show(file)}`)
  const options: ParseStateOptions = { ...(format !== undefined && { format }) }
  return { file, read: (signal) => readState(file, { ...options, signal }) }
}
