import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, describe, expect, test } from 'vitest'
import { buildLibrary } from '../helpers/built-library.ts'
import { GUEST } from '../helpers/guest.ts'
import { type Example, examples, isModule, pages, prose, testingExamples } from './markdown.ts'
import { typeErrors } from './typescript.ts'

const COMPILER_MS = 120_000

const run = promisify(execFile)

describe('examples', () => {
  const all = pages().flatMap((page) => (page.name === 'docs/testing.md' ? [] : examples(page, 'ts')))
  all.push(...testingExamples(pages()))

  test('are there', () => {
    expect(all.length).toBeGreaterThan(10)
  })

  test('compile, all of them', { timeout: COMPILER_MS }, () => {
    expect(typeErrors(all)).toEqual([])
  })

  test('that are wrong do not compile', { timeout: COMPILER_MS }, () => {
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

describe('docs/testing.md', () => {
  const library = buildLibrary({ addon: false })
  afterAll(() => {
    library.remove()
  })

  /** Runs an example as JavaScript, in a process of its own. Rejects with what it said if it fails. */
  async function runExample(example: Example): Promise<void> {
    const { place, code, setUp = '' } = example
    const text = isModule(example) ? code : `${setUp}\n{\n${code}\n}`
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    })
    const file = join(library.folder, `${place.replaceAll(/\W/g, '-')}.mjs`)
    writeFileSync(file, outputText)
    await run(process.execPath, [file])
  }

  test.each(testingExamples(pages()))('does what it says at $place', async (example) => {
    await runExample(example)
  })

  test('is found out where it does not', async () => {
    const [first] = testingExamples(pages())
    const setUp = first?.code ?? ''
    const wrong = { place: 'wrong', code: 'assert.equal(kernel.connect(key).state, "REFUSED")', setUp }
    await expect(runExample(wrong)).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('AssertionError') as string,
    })
    await runExample({ ...wrong, code: 'assert.equal(kernel.connect(key).state, "ESTABLISHED")' })
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
