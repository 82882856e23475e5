import { examples, pages, type Page } from '../docs/markdown.ts'

/** One way to set up a director, as docs/getting-started.md has it. */
export interface Director {
  /** The heading of its section. */
  readonly title: string
  /** What to run on the director before the table is there. */
  readonly onDirector: readonly string[]
  /** What to run on real servers: a block for each kind. */
  readonly onServers: readonly (readonly string[])[]
  /** The file for `ipvs apply`. */
  readonly state: string
  /** The same with the library; `ipvs` is an open Ipvs. */
  readonly program: string
}

export function directors(): Director[] {
  const page = pages().find(({ name }) => name === 'docs/getting-started.md')
  if (page === undefined) throw new Error('there is no docs/getting-started.md')
  return sections(page).flatMap((section) => {
    const [, title = ''] = /^## (.*)$/.exec(section.lines[0] ?? '') ?? []
    const [state] = examples(section, 'yaml')
    const [program] = examples(section, 'ts')
    if (state === undefined || program === undefined) return []
    const [onDirector = [], ...onServers] = examples(section, 'sh').map(({ code }) => code.split('\n'))
    return { title, onDirector, onServers, state: state.code, program: program.code }
  })
}

function sections({ name, lines }: Page): Page[] {
  const starts = lines.flatMap((line, index) => (line.startsWith('## ') ? [index] : []))
  return starts.map((start, index) => ({ name, lines: lines.slice(start, starts[index + 1]) }))
}
