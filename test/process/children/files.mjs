// What the child processes know of open files. Plain JavaScript, and without the addon.
import { readdirSync } from 'node:fs'
import { patient } from '../../helpers/patience.mjs'

/** How many files this process has open. */
export function openFiles() {
  return readdirSync('/proc/self/fd').length
}

/**
 * Waits until something holds.
 *
 * @param {string} what
 * @param {() => boolean} holds
 */
export async function until(what, holds) {
  const limit = performance.now() + patient(10_000)
  while (!holds()) {
    if (performance.now() > limit) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
