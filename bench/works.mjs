// What the library is measured at, in the guest and, replayed, on the machine itself.
import { median } from './median.mjs'

/** @typedef {import('./measure.mjs').Plan} Plan */
/** @typedef {import('./library.mjs').Report} Report */

/**
 * How library.mjs is started for each work: for a table of so many services with so many real servers, how often it
 * repeats what only reads or edits, in how many places, and whether the table is there already.
 *
 * @typedef {{ table: [services: number, servers: number], repeats: number, places: number, full: boolean }} Work
 *
 * @param {Plan} plan
 * @returns {Record<string, Work>}
 */
export function libraryWorks({ services, servers, memoryServers, restores, reads, edits }) {
  return {
    restore: { table: [services, servers], repeats: 1, places: restores, full: false },
    restoreState: { table: [services, servers], repeats: 1, places: restores, full: false },
    apply: { table: [services, servers], repeats: reads, places: 1, full: false },
    read: { table: [services, servers], repeats: reads, places: 1, full: true },
    edit: { table: [services, servers], repeats: edits, places: 1, full: true },
    memory: { table: [services, memoryServers], repeats: 1, places: 1, full: true },
    large: { table: [services, memoryServers - 1], repeats: 1, places: 1, full: false },
  }
}

/**
 * Which work and contender of the tables a report is about: `fresh` is the first time of a process, `library` the last
 * ones, of a process that has been running.
 *
 * @param {string} work of libraryWorks()
 * @param {Report} report
 * @returns {{ work: string, contender: string, microseconds: number, longestTurnMs: number }[]}
 */
export function samplesOf(work, { microseconds, longestTurnMs }) {
  /** @param {string} work @param {string} contender @param {[from: number, to?: number]} times @param {[from: number, to?: number]} turns */
  const sample = (work, contender, times, turns = times) => ({
    work,
    contender,
    microseconds: median(microseconds.slice(...times)),
    longestTurnMs: Math.max(...longestTurnMs.slice(...turns)),
  })
  const lastThird = -Math.ceil(microseconds.length / 3)
  switch (work) {
    case 'restore':
      return [sample('restore', 'fresh', [0, 1]), sample('restore', 'library', [-1])]
    case 'restoreState':
      return [sample('restore', 'stateFresh', [0, 1]), sample('restore', 'state', [-1])]
    case 'edit':
      // Its turns are looked at twice: of the first, and of all of them.
      return [sample('edit', 'fresh', [0, 1]), sample('edit', 'library', [1], [1])]
    case 'memory':
      return [sample('memory', 'library', [0])]
    case 'large':
      return ['largeRestore', 'largeSave', 'largePlan'].map((name, index) =>
        sample(name, 'library', [index, index + 1]),
      )
    default:
      return [sample(work, 'fresh', [0, 1]), sample(work, 'library', [lastThird])]
  }
}
