// Runs test/process, the library's start and end in processes of its own, on other versions of Node than the one that
// runs everything else: node scripts/node-versions.mjs [VERSION ...]. Each is fetched once (runtimes.mjs). The addon is the
// one that is published.
import { spawn } from 'node:child_process'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { buildOnce } from './build-once.mjs'
import { NEWER_NODES, fetchNode } from './runtimes.mjs'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')

/**
 * Runs a command to its end.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Promise<number>} its exit status
 */
function run(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options })
    child.on('error', reject)
    child.on('close', (code) => {
      resolve(code ?? 1)
    })
  })
}

const addon = path.join(buildOnce('prebuilds'), `linux-${process.arch}/ipvs.node`)
const asked = process.argv.slice(2)
const failed = []
for (const version of asked.length > 0 ? asked : NEWER_NODES) {
  const { argv } = await fetchNode(version)
  console.log(`\n== Node ${version}`)
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs')
  const status = await run(process.execPath, [vitest, 'run', 'test/process'], {
    env: { ...process.env, IPVS_TEST_NODE: argv[0], IPVS_ADDON: addon },
  })
  if (status !== 0) failed.push(version)
}
console.log(failed.length === 0 ? '\nAll passed.' : `\nFailed on Node ${failed.join(', ')}`)
process.exitCode = failed.length === 0 ? 0 : 1
