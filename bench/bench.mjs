#!/usr/bin/env node
// Measures the library against ipvsadm and against the floor, in the User Mode Linux guest, and tells whether it meets
// its bars. Then install.mjs measures the installation. docs/performance.md says what is measured and how, and has the
// results of the last full run.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { cpus, freemem } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { buildSync } from 'esbuild'
import { median } from './median.mjs'
import { markdownTable, ratio, whole, writeSection } from './page.mjs'
import { GROUPS, heapOf, isWanted, libraryWorks, recordingName, rulesOf, samplesOf } from './works.mjs'

const USAGE = `usage: npm run bench -- [OPTION...]

Exits with 1 when something does not work, or when a bar is missed.

  --quick      small tables and one sample of each, to see that everything works: judges no speed, writes nothing
  --only WORK  only this, without the installation, and write nothing; can be repeated. WORK is one of
               ${GROUPS.join(', ')}
  --no-write   leave docs/performance.md as it is
  --rounds N   samples of each contender, default 5, and 7 of the installation
  --json       also print what was measured as JSON
  --help
`

/** @typedef {import('./measure.mjs').Plan} Plan */
/** @typedef {import('./measure.mjs').Measurements} Measurements */
/** @typedef {Record<string, Record<string, number[]>>} Samples by work and contender */
/** @typedef {import('./works.mjs').Table} Table */

/** @type {Plan} */
const FULL = {
  services: 1000,
  servers: 10,
  memoryServices: 11_000,
  rounds: 5,
  growthRounds: 3,
  growth: [
    { services: 100, places: 20, guestPlaces: 3 },
    { services: 1000, places: 8, guestPlaces: 3 },
    { services: 10_000, places: 3, guestPlaces: 1 },
    { services: 27_273, places: 2, guestPlaces: 0 },
  ],
  warmUps: 4,
  largeServices: 10_000,
  oneService: [1099, 10_999],
  restores: 8,
  reads: 30,
  edits: 500,
  spawns: 12,
  only: [],
}
/** @type {Plan} */
const QUICK = {
  services: 20,
  servers: 3,
  memoryServices: 30,
  rounds: 1,
  growthRounds: 1,
  growth: [
    { services: 5, places: 2, guestPlaces: 1 },
    { services: 50, places: 1, guestPlaces: 1 },
  ],
  warmUps: 1,
  largeServices: 50,
  oneService: [30],
  restores: 2,
  reads: 3,
  edits: 30,
  spawns: 2,
  only: [],
}

/** The largest table of the growth is left out with less free memory: the guest alone has three of these. */
const LARGEST_WANTS_BYTES = 8 * 2 ** 30

/**
 * The bars of the design, in the order in which they are printed. Times are those of a contender, and so many times
 * faster or longer than another's. Growth is the most time for a rule of all sizes, in terms of the least.
 *
 * @typedef {{ work: string, contender: string }} Of
 * @typedef {Of & ({ faster: number, than: string } | { within: number, of: string } | { atMostMs: number })} TimeBar
 * @typedef {{ work: string, growth: number }} GrowthBar
 *
 * @type {TimeBar[]}
 */
const BARS = [
  { work: 'restore', contender: 'library', faster: 40, than: 'ipvsadm' },
  { work: 'restore', contender: 'state', faster: 40, than: 'ipvsadm' },
  { work: 'restore', contender: 'state', within: 4, of: 'floor' },
  { work: 'restore', contender: 'command', faster: 3, than: 'ipvsadm' },
  { work: 'read', contender: 'library', faster: 5, than: 'ipvsadm' },
  { work: 'read', contender: 'library', within: 1.3, of: 'floor' },
  { work: 'edit', contender: 'library', faster: 35, than: 'ipvsadm' },
  { work: 'edit', contender: 'library', within: 1.25, of: 'pool' },
  { work: 'apply', contender: 'library', atMostMs: 100 },
  { work: 'start', contender: 'command', within: 1.25, of: 'node' },
  { work: 'start', contender: 'library', within: 1.4, of: 'node' },
]

