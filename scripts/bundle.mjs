// Makes the command one file, dist/cli/ipvs.cjs: one file is read and compiled faster than the forty it is made of.
import { chmodSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
// Two folders below the package's, as lib/transport/native.ts is and expects.
const outfile = path.join(root, 'dist/cli/ipvs.cjs')
// Unlike what else is in it, commander is no dependency of an installation, so its licence travels along.
const license = readFileSync(path.join(root, 'node_modules/commander/LICENSE'), 'utf8')

await build({
  entryPoints: [path.join(root, 'lib/cli/main.ts')],
  outfile,
  bundle: true,
  // An installation has it, and few commands need it.
  external: ['yaml'],
  platform: 'node',
  target: 'node20.19',
  // For require(), which this format has, loads one of Node's own modules where it is needed; import loads them all at the start.
  format: 'cjs',
  banner: {
    js: "#!/usr/bin/env node\nconst importMetaUrl = require('node:url').pathToFileURL(__filename).href;",
  },
  footer: { js: `/* The command has commander (https://github.com/tj/commander.js) in it:\n\n${license}*/` },
  define: { 'import.meta.url': 'importMetaUrl' },
  legalComments: 'none',
  // Half the letters are half the time to read them; names stay for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
})
chmodSync(outfile, 0o755)
