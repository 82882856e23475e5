import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildSync } from 'esbuild'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ADDON, buildLibrary } from '../helpers/built-library.ts'

/** Where the addon is looked for: in processes of their own, with the library as a package has it. */

let folder: string
let installed: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-load-'))
  installed = join(folder, 'node_modules/ipvs')
  const { folder: library } = buildLibrary({ addon: false })
  for (const name of ['dist', 'package.json']) {
    cpSync(join(library, name), join(installed, name), { recursive: true })
  }
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

const BUILT = 'build/Release/ipvs.node'
const BUILT_HERE = 'native/build/Release/ipvs.node'
const PREBUILT = `prebuilds/linux-${process.arch}/ipvs.node`

function put(place: string, content?: string): string {
  mkdirSync(dirname(place), { recursive: true })
  if (content === undefined) copyFileSync(ADDON, place)
  else writeFileSync(place, content)
  return place
}

interface Outcome {
  /** Of the addon that was loaded. */
  readonly path?: string
  readonly code?: string
  readonly message: string
}

const PROGRAM = `
  import { readFileSync } from 'node:fs'
  const { Ipvs } = await import(process.argv[1])
  const { code, message } = await Ipvs.open({ netns: 'no-such-namespace' }).then(() => ({}), (error) => error)
  let maps = ''
  try { maps = readFileSync('/proc/self/maps', 'utf8') } catch {}
  const path = /\\/.*\\.node$/m.exec(maps)?.[0]
  console.log(JSON.stringify({ path, code, message }))
`

function open(
  file = join(installed, 'dist/index.js'),
  variables: NodeJS.ProcessEnv = {},
  flags: readonly string[] = [],
): Outcome {
  const args = [...flags, '--input-type=module', '-e', PROGRAM, pathToFileURL(file).href]
  const env = { ...process.env, IPVS_ADDON: '', NODE_OPTIONS: '', ...variables }
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, env, encoding: 'utf8' })
  expect(stderr).toBe('')
  return JSON.parse(stdout) as Outcome
}

