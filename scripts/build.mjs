// npm run build: the addon for this machine, if its sources changed, and the library and the command, from lib/ to dist/.
// It does not check types: `npm run types` does.
import { cpSync, rmSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { buildOnce, endWithMessage, run } from './build-once.mjs'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')

endWithMessage(() => {
  // Elsewhere there is no IPVS, and the rest of the library needs no addon.
  if (process.platform === 'linux') {
    run(process.execPath, ['node_modules/node-gyp/bin/node-gyp.js', 'configure', 'build'], root)
  }
  const dist = path.join(root, 'dist')
  rmSync(dist, { recursive: true, force: true })
  cpSync(path.join(buildOnce('package'), 'dist'), dist, { recursive: true })
})
