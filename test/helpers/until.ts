import { setTimeout as pause } from 'node:timers/promises'
import { patient } from './patience.mjs'

/** Waits until something holds, and gives it; looks every few milliseconds, and fails if that takes longer than anything does. */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  quietMs = 15_000,
): Promise<T> {
  const limitMs = patient(quietMs)
  const start = performance.now()
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (performance.now() - start > limitMs) throw new Error(`waited ${String(limitMs)} ms in vain: ${what}`)
    await pause(20)
  }
}
