import { printable } from '../../index.ts'
import { Line, type Word } from './line.ts'
import { hasColor, hasUnicode, type Style, styleFor } from './style.ts'
import type { Environment, Output } from './surroundings.ts'

/** A terminal that does not know its width says 0. */
const DEFAULT_WIDTH = 80
const CLEAR_LINE = '\r\u001B[K'

/**
 * All that a command writes to one of its outputs goes through here, so nothing
 * reaches a terminal that would change it. Strings are parts of one line and
 * escaped whole; a line feed is written here, at the end of each line.
 */
export class Printer {
  readonly style: Style
  /** Whether colours are shown. */
  readonly color: boolean
  /** Whether the locale has more than ASCII, and all else that the environment says. */
  readonly env: Environment
  readonly #output: Output

  constructor(output: Output, env: Environment) {
    this.#output = output
    this.env = env
    this.color = hasColor(output, env)
    this.style = styleFor(output, env)
  }

  get isTerminal(): boolean {
    return this.#output.isTTY === true
  }

  /** Columns of the terminal; `undefined` where there is no terminal, or it does not know. */
  get columns(): number | undefined {
    const { columns } = this.#output
    return columns === 0 ? undefined : columns
  }

  /** Width to fill with prose. */
  get width(): number {
    return this.columns ?? DEFAULT_WIDTH
  }

  /** The mark that something was cut off. */
  get ellipsis(): string {
    return hasUnicode(this.env) ? '…' : '...'
  }

  line(word: Word): void {
    this.#output.write(`${Line.of(word).text}\n`)
  }

  lines(words: readonly Word[]): void {
    this.#output.write(words.map((word) => `${Line.of(word).text}\n`).join(''))
  }

  /** Lines of fields with a tab between them, for programs. */
  fields(rows: readonly (readonly string[])[]): void {
    this.#output.write(rows.map((row) => `${row.map((field) => printable(field)).join('\t')}\n`).join(''))
  }

  /** A value for programs. */
  json(value: unknown, indent?: number): void {
    this.document(`${JSON.stringify(value, undefined, indent)}\n`)
  }

  /** A text of many lines in JSON, YAML or another language that writes characters as JSON escapes them. */
  document(text: string): void {
    this.#output.write(printable(text, '\n'))
  }

  /** A text of many lines that is fit to be printed, colours included: help, and what formatPlan() gives. */
  formatted(text: string): void {
    this.#output.write(text)
  }

  /** The beginning of a line, such as a question. */
  prompt(word: Word): void {
    this.#output.write(Line.of(word).text)
  }

  /** Puts another line in the place of the one that the cursor is in, cut so that it stays one line. */
  replaceLine(word: Word): void {
    // Some terminals go to the next line once the last column is filled.
    this.#output.write(CLEAR_LINE + Line.of(word).cut(this.width - 1, this.ellipsis).text)
  }
}
