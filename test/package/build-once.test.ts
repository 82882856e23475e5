import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'

/** What is built once is never old, never half of it, and no build is made twice: in a repository with a compiler that only copies. */

const run = promisify(execFile)
const SCRIPTS = fileURLToPath(new URL('../../scripts', import.meta.url))

/** Writes what it compiled to compiled.log, and then does what a test wants. */
const TSC = `
import { appendFileSync, cpSync, existsSync } from 'node:fs'
const out = process.argv[process.argv.indexOf('--outDir') + 1]
cpSync('lib', out, { recursive: true })
appendFileSync('compiled.log', 'compiled\\n')
if (existsSync('meanwhile.mjs')) await import(process.cwd() + '/meanwhile.mjs')
`

let root: string
let builder: typeof import('../../scripts/build-once.mjs')
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'ipvs-build-once-'))
  write('lib/index.ts', 'one')
  write('node_modules/typescript/bin/tsc', TSC)
  write('node_modules/typescript/package.json', '{ "type": "module" }')
  write('node_modules/.package-lock.json', '{}')
  write('scripts/bundle.mjs', `import { mkdirSync } from 'node:fs'\nmkdirSync(process.argv[2] + '/cli')\n`)
  write('scripts/man.mjs', '')
  for (const file of ['package.json', 'tsconfig.json', 'tsconfig.build.json']) write(file, '{}')
  for (const name of ['build-once.mjs', 'prebuild.mjs']) {
    cpSync(join(SCRIPTS, name), join(root, 'scripts', name))
  }
  builder = (await import(pathToFileURL(join(root, 'scripts/build-once.mjs')).href)) as typeof builder
})
afterEach(() => {
  rmSync(root, { recursive: true })
})

function write(file: string, text: string): void {
  mkdirSync(dirname(join(root, file)), { recursive: true })
  writeFileSync(join(root, file), text)
}

const build = (): string => builder.buildOnce('package')
const built = (folder: string): string => readFileSync(join(folder, 'dist/index.ts'), 'utf8')
const compilations = (): number => readFileSync(join(root, 'compiled.log'), 'utf8').split('\n').length - 1
const kept = (): string[] => readdirSync(join(root, '.cache/built')).sort()

test('a build is found as long as nothing changes, and again when a change is taken back', () => {
  const first = build()
  expect(built(first)).toBe('one')
  expect(build()).toBe(first)
  expect(compilations()).toBe(1)
  write('lib/index.ts', 'two')
  const second = build()
  expect(built(second)).toBe('two')
  write('lib/index.ts', 'one')
  expect(build()).toBe(first)
  expect(compilations()).toBe(2)
})

test.each([
  'lib/more.ts',
  'package.json',
  'tsconfig.build.json',
  'scripts/bundle.mjs',
  'scripts/man.mjs',
  'node_modules/.package-lock.json',
])('a change of %s makes another', (file) => {
  const before = builder.placeOf('package')
  write(file, 'changed')
  expect(builder.placeOf('package')).not.toBe(before)
})

test.each(['native/addon.cc', 'guest/guest.mjs', 'README.md', 'lib/more.ts'])(
  'a change of %s makes another tarball',
  (file) => {
    for (const source of ['native/netns.cc', 'guest/init.sh', 'README.md', 'CHANGELOG.md', 'LICENSE'])
      write(source, '')
    write('state.schema.json', '{}')
    for (const config of ['tsconfig.json', 'tsconfig.build.json']) write(config, '{}')
    const before = builder.placeOf('tarball')
    write('native/build/Release/ipvs.node', 'no source')
    expect(builder.placeOf('tarball')).toBe(before)
    write(file, 'changed')
    expect(builder.placeOf('tarball')).not.toBe(before)
  },
)

test('what changes while it is built is built again', () => {
  write('meanwhile.mjs', `import { writeFileSync } from 'node:fs'\nwriteFileSync('lib/index.ts', 'two')`)
  expect(built(build())).toBe('two')
  expect(compilations()).toBe(2)
  expect(kept()).toHaveLength(1)
})

test('what fails tells what the compiler said, and leaves nothing', () => {
  write('meanwhile.mjs', `console.log('lib/index.ts(1,1): an error'); process.exitCode = 2`)
  expect(build).toThrow(/^node_modules.*status 2:\nlib\/index\.ts\(1,1\): an error\n/)
  expect(kept()).toEqual([])
})

test('several that build at the same time end with one', async () => {
  const begin = (): Promise<{ readonly stdout: string }> =>
    run(process.execPath, ['scripts/build-once.mjs', 'package'], { cwd: root })
  const ended = await Promise.all([begin(), begin(), begin()])
  expect(new Set(ended.map(({ stdout }) => stdout.trim()))).toEqual(new Set([build()]))
  expect(kept()).toEqual([basename(build())])
})

test('what nobody used for hours goes with the next build, and what is used stays', () => {
  const old = build()
  write('lib/index.ts', 'two')
  const used = build()
  const yesterday = new Date(Date.now() - 25 * 3600_000)
  for (const folder of [old, used]) utimesSync(folder, yesterday, yesterday)
  expect(build()).toBe(used)
  write('lib/index.ts', 'three')
  const last = build()
  expect(kept()).toEqual([basename(used), basename(last)].sort())
})

test('what a build has left that was killed is not taken for one, and goes', () => {
  const place = builder.placeOf('package')
  const left = join(root, '.cache/built/making-abcdef')
  mkdirSync(join(left, 'dist'), { recursive: true })
  utimesSync(left, 0, 0)
  expect(built(build())).toBe('one')
  expect(kept()).toEqual([basename(place)])
})

test('an addon is where its variable names it, from wherever one looks', async () => {
  const { stdout } = await run(process.execPath, ['scripts/build-once.mjs', 'package'], {
    cwd: root,
    env: { ...process.env, IPVS_ADDON: 'own.node' },
  })
  expect(readlinkSync(join(stdout.trim(), 'build/Release/ipvs.node'))).toBe(join(root, 'own.node'))
})
