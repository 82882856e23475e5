#!/usr/bin/env node
// Runs a command as root on a real Linux kernel with ip_vs, in a guest that any Debian machine can boot without root.
// README.md in this folder says how it works and what it promises.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  access,
  constants,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  statfs,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))

const USAGE = `usage: guest [OPTION...] [--] COMMAND [ARGUMENT...]

Runs COMMAND as root on a Linux kernel of its own, with this machine's files at the same paths. What it writes is gone
afterwards. Exits with COMMAND's status, 124 at the time limit, 125 if the guest could not run.

  --kernel 6.1|6.12   User Mode Linux 6.1 (default), or 6.12 in qemu
  --limit SECONDS     kill everything after this long; default IPVS_GUEST_LIMIT, 600, on a terminal 8 hours
  --mem SIZE          the guest's memory, such as 512M or 4G; default 2G
  --share DIR         a folder of this machine that COMMAND may write to; may be given several times
  --env NAME=VALUE    one more environment variable; may be given several times
  --no-module         do not load ip_vs beforehand; it still loads on demand
  --absent-module     as if the kernel had no ip_vs at all
  --verbose           show the kernel's messages
  --fetch             only fill the cache, run nothing
`

/** The guest could not run: exit status 125 with this message. */
class GuestError extends Error {}

/** Variables of the caller's environment that COMMAND gets too. */
const PASSED_ON = /^(PATH|HOME|LANG|LC_.*|TZ|TERM|COLORTERM|CI|NO_COLOR|FORCE_COLOR|NODE_.*|npm_.*|IPVS_.*)$/

/**
 * @typedef {object} Options
 * @property {'6.1' | '6.12'} kernel
 * @property {number} limitSeconds
 * @property {string} memory
 * @property {string[]} shares absolute paths
 * @property {Record<string, string>} env what COMMAND gets, complete
 * @property {'loaded' | 'unloaded' | 'absent'} module
 * @property {boolean} verbose
 * @property {boolean} fetchOnly
 * @property {string[]} command
 * @property {boolean} interactive the caller's terminal becomes COMMAND's
 * @property {string} cache
 */

/**
 * @param {string[]} args
 * @returns {Options}
 */
function parseOptions(args) {
  const interactive = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  /** @type {Options} */
  const options = {
    kernel: '6.1',
    limitSeconds: Number(process.env['IPVS_GUEST_LIMIT'] || (interactive ? 8 * 3600 : 600)),
    memory: '2G',
    shares: [],
    env: { HOME: '/root', USER: 'root', LOGNAME: 'root' },
    module: 'loaded',
    verbose: false,
    fetchOnly: false,
    command: [],
    interactive,
    cache: path.resolve(process.env['IPVS_GUEST_CACHE'] || path.join(projectRoot(), '.cache/guest')),
  }
  for (const [name, value] of Object.entries(process.env)) {
    if (PASSED_ON.test(name) && value !== undefined) options.env[name] = value
  }
  // Whoever is not root has no sbin in its PATH; inside it is root.
  options.env['PATH'] = `${options.env['PATH'] ?? '/usr/local/bin:/usr/bin'}:/usr/local/sbin:/usr/sbin:/sbin`

  const rest = [...args]
  const value = (/** @type {string} */ option) => {
    const found = rest.shift()
    if (found === undefined) throw new GuestError(`${option} wants a value`)
    return found
  }
  while (rest[0]?.startsWith('-')) {
    const option = /** @type {string} */ (rest.shift())
    if (option === '--') break
    switch (option) {
      case '--kernel': {
        const kernel = value(option)
        if (kernel !== '6.1' && kernel !== '6.12')
          throw new GuestError(`--kernel is 6.1 or 6.12, not ${kernel}`)
        options.kernel = kernel
        break
      }
      case '--limit':
        options.limitSeconds = Number(value(option))
        break
      case '--mem':
        options.memory = value(option)
        break
      case '--share':
        options.shares.push(path.resolve(value(option)))
        break
      case '--env': {
        const pair = value(option)
        const equals = pair.indexOf('=')
        if (equals < 1) throw new GuestError(`--env wants NAME=VALUE, not ${pair}`)
        options.env[pair.slice(0, equals)] = pair.slice(equals + 1)
        break
      }
      case '--no-module':
        options.module = 'unloaded'
        break
      case '--absent-module':
        options.module = 'absent'
        break
      case '--verbose':
        options.verbose = true
        break
      case '--fetch':
        options.fetchOnly = true
        break
      case '--help':
        process.stdout.write(USAGE)
        process.exit(0)
        break
      default:
        throw new GuestError(`unknown option ${option}\n\n${USAGE}`)
    }
  }
  options.command = rest
  if (!(options.limitSeconds > 0 && options.limitSeconds <= 2 ** 31 / 1000)) {
    throw new GuestError('the time limit is a number of seconds above 0')
  }
  if (!/^[1-9][0-9]*[MG]$/.test(options.memory))
    throw new GuestError(`--mem is such as 512M or 2G, not ${options.memory}`)
  if (rest.length === 0 && !options.fetchOnly) throw new GuestError(`no COMMAND\n\n${USAGE}`)
  options.env['IPVS_GUEST'] = options.kernel
  return options
}

