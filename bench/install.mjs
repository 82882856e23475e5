#!/usr/bin/env node
// Measures the installation of the package, beside others that ship an addon, and checks that each works afterwards.
// docs/performance.md says how, and has the results of the last full run.
import { spawn } from 'node:child_process'
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { buildOnce } from '../scripts/build-once.mjs'
import { checkCompilers } from '../scripts/prebuild.mjs'
import { fetchNode, makeOnce, NEWER_NODES } from '../scripts/runtimes.mjs'
import { lockedSpecs, outcomeOf, sizesTable, timesTable, worksTable } from './installed.mjs'
import { writeSection } from './page.mjs'
import { openRegistry, readPacked } from './registry.mjs'

const USAGE = `usage: node bench/install.mjs [OPTION...]

Exits with 1 if a package cannot be installed, or if ipvs does not work after that.

  --quick      one sample of ipvs alone, to see that it works: needs no network, writes nothing
  --no-write   leave docs/performance.md as it is
  --rounds N   samples of each, default 7
  --help
`

/** Time limit of a program that uses a package. */
const PROGRAM_MS = 60_000

/** @typedef {import('./registry.mjs').Packed} Packed */
/** @typedef {import('./installed.mjs').Installed} Installed */
/** @typedef {import('./installed.mjs').Size} Size */

/**
 * @typedef {object} Contender
 * @property {string} called
 * @property {Packed} main the package
 * @property {readonly Packed[]} others what it depends on
 * @property {string} [program] uses the addon; left out if the package has nothing to use
 */

/** Prints the kernel's answer. That it has no IPVS is an answer too. */
const OURS = `
import { Ipvs } from 'ipvs'
try {
  const ipvs = await Ipvs.open()
  await ipvs.close()
  console.log('it has IPVS')
} catch (error) {
  if (error.name !== 'IpvsError') throw error
  console.log(error.code)
}
`

const THEIRS = [
  {
    spec: 'better-sqlite3@13.2.0',
    program: `
import Database from 'better-sqlite3'
const db = new Database(':memory:')
if (db.prepare('select 6 * 7').pluck().get() !== 42) throw new Error('it counts differently')
db.close()
`,
  },
  {
    spec: 'classic-level@3.0.0',
    program: `
import { ClassicLevel } from 'classic-level'
const db = new ClassicLevel('./db')
await db.put('key', 'value')
if (await db.get('key') !== 'value') throw new Error('it does not remember')
await db.close()
`,
  },
]

const root = path.join(import.meta.dirname, '..')
const fetched = path.join(root, '.cache/install')

/**
 * Runs a command to its end.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 * @returns {Promise<{ status: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string, ms: number }>}
 */
function run(command, args, options) {
  return new Promise((resolve, reject) => {
    const start = performance.now()
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    const output = { stdout: '', stderr: '' }
    child.stdout?.setEncoding('utf8').on('data', (text) => (output.stdout += text))
    child.stderr?.setEncoding('utf8').on('data', (text) => (output.stderr += text))
    child.on('error', reject)
    child.on('close', (status, signal) => {
      resolve({ status, signal, ...output, ms: performance.now() - start })
    })
  })
}

/** @param {readonly string[]} args @param {string} cwd @param {NodeJS.ProcessEnv} [env] */
async function npm(args, cwd, env = process.env) {
  const ended = await run('npm', args, { cwd, env })
  if (ended.status === 0) return ended
  throw new Error(`npm ${args.join(' ')} ended with status ${ended.status}:\n${ended.stderr}`)
}

/**
 * Packs packages.
 *
 * @param {readonly string[]} specs
 * @param {string} folder gets the tarballs
 */
async function pack(specs, folder) {
  if (specs.length > 0)
    await npm(['pack', '--silent', '--ignore-scripts', '--pack-destination', folder, ...specs], root)
}

/** The tarballs of a folder. @param {string} folder */
function packedIn(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  return names.map((name) => readPacked(path.join(folder, name)))
}

/**
 * A package and all that it depends on: fetched once, in the versions that npm chooses then.
 *
 * @param {string} spec
 * @returns {Promise<Packed[]>}
 */
