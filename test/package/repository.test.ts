import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { faultOf, fieldsOf } from '../../scripts/repository.mjs'
import { ROOT } from '../docs/markdown.ts'

/** Where the project is on the web, which is written in one place. */

interface Manifest {
  readonly [field: string]: unknown
}

let folder = ''
const script = (...args: string[]): ReturnType<typeof spawnSync> =>
  spawnSync(process.execPath, [join(folder, 'scripts/repository.mjs'), ...args], { encoding: 'utf8' })
const manifest = (): Manifest => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-repository-'))
  mkdirSync(join(folder, 'scripts'))
  for (const name of ['package.json', 'scripts/repository.mjs']) cpSync(join(ROOT, name), join(folder, name))
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})

test('package.json has all three fields or none, and they fit together', () => {
  const { homepage, bugs, repository } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  ) as Manifest
  if ([homepage, bugs, repository].every((field) => field === undefined)) return
  expect(faultOf({ homepage, bugs, repository })).toBeUndefined()
})

test('one address fills all three, and nothing else changes', () => {
  const before = manifest()
  expect(script('https://code.example/team/ipvs').status).toBe(0)
  expect(manifest()).toEqual({
    ...before,
    homepage: 'https://code.example/team/ipvs#readme',
    bugs: { url: 'https://code.example/team/ipvs/issues' },
    repository: { type: 'git', url: 'git+https://code.example/team/ipvs.git' },
  })
  expect(script().status).toBe(0)
  execFileSync(
    process.execPath,
    [join(ROOT, 'node_modules/prettier/bin/prettier.cjs'), '--check', 'package.json'],
    {
      cwd: folder,
    },
  )
})

test.each([
  [
    'no field',
    {},
    /does not say where the project is.*dead where npm shows it.*scripts\/repository\.mjs URL/,
  ],
  [
    'a field of another place',
    { ...fieldsOf('https://a.example/b'), bugs: { url: 'https://c.example' } },
    /do not fit/,
  ],
  ['a repository alone', { repository: fieldsOf('https://a.example/b').repository }, /do not fit/],
  ['a short form', { ...fieldsOf('https://a.example/b'), repository: 'a/b' }, /do not fit/],
])('publishing is refused with %s', (_, fields, reason) => {
  expect(faultOf(fields)).toMatch(reason)
})

test('an address that is not one is refused', () => {
  expect(script('code.example')).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("got 'code.example'"),
  })
})

test('npm publish asks for it, npm pack does not', () => {
  const { scripts } = manifest() as { readonly scripts: Readonly<Record<string, string>> }
  expect(scripts.prepublishOnly).toBe('node scripts/repository.mjs')
  expect(scripts.prepack).not.toContain('repository')
})
