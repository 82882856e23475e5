import { fstatSync, readSync, writeSync } from 'node:fs'
import { Ipvs, IpvsError, printable } from '../../index.ts'
import { tableOfEarlyOptions } from '../early-options.ts'
import { systemNames } from '../names.ts'
import { bothTables, memoryFileOf, type TableOptions } from '../table.ts'
import { runNamed, type ProgramSurroundings } from './program.ts'

/** The status that a shell reports for a program that SIGPIPE ended: its reader was gone. */
const BROKEN_PIPE_STATUS = 141

/** Characters that are collected for one write, unless to a terminal. */
const BUFFER_LENGTH = 64 * 1024

/** Bytes that are read at once. Lines that arrive together are sent together; larger pieces only take more memory. */
const PIECE_LENGTH = 16 * 1024

/** The file with the in-memory table cannot be read or written; or the options before `adm` are wrong. */
const TABLE_FAILED_STATUS = 2

/**
 * Runs one of the three programs in this process. Gives the exit status.
 * IPVS_MEMORY names a file whose table, on a kernel in memory, takes the place of the real one.
 * @param early what stands before `adm`: options that choose the table.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  early: readonly string[] = [],
): Promise<number> {
  const table = tableOfEarlyOptions(early)
  const file = memoryFileOf(table, process.env)
  const refuse = (message: string): number => {
    writeAll(2, `${program}: ${printable(message)}\n`)
    return TABLE_FAILED_STATUS
  }
  // A variable of a script that is not set.
  const [empty] = Object.entries(table).flatMap(([name, value]) => (value === '' ? [name] : []))
  if (empty !== undefined) return refuse(`--${empty} is empty`)
  if (early.includes('--json')) return refuse('it prints what ipvsadm does, and never JSON: leave out --json')
  if (file === undefined) return runOn(() => openKernel(table), program, args)
  if (table.netns !== undefined) return refuse(bothTables(table))
  const { memoryNote, openMemory } = await import('../memory.ts')
  try {
    const table = await openMemory(file, systemNames)
    writeAll(2, `${printable(memoryNote(file))}\n`)
    const status = await runOn(() => table.open(), program, args)
    await table.writeBack()
    return status
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error))
  }
}

async function runOn(open: () => Promise<Ipvs>, program: string, args: readonly string[]): Promise<number> {
  // Look-ups wait for name servers on these threads and take at most half of them. The threads start with the first work.
  if (writesNames(program, args)) process.env.UV_THREADPOOL_SIZE ??= '64'
  const output = new Output()
  const surroundings: ProgramSurroundings = {
    program,
    posix: process.env.POSIXLY_CORRECT !== undefined || process.env.POSIX_ME_HARDER !== undefined,
    input: readInput,
    out: (text) => {
      output.write(text)
    },
    err: (text) => {
      writeAll(2, text)
    },
    names: systemNames,
    open,
  }
  const status = await runNamed(args, surroundings)
  output.flush()
  return output.broken ? BROKEN_PIPE_STATUS : status
}

/** Whether a table is to be printed with names. A wrong guess is only slower. */
function writesNames(program: string, args: readonly string[]): boolean {
  const lists = program === 'ipvsadm-save' || /^(-[LlS]|--list$|--save$)/.test(args[0] ?? '-L')
  return lists && !args.some((word) => word === '--numeric' || /^-[A-Za-z]*n/.test(word))
}

/** Opens the kernel's table. Loads the module first if it is missing, as ipvsadm does. */
async function openKernel({ netns }: TableOptions): Promise<Ipvs> {
  const options = netns === undefined ? {} : { netns }
  try {
    return await Ipvs.open(options)
  } catch (error) {
    // ipvsadm knows no namespaces, so it has no words for one that is missing.
    if (netns !== undefined && error instanceof IpvsError && error.noFamily !== true)
      throw new Error(error.message)
    if (!(error instanceof IpvsError) || error.noFamily !== true) throw error
    // Seldom needed, and slow to load.
    const { execFileSync } = await import('node:child_process')
    try {
      execFileSync('/sbin/modprobe', ['--', 'ip_vs'], { stdio: ['ignore', 'ignore', 'inherit'] })
    } catch {
      // modprobe has printed its error.
    }
    return await Ipvs.open(options)
  }
}

/** Standard output: at once on a terminal, else in large pieces. Errors are ignored, as ipvsadm ignores them. */
class Output {
  broken = false
  #text = ''
  readonly #buffered = !isDevice(1)

  write(text: string): void {
    this.#text += text
    if (!this.#buffered || this.#text.length >= BUFFER_LENGTH) this.flush()
  }

  flush(): void {
    const text = this.#text
    this.#text = ''
    if (!this.broken && writeAll(1, text) === 'EPIPE') this.broken = true
  }
}

function isDevice(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice()
  } catch {
    return false
  }
}

/** Standard input as it arrives. Blocks the thread, as ipvsadm does. */
function* readInput(): Generator<Uint8Array> {
  for (;;) {
    const bytes = Buffer.allocUnsafeSlow(PIECE_LENGTH)
    let length = 0
    try {
      length = readSync(0, bytes)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EINTR') continue
      if (code === 'EAGAIN') {
        waitHere()
        continue
      }
      // An input that cannot be read has ended.
    }
    if (length === 0) return
    yield bytes.subarray(0, length)
  }
}

/** Writes all of a text before it returns. Gives the code of the error that stopped it, if there was one. */
function writeAll(fd: number, text: string): string | undefined {
  let bytes = Buffer.from(text)
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(fd, bytes))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EAGAIN') return code
      waitHere()
    }
  }
  return undefined
}

/** For a pipe that another process has made non-blocking. */
function waitHere(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
}
