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