/** The folder with the package.json above this program. */
function projectRoot() {
  return path.resolve(here, '../..')
}

/**
 * Memory for User Mode Linux is a file, mapped executable. In a container /dev/shm is often too small for it or noexec.
 *
 * @param {number} bytes
 */
async function folderForMemory(bytes) {
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  const shm = mounts.split('\n').find((line) => line.split(' ')[1] === '/dev/shm')
  if (shm && !/[ ,]noexec[ ,]/.test(shm)) {
    const { bavail, bsize } = await statfs('/dev/shm')
    if (bavail * bsize > bytes * 1.1) return '/dev/shm'
  }
  return tmpdir()
}

/** @param {string} text */
const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`

/** @param {string} size such as 512M */
const inBytes = (size) => Number.parseInt(size) * 2 ** (size.endsWith('G') ? 30 : 20)

/**
 * Fills the cache, once. flock(1) makes a second caller wait for the first, and lets go when the first dies.
 *
 * @param {Options} options
 * @param {string[]} parts
 */
async function fetchParts(options, parts) {
  const missing = []
  for (const part of parts) {
    if (!(await exists(path.join(options.cache, part)))) missing.push(part)
  }
  if (missing.length === 0) return
  await mkdir(options.cache, { recursive: true })
  const child = spawn(
    'flock',
    [path.join(options.cache, 'lock'), path.join(here, 'fetch.sh'), options.cache, ...missing],
    {
      stdio: ['ignore', 2, 2],
      detached: true,
    },
  )
  const pid = child.pid
  cleanUps.push(() => pid && killGroup(pid, 'SIGTERM'))
  const [code] = await once(child, 'exit')
  cleanUps.pop()
  if (code !== 0) throw new GuestError('its parts could not be fetched (see above)')
}

/** @param {string} file */
const exists = (file) =>
  access(file).then(
    () => true,
    () => false,
  )

/**
 * @param {number} group
 * @param {NodeJS.Signals} signal
 */
function killGroup(group, signal) {
  try {
    process.kill(-group, signal)
  } catch {
    // gone already
  }
}

/**
 * How one kind of guest is started. Its lines to the host are sockets, with these file descriptors in its process:
 *
 * @typedef {object} Machine
 * @property {string[]} argv
 * @property {string} settings shell text in front of init.sh
 * @property {Record<string, string>} env
 */
const FD = { lifeline: 3, control: 4, out: 5, err: 6, terminal: 7 }

/**
 * @param {Options} options
 * @param {string} work
 * @returns {Promise<Machine>}
 */
async function userModeLinux(options, work) {
  await fetchParts(options, ['tools', '6.1'])
  const part = path.join(options.cache, '6.1')
  const [release] = await readdir(path.join(part, 'usr/lib/modules'))
  if (!release) throw new GuestError(`${part} has no modules; remove it, so that it is fetched again`)
  const overlay = path.join(part, 'usr/lib/modules', release, 'kernel/fs/overlayfs/overlay.ko')
  await symlink(path.join(options.cache, 'tools/usr/bin/busybox'), path.join(work, 'busybox'))
  return {
    argv: [
      path.join(part, 'linux'),
      `mem=${options.memory}`,
      'root=/dev/root',
      'rootfstype=hostfs',
      'rootflags=/',
      'ro',
      `init=${work}/init`,
      `uml_dir=${work}/`,
      'con=null',
      'ssl=null',
      'con0=null,fd:1',
      `ssl0=fd:${FD.control}`,
      `ssl1=fd:${FD.out}`,
      `ssl2=fd:${FD.err}`,
      `con1=fd:${FD.terminal}`,
    ],
    env: { TMPDIR: await folderForMemory(inBytes(options.memory)) },
    settings: `
