import { execFile } from 'node:child_process'
import {
  chmod,
  chown,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { runInNewContext } from 'node:vm'
import { build } from 'esbuild'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isSource } from '../../scripts/build-once.mjs'
import { buildable } from '../../scripts/prebuild.mjs'
import { guestRequired, inGuest, whyNoGuest } from '../helpers/guest.ts'
import { links } from '../docs/markdown.ts'
import { packedFile } from '../helpers/packed.ts'
import { patient } from '../helpers/patience.mjs'
import { linkPrograms, OPEN, OPEN_REQUIRED, OPENED } from '../helpers/user.ts'
import { PROJECT } from './project.ts'

/** Installs the package as a user does, and uses it there. Needs a registry and, for the build from source, a compiler. */

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
/** Installations wait for a registry. */
const INSTALL_MS = patient(300_000)
/** Boots one or two. */
const GUEST_MS = patient(180_000)

const QUIETLY = ['--no-audit', '--no-fund', '--prefer-offline']

const run = promisify(execFile)

/** Ours, without what an npm that runs the tests tells its scripts: another npm would take it for its own. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_)|^npm_config_local_prefix$|^NODE_(?!EXTRA)/.test(name),
  ),
)

let work = ''
let archive = ''

/** Who installs and uses it: nobody who has rights, even where root runs the tests. */
const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}

async function give(path: string): Promise<void> {
  if (user.uid !== undefined) await chown(path, user.uid, user.gid)
}

/** A folder of that user's. */
async function makeFolder(name: string): Promise<string> {
  const folder = join(work, name)
  await mkdir(folder)
  await give(folder)
  return folder
}

/** A project of that user's. */
async function makeProject(name: string): Promise<string> {
  const folder = await makeFolder(name)
  for (const [file, text] of Object.entries(PROJECT)) {
    await writeFile(join(folder, file), text)
    await give(join(folder, file))
  }
  return folder
}

/** The variables of that user, who knows our npm's settings. */
async function userEnvironment(): Promise<Record<string, string | undefined>> {
  const home = await makeFolder('home')
  const settings = join(home, '.npmrc')
  await copyFile(env.npm_config_userconfig ?? join(homedir(), '.npmrc'), settings).catch(() => undefined)
  await give(settings).catch(() => undefined)
  return { ...env, HOME: home, npm_config_userconfig: settings, npm_config_cache: join(home, 'npm') }
}
let userEnv: Record<string, string | undefined> = {}
/** Variables for a user without a compiler. */
let bare: Record<string, string> = {}

/** Runs a command as that user. */
function runAsUser(
  cwd: string,
  [program = '', ...args]: readonly string[],
  more: Record<string, string> = {},
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return run(program, args, { cwd, env: { ...userEnv, ...more }, ...user })
}

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'ipvs-package-'))
  await chmod(work, 0o755)
  userEnv = await userEnvironment()
  archive = join(work, basename(packedFile()))
  // A copy, for the user may not be able to read ours.
  await copyFile(packedFile(), archive)
  // The only programs: no compiler, no make, no Python.
  const bin = await makeFolder('bin')
  linkPrograms(bin, ['sh', 'env', 'npm', 'npx', 'touch'])
  await symlink(process.execPath, join(bin, 'node'))
  bare = { PATH: bin }
}, INSTALL_MS)

afterAll(async () => {
  if (work !== '') await rm(work, { recursive: true, force: true })
})

