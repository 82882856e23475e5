import { copyFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

await build({
  entryPoints: ['app.mjs'],
  outfile: 'dist/app.mjs',
  format: 'esm',
  bundle: true,
  platform: 'node',
  // Only for 'esm': ipvs reads YAML with a CommonJS package, which calls require().
  banner: {
    js: "import { createRequire as requireFor } from 'node:module'; const require = requireFor(import.meta.url);",
  },
})

const addon = import.meta.resolve(`ipvs/prebuilds/linux-${process.arch}/ipvs.node`)
copyFileSync(fileURLToPath(addon), 'dist/ipvs.node')
