import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compileFunction } from 'node:vm'
import * as library from '../../lib/index.ts'
import { faultOfElf } from '../../lib/transport/elf.ts'
import { addonLoadError, platformError } from '../../lib/transport/load-addon.ts'
import * as testing from '../../lib/testing.ts'
import { patient } from '../helpers/patience.mjs'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'

/** The messages of the library and its programs, each with an input that makes it. */

export interface Case {
  /** As a person would write it. */
  readonly input: string
  /** What comes of it. */
  readonly message: () => Promise<string>
}

/** Cases that belong together: a heading of the page. */
export interface Room {
  readonly title: string
  readonly about: string
  readonly cases: readonly Case[]
}

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const SERVER = { address: '10.0.0.7', port: 8080 } as const

/** A kernel with the table that every case begins with. */
export async function usualKernel(): Promise<testing.MemoryKernel> {
  const kernel = testing.createMemoryKernel()
  const ipvs = await library.Ipvs.open({ transport: kernel })
  await ipvs.addService({ ...WEB, scheduler: 'rr' })
  await ipvs.addRealServer(WEB, { ...SERVER, method: 'masquerade' })
  await ipvs.addRealServer(WEB, { ...SERVER, address: '10.0.0.8', method: 'masquerade' })
  await ipvs.close()
  kernel.clearLog()
  return kernel
}

/** Files of a case, by their names. */
export type Files = Readonly<Record<string, string | Uint8Array>>

