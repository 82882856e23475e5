import { execFile, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isSource } from '../../scripts/build-once.mjs'
import { packedFile } from '../helpers/packed.ts'
import { patient } from '../helpers/patience.mjs'

/** `npm pack` and `npm publish`, in a copy of the repository in which nothing has been built. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const LEFT = new Set(['node_modules', '.git', '.cache', 'dist', 'prebuilds', 'coverage'])

let work: string
let source: string
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'ipvs-pack-'))
  source = join(work, 'source')
  const isBuilt = (path: string): boolean =>
    (dirname(path) === ROOT && (LEFT.has(basename(path)) || basename(path).startsWith('build'))) ||
    !isSource(relative(ROOT, path))
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

test(
  'npm publish tells the registry that nothing runs at installation',
  { timeout: patient(60_000) },
  async () => {
    interface Manifest {
      readonly gypfile?: boolean
      readonly scripts: Readonly<Record<string, string>>
      readonly dependencies: Readonly<Record<string, string>>
    }
    const published: Manifest[] = []
    const registry = createServer((request, response) => {
      if (request.method !== 'PUT') {
        response.writeHead(404).end('{}')
        return
      }
      void json(request).then((body) => {
        published.push(...Object.values((body as { versions: Readonly<Record<string, Manifest>> }).versions))
        response.writeHead(201).end('{}')
      })
    })
    await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve))
    try {
      const host = `127.0.0.1:${String((registry.address() as AddressInfo).port)}`
      const options = [`--registry=http://${host}`, `--//${host}/:_authToken=none`, '--ignore-scripts']
      await promisify(execFile)('npm', ['publish', ...options], { cwd: source })
    } finally {
      registry.close()
    }
    expect(published).toHaveLength(1)
    for (const { gypfile, scripts, dependencies } of published) {
      expect(gypfile).toBe(false)
      expect(scripts).not.toHaveProperty('install')
      expect(Object.keys(dependencies)).toEqual(['yaml'])
    }
  },
)
