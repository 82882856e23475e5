import { promises as fs, type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { type Lookups } from '../ipvsadm/endpoints.ts'
import { checkOptions, known, object, optionalFunction, show, whole } from '../model/check.ts'
import { Errno } from '../model/errno.ts'
import { IpvsError } from '../model/errors.ts'
import type { State } from '../model/types.ts'
import type { Session } from '../session/session.ts'
import { comparisonOf } from '../state/goal.ts'
import type { CheckedState } from '../state/table.ts'
import { checkParseOptions, FORMAT_OPTIONS, parseState } from '../text/parse.ts'
import { type StateFormat } from '../text/syntax-error.ts'
import { sleep, TIMER_MAX_MS } from '../util/sleep.ts'
import { apply } from './apply.ts'
import { ApplyError } from './errors.ts'
import { readCheckedState } from './files.ts'
import { APPLY_OPTIONS, type ApplyOptions, type ApplyResult, checkApplyOptions } from './options.ts'

/** A loop that keeps a table as a state wants it. One file: its source, its timing and its end depend on one another. */

/**
 * Where the wanted state comes from: a state; a function that is called before
 * each run and returns a state or its text; or a file that is read before each
 * run and watched.
 */
export type ReconcileSource =
  | State
  /** `signal` is raised when the answer is no longer needed. */
  | ((signal: AbortSignal) => State | string | Promise<State | string>)
  | FileSource

/** A file with a wanted state, and how it is read. */
export interface FileSource extends Lookups {
  /** Path of the file. */
  readonly file: string
  /** Its format. Default: by its extension, or else guessed from its contents. */
  readonly format?: StateFormat | undefined
  /** Accepts the file as complete even if its last line does not end in a newline. Default false. */
  readonly whole?: boolean | undefined
}

/** Options of `reconcile()`: those of `apply()` hold for each run. */
export interface ReconcileOptions extends Omit<ApplyOptions, 'dryRun'> {
  /** How long to wait between two runs, 10 to 2147483647 ms. Default 10000. */
  readonly intervalMs?: number | undefined
  /**
   * Longest wait when runs fail: each failure in a row doubles the wait, and a
   * random part of up to half is taken off, but never below `intervalMs`.
   * Default 300000, five minutes, and never less than `intervalMs`.
   */
  readonly maxIntervalMs?: number | undefined
  /**
   * Called after each run with what it did; `steps` is empty if nothing
   * differed. An error that it throws goes to `onError`. An async callback is not
   * waited for; if it rejects, that goes to `onError` too.
   */
  readonly onRun?: ((result: ApplyResult) => unknown) | undefined
  /**
   * Called when a run fails: the state could not be read, a guard refused it, or
   * the kernel did. The table is as it was, unless the error says otherwise, and
   * the next run comes later. An error that it throws ends the reconciling, and
   * `stop()` rejects with it. An async callback is not waited for; if it rejects,
   * that does the same. Called once more, with an EBADF, if the {@link Ipvs} is
   * closed before `stop()`: that ends the reconciling too.
   */
  readonly onError: (error: unknown) => unknown
  /** Ends the reconciling. A run in progress is undone, as with `apply()`. */
  readonly signal?: AbortSignal | undefined
}

/** Keeps a table in the wanted state. Keeps the process alive until it is stopped. */
export interface Reconciler {
  /**
   * Starts the next run at once, or as soon as nobody writes to the file any
   * more. Resolves when a run that began after the call has ended, whether it
   * succeeded or failed. Rejects if there is no further run: with the error that
   * `onError` threw, or with EBADF if the {@link Ipvs} is closed. After `stop()`
   * it resolves without a run.
   */
  runNow(): Promise<void>
  /**
   * Starts no further run. A run that waits for its source ends at once; one
   * that is being applied is waited for. May be called again.
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
/** A file is usually written in several steps. It is read when it has not changed for this long, */
const SETTLE_MS = 50
/** or after waiting this long for that. */
const LONGEST_SETTLE_MS = 2000
/** How often to read a file at most that changes while it is read. */
const READS = 2

/** See Ipvs.reconcile(). */
export function reconcile(session: Session, source: ReconcileSource, options: ReconcileOptions): Reconciler {
  session.checkOpen('reconcile')
  if (object(options, 'options').dryRun !== undefined) {
    throw new TypeError('dryRun does not work with reconcile(): use plan()')
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
  return new Loop(session, source, {
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

/** Settles these calls: rejects them if there is a reason. */
function settle(calls: readonly Waiting[], why?: unknown): void {
  for (const { resolve, reject } of calls) {
    if (why === undefined) resolve()
    else reject(why)
  }
}

class Loop implements Reconciler {
  readonly #session: Session
  readonly #read: (signal: AbortSignal) => Promise<State | CheckedState>
  readonly #options: LoopOptions
  readonly #ended: Promise<void>
  readonly #watched: string | undefined
  /** Raised to end the wait between two runs. */
  #wait = new AbortController()
  /** Raised when no state is needed any more, so that no source can keep stop() waiting. */
  readonly #reading = new AbortController()
  /** Ends a run in progress. */
  readonly #abort = new AbortController()
  #stopped = false
  /** Calls of runNow() since the last run began. */
  #waiting: Waiting[] = []
  /** The watched file changed since the last run began. */
  #changed = false
  /** Why there is no further run although nobody called stop(). */
  #closed: IpvsError | undefined
  /** The reason that onError rejected with. */
  #failed: { readonly reason: unknown } | undefined
  #watcher: FSWatcher | undefined

  constructor(session: Session, source: ReconcileSource, options: LoopOptions) {
    this.#session = session
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
    const forget = session.onClose(() => {
      if (this.#stopped) return
      this.#closed = new IpvsError({ errno: Errno.EBADF, command: 'reconcile' })
      this.#end()
    })
    this.#ended = this.#loop().finally(() => {
      this.#stopped = true
      signal?.removeEventListener('abort', abort)
      forget()
      this.#watcher?.close()
    })
    // stop() rejects with it.
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
      this.#wait.abort()
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

  async #loop(): Promise<void> {
    const { interval, most } = this.#options
    let failures = 0
    // The caller must have the object before a callback runs.
    await Promise.resolve()
    for (;;) {
      await this.#settled()
      if (this.#stopped) break
      const asking = this.#waiting
      this.#waiting = []
      this.#changed = false
      this.#watch()
      try {
        failures = (await this.#run()) ? 0 : failures + 1
      } catch (thrown) {
        settle(asking, thrown)
        throw thrown
      }
      settle(asking)
      // So that many directors that fail together do not retry together.
      const longest = Math.min(most, interval * 2 ** failures)
      const ms = failures === 0 ? interval : Math.max(interval, longest * (1 - Math.random() / 2))
      await this.#pause(ms)
    }
    if (this.#failed !== undefined) throw this.#failed.reason
    if (this.#closed !== undefined) this.#tell(this.#closed)
  }

  /** Makes one run. Returns whether the table is as wanted; throws what onError throws. */
  async #run(): Promise<boolean> {
    const { onRun, apply: options } = this.#options
    let result: ApplyResult
    try {
      const wanted = await this.#wanted()
      result = await apply(this.#session, wanted, { ...options, signal: this.#abort.signal })
    } catch (error) {
      if (this.#isNews(error)) this.#tell(error)
      return false
    }
    // An error of onRun says nothing about the table.
    try {
      this.#heed(onRun?.(result), (error) => {
        this.#tell(error)
      })
    } catch (error) {
      this.#tell(error)
    }
    return result.failed.length === 0
  }

  /** The wanted state. A file counts only if nobody wrote to it meanwhile: half a file would delete the other half. */
  async #wanted(): Promise<State | CheckedState> {
    const { signal } = this.#reading
    if (this.#watched === undefined) return unlessAborted(signal, this.#read)
    for (let reads = 1; ; reads++) {
      const before = await this.#stamp(this.#watched)
      const wanted = unlessAborted(signal, this.#read)
      await wanted.catch(() => undefined)
      if (reads === READS || before?.id === (await this.#stamp(this.#watched))?.id) return wanted
      await this.#settled()
    }
  }

  /** Waits until nobody has written to the file for a moment. */
  async #settled(): Promise<void> {
    if (this.#watched === undefined) return
    const latest = performance.now() + LONGEST_SETTLE_MS
    while (!this.#stopped) {
      const ageMs = (await this.#stamp(this.#watched))?.ageMs ?? Infinity
      // Written in the future, by another clock.
      if (ageMs >= SETTLE_MS || ageMs < -SETTLE_MS) return
      const left = Math.min(SETTLE_MS - ageMs, latest - performance.now())
      if (left <= 0) return
      await sleep(Math.ceil(left), this.#reading.signal).catch(() => undefined)
    }
  }

  /** The file as it is; `undefined` if it cannot be read. A file system that never answers does not hold up stop(). */
  #stamp(file: string): Promise<Stamp | undefined> {
    return unlessAborted(this.#reading.signal, () => stampOf(file)).catch(() => undefined)
  }

  /** Calls onError. Throws what it throws. */
  #tell(error: unknown): void {
    this.#heed(this.#options.onError(error), (reason) => {
      throw reason
    })
  }

  /** Handles the rejection of an async callback. Does not wait for it: it may itself wait for stop() or runNow(). */
  #heed(called: unknown, rejected: (reason: unknown) => void): void {
    Promise.resolve(called)
      .catch(rejected)
      .catch((reason: unknown) => {
        this.#failed ??= { reason }
        this.#end()
      })
  }

  /** Being stopped is not an error; a failed roll-back is. */
  #isNews(error: unknown): boolean {
    if (error instanceof ApplyError) return true
    if (this.#abort.signal.aborted) return false
    if (this.#closed !== undefined && error instanceof IpvsError && error.code === 'EBADF') return false
    return !this.#reading.signal.aborted || error !== this.#reading.signal.reason
  }

  /** Waits, unless there already is a reason for a run. */
  async #pause(ms: number): Promise<void> {
    if (this.#stopped || this.#waiting.length > 0 || this.#changed) return
    this.#wait = new AbortController()
    await sleep(ms, this.#wait.signal).catch(() => undefined)
  }

  /**
   * Watches the folder and not the file, because a replaced file is another
   * file. Starts anew for each run, since the folder may have been replaced too.
   * If watching fails, the file is still read before each run.
   */
  #watch(): void {
    if (this.#watched === undefined) return
    const before = this.#watcher
    this.#watcher = undefined
    const name = basename(this.#watched)
    try {
      const watcher = watch(dirname(this.#watched), { persistent: false }, (_, changed) => {
        if (changed !== null && changed !== name) return
        this.#changed = true
        this.#wait.abort()
      })
      watcher.on('error', () => {
        watcher.close()
      })
      this.#watcher = watcher
    } catch {
      // The folder does not exist, or there are too many watches.
    }
    before?.close()
  }
}

interface Stamp {
  /** Tells one version of a file from another. */
  readonly id: string
  /** Milliseconds since it was written. */
  readonly ageMs: number
}

async function stampOf(file: string): Promise<Stamp> {
  const { ino, size, mtimeMs } = await fs.stat(file)
  return { id: `${String(ino)} ${String(size)} ${String(mtimeMs)}`, ageMs: Date.now() - mtimeMs }
}

/** The result of a task, or a rejection with the signal's reason as soon as that is raised. */
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
  readonly read: (signal: AbortSignal) => Promise<State | CheckedState>
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
  if (fields.file === undefined) return { read: () => Promise.resolve(source as State) }
  known(fields, ['file', ...FORMAT_OPTIONS], [], 'the source of reconcile()')
  const { file, ...options } = source as FileSource
  if (typeof file !== 'string' || file === '') throw new TypeError(`file must be a path, got ${show(file)}`)
  checkParseOptions(options)
  return { file, read: (signal) => readCheckedState(file, { ...options, signal }) }
}
