import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { delimiter, join } from 'node:path'
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { Ipvs, type OpenOptions } from '../../lib/index.ts'
import { patient } from './patience.mjs'
import { chooseSeed } from './random.ts'
import { Shell, type CommandResult } from './shell.ts'

/** What the tests of a real kernel share: its network namespaces, and what to do where there is none. */

/** Version of the kernel that runs: 6.12 is [6, 12]. */
export const KERNEL: readonly [number, number] = ((): [number, number] => {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  return [major, minor]
})()

/** Whether the kernel that runs is this one, or newer. */
export function kernelSince(major: number, minor: number): boolean {
  return KERNEL[0] > major || (KERNEL[0] === major && KERNEL[1] >= minor)
}

/** Whether this machine is one that may be turned upside down: modules unloaded, for example. */
export const THROWAWAY: boolean = process.env.IPVS_GUEST !== undefined

/** Whether what is missing is a failure. */
export const REQUIRED: boolean =
  (process.env.IPVS_REQUIRE ?? '').split(',').includes('kernel') ||
  !['', undefined, 'false', '0'].includes(process.env.CI)

/** What this machine lacks for these tests. */
const missing: readonly string[] = await findMissing()

/** Tests that need the real kernel. Where there is none they are skipped, or fail if it is required. */
export function kernelTests(title: string, body: () => void): void {
  describeWithKernel(title, { concurrent: false }, body)
}

/** The same for tests that wait for the kernel's timers, and so can wait together. */
export function concurrentKernelTests(title: string, body: () => void): void {
  describeWithKernel(title, { concurrent: true }, body)
}

function describeWithKernel(
  title: string,
  options: { readonly concurrent: boolean },
  body: () => void,
): void {
  if (missing.length === 0) {
    describe(title, options, body)
    return
  }
  const reason = `the real kernel's tests need ${missing.join('; ')}`
  if (REQUIRED) {
    describe(title, () => {
      test('has the kernel it needs', () => {
        throw new Error(`${reason}. Run them in the guest: guest/guest.mjs`)
      })
    })
    return
  }
  console.warn(`SKIPPED: ${title}: ${reason}. guest/guest.mjs boots a kernel that has it all.`)
  describe.skip(title, body)
}

