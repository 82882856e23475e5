import type { RunnableStep } from '../../index.ts'
import { type Action, readLine, LineRefusal } from '../../ipvsadm/command-line.ts'
import { splitPlainWords } from '../../ipvsadm/words.ts'
import { HostWanted } from '../names.ts'
import { HELP_STATUS, printHelp, VERSION } from './help.ts'
import { change, isChange, readWithHosts, report, type ProgramSession, show, writeOf } from './run.ts'

/** The input in pieces. */
export type Input = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** Characters of a failed line that are shown. */
const SHOWN = 500

/** Far more than any line has, and few enough to be read at once. */
const LONGEST_LINE = 2 ** 20

/**
 * -R: executes the lines of a text, each as a command line of its own. Lines
 * that arrive together are sent together. A line that the kernel refuses is
 * reported and the next ones are executed; a line that cannot be read ends the
 * restore. The status is that of the last line. With `comments` a line that
 * begins with `#` counts as an empty one.
 */
export async function restore(
  input: Input,
  session: ProgramSession,
  { comments = false }: { readonly comments?: boolean } = {},
): Promise<number> {
  const restoring = new Restore({ ...session, nested: true })
  for await (const lines of linesOf(input, comments)) {
    if (await restoring.take(lines)) break
  }
  return restoring.status
}

/** Lines that were sent together, or one by itself, and the error of each. */
interface Sent {
  readonly lines: readonly Line[]
  readonly errors: Promise<readonly unknown[]>
}

interface Line {
  readonly text: string
  readonly number: number
  readonly command: Action['command']
}

class Restore {
  status = 0
  readonly #session: ProgramSession
  #number = 0
  #sent: Sent[] = []
  /** Steps that are not sent yet, and their lines. Almost all lines are steps; a promise for each would cost more than all else. */
  #writes: RunnableStep[] = []
  #lines: Line[] = []

  constructor(session: ProgramSession) {
    this.#session = session
  }

  /** Executes these lines. Returns whether one of them ended the restore. */
  async take(lines: readonly string[]): Promise<boolean> {
    for (const text of lines) {
      this.#number += 1
      if (text.length > LONGEST_LINE) {
        await this.#refuseLong(text)
        return true
      }
      const words = splitPlainWords(text)
      if (words.length === 0) continue
      const action = this.#read(words)
      const write = action && writeOf(action)
      if (action !== undefined && write !== undefined) {
        this.#writes.push(write)
        this.#lines.push(this.#line(text, action.command))
      } else if (await this.#do(text, words, action)) {
        return true
      }
    }
    await this.#settle()
    return false
  }

  async #refuseLong(text: string): Promise<void> {
    this.#send()
    const error = new LineRefusal(`a line of more than ${String(LONGEST_LINE)} characters`)
    this.#sent.push({ lines: [this.#line(text, 'restore')], errors: Promise.resolve([error]) })
    await this.#settle()
  }

  /** `undefined` for a line that names a host or cannot be read: both take the slow way. */
  #read(words: readonly string[]): Action | undefined {
    try {
      return readLine(words, this.#session)
    } catch (error) {
      if (error instanceof HostWanted || error instanceof LineRefusal) return undefined
      throw error
    }
  }

  #line(text: string, command: Action['command']): Line {
    return { text, number: this.#number, command }
  }

  /** Executes any other line. Returns whether it ended the restore. */
  async #do(text: string, words: readonly string[], read: Action | undefined): Promise<boolean> {
    this.#send()
    let action: Action
    try {
      action = read ?? (await readWithHosts(words, this.#session))
    } catch (error) {
      if (!(error instanceof LineRefusal)) throw error
      this.#sent.push({ lines: [this.#line(text, 'restore')], errors: Promise.resolve([error]) })
      if (error.stops) await this.#settle()
      return error.stops
    }
    if (isChange(action)) {
      const errors = change(this.#session.ipvs, action).then(
        () => [undefined],
        (error: unknown) => [error],
      )
      this.#sent.push({ lines: [this.#line(text, action.command)], errors })
      return false
    }
    // A listing shows the effect of the lines before it.
    await this.#settle()
    switch (action.command) {
      case 'list':
      case 'save':
        this.status = await show(action, this.#session)
        return this.status !== 0
      case 'help':
        printHelp(this.#session)
        this.status = HELP_STATUS
        return true
      case 'version':
        this.#session.out(VERSION)
        this.status = 0
        return true
      case 'restore':
        return true
    }
  }

  #send(): void {
    if (this.#writes.length === 0) return
    const [writes, lines] = [this.#writes, this.#lines]
    const errors = this.#session.ipvs
      .runSteps(writes)
      .then((outcomes) => outcomes.map(({ error }) => error))
      .catch((error: unknown) => writes.map(() => error))
    this.#sent.push({ lines, errors })
    this.#writes = []
    this.#lines = []
  }

  /** Waits for what was sent, and reports errors in the order of the lines. */
  async #settle(): Promise<void> {
    this.#send()
    for (const { lines, errors } of this.#sent) {
      const why = await errors
      for (const [index, { text, number, command }] of lines.entries()) {
        this.status = why[index] === undefined ? 0 : report(why[index], command, this.#session.err)
        if (this.status !== 0)
          this.#session.err(`  in line ${String(number)}: ${text.trim().slice(0, SHOWN)}\n`)
      }
    }
    this.#sent = []
  }
}

/** Lines as they arrive; of one that is too long only the beginning, and nothing after it. */
async function* linesOf(input: Input, comments: boolean): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  const read = (line: string): string => (comments && line.startsWith('#') ? '' : line)
  // Pieces of a line whose end has not arrived.
  let begun: string[] = []
  let length = 0
  for await (const bytes of input) {
    const text = decoder.decode(bytes, { stream: true })
    begun.push(text)
    length += text.length
    if (text.includes('\n')) {
      const lines = begun.join('').split('\n')
      const last = lines.pop() ?? ''
      begun = [last]
      length = last.length
      yield lines.map(read)
    }
    if (length <= LONGEST_LINE) continue
    const line = begun.join('')
    // The rest of a comment is not kept.
    begun = ['#']
    length = 1
    if (read(line) !== '') {
      yield [line]
      return
    }
  }
  const rest = read(begun.join('') + decoder.decode())
  if (rest !== '') yield [rest]
}
