#!/usr/bin/env node
// Measures the library against ipvsadm and against the floor, in the User Mode Linux guest, and tells whether it meets
// its bars. docs/performance.md says what is measured and how, and has the results of the last full run.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { median } from './median.mjs'
import { libraryWorks, samplesOf } from './works.mjs'

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
/** @typedef {Measurements['longestTurnMs']} Turns */

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

/**
 * The bars of the design, in the order in which they are printed. Times are those of a contender, and so many times
 * faster or longer than another's; turns are the longest one in milliseconds.
 *
 * @typedef {{ work: string, contender: string }} Of
 * @typedef {Of & ({ faster: number, than: string } | { within: number, of: string } | { turnMs: number })} Bar
 *
 * @type {Bar[]}
 */
const BARS = [
  { work: 'restore', contender: 'library', faster: 20, than: 'ipvsadm' },
  { work: 'restore', contender: 'state', faster: 20, than: 'ipvsadm' },
  { work: 'restore', contender: 'command', faster: 20, than: 'ipvsadm' },
  { work: 'restore', contender: 'library', within: 1.3, of: 'floor' },
  { work: 'restore', contender: 'state', within: 1.3, of: 'floor' },
  { work: 'read', contender: 'library', faster: 4, than: 'ipvsadm' },
  { work: 'read', contender: 'library', within: 1.3, of: 'floor' },
  { work: 'edit', contender: 'library', faster: 20, than: 'ipvsadm' },
  { work: 'edit', contender: 'library', within: 2, of: 'floor' },
  { work: 'startup', contender: 'command', within: 1.3, of: 'node' },
  { work: 'restore', contender: 'library', turnMs: 10 },
  { work: 'restore', contender: 'state', turnMs: 10 },
  { work: 'apply', contender: 'library', turnMs: 10 },
  { work: 'read', contender: 'library', turnMs: 10 },
  { work: 'edit', contender: 'library', turnMs: 10 },
  { work: 'largeRestore', contender: 'library', turnMs: 10 },
  { work: 'largeSave', contender: 'library', turnMs: 10 },
  { work: 'largePlan', contender: 'library', turnMs: 10 },
]

const HEAP_BYTES = 64 * 2 ** 20

const here = import.meta.dirname
const root = path.join(here, '..')
const build = path.join(root, 'build/bench')
const recorded = path.join(build, 'recorded')
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
    '--share',
    recorded,
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

/**
 * Does the works of the library once more on this machine, with what the guest's kernel answered.
 *
 * @param {Plan} plan
 * @returns {Turns}
 */
function replay(plan) {
  /** @type {Turns} */
  const turns = {}
  for (const [name, { table, repeats, places }] of Object.entries(libraryWorks(plan))) {
    process.stderr.write(`${name}: replayed\n`)
    const files = Array.from({ length: places }, (_, index) => path.join(recorded, `${name}-${index}`))
    const words = ['--expose-gc', path.join(here, 'library.mjs'), name, ...table, repeats, ...files].map(
      String,
    )
    for (let round = 1; round <= plan.rounds; round++) {
      const report = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }))
      for (const { work, contender, longestTurnMs } of samplesOf(name, report)) {
        ;((turns[work] ??= {})[contender] ??= []).push(longestTurnMs)
      }
    }
  }
  return turns
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

