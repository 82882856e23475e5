import { describe, expect, test } from 'vitest'
import { EXPLANATIONS } from '../../lib/doctor/findings/explanations.ts'
import type { FindingCode } from '../../lib/doctor/findings/finding.ts'
import { setUpDirector } from '../../lib/setup/director.ts'
import { setUpRealServer } from '../../lib/setup/real-server.ts'
import { GUIDES } from '../traffic/guides.ts'
import {
  addresses,
  commands,
  fenced,
  file,
  program,
  servicesOf,
  setUp,
  setupCommand,
  way,
} from './guide-blocks.ts'
import { codeSpans, fences, type Page } from './markdown.ts'
import { ipvs } from '../cli/terminal.ts'
import { blocksOf, guidePage, tableOf, wordsOf } from '../helpers/guides.ts'

/**
 * The parts of the guides between `<!-- generated: WHAT GUIDE -->` and `<!-- end -->` are what the data says from which
 * test/traffic builds the same networks and services. `npx vitest run --project system test/docs/guides -u` writes them.
 */

const MARK = /^<!-- generated: (\S+) (\S+) -->$/
const END = '<!-- end -->'

/** What a reader chooses besides the guide: how to set up, to add services, and which filter to use. `serve` is started, and goes on. */
const TAGS = ['command', 'file', 'library', 'nft', 'iptables', 'setup', 'serve']

/** What stands in a part of that name. */
async function part(page: string, what: string, guide: string): Promise<string> {
  const data = GUIDES[page]?.[guide]
  if (data === undefined) throw new Error(`${page}: there is no guide '${guide}'`)
  const services = servicesOf(data)
  const director = (which: 'nft' | 'iptables' | 'others'): string[] =>
    setUp(
      setUpDirector(services, { ...data.director, firewall: which === 'iptables' ? 'iptables' : 'nft' }),
      which,
    )
  switch (what) {
    case 'way':
      return way(data.mode)
    case 'addresses':
      return addresses(data.mode)
    case 'director':
      return fenced(`sh director ${guide}`, director('others'))
    case 'nft':
    case 'iptables':
      return fenced(`sh director ${guide} ${what}`, director(what))
    case 'real-servers':
      return fenced(
        `sh ${data.realServers.join(',')} ${guide}`,
        setUp(setUpRealServer(services, data.realServer), 'others'),
      )
    case 'setup-director':
      return fenced(`sh director ${guide} setup`, [`${setupCommand('director', data)} --apply`])
    case 'setup-real-servers':
      return fenced(`sh ${data.realServers.join(',')} ${guide} setup`, [
        `${setupCommand('real-server', data)} --apply`,
      ])
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

describe.each(Object.entries(GUIDES))('docs/%s.md', (name, guides) => {
  const page = guidePage(name)
  const blocks = blocksOf(page)

  test('has what is generated from the data of the tests', async () => {
    await expect(await generated(page)).toMatchFileSnapshot(`../../${page.name}`)
  })

  test('adds the same services with the command, a file and the library', async () => {
    for (const [guide, { services }] of Object.entries(guides)) {
      const [first, ...others] = ['command', 'file', 'library'].map((how) =>
        blocks.find(({ tags }) => tags.includes(guide) && tags.includes(how)),
      )
      if (first === undefined) throw new Error(`${guide}: no block adds the services with the command`)
      const table = await tableOf(first)
      const servers = services.flatMap(({ realServers = [] }) => realServers)
      expect(table.match(/"method"/g)).toHaveLength(servers.length)
      // A page that has several choices shows the file of some.
      const given = others.filter((other) => other !== undefined)
      expect(given).not.toEqual([])
      for (const other of given) expect(await tableOf(other), other.place).toBe(table)
    }
  })

  test('explains a finding of the doctor with the sentence that the doctor has', () => {
    const [, table = ''] = page.lines.join('\n').split('\n## What goes wrong\n')
    const rows = table.split('\n').filter((line) => line.startsWith('| '))
    expect(rows.length).toBeGreaterThan(3)
    for (const row of rows)
      for (const code of codeSpans(row.split(' | ')[2] ?? '')) {
        expect(Object.keys(EXPLANATIONS), row).toContain(code)
        expect(row).toContain(EXPLANATIONS[code as FindingCode].sentence)
      }
  })

  test('does by hand what `ipvs setup` does', async () => {
    const given = blocks.filter(({ tags }) => tags.includes('setup'))
    expect(given).not.toEqual([])
    for (const { code, tags, machines, place } of given) {
      const [guide = ''] = tags
      const words = wordsOf(code).filter((word) => word !== '--apply')
      const filters = machines.includes('director') ? (['nft', 'iptables'] as const) : []
      for (const filter of filters.length === 0 ? [undefined] : filters) {
        const which = filter === undefined ? [] : ['--firewall', filter]
        const { status, stdout, stderr } = await ipvs([...words, ...which, '--json'])
        expect({ place, status, stderr }).toEqual({ place, status: 0, stderr: '' })
        const { parts } = JSON.parse(stdout) as { parts: readonly { commands: readonly string[] }[] }
        // By hand too: those of this choice, on these machines, by this filter.
        const byHand = blocks
          .filter((block) => block.language === 'sh' && block.machines.join() === machines.join())
          .filter((block) => block.tags.every((tag) => tag === guide || tag === filter))
          .flatMap((block) => block.code.split('\n').filter((line) => !line.startsWith('#')))
        expect(byHand.sort(), place).toEqual(parts.flatMap(({ commands: all }) => all).sort())
      }
    }
  })

  test('says of all code on which machine it is run, and for which choice', () => {
    const machines = new Set(Object.values(guides).flatMap(({ mode }) => Object.keys(mode.topology.hosts)))
    const tags = new Set([...Object.keys(guides), ...TAGS])
    const code = fences(page).filter(({ words: [language = ''] }) => /^(sh|console|yaml|ts)$/.test(language))
    expect(blocks).toHaveLength(code.length)
    for (const block of blocks) {
      expect(
        block.machines.filter((machine) => !machines.has(machine)),
        block.place,
      ).toEqual([])
      expect(
        block.tags.filter((tag) => !tags.has(tag)),
        block.place,
      ).toEqual([])
    }
  })
})
