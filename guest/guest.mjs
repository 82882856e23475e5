#!/usr/bin/env node
// Runs a command as root on a real Linux kernel with ip_vs, in a guest that a Debian machine boots without being root.
// README.md in this folder says what it promises and how it works.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { EXTRAS, GuestError, KERNELS, LINES, fetchParts, folderOf, quote } from './machines.mjs'
import { temporaryFolder } from './trust.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))

/** What users type: of the package that they installed, or in a clone of the repository. */
const NAME = here.includes('/node_modules/') ? 'npx ipvs guest' : 'npm run guest --'

const USAGE = `usage: ${NAME} [OPTION...] [--] COMMAND [ARGUMENT...]

Runs COMMAND as root on a Linux kernel of its own that has ip_vs, in the current folder and with this machine's files
at their paths. What it writes is gone afterwards. Exits with COMMAND's status; 124 at a limit, 125 if the guest could
not run. Needs x86-64 and Debian, and not root. The first run fetches the kernel, without installing it.

  --kernel 6.1|6.12   User Mode Linux 6.1 (the default), or 6.12 in qemu
  --silence SECONDS   end everything when COMMAND has written nothing for this long; default IPVS_GUEST_SILENCE or 600,
                      on a terminal 8 hours
  --limit SECONDS     end everything after this long, whatever it does; default IPVS_GUEST_LIMIT, or no such limit
  --mem SIZE          memory, such as 512M; default 2G
  --share FOLDER      a folder of this machine that COMMAND may write to; can be repeated
  --env NAME=VALUE    a variable for COMMAND, besides those of the caller; can be repeated
  --no-module         do not load ip_vs in advance; it still loads on demand
  --absent-module     as if the kernel had been built without ip_vs
  --verbose           show what the kernel says
  --fetch             only fetch what the guest is made of
  --help

Examples:
  ${NAME} npm test                            the tests of this folder, on a kernel with ip_vs
  ${NAME} --kernel 6.12 -- npm test           the same on Linux 6.12
  ${NAME} --share coverage -- npm test        what they write to ./coverage stays
  ${NAME} ipvsadm -Ln                         any command; ipvsadm, ip, iptables and others are there
  ${NAME} bash                                on a terminal: a shell
  IPVS_GUEST_LIMIT=60 ${NAME} npm test        killed after a minute

Documentation: ${path.join(here, '../docs/testing.md')}
`

/** The variables of the caller's environment that COMMAND does not get: they name what is not there, or is another's. */
const LEFT_BEHIND =
  /^(USER|LOGNAME|MAIL|NODE_CHANNEL_.*|NOTIFY_SOCKET|XDG_RUNTIME_DIR|XDG_SESSION_.*|DBUS_.*|SSH_.*|DISPLAY|WAYLAND_DISPLAY)$/

/**
 * @typedef {object} Options
 * @property {string} kernel a key of KERNELS
 * @property {number} silenceSeconds without output, once COMMAND has started
 * @property {number | undefined} limitSeconds of the whole run
 * @property {string} memory
 * @property {string[]} shares absolute paths
 * @property {string[]} extras what else is fetched
 * @property {Record<string, string>} env all that COMMAND gets
 * @property {'loaded' | 'unloaded' | 'absent'} module
 * @property {boolean} verbose
 * @property {boolean} fetchOnly
 * @property {boolean} interactive the caller's terminal becomes COMMAND's
 * @property {string[]} command
 */

/**
 * @param {readonly string[]} args
 * @returns {Options | 'help'}
 */