/** @param {Plan} plan @param {Measurements} measured @param {Turns} replayed */
function timesTable(plan, { microseconds, longestTurnMs }, replayed) {
  const { works, contenders } = names(plan)
  /** @param {number[] | undefined} turns */
  const milliseconds = (turns) => (turns ? `${median(turns).toFixed(1)} ms` : '')
  const rows = [
    [
      'Work',
      'Contender',
      'Median',
      'Least to most',
      'Against the floor',
      'Against ipvsadm',
      'Longest turn',
      'Replayed',
    ],
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
      rows.push([
        name,
        called,
        duration(median(times)),
        `${duration(Math.min(...times))} to ${duration(Math.max(...times))}`,
        contender === 'floor' ? '' : against('floor', median(times)),
        ['fresh', 'library', 'state', 'stateFresh', 'command'].includes(contender)
          ? against('ipvsadm', median(times))
          : '',
        milliseconds(longestTurnMs[work]?.[contender]),
        milliseconds(replayed[work]?.[contender]),
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

/** @param {Plan} plan @param {Measurements} measured @param {Turns} replayed @returns {Verdict[]} */
function judge(plan, { microseconds, longestTurnMs, heapBytes }, replayed) {
  const { works, contenders } = names(plan)
  /** @param {Bar} bar */
  const subject = ({ work, contender }) =>
    `${works[/** @type {keyof typeof works} */ (work)]}: ${called(work, contender)}`
  /** @param {string} work @param {string} contender @returns {string} */
  const called = (work, contender) => {
    const some = contenders[/** @type {keyof typeof contenders} */ (work)]
    return `\`${some[/** @type {keyof typeof some} */ (contender)]}\``
  }
  /** @param {string} work @param {string} contender */
  const time = (work, contender) => median(microseconds[work]?.[contender] ?? [])

  /** @type {Verdict[]} */
  const verdicts = []
  for (const bar of BARS) {
    const { work, contender } = bar
    if ('faster' in bar) {
      const faster = time(work, bar.than) / time(work, contender)
      verdicts.push({
        bar: `${subject(bar)} ${bar.faster}x faster than ${called(work, bar.than)}`,
        measured: `${ratio(faster)}x`,
        met: faster >= bar.faster,
      })
    } else if ('within' in bar) {
      const slower = time(work, contender) / time(work, bar.of)
      verdicts.push({
        bar: `${subject(bar)} within ${bar.within}x of ${called(work, bar.of)}`,
        measured: `${ratio(slower)}x`,
        met: slower <= bar.within,
      })
    } else {
      for (const [where, turns] of [
        ['in the guest', longestTurnMs],
        ['replayed', replayed],
      ]) {
        const longest = median(/** @type {Turns} */ (turns)[work]?.[contender] ?? [])
        verdicts.push({
          bar: `${subject(bar)} never keeps the JS thread for longer than ${bar.turnMs} ms, ${where}`,
          measured: `${longest.toFixed(1)} ms`,
          met: longest <= bar.turnMs,
        })
      }
    }
  }
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
  rmSync(recorded, { recursive: true, force: true })
  mkdirSync(recorded, { recursive: true })
  compile('floor')
  compile('stopwatch')
  const plan = options.quick ? QUICK : { ...FULL, ...(options.rounds && { rounds: Number(options.rounds) }) }
  const measured = await measure(plan)
  const replayed = replay(plan)
  if (options.json) process.stdout.write(`${JSON.stringify({ ...measured, replayedTurnMs: replayed })}\n`)

  const date = new Date().toISOString().slice(0, 10)
  const about =
    `Measured on ${date} with ${plan.rounds} samples of each: Linux ${measured.kernel} (User Mode Linux) on one processor ` +
    `(${cpus()[0]?.model ?? 'unknown'}), Node ${measured.node}, ipvsadm ${measured.ipvsadm}.`
  const verdicts = judge(plan, measured, replayed)
  const large = (plan.services * plan.memoryServers).toLocaleString('en')
  const held = `The state of ${large} rules that was saved, the steps of its restore and a plan together take ${(median(measured.largeHeapBytes) / 2 ** 20).toFixed(1)} MiB of heap.`
  const times = timesTable(plan, measured, replayed)
  if (options.quick) {
    process.stdout.write(`${times}\n\n${held}\n\nEverything works. No bar was judged: this was --quick.\n`)
  } else {
    const results = `${about}\n\n${times}\n\n${held}\n\n${verdictsTable(verdicts)}`
    process.stdout.write(`${results}\n`)
    if (!options['no-write']) write(results)
    if (verdicts.some(({ met }) => !met)) process.exitCode = 1
  }
}