async function fetchPacked(spec) {
  const folder = path.join(fetched, spec.replaceAll('/', '-'))
  await makeOnce(folder, async (scratch) => {
    writeFileSync(path.join(scratch, 'package.json'), '{}')
    await npm(
      ['install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', spec],
      scratch,
    )
    const lock = readFileSync(path.join(scratch, 'package-lock.json'), 'utf8')
    await pack(lockedSpecs(JSON.parse(lock)), scratch)
  }).catch((/** @type {unknown} */ error) => {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`npm could not fetch ${spec} (--quick needs no network): ${why}`)
  })
  return packedIn(folder)
}

/**
 * The package of these sources.
 *
 * @param {boolean} quick
 * @param {string} scratch an empty folder
 * @returns {Promise<Contender>}
 */
async function ours(quick, scratch) {
  const [main] = packedIn(buildOnce('tarball'))
  if (main === undefined) throw new Error('nothing was packed')
  const contender = { called: 'ipvs', main, program: OURS }
  const dependencies = Object.entries(main.manifest.dependencies ?? {})
  if (!quick) {
    const others = await Promise.all(dependencies.map(([name, version]) => fetchPacked(`${name}@${version}`)))
    return { ...contender, others: others.flat() }
  }
  // Without a network: the dependencies in node_modules, packed again.
  const places = dependencies.map(([name]) => path.join(root, 'node_modules', name))
  await pack(places, scratch)
  return { ...contender, others: packedIn(scratch) }
}

/** @param {{ spec: string, program: string }} one @returns {Promise<Contender>} */
async function theirs({ spec, program }) {
  const packages = await fetchPacked(spec)
  const main = packages.find(({ manifest }) => `${manifest.name}@${manifest.version}` === spec)
  if (main === undefined) throw new Error(`there is no ${spec}`)
  return { called: spec.replace('@', ' '), main, others: packages.filter((one) => one !== main), program }
}

/**
 * An empty package: it shows the time that npm itself needs.
 *
 * @param {string} scratch an empty folder
 * @returns {Promise<Contender>}
 */
async function nothing(scratch) {
  writeFileSync(path.join(scratch, 'package.json'), '{ "name": "empty", "version": "1.0.0" }')
  await pack([scratch], scratch)
  const [main] = packedIn(scratch)
  if (main === undefined) throw new Error('nothing was packed')
  return { called: 'an empty package', main, others: [] }
}