/** Compiles a project in this process. Gives what is wrong with it or with the package, and what was read. */
function compile(project: string, config: string): { readonly errors: string[]; readonly files: string[] } {
  const parsed = ts.getParsedCommandLineOfConfigFile(
    join(project, config),
    { typeRoots: [join(ROOT, 'node_modules/@types')] },
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic({ messageText }) {
        throw new Error(ts.flattenDiagnosticMessageText(messageText, '\n'))
      },
    },
  )
  if (parsed === undefined) throw new Error(`${config} cannot be read`)
  const program = ts.createProgram(parsed.fileNames, parsed.options)
  const files = program.getSourceFiles()
  // What TypeScript and Node bring is theirs to check.
  const own = files.filter(({ fileName }) => fileName.startsWith(`${project}/`))
  const found = [
    ...parsed.errors,
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...own.flatMap((file) => [
      ...program.getSyntacticDiagnostics(file),
      ...program.getSemanticDiagnostics(file),
    ]),
  ]
  return {
    errors: found.map(
      ({ file, messageText }) =>
        `${file?.fileName ?? config}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    ),
    files: files.map(({ fileName }) => fileName),
  }
}

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
    const declarations = (await filesBelow('lib'))
      // A declaration is for our own compiler alone.
      .filter((name) => !name.startsWith('lib/cli/') && !name.endsWith('.d.ts'))
      .map((name) => name.replace(/^lib\/(.*)\.ts$/, 'dist/$1.d.ts'))
    const native = (await filesBelow('native')).filter(
      (name) => isSource(name) && !name.startsWith('native/test/'),
    )
    const expected = [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'package.json',
      ...(await filesBelow('docs')).filter((name) => !name.startsWith('docs/reference/')),
      ...declarations,
      ...['index', 'testing', 'text', 'text.browser', 'doctor'].map((door) => `dist/${door}.js`),
      ...['ipvs', 'library', 'doctor', 'commands', 'memory', 'errors', 'guest'].map(
        (name) => `dist/cli/${name}.cjs`,
      ),
      'dist/man/ipvs.1',
      'dist/third-party-licenses.txt',
      ...native,
      ...['LICENSE.md', 'napi-inl.deprecated.h', 'napi-inl.h', 'napi.h'].map(
        (name) => `native/node-addon-api/${name}`,
      ),
      ...buildable().map((processor) => `prebuilds/linux-${processor}/ipvs.node`),
      'state.schema.json',
      ...['fetch.sh', 'guest.mjs', 'init.sh', 'initramfs.sh', 'machines.mjs', 'trust.mjs'].map(
        (name) => `guest/${name}`,
      ),
    ]
    expect(files.sort()).toEqual(expected.sort())
  })

  test('has nothing to run at an installation, by any package manager', async () => {
    const manifest = JSON.parse(await readFile(join(unpacked(), 'package.json'), 'utf8')) as {
      gypfile: boolean
      scripts: Record<string, string>
      dependencies: Record<string, string>
    }
    expect(manifest.gypfile).toBe(false)
    expect(files).not.toContain('binding.gyp')
    expect(Object.keys(manifest.scripts).filter((name) => /^(pre|post)?install$/.test(name))).toEqual([])
    expect(Object.keys(manifest.dependencies)).toEqual(['yaml'])
    expect(manifest).not.toHaveProperty('optionalDependencies')
  })

  test('has every file that a link of its pages names', async () => {
    const folders = new Set(files.map((name) => dirname(name)))
    const dead: string[] = []
    for (const name of files.filter((file) => file.endsWith('.md') && !file.startsWith('native/'))) {
      const lines = (await readFile(join(unpacked(), name), 'utf8')).split('\n')
      for (const { place, target } of links({ name, lines })) {
        const [path = ''] = target.split('#')
        if (/^[a-z]+:/.test(target) || path === '') continue
        const file = join(dirname(name), path).replace(/\/$/, '')
        if (!files.includes(file) && !folders.has(file)) dead.push(`${place}: ${target}`)
      }
    }
    expect(dead).toEqual([])
  })

  test('has the licences of what is inside its files', async () => {
    const text = await readFile(join(unpacked(), 'dist/third-party-licenses.txt'), 'utf8')
    expect(text.match(/^== .*$/gm)).toEqual(['== commander', '== jsonc-parser', '== node-addon-api'])
    expect(text.match(/Permission is hereby granted|The MIT License/g)?.length).toBeGreaterThan(2)
  })

  test('has every source and header that the build names', async () => {
    const gyp = await readFile(join(unpacked(), 'native/binding.gyp'), 'utf8')
    const named = [...gyp.matchAll(/"([\w.]+\.(?:cc|map))"/g)].map(([, name = '']) => `native/${name}`)
    expect(named.length).toBeGreaterThan(5)
    expect(named.filter((name) => name.endsWith('.cc')).sort()).toEqual(
      files.filter((name) => /^native\/[^/]+\.cc$/.test(name)).sort(),
    )
    for (const source of files.filter((name) => /^native\/[^/]+\.(cc|h)$/.test(name))) {
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

const noGuest = whyNoGuest('6.1')
if (noGuest !== undefined) {
  if (guestRequired && !inGuest) test('a guest runs on this machine', () => expect.fail(noGuest))
  else console.error(`\n*** SKIPPED: the tests of npx ipvs guest. What is missing:\n${noGuest}\n`)
}

describe('an installation', () => {
  const project = (): string => join(work, 'project')

  /** Runs a program in the project's folder and gives what it printed. */
  async function node(name: string, program: string): Promise<string> {
    await writeFile(join(project(), name), program)
    const { stdout } = await runAsUser(project(), [process.execPath, name])
    return stdout.trim()
  }

  beforeAll(async () => {
    await makeProject('project')
    await runAsUser(project(), ['npm', 'install', archive, ...QUIETLY], bare)
  }, INSTALL_MS)

  test('brings the library and the few packages it needs', async () => {
    const { dependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const installed = (await readdir(join(project(), 'node_modules'))).filter((name) => !name.startsWith('.'))
    expect(installed.sort()).toEqual(['ipvs', ...Object.keys(dependencies)].sort())
  })

  test('has an addon that loads: without IPVS, the error comes from the kernel', async () => {
    expect(await node('import.mjs', OPEN)).toMatch(OPENED)
  })

  test('can be required', async () => {
    expect(await node('require.cjs', OPEN_REQUIRED)).toMatch(OPENED)
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

  test('has the texts of states behind a door of their own, which loads no addon, and their schema', async () => {
    const printed = await node(
      'text.mjs',
      `import { createRequire } from 'node:module'
      import { formatState, parseState } from 'ipvs/text'
      process.dlopen = () => { throw new Error('the addon was loaded') }
      const state = await parseState('services: []')
      console.log(JSON.stringify(await formatState(state)))
      console.log(createRequire(import.meta.url)('ipvs/state.schema.json').properties.services.type)`,
    )
    expect(printed).toBe(`${JSON.stringify('{\n  "version": 1,\n  "services": []\n}\n')}\narray`)
  })

  test('has one class of each error, whichever door it is imported from', async () => {
    const printed = await node(
      'doors.mjs',
      `import * as ipvs from 'ipvs'
      import * as text from 'ipvs/text'
      console.log(Object.keys(text).filter((name) => text[name] !== ipvs[name]).length, Object.keys(text).length > 8)
      console.log(await text.parseState('-A -t x').catch((error) => error instanceof ipvs.StateSyntaxError))`,
    )
    expect(printed).toBe('0 true\ntrue')
  })

  test('has texts of states for browsers, which have no modules of Node', async () => {
    await writeFile(join(project(), 'page.mjs'), `export { parseState } from 'ipvs/text'\n`)
    const options = {
      bundle: true,
      write: false,
      format: 'iife',
      globalName: 'page',
      logLevel: 'silent',
    } as const
    const { outputFiles, warnings } = await build({
      ...options,
      entryPoints: [join(project(), 'page.mjs')],
      platform: 'browser',
    })
    expect(warnings).toEqual([])
    const script = outputFiles[0]?.text ?? ''
    const globals = { performance, TextEncoder, setTimeout, structuredClone }
    const read: unknown = await runInNewContext(`${script}; page.parseState('services: []')`, globals)
    expect(read).toMatchObject({ services: [] })
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

  test.each(['nodenext', 'bundler'])('has types that resolve with %s', (resolution) => {
    const { errors, files } = compile(project(), `tsconfig.${resolution}.json`)
    expect(errors).toEqual([])
    expect(files).toContain(join(project(), 'node_modules/ipvs/dist/index.d.ts'))
  })

  test('has types that are errors where they are used wrongly', async () => {
    const wrong = `import { Ipvs } from 'ipvs'\nexport const ipvs: Ipvs = 1\n`
    await writeFile(join(project(), 'wrong.ts'), wrong)
    await writeFile(
      join(project(), 'tsconfig.wrong.json'),
      `{ "extends": "./tsconfig.nodenext.json", "files": ["wrong.ts"] }`,
    )
    const { errors } = compile(project(), 'tsconfig.wrong.json')
    expect(errors).toEqual([expect.stringMatching(/'number' is not assignable to type 'Ipvs'/)])
  })

  describe.skipIf(noGuest !== undefined)('npx ipvs guest', () => {
    beforeAll(async () => {
      // A copy, for the user may not be able to read ours.
      const cache = process.env.IPVS_GUEST_CACHE ?? join(ROOT, '.cache/guest')
      await cp(cache, join(work, 'guest'), {
        recursive: true,
        filter: (path) => !/\/(6\.12|qemu)$/.test(path),
      })
    })

    function npx(...args: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
      // npm has remarks of its own on standard error.
      const settings = { IPVS_GUEST_CACHE: join(work, 'guest'), npm_config_loglevel: 'error' }
      return runAsUser(project(), ['npx', '--no-install', 'ipvs', 'guest', ...args], {
        ...settings,
        OWN: 'mine',
      })
    }

    let ended: { readonly code?: number; readonly stdout: string; readonly stderr: string }
    let left: string[]
    beforeAll(async () => {
      const program = `
        import { Ipvs } from 'ipvs'
        const ipvs = await Ipvs.open()
        const web = await ipvs.addService({ protocol: 'tcp', address: '192.0.2.1', port: 80 })
        await web.addRealServer({ address: '10.0.0.7' })
        const { version } = await ipvs.info()
        const servers = (await web.realServers()).length
        console.log(JSON.stringify([version, servers, process.version, process.cwd(), process.env.OWN]))`
      await writeFile(join(project(), 'guest.mjs'), program)
      const script = 'node guest.mjs; echo told >&2; touch written; exit 3'
      ended = await npx('--', 'sh', '-c', script).catch((error: unknown) => error as typeof ended)
      left = await readdir(project())
    }, GUEST_MS)

    test("opens the real kernel for one without rights, with one's own node, folder, packages and variables", () => {
      expect(ended.stderr).toBe('told\n')
      expect(JSON.parse(ended.stdout)).toEqual(['1.2.1', 1, process.version, project(), 'mine'])
    })

    test("exits with the command's status, and leaves nothing behind", () => {
      expect(ended.code).toBe(3)
      expect(left).toContain('guest.mjs')
      expect(left).not.toContain('written')
    })

    test('says how it is used', async () => {
      expect((await npx('--help')).stdout).toMatch(
        /^usage: npx ipvs guest \[OPTION.*^ {2}npx ipvs guest npm test/ms,
      )
    })
  })

  test(
    'without its addon says how to build it, and the addon built that way loads',
    { timeout: INSTALL_MS },
    async () => {
      const installed = join(project(), 'node_modules/ipvs')
      await rm(join(installed, 'prebuilds'), { recursive: true })
      const program = `import { Ipvs } from 'ipvs'\nIpvs.open().catch(({ code, message }) => console.log(code, message))`
      const printed = await node('missing.mjs', program)
      expect(printed).toMatch(/^ERR_IPVS_ADDON /)
      const [, command = ''] = /`(npx .*)`/.exec(printed) ?? []
      expect(command).toBe(`npx node-gyp rebuild --directory '${installed}/native'`)
      // npx would ask on a terminal before it fetches node-gyp.
      await runAsUser(project(), ['sh', '-c', command], {
        npm_config_yes: 'true',
        npm_config_prefer_offline: 'true',
      })
      expect(await node('import.mjs', OPEN)).toMatch(OPENED)
    },
  )
})

describe('an installation elsewhere than on Linux', () => {
  const PLATFORM = join(ROOT, 'test/helpers/platform.mjs')

  /** The project's folder, with the package installed as on that platform. */
  async function install(platform: string): Promise<string> {
    const project = await makeProject(`project-${platform}`)
    await runAsUser(project, ['npm', 'install', archive, ...QUIETLY], {
      ...bare,
      ...elsewhere(platform),
    })
    return project
  }

  /** Every node believes that it runs there, those that npm starts too. */
  function elsewhere(platform: string): Record<string, string> {
    return { NODE_OPTIONS: `--import=${join(work, 'platform.mjs')}`, IPVS_TEST_PLATFORM: platform }
  }

  beforeAll(async () => {
    await copyFile(PLATFORM, join(work, 'platform.mjs'))
  })

  describe('on macOS', () => {
    let project = ''
    beforeAll(async () => {
      project = await install('darwin')
    }, INSTALL_MS)

    /** Runs a program there, or on another platform, with what that installation has. */
    async function node(name: string, program: string, platform = 'darwin'): Promise<string> {
      await writeFile(join(project, name), program)
      const { stdout } = await runAsUser(project, [process.execPath, name], {
        ...bare,
        ...elsewhere(platform),
      })
      return stdout.trim()
    }

    test.each(['darwin', 'win32'])(
      'says on %s that a kernel takes Linux, and what works without',
      async (platform) => {
        const printed = await node(
          'open.mjs',
          `import { Ipvs } from 'ipvs'
        await Ipvs.open().catch(({ code, message }) => console.log(code, message))`,
          platform,
        )
        expect(printed).toMatch(
          `ERR_IPVS_PLATFORM ipvs needs Linux to reach a kernel, and this is ${platform}.`,
        )
        expect(printed).toContain('ipvs/testing')
      },
    )

    test.each(['darwin', 'win32'])('has the kernel in memory and all above it on %s', async (platform) => {
      const printed = await node(
        'memory.mjs',
        `import { Ipvs } from 'ipvs'
        import { createMemoryKernel } from 'ipvs/testing'
        const kernel = createMemoryKernel()
        const ipvs = await Ipvs.open({ transport: kernel })
        const web = await ipvs.addService({ protocol: 'tcp', address: '192.0.2.1', port: 80, scheduler: 'rr' })
        await web.addRealServer({ address: '10.0.0.7' })
        kernel.connect(web.key)
        kernel.advance(2)
        const [{ service, realServers: [server] }] = await ipvs.snapshot()
        console.log(service.stats.connections, server.activeConnections, (await server.drain({ timeoutMs: 0, force: true })).outcome)`,
        platform,
      )
      expect(printed).toBe('1 1 kept')
    })

    test.each(['darwin', 'win32'])('reads and writes states, and plans, on %s', async (platform) => {
      const printed = await node(
        'text.mjs',
        `import { formatPlan, planStates } from 'ipvs'
        import { formatState, parseState } from 'ipvs/text'
        const actual = await parseState('-A -t 192.0.2.1:80 -s rr')
        const wanted = await parseState('-A -t 192.0.2.1:80 -s wrr')
        console.log(await formatState(wanted, { format: 'ipvsadm' }))
        console.log(await formatPlan(await planStates(actual, wanted)))`,
        platform,
      )
      expect(printed).toContain('-A -t 192.0.2.1:80 -s wrr')
      expect(printed).toMatch(/scheduler.*wrr/)
    })

    test('runs the demo in memory', async () => {
      await cp(join(ROOT, 'demo'), join(project, 'demo'), { recursive: true })
      // The networks, which it shares with the tests.
      for (const file of ['cables.mjs', 'topologies.mjs'])
        await cp(join(ROOT, 'test/traffic', file), join(project, 'test/traffic', file))
      const demo = [process.execPath, 'demo/demo.mjs', '--memory']
      const { stdout } = await runAsUser(project, demo, { ...bare, ...elsewhere('darwin') })
      expect(stdout).toContain('The kernel has only B left, and counted the same')
    })

    test('has a command that says what it needs', async () => {
      const guest = runAsUser(project, ['npx', '--no-install', 'ipvs', 'guest', 'true'], {
        ...bare,
        ...elsewhere('darwin'),
      })
      await expect(guest).rejects.toMatchObject({
        code: 125,
        stderr: expect.stringContaining('it takes Linux on x86-64, and this is darwin') as string,
      })
    })
  })
})
