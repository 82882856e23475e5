// Which files of this folder and of test/traffic run on which kernel, and how they are shared out among guests that run at the
// same time.
import { readdirSync, readFileSync } from 'node:fs'

/** What needs a real kernel, below test/. */
const FOLDERS = ['kernel', 'traffic']

/**
 * What says the same on every kernel, or is too much for a processor that is emulated: these run on 6.1 alone.
 *
 * @type {ReadonlySet<string>}
 */
const NOT_ON_6_12 = new Set([
  'adm-callers',
  'adm-lines',
  'adm-listings',
  'adm-programs',
  'adm-transcript',
  'applications',
  'apply',
  'apply-traffic',
  'beside-keepalived',
  'command',
  'doctor',
  'doctor-access',
  'doctor-healthy',
  'doctor-modules',
  'doctor-sync',
  'doctor-table',
  'dpkg-divert',
  'keepalived',
  'keepalived-vrrp',
  'persistence',
  'scale',
  'schedulers',
  'systemd',
  'tasks',
  'text',
  'topology',
  'two-directors',
  'verbs',
  'wrong',
])

/** The seconds of each file in a guest alone on a quiet machine, as `node scripts/test.mjs --record` found them. */
const RECORD = new URL('seconds.json', import.meta.url)

/** Until a new file has been measured. */
const UNKNOWN_SECONDS = 10

/**
 * The test files of a kernel, as vitest is given them.
 *
 * @param {string} kernel
 * @returns {string[]}
 */
export function filesOn(kernel) {
  return FOLDERS.flatMap((folder) =>
    readdirSync(new URL(`../${folder}/`, import.meta.url))
      .filter((file) => file.endsWith('.test.ts'))
      .filter((file) => kernel !== '6.12' || !NOT_ON_6_12.has(file.replace('.test.ts', '')))
      .map((file) => `test/${folder}/${file}`),
  )
}

/**
 * The files of a kernel in parts that take about the same time: the longest first, each to the part that has least.
 *
 * @param {string} kernel
 * @param {number} count
 * @returns {string[][]}
 */
export function partsOf(kernel, count) {
  /** @type {Record<string, number>} */
  const seconds = JSON.parse(readFileSync(RECORD, 'utf8'))[kernel] ?? {}
  const costs = filesOn(kernel).map((file) => ({ file, cost: seconds[file] ?? UNKNOWN_SECONDS }))
  const parts = Array.from({ length: count }, () => ({ cost: 0, files: /** @type {string[]} */ ([]) }))
  for (const { file, cost } of costs.sort((one, other) => other.cost - one.cost)) {
    const least = parts.reduce((part, other) => (other.cost < part.cost ? other : part))
    least.cost += cost
    least.files.push(file)
  }
  return parts.map(({ files }) => files).filter((files) => files.length > 0)
}
