// The JavaScript runtimes that the package is tested on, and package managers. Each is fetched once, by npm and apt-get, into
// .cache/node; none is installed. `node scripts/runtimes.mjs` fetches all runtimes and prints the command of each, to which a
// script and its arguments are added.
//
// npm has no Node for musl. But it has pnpm for musl, which is a Node with a program attached, and one byte in it says
// whether that program is run. It and Bun for musl need musl's loader, which Debian has, and libstdc++, which Debian has
// for glibc only: test/install/musl-shim.c makes that one work.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { access, copyFile, mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { quote } from '../guest/machines.mjs'

/**
 * @typedef {object} Runtime
 * @property {string} name such as 'Node 26.0.0 on musl'
 * @property {readonly [string, ...string[]]} argv the command, to which a script and its arguments are added
 */

/** The newest of the oldest line that the package supports. */
export const OLDEST_NODE = '20.19.6'
/** The newest of each line after it. */
export const NEWER_NODES = ['22.23.3', '24.21.0', '26.10.0']
/** The version of pnpm, and that of the Node in it. */
const MUSL_NODE = { pnpm: '11.9.0', node: '26.0.0' }
const BUN = '1.4.5'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const cache = path.join(root, '.cache/node')

/**
 * A Node on glibc, for which Node's own builds are. One for another processor is fetched, but cannot run here.
 *
 * @param {string} version
 * @param {'x64' | 'arm64'} [arch]
 * @returns {Promise<Runtime>}
 */
export async function fetchNode(version, arch) {
  const other = arch !== undefined && arch !== process.arch
  const folder = await fetchPackage(
    other ? `${version}-${arch}` : version,
    `node-linux-${arch ?? process.arch}`,
    version,
  )
  return {
    name: `Node ${version}${other ? ` for ${arch}` : ''}`,
    argv: [path.join(folder, 'package/bin/node')],
  }
}

/**
 * A Node on musl.
 *
 * @returns {Promise<Runtime>}
 */
export async function fetchMuslNode() {
  const loader = await fetchMusl()
  const folder = await fetchPackage(
    `${MUSL_NODE.node}-musl`,
    '@pnpm/linuxstatic-x64',
    MUSL_NODE.pnpm,
    async (scratch) => {
      await mkdir(path.join(scratch, 'package/bin'))
      await rename(path.join(scratch, 'package/pnpm'), path.join(scratch, 'package/bin/node'))
      await detachProgram(path.join(scratch, 'package/bin/node'))
    },
  )
  return { name: `Node ${MUSL_NODE.node} on musl`, argv: [...loader, path.join(folder, 'package/bin/node')] }
}

/**
 * Bun, on glibc or on musl.
 *
 * @param {{ musl?: boolean }} [options]
 * @returns {Promise<Runtime>}
 */
export async function fetchBun({ musl = false } = {}) {
  requireX64()
  const suffix = musl ? '-musl' : ''
  const folder = await fetchPackage(`bun-${BUN}${suffix}`, `@oven/bun-linux-x64${suffix}`, BUN)
  const bun = path.join(folder, 'package/bin/bun')
  return musl
    ? { name: `Bun ${BUN} on musl`, argv: [...(await fetchMusl()), bun] }
    : { name: `Bun ${BUN}`, argv: [bun] }
}

/**
 * All runtimes that this machine can run.
 *
 * @returns {Promise<Runtime[]>}
 */
export async function fetchRuntimes() {
  /** @type {Runtime[]} */
  const runtimes = []
  for (const version of [OLDEST_NODE, ...NEWER_NODES]) runtimes.push(await fetchNode(version))
  if (process.arch !== 'x64') return runtimes
  return [...runtimes, await fetchMuslNode(), await fetchBun(), await fetchBun({ musl: true })]
}

/**
 * A package manager, or another program that is one package without dependencies.
 *
 * @param {string} packageName
 * @param {string} version
 * @returns {Promise<string>} the folder of the package
 */
export async function fetchManager(packageName, version) {
  const folder = await fetchPackage(`${fileNameOf(packageName)}-${version}`, packageName, version)
  return path.join(folder, 'package')
}

/**
 * A folder in whose node_modules npm has installed a package and its dependencies.
 *
 * @param {string} packageName
 * @param {string} version
 */
export function fetchInstalled(packageName, version) {
  return makeOnce(path.join(cache, `${fileNameOf(packageName)}-${version}-installed`), async (scratch) => {
    const spec = `${packageName}@${version}`
    const quietly = ['--silent', '--no-audit', '--no-fund', '--ignore-scripts']
    await run('npm', ['install', ...quietly, '--prefix', scratch, spec]).catch(() => {
      throw new Error(`npm could not install ${spec}`)
    })
  })
}