/** Requests of an apply() of ten differences, and of the same again. */
const APPLY_REQUESTS = [10, 0]

/** @type {GrowthBar[]} */
const GROWTH_BARS = ['growthRestore', 'growthSave', 'growthPlan', 'growthRead'].map((work) => ({
  work,
  growth: 1.5,
}))

/**
 * How long the JS thread may be kept, where the kernel's answers are replayed: by each of these contenders.
 *
 * @param {Plan} plan
 * @returns {{ work: string, contenders: string[], turnMs: number }[]}
 */
function turnBars({ services, servers, largeServices }) {
  /** @param {string} work @param {number} services @param {number} turnMs */
  const growth = (work, services, turnMs) => {
    const rules = rulesOf([services, servers])
    return { work, contenders: [`first ${rules}`, `${rules}`], turnMs }
  }
  return [
    { work: 'restore', contenders: ['fresh', 'library'], turnMs: 10 },
    { work: 'restore', contenders: ['stateFresh', 'state'], turnMs: 10 },
    { work: 'apply', contenders: ['fresh', 'library'], turnMs: 10 },
    { work: 'read', contenders: ['fresh', 'library'], turnMs: 10 },
    { work: 'edit', contenders: ['fresh', 'library'], turnMs: 10 },
    growth('growthSave', services, 10),
    growth('growthPlan', services, 10),
    ...GROWTH_BARS.map(({ work }) => growth(work, largeServices, 20)),
  ]
}

const READ_HEAP_BYTES = 24 * 2 ** 20
const STATE_HEAP_BYTES = 40 * 2 ** 20

const here = import.meta.dirname
const root = path.join(here, '..')
const build = path.join(root, 'build/bench')
const recorded = path.join(build, 'recorded')

/** A small C program of this folder, or an addon. @param {string} source @param {string} result @param {string[]} options */
function compile(source, result, ...options) {
  const compiler = process.env['CC'] || 'gcc'
  execFileSync(
    compiler,
    ['-O2', '-Wall', '-Wextra', ...options, '-o', path.join(build, result), path.join(here, source)],
    { stdio: ['ignore', 'inherit', 'inherit'] },
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
    path.join(root, 'guest/guest.mjs'),
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
 * @typedef {{ microseconds: Samples, longestTurnMs: Samples, heapBytes: Record<string, number[]> }} Replayed
 *
 * @param {Plan} plan
 * @returns {Replayed}
 */
function replay(plan) {
  /** @type {Replayed} */
  const replayed = { microseconds: {}, longestTurnMs: {}, heapBytes: {} }
  /** @param {Samples} samples @param {string} work @param {string} contender @param {number} value */
  const note = (samples, work, contender, value) => {
    ;((samples[work] ??= {})[contender] ??= []).push(value)
  }
  for (const [name, { program, places, repeats, rounds }] of Object.entries(libraryWorks(plan))) {
    process.stderr.write(`${name}: replayed\n`)
    const files = places.map((table) => [...table, path.join(recorded, recordingName(program, table))].join())
    const words = ['--expose-gc', path.join(here, 'library.mjs'), program, String(repeats), ...files]
    for (let round = 1; round <= rounds; round++) {
      const report = JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }))
      for (const { work, contender, microseconds, longestTurnMs } of samplesOf(name, plan, report)) {
        note(replayed.microseconds, work, contender, microseconds)
        note(replayed.longestTurnMs, work, contender, longestTurnMs)
      }
      ;(replayed.heapBytes[name] ??= []).push(...heapOf(report))
    }
  }
  return replayed
}

/** @param {number} microseconds */
function duration(microseconds) {
  if (microseconds < 10_000) return `${Math.round(microseconds)} µs`
  if (microseconds < 10_000_000) return `${Math.round(microseconds / 1000)} ms`
  return `${(microseconds / 1_000_000).toFixed(1)} s`
}

