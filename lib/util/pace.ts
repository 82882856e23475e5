/**
 * Long work on the JS thread in slices, for loops that are not over a list:
 * `if (pace.due()) await pace.rest()` after each step lets timers and sockets
 * have their turn. For a list, `slices()` does it.
 */
export class Pace {
  /** When the slice began. 0: short work never looks at the clock. */
  #start = 0
  /** When the clock was looked at last, how many steps are taken between two looks, and how many are left. */
  #looked = 0
  #stride = FIRST_STRIDE
  #left = FIRST_STRIDE

  /** Whether this slice has lasted long enough. Call it once for each step. */
  due(): boolean {
    this.#left -= 1
    if (this.#left > 0) return false
    const now = performance.now()
    if (this.#start === 0) this.#begin(now)
    // A step takes a hundred times as long where its code is new, or what it does is much.
    const took = now - this.#looked
    if (took < SLICE_MS / 8) this.#stride = Math.min(this.#stride * 2, LONGEST_STRIDE)
    else if (took > SLICE_MS / 4) this.#stride = Math.max(this.#stride >> 1, 1)
    this.#looked = now
    this.#left = this.#stride
    return now - this.#start > SLICE_MS
  }

  /** Makes something of each, as Array.map() does. */
  async map<From, To>(list: readonly From[], make: (one: From) => To): Promise<To[]> {
    const made: To[] = []
    for (const one of list) {
      made.push(make(one))
      if (this.due()) await this.rest()
    }
    return made
  }

  async rest(): Promise<void> {
    await nextTurn()
    this.#begin(performance.now())
  }

  #begin(now: number): void {
    this.#start = now
    this.#looked = now
  }
}

/**
 * Gives a list in slices, and others the JS thread between them where they
 * take long: `for await (const some of slices(list)) for (const one of some) ...`
 * Throws the signal's reason at the first rest after it was aborted.
 */
export async function* slices<T>(
  list: readonly T[],
  signal?: AbortSignal,
): AsyncGenerator<readonly T[], void, undefined> {
  if (list.length <= FIRST_STRIDE) {
    if (list.length > 0) yield list
    return
  }
  let size = FIRST_STRIDE
  let start = performance.now()
  let looked = start
  for (let at = 0; at < list.length;) {
    yield list.slice(at, at + size)
    at += size
    const now = performance.now()
    // A step takes a hundred times as long where its code is new, or what it does is much.
    const took = now - looked
    if (took < SLICE_MS / 8) size = Math.min(size * 2, LONGEST_STRIDE)
    else if (took > SLICE_MS / 4) size = Math.max(size >> 1, 1)
    looked = now
    if (now - start <= SLICE_MS) continue
    await nextTurn()
    signal?.throwIfAborted()
    start = looked = performance.now()
  }
}

/** Lists up to this length are not worth a slice of their own. */
const SHORT = 64

/**
 * Calls back for each of a list that is part of another one's work: at once
 * where it is short, else in slices. Always to be awaited.
 */
export function forEachOf<T>(
  list: readonly T[],
  work: (one: T, index: number) => void,
): Promise<void> | undefined {
  if (list.length > SHORT) return inSlices(list, work)
  for (let index = 0; index < list.length; index++) work(list[index] as T, index)
  return undefined
}

async function inSlices<T>(list: readonly T[], work: (one: T, index: number) => void): Promise<void> {
  let index = 0
  for await (const some of slices(list)) for (const one of some) work(one, index++)
}

/** A fifth of what the JS thread may be kept at a time: garbage collection and the caller's own work come on top. */
const SLICE_MS = 2
const FIRST_STRIDE = 16
const LONGEST_STRIDE = 128

/** After timers and sockets had their turn. A browser has no setImmediate(), and a timer that waits four milliseconds will do. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })
}
