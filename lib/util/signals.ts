/**
 * Adds one listener to each signal, however many callbacks it has here: Node warns
 * of a leak from eleven listeners on, and a caller may use one signal for all work.
 */
const heeded = new WeakMap<
  AbortSignal,
  { readonly callbacks: Set<() => void>; readonly listener: () => void }
>()

/** Calls back when the signal is raised, until forgetAbort(). */
export function onAbort(signal: AbortSignal, callback: () => void): void {
  const known = heeded.get(signal)
  if (known !== undefined) {
    known.callbacks.add(callback)
    return
  }
  const callbacks = new Set([callback])
  const listener = (): void => {
    signal.removeEventListener('abort', listener)
    heeded.delete(signal)
    for (const each of callbacks) each()
  }
  heeded.set(signal, { callbacks, listener })
  signal.addEventListener('abort', listener)
}

export function forgetAbort(signal: AbortSignal, callback: () => void): void {
  const known = heeded.get(signal)
  known?.callbacks.delete(callback)
  if (known?.callbacks.size !== 0) return
  signal.removeEventListener('abort', known.listener)
  heeded.delete(signal)
}

/**
 * Runs work with one signal in place of several, and leaves nothing behind on
 * them. AbortSignal.any() leaves something on a signal that lives longer.
 */
export async function whileAnyOf<T>(
  signals: readonly (AbortSignal | undefined)[],
  work: (joined: AbortController) => Promise<T>,
): Promise<T> {
  const joined = new AbortController()
  const heeding: (readonly [AbortSignal, () => void])[] = []
  for (const signal of signals) {
    if (signal === undefined) continue
    const abort = (): void => {
      joined.abort(signal.reason)
    }
    if (signal.aborted) abort()
    onAbort(signal, abort)
    heeding.push([signal, abort])
  }
  try {
    return await work(joined)
  } finally {
    for (const [signal, abort] of heeding) forgetAbort(signal, abort)
  }
}

/**
 * Wraps a callback of the caller. Errors that it throws pass through. A promise
 * that it returns is not waited for, since it may itself wait for the work that
 * calls it; if that promise rejects, its reason becomes the reason of an abort.
 */
export function heard<Progress>(
  callback: ((progress: Progress) => unknown) | undefined,
  controller: AbortController,
): (progress: Progress) => void {
  return (progress) => {
    Promise.resolve(callback?.(progress)).catch((reason: unknown) => {
      controller.abort(reason)
    })
  }
}
