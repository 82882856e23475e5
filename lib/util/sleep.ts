/** The longest wait of a timer. */
export const TIMER_MAX_MS = 2147483647

/**
 * Waits with the global setTimeout(), so that fake timers of tests work here too;
 * node:timers/promises ignores them. Rejects with the reason of the signal when
 * that is raised.
 */
export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer)
      reject(signal?.reason as Error)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    if (signal?.aborted === true) abort()
    else signal?.addEventListener('abort', abort, { once: true })
  })
}
