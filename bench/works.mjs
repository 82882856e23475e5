// What the library is measured at, in the guest and, replayed, on the machine itself.
import { median } from './median.mjs'

/** @typedef {import('./measure.mjs').Plan} Plan */
/** @typedef {import('./library.mjs').Report} Report */
/** @typedef {[services: number, servers: number]} Table with so many real servers in each service */

/** What can be measured alone. */
export const GROUPS = ['restore', 'apply', 'read', 'edit', 'start', 'growth', 'memory']

/** @param {Plan} plan @param {string} group */
export const isWanted = ({ only }, group) => only.length === 0 || only.includes(group)

/** @param {Table} table */
export const rulesOf = ([services, servers]) => services * (1 + servers)

/** @param {number} length @param {Table} table */
const times = (length, table) => Array.from({ length }, () => table)

/**
 * How library.mjs is started for each work.
 *
 * @typedef {object} Work
 * @property {string} group
 * @property {string} program of library.mjs
 * @property {Table[]} places in which a process does the work, one after the other
 * @property {Table[]} guestPlaces the same in the guest; none: it is only replayed
 * @property {number} repeats how often it does so in each, where it only reads or edits
 * @property {number} rounds
 * @property {boolean} full whether the table is there already
 *
 * @param {Plan} plan
 * @returns {Record<string, Work>} those that are wanted
 */
export function libraryWorks(plan) {
  const { services, servers, restores, reads, edits, rounds } = plan
  /** @type {Table} */
  const table = [services, servers]
  /** @type {Record<string, Work>} */
  const works = {}
  /** @param {string} name @param {Pick<Work, 'group' | 'places'> & Partial<Work>} work */
  const add = (name, work) => {
    if (!isWanted(plan, work.group)) return
    works[name] = { program: name, guestPlaces: work.places, repeats: 1, rounds, full: false, ...work }
  }
  add('restore', { group: 'restore', places: times(restores, table) })
  add('restoreState', { group: 'restore', places: times(restores, table) })
  add('apply', { group: 'apply', places: [table], repeats: reads })
  add('read', { group: 'read', places: [table], repeats: reads, full: true })
  add('edit', { group: 'edit', places: [table], repeats: edits, full: true })
  add('growth', {
    group: 'growth',
    places: growthPlaces(plan, 'places'),
    guestPlaces: growthPlaces(plan, 'guestPlaces'),
    rounds: plan.growthRounds,
  })
  for (const [name, count] of Object.entries({
    growthFirst: services,
    growthFirstLarge: plan.largeServices,
  })) {
    add(name, { group: 'growth', program: 'growth', places: [[count, servers]], guestPlaces: [] })
  }
  add('memory', { group: 'memory', places: [[plan.memoryServices, servers]], guestPlaces: [], full: true })
  // The first warms up.
  add('stateMemory', { group: 'memory', places: times(2, [plan.largeServices, servers]), guestPlaces: [] })
  return works
}

/**
 * What a process of the growth does: it warms up, and then does each size so often. The largest comes first, for what runs
 * later has code that V8 has compiled better: it shall not make up for what a large table costs.
 *
 * @param {Plan} plan
 * @param {'places' | 'guestPlaces'} where
 * @returns {Table[]}
 */
function growthPlaces({ warmUps, services, servers, growth }, where) {
  return [
    ...times(warmUps, [services, servers]),
    ...[...growth].reverse().flatMap((size) => times(size[where], [size.services, servers])),
  ]
}

/** What has to be recorded to replay these: a conversation for each program and table. @param {Plan} plan */
export function recordingsOf(plan) {
  /** @type {Map<string, Work>} */
  const recordings = new Map()
  for (const work of Object.values(libraryWorks(plan))) {
    for (const table of work.places)
      recordings.set(recordingName(work.program, table), { ...work, places: [table] })
  }
  return recordings
}

/** @param {string} program @param {Table} table */
export const recordingName = (program, [services, servers]) => `${program}-${services}x${servers}`

/** What is done at each size, in this order. */
export const GROWTH_WORKS = ['growthRestore', 'growthSave', 'growthPlan', 'growthRead']

/**
 * @typedef {object} Sample
 * @property {string} work
 * @property {string} contender `fresh` is the first time of a process, `library` the last ones, of a process that has been
 *   running. In the works of the growth it is the number of rules, and of a fresh process `first` and that
 * @property {number} microseconds
 * @property {number} longestTurnMs 0 where they were not looked at
 */

/**
 * Which works and contenders of the tables a report is about.
 *
 * @param {string} name of libraryWorks()
 * @param {Plan} plan
 * @param {Report} report
 * @returns {Sample[]}
 */
export function samplesOf(name, plan, { tables, microseconds, longestTurnMs }) {
  /** @param {string} work @param {string} contender @param {number[]} times @param {number[]} turns @returns {Sample} */
  const sample = (work, contender, times, turns) => ({
    work,
    contender,
    microseconds: median(times),
    longestTurnMs: Math.max(0, ...turns),
  })
  /** The first, and the last `count`. @param {string} work @param {number} count @param {[string, string]} contenders */
  const firstAndLast = (work, count, [fresh, running] = ['fresh', 'library']) => [
    sample(work, fresh, microseconds.slice(0, 1), longestTurnMs.slice(0, 1)),
    sample(work, running, microseconds.slice(-count), longestTurnMs.slice(-count)),
  ]
  switch (name) {
    case 'restore':
      return firstAndLast('restore', 1)
    case 'restoreState':
      return firstAndLast('restore', 1, ['stateFresh', 'state'])
    case 'edit':
      // Its turns are looked at twice: of the first, and of all of them.
      return [
        sample('edit', 'fresh', microseconds.slice(0, 1), longestTurnMs.slice(0, 1)),
        sample('edit', 'library', microseconds.slice(1), longestTurnMs.slice(1)),
      ]
    case 'memory':
    case 'stateMemory':
      return []
    case 'growth':
      return growthSamples(plan.warmUps, '')
    case 'growthFirst':
    case 'growthFirstLarge':
      return growthSamples(0, 'first ')
    default:
      return firstAndLast(name, Math.ceil(microseconds.length / 3))
  }

  /** @param {number} skipped @param {string} prefix */
  function growthSamples(skipped, prefix) {
    /** @type {Map<string, { work: string, contender: string, times: number[], turns: number[] }>} */
    const samples = new Map()
    for (const [place, table] of tables.entries()) {
      if (place < skipped) continue
      for (const [index, work] of GROWTH_WORKS.entries()) {
        const contender = `${prefix}${rulesOf(table)}`
        const key = `${work} ${contender}`
        const one = samples.get(key) ?? { work, contender, times: [], turns: [] }
        samples.set(key, one)
        const at = place * GROWTH_WORKS.length + index
        one.times.push(...microseconds.slice(at, at + 1))
        one.turns.push(...longestTurnMs.slice(at, at + 1))
      }
    }
    return [...samples.values()].map(({ work, contender, times, turns }) =>
      sample(work, contender, times, turns),
    )
  }
}

/** The heap that a report tells of, in a process that has been running. @param {Report} report */
export const heapOf = ({ heapBytes }) => heapBytes.slice(-1)
