// Limits in tests are for what hangs, and no test judges how fast a machine is. A limit is written as it would be on a quiet
// machine and multiplied by the patience: how many times slower than that this machine is. The configurations of vitest
// measure it once for a run. IPVS_PATIENCE says it outright.
import { execFileSync } from 'node:child_process'
import process from 'node:process'

/** A start of Node on a quiet machine. */
const QUIET_START_MS = 45

/** How many times slower than a quiet machine this one is: at least 1. In the guests it is some 10. */
function calibrate() {
  const starts = [1, 2, 3].map(() => {
    const begin = performance.now()
    execFileSync(process.execPath, ['-e', '0'], { env: {} })
    return performance.now() - begin
  })
  return Math.max(1, Math.round((Math.max(...starts) / QUIET_START_MS) * 10) / 10)
}

/** How many times slower than a quiet machine this one is. */
export const PATIENCE = Number(process.env['IPVS_PATIENCE'] || calibrate())
if (!(PATIENCE > 0)) {
  throw new Error(`IPVS_PATIENCE must be a number above 0, got '${process.env['IPVS_PATIENCE']}'`)
}

/**
 * A limit in milliseconds.
 *
 * @param {number} quietMs on a quiet machine
 * @returns {number}
 */
export function patient(quietMs) {
  return Math.ceil(quietMs * PATIENCE)
}
