import { HELP_STATUS, printHelp, VERSION } from './help.ts'
import { type Action, readLine, Refusal } from './line.ts'
import { HostWanted } from './names.ts'
import { change, isChange, readWithHosts, report, type Session, show } from './run.ts'

/** Longer words come in pieces. */
const LONGEST_WORD = 4096

/**
 * -R: does the lines of a text, each as a command line of its own. Lines that
 * came together are sent together. What the kernel refuses is reported, and the
 * lines after it are done; a line that cannot be read ends everything. The
 * status is that of the last line.
 */
export async function restore(input: AsyncIterable<Uint8Array>, session: Session): Promise<number> {
  const restoring = new Restore({ ...session, nested: true })
  for await (const lines of linesOf(input)) {
    if (await restoring.take(lines)) break
  }
  return restoring.status
}

/** A change that was sent, or a line that was not. */
interface Sent {
  readonly line: string
  readonly number: number
  readonly outcome: Promise<unknown>
  readonly command: Action['command']
}

class Restore {
  status = 0
  readonly #session: Session
  #number = 0
  #sent: Sent[] = []

  constructor(session: Session) {
    this.#session = session
  }

  /** Does these lines. Says whether one of them ended the restore. */
  async take(lines: readonly string[]): Promise<boolean> {
    for (const line of lines) {
      this.#number += 1
      if (await this.#do(line)) return true
    }
    await this.#settle()
    return false
  }

  async #do(line: string): Promise<boolean> {
    const words = wordsOf(line)
    if (words.length === 0) return false
    const { ipvs } = this.#session
    let action: Action
    try {
      action = this.#read(words) ?? (await readWithHosts(words, this.#session))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.#send(line, 'restore', Promise.reject(error))
      if (error.stops) await this.#settle()
      return error.stops
    }
    if (isChange(action)) {
      this.#send(line, action.command, change(ipvs, action))
      return false
    }
    // What follows shows what was done before it.
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

  /** Most lines name no host, and need not wait a turn of their own. */
  #read(words: readonly string[]): Action | undefined {
    try {
      return readLine(words, this.#session)
    } catch (error) {
      if (error instanceof HostWanted) return undefined
      throw error
    }
  }

  #send(line: string, command: Action['command'], outcome: Promise<unknown>): void {
    // It is awaited later, when others have been sent.
    outcome.catch(() => undefined)
    this.#sent.push({ line, number: this.#number, outcome, command })
  }

  /** Reports what became of what was sent, in order. */
  async #settle(): Promise<void> {
    for (const { line, number, outcome, command } of this.#sent) {
      try {
        await outcome
        this.status = 0
      } catch (error) {
        this.status = report(error, command, this.#session.err)
        this.#session.err(`  in line ${String(number)}: ${line.trim()}\n`)
      }
    }
    this.#sent = []
  }
}

/** The words of a line. Nothing is quoted and nothing is a comment; the word `ipvsadm` counts for nothing. */
function wordsOf(line: string): string[] {
  const words: string[] = []
  for (const word of line.split(/[ \t\r\n]+/)) {
    if (word === '' || endedByNul(word) === 'ipvsadm') continue
    for (let at = 0; at < word.length; at += LONGEST_WORD)
      words.push(endedByNul(word.slice(at, at + LONGEST_WORD)))
  }
  return words
}

/** The part of a word that C sees: the byte 0 ends it, though not the line. */
function endedByNul(word: string): string {
  const end = word.indexOf('\0')
  return end < 0 ? word : word.slice(0, end)
}

/** The lines that came, as they come. */
async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of input) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (lines.length > 0) yield lines
  }
  rest += decoder.decode()
  // A last line without an end is lost if it ends in two blanks.
  if (rest !== '' && !/[ \t\r]{2}$/.test(rest)) yield [rest]
}
