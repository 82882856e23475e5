import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, type TestContext } from 'vitest'
import { quote } from '../../guest/machines.mjs'
import { buildable } from '../../scripts/prebuild.mjs'
import { fetchManager, fetchNode } from '../../scripts/runtimes.mjs'
import { GUEST, guestRequired } from '../helpers/guest.ts'
import { packedFile } from '../helpers/packed.ts'
import { patient } from '../helpers/patience.mjs'
import { linkPrograms } from '../helpers/user.ts'

/** Installs the package as a user does: in an empty folder, and without a compiler. */

const execute = promisify(execFile)

/** The only programs of the user, besides a runtime. */
const PROGRAMS = ['sh', 'env']

/** The variables through which this machine reaches a registry. */
const NETWORK = /^(NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR|(https?|no|all)_proxy)$/i

/**
 * Describes tests and gets what they need. If that fails there is one test instead, which says what is missing. It is
 * skipped, or fails on a machine where nothing may be skipped.
 */
export async function describeWith<T>(
  title: string,
  get: () => Promise<T>,
  tests: (needs: T) => void,
): Promise<void> {
  let needs: T
  try {
    needs = await get()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    it.skipIf(!guestRequired)(title, () => expect.fail(reason))
    if (!guestRequired) console.error(`\n*** SKIPPED: the tests of ${title}. What is missing:\n${reason}\n`)
    return
  }
  describe(title, () => {
    tests(needs)
  })
}

/** Throws if the packed package has no addon for a processor. */
export function requireAddon(processor: string): void {
  if (buildable().includes(processor)) return
  throw new Error(`this machine has no compiler for the addon of linux-${processor} (docs/contributing.md)`)
}

export interface Command {
  readonly argv: readonly string[]
  readonly cwd: string
  /** All its variables. */
  readonly env: Readonly<Record<string, string>>
  readonly limitMs?: number
}

export interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export async function run({ argv, cwd, env, limitMs = 60_000 }: Command): Promise<Outcome> {
  const [program = '', ...args] = argv
  try {
    const ended = await execute(program, args, { cwd, env, timeout: patient(limitMs) })
    return { status: 0, ...ended }
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string }
    if (typeof code !== 'number') throw error
    return { status: code, stdout, stderr }
  }
}

/** Runs a command that fetches something: again if it fails, for a network that fails now and then. */
export async function runFetching(command: Command): Promise<Outcome> {
  for (let tries = 3; ; tries--) {
    const outcome = await run(command)
    if (outcome.status === 0 || tries === 1) return outcome
  }
}