function parseOptions(args) {
  const interactive = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  /** @type {Options} */
  const options = {
    kernel: '6.1',
    silenceSeconds: Number(process.env['IPVS_GUEST_SILENCE'] || (interactive ? 8 * 3600 : 600)),
    limitSeconds: process.env['IPVS_GUEST_LIMIT'] ? Number(process.env['IPVS_GUEST_LIMIT']) : undefined,
    memory: '2G',
    shares: [],
    extras: [],
    env: { HOME: '/root', USER: 'root', LOGNAME: 'root' },
    module: 'loaded',
    verbose: false,
    fetchOnly: false,
    interactive,
    command: [],
  }
  for (const [name, value] of Object.entries(process.env)) {
    if (!LEFT_BEHIND.test(name) && value !== undefined) options.env[name] = value
  }
  // The caller's PATH, which has no sbin unless the caller is root.
  const folders = (options.env['PATH'] || '/usr/local/bin:/usr/bin').split(':')
  options.env['PATH'] = [...new Set([...folders, '/usr/local/sbin', '/usr/sbin', '/sbin'])].join(':')

  const rest = [...args]
  while (rest[0]?.startsWith('-')) {
    const option = rest.shift()
    const value = () => {
      const found = rest.shift()
      if (found === undefined) throw new GuestError(`${option} wants a value`)
      return found
    }
    if (option === '--') break
    else if (option === '--help') return 'help'
    else if (option === '--kernel') options.kernel = value()
    else if (option === '--silence') options.silenceSeconds = Number(value())
    else if (option === '--limit') options.limitSeconds = Number(value())
    else if (option === '--mem') options.memory = value()
    else if (option === '--share') options.shares.push(path.resolve(value()))
    else if (option === '--with') {
      const extra = value()
      if (!EXTRAS.includes(extra)) throw new GuestError(`--with is ${EXTRAS.join(' or ')}, not ${extra}`)
      options.extras.push(extra)
      options.env[`IPVS_GUEST_${extra.toUpperCase()}`] = folderOf(extra)
    } else if (option === '--env') {
      const [, name, text] = /^([^=]+)=(.*)$/s.exec(value()) ?? []
      if (name === undefined || text === undefined) throw new GuestError('--env wants NAME=VALUE')
      options.env[name] = text
    } else if (option === '--no-module') options.module = 'unloaded'
    else if (option === '--absent-module') options.module = 'absent'
    else if (option === '--verbose') options.verbose = true
    else if (option === '--fetch') options.fetchOnly = true
    else throw new GuestError(`there is no option ${option}\n${USAGE}`)
  }
  options.command = rest
  options.env['IPVS_GUEST'] = options.kernel

  if (!KERNELS[options.kernel])
    throw new GuestError(`--kernel is ${Object.keys(KERNELS).join(' or ')}, not ${options.kernel}`)
  if (!(options.silenceSeconds > 0)) {
    throw new GuestError('the limit of silence is a number of seconds above 0')
  }
  // The upper bound is that of setTimeout().
  if (
    options.limitSeconds !== undefined &&
    !(options.limitSeconds > 0 && options.limitSeconds < 2 ** 31 / 1000)
  ) {
    throw new GuestError('the time limit is a number of seconds above 0')
  }
  if (!/^[1-9][0-9]*[MG]$/.test(options.memory))
    throw new GuestError(`--mem is such as 512M, not ${options.memory}`)
  if (rest.length === 0 && !options.fetchOnly) throw new GuestError(`no COMMAND\n${USAGE}`)
  return options
}

/** What must not outlive this process; the last one goes first. @type {(() => unknown)[]} */
const cleanUps = []

async function cleanUp() {
  for (let next = cleanUps.pop(); next; next = cleanUps.pop()) await next()
}

/**
 * @param {Options} options
 * @returns {Promise<number>} the exit status
 */
async function run(options) {
  for (const share of options.shares) {
    const found = await stat(share).catch(() => undefined)
    if (!found?.isDirectory()) throw new GuestError(`--share ${share}: no such folder`)
  }
  // Its path is part of a kernel command line, where it can have no spaces, and of a socket's address, which is short.
  const folder = await temporaryFolder()
  const work = await mkdtemp(path.join(/^[\w/.-]{1,60}$/.test(folder) ? folder : '/tmp', 'ipvs-guest-'))
  cleanUps.push(() => rm(work, { recursive: true, force: true }))
  const kernel = /** @type {(typeof KERNELS)[string]} */ (KERNELS[options.kernel])
  const machine = await kernel.machine({ ...options, work })
  await writeFile(path.join(work, 'init'), await initProgram(options, work, machine.settings), {
    mode: 0o755,
  })
  await writeFile(path.join(work, 'command'), commandProgram(options))
  return await converse(start(machine, options, work), options)
}

