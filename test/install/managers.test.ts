// Each package manager installs the package with its default settings, in an empty folder and without a compiler. Nothing is
// built or blocked, there is no warning about the package, and the addon loads.
import { join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchBun, fetchManager, fetchNode, NEWER_NODES, OLDEST_NODE } from '../../scripts/runtimes.mjs'
import { packedFile } from '../helpers/packed.ts'
import { patient } from '../helpers/patience.mjs'
import { OPEN, OPENED } from '../helpers/user.ts'
import {
  ADD,
  ADDED,
  describeWith,
  GUEST_MS,
  type GuestRun,
  Place,
  printedBy,
  reachRegistry,
  requireAddon,
  run,
  runFetching,
  runInGuest,
} from './installation.ts'

interface Manager {
  readonly title: string
  /** The runtime that the user has: a path. */
  readonly runtime: string
  /** The command of the package manager. */
  readonly argv: readonly string[]
  /** The arguments before the name of the file. */
  readonly install: readonly string[]
  /** The command that runs a program of the project. */
  readonly start: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Programs that this user does not have. */
const COMPILERS = ['cc', 'gcc', 'g++', 'c++', 'clang', 'make', 'python', 'python3', 'node-gyp']

/** The warnings of package managers about our package, scripts that they block, builds, and deprecated packages. */
const WARNING = /gyp|(build|install|lifecycle)[- ]scripts?|deprecated|warn.*ipvs|ipvs.*warn/i

const [NODE_22 = '', NODE_24 = '', NODE_26 = ''] = NEWER_NODES

/** The package that has yarn 4; `yarn` is version 1. */
const YARN_4 = '@yarnpkg/cli-dist'

/** A package manager that runs on Node: the program is a file of its package. */
async function onNode(
  packageName: string,
  version: string,
  program: string,
  nodeVersion: string,
  install: readonly string[],
): Promise<Manager> {
  const file = join(await fetchManager(packageName, version), program)
  const [runtime] = (await fetchNode(nodeVersion)).argv
  const name = packageName === YARN_4 ? 'yarn' : packageName
  const title = `${name} ${version} on Node ${nodeVersion}`
  return { title, runtime, argv: ['node', file], install, start: ['node'] }
}

/** pnpm since 12 is a program for the machine. */
async function newestPnpm(): Promise<Manager> {
  const version = '12.21.0'
  const pnpm = join(await fetchManager(`@pnpm/exe.linux-${process.arch}`, version), 'pnpm')
  const [runtime] = (await fetchNode(NODE_26)).argv
  return {
    title: `pnpm ${version} and Node ${NODE_26}`,
    runtime,
    argv: [pnpm],
    install: ['add'],
    start: ['node'],
  }
}

async function bun(): Promise<Manager> {
  const { name, argv } = await fetchBun()
  return { title: name, runtime: argv[0], argv: ['bun'], install: ['add'], start: ['bun'] }
}

async function allManagers(): Promise<Manager[]> {
  const npm12 = await onNode('npm', '12.2.2', 'bin/npm-cli.js', NODE_26, ['install'])
  const yarn4 = await onNode(YARN_4, '4.18.1', 'bin/yarn.js', NODE_24, ['add'])
  return [
    await onNode('npm', '10.9.9', 'bin/npm-cli.js', OLDEST_NODE, ['install']),
    await onNode('npm', '11.21.2', 'bin/npm-cli.js', NODE_24, ['install']),
    npm12,
    {
      ...npm12,
      title: `${npm12.title} with --ignore-scripts --omit=dev`,
      install: ['install', '--ignore-scripts', '--omit=dev'],
    },
    await onNode('pnpm', '10.34.9', 'bin/pnpm.cjs', NODE_22, ['add']),
    await newestPnpm(),
    await onNode('yarn', '1.22.22', 'bin/yarn.js', NODE_22, ['add']),
    // The node that yarn starts finds packages without node_modules.
    { ...yarn4, title: `${yarn4.title}, Plug'n'Play`, start: [...yarn4.argv, 'node'] },
    { ...yarn4, title: `${yarn4.title}, node-modules`, env: { YARN_NODE_LINKER: 'node-modules' } },
    ...(process.arch === 'x64' ? [await bun()] : []),
  ]
}

/** The package managers, each with a place to install to. */
async function getInstallations(): Promise<(Manager & { readonly place: Place })[]> {
  requireAddon(process.arch)
  const managers = await allManagers()
  const network = await reachRegistry()
  return managers.map((manager) => ({
    ...manager,
    place: new Place(manager.runtime, { ...network, ...manager.env }),
  }))
}

await describeWith('package managers', getInstallations, (installations) => {
  afterAll(() => {
    for (const { place } of installations) place.remove()
  })

  describe.each(installations.map((each) => [each.title, each] as const))('%s', (_, installation) => {
    const { place, argv, install, start } = installation

    it('has a shell and no compiler', async () => {
      const search = `for name in sh ${COMPILERS.join(' ')}; do command -v $name; done; exit 0`
      const { stdout } = await run(place.command('sh', '-c', search))
      expect(stdout).toBe(`${String(place.env.PATH)}/sh\n`)
    })

    it('installs the package without a warning about it', async () => {
      const { status, stdout, stderr } = await runFetching(place.command(...argv, ...install, packedFile()))
      const printed = stdout + stderr
      expect(status, printed).toBe(0)
      expect(printed.split('\n').filter((line) => WARNING.test(line))).toEqual([])
    })

    it('has an addon that loads: without IPVS, the error comes from the kernel', async () => {
      place.write('open.mjs', OPEN)
      const { stdout, stderr } = await run(place.command(...start, 'open.mjs'))
      expect(stdout, stderr).toMatch(OPENED)
    })
  })

  describe('on a kernel with IPVS', () => {
    let guest: GuestRun
    beforeAll(async () => {
      for (const { place } of installations) place.write('add.mjs', ADD)
      guest = await runInGuest(installations.map(({ place, start }) => place.command(...start, 'add.mjs')))
    }, patient(GUEST_MS))

    for (const [index, { title }] of installations.entries()) {
      it(`${title}: adds a service`, (context) => {
        expect(JSON.parse(printedBy(guest, index, context))).toEqual(ADDED)
      })
    }
  })
})
