// The output of the benchmarks: tables, and their sections of docs/performance.md.
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
 * Replaces the part of a text between two comments.
 *
 * @param {string} text
 * @param {string} name the first word of the comments
 * @param {string} content
 */
export function withSection(text, name, content) {
  const [, before, after] =
    new RegExp(`^(.*<!-- ${name}: begin, [^\n]*-->\n).*?(<!-- ${name}: end -->.*)$`, 's').exec(text) ?? []
  if (before === undefined || after === undefined)
    throw new Error(`docs/performance.md lacks <!-- ${name}: begin, ... --> or <!-- ${name}: end -->`)
  return `${before}\n${content}\n\n${after}`
}

/** @param {string} name @param {string} content */
export function writeSection(name, content) {
  writeFileSync(page, withSection(readFileSync(page, 'utf8'), name, content))
}