/**
 * @param {Options} options
 * @param {string} work
 * @param {string} settings
 */
async function initProgram({ module, interactive, shares, extras }, work, settings) {
  return `#!${work}/busybox sh
work=${work} module=${module} interactive=${interactive} layers=${['host', 'tools', ...extras, 'kernel'].map((name) => `/run/lower/${name}`).join(':')}
rows=${process.stdout.rows || 24} columns=${process.stdout.columns || 80}
${settings}
unmount_shares() {
  umount ${shares.map(quote).join(' ')} 2>/dev/null
}
${await readFile(path.join(here, 'init.sh'), 'utf8')}`
}

/** @param {Options} options */
function commandProgram({ env, command }) {
  const variables = Object.entries(env).map(([name, value]) => quote(`${name}=${value}`))
  // env(1), for a shell drops variables with names it does not like, and npm has such. But env takes NAME=VALUE for a
  // variable even where the command should be.
  const prefix = command[0]?.includes('=') ? `/bin/sh -c 'exec "$@"' guest` : ''
  return `cd ${quote(process.cwd())} || exit 125
exec /usr/bin/env -i ${variables.join(' ')} ${prefix} ${command.map(quote).join(' ')}
`
}

/**
 * The keeper is the machine's parent and outlives us by a moment. The machine has many processes; they are one process
 * group, which the keeper kills when the lifeline closes, by us or because we are gone, however we went. A machine
 * whose keeper was killed dies too (setpriv), and so does one whose owner was stopped beyond its time limit (read -t).
 *
 * A machine's processor is taken for as long as the keeper has a lock on its folder in /sys, which needs no rights and
 * leaves nothing behind.
 */
const KEEPER = `
set -m
work=$1 processors=$2 seconds=$3 # either may be empty: no choice, no limit
shift 3
for processor in $processors; do
  { exec 8</sys/devices/system/cpu/cpu$processor; } 2>/dev/null && flock -n 8 && break
done
setpriv --pdeathsig KILL -- \${processor:+taskset -c $processor} "$@" 3<&- 8<&- &
machine=$!
echo "group $machine" >&4
exec 4>&- 5>&- 6>&- 7>&- >/dev/null 2>&1
read -r \${seconds:+-t "$seconds"} -u 3
kill -KILL -- "-$machine"
wait
rm -rf "$work"
`
const LIFELINE = 3

/**
 * @param {import('./machines.mjs').Machine} machine
 * @param {Options} options
 * @param {string} work
 */
function start(machine, options, work) {
  const seconds = options.limitSeconds === undefined ? '' : String(Math.ceil(options.limitSeconds) + 60)
  const keeper = spawn(
    'bash',
    ['-c', KEEPER, 'ipvs-guest', work, machine.processors.join(' '), seconds, ...machine.argv],
    // A session of its own: a terminal's Ctrl-C must not reach it.
    { stdio: ['ignore', ...Array(7).fill('pipe')], env: { ...process.env, ...machine.env }, detached: true },
  )
  const ended = once(keeper, 'close')
  cleanUps.push(async () => {
    line(keeper, LIFELINE).destroy()
    await ended
  })
  return keeper
}

/**
 * @param {import('node:child_process').ChildProcess} keeper
 * @param {number} fd
 */
function line(keeper, fd) {
  return /** @type {import('node:net').Socket} */ (keeper.stdio[fd])
}

/** So many lines tell what a guest was at when something went wrong. */
const LAST_LINES = 40

/** A boot takes seconds; on a machine that does much else, or where qemu has no KVM, perhaps minutes. */
const BOOT_SECONDS = 600

/**
 * Passes on what the guest says, until it says that COMMAND has ended.
 *
 * @param {import('node:child_process').ChildProcess} keeper
 * @param {Options} options
 * @returns {Promise<number>} the exit status
 */
