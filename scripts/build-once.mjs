// What is built once and used by all: tests, the documentation, several runs at the same time. Each build has a folder of its
// own in .cache/built, whose name tells the content of all that it was built from. So it is found by whoever has the same
// sources, nobody finds an old one, and what a folder has is whole: it is made beside its place and renamed.
//
// node scripts/build-once.mjs NAME [FOLDER]: builds `package` or `reference` if need be, and prints its folder or, where a
// FOLDER is given, puts a copy there in place of what was there.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { compilerVersions, copyHeaders } from './prebuild.mjs'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const cache = path.join(root, '.cache/built')

/** What nobody has used for so long goes when something new is built. */
const KEPT_MS = 3 * 3600_000

/** The addon that `npm run build:native` made, or that of another build. */
export const ADDON = path.resolve(process.env['IPVS_ADDON'] || path.join(root, 'build/Release/ipvs.node'))

/**
 * @typedef {object} Build
 * @property {readonly string[]} sources files and folders below the root
 * @property {(file: string) => boolean} [uses] which files of these folders; all if left out
 * @property {() => string} [variant] anything else that makes a difference
 * @property {(folder: string) => void} make builds it in a folder that is empty
 */

/** The files of the package that are not built. */
const PUBLISHED = [
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'guest',
  'native',
  'package.json',
  'state.schema.json',
]

/** @type {Readonly<Record<'package' | 'prebuilds' | 'tarball' | 'reference', Build>>} */
const BUILDS = {
  package: {
    sources: [
      'lib',
      'package.json',
      'tsconfig.json',
      'tsconfig.build.json',
      'scripts/bundle.mjs',
      'scripts/man.mjs',
    ],
    variant: () => ADDON,
    make(folder) {
      makeDist(path.join(folder, 'dist'))
      furnish(folder)
    },
  },
  // The addon for each processor.
  prebuilds: {
    sources: ['native', 'scripts/prebuild.mjs'],
    uses: isSource,
    variant: compilerVersions,
    make(folder) {
      runSilent('scripts/prebuild.mjs', [folder])
    },
  },
  // The file that `npm pack` makes.
  tarball: {
    sources: [...PUBLISHED, 'lib', 'tsconfig.json', 'tsconfig.build.json', 'scripts'],
    uses: isSource,
    variant: compilerVersions,
    make: pack,
  },
  reference: {
    sources: [
      'lib',
      'docs',
      'README.md',
      'package.json',
      'tsconfig.json',
      'tsconfig.build.json',
      'typedoc.json',
    ],
    uses: (file) => !file.startsWith('docs/reference/'),
    make(folder) {
      runSilent('node_modules/typedoc/bin/typedoc', ['--out', folder, '--logLevel', 'Warn'])
    },
  },
}

/**
 * The library, the command and its man page, as they are in the package.
 *
 * @param {string} dist
 */
function makeDist(dist) {
  runSilent('node_modules/typescript/bin/tsc', ['-p', 'tsconfig.build.json', '--outDir', dist, '--noCheck'])
  runSilent('scripts/bundle.mjs', [dist])
  // The command finds its version in the folder above.
  cpSync(path.join(root, 'package.json'), path.join(dist, '../package.json'))
  runSilent('scripts/man.mjs', [dist])
}

/**
 * Puts around a dist/ what makes it an installation: see package() in test/helpers/built-library.ts.
 *
 * @param {string} folder
 */
function furnish(folder) {
  const bare = path.join(folder, 'without-addon')
  cpSync(path.join(folder, 'dist'), path.join(bare, 'dist'), { recursive: true })
  cpSync(path.join(folder, 'package.json'), path.join(bare, 'package.json'))
  mkdirSync(path.join(folder, 'build/Release'), { recursive: true })
  symlinkSync(ADDON, path.join(folder, 'build/Release/ipvs.node'))
  mkdirSync(path.join(folder, 'bin'))
  for (const name of ['ipvs', 'ipvsadm', 'ipvsadm-save', 'ipvsadm-restore']) {
    symlinkSync('../dist/cli/ipvs.cjs', path.join(folder, 'bin', name))
  }
}

/** @param {string} folder */
function pack(folder) {
  const content = path.join(folder, 'content')
  for (const source of PUBLISHED) {
    cpSync(path.join(root, source), path.join(content, source), {
      recursive: true,
      filter: (file) => isSource(path.relative(root, file)),
    })
  }
  cpSync(path.join(buildOnce('package'), 'dist'), path.join(content, 'dist'), { recursive: true })
  cpSync(buildOnce('prebuilds'), path.join(content, 'prebuilds'), { recursive: true })
  copyHeaders(path.join(content, 'native'))
  run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', '..'], content)
  rmSync(content, { recursive: true })
}

