import { formatState, Ipvs, parseState } from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { ipvs as ourCommand } from '../cli/terminal.ts'
import { type Example, fences, type Page, pages } from '../docs/markdown.ts'

/** What a reader of a guide is asked to do, in the order of the page. */
export interface Block extends Example {
  /**
   * `sh`: commands. `console`: commands, and what they print. `yaml`: the file for `ipvs apply`. `ts`: lines of a
   * program with an open `ipvs`.
   */
  readonly language: 'sh' | 'console' | 'yaml' | 'ts'
  /** Where, by the names of the topology: the first word behind the language, with commas between several. */
  readonly machines: readonly string[]
  /** The other words: what a reader must have chosen for the block to be meant, such as `gue` or `iptables`. */
  readonly tags: readonly string[]
}

const LANGUAGES: ReadonlySet<string> = new Set(['sh', 'console', 'yaml', 'ts'])

/** The blocks of a page that name a machine. */
export function blocksOf(page: Page): Block[] {
  return fences(page).flatMap(({ place, code, words: [language = '', machines, ...tags] }) =>
    LANGUAGES.has(language) && machines !== undefined
      ? [{ place, code, language: language as Block['language'], machines: machines.split(','), tags }]
      : [],
  )
}

export function guidePage(name: string): Page {
  const page = pages().find((one) => one.name === `docs/${name}.md`)
  if (page === undefined) throw new Error(`there is no docs/${name}.md`)
  return page
}

/** The words of a line that begins with `ipvs`, without that word. */
export function wordsOf(line: string): string[] {
  return line
    .split(' ')
    .slice(1)
    .map((word) => word.replaceAll("'", ''))
}

/** Runs the lines of a program that has an open `ipvs`. */
export async function runProgram(code: string, ipvs: Ipvs): Promise<void> {
  const AsyncFunction = runProgram.constructor as new (
    name: string,
    body: string,
  ) => (ipvs: Ipvs) => Promise<void>
  await new AsyncFunction('ipvs', code)(ipvs)
}

/** The table, on an empty kernel, after the block that adds the services: by the command, a file, or a program. */
export async function tableOf({ language, code }: Pick<Block, 'language' | 'code'>): Promise<string> {
  const kernel = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport: kernel })
  if (language === 'ts') await runProgram(code, ipvs)
  else if (language === 'yaml') await ipvs.apply(await parseState(`${code}\n`))
  else
    for (const line of code.split('\n')) {
      const { status, stderr } = await ourCommand(wordsOf(line), { kernel })
      if (status !== 0) throw new Error(`${line}: ${stderr}`)
    }
  const { services } = await ipvs.save()
  // The order of real servers is the kernel's: newest first.
  const sorted = services.map(({ realServers = [], ...service }) => ({
    ...service,
    realServers: [...realServers].sort((one, other) => (one.address < other.address ? -1 : 1)),
  }))
  return formatState({ services: sorted })
}