describe('the addon', () => {
  test('is the prebuilt one where there is no other', () => {
    const place = put(join(installed, PREBUILT))
    expect(open()).toMatchObject({ path: place, code: 'ENOENT' })
  })

  test.each([BUILT, BUILT_HERE])('is the one that was built here: %s', (built) => {
    put(join(installed, PREBUILT))
    const place = put(join(installed, built))
    expect(open()).toMatchObject({ path: place, code: 'ENOENT' })
  })

  test('is the one that IPVS_ADDON names, from the folder of the process too', () => {
    for (const place of [PREBUILT, BUILT]) put(join(installed, place))
    const own = put(join(folder, 'own.node'))
    expect(open(undefined, { IPVS_ADDON: own })).toMatchObject({ path: own, code: 'ENOENT' })
    expect(open(undefined, { IPVS_ADDON: 'own.node' })).toMatchObject({ path: own, code: 'ENOENT' })
  })

  test('is the next one where one does not load', () => {
    const place = put(join(installed, PREBUILT))
    put(join(installed, BUILT), 'of another machine')
    mkdirSync(join(installed, BUILT_HERE), { recursive: true })
    expect(open()).toMatchObject({ path: place, code: 'ENOENT' })
  })

  test('that IPVS_ADDON names is not replaced by another', () => {
    put(join(installed, PREBUILT))
    const absent = open(undefined, { IPVS_ADDON: '/absent.node' })
    expect(absent).toMatchObject({ code: 'ERR_IPVS_ADDON' })
    expect(absent.message).toContain('IPVS_ADDON names /absent.node (no such file)')
    const garbage = put(join(folder, 'garbage.node'), 'garbage')
    const { code, message } = open(undefined, { IPVS_ADDON: garbage })
    expect(code).toBe('ERR_IPVS_ADDON')
    expect(message).toContain(`IPVS_ADDON names ${garbage} (file too short)`)
  })

  test.each([1000, 60_000])(
    'that is cut off after %i bytes is told, and does not end the process',
    (bytes) => {
      const path = join(folder, 'cut.node')
      writeFileSync(path, readFileSync(ADDON).subarray(0, bytes))
      const { code, message } = open(undefined, { IPVS_ADDON: path })
      expect(code).toBe('ERR_IPVS_ADDON')
      expect(message).toContain(`IPVS_ADDON names ${path} (it is cut off). `)
    },
  )

  test('of another processor is told', () => {
    const content = readFileSync(ADDON)
    const other = process.arch === 'x64' ? { machine: 183, name: 'arm64' } : { machine: 62, name: 'x64' }
    content.writeUInt16LE(other.machine, 18)
    const path = join(folder, 'other.node')
    writeFileSync(path, content)
    const { code, message } = open(undefined, { IPVS_ADDON: path })
    expect(code).toBe('ERR_IPVS_ADDON')
    expect(message).toContain(`${path} (it is for ${other.name}, and this is ${process.arch})`)
  })

  test.each(['a folder', 'a pipe'])('that is %s is told, and not waited for', (what) => {
    const path = join(folder, 'odd.node')
    if (what === 'a folder') mkdirSync(path)
    else expect(spawnSync('mkfifo', [path]).status).toBe(0)
    const { code, message } = open(undefined, { IPVS_ADDON: path })
    expect(code).toBe('ERR_IPVS_ADDON')
    expect(message).toContain(`${path} (it is not a file)`)
  })

  test('is named without what would change a terminal', () => {
    const { message } = open(undefined, { IPVS_ADDON: '/a\n\u001B[31m.node' })
    expect(message).toContain('IPVS_ADDON names /a\\n\\u001b[31m.node (no such file)')
  })

  test('that Node may not load is told, with the options that allow it', () => {
    put(join(installed, PREBUILT))
    const { code, message } = open(undefined, {}, ['--no-addons'])
    expect(code).toBe('ERR_IPVS_ADDON')
    expect(message).toMatch(/ Start node with --allow-addons, and without --no-addons\.$/)
  })

  test('that Node may not read is told', () => {
    const flags = ['--no-warnings', '--experimental-permission', `--allow-fs-read=${installed}/dist/`]
    const { code, message } = open(undefined, { IPVS_ADDON: '/some.node' }, flags)
    expect(code).toBe('ERR_IPVS_ADDON')
    expect(message).toContain('unknown C library')
    expect(message).toContain('/some.node (Access to this API has been restricted')
  })

  test.each([
    ['node -e', '-e'],
    ['node -p', '-p'],
  ])('is found by %s, which has a __dirname of its own', (_, flag) => {
    put(join(installed, PREBUILT))
    const program = `import('ipvs')
      .then(({ Ipvs }) => Ipvs.open({ netns: 'no-such-namespace' }))
      .catch(({ code }) => console.log('code', code))`
    const env = { ...process.env, IPVS_ADDON: '', NODE_OPTIONS: '' }
    const { stdout } = spawnSync(process.execPath, [flag, program], { cwd: folder, env, encoding: 'utf8' })
    expect(stdout).toContain('code ENOENT')
  })

  test('is not that of another package', () => {
    const other = join(folder, 'other.node')
    const source = put(
      join(folder, 'other.c'),
      'void *napi_register_module_v1(void *env, void *exports) { (void)env; return exports; }',
    )
    expect(spawnSync('cc', ['-shared', '-fPIC', '-o', other, source]).status).toBe(0)
    const { code, message } = open(undefined, { IPVS_ADDON: other })
    expect(code).toBe('ERR_IPVS_ADDON')
    expect(message).toContain(`${other} (this is not the addon of this version of ipvs)`)
  })

  test('that is nowhere is an error with the machine, each place and what each said', () => {
    const garbage = put(join(installed, PREBUILT), 'garbage')
    const { code, message } = open()
    expect(code).toBe('ERR_IPVS_ADDON')
    const { arch, versions } = process
    const libc = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
    const name = libc.header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'
    expect(message).toContain(`(linux-${arch}, ${name}, Node-API ${String(versions.napi)})`)
    for (const place of [BUILT, BUILT_HERE]) {
      expect(message).toContain(`${join(installed, place)} (no such file)`)
    }
    expect(message).toContain(`${garbage} (file too short)`)
    expect(message).toContain(`\`npx node-gyp rebuild --directory '${installed}/native'\``)
  })
})

describe('the addon of a bundled program', () => {
  function bundle(file: string, format: 'cjs' | 'esm'): string {
    const outfile = join(folder, file)
    buildSync({
      entryPoints: [join(installed, 'dist/index.js')],
      outfile,
      format,
      bundle: true,
      platform: 'node',
      external: ['yaml'],
      logLevel: 'error',
    })
    return outfile
  }

  test.each([
    ['app/server.mjs', 'esm'],
    ['app/dist/server.mjs', 'esm'],
    ['app/server.cjs', 'cjs'],
    ['app/dist/server.cjs', 'cjs'],
  ] as const)('is beside it, and nowhere else: %s', (file, format) => {
    const bundled = bundle(file, format)
    // What others may have put around it.
    for (const around of ['.', 'app', 'app/dist']) {
      writeFileSync(join(mkdirs(join(folder, around)), 'package.json'), '{ "name": "app" }')
      for (const place of [BUILT, BUILT_HERE, PREBUILT]) put(join(folder, around, place))
    }
    const beside = join(dirname(bundled), 'ipvs.node')
    const { path, code, message } = open(bundled)
    expect({ path, code }).toEqual({ path: undefined, code: 'ERR_IPVS_ADDON' })
    expect(message).toContain(`looked for in ${beside} (no such file). Copy ipvs.node there from `)
    put(beside)
    expect(open(bundled)).toMatchObject({ path: beside, code: 'ENOENT' })
  })
})

function mkdirs(path: string): string {
  mkdirSync(path, { recursive: true })
  return path
}