/** The variables of this process, without settings for npm or ipvs. */
const environment = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm|ipvs)_|_proxy$/i.test(name))),
  // npm runs on the same Node as this script.
  PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env['PATH']}`,
}

/** @param {string} folder of npm's cache @param {string} registry */
function npmEnvironment(folder, registry) {
  return {
    ...environment,
    npm_config_cache: folder,
    npm_config_registry: registry,
    npm_config_userconfig: path.join(folder, 'no-user'),
    npm_config_globalconfig: path.join(folder, 'no-machine'),
    npm_config_update_notifier: 'false',
  }
}

/** @param {string} folder */
function sizeOf(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const bytes = files.map(({ parentPath, name }) => lstatSync(path.join(parentPath, name)).size)
  return { files: files.length, unpacked: bytes.reduce((sum, one) => sum + one, 0) }
}

/**
 * Installs a package twice, into folders of its own: first with an empty cache, then with the one that this filled.
 *
 * @param {Contender} contender
 * @param {(folder: string) => Promise<void>} look gets the folder of the second installation
 * @returns {Promise<{ coldMs: number, warmMs: number, size: Size }>}
 */
async function installTwice({ called, main, others }, look) {
  const scratch = mkdtempSync(path.join(tmpdir(), 'ipvs-install-'))
  const { url, served, close } = await openRegistry([main, ...others])
  try {
    const env = npmEnvironment(path.join(scratch, 'cache'), url)
    const install = async (/** @type {string} */ name) => {
      const folder = path.join(scratch, name)
      mkdirSync(folder)
      // Without it npm would look for one in the folders above.
      writeFileSync(path.join(folder, 'package.json'), '{}')
      const spec = `${main.manifest.name}@${main.manifest.version}`
      const { ms } = await npm(
        ['install', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', spec],
        folder,
        env,
      )
      return { folder, ms }
    }
    const cold = await install('cold')
    const { requests, tarballs, tarballBytes } = served
    const warm = await install('warm')
    if (served.requests > requests)
      throw new Error(`${called}: npm asked the registry, although its cache had everything`)
    const { folder } = warm
    const size = {
      downloaded: tarballBytes,
      packages: tarballs,
      ...sizeOf(path.join(folder, 'node_modules')),
    }
    await look(folder)
    return { coldMs: cold.ms, warmMs: warm.ms, size }
  } finally {
    close()
    rmSync(scratch, { recursive: true })
  }
}

/**
 * @param {boolean} quick
 * @param {number} rounds
 * @returns {Promise<string>} the section for docs/performance.md
 */
async function measure(quick, rounds) {
  const scratch = mkdtempSync(path.join(tmpdir(), 'ipvs-pack-'))
  /** @type {Contender[]} */
  const contenders = []
  try {
    for (const name of ['ours', 'nothing']) mkdirSync(path.join(scratch, name))
    contenders.push(await ours(quick, path.join(scratch, 'ours')))
    if (!quick) {
      for (const one of THEIRS) contenders.push(await theirs(one))
      contenders.push(await nothing(path.join(scratch, 'nothing')))
    }
  } finally {
    rmSync(scratch, { recursive: true })
  }
  /** @type {Record<string, string>} */
  const nodes = { [process.version]: process.execPath }
  for (const version of quick ? [] : NEWER_NODES) nodes[`v${version}`] ??= (await fetchNode(version)).argv[0]

  /** @type {Map<Contender, Installed>} */
  const results = new Map()
  let answer = ''
  for (let round = 1; round <= rounds; round++) {
    for (const contender of contenders) {
      const { called, main, program } = contender
      process.stderr.write(`${called}, ${round} of ${rounds}\n`)
      /** @type {Record<string, string>} */
      const works = {}
      const { coldMs, warmMs, size } = await installTwice(contender, async (folder) => {
        if (program === undefined || round > 1) return
        writeFileSync(path.join(folder, 'use.mjs'), program)
        for (const [version, node] of Object.entries(nodes)) {
          const ended = await run(node, ['use.mjs'], {
            cwd: folder,
            env: environment,
            timeout: PROGRAM_MS,
          })
          works[version] = outcomeOf(ended)
          if (program !== OURS) continue
          if (ended.status !== 0) throw new Error(`ipvs does not work in Node ${version}:\n${ended.stderr}`)
          answer = ended.stdout.trim()
        }
      })
      const result = results.get(contender)
      if (result === undefined) {
        const wants = main.manifest.engines?.['node']
        results.set(contender, { called, wants, coldMs: [coldMs], warmMs: [warmMs], size, works })
      } else {
        result.coldMs.push(coldMs)
        result.warmMs.push(warmMs)
      }
    }
  }
  const all = [...results.values()]
  const [first] = all
  if (first === undefined) throw new Error('nothing was measured')
  const { stdout: version } = await npm(['--version'], root, environment)
  return [
    `Measured on ${new Date().toISOString().slice(0, 10)} with ${rounds} samples of each: npm ${version.trim()}, Node ` +
      `${process.version} on ${process.arch}, ${cpus().length} processors (${cpus()[0]?.model ?? 'unknown'}). ` +
      `This machine's kernel answered \`Ipvs.open()\` with: ${answer}.`,
    timesTable(all, first),
    sizesTable(all, first),
    worksTable(all),
  ].join('\n\n')
}

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    'no-write': { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    help: { type: 'boolean', default: false },
  },
})

if (options.help) {
  process.stdout.write(USAGE)
} else {
  const { quick } = options
  try {
    // A package without the addon of a processor would be too small.
    if (!quick) checkCompilers()
    const results = await measure(quick, quick ? 1 : Number(options.rounds))
    process.stdout.write(`${results}\n`)
    if (!quick && !options['no-write']) writeSection('install', results)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