/** A user's machine: a home, a PATH and an empty project. */
export class Place {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'ipvs-install-'))
  readonly project: string = join(this.folder, 'project')
  readonly env: Readonly<Record<string, string>>

  /** @param runtime the path of `node` or `bun` */
  constructor(runtime: string, settings: Readonly<Record<string, string>> = {}) {
    const bin = join(this.folder, 'bin')
    const home = join(this.folder, 'home')
    for (const folder of [bin, home, this.project]) mkdirSync(folder)
    linkPrograms(bin, PROGRAMS)
    symlinkSync(runtime, join(bin, basename(runtime)))
    this.write('package.json', '{ "private": true }\n')
    const network = Object.entries(process.env).filter(
      (entry): entry is [string, string] => NETWORK.test(entry[0]) && entry[1] !== undefined,
    )
    this.env = { ...Object.fromEntries(network), PATH: bin, HOME: home, ...settings }
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.project, name), text)
  }

  command(...argv: readonly string[]): Command {
    return { argv, cwd: this.project, env: this.env }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Variables that make every package manager use the registry of this machine's npm. Throws if that cannot be reached. */
export async function reachRegistry(): Promise<Record<string, string>> {
  const options = { cwd: fileURLToPath(new URL('../..', import.meta.url)) }
  const patience = ['--fetch-retries=3', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000']
  await execute('npm', ['view', 'yaml', 'version', ...patience], options).catch(() => {
    throw new Error('npm cannot reach its registry: `npm view yaml` says more')
  })
  const { stdout } = await execute('npm', ['config', 'get', 'registry'], options)
  return { npm_config_registry: stdout.trim(), YARN_NPM_REGISTRY_SERVER: stdout.trim() }
}

/** Adds to the kernel's table, reads it back, and empties it for the next. For a guest. */
export const ADD = `
import { readFileSync } from 'node:fs'
import { Ipvs } from 'ipvs'
const ipvs = await Ipvs.open()
const web = await ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', port: 443, scheduler: 'wrr' })
await web.addRealServer({ address: '10.0.0.7', port: 8443, method: 'masquerade', weight: 5 })
const table = await ipvs.snapshot()
const proc = readFileSync('/proc/net/ip_vs', 'latin1')
const [addon] = /prebuilds\\/.*\\.node/.exec(readFileSync('/proc/self/maps', 'utf8')) ?? []
await ipvs.flush()
await ipvs.close()
console.log(JSON.stringify({ table, proc, addon }))
`
/** The output of ADD. */
export const ADDED = {
  table: [
    {
      service: { protocol: 'tcp', address: '192.0.2.10', port: 443, scheduler: 'wrr' },
      realServers: [{ address: '10.0.0.7', port: 8443, method: 'masquerade', weight: 5 }],
    },
  ],
  // In hexadecimal: the kernel's own words.
  proc: expect.stringMatching(
    /^TCP {2}C000020A:01BB wrr *\n {2}-> 0A000007:20FB +Masq +5 +0 +0 *$/m,
  ) as string,
  addon: 'prebuilds/linux-x64/ipvs.node',
}

/** A place where npm has installed the package, which has an addon for a processor. */
export async function installWithNpm(processor: string = process.arch): Promise<Place> {
  requireAddon(processor)
  const npm = join(await fetchManager('npm', '11.21.2'), 'bin/npm-cli.js')
  const place = new Place((await fetchNode('24.21.0')).argv[0], await reachRegistry())
  const outcome = await runFetching(place.command('node', npm, 'install', packedFile()))
  if (outcome.status !== 0) throw new Error(`npm could not install the package: ${outcome.stderr}`)
  return place
}

export interface GuestRun {
  /** Why there was no guest. */
  readonly missing?: string
  /** Of each command: its output, including standard error, and its exit status. */
  readonly ends: readonly { readonly printed: string; readonly status: number }[]
}

/** A guest that runs some ten programs. */
export const GUEST_MS = 180_000

const MARK = '-- the next command:'

/** Runs commands one after the other in one guest, as root on a kernel that has ip_vs. */
export async function runInGuest(commands: readonly Command[]): Promise<GuestRun> {
  const script = commands.map(({ argv, cwd, env }) => {
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    const command = ['env', '-i', ...variables, ...argv].map(quote).join(' ')
    return `(cd ${quote(cwd)} && exec ${command}) 2>&1; echo "${MARK} $?"`
  })
  const guest = [process.execPath, GUEST, '--', 'sh', '-c', script.join('\n')]
  const env = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
  const { status, stdout, stderr } = await run({ argv: guest, cwd: '/', env, limitMs: GUEST_MS })
  if (status === 125) return { missing: stderr.trim(), ends: [] }
  expect(status, stderr).toBe(0)
  const parts = stdout.split(new RegExp(`^${MARK} (\\d+)\\n`, 'm'))
  return {
    ends: commands.map((_, index) => ({
      printed: parts[2 * index] ?? '',
      status: Number(parts[2 * index + 1]),
    })),
  }
}

/** The output of a command in a guest. Skips the test if there was no guest. */
export function printedBy({ missing, ends }: GuestRun, index: number, { skip }: TestContext): string {
  if (missing !== undefined) {
    if (!guestRequired) skip(missing)
    expect.fail(missing)
  }
  const { printed, status } = ends[index] ?? { printed: 'nothing', status: NaN }
  expect(status, printed).toBe(0)
  return printed
}
