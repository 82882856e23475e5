#!/usr/bin/env node
// Measures the library against ipvsadm and against the floor, in the User Mode Linux guest, and tells whether it meets
// its bars. docs/performance.md says what is measured and how, and has the results of the last full run.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { median } from './median.mjs'

const USAGE = `usage: npm run bench -- [OPTION...]

Exits with 1 when something does not work, or when a bar is missed.

  --quick      a small table and one sample of each, to see that everything works: judges no bar, writes nothing
  --no-write   leave docs/performance.md as it is
  --rounds N   samples of each contender, default 5
  --json       also print what was measured as JSON
  --help
`

/** @typedef {import('./measure.mjs').Plan} Plan */
/** @typedef {import('./measure.mjs').Measurements} Measurements */

/** @type {Plan} */
const FULL = {
  services: 1000,
  servers: 10,
  memoryServers: 110,
  rounds: 5,
  restores: 8,
  reads: 30,
  edits: 500,
  spawns: 20,
}
/** @type {Plan} */
const QUICK = {
  services: 20,
  servers: 3,
  memoryServers: 5,
  rounds: 1,
  restores: 2,
  reads: 3,
  edits: 30,
  spawns: 2,
}

const LONGEST_TURN_MS = 10
const HEAP_BYTES = 64 * 2 ** 20

/** How many times faster the library must be than ipvsadm, and at most slower than the floor. */
const BARS = {
  restore: { ipvsadm: 20, floor: 1.3 },
  read: { ipvsadm: 4, floor: 1.3 },
  edit: { ipvsadm: 20, floor: 2 },
}

/** How many times longer than Node alone the command may take to start. */
const START_BAR = 1.3

const here = import.meta.dirname
const root = path.join(here, '..')
const build = path.join(root, 'build/bench')
const page = path.join(root, 'docs/performance.md')
const BEGIN = '<!-- results: begin, written by npm run bench -->'
const END = '<!-- results: end -->'

/** A small C program of this folder. @param {string} name */
function compile(name) {
  const compiler = process.env['CC'] || 'gcc'
  execFileSync(
    compiler,
    ['-O2', '-Wall', '-Wextra', '-o', path.join(build, name), path.join(here, `${name}.c`)],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  )
}

/** The last processor that this process may use. */
function lastProcessor() {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return allowed.split(/[-,]/).at(-1) ?? '0'
}

/**
 * Runs measure.mjs in the guest. User Mode Linux has one processor, but is several processes of the host that wake one
 * another; on different processors each of these wake-ups takes up to ten times as long, and sometimes it does.
 *
 * @param {Plan} plan
 * @returns {Promise<Measurements>}
 */
