// Runs test/process, the library's start and end in processes of its own, on other versions of Node than the one that
// runs everything else: node scripts/node-versions.mjs [VERSION ...]. Fetches each once, as the npm package
// node-linux-ARCH, into .cache/node. The addon is the one that was built: it needs Node-API 8, not a Node.
import { spawn } from 'node:child_process'
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const VERSIONS = ['22.23.3', '24.21.0', '26.10.0']

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const cache = path.join(root, '.cache/node')

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

/**
 * The path of a Node, which is fetched if it is not there.
 *
 * @param {string} version
 * @returns {Promise<string>}
 */
async function fetchNode(version) {
  const folder = path.join(cache, version)
  const node = path.join(folder, 'package/bin/node')
  const there = await access(node).then(
    () => true,
    () => false,
  )
  if (there) return node

  const name = `node-linux-${process.arch}`
  await mkdir(cache, { recursive: true })
  // Unpacked beside its place and moved there whole, so that what is there is complete.
  const scratch = await mkdtemp(path.join(cache, 'fetch-'))
  try {
    const packed = await run('npm', ['pack', '--silent', '--pack-destination', scratch, `${name}@${version}`])
    if (packed !== 0) throw new Error(`npm has no ${name}@${version}, or cannot be reached`)
    const unpacked = await run('tar', ['-xzf', `${name}-${version}.tgz`], { cwd: scratch })
    if (unpacked !== 0) throw new Error(`${name}@${version} cannot be unpacked`)
    await rm(path.join(scratch, `${name}-${version}.tgz`))
    await rm(folder, { recursive: true, force: true })
    await rename(scratch, folder)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  return node
}

const asked = process.argv.slice(2)
const failed = []
for (const version of asked.length > 0 ? asked : VERSIONS) {
  const node = await fetchNode(version)
  console.log(`\n== Node ${version}`)
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs')
  const status = await run(process.execPath, [vitest, 'run', 'test/process'], {
    env: { ...process.env, IPVS_TEST_NODE: node },
  })
  if (status !== 0) failed.push(version)
}
console.log(failed.length === 0 ? '\nAll passed.' : `\nFailed on Node ${failed.join(', ')}`)
process.exitCode = failed.length === 0 ? 0 : 1
