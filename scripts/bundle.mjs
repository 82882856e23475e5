// node scripts/bundle.mjs FOLDER: the JavaScript of the package. The library has one file for each door: Node took longer to
// find and read its hundred modules than to run them. The command has a few files in cli: one that starts, with ipvsadm's
// work in it, and others that are loaded when a command needs them.
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Name of each file, without .cjs -> where it begins. @type {Readonly<Record<string, string>>} */
const FILES = {
  ipvs: 'lib/cli/main.ts',
  library: 'lib/index.ts',
  doctor: 'lib/doctor/examine.ts',
  commands: 'lib/cli/program.ts',
  memory: 'lib/cli/memory.ts',
  // Once, for what one file throws another tells apart by its class.
  errors: 'lib/cli/exit-status.ts',
  guest: 'lib/cli/commands/guest.ts',
}
const names = new Map(Object.entries(FILES).map(([name, file]) => [path.join(root, file), name]))

const folder = path.resolve(process.argv[2] ?? path.join(root, 'dist'))

/** @type {import('esbuild').BuildOptions} */
const common = {
  // Names of files, which are in the result, begin here, wherever node_modules really is.
  absWorkingDir: root,
  preserveSymlinks: true,
  bundle: true,
  // A dependency of the package, loaded only when it is needed.
  external: ['yaml'],
  platform: 'node',
  target: 'node20.19',
  legalComments: 'none',
  // Node reads a smaller file faster. Names stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  metafile: true,
  logLevel: 'warning',
}

/** @type {import('esbuild').BuildOptions} */
const library = {
  ...common,
  outdir: folder,
  format: 'esm',
  lineLimit: 120,
}
const doors = await build({
  ...library,
  entryPoints: ['index', 'testing'].map((door) => path.join(root, `lib/${door}.ts`)),
  plugins: [
    {
      name: 'loaded when it is needed',
      setup({ onResolve }) {
        onResolve({ filter: /\/examine\.ts$/ }, () => ({ path: './doctor.js', external: true }))
      },
    },
  ],
})
// What diagnose() loads. Its classes are those of index.js.
await build({
  ...library,
  entryPoints: [{ in: path.join(root, 'lib/doctor/examine.ts'), out: 'doctor' }],
})
// Everything that ipvs/text exports is in index.js already. Another shared file would only take longer to load.
await build({
  ...library,
  entryPoints: [path.join(root, 'lib/text.ts')],
  plugins: [
    {
      name: 'all from index.js',
      setup({ onResolve }) {
        onResolve({ filter: /^\./ }, () => ({ path: './index.js', external: true }))
      },
    },
  ],
})
// index.js needs modules of Node, which a browser does not have.
await build({
  ...library,
  entryPoints: [{ in: path.join(root, 'lib/text.ts'), out: 'text.browser' }],
  platform: 'browser',
  target: 'es2022',
})

const command = await build({
  ...common,
  entryPoints: Object.entries(FILES).map(([out, file]) => ({ out, in: path.join(root, file) })),
  outdir: path.join(folder, 'cli'),
  outExtension: { '.js': '.cjs' },
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
  // For require(), which this format has, loads one of Node's own modules where it is needed; import loads them all at
  // the start, and its loader takes longer.
  format: 'cjs',
  supported: { 'dynamic-import': false },
  banner: {
    js: "#!/usr/bin/env node\nconst importMetaUrl = require('node:url').pathToFileURL(__filename).href;",
  },
  define: { 'import.meta.url': 'importMetaUrl', 'import.meta.dirname': '__dirname' },
})
chmodSync(path.join(folder, 'cli/ipvs.cjs'), 0o755)

// These files and the addon contain code of other packages, whose licences must be published with it.
const inputs = [doors, command].flatMap(({ metafile }) => Object.keys(metafile?.inputs ?? {}))
const inside = inputs.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? [])
const licences = [...new Set([...inside, 'node-addon-api'])].sort().map((name) => {
  const place = path.join(root, 'node_modules', name)
  const file = readdirSync(place).find((one) => /^licen[cs]e\b/i.test(one))
  if (file === undefined) throw new Error(`${name} has no file with its licence`)
  return `== ${name}\n\n${readFileSync(path.join(place, file), 'utf8').trim()}\n`
})
writeFileSync(
  path.join(folder, 'third-party-licenses.txt'),
  `Parts of these packages are in the files of this one:\n\n${licences.join('\n')}`,
)