async function measure(plan) {
  const guest = [
    process.execPath,
    path.join(root, 'test/guest/guest.mjs'),
    '--limit',
    '3600',
    '--mem',
    '3G',
    '--',
  ]
  const command = [process.execPath, path.join(here, 'measure.mjs'), build, JSON.stringify(plan)]
  const child = spawn('taskset', ['-c', lastProcessor(), ...guest, ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
  const [status] = await once(child, 'close')
  if (status !== 0) throw new Error(`the guest ended with status ${status}`)
  return JSON.parse(output)
}

/** @param {number} microseconds */
function duration(microseconds) {
  if (microseconds < 10_000) return `${Math.round(microseconds)} µs`
  if (microseconds < 10_000_000) return `${Math.round(microseconds / 1000)} ms`
  return `${(microseconds / 1_000_000).toFixed(1)} s`
}

/** @param {number} number */
const ratio = (number) => number.toPrecision(number < 10 ? 2 : 3).replace(/\.0+$/, '')

/** @param {readonly string[][]} rows the first is the heading */
function markdownTable(rows) {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const line = (/** @type {string[]} */ row) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`
  const [heading = [], ...body] = rows
  return [
    line(heading),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...body.map(line),
  ].join('\n')
}

/** @param {Plan} plan */
function names({ services, servers, memoryServers }) {
  const rules = (services * (1 + servers)).toLocaleString('en')
  const large = (services * memoryServers).toLocaleString('en')
  return {
    works: {
      restore: `restore ${rules} rules`,
      apply: `apply 10 differences in ${rules} rules`,
      read: `read ${rules} rules`,
      edit: 'edit one weight',
      memory: `read ${(services * memoryServers).toLocaleString('en')} real servers`,
      largeRestore: `restore ${large} rules`,
      largeSave: `save ${large} rules`,
      largePlan: `plan 100 differences in ${large} rules`,
      startup: 'start',
    },
    contenders: {
      restore: {
        floor: 'floor',
        ipvsadm: 'ipvsadm -R',
        command: 'ipvs adm -R',
        fresh: 'ipvs, first time',
        library: 'ipvs',
        stateFresh: 'restore(), first time',
        state: 'restore()',
      },
      apply: { fresh: 'ipvs, first time', library: 'ipvs' },
      read: {
        floor: 'floor',
        ipvsadm: 'ipvsadm -Sn',
        command: 'ipvs adm -Sn',
        fresh: 'ipvs, first time',
        library: 'ipvs',
      },
      edit: {
        floor: 'floor',
        ipvsadm: 'ipvsadm -e',
        fresh: 'ipvs, first time',
        library: 'ipvs',
        pool: 'the thread pool, twice',
      },
      memory: { library: 'ipvs' },
      largeRestore: { library: 'ipvs' },
      largeSave: { library: 'ipvs' },
      largePlan: { library: 'ipvs' },
      startup: {
        node: 'node -e 0',
        command: 'ipvs adm -v',
        ipvsadm: 'ipvsadm -v',
        library: 'the library, open',
      },
    },
  }
}

/** @param {Plan} plan @param {Measurements} measured */
function timesTable(plan, { microseconds, longestTurnMs }) {
  const { works, contenders } = names(plan)
  const rows = [
    ['Work', 'Contender', 'Median', 'Least to most', 'Against the floor', 'Against ipvsadm', 'Longest turn'],
  ]
  for (const [work, name] of Object.entries(works)) {
    const samples = microseconds[work] ?? {}
    /** @param {string} other @param {number} time */
    const against = (other, time) => {
      const theirs = samples[other] && median(samples[other])
      if (!theirs) return ''
      return time > theirs ? `${ratio(time / theirs)}x slower` : `${ratio(theirs / time)}x faster`
    }
    for (const [contender, called] of Object.entries(
      contenders[/** @type {keyof typeof contenders} */ (work)],
    )) {
      const times = samples[contender] ?? []
      const turns = longestTurnMs[work]?.[contender]
      rows.push([
        name,
        called,
        duration(median(times)),
        `${duration(Math.min(...times))} to ${duration(Math.max(...times))}`,
        contender === 'floor' ? '' : against('floor', median(times)),
        ['fresh', 'library', 'state', 'stateFresh', 'command'].includes(contender)
          ? against('ipvsadm', median(times))
          : '',
        turns ? `${median(turns).toFixed(1)} ms` : '',
      ])
    }
  }
  return markdownTable(rows)
}

/**
 * @typedef {object} Verdict
 * @property {string} bar
 * @property {string} measured
 * @property {boolean} met
 */

/** @param {Plan} plan @param {Measurements} measured @returns {Verdict[]} */
function judge(plan, { microseconds, longestTurnMs, heapBytes }) {
  const { works, contenders } = names(plan)
  /** @type {Verdict[]} */
  const verdicts = []
  for (const work of /** @type {const} */ (['restore', 'read', 'edit'])) {
    const time = (/** @type {string} */ contender) => median(microseconds[work]?.[contender] ?? [])
    const faster = time('ipvsadm') / time('library')
    verdicts.push({
      bar: `${works[work]}: ${BARS[work].ipvsadm}x faster than \`${contenders[work].ipvsadm}\``,
      measured: `${ratio(faster)}x`,
      met: faster >= BARS[work].ipvsadm,
    })
    if (work === 'restore') {
      const restored = time('ipvsadm') / time('state')
      verdicts.push({
        bar: `${works[work]} by \`restore()\`: ${BARS[work].ipvsadm}x faster than \`${contenders[work].ipvsadm}\``,
        measured: `${ratio(restored)}x`,
        met: restored >= BARS[work].ipvsadm,
      })
      const byCommand = time('ipvsadm') / time('command')
      verdicts.push({
        bar: `${works[work]} by \`${contenders[work].command}\`: ${BARS[work].ipvsadm}x faster than \`${contenders[work].ipvsadm}\``,
        measured: `${ratio(byCommand)}x`,
        met: byCommand >= BARS[work].ipvsadm,
      })
      const above = time('state') / time('floor')
      verdicts.push({
        bar: `${works[work]} by \`restore()\`: within ${BARS[work].floor}x of the floor`,
        measured: `${ratio(above)}x`,
        met: above <= BARS[work].floor,
      })
    }
    const slower = time('library') / time('floor')
    verdicts.push({
      bar: `${works[work]}: within ${BARS[work].floor}x of the floor`,
      measured: `${ratio(slower)}x`,
      met: slower <= BARS[work].floor,
    })
  }
  for (const work of /** @type {const} */ (['restore', 'read', 'edit'])) {
    const longest = median(longestTurnMs[work]?.['library'] ?? [])
    verdicts.push({
      bar: `${works[work]}: the JS thread never kept longer than ${LONGEST_TURN_MS} ms`,
      measured: `${longest.toFixed(1)} ms`,
      met: longest <= LONGEST_TURN_MS,
    })
  }
  for (const [work, contender] of /** @type {const} */ ([
    ['restore', 'state'],
    ['apply', 'library'],
    ['largeRestore', 'library'],
    ['largeSave', 'library'],
    ['largePlan', 'library'],
  ])) {
    const longest = median(longestTurnMs[work]?.[contender] ?? [])
    verdicts.push({
      bar: `${works[work]}${contender === 'state' ? ' by `restore()`' : ''}: the JS thread never kept longer than ${LONGEST_TURN_MS} ms`,
      measured: `${longest.toFixed(1)} ms`,
      met: longest <= LONGEST_TURN_MS,
    })
  }
  const start = (/** @type {string} */ contender) => median(microseconds['startup']?.[contender] ?? [])
  const slower = start('command') / start('node')
  verdicts.push({
    bar: `\`ipvs adm -v\`: within ${START_BAR}x of \`node -e 0\``,
    measured: `${ratio(slower)}x`,
    met: slower <= START_BAR,
  })
  const heap = median(heapBytes)
  verdicts.push({
    bar: `hold ${(plan.services * plan.memoryServers).toLocaleString('en')} real servers in ${HEAP_BYTES >> 20} MiB of heap`,
    measured: `${(heap / 2 ** 20).toFixed(1)} MiB`,
    met: heap < HEAP_BYTES,
  })
  return verdicts
}

