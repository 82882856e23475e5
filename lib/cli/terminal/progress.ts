import { line, type Word } from './line.ts'
import type { Printer } from './printer.ts'
import { hasUnicode } from './style.ts'

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar for a share of `most`, as wide as `width` when full. Any share above 0 shows. */
export function bar(value: number, most: number, width: number, unicode: boolean): string {
  const share = most <= 0 ? 0 : Math.min(1, Math.max(0, value / most))
  if (!unicode) {
    return '#'.repeat(share > 0 ? Math.max(1, Math.round(share * width)) : 0).padEnd(width)
  }
  const eighths = share > 0 ? Math.max(1, Math.round(share * width * 8)) : 0
  return `${'█'.repeat(Math.floor(eighths / 8))}${EIGHTHS[eighths % 8] ?? ''}`.padEnd(width)
}

/** Work that is done sooner needs no bar. */
const FIRST_AFTER_MS = 300
const EVERY_MS = 100
const BAR_WIDTH = 30

/** One line on the terminal that shows how far some work is; nothing where there is no terminal. */
export class Progress {
  readonly #printer: Printer
  readonly #now: () => number
  readonly #start: number
  readonly #firstAfterMs: number
  #last: number | undefined

  constructor(printer: Printer, now: () => number, { firstAfterMs = FIRST_AFTER_MS } = {}) {
    this.#printer = printer
    this.#now = now
    this.#start = now()
    this.#firstAfterMs = firstAfterMs
  }

  /** A bar with a name. */
  bar(label: string, done: number, total: number): void {
    const { env, style } = this.#printer
    const filled = style.green(bar(done, total, BAR_WIDTH, hasUnicode(env)))
    const percent = total === 0 ? 100 : Math.floor((done / total) * 100)
    this.line(line`${label} ${filled} ${String(percent).padStart(3)} %  ${done}/${total}`)
  }

  line(text: Word): void {
    if (!this.#printer.isTerminal) return
    const time = this.#now()
    if (time - this.#start < this.#firstAfterMs) return
    if (this.#last !== undefined && time - this.#last < EVERY_MS) return
    this.#last = time
    this.#printer.replaceLine(text)
  }

  /** Removes the line. */
  clear(): void {
    if (this.#last !== undefined) this.#printer.replaceLine('')
    this.#last = undefined
  }
}