/**
 * The command to which a program for musl is added: musl's loader, with the libraries that programs in C++ need.
 *
 * @returns {Promise<[string, ...string[]]>}
 */
async function fetchMusl() {
  requireX64()
  const shim = path.join(root, 'test/install/musl-shim.c')
  const hash = createHash('sha256')
    .update(await readFile(shim))
    .digest('hex')
  const folder = await makeOnce(path.join(cache, `musl-${hash.slice(0, 8)}`), async (scratch) => {
    const debian = path.join(cache, 'debian')
    await mkdir(debian, { recursive: true })
    await run('flock', [path.join(debian, 'lock'), 'bash', path.join(root, 'guest/fetch.sh'), debian, 'musl'])
    await copyFile(
      path.join(debian, 'musl/usr/lib/x86_64-linux-musl/libc.so'),
      path.join(scratch, 'ld-musl-x86_64.so.1'),
    )
    for (const library of ['libstdc++.so.6', 'libgcc_s.so.1']) {
      await copyFile(await findLibrary(library), path.join(scratch, library))
    }
    // The name is that of glibc's loader, which libstdc++ asks for.
    const options = ['-std=gnu11', '-O2', '-fPIC', '-shared', '-nostdlib', '-U_FORTIFY_SOURCE']
    await run('gcc', [...options, '-o', path.join(scratch, 'ld-linux-x86-64.so.2'), shim])
  })
  const loader = path.join(folder, 'ld-musl-x86_64.so.1')
  return [loader, '--preload', path.join(folder, 'ld-linux-x86-64.so.2'), '--library-path', folder]
}

/**
 * The machine's file of a library.
 *
 * @param {string} library
 */
async function findLibrary(library) {
  const file = (await run('gcc', [`-print-file-name=${library}`])).trim()
  if (!path.isAbsolute(file)) throw new Error(`gcc finds no ${library}: install g++`)
  return file
}

/**
 * Turns a Node with a program attached into one without.
 *
 * @param {string} node
 */
async function detachProgram(node) {
  const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:'
  const place = (await readFile(node)).indexOf(`${fuse}1`)
  if (place < 0) throw new Error(`${node} is not a Node with a program attached`)
  const file = await open(node, 'r+')
  try {
    await file.write('0', place + fuse.length)
  } finally {
    await file.close()
  }
}

/**
 * The folder of an npm package, unpacked in its folder `package`.
 *
 * @param {string} name of the folder
 * @param {string} packageName
 * @param {string} version
 * @param {(scratch: string) => Promise<void>} [change] changes the folder before it gets its name
 */
function fetchPackage(name, packageName, version, change) {
  return makeOnce(path.join(cache, name), async (scratch) => {
    const spec = `${packageName}@${version}`
    await run('npm', ['pack', '--silent', '--pack-destination', scratch, spec]).catch(() => {
      throw new Error(`npm has no ${spec}, or cannot be reached`)
    })
    const packed = path.join(scratch, `${fileNameOf(packageName)}-${version}.tgz`)
    await run('tar', ['-xzf', packed, '--no-same-owner', '-C', scratch])
    await rm(packed)
    await change?.(scratch)
  })
}

/**
 * A package's name, as npm pack writes it in the name of a file.
 *
 * @param {string} packageName
 */
function fileNameOf(packageName) {
  return packageName.replace('@', '').replace('/', '-')
}

/**
 * Makes a folder if it does not exist: beside its place and then renamed, so that it is never incomplete.
 *
 * @param {string} folder
 * @param {(scratch: string) => Promise<void>} make
 */
export async function makeOnce(folder, make) {
  if (await exists(folder)) return folder
  await mkdir(path.dirname(folder), { recursive: true })
  const scratch = await mkdtemp(path.join(path.dirname(folder), 'fetch-'))
  try {
    await make(scratch)
    await rename(scratch, folder).catch(async (/** @type {unknown} */ error) => {
      // Another process has made it meanwhile.
      if (!(await exists(folder))) throw error
    })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  return folder
}

/** @param {string} file */
function exists(file) {
  return access(file).then(
    () => true,
    () => false,
  )
}

/**
 * Runs a command to its end.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {Promise<string>} its output
 */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ part) => {
      output += part
    })
    child.on('error', () => {
      reject(new Error(`${command} is missing on this machine: install it`))
    })
    child.on('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`failed, see above: ${[command, ...args].join(' ')}`))
    })
  })
}

function requireX64() {
  if (process.arch !== 'x64') throw new Error(`only for x64, and this machine is ${process.arch}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { name, argv } of await fetchRuntimes()) console.log(`${name}: ${argv.map(quote).join(' ')}`)
}
