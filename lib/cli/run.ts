import type { Ipvs } from '../index.ts'
import { Interrupted, type Report } from './exit-status.ts'
import { type TableOptions, withTable } from './table.ts'
import { line, type Word } from './terminal/line.ts'
import { Printer } from './terminal/printer.ts'
import { Progress } from './terminal/progress.ts'
import type { Surroundings } from './terminal/surroundings.ts'

/** Options that every command takes. */
export interface CommonOptions extends TableOptions {
  readonly json?: boolean
  /** False: a command that changes the table keeps nothing in the history. */
  readonly history?: boolean
  /** False: a command that changes the table does not wait for another that does. */
  readonly wait?: boolean
}

/** One run of a command: its options, its surroundings, and what it prints. */
export class Run {
  readonly surroundings: Surroundings
  /** Standard output: the result. */
  readonly out: Printer
  /** Standard error: all else. */
  readonly err: Printer
  /** Whether the result is for a program. */
  readonly json: boolean
  /** Whether what changes the table keeps its state from before. */
  readonly history: boolean
  /** Whether what changes the table waits for others that do. */
  readonly wait: boolean
  /** Which table the options choose. */
  readonly table: TableOptions
  /** The command line, without the program's name. */
  readonly words: readonly string[]

  constructor(
    surroundings: Surroundings,
    { json = false, history = true, wait = true, netns, memory }: CommonOptions,
    words: readonly string[],
  ) {
    this.surroundings = surroundings
    this.out = new Printer(surroundings.stdout, surroundings.env)
    this.err = new Printer(surroundings.stderr, surroundings.env)
    this.json = json
    this.history = history && surroundings.env.IPVS_HISTORY !== 'off'
    this.wait = wait
    this.table = { ...(netns !== undefined && { netns }), ...(memory !== undefined && { memory }) }
    this.words = words
  }

  /** Whether a person reads the result. */
  get terminal(): boolean {
    return this.out.isTerminal && !this.json
  }

  /** Prints the result for programs. */
  printJson(value: unknown): void {
    this.out.json(value, 2)
  }

  /** Tells something beside the result. */
  note(text: Word): void {
    this.err.line(line`ipvs: ${text}`)
  }

  /** Reports an error after which the command goes on. */
  complain(report: Report): void {
    complain(report, this.json, this.err)
  }

  progress(options?: { readonly firstAfterMs: number }): Progress {
    return new Progress(this.err, this.surroundings.now, options)
  }

  /** Runs something on the table that the options choose. */
  withTable<T>(body: (ipvs: Ipvs) => Promise<T>): Promise<T> {
    return withTable(this.table, this.surroundings, body, (note) => {
      this.err.line(note)
    })
  }

  /**
   * Runs something that a signal such as Ctrl-C ends in good order; a second
   * signal ends it at once. With `onReload` SIGHUP calls that instead, unless it
   * says that the terminal is gone.
   */
  async interruptible<T>(body: (signal: AbortSignal) => Promise<T>, onReload?: () => void): Promise<T> {
    const controller = new AbortController()
    const stop = this.surroundings.onSignal((signal) => {
      if (signal === 'SIGHUP' && onReload !== undefined && !this.surroundings.hungUp()) {
        onReload()
        return
      }
      stop()
      controller.abort(new Interrupted(signal))
    })
    try {
      return await body(controller.signal)
    } finally {
      stop()
    }
  }
}

/** Reports an error, to a program or to a person. */
export function complain(
  { status, code, message, stack = [] }: Report,
  json: boolean,
  printer: Printer,
): void {
  if (json) {
    const whole = [message, ...stack].join('\n')
    printer.json({ error: { status, ...(code !== undefined && { code }), message: whole } })
    return
  }
  printer.lines([line`${printer.style.red('ipvs:')} ${message}`, ...stack])
}
