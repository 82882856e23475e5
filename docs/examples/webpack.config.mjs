import { copyFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const addon = import.meta.resolve(`ipvs/prebuilds/linux-${process.arch}/ipvs.node`)

export default {
  mode: 'production',
  target: 'node20',
  entry: './app.mjs',
  output: {
    filename: 'app.mjs',
    module: true,
    asyncChunks: false, // one file
  },
  experiments: { outputModule: true },
  optimization: { minimize: false }, // stack traces stay readable
  plugins: [
    (compiler) => {
      compiler.hooks.afterEmit.tap('ipvs', () => {
        copyFileSync(fileURLToPath(addon), path.join(compiler.outputPath, 'ipvs.node'))
      })
    },
  ],
}
