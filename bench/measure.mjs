// Runs every contender in turn. Wants to be root on a kernel with ip_vs that does nothing else: bench.mjs starts it in
// the guest.
//
//   node measure.mjs FOLDER PLAN
//
// FOLDER has the programs floor and stopwatch and the addon trip.node, PLAN is JSON. Prints one line of JSON, Measurements.
// At last each work of the library is done once more and recorded in FOLDER/recorded, to be replayed outside of the guest.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { median } from './median.mjs'
import { ipvsadmLines, rules } from './rules.mjs'
import { isWanted, libraryWorks, recordingName, recordingsOf, rulesOf, samplesOf } from './works.mjs'

/**
 * @typedef {object} Plan
 * @property {number} services
 * @property {number} servers real servers of each service
 * @property {number} memoryServices of the table whose memory is measured when it was read
 * @property {number} rounds samples of each contender
 * @property {number} growthRounds the same for the growth
 * @property {{ services: number, places: number, guestPlaces: number }[]} growth the sizes of it, the least first, and how
 *   often a process does each where it is replayed and in the guest
 * @property {number} warmUps what a process does before, so often and with the table of the others
 * @property {number} largeServices the size that is also done by a process that has just started
 * @property {number[]} oneService servers in a table of one service, for each size of it
 * @property {number} restores how often a process of the library restores; the last counts as that of one that runs
 * @property {number} reads the same for reading, where the median of the last third counts
 * @property {number} edits edits that a sample is the median of
 * @property {number} spawns the same for processes, which take longer
 * @property {string[]} only groups of works.mjs that are wanted; none: all
 *
 * @typedef {object} Measurements
 * @property {string} kernel
 * @property {string} node
 * @property {string} ipvsadm
 * @property {Record<string, Record<string, number[]>>} microseconds by work and contender, a number for each sample
 * @property {number[]} requests that each apply() sent, and then each that had nothing to do
 *
 * @typedef {import('./library.mjs').Report} Report
 * @typedef {import('./works.mjs').Table} Table
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

/** Does a work of the library in fresh namespaces. @param {string} name @param {(report: Report, names: string[]) => void} use */
async function library(name, use) {
  const { program, repeats, guestPlaces: places, full } = libraryWorks(plan)[name] ?? assert.fail(name)
  await inFreshNamespaces(places.length, (...names) => {
    if (full) for (const [index, table] of places.entries()) floor(names[index] ?? '', 'restore', ...table)
    use(libraryIn(program, repeats, ...places.map((table, index) => [...table, names[index] ?? ''])), names)
  })
}

/** @param {string} program @param {number} repeats @param {(string | number)[][]} places @returns {Report} */
const libraryIn = (program, repeats, ...places) =>
  JSON.parse(run(...libraryCommand, program, repeats, ...places.map(String)))

const libraryCommand = [process.execPath, '--expose-gc', path.join(here, 'library.mjs')]

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
  requests: [],
}

/** @param {string} work @param {string} contender @param {number[]} microseconds */
function note(work, contender, microseconds) {
  ;((measurements.microseconds[work] ??= {})[contender] ??= []).push(...microseconds)
}

/** @param {string} name of libraryWorks() @param {Report} report */
function noteLibrary(name, report) {
  for (const { work, contender, microseconds } of samplesOf(name, plan, report))
    note(work, contender, [microseconds])
  measurements.requests.push(...report.requests)
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

/** What the kernel takes for a table of another size. @param {Table} table @param {(times: { restore: number[], read: number[] }) => void} use */
const floorOf = (table, use) =>
  inFreshNamespaces(1, (name) => {
    use({ restore: floor(name, 'restore', ...table), read: floor(name, 'read', ...table) })
  })

/** The groups of works.mjs, and in each the contenders in turn. @type {Record<string, (() => Promise<void>)[]>} */
const groups = {
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
        for (const contender of ['pool', 'poolOfNode']) {
          note('edit', contender, [median(libraryIn(contender, plan.edits, [...sizes, name]).microseconds)])
        }
      }),
  ],
  growth: [
    ...plan.growth.map(({ services }) => () => {
      /** @type {Table} */
      const table = [services, plan.servers]
      return floorOf(table, ({ restore, read }) => {
        note('growthRestore', `floor ${rulesOf(table)}`, restore)
        note('growthRead', `floor ${rulesOf(table)}`, read)
      })
    }),
    ...plan.oneService.map(
      (servers) => () =>
        floorOf([1, servers], ({ restore, read }) => {
          note('oneServiceRestore', `floor ${1 + servers}`, restore)
          note('oneServiceRead', `floor ${1 + servers}`, read)
        }),
    ),
    () => library('growth', (report) => noteLibrary('growth', report)),
  ],
  start: [
    () =>
      inFreshNamespaces(1, (name) => {
        /** @param {string} contender @param {string[]} words */
        const start = (contender, ...words) => {
          note('start', contender, [median(stopwatch(name, plan.spawns, '/dev/null', '/dev/null', ...words))])
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
for (const [group, contenders] of Object.entries(groups)) {
  if (!isWanted(plan, group)) continue
  const rounds = group === 'growth' ? plan.growthRounds : plan.rounds
  for (let round = 1; round <= rounds; round++) {
    process.stderr.write(`${group}: round ${round} of ${rounds}\n`)
    for (const contender of contenders) await contender()
  }
}
for (const [recording, { program, places, repeats, full }] of recordingsOf(plan)) {
  process.stderr.write(`${recording}: recorded\n`)
  await inFreshNamespaces(1, (name) => {
    const [table] = places
    assert(table)
    if (full) floor(name, 'restore', ...table)
    const file = path.join(folder, 'recorded', recordingName(program, table))
    run(...libraryCommand, '--record', program, repeats, [...table, name, file].join())
  })
}
process.stdout.write(`${JSON.stringify(measurements)}\n`)
