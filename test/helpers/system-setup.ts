import { readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ADDON, buildOnce } from '../../scripts/build-once.mjs'

/**
 * Before any suite of the system runs: builds what several of them need, so that
 * they find it, and refuses an addon that is older than its sources.
 */
export function setup(): void {
  // The suites that are run with another addon need no more than that.
  if (process.env.IPVS_ADDON !== undefined) return
  checkAddon()
  buildOnce('package')
}

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Compiling takes long, and whoever changes native/ does it anyway: to build it here would be a surprise. */
function checkAddon(): void {
  const builtMs = statSync(ADDON, { throwIfNoEntry: false })?.mtimeMs
  // Tests that load it say so themselves.
  if (builtMs === undefined) return
  const newer = readdirSync(join(root, 'native'))
    .filter((file) => /\.(cc|h)$/.test(file))
    .find((file) => statSync(join(root, 'native', file)).mtimeMs > builtMs)
  if (newer === undefined) return
  throw new Error(
    `native/${newer} was changed after ${relative(root, ADDON)} was built: npm run build:native`,
  )
}
