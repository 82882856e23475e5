// npm test: everything that can be tested on this machine, and the real kernel in the guest. Ends with a line
// `N passed, N failed`. IPVS_TEST_KERNELS chooses the kernels: '6.1' (default), '6.1,6.12', or '' for none.
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const results = await mkdtemp(path.join(tmpdir(), 'ipvs-test-'))
const total = { passed: 0, failed: 0 }
/** @type {string[]} */
const skipped = []

/** The guest's exit status where it could not run. */
const GUEST_UNAVAILABLE = 125

/**
 * Runs vitest, perhaps behind another command, and counts what it reports.
 *
 * @param {string} name
 * @param {string[]} before
 * @param {string[]} options
 * @returns {Promise<number>} the exit status
 */
async function vitest(name, before, options) {
  console.log(`\n== ${name}`)
  const report = path.join(results, `${name.replace(/\W+/g, '-')}.json`)
  const command = [...before, path.join(root, 'node_modules/.bin/vitest'), 'run', ...options]
  command.push('--reporter=default', '--reporter=json', `--outputFile.json=${report}`)
  const child = spawn(/** @type {string} */ (command[0]), command.slice(1), {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const status = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
  if (before.length > 0 && status === GUEST_UNAVAILABLE) return status
  const counted = await readFile(report, 'utf8').then(JSON.parse, () => undefined)
  total.passed += counted?.numPassedTests ?? 0
  // A run that failed without a failed test, such as one that did not start, is a failure too.
  total.failed += Math.max(counted?.numFailedTests ?? 0, status === 0 ? 0 : 1)
  return status
}

/**
 * Runs the tests of test/kernel on a kernel of their own.
 *
 * @param {string} kernel
 * @param {string} name
 * @param {string[]} options of the guest
 */
async function inGuest(kernel, name, options) {
  const guest = ['node', path.join(root, 'test/guest/guest.mjs'), '--kernel', kernel, '--limit', '3600']
  guest.push('--share', results, ...options, '--')
  const status = await vitest(name, guest, ['--config', 'vitest.kernel.config.ts'])
  if (status === GUEST_UNAVAILABLE) skipped.push(name)
}

try {
  await vitest('without a kernel', [], [])
  for (const kernel of (process.env['IPVS_TEST_KERNELS'] ?? '6.1').split(',').filter(Boolean)) {
    await inGuest(kernel, `on Linux ${kernel}`, ['--with', 'ldirectord'])
    await inGuest(kernel, `on Linux ${kernel} without ip_vs`, [
      '--absent-module',
      '--env',
      'IPVS_MODULE=absent',
    ])
  }
} finally {
  await rm(results, { recursive: true, force: true })
}

for (const name of skipped) {
  console.log(`\n!! SKIPPED: the tests ${name}, because the guest could not run (its reason is above).`)
  // What CI skips, nobody sees fail.
  if (process.env['CI'] === 'true') total.failed += 1
}
console.log(`\n${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 ? 0 : 1