async function findMissing(): Promise<string[]> {
  const lacks: string[] = []
  if (process.platform !== 'linux') return [`Linux, and this is ${process.platform}`]
  // Bit 12 is CAP_NET_ADMIN, bit 21 CAP_SYS_ADMIN.
  const capabilities = BigInt(
    `0x${/CapEff:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  )
  if (((capabilities >> 12n) & (capabilities >> 21n) & 1n) === 0n) lacks.push('root')
  for (const command of ['ip', 'ipvsadm', 'socat', 'setpriv']) {
    if (!isCommand(command)) lacks.push(`the command ${command}`)
  }
  try {
    await (await Ipvs.open()).close()
  } catch (error) {
    lacks.push(`an IPVS that opens (${(error as Error).message})`)
  }
  return lacks
}

function isCommand(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function ignore(): void {
  // What went wrong shows in what the child says, or in its status.
}

/** Shells that wait for something to run. One at a time runs in each. */
const idle: Shell[] = []

async function withShell(body: (shell: Shell) => Promise<CommandResult>): Promise<CommandResult> {
  const shell = idle.pop() ?? new Shell()
  const result = await body(shell)
  idle.push(shell)
  return result
}

/** Runs a command to its end, whatever that is. */
export function tryCommand(argv: readonly string[], stdin?: string): Promise<CommandResult> {
  return withShell((shell) => shell.run(argv, stdin))
}

/** Runs a command that succeeds, and gives what it printed. */
export async function command(argv: readonly string[], stdin?: string): Promise<string> {
  return succeeded(argv.join(' '), await tryCommand(argv, stdin))
}

/** Runs lines of shell, the last of which succeeds, and gives what they printed. */
export async function script(lines: string): Promise<string> {
  return succeeded(lines, await withShell((shell) => shell.script(lines)))
}

function succeeded(what: string, { status, stdout, stderr }: CommandResult): string {
  if (status !== 0) throw new Error(`${what}: status ${String(status)}: ${stderr}`)
  return stdout
}

/** Of a request, which does not take so long. */
const TIMEOUT_MS = patient(10_000)

/** A network namespace of a test's own, with `lo` up. */
export class Netns {
  readonly name: string
  /** The IPVS table of the namespace. */
  readonly ipvs: Ipvs
  readonly #opened: Ipvs[]
  readonly #children: ChildProcessWithoutNullStreams[] = []
  readonly #shells: Shell[] = []

  constructor(name: string, ipvs: Ipvs) {
    this.name = name
    this.ipvs = ipvs
    this.#opened = [ipvs]
  }

  get path(): string {
    return `/run/netns/${this.name}`
  }

  /** Another Ipvs on the same namespace, which ends with it. */
  async open(options: Omit<OpenOptions, 'netns'> = {}): Promise<Ipvs> {
    const ipvs = await Ipvs.open({ timeoutMs: TIMEOUT_MS, ...options, netns: this.name })
    this.#opened.push(ipvs)
    return ipvs
  }

  /** Runs a command inside, which succeeds. */
  run(argv: readonly string[], stdin?: string): Promise<string> {
    return command(this.#inside(argv), stdin)
  }

  /** Runs a command inside to its end, whatever that is. */
  tryRun(argv: readonly string[], stdin?: string): Promise<CommandResult> {
    return tryCommand(this.#inside(argv), stdin)
  }

  /** A shell inside, for whoever runs many commands there. It ends with the namespace. */
  shell(): Shell {
    const shell = new Shell(this.#inside(['sh']))
    this.#shells.push(shell)
    return shell
  }

  /** Starts a command inside. It is killed with the namespace at the latest. */
  start(argv: readonly string[]): ChildProcessWithoutNullStreams {
    const [file = '', ...args] = this.#inside(argv)
    const child = spawn(file, args, { stdio: 'pipe', detached: true })
    child.stdin.on('error', ignore) // one that is gone
    this.#children.push(child)
    return child
  }

  /** Runs lines of ipvsadm's commands, without the word itself, in one process. */
  async ipvsadm(lines: readonly string[]): Promise<void> {
    for (const line of lines) await this.run(['ipvsadm', ...line.split(' ')])
  }

  /** A file below /proc/net or /proc/sys/net as it is inside. */
  read(path: string): Promise<string> {
    return this.run(['cat', path])
  }

  /** Ends all that is inside. The namespace itself is deleted by who made it. */
  async end(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue
      const ended = new Promise((resolve) => child.once('exit', resolve))
      // Its children too: socat forks.
      process.kill(-child.pid, 'SIGKILL')
      await ended
    }
    await Promise.all(this.#shells.map((shell) => shell.end()))
    await Promise.all(this.#opened.map((ipvs) => ipvs.close()))
  }

  #inside(argv: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.name, ...argv]
  }
}

let counter = 0

/** Makes a network namespace with `lo` up (or down) for one test, and takes it away afterwards. */
export function withNamespace<T>(body: (netns: Netns) => Promise<T>, options?: NetnsOptions): Promise<T> {
  return withNamespaces(1, body, options)
}

export interface NetnsOptions {
  /** Whether `lo` is up. */
  readonly lo?: boolean
  /** Commands of ip(8), without the word itself, that set up each of them: they get the names of all. */
  readonly setUp?: (names: readonly string[]) => readonly (readonly string[])[]
}

/** Several of them. */
export async function withNamespaces<T>(
  count: number,
  body: (...all: Netns[]) => Promise<T>,
  { lo = true, setUp = () => [] }: NetnsOptions = {},
): Promise<T> {
  const names = Array.from({ length: count }, () => `ipvs-test-${process.pid}-${++counter}`)
  const lines = setUp(names)
  const all: Netns[] = []
  try {
    await script(
      [
        'set -e',
        batch(
          [],
          names.map((name) => `netns add ${name}`),
        ),
        ...names.map((name, index) =>
          batch(['-n', name], [...(lo ? ['link set lo up'] : []), ...(lines[index] ?? [])]),
        ),
      ].join('\n'),
    )
    for (const name of names)
      all.push(new Netns(name, await Ipvs.open({ netns: name, timeoutMs: TIMEOUT_MS })))
    return await body(...all)
  } finally {
    await Promise.all(all.map((netns) => netns.end()))
    await script(
      batch(
        ['-force'],
        names.map((name) => `netns delete ${name}`),
      ),
    )
  }
}

/** Shell that has ip(8) do several things, in one process. */
function batch(options: readonly string[], lines: readonly string[]): string {
  if (lines.length === 0) return ''
  return `ip ${options.join(' ')} -batch - <<'LINES'\n${lines.join('\n')}\nLINES`
}

/**
 * Checks a property with a seed that is printed: IPVS_SEED repeats it. Few runs
 * of many cases each, since each run takes new network namespaces.
 */
export async function checkProperty<Ts extends [unknown, ...unknown[]]>(
  title: string,
  property: fc.IAsyncProperty<Ts>,
  numRuns: number,
): Promise<void> {
  const seed = chooseSeed(title)
  await fc.assert(property, { seed, numRuns })
}