async function converse(keeper, options) {
  const { promise, resolve, reject } = withResolvers()
  const received = { out: 0, err: 0, terminal: 0 }
  let started = false
  /** Since the guest was started, or COMMAND, or since it wrote last. */
  let silentSeconds = 0
  /** Lines whose reader is slow: COMMAND may be unable to write meanwhile, and is not silent of itself. */
  const waiting = new Set()
  /** What the guest's last words were. @type {{ status: number, out: number, err: number } | undefined} */
  let exit
  const settle = () => {
    if (!exit || received.out < exit.out || received.err < exit.err) return
    const { status } = exit
    flush().then(() => resolve(status))
  }

  // The kernel's messages matter only when something goes wrong.
  let boot = ''
  const wrong = (/** @type {string} */ reason) => {
    const said = boot.replaceAll('\r', '')
    const tail = said.split('\n').slice(-LAST_LINES).join('\n')
    // What a panic was about comes first, and many lines of a trace may come after it.
    const panic = said.lastIndexOf('Kernel panic')
    const end = panic >= 0 && said.length - panic > tail.length ? said.slice(panic) : tail
    const last = options.verbose ? '' : end.trim()
    reject(new GuestError(last ? `${reason}. The last it said:\n${last}` : reason))
  }
  for (const fd of [1, 2]) {
    line(keeper, fd).setEncoding('utf8')
    line(keeper, fd).on('data', (/** @type {string} */ text) => {
      boot = (boot + text).slice(-65536)
      if (options.verbose) process.stderr.write(text.replaceAll('\r', ''))
    })
  }

  for (const name of /** @type {const} */ (['out', 'err', 'terminal'])) {
    const from = line(keeper, LINES[name])
    const to = name === 'err' ? process.stderr : process.stdout
    from.on('data', (bytes) => {
      received[name] += bytes.length
      silentSeconds = 0
      if (!to.write(bytes)) {
        from.pause()
        waiting.add(from)
        to.once('drain', () => {
          waiting.delete(from)
          from.resume()
        })
      }
      settle()
    })
    from.on('error', () => {}) // a machine that goes down takes its lines along
  }
  for (const stream of [process.stdout, process.stderr]) {
    // As when a reader goes away from a program of this machine: 128 + SIGPIPE.
    stream.on('error', () => resolve(141))
  }

  let rest = ''
  line(keeper, LINES.control).setEncoding('utf8')
  line(keeper, LINES.control).on('error', () => {})
  line(keeper, LINES.control).on('data', (/** @type {string} */ text) => {
    const lines = (rest + text).split(/\r*\n/)
    rest = lines.pop() ?? ''
    for (const said of lines) {
      const [word, ...values] = said.split(' ')
      if (word === 'group') killAtEnd(keeper, Number(values[0]))
      if (word === 'started') {
        started = true
        silentSeconds = 0
        if (options.interactive) connectTerminal(keeper) // not before: Ctrl-C must be able to end a boot
      }
      if (word === 'fail') wrong(values.join(' '))
      if (word === 'exit') {
        const [status = 125, out = 0, err = 0] = values.map(Number)
        exit = { status, out, err }
        settle()
      }
    }
  })
  // The keeper holds none of these lines, so their end is the machine's.
  line(keeper, 1).on('end', () => {
    setTimeout(() => wrong('the machine went down before the command ended'), 200).unref()
  })
  keeper.on('error', (error) => reject(new GuestError(`bash: ${error.message}`)))
  keeper.on('exit', () => wrong('its keeper was killed'))

  const end = (/** @type {string} */ why) => reject(new GuestError(`killed everything ${why}`, 124))
  const { limitSeconds, silenceSeconds } = options
  const timer =
    limitSeconds === undefined
      ? undefined
      : setTimeout(() => {
          end(`at the time limit of ${limitSeconds} s${started ? '' : ', before the guest was up'}`)
        }, limitSeconds * 1000)
  // Counted second by second: time during which this process was stopped is not silence, because what COMMAND wrote
  // meanwhile is still to be read.
  const clock = setInterval(() => {
    if (waiting.size > 0) return
    silentSeconds += 1
    if (!started && silentSeconds > BOOT_SECONDS) end(`because the guest was not up after ${BOOT_SECONDS} s`)
    if (started && silentSeconds > silenceSeconds)
      end(`because the command wrote nothing for ${silenceSeconds} s`)
  }, 1000)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    clearInterval(clock)
  }
}

