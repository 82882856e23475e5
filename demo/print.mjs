// How the demo looks: text, pictures and tables, in colour where there is a terminal that wants it.
import { styleText } from 'node:util'
import { CLIENT, SERVERS, VIRTUAL } from './network.mjs'

const { stdout, env } = process
const width = Math.min(stdout.columns || 80, 90)
// hasColors() knows of NO_COLOR and FORCE_COLOR, but only a terminal has it.
const coloured = stdout.isTTY ? stdout.hasColors() : Boolean(Number(env['FORCE_COLOR'])) && !env['NO_COLOR']

/** @typedef {Parameters<typeof styleText>[0]} Style */

/**
 * @param {Style} style
 * @param {string} text
 */
function paint(style, text) {
  return coloured ? styleText(style, text) : text
}

/** Each server has its colour. @type {Record<string, Style>} */
const SERVER_STYLES = { A: 'cyan', B: 'magenta' }

/** @param {string} name */
function serverStyle(name) {
  return SERVER_STYLES[name] ?? 'bold'
}

let silent = false

/** Nothing more is printed: an interrupted story may go on for a moment. */
export function silence() {
  silent = true
}

/** @param {string} text */
function write(text) {
  if (!silent) stdout.write(text)
}

export function line(text = '') {
  write(`${text}\n`)
}

/**
 * What nobody may miss.
 *
 * @param {string} text
 */
export function notice(text) {
  line(`\n${paint(['bold', 'yellow'], text)}`)
}

/** @param {string} text */
export function title(text) {
  line(`\n${paint('bold', text)}\n`)
}

/**
 * A paragraph, as wide as fits.
 *
 * @param {string} text
 */
export function say(text) {
  let row = ''
  for (const word of text.split(/\s+/)) {
    if (row && row.length + 1 + word.length > width) {
      line(row)
      row = ''
    }
    row += row ? ` ${word}` : word
  }
  line(row)
}

/**
 * Something that was checked and holds.
 *
 * @param {string} text
 */
export function good(text) {
  line(`  ${paint('green', '✔')} ${text}`)
}

/** @param {string} text */
export function bad(text) {
  line(`\n  ${paint('red', '✘ FAILED')} ${text}`)
}

/**
 * The source text of a function, so that it cannot differ from what runs.
 *
 * @param {Function} example
 */
export function code(example) {
  line()
  for (const text of String(example).split('\n')) {
    const shown = text.replace(/('[^']*')|\b(?:async|await|const|function|return)\b/g, (word, string) =>
      paint(string ? 'green' : 'blue', word),
    )
    line(`  ${paint('dim', '│')} ${shown}`)
  }
}

/**
 * The hosts, and what joins them.
 *
 * @param {string} link at most four characters
 */
export function picture(link) {
  const [a, b] = SERVERS.map(({ name, address }) => `${name}  ${address}:80`)
  if (width < 76) {
    for (const row of [
      `client    ${CLIENT}`,
      `   │ ${link}`.trimEnd(),
      `director  ${VIRTUAL}:80, the virtual service`,
      `   │ ${link}`.trimEnd(),
      `servers   ${a}`,
      `          ${b}`,
    ]) {
      line(`  ${colourServers(row)}`)
    }
    return
  }
  for (const row of [
    '       client                      director                      servers',
    '  ┌────────────────┐       ┌─────────────────────┐       ┌──────────────────┐',
    `  │ ${CLIENT} ├───────┤ ${VIRTUAL}:80       ├───────┤ ${a}  │`,
    `  │                │  ${link.padEnd(4)} │ the virtual service │  ${link.padEnd(4)} │ ${b}  │`,
    '  └────────────────┘       └─────────────────────┘       └──────────────────┘',
  ]) {
    line(colourServers(row))
  }
}

/** @param {string} text */
function colourServers(text) {
  return text.replace(/\b([AB]) +[\d.]+:80/g, (found, name) => paint(serverStyle(name), found))
}

/** Answers as they come in: a letter each, in groups of four. */
export class AnswerTape {
  #count = 0

  /** @param {{ server?: string }} answer */
  add({ server }) {
    const perRow = Math.max(4, Math.floor((width - 2) / 5) * 4)
    if (this.#count % 4 === 0) write(this.#count % perRow === 0 ? `${this.#count ? '\n' : ''}  ` : ' ')
    write(server ? paint(serverStyle(server), server) : paint('red', 'x'))
    this.#count++
  }

  end() {
    line('\n')
  }
}

/** @typedef {{ A: number, B: number, lost: number }} Tally how many answers came from whom */

/**
 * What each server answered, as the client saw it, beside what the kernel counted.
 *
 * @param {Tally} seen
 * @param {readonly import('ipvs').RealServer[]} realServers
 */
export function answerTable(seen, realServers) {
  const barWidth = width < 68 ? 0 : Math.min(15, width - 62)
  const left = 'server  answers'.length + (barWidth && 1 + barWidth)
  const rule = paint('dim', '│')
  line(
    `  ${paint('dim', 'the client saw'.padEnd(left))} ${rule} ${paint('dim', 'the kernel counted, both ways')}`,
  )
  line(
    `  ${paint('dim', 'server  answers'.padEnd(left))} ${rule} ` +
      paint('dim', 'weight  connections  packets    bytes'),
  )
  for (const { name, address } of SERVERS) {
    const style = serverStyle(name)
    const count = seen[name]
    const bar = '█'.repeat(Math.round((count / Math.max(seen.A, seen.B, 1)) * barWidth))
    const server = realServers.find((found) => found.address === address)
    const counted = server
      ? [
          String(server.weight).padStart(6),
          String(server.stats.connections).padStart(11),
          String(server.stats.packetsIn + server.stats.packetsOut).padStart(7),
          String(server.stats.bytesIn + server.stats.bytesOut).padStart(7),
        ].join('  ')
      : paint('dim', 'deleted')
    line(
      `  ${paint(style, name.padEnd(6))}  ${String(count).padStart(7)}` +
        `${barWidth ? ` ${paint(style, bar.padEnd(barWidth))}` : ''} ${rule} ${counted}`,
    )
  }
  line()
}

/** The course of a drain, a row for each look at it. */
export class DrainTable {
  constructor() {
    line(paint('dim', '  after   open on A   pages from A   pages from B   lost'))
  }

  /** @param {{ elapsedMs: number, left: number, seen: Tally }} row */
  add({ elapsedMs, left, seen }) {
    const cells = [
      `${(elapsedMs / 1000).toFixed(1)} s`.padStart(5),
      paint(left ? 'bold' : 'green', String(left).padStart(9)),
      paint(serverStyle('A'), String(seen.A).padStart(12)),
      paint(serverStyle('B'), String(seen.B).padStart(12)),
      paint(seen.lost ? 'red' : 'green', String(seen.lost).padStart(4)),
    ]
    line(`  ${cells.join('   ')}`)
  }
}
