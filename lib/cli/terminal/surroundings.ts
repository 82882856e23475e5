import { createInterface } from 'node:readline'
import { Ipvs, type OpenOptions } from '../../index.ts'

/** What a command reads from. */
export interface Input extends NodeJS.ReadableStream {
  readonly isTTY?: boolean
}

/** What a command writes to. */
export interface Output {
  /** Whether a person looks on. */
  readonly isTTY?: boolean
  /** Width of the terminal. */
  readonly columns?: number
  write(text: string, done?: () => void): unknown
  on(event: 'error', listener: (error: NodeJS.ErrnoException) => void): unknown
}

/** What a command has around it: the process, or a test. */
export interface Surroundings {
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Readonly<Record<string, string | undefined>>
  /** Opens the kernel's table. */
  readonly open: (options: OpenOptions) => Promise<Ipvs>
  /** Milliseconds, from anywhere. */
  readonly now: () => number
  /** Calls back at each signal that ends programs, until the function that it gives is called. */
  readonly onSignal: (listener: (signal: EndSignal) => void) => () => void
}

export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Those of this process. */
export function processSurroundings(): Surroundings {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    open: (options) => Ipvs.open(options),
    now: () => performance.now(),
    onSignal(listener) {
      for (const signal of END_SIGNALS) process.on(signal, listener)
      return () => {
        for (const signal of END_SIGNALS) process.off(signal, listener)
      }
    },
  }
}

/** Ways to show text; on what shows no colours they give it as it is. */
export interface Style {
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly red: (text: string) => string
  readonly green: (text: string) => string
  readonly yellow: (text: string) => string
  readonly cyan: (text: string) => string
}

const CODES: Readonly<Record<keyof Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
}

/**
 * Whether to write colours there: on a terminal, unless NO_COLOR (no-color.org)
 * is set. FORCE_COLOR comes before both, as it does in Node itself.
 */
export function hasColor({ isTTY }: Pick<Output, 'isTTY'>, env: Surroundings['env']): boolean {
  const forced = env.FORCE_COLOR
  if (forced !== undefined) return forced !== '0' && forced !== 'false'
  if (isSet(env.NO_COLOR) || env.TERM === 'dumb') return false
  return isTTY === true
}

export function styleFor(output: Output, env: Surroundings['env']): Style {
  const color = hasColor(output, env)
  const paint = (name: keyof Style): ((text: string) => string) => {
    const [on, off] = CODES[name]
    return (text) => (color && text !== '' ? `\u001B[${String(on)}m${text}\u001B[${String(off)}m` : text)
  }
  return {
    bold: paint('bold'),
    dim: paint('dim'),
    red: paint('red'),
    green: paint('green'),
    yellow: paint('yellow'),
    cyan: paint('cyan'),
  }
}

export function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== ''
}

/** Whether the terminal shows more than ASCII, as far as the locale tells. */
export function hasUnicode(env: Surroundings['env']): boolean {
  const locale = [env.LC_ALL, env.LC_CTYPE, env.LANG].find(isSet) ?? ''
  return /utf-?8/i.test(locale)
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar for a share of the most there is, filled up to `width`. What is not nothing shows. */
export function bar(value: number, most: number, width: number, unicode: boolean): string {
  const share = most <= 0 ? 0 : Math.min(1, Math.max(0, value / most))
  if (!unicode) {
    return '#'.repeat(share > 0 ? Math.max(1, Math.round(share * width)) : 0).padEnd(width)
  }
  const eighths = share > 0 ? Math.max(1, Math.round(share * width * 8)) : 0
  return `${'█'.repeat(Math.floor(eighths / 8))}${EIGHTHS[eighths % 8] ?? ''}`.padEnd(width)
}

/** How an answer was given. */
export type Answer = 'yes' | 'no' | 'end'

/** Asks on the terminal; `end` is an input that ended without an answer. Whatever is not yes is no. */
export function ask(question: string, { stdin, stderr }: Surroundings, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: stdin })
    const end = (answer: Answer): void => {
      signal.removeEventListener('abort', abort)
      lines.off('close', closed)
      lines.close()
      resolve(answer)
    }
    const closed = (): void => {
      stderr.write('\n')
      end('end')
    }
    const abort = (): void => {
      end('end')
    }
    signal.addEventListener('abort', abort)
    lines.once('line', (line) => {
      end(/^\s*(y|yes)\s*$/i.test(line) ? 'yes' : 'no')
    })
    lines.once('close', closed)
    stderr.write(question)
    if (signal.aborted) abort()
  })
}

/** What is over sooner needs no bar. */
const FIRST_AFTER_MS = 300
const EVERY_MS = 100
const BAR_WIDTH = 30
const CLEAR_LINE = '\r\u001B[K'

/** One line on the terminal that says how far something is; elsewhere nothing. */
export class Progress {
  readonly #surroundings: Surroundings
  readonly #start: number
  readonly #firstAfterMs: number
  #last: number | undefined

  constructor(surroundings: Surroundings, { firstAfterMs = FIRST_AFTER_MS } = {}) {
    this.#surroundings = surroundings
    this.#start = surroundings.now()
    this.#firstAfterMs = firstAfterMs
  }

  /** A bar with a name. */
  bar(label: string, done: number, total: number): void {
    const { env, stderr } = this.#surroundings
    const filled = bar(done, total, BAR_WIDTH, hasUnicode(env))
    const percent = total === 0 ? 100 : Math.floor((done / total) * 100)
    this.line(
      `${label} ${styleFor(stderr, env).green(filled)} ${String(percent).padStart(3)} %  ${String(done)}/${String(total)}`,
    )
  }

  line(text: string): void {
    const { stderr, now } = this.#surroundings
    if (stderr.isTTY !== true) return
    const time = now()
    if (time - this.#start < this.#firstAfterMs) return
    if (this.#last !== undefined && time - this.#last < EVERY_MS) return
    this.#last = time
    stderr.write(`${CLEAR_LINE}${text}`)
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#last !== undefined) this.#surroundings.stderr.write(CLEAR_LINE)
    this.#last = undefined
  }
}