/** Waits until our own reader has all: process.exit() would drop what is still to be written. */
async function flush() {
  await Promise.all(
    [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))),
  )
}

/**
 * Kills the machine even if its keeper was killed.
 *
 * @param {import('node:child_process').ChildProcess} keeper
 * @param {number} group
 */
function killAtEnd(keeper, group) {
  keeper.on('exit', () => {
    try {
      process.kill(-group, 'SIGKILL')
    } catch {
      // as it should be: the keeper has done it
    }
  })
}

/**
 * Every key, Ctrl-C too, is for the guest's terminal, which sends the signals that belong to it.
 *
 * @param {import('node:child_process').ChildProcess} keeper
 */
function connectTerminal(keeper) {
  const { stdin, stdout } = process
  const terminal = line(keeper, LINES.terminal)
  stdin.setRawMode(true)
  stdin.on('data', (bytes) => terminal.write(bytes))
  stdout.on('resize', () => line(keeper, LINES.control).write(`${stdout.rows} ${stdout.columns}\n`))
  cleanUps.push(() => {
    stdin.setRawMode(false)
    stdin.destroy()
  })
}

/**
 * Promise.withResolvers() of Node 22, for an exit status.
 *
 * @returns {{ promise: Promise<number>, resolve: (status: number) => void, reject: (reason: unknown) => void }}
 */
function withResolvers() {
  /** @type {any} */
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}

/** The guest's kernels are Linux programs for x86-64, and run this machine's programs. */
function refuseElsewhere() {
  if (process.platform === 'linux' && process.arch === 'x64') return
  throw new GuestError(
    `it takes Linux on x86-64, and this is ${process.platform} on ${process.arch}. Use a machine or a container with ` +
      'Debian 12; or test with the kernel in memory (ipvs/testing), which runs anywhere',
  )
}

/** A value of `policy` in /proc/PID/stat. */
const SCHED_FIFO = 1

/**
 * `chrt -f` on one processor would stop us for good: V8's main thread asks again and again whether a helper thread has
 * finished its part of a garbage collection (cppgc, incremental sweeping), and under SCHED_FIFO that thread does not run
 * until the main thread waits. Under SCHED_RR, at the same priority, they take turns.
 */
function leaveFifo() {
  const stat = readFileSync('/proc/self/stat', 'utf8')
  // proc(5) counts from 1; the second field is in parentheses, and can have spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [priority = '', policy] = fields.slice(40 - 3)
  if (Number(policy) !== SCHED_FIFO) return
  execFileSync('chrt', ['--all-tasks', '--rr', '--pid', priority, String(process.pid)])
}

/**
 * @param {Options | 'help'} options
 * @returns {Promise<number>} the exit status
 */
async function main(options) {
  if (options === 'help') {
    process.stdout.write(USAGE)
    return 0
  }
  refuseElsewhere()
  leaveFifo()
  const parts = [...(KERNELS[options.kernel]?.parts ?? []), ...options.extras]
  await fetchParts(parts, (stop) => cleanUps.push(stop))
  return options.fetchOnly ? 0 : await run(options)
}

/** @type {Promise<number>} */
const interrupted = new Promise((resolve) => {
  process.on('SIGHUP', () => resolve(128 + 1))
  process.on('SIGINT', () => resolve(128 + 2))
  process.on('SIGTERM', () => resolve(128 + 15))
})
/** @type {number} */
let status
try {
  status = await Promise.race([main(parseOptions(process.argv.slice(2))), interrupted])
  await cleanUp()
} catch (error) {
  await cleanUp() // first, for it makes the terminal usable again
  const message = error instanceof GuestError ? error.message.trimEnd() : String(error)
  // An argument, or the last that a guest said, must not change the terminal. The library, which has printable(), may not be built.
  const text = message.replaceAll(
    /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  process.stderr.write(`guest: ${text}\n`)
  status = error instanceof GuestError ? error.status : 125
  await Promise.race([flush(), pause(1000)]) // but not for ever, if nobody reads
}
// At once, for an interrupted main() may still be at work.
process.exit(status)
