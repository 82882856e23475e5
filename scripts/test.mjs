// npm test: everything that can be tested on this machine, and the real kernel in guests; as many things at a time as there
// are processors. Ends with what failed and a line `N passed, N failed`.
//
//   IPVS_TEST=all       also what only CI needs: lint, types, sanitizers, other versions of Node, installations, the demo, a small
//                       benchmark
//   IPVS_TEST_KERNELS   the kernels: '6.1' (default), '6.1,6.12' (default of all), or '' for none
//   --record            writes the seconds of each file of test/kernel to test/kernel/seconds.json, which shares them out
//                       among guests: on a quiet machine
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { partsOf } from '../test/kernel/suite.mjs'
import { GUEST_UNAVAILABLE, runJobs, SILENCE_SECONDS } from './jobs.mjs'

/** @typedef {import('./jobs.mjs').Job} Job */
/** @typedef {import('./jobs.mjs').Outcome} Outcome */

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)
const ALL = process.env['IPVS_TEST'] === 'all'
const RECORD = process.argv.includes('--record')
const KERNELS = (process.env['IPVS_TEST_KERNELS'] ?? (ALL ? '6.1,6.12' : '6.1')).split(',').filter(Boolean)

const cores = availableParallelism()
/** More guests at a time share the memory of the machine, and start as often. */
const GUESTS = Math.min(cores, 4)

const guest = path.join(root, 'guest/guest.mjs')
const results = await mkdtemp(path.join(tmpdir(), 'ipvs-test-'))

/** What guests are made of, besides the kernel itself. @param {string} kernel */
const extrasOf = (kernel) =>
  kernel === '6.1' ? ['ldirectord', 'keepalived', 'recipes'].flatMap((extra) => ['--with', extra]) : []

/**
 * A run of vitest, perhaps behind another command.
 *
 * @param {string} name
 * @param {readonly string[]} options
 * @param {readonly string[]} before
 * @returns {Job}
 */
function vitest(name, options, before = []) {
  const report = path.join(results, `${name.replace(/\W+/g, '-')}.json`)
  const command = [...before, 'node_modules/.bin/vitest', 'run', ...options]
  return { name, report, argv: [...command, '--reporter=json', `--outputFile.json=${report}`] }
}

/**
 * The tests of test/kernel in guests of one kernel, shared out among several.
 *
 * @param {string} kernel
 * @returns {Job[]}
 */
function inGuests(kernel) {
  const start = ['node', guest, '--kernel', kernel, '--share', results, '--silence', String(SILENCE_SECONDS)]
  const config = ['--config', 'vitest.kernel.config.ts', '--reporter=verbose']
  const absent = ['--absent-module', '--env', 'IPVS_MODULE=absent']
  const parts = partsOf(kernel, RECORD ? 1 : GUESTS)
  return [
    // Whether a module is there or not, 6.12 says in the same way: test/kernel/reload.test.ts, which runs there too.
    ...(kernel === '6.1'
      ? [vitest(`Linux ${kernel} without ip_vs`, config, [...start, ...absent, '--'])]
      : []),
    ...parts.map((files, index) =>
      vitest(
        `Linux ${kernel}, part ${index + 1} of ${parts.length}`,
        [...config, ...files],
        [...start, ...extrasOf(kernel), '--'],
      ),
    ),
  ]
}

/** @param {string} name @param {string} command @returns {Job} */
const npm = (name, command) => ({ name, argv: ['npm', 'run', '--silent', ...command.split(' ')] })

/** In the order of what they cost. @type {Job[]} */
const before = [npm('types', 'types'), npm('lint', 'lint')]
/** @type {Job[]} */
const after = [
  { ...vitest('installations', ['--config', 'vitest.install.config.ts']), cores: 2 },
  npm('sanitizers', 'test:sanitizers'),
  { name: 'benchmark, smoke', argv: ['node', 'bench/bench.mjs', '--quick'] },
  { name: 'demo', argv: ['node', 'demo/demo.mjs'] },
  { name: 'other versions of Node', argv: ['node', 'scripts/node-versions.mjs'] },
]
const jobs = [
  ...(ALL ? before : []),
  { ...vitest('without a kernel', ['--reporter=default']), cores },
  ...KERNELS.flatMap(inGuests),
  ...(ALL ? after : []),
]

/**
 * Fetches the files of a later job while the first jobs compute. If that fails, the job says so.
 *
 * @param {readonly string[]} args of node
 */
function prefetch(args) {
  const child = spawn('node', args, { stdio: 'ignore' })
  child.on('error', () => {})
  child.unref()
}

/**
 * What the jobs came to.
 *
 * @param {readonly Outcome[]} outcomes
 * @returns {{ passed: number, failed: number }}
 */
function summary(outcomes) {
  const unavailable = outcomes.filter(
    ({ status, name }) => status === GUEST_UNAVAILABLE && /^Linux/.test(name),
  )
  // What CI skips, nobody sees fail.
  const forgiven = process.env['CI'] === 'true' ? [] : unavailable
  const counted = outcomes.filter((outcome) => !forgiven.includes(outcome))
  const skipped = [
    ...counted.flatMap((outcome) => outcome.skipped.map((test) => `${outcome.name}: ${test}`)),
    ...forgiven.map(({ name }) => `${name}: the guest could not run (its reason is above)`),
  ]
  const failures = counted.flatMap((outcome) => outcome.failures.map((test) => `${outcome.name}: ${test}`))
  if (skipped.length > 0) console.log(`\nSKIPPED\n${skipped.map((line) => `   ${line}\n`).join('')}`)
  if (failures.length > 0) console.log(`\nFAILED\n${failures.map((line) => `   ${line}\n`).join('')}`)
  const passed = counted.reduce((sum, outcome) => sum + outcome.passed, 0)
  return { passed, failed: failures.length }
}

/** @param {readonly Outcome[]} outcomes */
async function record(outcomes) {
  const place = path.join(root, 'test/kernel/seconds.json')
  const recorded = JSON.parse(await readFile(place, 'utf8'))
  for (const kernel of KERNELS) {
    const files = outcomes
      .filter(({ name }) => name.startsWith(`Linux ${kernel}, part`))
      .flatMap((outcome) => [...outcome.files])
    recorded[kernel] = Object.fromEntries(
      files.sort().map(([file, seconds]) => [file, Math.round(seconds * 10) / 10]),
    )
  }
  await writeFile(place, `${JSON.stringify(recorded, null, 2)}\n`)
}

let failed = 1
try {
  for (const kernel of KERNELS) prefetch([guest, '--kernel', kernel, ...extrasOf(kernel), '--fetch'])
  if (ALL) prefetch(['scripts/runtimes.mjs'])
  const outcomes = await runJobs(jobs, cores, results)
  if (RECORD) await record(outcomes)
  const total = summary(outcomes)
  failed = total.failed
  console.log(`\n${total.passed} passed, ${total.failed} failed`)
} finally {
  await rm(results, { recursive: true, force: true })
}
process.exitCode = failed === 0 ? 0 : 1