/** @param {number} bytes */
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** @type {Record<string, Record<string, string>>} */
const CONTENDERS = {
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
    pool: 'two empty trips',
    poolOfNode: 'randomBytes(1), twice',
  },
  start: {
    node: 'node -e 0',
    command: 'ipvs adm -v',
    ipvsadm: 'ipvsadm -v',
    library: 'import, open, info()',
  },
}

const GROWTH_NAMES = {
  growthRestore: 'restore()',
  growthSave: 'save()',
  growthPlan: 'plan()',
  growthRead: 'snapshot()',
}

/** @param {Plan} plan @returns {Record<string, string>} */
function workNames({ services, servers }) {
  const rules = whole(rulesOf([services, servers]))
  return {
    restore: `restore ${rules} rules`,
    apply: `apply ${APPLY_REQUESTS[0]} differences in ${rules} rules`,
    read: `read ${rules} rules`,
    edit: 'edit one weight',
    start: 'start',
  }
}

/** @param {number[] | undefined} turns */
const turn = (turns) => (turns ? `${median(turns).toFixed(1)} ms` : '')

/** @param {Plan} plan @param {Measurements} measured @param {Replayed} replayed */
function timesTable(plan, { microseconds }, { longestTurnMs }) {
  const rows = [
    ['Work', 'Contender', 'Median', 'Least to most', 'Against the floor', 'Against ipvsadm', 'Longest turn'],
  ]
  for (const [work, name] of Object.entries(workNames(plan))) {
    const samples = microseconds[work] ?? {}
    /** @param {string} other @param {number} time */
    const against = (other, time) => {
      const theirs = samples[other] && median(samples[other])
      if (!theirs) return ''
      return time > theirs ? `${ratio(time / theirs)}x slower` : `${ratio(theirs / time)}x faster`
    }
    for (const [contender, called] of Object.entries(CONTENDERS[work] ?? {})) {
      const times = samples[contender]
      if (times === undefined) continue
      rows.push([
        name,
        called,
        duration(median(times)),
        `${duration(Math.min(...times))} to ${duration(Math.max(...times))}`,
        contender === 'floor' ? '' : against('floor', median(times)),
        ['fresh', 'library', 'state', 'stateFresh', 'command'].includes(contender)
          ? against('ipvsadm', median(times))
          : '',
        turn(longestTurnMs[work]?.[contender]),
      ])
    }
  }
  return markdownTable(rows)
}