control=/dev/ttyS0 out=/dev/ttyS1 err=/dev/ttyS2 terminal=/dev/tty1
mount_lower() {
  # By its path: without /proc the shell does not find itself, and so none of its commands.
  ${work}/busybox mount -t proc proc /proc
  mount -t tmpfs tmpfs /run -o size=75%
  mkdir -p /run/lower/tools /run/lower/kernel
  ln -s / /run/lower/host
  insmod ${quote(overlay)} || return 1
  mount -t hostfs none /run/lower/tools -o ro,${quote(path.join(options.cache, 'tools'))}
  mount -t hostfs none /run/lower/kernel -o ro,${quote(part)}
}
mount_shares() {
  :${options.shares.map((share) => `\n  mount -t hostfs none ${quote(share)} -o ${quote(share)} || return 1`).join('')}
}
`,
  }
}

/** @type {(() => unknown)[]} what must not outlive this process, last one first */
const cleanUps = []

/**
 * @param {Options} options
 * @returns {Promise<number>} the exit status
 */
async function run(options) {
  const work = await mkdtemp(path.join(tmpdir(), 'ipvs-guest-'))
  cleanUps.push(() => rm(work, { recursive: true, force: true }))
  const machine = await userModeLinux(options, work)
  await writeFile(
    path.join(work, 'init'),
    [
      `#!${work}/busybox sh`,
      `work=${quote(work)} module=${options.module} interactive=${options.interactive}`,
      `rows=${process.stdout.rows || 24} columns=${process.stdout.columns || 80}`,
      machine.settings,
      `unmount_shares() {\n  :${options.shares.map((share) => `\n  umount ${quote(share)}`).join('')}\n}`,
      await readFile(path.join(here, 'init.sh'), 'utf8'),
    ].join('\n'),
    { mode: 0o755 },
  )
  const variables = Object.entries(options.env).map(([name, value]) => quote(`${name}=${value}`))
  await writeFile(
    path.join(work, 'command'),
    `cd ${quote(process.cwd())} || exit 125
exec /usr/bin/env -i ${variables.join(' ')} /bin/sh -c 'exec "$@"' guest ${options.command.map(quote).join(' ')}
`,
  )

  // The keeper starts the guest in a process group of its own, and ends it when the lifeline closes: when we say so, or
  // when we are gone, however we went. A guest whose keeper is gone dies too (setpriv).
  const keeper = `
set -m
"$@" 3<&- &
guest=$!
echo "group $guest" >&4
exec 4>&- 5>&- 6>&- 7>&- >/dev/null 2>&1
read -r -t ${Math.ceil(options.limitSeconds) + 60} -u 3
kill -KILL -- -$guest
wait
rm -rf ${quote(work)}
`
  const child = spawn('bash', ['-c', keeper, 'keeper', 'setpriv', '--pdeathsig', 'KILL', ...machine.argv], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...machine.env },
    detached: true,
  })
  const stream = (/** @type {number} */ fd) => /** @type {import('node:net').Socket} */ (child.stdio[fd])
  const gone = once(child, 'exit')
  let group = 0
  cleanUps.push(async () => {
    stream(FD.lifeline).destroy()
    await gone
    if (group) killGroup(group, 'SIGKILL') // in case the keeper was killed
  })

  let boot = ''
  for (const fd of [1, 2]) {
    stream(fd)
      .setEncoding('utf8')
      .on('data', (/** @type {string} */ text) => {
        boot = (boot + text).slice(-65536)
        if (options.verbose) process.stderr.write(text)
      })
  }
  const received = { out: 0, err: 0 }
  for (const [fd, name, target] of /** @type {const} */ ([
    [FD.out, 'out', process.stdout],
    [FD.err, 'err', process.stderr],
    [FD.terminal, 'out', process.stdout],
  ])) {
    const source = stream(fd)
    source.on('data', (/** @type {Buffer} */ bytes) => {
      received[name] += bytes.length
      if (!target.write(bytes)) {
        source.pause()
        target.once('drain', () => source.resume())
      }
      check()
    })
    source.on('error', () => {})
  }

  /** @type {(status: number) => void} */
  let resolve = () => {}
  /** @type {(error: Error) => void} */
  let reject = () => {}
  const finished = new Promise(
    (/** @type {(status: number) => void} */ yes, no) => ([resolve, reject] = [yes, no]),
  )

  /** @type {{ status: number, out: number, err: number } | undefined} */
  let exit
  const check = () => {
    if (exit && (options.interactive || (received.out >= exit.out && received.err >= exit.err)))
      resolve(exit.status)
  }
  let line = ''
  stream(FD.control)
    .setEncoding('utf8')
    .on('data', (/** @type {string} */ text) => {
      const lines = (line + text).split(/\r*\n/)
      line = lines.pop() ?? ''
      for (const [word, ...values] of lines.map((each) => each.split(' '))) {
        if (word === 'group') group = Number(values[0])
        if (word === 'fail') reject(new GuestError(`${values.join(' ')}\n${boot}`))
        if (word === 'exit') {
          const [status = 125, out = 0, err = 0] = values.map(Number)
          exit = { status, out, err }
          check()
        }
      }
    })
  stream(1).on('end', () => {
    setTimeout(() => reject(new GuestError(`it went down\n${boot}`)), 500)
  })

  if (options.interactive) {
    process.stdin.setRawMode(true)
    process.stdin.on('data', (bytes) => stream(FD.terminal).write(bytes))
    cleanUps.push(() => {
      process.stdin.setRawMode(false)
      process.stdin.destroy()
    })
  }
  const timer = setTimeout(() => {
    process.stderr.write(`guest: killed at the time limit of ${options.limitSeconds} s\n`)
    resolve(124)
  }, options.limitSeconds * 1000)
  const status = await finished
  clearTimeout(timer)
  return status
}

async function cleanUp() {
  for (let next = cleanUps.pop(); next; next = cleanUps.pop()) await next()
}

for (const [signal, number] of /** @type {const} */ ([
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
])) {
  process.on(signal, () => {
    cleanUp().finally(() => process.exit(128 + number))
  })
}

try {
  const options = parseOptions(process.argv.slice(2))
  if (options.fetchOnly) await fetchParts(options, ['tools', '6.1'])
  else process.exitCode = await run(options)
} catch (error) {
  process.stderr.write(`guest: ${error instanceof GuestError ? error.message.trimEnd() : error}\n`)
  process.exitCode = 125
} finally {
  await cleanUp()
}
