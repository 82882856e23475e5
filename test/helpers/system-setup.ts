import { readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ADDON, buildOnce } from '../../scripts/build-once.mjs'

/**
 * Before any suite of the system runs: builds what several of them need, so that
 * they find it, and refuses an addon that is older than its sources.
 */
export function setup(): void {
  checkAddon()
  buildOnce('package')
}

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Compiling takes long, and whoever changes native/ does it anyway: to build it here would be a surprise. */
function checkAddon(): void {
  const builtMs = statSync(ADDON, { throwIfNoEntry: false })?.mtimeMs
  // Tests that load it say so themselves.
  if (builtMs === undefined) return
  const newer = readdirSync(join(root, 'native'), { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .find((file) => /(?<!\/test\/.*)\.(cc|h)$/.test(file) && statSync(file).mtimeMs > builtMs)
  if (newer === undefined) return
  throw new Error(
    `${relative(root, newer)} was changed after ${relative(root, ADDON)} was built: npm run build:native`,
  )
}
