// What the benchmarks write: tables, and the parts of docs/performance.md that are theirs.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const page = fileURLToPath(new URL('../docs/performance.md', import.meta.url))

/** @param {number} number */
export const ratio = (number) => number.toPrecision(number < 10 ? 2 : 3).replace(/\.0+$/, '')

/** @param {number} number */
export const whole = (number) => number.toLocaleString('en')

/** @param {readonly string[][]} rows the first is the heading */
export function markdownTable(rows) {
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

/**
 * Puts something between two comments of a text.
 *
 * @param {string} text
 * @param {string} name what the comments begin with
 * @param {string} content
 */
export function withSection(text, name, content) {
  const [, before, after] =
    new RegExp(`^(.*<!-- ${name}: begin, [^\n]*-->\n).*?(<!-- ${name}: end -->.*)$`, 's').exec(text) ?? []
  if (before === undefined || after === undefined)
    throw new Error(`docs/performance.md has lost the comments that its ${name} stand between`)
  return `${before}\n${content}\n\n${after}`
}

/** @param {string} name @param {string} content */
export function writeSection(name, content) {
  writeFileSync(page, withSection(readFileSync(page, 'utf8'), name, content))
}