/**
 * Whether a file is a source: builds leave others in native/.
 *
 * @param {string} file relative to the root
 */
export function isSource(file) {
  return !/^native\/(build|node-addon-api)(\/|$)/.test(file)
}

/**
 * The folder of a build, which is made if nobody has made it yet.
 *
 * @param {keyof typeof BUILDS} name
 * @returns {string}
 */
export function buildOnce(name) {
  for (;;) {
    const place = placeOf(name)
    if (existsSync(place)) {
      markUsed(place)
      return place
    }
    const made = makeAside(BUILDS[name].make)
    // Whoever changed a source meanwhile knows what of it was built; we do not.
    if (placeOf(name) === place) publish(made, place)
    else rmSync(made, { recursive: true })
  }
}

/** @param {string} place */
function markUsed(place) {
  const now = new Date()
  try {
    utimesSync(place, now, now)
  } catch {
    // Another user's: it is as good, and its owner uses it too.
  }
}

/**
 * Where a build of what the sources are now belongs.
 *
 * @param {keyof typeof BUILDS} name
 * @returns {string}
 */
export function placeOf(name) {
  const { sources, uses, variant } = BUILDS[name]
  const hash = createHash('sha256').update(variant?.() ?? '')
  // What is installed: the compilers, and what is bundled.
  for (const source of [...sources, 'scripts/build-once.mjs', 'node_modules/.package-lock.json']) {
    for (const file of filesOf(source)) {
      if (uses?.(file) === false) continue
      hash.update(`\0${file}\0`).update(contentOf(file))
    }
  }
  return path.join(cache, `${name}-${hash.digest('hex').slice(0, 16)}`)
}

/**
 * @param {string} source
 * @returns {string[]} in an order that is the same everywhere
 */
function filesOf(source) {
  // Other package managers than npm leave no list of what is installed.
  if (!statSync(path.join(root, source), { throwIfNoEntry: false })?.isDirectory()) return [source]
  return readdirSync(path.join(root, source), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .sort()
}

/**
 * @param {string} file
 * @returns {Buffer} empty where it has gone meanwhile, as what an editor saves to first does
 */
function contentOf(file) {
  try {
    return readFileSync(path.join(root, file))
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return Buffer.alloc(0)
    throw error
  }
}

/**
 * Makes something beside its place: nobody can find it yet.
 *
 * @param {(folder: string) => void} make
 * @returns {string} a folder with what was made
 */
function makeAside(make) {
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(path.join(cache, 'making-'))
  chmodSync(folder, 0o755)
  try {
    make(folder)
  } catch (error) {
    rmSync(folder, { recursive: true })
    throw error
  }
  return folder
}

/**
 * Moves what was made to its place, and removes what nobody has used for long.
 *
 * @param {string} made
 * @param {string} place
 */
function publish(made, place) {
  try {
    renameSync(made, place)
  } catch (error) {
    // Another run was first, and its folder is as good.
    rmSync(made, { recursive: true })
    if (!existsSync(place)) throw error
  }
  for (const name of readdirSync(cache)) {
    const folder = path.join(cache, name)
    const { mtimeMs } = statSync(folder, { throwIfNoEntry: false }) ?? { mtimeMs: Infinity }
    if (Date.now() - mtimeMs > KEPT_MS) rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Runs a program that prints nothing if all is well: any output is an error.
 *
 * @param {string} program a file below the root
 * @param {readonly string[]} args
 */
function runSilent(program, args) {
  const printed = run(process.execPath, [program, ...args], root)
  if (printed !== '') throw new Error(`${[program, ...args].join(' ')} printed:\n${printed}`)
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {string} cwd
 * @returns {string} what it printed
 */
export function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (error !== undefined) throw error
  if (status !== 0) {
    const name = [command === process.execPath ? [] : command, ...args].flat().join(' ')
    throw new Error(`${name} ended with status ${status}:\n${stdout}${stderr}`)
  }
  return stdout + stderr
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name = '', folder] = process.argv.slice(2)
  endWithMessage(() => {
    if (!isBuild(name)) {
      throw new Error(`usage: node scripts/build-once.mjs ${Object.keys(BUILDS).join('|')} [FOLDER]`)
    }
    const place = buildOnce(name)
    if (folder !== undefined) {
      rmSync(folder, { recursive: true, force: true })
      cpSync(place, folder, { recursive: true })
    }
    console.log(folder ?? place)
  })
}

/**
 * Runs the work of a script. What fails is told without a stack: it is what a compiler said.
 *
 * @param {() => void} work
 */
export function endWithMessage(work) {
  try {
    work()
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}

/**
 * @param {string} name
 * @returns {name is keyof typeof BUILDS}
 */
function isBuild(name) {
  return Object.hasOwn(BUILDS, name)
}
