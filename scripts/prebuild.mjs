// node scripts/prebuild.mjs: the addon for each processor that the package has one for, in prebuilds/, and in
// native/node-addon-api the headers that a build from source needs. `npm pack` and `npm publish` begin with it.
// node scripts/prebuild.mjs FOLDER: for tests, the addons that this machine has compilers for, in FOLDER.
//
// One call of Debian's compiler for each: with the sources and flags of native/binding.gyp, but none of Node's own, so that
// the same sources give the same bytes, whatever Node and whatever folder they are built in.
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')

/** Folders of node_modules with the headers of Node-API and of its C++. */
const HEADERS = ['node-api-headers/include', 'node-addon-api']

/**
 * @typedef {object} Processor
 * @property {string} compiler Debian's
 * @property {string} debian the package that has it
 * @property {readonly string[]} flags
 */

/** As Node calls them. @type {Readonly<Record<string, Processor>>} */
const PROCESSORS = {
  x64: {
    compiler: 'x86_64-linux-gnu-g++',
    debian: process.arch === 'x64' ? 'g++' : 'g++-x86-64-linux-gnu',
    flags: ['-march=x86-64', '-mtune=generic'],
  },
  arm64: {
    compiler: 'aarch64-linux-gnu-g++',
    debian: process.arch === 'arm64' ? 'g++' : 'g++-aarch64-linux-gnu',
    // Out of line, they would be functions of libgcc that ask for the processor's features.
    flags: ['-march=armv8-a', '-mno-outline-atomics'],
  },
}

/** What tells one compiler's addons from another's. @returns {string} */
export function compilerVersions() {
  return Object.values(PROCESSORS)
    .map(({ compiler }) => spawnSync(compiler, ['--version'], { encoding: 'utf8' }).stdout ?? '')
    .join('\n')
}

/** The processors that this machine has a compiler for. @returns {string[]} */
export function buildable() {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter)
  return Object.entries(PROCESSORS).flatMap(([processor, { compiler }]) =>
    folders.some((folder) => existsSync(path.join(folder, compiler))) ? processor : [],
  )
}

/** Throws with what is missing. */
export function checkCompilers() {
  const here = buildable()
  const missing = Object.entries(PROCESSORS).flatMap(([processor, { debian }]) =>
    here.includes(processor) ? [] : debian,
  )
  if (missing.length === 0) return
  throw new Error(
    `The package has addons for ${Object.keys(PROCESSORS).join(' and ')}, and a compiler is missing here. ` +
      `As root, on Debian: apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`,
  )
}

/**
 * Builds addons.
 *
 * @param {string} folder gets linux-PROCESSOR/ipvs.node
 * @param {readonly string[]} processors
 */
async function prebuild(folder, processors) {
  await Promise.all(
    processors.map((processor) => {
      const { compiler, flags } = /** @type {Processor} */ (PROCESSORS[processor])
      const file = path.join(folder, `linux-${processor}/ipvs.node`)
      mkdirSync(path.dirname(file), { recursive: true })
      return run(compiler, [...flags, ...commonArguments(), '-o', file])
    }),
  )
}

/** What native/binding.gyp says, as arguments of the compiler. */
function commonArguments() {
  const text = readFileSync(path.join(root, 'native/binding.gyp'), 'utf8').replace(/^\s*#.*$/gm, '')
  /** @type {Record<'sources' | 'defines' | 'cflags' | 'cflags_cc' | 'ldflags' | 'libraries', readonly string[]> & { variables: { exports_file: string } }} */
  const { sources, defines, cflags, cflags_cc, ldflags, libraries, variables } = JSON.parse(text).targets[0]
  return [
    ...cflags,
    ...cflags_cc,
    ...[...defines, 'BUILDING_NODE_EXTENSION'].map((define) => `-D${define}`),
    ...HEADERS.flatMap((name) => ['-isystem', `node_modules/${name}`]),
    ...sources.map((name) => `native/${name}`),
    '-shared',
    '-Wl,--strip-all',
    ...ldflags.map((flag) =>
      flag.replace('<(module_root_dir)/<(exports_file)', `native/${variables.exports_file}`),
    ),
    ...libraries,
  ]
}

/**
 * Puts the headers of node-addon-api where native/binding.gyp finds them in the package.
 *
 * @param {string} native a copy of native/
 */
export function copyHeaders(native) {
  const headers = path.join(native, 'node-addon-api')
  rmSync(headers, { recursive: true, force: true })
  for (const name of ['LICENSE.md', 'napi-inl.deprecated.h', 'napi-inl.h', 'napi.h']) {
    cpSync(path.join(root, 'node_modules/node-addon-api', name), path.join(headers, name))
  }
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {Promise<void>}
 */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      // Paths of sources are relative to the folder, and so the same everywhere.
      cwd: root,
      // Others, such as CPATH, would change what is built.
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], LC_ALL: 'C' },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    child.on('error', reject)
    child.on('close', (status) => {
      if (status === 0) resolve()
      else reject(new Error(`${command} ended with status ${status}`))
    })
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = process.argv.slice(2)
  try {
    if (folder === undefined) {
      checkCompilers()
      const prebuilds = path.join(root, 'prebuilds')
      rmSync(prebuilds, { recursive: true, force: true })
      await prebuild(prebuilds, Object.keys(PROCESSORS))
      copyHeaders(path.join(root, 'native'))
    } else {
      await prebuild(path.resolve(folder), buildable())
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