/** @param {readonly Verdict[]} verdicts */
function verdictsTable(verdicts) {
  return markdownTable([
    ['Bar', 'Measured', 'Verdict'],
    ...verdicts.map(({ bar, measured, met }) => [bar, measured, met ? 'PASS' : 'FAIL']),
  ])
}

/** @param {string} results */
function write(results) {
  const text = readFileSync(page, 'utf8')
  const begin = text.indexOf(BEGIN)
  const end = text.indexOf(END)
  if (begin < 0 || end < begin)
    throw new Error('docs/performance.md has lost the comments that the results stand between')
  writeFileSync(page, `${text.slice(0, begin + BEGIN.length)}\n\n${results}\n\n${text.slice(end)}`)
}

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    'no-write': { type: 'boolean', default: false },
    rounds: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (options.help) {
  process.stdout.write(USAGE)
} else {
  for (const built of ['dist/index.js', 'dist/cli/ipvs.cjs', 'build/Release/ipvs.node']) {
    if (!existsSync(path.join(root, built)))
      throw new Error(`there is no ${built}: npm run build and build:native make it`)
  }
  mkdirSync(build, { recursive: true })
  compile('floor')
  compile('stopwatch')
  const plan = options.quick ? QUICK : { ...FULL, ...(options.rounds && { rounds: Number(options.rounds) }) }
  const measured = await measure(plan)
  if (options.json) process.stdout.write(`${JSON.stringify(measured)}\n`)

  const date = new Date().toISOString().slice(0, 10)
  const about =
    `Measured on ${date} with ${plan.rounds} samples of each: Linux ${measured.kernel} (User Mode Linux) on one processor ` +
    `(${cpus()[0]?.model ?? 'unknown'}), Node ${measured.node}, ipvsadm ${measured.ipvsadm}.`
  const verdicts = judge(plan, measured)
  const large = (plan.services * plan.memoryServers).toLocaleString('en')
  const held = `The state of ${large} rules that was saved, the steps of its restore and a plan together take ${(median(measured.largeHeapBytes) / 2 ** 20).toFixed(1)} MiB of heap.`
  const times = timesTable(plan, measured)
  if (options.quick) {
    process.stdout.write(`${times}\n\n${held}\n\nEverything works. No bar was judged: this was --quick.\n`)
  } else {
    const results = `${about}\n\n${times}\n\n${held}\n\n${verdictsTable(verdicts)}`
    process.stdout.write(`${results}\n`)
    if (!options['no-write']) write(results)
    if (verdicts.some(({ met }) => !met)) process.exitCode = 1
  }
}
