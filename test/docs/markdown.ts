import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What the checks of the documentation need to know of Markdown. */

export const ROOT: string = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

export interface Page {
  /** Path from the root of the repository. */
  readonly name: string
  readonly lines: readonly string[]
}

/** README.md, CHANGELOG.md, SECURITY.md and all of docs/. */
export function pages(): Page[] {
  const docs = readdirSync(join(ROOT, 'docs')).filter((file) => file.endsWith('.md'))
  return ['README.md', 'CHANGELOG.md', 'SECURITY.md', ...docs.map((file) => `docs/${file}`)].map((name) => ({
    name,
    lines: readFileSync(join(ROOT, name), 'utf8').split('\n'),
  }))
}

export interface Example {
  /** 'docs/guide.md:17', the line of the fence. */
  readonly place: string
  readonly code: string
  /** Another example that this one goes on from. */
  readonly setUp?: string
}

/** A fenced block: what stands behind its fence, such as `sh director`, in words. */
export interface Fence extends Example {
  readonly words: readonly string[]
}

export function fences({ name, lines }: Page): Fence[] {
  const found: Fence[] = []
  for (let index = 0; index < lines.length; index++) {
    const [, info] = /^```(\S.*)?$/.exec(lines[index] ?? '') ?? []
    if (lines[index]?.startsWith('```') !== true) continue
    const end = lines.indexOf('```', index + 1)
    found.push({
      place: `${name}:${String(index + 1)}`,
      code: lines.slice(index + 1, end).join('\n'),
      words: (info ?? '').split(' '),
    })
    index = end
  }
  return found
}

/** The fenced blocks of one language, or of one and more words behind it. */
export function examples(page: Page, language: string): Example[] {
  return fences(page)
    .filter(({ words }) => words.join(' ') === language)
    .map(({ place, code }) => ({ place, code }))
}

/** Whether an example stands by itself, rather than going on from something. */
export function isModule({ code }: Example): boolean {
  return /^import /m.test(code)
}

/** The `ts` examples of docs/testing.md: those without an import go on from the first. */
export function testingExamples(all: readonly Page[]): Example[] {
  const page = all.find(({ name }) => name === 'docs/testing.md')
  const [first, ...rest] = page === undefined ? [] : examples(page, 'ts')
  if (first === undefined) throw new Error('docs/testing.md has no example')
  return [first, ...rest.map((example) => (isModule(example) ? example : { ...example, setUp: first.code }))]
}

/** The lines outside of fenced blocks, each with its number. */
export function prose({ lines }: Page): { readonly line: string; readonly number: number }[] {
  let fenced = false
  return lines
    .map((line, index) => ({ line, number: index + 1 }))
    .filter(({ line }) => {
      if (!line.startsWith('```')) return !fenced
      fenced = !fenced
      return false
    })
}

/** The headings of a level, or of all levels. */
export function headings(page: Page, level = '#+'): string[] {
  const heading = new RegExp(`^${level} (.*)$`)
  return prose(page).flatMap(({ line }) => heading.exec(line)?.[1] ?? [])
}

/** What a link to a heading ends in. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}

export interface Link {
  readonly place: string
  readonly target: string
}

export function links(page: Page): Link[] {
  return prose(page).flatMap(({ line, number }) =>
    [...line.replaceAll(/`[^`]*`/g, '').matchAll(/\]\(([^)]*)\)/g)].map(([, target = '']) => ({
      place: `${page.name}:${String(number)}`,
      target,
    })),
  )
}

/** Why a link leads nowhere; `undefined` if it leads somewhere, or out of the repository. */
export function brokenLink(page: Page, target: string, all: readonly Page[]): string | undefined {
  if (/^[a-z]+:/.test(target)) return undefined
  const [path = '', anchor] = target.split('#')
  const name = path === '' ? page.name : relative(ROOT, join(ROOT, dirname(page.name), path))
  const there = all.find((other) => other.name === name)
  if (there === undefined && !existsSync(join(ROOT, name))) return `there is no ${name}`
  if (anchor === undefined) return undefined
  if (there === undefined) return `${name} has no headings`
  if (!headings(there).some((heading) => anchorOf(heading) === anchor)) {
    return `${name} has no heading '${anchor}'`
  }
  return undefined
}

/** Every `code` in a text. */
export function codeSpans(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)
}

/** The rows of all tables, without their heads: the cells of each. */
export function tableRows(page: Page): { readonly place: string; readonly cells: readonly string[] }[] {
  const lines = prose(page)
  return lines
    .filter(({ line }, index) => line.startsWith('|') && !/^\|[-|]+\|$/.test(lines[index + 1]?.line ?? ''))
    .filter(({ line }) => !/^\|[-|]+\|$/.test(line))
    .map(({ line, number }) => ({
      place: `${page.name}:${String(number)}`,
      cells: line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim()),
    }))
}

/** The rows of docs/ipvsadm.md that say what its commands and options are to us. */
export function optionRows(page: Page): ReturnType<typeof tableRows> {
  return tableRows(page).filter(({ cells }) => cells[0]?.startsWith('`-'))
}
