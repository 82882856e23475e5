import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PROJECT } from './project.ts'

/** What is published: packs it, installs it as a user does, and uses it there. Needs a registry and a compiler. */

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
const INSTALL_MS = 600_000
const COMPILE_MS = 120_000

const run = promisify(execFile)

/** Ours, without what an npm that runs the tests tells its scripts: another npm would take it for its own. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_)|^npm_config_local_prefix$|^NODE_(?!EXTRA)/.test(name),
  ),
)

let work = ''
let archive = ''

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'ipvs-package-'))
  // A copy, for packing builds: tests that run at the same time need the dist/ that is there.
  const source = join(work, 'source')
  const left = new Set(['node_modules', '.git', '.cache', 'dist', 'build', 'coverage'])
  await cp(ROOT, source, {
    recursive: true,
    filter: (path) =>
      dirname(path) !== ROOT || !(left.has(basename(path)) || basename(path).startsWith('build-')),
  })
  await symlink(join(ROOT, 'node_modules'), join(source, 'node_modules'))
  await run('npm', ['pack', '--pack-destination', work], { cwd: source, env })
  archive = join(work, (await readdir(work)).find((name) => name.endsWith('.tgz')) ?? 'nothing was packed')
}, INSTALL_MS)

afterAll(async () => {
  if (work !== '') await rm(work, { recursive: true, force: true })
})

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(ROOT, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1))
}

describe('the package', () => {
  const unpacked = (): string => join(work, 'package')
  let files: string[] = []

  beforeAll(async () => {
    await run('tar', ['-xzf', archive, '-C', work])
    const { stdout } = await run('tar', ['-tzf', archive])
    files = stdout
      .split('\n')
      .filter((line) => line !== '' && !line.endsWith('/'))
      .map((line) => line.replace('package/', ''))
  })

  test('has what users need, and nothing else', async () => {
    const lib = (await filesBelow('lib'))
      .filter((name) => !name.startsWith('lib/cli/'))
      .map((name) => name.replace(/^lib\/(.*)\.ts$/, 'dist/$1'))
    const native = (await filesBelow('native')).filter((name) => !name.startsWith('native/test/'))
    const expected = [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'binding.gyp',
      'package.json',
      ...lib.flatMap((name) => [`${name}.js`, `${name}.d.ts`]),
      'dist/cli/ipvs.cjs',
      ...native,
    ]
    expect(files.sort()).toEqual(expected.sort())
  })

  test('has every source and header that the build names', async () => {
    const gyp = await readFile(join(unpacked(), 'binding.gyp'), 'utf8')
    const named: string[] = gyp.match(/native\/[\w./]+/g) ?? []
    expect(named.length).toBeGreaterThan(1)
    for (const source of files.filter((name) => /^native\/.*\.(cc|h)$/.test(name))) {
      const text = await readFile(join(unpacked(), source), 'utf8')
      for (const [, header = ''] of text.matchAll(/^#include "(.*)"$/gm)) named.push(`native/${header}`)
    }
    expect(named.filter((name) => !files.includes(name))).toEqual([])
  })

  test('names no source map: there is none', async () => {
    for (const name of files.filter((file) => /\.(js|ts)$/.test(file))) {
      expect(await readFile(join(unpacked(), name), 'utf8'), name).not.toContain('sourceMappingURL')
    }
  })
})

describe('an installation', () => {
  const project = (): string => join(work, 'project')

  /** Runs a program in the project's folder and gives what it printed. */
  async function node(name: string, program: string): Promise<string> {
    await writeFile(join(project(), name), program)
    const { stdout } = await run(process.execPath, [name], { cwd: project(), env })
    return stdout.trim()
  }

  const OPEN = `Ipvs.open().then(
    (ipvs) => ipvs.close().then(() => 'opened'),
    (error) => error instanceof IpvsError ? 'IpvsError' : error.code,
  ).then(console.log)`

  beforeAll(async () => {
    await mkdir(project())
    for (const [name, text] of Object.entries(PROJECT)) await writeFile(join(project(), name), text)
    await run('npm', ['install', archive, '--no-audit', '--no-fund', '--prefer-offline'], {
      cwd: project(),
      env,
    })
  }, INSTALL_MS)

  test('brings the library and the few packages it needs', async () => {
    const { dependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const installed = (await readdir(join(project(), 'node_modules'))).filter((name) => !name.startsWith('.'))
    expect(installed.sort()).toEqual(['ipvs', ...Object.keys(dependencies)].sort())
  })

  test("has the addon built, which loads: what a machine without IPVS says is the kernel's word", async () => {
    const printed = await node('import.mjs', `import { Ipvs, IpvsError } from 'ipvs'\n${OPEN}`)
    expect(printed).toMatch(/^(opened|IpvsError)$/)
  })

  test('can be required', async () => {
    const printed = await node('require.cjs', `const { Ipvs, IpvsError } = require('ipvs')\n${OPEN}`)
    expect(printed).toMatch(/^(opened|IpvsError)$/)
  })

  test('has the in-memory kernel behind a door of its own, which loads no addon', async () => {
    const printed = await node(
      'testing.mjs',
      `import { Ipvs } from 'ipvs'
      import { createMemoryKernel } from 'ipvs/testing'
      process.dlopen = () => { throw new Error('the addon was loaded') }
      const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
      await ipvs.addService({ protocol: 'tcp', address: '192.0.2.1', port: 80 })
      console.log((await ipvs.services()).length)`,
    )
    expect(printed).toBe('1')
  })

  test('has the command, by its own name and by those of ipvsadm, and it finds the addon', async () => {
    const bin = join(project(), 'node_modules/.bin')
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    expect((await run(join(bin, 'ipvs'), ['--version'], { env })).stdout).toBe(`${version}\n`)
    await symlink('ipvs', join(bin, 'ipvsadm'))
    // A machine with IPVS says the version, one without says so as ipvsadm does.
    const said = await run(join(bin, 'ipvsadm'), ['-v'], { env }).catch(
      (error: unknown) => error as { stdout: string; stderr: string },
    )
    expect(said.stdout + said.stderr).toMatch(/^ipvsadm v1\.31 |^Can't initialize ipvs: P/m)
  })

  test('lets nobody in by another door', async () => {
    const printed = await node(
      'door.mjs',
      `import('ipvs/dist/kernel.js').catch(({ code }) => console.log(code))`,
    )
    expect(printed).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED')
  })

  test.each(['nodenext', 'bundler'])(
    'has types that resolve with %s',
    { timeout: COMPILE_MS },
    async (resolution) => {
      const options = ['--typeRoots', join(ROOT, 'node_modules/@types'), '--listFiles']
      const tsc = run(process.execPath, [TSC, '-p', `tsconfig.${resolution}.json`, ...options], {
        cwd: project(),
        env,
      })
      const { stdout } = await tsc.catch((error: unknown) => error as { stdout: string })
      expect(stdout).not.toContain('error TS')
      expect(stdout).toContain('/node_modules/ipvs/dist/index.d.ts')
    },
  )

  test('without its addon says how to build it', async () => {
    await rm(join(project(), 'node_modules/ipvs/build'), { recursive: true })
    const program = `import { Ipvs } from 'ipvs'\nIpvs.open().catch(({ code, message }) => console.log(code, message))`
    const printed = await node('missing.mjs', program)
    expect(printed).toMatch(/^ERR_IPVS_ADDON .*npm rebuild ipvs/)
  })
})
