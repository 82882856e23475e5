// Makes the command a few files in dist/cli: one that starts, with ipvsadm's work in it, and one for each thing that is
// loaded when a command needs it. Reading and compiling what is not needed took a tenth of a start.
import { chmodSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Name of each file, without .cjs -> where it begins. @type {Readonly<Record<string, string>>} */
const FILES = {
  ipvs: 'lib/cli/main.ts',
  library: 'lib/index.ts',
  commands: 'lib/cli/program.ts',
  memory: 'lib/cli/memory.ts',
  // Once, for what one file throws another tells apart by its class.
  errors: 'lib/cli/exit-status.ts',
  guest: 'lib/cli/commands/guest.ts',
}
const names = new Map(Object.entries(FILES).map(([name, file]) => [path.join(root, file), name]))

// Unlike what else is in it, commander is no dependency of an installation, so its licence travels along.
const license = readFileSync(path.join(root, 'node_modules/commander/LICENSE'), 'utf8')

// Two folders below the package's, as lib/transport/native.ts is and expects. scripts/build-once.mjs names another.
const folder = path.resolve(process.argv[2] ?? path.join(root, 'dist/cli'))

await build({
  entryPoints: Object.entries(FILES).map(([out, file]) => ({ out, in: path.join(root, file) })),
  outdir: folder,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  // An installation has them, and few commands need them.
  external: ['jsonc-parser', 'yaml'],
  plugins: [
    {
      name: 'files load one another',
      setup({ onResolve }) {
        onResolve({ filter: /^\.\.?\// }, ({ path: target, resolveDir, kind }) => {
          const name = names.get(path.join(resolveDir, target))
          return name === undefined || kind === 'entry-point'
            ? undefined
            : { path: `./${name}.cjs`, external: true }
        })
      },
    },
  ],
  platform: 'node',
  target: 'node20.19',
  // For require(), which this format has, loads one of Node's own modules where it is needed; import loads them all at
  // the start, and its loader takes longer.
  format: 'cjs',
  supported: { 'dynamic-import': false },
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
chmodSync(path.join(folder, 'ipvs.cjs'), 0o755)
