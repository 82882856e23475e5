import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** What a command said. */
export interface CommandResult {
  /** 0 if it succeeded. */
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** A word as a shell takes it, whatever is in it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

/** Those of shells that nobody has ended. */
const folders = new Set<string>()
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/**
 * A shell that stays and runs one command after the other. In a guest that takes
 * a third of the time that this process, which is large, takes to start one.
 */
export class Shell {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #folder: string
  #said = ''
  #heard: () => void = ignore

  /** `argv` starts the shell: in a network namespace, for example. */
  constructor(argv: readonly string[] = ['sh']) {
    const [file = '', ...args] = argv
    this.#folder = mkdtempSync(join(tmpdir(), 'ipvs-shell-'))
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'ignore'], detached: true })
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text
      this.#heard()
    })
    this.#child.on('exit', () => {
      this.#heard()
    })
    this.#child.stdin.on('error', ignore) // one that is gone
    folders.add(this.#folder)
  }

  /** Runs one command to its end, whatever that is. */
  run(argv: readonly string[], stdin = ''): Promise<CommandResult> {
    return this.script(argv.map(quote).join(' '), stdin)
  }

  /** Runs lines of shell in a shell of their own. */
  async script(lines: string, stdin = ''): Promise<CommandResult> {
    const [input, out, err] = ['in', 'out', 'err'].map((name) => join(this.#folder, name)) as [
      string,
      string,
      string,
    ]
    writeFileSync(input, stdin)
    this.#said = ''
    this.#child.stdin.write(`(${lines}\n) <${input} >${out} 2>${err}; echo $?\n`)
    const status = await new Promise<number>((resolve, reject) => {
      this.#heard = () => {
        if (this.#said.endsWith('\n')) resolve(Number(this.#said))
        else if (this.#child.exitCode !== null || this.#child.signalCode !== null)
          reject(new Error(`the shell ended at: ${lines}`))
      }
      this.#heard()
    })
    this.#heard = ignore
    return { status, stdout: readFileSync(out, 'utf8'), stderr: readFileSync(err, 'utf8') }
  }

  /** Ends it, and what it still runs. */
  async end(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child
    if (pid !== undefined && exitCode === null && signalCode === null) {
      const ended = new Promise((resolve) => this.#child.once('exit', resolve))
      process.kill(-pid, 'SIGKILL')
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true })
    folders.delete(this.#folder)
  }
}

function ignore(): void {
  // Nobody waits.
}
