import { Readable, Writable } from 'node:stream'
import { WriteStream } from 'node:tty'
import { type NameSources, systemNames } from '../../lib/cli/names.ts'
import { runCommand } from '../../lib/cli/program.ts'
import type { EndSignal, Surroundings } from '../../lib/cli/terminal/surroundings.ts'
import { Ipvs, type OpenOptions, type Transport } from '../../lib/index.ts'

/** What a command finds around it, in place of a process. */
export interface Around {
  /** The kernel that it opens, or 'real'. Without one, to open one is an error. */
  readonly kernel?: Transport | 'real'
  /** Whether it runs in a terminal, that is so many columns wide. Default: in a pipe. */
  readonly columns?: number
  readonly env?: Readonly<Record<string, string>>
  /** Default: those of the system. */
  readonly names?: NameSources
  /** What is typed, or read, in one piece or several; a function is asked when the command begins to read. Default: the input ends at once. */
  readonly stdin?: string | Buffer | readonly Buffer[] | (() => Promise<string>)
  /** Whether the input is a terminal. Default: if the output is one. */
  readonly typing?: boolean
  /** The error that every write to standard output ends with. */
  readonly outputFails?: NodeJS.ErrnoException
  /** Seconds that pass between two looks at the clock. Default 0. */
  readonly secondsPerLook?: number
  /** Whether the terminal is gone when SIGHUP comes. */
  readonly hungUp?: boolean
  /** Called with what systemd is told, if NOTIFY_SOCKET is set; gives why that fails. */
  readonly onNotification?: (text: string, signal: (name: EndSignal) => void) => string | undefined
  /** Called at first, with what sends a signal. */
  readonly onStart?: (signal: (name: EndSignal) => void) => void
  /** Called with what has been written so far, each time something is. */
  readonly onStdout?: (text: string, signal: (name: EndSignal) => void) => void
  readonly onStderr?: (text: string, signal: (name: EndSignal) => void) => void
}

/** What a command said, and how it ended. */
export interface Said {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

class Sink extends Writable {
  text = ''
  readonly isTTY: boolean
  declare readonly columns?: number
  /** As those of a terminal, which look at the environment that they are given. */
  readonly getColorDepth = WriteStream.prototype.getColorDepth.bind(this)
  readonly hasColors = WriteStream.prototype.hasColors.bind(this)
  readonly #fails: Error | undefined
  readonly #onText: (text: string) => void

  constructor(columns: number | undefined, fails: Error | undefined, onText: (text: string) => void) {
    super({ decodeStrings: false })
    this.isTTY = columns !== undefined
    if (columns !== undefined) this.columns = columns
    this.#fails = fails
    this.#onText = onText
  }

  override _write(text: string, _encoding: string, done: (error?: Error) => void): void {
    if (this.#fails === undefined) this.text += text
    this.#onText(this.text)
    done(this.#fails)
  }
}

async function* typed(stdin: NonNullable<Around['stdin']>): AsyncGenerator<string | Buffer> {
  const given = typeof stdin === 'function' ? await stdin() : stdin
  if (typeof given !== 'string' && !Buffer.isBuffer(given)) yield* given
  else if (given.length > 0) yield given
}

/** Runs a command line of `ipvs`, without that word; a list is for words with blanks in them. */
export async function ipvs(line: string | readonly string[], around: Around = {}): Promise<Said> {
  const {
    kernel,
    columns,
    env = {},
    names = systemNames,
    stdin = '',
    typing = columns !== undefined,
  } = around
  const listeners = new Set<(signal: EndSignal) => void>()
  const signal = (name: EndSignal): void => {
    for (const listener of [...listeners]) listener(name)
  }
  const stdout = new Sink(columns, around.outputFails, (text) => around.onStdout?.(text, signal))
  const stderr = new Sink(columns, undefined, (text) => around.onStderr?.(text, signal))
  around.onStart?.(signal)
  let clock = 0
  const surroundings: Surroundings = {
    stdin: Object.assign(Readable.from(typed(stdin)), { isTTY: typing }),
    stdout,
    stderr,
    // Nothing may be written into the home of whoever runs the tests.
    env: { LANG: 'C.UTF-8', TERM: 'xterm', IPVS_HISTORY: 'off', ...env },
    names,
    open: (options: OpenOptions) => {
      if (kernel === undefined) throw new Error('this test opens no kernel')
      return Ipvs.open(kernel === 'real' ? options : { ...options, transport: kernel })
    },
    now: () => (clock += (around.secondsPerLook ?? 0) * 1000),
    onSignal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    hungUp: () => around.hungUp ?? false,
    sendNotification: (_, text) => around.onNotification?.(text, signal),
  }
  const status = await runCommand(typeof line === 'string' ? line.split(' ') : line, surroundings)
  return { status, stdout: stdout.text, stderr: stderr.text }
}
