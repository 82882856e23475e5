// Runs every contender in turn. Wants to be root on a kernel with ip_vs that does nothing else: bench.mjs starts it in
// the guest.
//
//   node measure.mjs FOLDER PLAN
//
// FOLDER has the programs floor and stopwatch, PLAN is JSON. Prints one line of JSON, Measurements. At last each work of
// the library is done once more and recorded in FOLDER/recorded, to be replayed outside of the guest.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { median } from './median.mjs'
import { ipvsadmLines, rules } from './rules.mjs'
import { libraryWorks, samplesOf } from './works.mjs'

/**
 * @typedef {object} Plan
 * @property {number} services
 * @property {number} servers real servers of each service
 * @property {number} memoryServers the same for the table whose memory is measured
 * @property {number} rounds samples of each contender
 * @property {number} restores how often a process of the library restores; the last counts as that of one that runs
 * @property {number} reads the same for reading, where the median of the last third counts
 * @property {number} edits edits that a sample is the median of
 * @property {number} spawns the same for processes, which take longer
 *
 * @typedef {object} Measurements
 * @property {string} kernel
 * @property {string} node
 * @property {string} ipvsadm
 * @property {Record<string, Record<string, number[]>>} microseconds by work and contender, a number for each sample
 * @property {Record<string, Record<string, number[]>>} longestTurnMs by work and contender
 * @property {number[]} heapBytes
 * @property {number[]} largeHeapBytes of a large table that was restored and saved, with a plan
 *
 * @typedef {import('./library.mjs').Report} Report
 */

const here = import.meta.dirname
const [folder = '', planText = ''] = process.argv.slice(2)
/** @type {Plan} */
const plan = JSON.parse(planText)
const table = rules(plan.services, plan.servers)
const sizes = [plan.services, plan.servers]
/** What `ipvsadm` is there is `command` here. */
const command = [process.execPath, path.join(here, '../dist/cli/ipvs.cjs'), 'adm']

const scratch = mkdtempSync(path.join(tmpdir(), 'ipvs-bench-'))
const rulesFile = path.join(scratch, 'rules')
const savedFile = path.join(scratch, 'saved')
writeFileSync(rulesFile, `${ipvsadmLines(table).join('\n')}\n`)

/** @param {(string | number)[]} command */
function run(...command) {
  const [program = '', ...args] = command.map(String)
  const { status, error, stdout } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (error) throw error
  if (status !== 0) throw new Error(`${command.join(' ')}: status ${status}`)
  return stdout
}

/** @param {string} namespace @param {(string | number)[]} command */
const runIn = (namespace, ...command) => run('ip', 'netns', 'exec', namespace, ...command)

/** @param {string} namespace @param {(string | number)[]} args */
const floor = (namespace, ...args) => timesOf(runIn(namespace, path.join(folder, 'floor'), ...args))

/** @param {string} namespace @param {(string | number)[]} args */
const stopwatch = (namespace, ...args) => timesOf(runIn(namespace, path.join(folder, 'stopwatch'), ...args))

/** @param {string} output */
const timesOf = (output) => output.trim().split('\n').map(Number)

/** Does a work of the library in fresh namespaces. @param {string} work @param {(report: Report, names: string[]) => void} use @param {string[]} options */
async function library(work, use, ...options) {
  const { table, repeats, places, full } = libraryWorks(plan)[work] ?? assert.fail(work)
  await inFreshNamespaces(places, (...names) => {
    if (full) for (const name of names) floor(name, 'restore', ...table)
    use(libraryIn(names, work, [...table, repeats], options), names)
  })
}

/** @param {string[]} names @param {string} work @param {number[]} size @param {string[]} [options] @returns {Report} */
const libraryIn = (names, work, size, options = []) =>
  JSON.parse(
    run(process.execPath, '--expose-gc', path.join(here, 'library.mjs'), ...options, work, ...size, ...names),
  )

let namespaces = 0

/**
 * Hands over fresh network namespaces. The kernel frees the tables of old ones in the background, on the one processor
 * that everything here runs on, so that is waited for.
 *
 * @param {number} count
 * @param {(...names: string[]) => void} use
 */
async function inFreshNamespaces(count, use) {
  const names = Array.from({ length: count }, () => `bench${(namespaces += 1)}`)
  for (const name of names) {
    run('ip', 'netns', 'add', name)
    // Without it the kernel takes no address for unicast.
    run('ip', '-n', name, 'link', 'set', 'lo', 'up')
  }
  use(...names)
  for (const name of names) run('ip', 'netns', 'delete', name)
  await idle()
}

/** Waits until nothing has run for half a second, but for what comes every now and then. */
async function idle() {
  for (let tries = 0; tries < 240; tries++) {
    const before = busyTicks()
    await sleep(500)
    if (busyTicks() - before <= 5) return
  }
  throw new Error('the guest does not come to rest')
}

/** Hundredths of a second that the processor has worked for. */
function busyTicks() {
  const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8').split(/\s+/).map(Number)
  return Number(user) + Number(nice) + Number(system) + Number(irq) + Number(softirq)
}

/** @type {Measurements} */
const measurements = {
  kernel: release(),
  node: process.version,
  ipvsadm: run('ipvsadm', '--version').split(' ')[1] ?? '',
  microseconds: {},
  longestTurnMs: {},
  heapBytes: [],
  largeHeapBytes: [],
}

/** @param {string} work @param {string} contender @param {number[]} microseconds @param {number[]} [longestTurnMs] */
function note(work, contender, microseconds, longestTurnMs) {
  ;((measurements.microseconds[work] ??= {})[contender] ??= []).push(...microseconds)
  if (longestTurnMs) ((measurements.longestTurnMs[work] ??= {})[contender] ??= []).push(...longestTurnMs)
}

