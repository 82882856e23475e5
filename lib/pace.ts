/**
 * Long work on the JS thread in slices: `if (pace.due()) await pace.rest()`
 * after each small step lets timers and sockets have their turn.
 */
export class Pace {
  #steps = 0
  /** When the slice began. 0: short work never looks at the clock. */
  #start = 0

  /** Whether this slice has lasted long enough, after so many more steps. Looks at the clock every 32 steps. */
  due(steps = 1): boolean {
    this.#steps += steps
    if (this.#steps < STEPS_PER_LOOK) return false
    this.#steps = 0
    if (this.#start === 0) this.#start = performance.now()
    return performance.now() - this.#start > SLICE_MS
  }

  async rest(): Promise<void> {
    await nextTurn()
    this.#start = performance.now()
  }
}

/** A fifth of what the JS thread may be kept at a time: garbage collection and the caller's own work come on top. */
const SLICE_MS = 2
const STEPS_PER_LOOK = 32

/** After timers and sockets had their turn. A browser has no setImmediate(), and a timer that waits four milliseconds will do. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })
}
