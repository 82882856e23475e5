import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packedFile } from '../helpers/packed.ts'
import { patient } from '../helpers/patience.mjs'

/** What `npm pack` makes, and so what is published: in a copy of the repository in which nothing has been built. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const LEFT = new Set(['node_modules', '.git', '.cache', 'dist', 'prebuilds', 'coverage'])

let work: string
let source: string
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'ipvs-pack-'))
  source = join(work, 'source')
  const isBuilt = (path: string): boolean =>
    (dirname(path) === ROOT && (LEFT.has(basename(path)) || basename(path).startsWith('build'))) ||
    ['native/build', 'native/node-addon-api'].some((folder) => path === join(ROOT, folder))
  cpSync(ROOT, source, { recursive: true, filter: (path) => !isBuilt(path) })
  symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'))
})
afterAll(() => {
  rmSync(work, { recursive: true })
})

test('npm pack builds all that is published, with the same bytes', { timeout: patient(180_000) }, () => {
  const { status, stderr } = spawnSync('npm', ['pack', '--pack-destination', work], {
    cwd: source,
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  const [packed = ''] = readdirSync(work).filter((name) => name.endsWith('.tgz'))
  expect(packed).toBe(basename(packedFile()))
  expect(readFileSync(join(work, packed)).equals(readFileSync(packedFile()))).toBe(true)
})
