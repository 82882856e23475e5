import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { GUIDES } from '../traffic/guides.ts'
import { type Page, pages, ROOT, tableRows } from './markdown.ts'

/** Each row of "What goes wrong" in the guides is proven: by a finding of the doctor, or by a test that has its name. */

/** The pages of tasks: their tables have no column for the doctor. */
const TASKS = ['weights', 'maintenance', 'change-scheduler']
const PAGES = [...Object.keys(GUIDES), ...TASKS]

const FILES = ['test/traffic/wrong.test.ts', 'test/traffic/wrong-tasks.test.ts']

/** Rows that tests prove for other reasons too: in which files, and what these are called there. */
const ELSEWHERE: Readonly<Record<string, readonly (readonly [file: string, name: string])[]>> = {
  'weights: Both servers get the same': [
    ['schedulers', 'rr: in turn; wrr: by weight, to the connection'],
    ['schedulers', 'lc: to whom has least; wlc: least for its weight, and ends count'],
  ],
  'maintenance: The server still gets connections': [
    [
      'persistence',
      'gets the clients that persistence remembers too, unless expire_quiescent_template is set',
    ],
  ],
  'maintenance: Connections hang after `ipvs remove`': [
    ['persistence', 'loses its connections: with expire_nodest_conn=%i their clients get %s'],
  ],
  'maintenance: The backup director sends clients there after a failover': [
    [
      'two-directors',
      'without sync daemons a move breaks connections, and weights are those of the other director',
    ],
  ],
}

/** Rows that no test can show, and why. */
const UNSHOWN: Readonly<Record<string, string>> = {
  'maintenance: The weight does not stay 0': 'what a health checker does is for its own documentation to say',
}

/** The rows of a page's table, by the page and what is seen, without those that the doctor finds. */
function rowsOf(page: Page): string[] {
  const start = page.lines.indexOf('## What goes wrong')
  const name = page.name.replace(/^docs\/|\.md$/g, '')
  const rows = tableRows({ name: page.name, lines: page.lines.slice(start) })
  return rows
    .filter(({ cells: [, , finding = ''] }) => TASKS.includes(name) || finding === '')
    .map(({ cells: [seen = ''] }) => `${name}: ${seen}`)
}

/** The texts in a file of tests: names of tests are among them. */
function textsIn(file: string): Set<string> {
  const texts = new Set<string>()
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node)) texts.add(node.text)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.Latest))
  return texts
}

describe('what goes wrong', () => {
  const all = pages()
  const rows = PAGES.flatMap((name) => {
    const page = all.find((one) => one.name === `docs/${name}.md`)
    const found = page === undefined ? [] : rowsOf(page)
    expect(found, name).not.toEqual([])
    return found
  })
  const proven = FILES.flatMap((file) => [...textsIn(file)])

  test('is proven, or it is said why not, once for each row', () => {
    const named = proven.filter((text) => PAGES.some((page) => text.startsWith(`${page}: `)))
    expect([...named, ...Object.keys(ELSEWHERE), ...Object.keys(UNSHOWN)].sort()).toEqual([...rows].sort())
  })

  test.each(Object.entries(ELSEWHERE))('is proven elsewhere: %s', (_, places) => {
    for (const [file, name] of places) expect(textsIn(`test/traffic/${file}.test.ts`)).toContain(name)
  })
})
