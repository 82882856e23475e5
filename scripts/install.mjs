// What an installation runs: finds a prebuilt addon, or builds one. Elsewhere than on Linux there is no kernel to reach,
// and the rest of the package needs no addon; so there nothing is built, and nobody needs a compiler.
import { createRequire } from 'node:module'
import process from 'node:process'

if (process.platform === 'linux') createRequire(import.meta.url)('node-gyp-build/bin.js')
