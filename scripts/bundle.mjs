// Makes the command one file, dist/cli/ipvs.cjs: one file is read and compiled faster than the forty it is made of.
import { chmodSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
// Two folders below the package's, as lib/transport/native.ts is and expects.
const outfile = path.join(root, 'dist/cli/ipvs.cjs')

await build({
  entryPoints: [path.join(root, 'lib/cli/main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  // For require(), which this format has, loads one of Node's own modules where it is needed; import loads them all at the start.
  format: 'cjs',
  banner: {
    js: "#!/usr/bin/env node\nconst importMetaUrl = require('node:url').pathToFileURL(__filename).href;",
  },
  define: { 'import.meta.url': 'importMetaUrl' },
  legalComments: 'none',
  logLevel: 'warning',
})
chmodSync(outfile, 0o755)
