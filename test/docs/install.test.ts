import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { NEWER_NODES } from '../../scripts/runtimes.mjs'
import { ipvs } from '../cli/terminal.ts'
import { examples, pages, prose, ROOT } from './markdown.ts'

/** docs/install.md: its Dockerfiles, the versions and the capabilities that it names. */

const all = pages()
const page = all.find(({ name }) => name === 'docs/install.md') ?? { name: 'docs/install.md', lines: [] }
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string
  dependencies: Record<string, string>
}

interface Instruction {
  readonly name: string
  readonly rest: string
}

const folder = join(ROOT, 'docs/examples')
const dockerfiles = readdirSync(folder)
  .filter((name) => name.startsWith('Dockerfile.'))
  .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }))

function instructions(text: string): Instruction[] {
  return text.split('\n').flatMap((line) => {
    if (line === '' || line.startsWith('#')) return []
    const [, name = '', rest = ''] = /^([A-Z]+) (.+)$/.exec(line) ?? []
    return { name, rest }
  })
}

/** The words of ENTRYPOINT and CMD: JSON, so that no shell is between. */
function commandOf(text: string): string[] {
  return instructions(text).flatMap(({ name, rest }) =>
    name === 'ENTRYPOINT' || name === 'CMD' ? (JSON.parse(rest) as string[]) : [],
  )
}

describe('the Dockerfiles', () => {
  test('are shown as they are', () => {
    expect(dockerfiles.map(({ name }) => name)).toEqual(['Dockerfile.alpine', 'Dockerfile.debian'])
    const shown = examples(page, 'dockerfile').map(({ code }) => `${code}\n`)
    expect(shown.sort()).toEqual(dockerfiles.map(({ text }) => text).sort())
  })

  test.each(dockerfiles)('$name has instructions that Docker knows', ({ text }) => {
    const names = instructions(text).map(({ name }) => name)
    expect(names[0]).toBe('FROM')
    for (const name of names) expect(['FROM', 'WORKDIR', 'COPY', 'RUN', 'ENTRYPOINT', 'CMD']).toContain(name)
  })

  test.each(dockerfiles)('$name begins with a Node.js that the package is tested with', ({ text }) => {
    const [, major] = /^FROM node:(\d+)-(?:bookworm-slim|alpine)$/m.exec(text) ?? []
    expect(NEWER_NODES.map((version) => version.split('.')[0])).toContain(major)
  })

  test.each(dockerfiles)('$name installs nothing but packages of npm', ({ text }) => {
    const runs = instructions(text).flatMap(({ name, rest }) => (name === 'RUN' ? rest : []))
    expect(runs).toHaveLength(1)
    for (const command of runs) expect(command).toMatch(/^npm (?:ci|install) [\w @.=-]+$/)
  })

  test('run programs and commands that exist', async () => {
    for (const { name, text } of dockerfiles) {
      const [program, ...words] = commandOf(text)
      if (program === 'node') {
        expect(text, name).toContain(`COPY ${words.join(' ')} ./\n`)
        continue
      }
      expect(program).toBe('ipvs')
      const [command = '', ...rest] = words
      const { stdout } = await ipvs([command, '--help'])
      for (const option of rest.filter((word) => word.startsWith('-')))
        expect(stdout).toContain(` ${option} `)
    }
  })
})

const runs = examples(page, 'sh').flatMap(({ code }) => code.match(/^docker run .*$/gm) ?? [])

describe('the containers', () => {
  test('have the capabilities that they need, and no others', () => {
    expect(runs.length).toBeGreaterThan(2)
    for (const line of runs) {
      const added = [...line.matchAll(/--cap-add (\w+)/g)].map(([, name]) => name)
      expect(line).toContain('--cap-drop ALL')
      expect(added, line).toEqual(line.includes('--netns') ? ['NET_ADMIN', 'SYS_ADMIN'] : ['NET_ADMIN'])
    }
  })

  test('run images that were built', () => {
    const lines = examples(page, 'sh').flatMap(({ code }) => code.split('\n'))
    const built = lines.flatMap((line) => /^docker build -t (\w+) -f (\S+) \.$/.exec(line)?.slice(1, 3) ?? [])
    expect(built).toEqual(['director', 'Dockerfile.debian', 'ipvs', 'Dockerfile.alpine'])
    for (const line of runs) expect(line).toMatch(/ (?:director|ipvs(?: list\b.*)?)$/)
  })
})

test('every version of the package, and of its dependency, is the one of package.json', () => {
  const wanted: Record<string, string | undefined> = { ipvs: manifest.version, ...manifest.dependencies }
  const texts = [
    ...all
      .filter(({ name }) => ['docs/install.md', 'SECURITY.md'].includes(name))
      .map(({ lines }) => lines.join('\n')),
    ...dockerfiles.map(({ text }) => text),
  ]
  const named = texts.flatMap((text) => [...text.matchAll(/\b(ipvs|yaml)[@-](\d+\.\d+\.\d+)/g)])
  expect(named.length).toBeGreaterThan(6)
  for (const [text, name = '', version] of named) expect(version, text).toBe(wanted[name])
})

test('each Node.js that the package is tested with is in the table of platforms', () => {
  const row = prose(page).find(({ line }) => line.startsWith('| Linux x64, glibc'))?.line
  for (const version of NEWER_NODES) expect(row).toMatch(new RegExp(`\\b${version.split('.')[0] ?? ''}\\b`))
})
