import { describe, expect, test } from 'vitest'
import { GUIDES } from '../traffic/guides.ts'
import { addresses, commands, fenced, file, program, way } from './guide-blocks.ts'
import { pages, type Page } from './markdown.ts'

/**
 * The parts of the guides between `<!-- generated: WHAT GUIDE -->` and `<!-- end -->` are what the data says from which
 * test/traffic builds the same networks and services. `npx vitest run --project system test/docs/guides -u` writes them.
 */

const MARK = /^<!-- generated: (\S+) (\S+) -->$/
const END = '<!-- end -->'

/** What stands in a part of that name. */
async function part(page: string, what: string, guide: string): Promise<string> {
  const data = GUIDES[page]?.[guide]
  if (data === undefined) throw new Error(`${page}: there is no guide '${guide}'`)
  const { topology, services, hops } = data
  switch (what) {
    case 'way':
      return way(topology, hops)
    case 'addresses':
      return addresses(topology, [])
    case 'commands':
      return fenced(`sh director ${guide} command`, commands(services))
    case 'file':
      return fenced(`yaml director ${guide} file`, [await file(services)])
    case 'program':
      return fenced(`ts director ${guide} library`, program(services))
    default:
      throw new Error(`${page}: nothing is generated as '${what}'`)
  }
}

async function generated({ name, lines }: Page): Promise<string> {
  const out: string[] = []
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? ''
    out.push(line)
    const [, what, guide] = MARK.exec(line) ?? []
    if (what === undefined || guide === undefined) continue
    const end = lines.indexOf(END, index)
    if (end < 0) throw new Error(`${name}:${String(index + 1)}: no ${END} follows`)
    out.push(await part(name.replace(/^docs\/|\.md$/g, ''), what, guide), END)
    index = end
  }
  return out.join('\n')
}

describe.each(Object.keys(GUIDES))('docs/%s.md', (guide) => {
  test('has what is generated from the data of the tests', async () => {
    const page = pages().find(({ name }) => name === `docs/${guide}.md`)
    if (page === undefined) throw new Error('there is no such page')
    await expect(await generated(page)).toMatchFileSnapshot(`../../${page.name}`)
  })
})
