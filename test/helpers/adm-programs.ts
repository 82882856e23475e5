import { readFile, rm, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { ipvsadm } from '../../lib/cli/ipvsadm/program.ts'
import { Ipvs } from '../../lib/index.ts'
import { type CommandResult, type Netns } from './kernel.ts'
import { until } from './until.ts'

/** Runs the real ipvsadm, many times in one network namespace: by a shell that stays there. */
export class RealProgram {
  readonly #shell: ReturnType<Netns['start']>
  readonly #files: string
  #said = ''

  constructor(netns: Netns) {
    this.#files = `/tmp/${netns.name}`
    this.#shell = netns.start(['sh'])
    this.#shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text
    })
  }

  async run(words: readonly string[], stdin = '', program = 'ipvsadm'): Promise<CommandResult> {
    const input = `${this.#files}.in`
    await writeFile(input, stdin)
    const [out, err] = [`${this.#files}.out`, `${this.#files}.err`]
    const line = [program, ...words].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
    this.#said = ''
    this.#shell.stdin.write(`${line} <${input} >${out} 2>${err}; echo $?\n`)
    const status = await new Promise<number>((resolve, reject) => {
      const look = (): void => {
        if (!this.#said.endsWith('\n')) return
        this.#shell.stdout.off('data', look)
        this.#shell.off('exit', gone)
        resolve(Number(this.#said))
      }
      const gone = (): void => {
        reject(new Error(`the shell ended at: ${line}`))
      }
      this.#shell.stdout.on('data', look)
      this.#shell.once('exit', gone)
    })
    return { status, stdout: await readFile(out, 'utf8'), stderr: await readFile(err, 'utf8') }
  }

  async end(): Promise<void> {
    this.#shell.stdin.end()
    await until('the shell has ended', () => this.#shell.exitCode !== null)
    for (const name of ['in', 'out', 'err']) await rm(`${this.#files}.${name}`, { force: true })
  }
}

/** Runs ours, in this process. The input comes in pieces. */
export async function runOurs(
  netns: Netns,
  words: readonly string[],
  stdin = '',
  { piece = 65536, posix = false } = {},
): Promise<CommandResult> {
  let stdout = ''
  let stderr = ''
  const bytes = Buffer.from(stdin)
  const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, index) =>
    bytes.subarray(index * piece, (index + 1) * piece),
  )
  const status = await ipvsadm(words, {
    program: 'ipvsadm',
    posix,
    input: () => Readable.from(pieces),
    out: (text) => {
      stdout += text
    },
    err: (text) => {
      stderr += text
    },
    open: () => Ipvs.open({ netns: netns.name }),
  })
  return { status, stdout, stderr }
}

/** Words of a line: blanks part them, single quotes hold them together. */
export function wordsOf(line: string): string[] {
  const words: string[] = []
  for (const [part] of line.matchAll(/(?:'[^']*'|[^ '])+/g)) words.push(part.replaceAll("'", ''))
  return words
}
