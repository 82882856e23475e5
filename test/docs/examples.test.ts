import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildLibrary, installInto } from '../helpers/built-library.ts'
import { GUEST } from '../helpers/guest.ts'
import {
  codeSpans,
  type Example,
  fences,
  isModule,
  optionRows,
  pages,
  prose,
  testingExamples,
} from './markdown.ts'
import { typeErrors } from './typescript.ts'

const run = promisify(execFile)

describe('examples', () => {
  const all: Example[] = pages().flatMap((page) =>
    page.name === 'docs/testing.md' ? [] : fences(page).filter(({ words }) => words[0] === 'ts'),
  )
  all.push(...testingExamples(pages()))

  test('are there', () => {
    expect(all.length).toBeGreaterThan(10)
  })

  test('compile, all of them', () => {
    expect(typeErrors(all)).toEqual([])
  })

  test('that are wrong do not compile', () => {
    const code = `await ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', prot: 80 })`
    const errors = typeErrors([
      { place: 'here:1', code },
      { place: 'here:2', code: `import { Ipvs } from 'ipvs'\n\nconst ipvs: string = await Ipvs.open()` },
      { place: 'here:3', code: 'const { weight } = await server.edit({ weight: 2 })' },
    ])
    expect(errors).toHaveLength(2)
    expect(errors[0]).toMatch(/^here:1, line 1 of the example: .*'prot' does not exist/s)
    expect(errors[1]).toMatch(/^here:2, line 3 of the example: .*not assignable/s)
  })
})

/** A part of what addService(), addRealServer() or startSyncDaemon() takes. */
const PART = `type Part = Partial<AddressServiceKey & ServiceSettings> | Partial<FwmarkServiceKey & ServiceSettings> |
  Partial<RealServerSpec> | Partial<SyncDaemonSpec>`
const SPECS =
  'const spec = {} as ServiceSpec & RealServerSpec, changes = {} as ServiceChanges & RealServerChanges'

test('the tables for ipvsadm name only what is there', () => {
  const rows = pages().flatMap((page) => (page.name === 'docs/ipvsadm.md' ? optionRows(page) : []))
  const all = rows.flatMap(({ place, cells }) =>
    codeSpans(cells[1] ?? '').flatMap((code) => {
      if (code.startsWith('{')) return [{ place, code: `const some: Part = ${code}\n${PART}` }]
      if (/^(ipvs|service|server)\./.test(code)) return [{ place, code: `${SPECS}\nvoid ${code}` }]
      return []
    }),
  )
  expect(all.length).toBeGreaterThan(rows.length - 5)
  expect(typeErrors(all)).toEqual([])
})

describe('docs/testing.md', () => {
  const project = mkdtempSync(join(tmpdir(), 'ipvs-examples-'))
  installInto(project, buildLibrary({ addon: false }))
  afterAll(() => {
    rmSync(project, { recursive: true })
  })

  /** Writes an example as JavaScript. */
  function write({ place, code, setUp = '' }: Example, isWhole: boolean): string {
    const { outputText } = ts.transpileModule(isWhole ? code : `${setUp}\n{\n${code}\n}`, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    })
    const file = join(project, `${place.replaceAll(/\W/g, '-')}.mjs`)
    writeFileSync(file, outputText)
    return file
  }

  /** Imports modules in a process of their own, one after the other. Gives what each throws, or an empty string. */
  async function importAll(files: readonly string[]): Promise<string[]> {
    const program = `
      const thrown = []
      for (const url of process.argv.slice(1)) thrown.push(await import(url).then(() => '', ({ stack }) => stack))
      console.log(JSON.stringify(thrown))`
    const urls = files.map((file) => pathToFileURL(file).href)
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program, ...urls])
    return JSON.parse(stdout) as string[]
  }

  const all = testingExamples(pages())
  const isTest = ({ code }: Example): boolean => code.includes(`from 'node:test'`)
  const together = all.filter((example) => !isTest(example))
  let thrown: readonly string[]
  beforeAll(async () => {
    thrown = await importAll(together.map((example) => write(example, isModule(example))))
  })

  test.each(together.map((example, index) => ({ ...example, index })))(
    'does what it says at $place',
    ({ index }) => {
      expect(thrown[index]).toBe('')
    },
  )

  test.each(all.filter(isTest))('does what it says at $place', async (example) => {
    await run(process.execPath, [write(example, true)])
  })

  test('is found out where it does not', async () => {
    const wrong = (place: string, state: string): Example => ({
      place,
      code: `assert.equal(kernel.connect(key).state, "${state}")`,
      setUp: all[0]?.code ?? '',
    })
    const both = [wrong('wrong', 'REFUSED'), wrong('right', 'ESTABLISHED')]
    expect(await importAll(both.map((example) => write(example, false)))).toEqual([
      expect.stringContaining('AssertionError'),
      '',
    ])
  })

  test('names every option of the guest, and no other', async () => {
    const { stdout } = await run(process.execPath, [GUEST, '--help'])
    const has = new Set(stdout.match(/(?<=^ {2})--[a-z-]+/gm))
    const page = pages().find(({ name }) => name === 'docs/testing.md')
    const rows = page === undefined ? [] : prose(page).filter(({ line }) => line.startsWith('| `--'))
    const named = rows.flatMap(({ line }) => /^\| `(--[a-z-]+)/.exec(line)?.[1] ?? [])
    expect(new Set(named)).toEqual(has)
    expect(has).toContain('--limit')
  })
})