/** Runs something beside files of these names, and leaves their folder out of what it says. */
export async function beside(files: Files, run: (folder: string) => Promise<string>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-messages-'))
  try {
    for (const [name, contents] of Object.entries(files)) writeFileSync(join(folder, name), contents)
    return (await run(folder)).replaceAll(`${folder}/`, '').replaceAll(folder, 'FOLDER')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A line of JavaScript: the error that it ends in, or the text that it gives. */
export function js(input: string, files: Files = {}): Case {
  return {
    input: [input, ...shown(files)].join('\n'),
    message: () => beside(files, (folder) => evaluate(input, folder)),
  }
}

/** Files as the page has them. */
export function shown(files: Files): string[] {
  return Object.entries(files).flatMap(([name, contents]) => [
    `${name}:`,
    typeof contents === 'string' ? contents : Buffer.from(contents).toString('latin1'),
  ])
}

/** What is wrong with the beginning of a shared object, on x64. */
function faultOf(
  { machine, leastBytes = 0 }: { machine: number; leastBytes?: number },
  folder: string,
): string {
  const header = Buffer.alloc(64)
  header.write('\u007fELF\u0002\u0001', 'latin1')
  header.writeUInt16LE(machine, 18)
  header.writeUInt32LE(leastBytes, 40)
  writeFileSync(join(folder, 'ipvs.node'), header)
  return String(faultOfElf(join(folder, 'ipvs.node'), header.length, 'x64'))
}

async function evaluate(code: string, folder: string): Promise<string> {
  const opened: library.Ipvs[] = []
  const open = async (options: library.OpenOptions): Promise<library.Ipvs> => {
    const ipvs = await library.Ipvs.open(options)
    opened.push(ipvs)
    return ipvs
  }
  const kernel = await usualKernel()
  const names: Readonly<Record<string, unknown>> = {
    ...library,
    ...testing,
    platformError,
    addonLoadError,
    faultOf: (header: { machine: number; leastBytes?: number }) => faultOf(header, folder),
    ScriptedTransport,
    kernel,
    ipvs: await open({ transport: kernel }),
    on: (options: testing.MemoryKernelOptions) => open({ transport: testing.createMemoryKernel(options) }),
    over: (transport: library.Transport) => open({ transport }),
    reconciled: (source: unknown, options?: library.ReconcileOptions) =>
      reconciled(opened[0] as library.Ipvs, source as library.ReconcileSource, options),
    whileDrained: (state: unknown, meanwhile: () => Promise<unknown>) =>
      whileDrained(opened[0] as library.Ipvs, kernel, state as library.State, meanwhile),
    file: (name: string) => join(folder, name),
    WEB,
    SERVER,
  }
  try {
    const result: unknown = await (
      compile(code, Object.keys(names)) as (...values: unknown[]) => Promise<unknown>
    )(...Object.values(names))
    if (result instanceof Error) return said(result)
    if (typeof result === 'string') return result.trimEnd()
  } catch (error) {
    return said(error)
  } finally {
    for (const ipvs of opened) await ipvs.close()
  }
  throw new Error(`no message comes of: ${code}`)
}

/** An expression, or statements. */
// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- what node:vm gives
function compile(code: string, names: readonly string[]): Function {
  try {
    return compileFunction(`return (async () => (${code}))()`, names)
  } catch {
    return compileFunction(`return (async () => { ${code} })()`, names)
  }
}

function said(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

/** Applies a state that takes servers away, and runs something once these wait for the end of their connections. */
async function whileDrained(
  ipvs: library.Ipvs,
  kernel: testing.MemoryKernel,
  state: library.State,
  meanwhile: () => Promise<unknown>,
): Promise<unknown> {
  kernel.traffic(WEB, { connections: 2 })
  let other: Promise<void> | undefined
  return ipvs.apply(state, {
    maxDeletions: 3,
    drain: { timeoutMs: patient(5000), intervalMs: 10 },
    onProgress: ({ phase }) => {
      if (phase !== 'apply') return
      other ??= meanwhile().then(() => {
        kernel.advance(1000)
      })
    },
  })
}

/** The first error of a reconciler. */
async function reconciled(
  ipvs: library.Ipvs,
  source: library.ReconcileSource,
  options: Partial<library.ReconcileOptions> = {},
): Promise<Error> {
  const error = await new Promise<unknown>((resolve) => {
    const reconciler = ipvs.reconcile(source, {
      ...options,
      onError: (error: unknown) => {
        resolve(error)
        void reconciler.stop()
      },
    })
  })
  return error as Error
}

/** What comes of an input that is wrong itself. */
const MISTAKE = /ReferenceError|(?<!State)SyntaxError|Cannot (?:find|read)|is not a function/

/** The page of all rooms. */
export async function pageOf(rooms: readonly Room[]): Promise<{ text: string; messages: string[] }> {
  const parts = [HEAD]
  const messages: string[] = []
  const failures: string[] = []
  for (const { title, about, cases } of rooms) {
    parts.push(`## ${title}`, about)
    for (const { input, message } of cases) {
      const text = await inTime(message()).catch((error: unknown) => {
        failures.push(`${input}: ${said(error)}`)
        return ''
      })
      if (MISTAKE.test(text)) failures.push(`${input}: ${text}`)
      messages.push(text)
      parts.push(quoted(input, ''), quoted(text, '> '))
    }
  }
  if (failures.length > 0) throw new Error(`these inputs make no message:\n${failures.join('\n')}`)
  return { text: `${parts.join('\n\n')}\n`, messages }
}

const HEAD = `# Messages

Every message of the library and its programs, each below an input that makes it. A test writes this page
(\`npx vitest run --project unit test/messages -u\`) and fails where it is out of date, or where a text of \`lib/\` is in none of the
messages.

The inputs in JavaScript begin with an \`Ipvs\`, \`ipvs\`, on an in-memory kernel, \`kernel\`, whose table has the service
\`WEB\`, tcp/192.0.2.10:80, with the real servers \`SERVER\`, 10.0.0.7:8080, and 10.0.0.8:8080. \`on(options)\` opens
another in-memory kernel, \`over(transport)\` any transport, \`whileDrained\` applies a state and does something else
while real servers wait for the end of their connections, and \`reconciled\` gives the first error of a reconciler.`

function inTime<T>(work: Promise<T>): Promise<T> {
  return Promise.race([
    work,
    new Promise<never>((_, reject) => {
      setTimeout(() => {
        reject(new Error('it does not end'))
      }, patient(10_000)).unref()
    }),
  ])
}

/** As code: within a line where it is one, which then wraps. */
function quoted(text: string, before: string): string {
  const visible = printable(text.trimEnd())
  if (visible.includes('\n')) return `\`\`\`text\n${visible}\n\`\`\``
  return `${before}${visible.includes('`') ? `\`\` ${visible} \`\`` : `\`${visible}\``}`
}

/** With control characters as JavaScript writes them, and without blanks at the ends of lines. */
function printable(text: string): string {
  return text
    .replaceAll(/ +$/gm, '')
    .replaceAll(/[^\P{Cc}\n]/gu, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`)
}
