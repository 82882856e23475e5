import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { APPLY_OPTIONS, type ApplyOptions, type ApplyResult, checkApplyOptions } from './apply/apply.ts'
import { ApplyError } from './apply/task.ts'
import { comparisonOf } from './apply/plan.ts'
import { IpvsError } from './errors.ts'
import { readState } from './files.ts'
import type { Ipvs } from './ipvs.ts'
import { sleep } from './sleep.ts'
import { type Lookups, parseState, type StateFormat } from './text.ts'
import { checkParseOptions, FORMAT_OPTIONS } from './text/state.ts'
import type { State } from './types.ts'
import { checkOptions, known, object, optionalFunction, show, whole } from './validate.ts'

/**
 * Where a wanted state comes from: a state; a function, which is asked before
 * each run, for a state or its text; or a file, which is read before each run
 * and watched.
 */
export type ReconcileSource =
  | State
  /** Its signal is raised when the answer is no longer waited for. */
  | ((signal: AbortSignal) => State | string | Promise<State | string>)
  | FileSource

/** A file with a wanted state, and how it is read. */
export interface FileSource extends Lookups {
  readonly file: string
  readonly format?: StateFormat
}

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
  /** Called after each run with what it did; `steps` is empty where nothing differed. What this throws is told to `onError`. */
  readonly onRun?: (result: ApplyResult) => void
  /**
   * Called when a run fails: the state cannot be had, a guard refuses it, the
   * kernel does. The table is as it was, or the error says otherwise, and the
   * next run comes later. What this throws ends it all, and `stop()` rejects with
   * it. Called once more, with an EBADF, if the {@link Ipvs} is closed before `stop()`: that ends it too.
   */
  readonly onError: (error: unknown) => void
  /** Ends it all. What a run is about to do then is undone, as with `apply()`. */
  readonly signal?: AbortSignal
}

/** Something that keeps a table as it is wanted. It keeps the process alive until it is stopped. */
export interface Reconciler {
  /**
   * Makes the next run come at once. Resolves when one that began after the call
   * has ended, well or not. Rejects where none comes: with what `onError` threw,
   * or with EBADF when the {@link Ipvs} is closed.
   */
  runNow(): Promise<void>
  /**
   * Makes no other run. One that waits for its source ends at once; one that is
   * applied is waited for. May be called again.
   */
  stop(): Promise<void>
  /** The same as `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

const OPTIONS = [
  'intervalMs',
  'maxIntervalMs',
  'onRun',
  'onError',
  ...APPLY_OPTIONS.filter((name) => name !== 'dryRun'),
]
const DEFAULT_INTERVAL_MS = 10_000
const DEFAULT_MAX_INTERVAL_MS = 300_000
const TIMER_MAX_MS = 2147483647
const EBADF = 9
/** A program that writes a file makes several changes of it. */
const SETTLE_MS = 50

/** See Ipvs.reconcile(). */
export function reconcile(ipvs: Ipvs, source: ReconcileSource, options: ReconcileOptions): Reconciler {
  if ('dryRun' in object(options, 'options')) {
    throw new TypeError('dryRun has no meaning for reconcile(): use plan()')
  }
  checkOptions(options, OPTIONS)
  const { intervalMs, maxIntervalMs, onRun, onError, signal, ...apply } = options
  checkApplyOptions(apply)
  comparisonOf(apply)
  optionalFunction(onRun, 'onRun')
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

/** A call of runNow(). */
interface Waiting {
  readonly resolve: () => void
  readonly reject: (why: unknown) => void
}

/** Ends these calls; badly, if there is a reason. */
function settle(calls: readonly Waiting[], why?: unknown): void {
  for (const { resolve, reject } of calls) {
    if (why === undefined) resolve()
    else reject(why)
  }
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
  #waiting: Waiting[] = []
  /** Why there is no other run though nobody stopped it. */
  #closed: IpvsError | undefined
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
    const forget = ipvs.onClose(() => {
      if (this.#stopped) return
      this.#closed = new IpvsError({ errno: EBADF, command: 'reconcile' })
      this.#end()
    })
    this.#ended = this.#loop().finally(() => {
      this.#stopped = true
      signal?.removeEventListener('abort', abort)
      forget()
      this.#watcher?.close()
    })
    // Whoever stops it hears of it.
    this.#ended.then(
      () => {
        settle(this.#waiting, this.#closed)
      },
      (thrown: unknown) => {
        settle(this.#waiting, thrown)
      },
    )
  }

  async runNow(): Promise<void> {
    if (this.#stopped) {
      await this.#ended
      if (this.#closed !== undefined) throw this.#closed
      return
    }
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
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
    const { onError, interval, most } = this.#options
    let failures = 0
    // Whoever began this hears of nothing before it has the object in hand.
    await Promise.resolve()
    while (!this.#stopped) {
      const asking = this.#waiting
      this.#waiting = []
      this.#asked = false
      this.#wait = new AbortController()
      this.#watch()
      try {
        failures = (await this.#run()) ? 0 : failures + 1
      } catch (thrown) {
        settle(asking, thrown)
        throw thrown
      }
      settle(asking)
      // Many directors that fail together do not come back together.
      const longest = Math.min(most, interval * 2 ** failures)
      const ms = failures === 0 ? interval : longest * (1 - Math.random() / 2)
      await this.#pause(ms)
    }
    if (this.#closed !== undefined) onError(this.#closed)
  }

  /** Makes one run. Says whether the table is as it is wanted; throws what onError throws. */
  async #run(): Promise<boolean> {
    const { onRun, onError, apply } = this.#options
    let result: ApplyResult
    try {
      const wanted = await unlessAborted(this.#reading.signal, this.#read)
      result = await this.#ipvs.apply(wanted, { ...apply, signal: this.#abort.signal })
    } catch (error) {
      if (this.#isNews(error)) onError(error)
      return false
    }
    // What is wrong with onRun is not wrong with the table.
    try {
      onRun?.(result)
    } catch (error) {
      onError(error)
    }
    return true
  }

  /** That it was to end is no error; that something could not be undone is. */
  #isNews(error: unknown): boolean {
    if (error instanceof ApplyError) return true
    if (this.#abort.signal.aborted) return false
    if (this.#closed !== undefined && error instanceof IpvsError && error.code === 'EBADF') return false
    return !this.#reading.signal.aborted || error !== this.#reading.signal.reason
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
  known(fields, ['file', ...FORMAT_OPTIONS], [], 'the source of reconcile()')
  const { file, ...options } = source as FileSource
  if (typeof file !== 'string' || file === '') throw new TypeError(`file must be a path, got ${show(file)}`)
  checkParseOptions(options)
  return { file, read: (signal) => readState(file, { ...options, signal }) }
}