/** @param {string} name of libraryWorks() @param {Report} report */
function noteLibrary(name, report) {
  for (const { work, contender, microseconds, longestTurnMs } of samplesOf(name, report)) {
    note(work, contender, [microseconds], [longestTurnMs])
  }
}

/** @param {string} namespace */
const saved = (namespace) => runIn(namespace, 'ipvsadm', '-Sn')

/** Fails unless a text has every rule of the table and no other. @param {string} text */
function checkRules(text) {
  assert.deepEqual(text.trimEnd().split('\n').sort(), ipvsadmLines(table).sort())
}

/**
 * Fails unless the edits made the weights of the services' first real servers what they are: that of the last edits.
 *
 * @param {string} namespace
 */
function checkWeights(namespace) {
  const rulesNow = new Set(saved(namespace).split('\n'))
  for (let i = Math.max(0, plan.edits - plan.services); i < plan.edits; i++) {
    const rule = `${serverWords(i % plan.services)} -m -w ${1000 + i}`
    assert(rulesNow.has(`-a ${rule}`), rule)
  }
}

/** What ipvsadm calls the first real server of a service. @param {number} index */
function serverWords(index) {
  const { service, realServers } = table[index] ?? assert.fail()
  return `-t ${service.address}:${service.port} -r ${realServers[0]?.address}:${realServers[0]?.port}`
}

/** The works, and in each the contenders in turn. @type {Record<string, (() => Promise<void>)[]>} */
const works = {
  restore: [
    () =>
      inFreshNamespaces(1, (name) => {
        note('restore', 'floor', floor(name, 'restore', ...sizes))
        checkRules(saved(name))
      }),
    () =>
      inFreshNamespaces(1, (name) => {
        note('restore', 'ipvsadm', stopwatch(name, 1, rulesFile, '/dev/null', 'ipvsadm', '-R'))
        checkRules(saved(name))
      }),
    () =>
      inFreshNamespaces(1, (name) => {
        note('restore', 'command', stopwatch(name, 1, rulesFile, '/dev/null', ...command, '-R'))
        checkRules(saved(name))
      }),
    ...['restore', 'restoreState'].map(
      (work) => () =>
        library(work, (report, names) => {
          noteLibrary(work, report)
          for (const name of names) checkRules(saved(name))
        }),
    ),
  ],
  apply: [() => library('apply', (report) => noteLibrary('apply', report))],
  read: [
    () =>
      inFreshNamespaces(1, (name) => {
        floor(name, 'restore', ...sizes)
        note('read', 'floor', floor(name, 'read', ...sizes))
      }),
    () =>
      inFreshNamespaces(1, (name) => {
        floor(name, 'restore', ...sizes)
        note('read', 'ipvsadm', stopwatch(name, 1, '/dev/null', savedFile, 'ipvsadm', '-Sn'))
        checkRules(readFileSync(savedFile, 'utf8'))
        note('read', 'command', stopwatch(name, 1, '/dev/null', savedFile, ...command, '-Sn'))
        checkRules(readFileSync(savedFile, 'utf8'))
      }),
    () => library('read', (report) => noteLibrary('read', report)),
  ],
  edit: [
    () =>
      inFreshNamespaces(1, (name) => {
        floor(name, 'restore', ...sizes)
        note('edit', 'floor', [median(floor(name, 'edit', ...sizes, plan.edits))])
        checkWeights(name)
      }),
    () =>
      inFreshNamespaces(1, (name) => {
        floor(name, 'restore', ...sizes)
        const edit = ['ipvsadm', '-e', ...serverWords(0).split(' '), '-m', '-w', '%d']
        note('edit', 'ipvsadm', [median(stopwatch(name, plan.spawns, '/dev/null', '/dev/null', ...edit))])
        assert(saved(name).includes(`-a ${serverWords(0)} -m -w ${plan.spawns - 1}\n`))
      }),
    () =>
      library('edit', (report, names) => {
        noteLibrary('edit', report)
        for (const name of names) checkWeights(name)
      }),
    () =>
      inFreshNamespaces(1, (name) => {
        note('edit', 'pool', [median(libraryIn([name], 'pool', [...sizes, plan.edits]).microseconds)])
      }),
  ],
  memory: [
    () =>
      library('memory', (report) => {
        noteLibrary('memory', report)
        measurements.heapBytes.push(report.heapBytes ?? NaN)
      }),
  ],
  large: [
    () =>
      library('large', (report) => {
        noteLibrary('large', report)
        measurements.largeHeapBytes.push(report.heapBytes ?? NaN)
      }),
  ],
  startup: [
    () =>
      inFreshNamespaces(1, (name) => {
        /** @param {string} contender @param {string[]} words */
        const start = (contender, ...words) => {
          note('startup', contender, [
            median(stopwatch(name, plan.spawns, '/dev/null', '/dev/null', ...words)),
          ])
        }
        start('node', process.execPath, '-e', '0')
        start('command', ...command, '-v')
        start('ipvsadm', 'ipvsadm', '-v')
        start('library', process.execPath, path.join(here, 'startup.mjs'))
      }),
  ],
}

run('modprobe', 'ip_vs_wrr')
await idle()
for (const [work, contenders] of Object.entries(works)) {
  for (let round = 1; round <= plan.rounds; round++) {
    process.stderr.write(`${work}: round ${round} of ${plan.rounds}\n`)
    for (const contender of contenders) await contender()
  }
}
for (const work of Object.keys(libraryWorks(plan))) {
  process.stderr.write(`${work}: recorded\n`)
  await library(work, () => {}, '--record', path.join(folder, 'recorded'))
}
process.stdout.write(`${JSON.stringify(measurements)}\n`)