/** The time for one rule at each size. @param {Plan} plan @param {Measurements} measured @param {Replayed} replayed */
function growthTable(plan, { microseconds }, replayed) {
  const rows = [
    [
      'Work',
      'Rules',
      'Replayed, a rule',
      'Guest, a rule',
      'Floor, a rule',
      'Longest turn, first time',
      'Longest turn',
    ],
  ]
  /** @param {Samples} samples @param {string} work @param {string} contender @param {number} rules */
  const each = (samples, work, contender, rules) => {
    const times = samples[work]?.[contender]
    return times ? `${(median(times) / rules).toFixed(2)} µs` : ''
  }
  for (const [work, called] of Object.entries(GROWTH_NAMES)) {
    for (const { services } of plan.growth) {
      const rules = rulesOf([services, plan.servers])
      rows.push([
        called,
        whole(rules),
        each(replayed.microseconds, work, `${rules}`, rules),
        each(microseconds, work, `${rules}`, rules),
        each(microseconds, work, `floor ${rules}`, rules),
        turn(replayed.longestTurnMs[work]?.[`first ${rules}`]),
        turn(replayed.longestTurnMs[work]?.[`${rules}`]),
      ])
    }
  }
  for (const [work, called] of Object.entries({ oneServiceRestore: 'restore', oneServiceRead: 'read' })) {
    for (const servers of plan.oneService) {
      const rules = 1 + servers
      rows.push([
        `${called}, one service`,
        whole(rules),
        '',
        '',
        each(microseconds, work, `floor ${rules}`, rules),
        '',
        '',
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

/** @param {Plan} plan @param {Measurements} measured @returns {Verdict} whatever the machine, and the size */
function judgeRequests(plan, { requests }) {
  const pairs = Array.from({ length: requests.length / 2 }, (_, i) =>
    requests.slice(2 * i, 2 * i + 2).join(', then '),
  )
  return {
    bar: `${workNames(plan)['apply']}: sends ${APPLY_REQUESTS[0]} requests, and applied again none`,
    measured: [...new Set(pairs)].join('; '),
    met: pairs.length > 0 && pairs.every((pair) => pair === APPLY_REQUESTS.join(', then ')),
  }
}

/** @param {Plan} plan @param {Measurements} measured @param {Replayed} replayed @returns {Verdict[]} those of what is wanted */
function judge(plan, measured, replayed) {
  const works = workNames(plan)
  /** @param {string} work @param {string} contender */
  const called = (work, contender) => `\`${CONTENDERS[work]?.[contender]}\``
  /** @param {string} work @param {string} contender */
  const time = (work, contender) => median(measured.microseconds[work]?.[contender] ?? [])
  const wantsGrowth = isWanted(plan, 'growth')

  /** @type {Verdict[]} */
  const verdicts = []
  for (const bar of BARS) {
    const { work, contender } = bar
    if (!isWanted(plan, work)) continue
    const subject = `${works[work]}: ${called(work, contender)}`
    if ('faster' in bar) {
      const faster = time(work, bar.than) / time(work, contender)
      verdicts.push({
        bar: `${subject} ${bar.faster}x faster than ${called(work, bar.than)}`,
        measured: `${ratio(faster)}x`,
        met: faster >= bar.faster,
      })
    } else if ('within' in bar) {
      const slower = time(work, contender) / time(work, bar.of)
      verdicts.push({
        bar: `${subject} within ${bar.within}x of ${called(work, bar.of)}`,
        measured: `${slower.toFixed(2)}x`,
        met: slower <= bar.within,
      })
    } else {
      verdicts.push({
        bar: `${subject} within ${bar.atMostMs} ms in the guest`,
        measured: duration(time(work, contender)),
        met: time(work, contender) <= bar.atMostMs * 1000,
      })
    }
  }
  if (isWanted(plan, 'apply')) verdicts.push(judgeRequests(plan, measured))
  if (wantsGrowth) verdicts.push(...GROWTH_BARS.map((bar) => judgeGrowth(plan, bar, replayed)))
  for (const { work, contenders, turnMs } of turnBars(plan)) {
    if (!isWanted(plan, work.startsWith('growth') ? 'growth' : work)) continue
    const longest = Math.max(
      ...contenders.map((contender) => median(replayed.longestTurnMs[work]?.[contender] ?? [])),
    )
    const subject =
      work in GROWTH_NAMES
        ? `${growthName(work)} of ${whole(Number(contenders[1]))} rules`
        : `${works[work]}: ${called(work, contenders[1] ?? '')}`
    verdicts.push({
      bar: `${subject}, first time and later, never keeps the JS thread for longer than ${turnMs} ms, replayed`,
      measured: `${longest.toFixed(1)} ms`,
      met: longest <= turnMs,
    })
  }
  /** @param {string} bar @param {string} work @param {number} limit */
  const judgeHeap = (bar, work, limit) => {
    const heap = median(replayed.heapBytes[work] ?? [])
    verdicts.push({
      bar: `${bar} take less than ${limit / 2 ** 20} MiB of heap`,
      measured: mebibytes(heap),
      met: heap < limit,
    })
  }
  if (isWanted(plan, 'memory')) {
    judgeHeap(
      `${whole(plan.memoryServices * plan.servers)} real servers that were read`,
      'memory',
      READ_HEAP_BYTES,
    )
    const rules = whole(rulesOf([plan.largeServices, plan.servers]))
    judgeHeap(`state, steps and plan of ${rules} rules`, 'stateMemory', STATE_HEAP_BYTES)
  }
  return verdicts
}

/** @param {string} work */
const growthName = (work) => `\`${GROWTH_NAMES[/** @type {keyof typeof GROWTH_NAMES} */ (work)]}\``

/** @param {Plan} plan @param {GrowthBar} bar @param {Replayed} replayed @returns {Verdict} */
function judgeGrowth(plan, { work, growth }, { microseconds }) {
  const sizes = plan.growth.map(({ services }) => rulesOf([services, plan.servers]))
  const each = sizes.map((rules) => median(microseconds[work]?.[String(rules)] ?? []) / rules)
  const grown = Math.max(...each) / Math.min(...each)
  return {
    bar: `growth: the time of ${growthName(work)} for a rule within ${growth}x, from ${whole(sizes[0] ?? 0)} to ${whole(sizes.at(-1) ?? 0)} rules, replayed`,
    measured: `${grown.toFixed(2)}x`,
    met: grown <= growth,
  }
}

/** @param {readonly Verdict[]} verdicts */
function verdictsTable(verdicts) {
  return markdownTable([
    ['Bar', 'Measured', 'Verdict'],
    ...verdicts.map(({ bar, measured, met }) => [bar, measured, met ? 'PASS' : 'FAIL']),
  ])
}

/** @param {string | undefined} rounds */
const roundsOf = (rounds) => rounds && { rounds: Number(rounds), growthRounds: Number(rounds) }

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
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
  const strange = options.only.find((one) => !GROUPS.includes(one))
  if (strange !== undefined) throw new Error(`--only is one of ${GROUPS.join(', ')}, not ${strange}`)
  rmSync(recorded, { recursive: true, force: true })
  mkdirSync(recorded, { recursive: true })
  compile('floor.c', 'floor')
  compile('stopwatch.c', 'stopwatch')
  compile(
    'trip.c',
    'trip.node',
    '-shared',
    '-fPIC',
    `-I${path.join(root, 'node_modules/node-api-headers/include')}`,
  )
  buildSync({
    entryPoints: [path.join(root, 'lib/transport/native.ts')],
    outfile: path.join(build, 'native.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
  const chosen = options.quick ? QUICK : { ...FULL, ...roundsOf(options.rounds) }
  const fits = options.quick || freemem() >= LARGEST_WANTS_BYTES
  const plan = { ...chosen, only: options.only, growth: fits ? chosen.growth : chosen.growth.slice(0, -1) }
  const measured = await measure(plan)
  const replayed = replay(plan)
  if (options.json) process.stdout.write(`${JSON.stringify({ ...measured, replayed })}\n`)

  const date = new Date().toISOString().slice(0, 10)
  const tables = [
    `Measured on ${date} with ${plan.rounds} samples of each, ${plan.growthRounds} of the growth: Linux ${measured.kernel} ` +
      `(User Mode Linux) on one processor (${cpus()[0]?.model ?? 'unknown'}), Node ${measured.node}, ipvsadm ${measured.ipvsadm}.`,
    timesTable(plan, measured, replayed),
  ]
  if (isWanted(plan, 'growth')) tables.push(growthTable(plan, measured, replayed))
  if (!fits) tables.push('Too little memory was free for the largest table: it was left out.')
  const verdicts = options.quick
    ? isWanted(plan, 'apply')
      ? [judgeRequests(plan, measured)]
      : []
    : judge(plan, measured, replayed)
  if (verdicts.length > 0) tables.push(verdictsTable(verdicts))
  const results = tables.join('\n\n')
  process.stdout.write(`${results}\n`)
  if (options.quick) process.stdout.write('\nEverything works. No speed was judged: this was --quick.\n')
  if (!options.quick && !options['no-write'] && plan.only.length === 0) writeSection('results', results)
  if (verdicts.some(({ met }) => !met)) process.exitCode = 1
  if (plan.only.length === 0) {
    const install = [path.join(here, 'install.mjs')]
    if (options.quick) install.push('--quick')
    if (options['no-write']) install.push('--no-write')
    if (options.rounds !== undefined) install.push('--rounds', options.rounds)
    const { status } = spawnSync(process.execPath, install, { stdio: 'inherit' })
    if (status !== 0) process.exitCode = 1
  }
}
