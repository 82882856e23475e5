// The measurements of bench/install.mjs, and the tables that show them.
import { median } from './median.mjs'
import { markdownTable, ratio, whole } from './page.mjs'

/**
 * @typedef {object} Installed
 * @property {string} called
 * @property {number[]} warmMs of each sample
 * @property {number[]} coldMs
 * @property {Size} size
 * @property {string | undefined} wants the versions of Node that the package is for
 * @property {Record<string, string>} works by version of Node; empty if the package has nothing to use
 */

/**
 * @typedef {object} Size
 * @property {number} downloaded bytes of tarballs
 * @property {number} unpacked bytes of files in node_modules
 * @property {number} packages
 * @property {number} files
 */

/**
 * The packages of a lock file, as `npm pack` takes them: NAME@VERSION.
 *
 * @param {{ packages: Record<string, { version?: string }> }} lock
 */
export function lockedSpecs({ packages }) {
  const specs = Object.entries(packages).flatMap(([place, { version }]) => {
    const [, name] = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(place) ?? []
    return name === undefined ? [] : `${name}@${version}`
  })
  return [...new Set(specs)].sort()
}

/**
 * Says whether a package works, from how a program that uses it ended.
 *
 * @param {{ status: number | null, signal: string | null, stderr: string }} ended
 */
export function outcomeOf({ status, signal, stderr }) {
  if (status === 0) return 'yes'
  if (signal !== null) return `no: ${signal}`
  const error = stderr.split('\n').find((line) => /^\w*Error\b/.test(line))
  return `no: ${error ?? `status ${status}`}`
}

/** @param {number} ms */
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`

/** @param {number} bytes */
const kilobytes = (bytes) => `${whole(Math.ceil(bytes / 1000))} kB`

/** @param {number} value @param {number | undefined} ours */
const against = (value, ours) => (ours === undefined || value === ours ? '' : `${ratio(value / ours)}x`)

/** @param {readonly Installed[]} all @param {Installed} ours */
export function timesTable(all, ours) {
  /** @param {'warmMs' | 'coldMs'} which @param {string} cache */
  const rows = (which, cache) =>
    all.map(({ called, [which]: times }) => [
      called,
      cache,
      seconds(median(times)),
      `${seconds(Math.min(...times))} to ${seconds(Math.max(...times))}`,
      against(median(times), median(ours[which])),
    ])
  return markdownTable([
    ['Package', 'npm cache', 'Median', 'Least to most', `Against ${ours.called}`],
    ...rows('warmMs', 'warm'),
    ...rows('coldMs', 'empty'),
  ])
}

/** The packages that have something to use. @param {readonly Installed[]} all */
const usedOf = (all) => all.filter(({ works }) => Object.keys(works).length > 0)

/** @param {readonly Installed[]} all @param {Installed} ours */
export function sizesTable(all, ours) {
  const than = `Against ${ours.called}`
  return markdownTable([
    ['Package', 'Download', than, 'On disk', than, 'Packages', 'Files'],
    ...usedOf(all).map(({ called, size }) => [
      called,
      kilobytes(size.downloaded),
      against(size.downloaded, ours.size.downloaded),
      kilobytes(size.unpacked),
      against(size.unpacked, ours.size.unpacked),
      whole(size.packages),
      whole(size.files),
    ]),
  ])
}

/** @param {readonly Installed[]} all */
export function worksTable(all) {
  const used = usedOf(all)
  const nodes = Object.keys(used[0]?.works ?? {})
  return markdownTable([
    ['Package', 'Is for Node', ...nodes.map((node) => `Works in ${node}`)],
    ...used.map(({ called, wants, works }) => [
      called,
      wants ?? 'any',
      ...nodes.map((node) => (works[node] ?? '').replaceAll('|', '\\|')),
    ]),
  ])
}
