// What the guest promises to whoever runs tests in it. Runs on the machine, not in the guest.
import { type ChildProcess, type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism, tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { GUEST, guestRequired, inGuest, whyNoGuest } from '../helpers/guest.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'

interface Run {
  readonly status: number | null
  readonly stdout: Buffer
  readonly stderr: Buffer
}

const FETCH = fileURLToPath(new URL('../../guest/fetch.sh', import.meta.url))

/** Every guest of this file makes its temporary folder in one of its own in here, so that one left behind is seen. */
const temporary = mkdtempSync(path.join(tmpdir(), 'guest-test-'))

/** Guests that have not ended: of tests that failed. */
const running = new Set<ChildProcess>()

afterAll(async () => {
  await Promise.all(
    [...running].map(async (child) => {
      child.kill()
      await once(child, 'close')
    }),
  )
  rmSync(temporary, { recursive: true })
})

function ownFolder(): string {
  return mkdtempSync(path.join(temporary, 'run-'))
}

/** Starts a command, which is the guest's or comes to that, with a temporary folder of its own. */
function start(
  [program = '', ...args]: readonly string[],
  folder: string,
  environment: Record<string, string> = {},
): ChildProcessByStdio<null, Readable, Readable> {
  const child = spawn(program, args, {
    env: { ...process.env, TMPDIR: folder, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  child.on('close', () => running.delete(child))
  return child
}

/** Runs the guest's command, which must leave nothing behind. */
async function run(args: readonly string[], environment: Record<string, string> = {}): Promise<Run> {
  const folder = ownFolder()
  const child = start([process.execPath, GUEST, ...args], folder, environment)
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes))
  child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes))
  const [status] = (await once(child, 'close')) as [number | null]
  await expectNothingLeft(folder)
  return { status, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) }
}

/** The processes of the guest started with this folder: every one has a path in there among its arguments. */
function guestProcesses(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map(Number)
    .filter((pid) => read(`/proc/${String(pid)}/cmdline`).includes(folder))
}

/** Empty if the process ended just now. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

async function expectNothingLeft(folder: string): Promise<void> {
  await until(
    `no process and no file of the guest is left in ${folder}`,
    () => guestProcesses(folder).length === 0 && readdirSync(folder).length === 0,
  )
}

/** A value of `policy` in /proc/PID/stat. */
const SCHED_RR = 2

const mayBeRealtime = spawnSync('chrt', ['-f', '1', 'true']).status === 0
if (!mayBeRealtime)
  console.error('\n*** SKIPPED: a guest under chrt -f. It takes the right to real-time priorities.\n')

/** Two guests at a time: there are machines with two processors, and each guest takes one. */
let mayStart = 2
const waiting: (() => void)[] = []

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (mayStart === 0) await new Promise<void>((go) => waiting.push(go))
  else mayStart--
  try {
    return await work()
  } finally {
    const next = waiting.shift()
    if (next) next()
    else mayStart++
  }
}

/** A command of the guest's that only shows what it finds; one guest shows all. */
const SHOW = `
  const { spawn, spawnSync } = require('node:child_process')
  const { mkdirSync, writeFileSync } = require('node:fs')
  const output = (command, ...args) => {
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
    return { status, stdout, stderr }
  }
  const { SHARE, FILE } = process.env
  const shown = {
    args: process.argv.slice(1),
    folder: process.cwd(),
    env: process.env,
    root: output('sh', '-c', \`id -u; echo 1 >\${FILE}; cat \${FILE}; rm /etc/hostname; touch /usr/x && echo ok\`),
    ipvs: output(
      'sh',
      '-euc',
      \`ip netns add one; ip netns add two
      ip link add va netns one type veth peer name vb netns two
      ip -n one addr add 10.9.0.1/24 dev va; ip -n one link set va up
      ip -n two addr add 10.9.0.2/24 dev vb; ip -n two link set vb up; ip -n two link set lo up
      ip netns exec one ping -c 1 -W 5 10.9.0.2 >/dev/null
      ip netns exec two ipvsadm -A -t 10.9.0.2:80 -s mh
      ip netns exec two ipvsadm -Sn
      ipvsadm -Sn; ipvsadm -A -u 127.0.0.1:53 -p 60 --pe sip; ipvsadm -Sn\`,
    ),
    other: output(
      ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'sh', '-c', 'id -u; ipvsadm -C || echo no'],
    ),
  }
  mkdirSync(SHARE + '/a')
  writeFileSync(SHARE + '/a/b', Buffer.alloc(300000))
  writeFileSync(SHARE + '/shown', JSON.stringify(shown))
  const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => i ^ (i >> 8)))
  process.stdout.write(bytes)
  process.stderr.write(Buffer.from(bytes.subarray(0, 70000)).reverse())
  // It keeps the command's output open.
  spawn('sleep', ['1000'], { stdio: 'inherit' }).unref()
  process.exitCode = 200`

interface Shown {
  readonly args: readonly string[]
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  readonly root: { readonly stdout: string }
  readonly ipvs: { readonly status: number; readonly stdout: string; readonly stderr: string }
  readonly other: { readonly stdout: string }
}

/** Neither is of the guest's options, nor what a shell would make of it. */
const ARGS = ['a b', '', "it's", '"', '$HOME `id` \\ *', 'two\nlines', '--limit', '-', 'ü']

const mayMount = !inGuest && spawnSync('unshare', ['--mount', 'true']).status === 0
if (!mayMount)
  console.error('\n*** SKIPPED: a machine with its own iptables. That takes root, and the right to mount.\n')

/** Puts programs into /usr/sbin of a mount namespace of its own, as if they were installed, and runs a guest there. */
const WITH_OTHERS = `
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay /usr/sbin -o "lowerdir=/usr/sbin,upperdir=$1/upper,workdir=$1/work"
for name in iptables ip6tables nft; do
  rm -f "/usr/sbin/$name"
  printf '#!/bin/sh\\necho this is the one of the machine\\n' >"/usr/sbin/$name"
  chmod 755 "/usr/sbin/$name"
done
exec "$2" "$3" sh -c '
  PATH=/usr/sbin
  /usr/sbin/iptables -t mangle -A PREROUTING -d 192.0.2.1 -j MARK --set-mark 7 && iptables -t mangle -S PREROUTING
  /sbin/ip6tables -t mangle -A PREROUTING -d 2001:db8::1 -j MARK --set-mark 7 && ip6tables -t mangle -S PREROUTING
  nft list ruleset
'
`

const kernels = (process.env.IPVS_TEST_KERNELS ?? '6.1').split(',')
describe.each(kernels)('guest %s', (kernel) => {
  const reason = whyNoGuest(kernel)
  if (reason !== undefined) {
    if (guestRequired && !inGuest) {
      it('runs on this machine', () => expect.fail(reason))
      return
    }
    console.error(`\n*** SKIPPED: the tests of guest ${kernel}. What is missing:\n${reason}\n`)
  }

  const guest = async (args: readonly string[], environment: Record<string, string> = {}): Promise<Run> =>
    await inTurn(() => run(['--kernel', kernel, ...args], environment))

  it.skipIf(reason !== undefined || kernel !== '6.1' || !mayMount)(
    'has the older iptables on a machine with that for nf_tables, and an nft that says why it does nothing',
    async () => {
      const folder = ownFolder()
      const args = ['--mount', 'sh', '-c', WITH_OTHERS, 'sh', ownFolder(), process.execPath, GUEST]
      const child = start(['unshare', ...args], folder)
      let [said, complained] = ['', '']
      child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()))
      child.stderr.on('data', (bytes: Buffer) => (complained += bytes.toString()))
      const [status] = (await once(child, 'close')) as [number | null]
      expect(said).toBe(`-P PREROUTING ACCEPT
-A PREROUTING -d 192.0.2.1/32 -j MARK --set-xmark 0x7/0xffffffff
-P PREROUTING ACCEPT
-A PREROUTING -d 2001:db8::1/128 -j MARK --set-xmark 0x7/0xffffffff
`)
      expect(complained).toMatch(
        /^nft: this guest's kernel, User Mode Linux 6\.1, is built without nf_tables/,
      )
      expect(status).toBe(127)
    },
  )

  let showing: ReturnType<typeof show> | undefined

  async function show() {
    const share = mkdtempSync(path.join(tmpdir(), 'guest share,'))
    const file = path.join(temporary, 'written')
    try {
      const variables = ['--env', `SHARE=${share}`, '--env', `FILE=${file}`, '--env', 'GIVEN=a =b']
      const ran = await guest(['--share', share, ...variables, '--', 'node', '-e', SHOW, '--', ...ARGS], {
        OWN: "it's",
        'npm_config_some-name': '1',
        NOTIFY_SOCKET: '/run/x',
        USER: 'x',
      })
      const shown = JSON.parse(readFileSync(path.join(share, 'shown'), 'utf8')) as Shown
      return { ...ran, ...shown, file, shared: readFileSync(path.join(share, 'a/b')) }
    } finally {
      rmSync(share, { recursive: true })
    }
  }

  /** What the one guest showed. */
  const shown = async (): ReturnType<typeof show> => await (showing ??= show())

  /** Starts a guest that stays until a signal ends it. `look` is called while it is up. */
  async function endedBy(
    signal: 'SIGHUP' | 'SIGTERM' | 'SIGKILL',
    look: (pid: number, folder: string) => void = () => undefined,
    settings: { readonly prefix?: readonly string[]; readonly PATH?: string } = {},
  ): Promise<void> {
    await inTurn(async () => {
      const folder = ownFolder()
      const { prefix = [], ...environment } = settings
      const command = [...prefix, process.execPath, GUEST, '--kernel', kernel]
      const child = start([...command, 'sh', '-c', 'echo up; sleep 1000'], folder, environment)
      const [bytes] = (await once(child.stdout, 'data')) as [Buffer]
      try {
        expect(bytes.toString()).toBe('up\n')
        expect(guestProcesses(folder)).not.toEqual([])
        look(child.pid ?? 0, folder)
      } finally {
        child.kill(signal)
        await once(child, 'exit')
      }
      await expectNothingLeft(folder)
    })
  }

  // They wait for one another's guests.
  const limit = { timeout: patient(180_000) }
  describe.skipIf(reason !== undefined)('', limit, () => {
    describe.concurrent('', () => {
      it('ends what is silent for too long, and not what goes on', async () => {
        const seconds = patient(2000) / 1000
        // Goes on for longer than the silence may last.
        const program = `for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep ${String(seconds / 6)}; done; sleep 1000`
        const { status, stdout, stderr } = await guest(['sh', '-c', program], {
          IPVS_GUEST_SILENCE: String(seconds),
        })
        expect(stdout.toString()).toBe('1\n2\n3\n4\n5\n6\n7\n8\n9\n')
        expect(stderr.toString()).toBe(
          `guest: killed everything because the command wrote nothing for ${String(seconds)} s\n`,
        )
        expect(status).toBe(124)
      })

      it("waits for a slow reader, whose silence is not the command's", async () => {
        await inTurn(async () => {
          const folder = ownFolder()
          const seconds = patient(1000) / 1000
          const program = 'echo begun >&2; head -c 1000000 /dev/zero; kill -KILL $$'
          const args = ['--kernel', kernel, '--silence', String(seconds), 'sh', '-c', program]
          const child = start([process.execPath, GUEST, ...args], folder)
          const stderr: Buffer[] = []
          child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes))
          await once(child.stderr, 'data')
          await pause(seconds * 1000 + patient(2000))
          let received = 0
          child.stdout.on('data', (bytes: Buffer) => (received += bytes.length))
          const [status] = (await once(child, 'close')) as [number | null]
          expect({ status, received, said: Buffer.concat(stderr).toString() }).toEqual({
            status: 137,
            received: 1000000,
            said: 'begun\n',
          })
          await expectNothingLeft(folder)
        })
      })

      it("returns the command's exit status", async () => {
        expect((await shown()).status).toBe(200)
      })

      it.each([
        ['126, as a shell, if it cannot be run', 126, '/etc/passwd'],
        ['127, as a shell, if there is none', 127, 'no-such-command'],
      ])('returns %s', async (_, status, command) => {
        expect((await guest([command])).status).toBe(status)
      })

      it('passes on standard output and error, apart and byte for byte', async () => {
        const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => i ^ (i >> 8)))
        const { stdout, stderr } = await shown()
        expect(stdout.equals(bytes)).toBe(true)
        expect(stderr.equals(Buffer.from(bytes.subarray(0, 70000)).reverse())).toBe(true)
      })

      it('passes arguments as they are', async () => {
        expect((await shown()).args).toEqual(ARGS)
      })

      it("passes the folder and the caller's variables, but those that name what is not there", async () => {
        const { folder, env } = await shown()
        expect(folder).toBe(process.cwd())
        expect(env).toMatchObject({
          GIVEN: 'a =b',
          OWN: "it's",
          'npm_config_some-name': '1',
          IPVS_GUEST: kernel,
          USER: 'root',
        })
        expect(env).not.toHaveProperty('NOTIFY_SOCKET')
      })

      it('is root on a writable system, whose changes are gone afterwards', async () => {
        const { root, file } = await shown()
        expect(root.stdout).toBe('0\n1\nok\n')
        expect(existsSync(file)).toBe(false)
        expect(existsSync('/etc/hostname')).toBe(true)
      })

      it('writes to a shared folder', async () => {
        expect((await shown()).shared).toHaveLength(300000)
      })

      it('has ip_vs, its modules on demand, and network namespaces', async () => {
        expect((await shown()).ipvs).toEqual({
          stderr: '',
          stdout: '-A -t 10.9.0.2:80 -s mh\n-A -u 127.0.0.1:53 -s wlc -p 60 --pe sip\n',
          status: 0,
        })
      })

      it('lets others than root run, without rights', async () => {
        expect((await shown()).other.stdout).toBe('65534\nno\n')
      })

      it.each([
        ['--no-module', '0\nloads\nok\n'],
        ['--absent-module', '0\nok\n'],
      ])('can do without ip_vs: %s', async (option, expected) => {
        const loaded =
          'grep -c "^ip_vs " /proc/modules; modprobe ip_vs 2>/dev/null && echo loads; modprobe nf_conntrack && echo ok'
        expect((await guest([option, 'sh', '-c', loaded])).stdout.toString()).toBe(expected)
      })

      it('kills everything at its time limit', async () => {
        const seconds = String(patient(3000) / 1000)
        const { status, stderr } = await guest(['--limit', seconds, 'sh', '-c', 'sleep 1000 & sleep 1000'])
        expect(status).toBe(124)
        expect(stderr.toString()).toContain(`time limit of ${seconds} s`)
      })

      it('shows output as it comes, and leaves nothing behind after SIGKILL', async () => {
        await endedBy('SIGKILL')
      })

      it('leaves nothing behind after SIGTERM; of processors it takes one that is free', async () => {
        const bin = ownFolder()
        const asked = path.join(bin, 'asked')
        // The first processor is taken, by whatever other guest; the second is free.
        const flock = `#!/bin/sh\nreadlink /proc/$$/fd/8 >>${asked}\n[ "$(wc -l <${asked})" = 2 ]\n`
        writeFileSync(path.join(bin, 'flock'), flock, { mode: 0o755 })
        const look = (_: number, folder: string): void => {
          const processors = [...read(asked).matchAll(/^\/sys\/devices\/system\/cpu\/cpu(\d+)$/gm)].map(
            ([, processor]) => processor,
          )
          const used = guestProcesses(folder)
            .filter((pid) => read(`/proc/${String(pid)}/comm`) === 'linux\n')
            .map((pid) => /^Cpus_allowed_list:\s*(.*)$/m.exec(read(`/proc/${String(pid)}/status`))?.[1])
          expect(new Set(processors).size).toBe(kernel === '6.1' ? Math.min(availableParallelism(), 2) : 0)
          expect(new Set(used)).toEqual(new Set(processors.slice(-1)))
        }
        await endedBy('SIGTERM', look, { PATH: `${bin}:${process.env.PATH ?? ''}` })
        rmSync(bin, { recursive: true })
      })

      it.skipIf(!mayBeRealtime)('does not stay under chrt -f, where Node can stand still', async () => {
        const look = (pid: number): void => {
          const policies = readdirSync(`/proc/${String(pid)}/task`).map((thread) => {
            const stat = read(`/proc/${String(pid)}/task/${thread}/stat`)
            return stat.slice(stat.lastIndexOf(')')).split(' ')[41 - 2]
          })
          expect(new Set(policies)).toEqual(new Set([String(SCHED_RR)]))
        }
        await endedBy('SIGHUP', look, { prefix: ['chrt', '-f', '1'] })
      })

      it('shows what the kernel said when it crashed', async () => {
        const { status, stderr } = await guest([
          'sh',
          '-c',
          'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60',
        ])
        expect(status).toBe(125)
        expect(stderr.toString()).toContain('panic')
      })
    })
  })
})

describe.concurrent('guest', () => {
  it.each([
    [['--bogus', 'true'], '--bogus'],
    [['--limit', '0', 'true'], 'time limit'],
    [['--silence', 'long', 'true'], 'silence'],
    [['--mem', 'lots', 'true'], '--mem'],
    [['--env', '=x', 'true'], '--env'],
    [['--share', '/no/such/folder', 'true'], '/no/such/folder'],
    [['--kernel', '2.4', 'true'], '2.4'],
    [['--limit'], '--limit'],
    [[], 'COMMAND'],
  ])('refuses %j with status 125', async (args, named) => {
    const { status, stderr } = await run(args)
    expect(status).toBe(125)
    expect(stderr.toString()).toContain(named)
  })

  it('says how it is used', async () => {
    const { status, stdout } = await run(['--help'])
    expect(status).toBe(0)
    expect(stdout.toString()).toMatch(/^usage: npm run guest -- \[OPTION/)
    expect(stdout.toString()).toContain('npm run guest -- npm test')
  })

  it('elsewhere than on Linux says that it needs it', async () => {
    const preload = new URL('../helpers/platform.mjs', import.meta.url).href
    const { status, stderr } = await run(['true'], {
      NODE_OPTIONS: `--import=${preload}`,
      IPVS_TEST_PLATFORM: 'darwin',
    })
    expect(status).toBe(125)
    expect(stderr.toString()).toContain('it takes Linux on x86-64, and this is darwin on')
    expect(stderr.toString()).toContain('ipvs/testing')
  })

  it('on a Linux that is not Debian names the programs it misses', async () => {
    const bin = ownFolder()
    const cache = path.join(bin, 'cache')
    for (const program of ['bash', 'dd', 'env', 'setpriv', 'taskset', 'flock', 'tar', 'awk']) {
      writeFileSync(path.join(bin, program), '', { mode: 0o755 })
    }
    const { status, stderr } = await run(['true'], { PATH: bin, IPVS_GUEST_CACHE: cache })
    expect(status).toBe(125)
    expect(stderr.toString()).toMatch(
      /missing on this machine: apt-get, apt-cache, dpkg-deb\. .*takes Debian/,
    )
    expect(existsSync(cache)).toBe(false)
  })

  /** Fetches a part with programs that are only played; the download succeeds from that time on. */
  function fetchPart(
    succeedsAt: number,
    before: (cache: string) => void = () => undefined,
  ): {
    status: number | null
    log: string
    pauses: string
    cache: string
  } {
    const folder = ownFolder()
    const [bin, cache] = [path.join(folder, 'bin'), path.join(folder, 'cache')]
    mkdirSync(bin)
    mkdirSync(cache)
    before(cache)
    const program = (name: string, text: string): void => {
      writeFileSync(path.join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
    }
    program(
      'apt-get',
      `case " $* " in
        *' --simulate '*) echo 'Inst ldirectord (1 Debian [all])' ;;
        *' download '*)
          echo >>${folder}/downloads
          [ "$(wc -l <${folder}/downloads)" -ge ${String(succeedsAt)} ] && touch ldirectord_1_all.deb ;;
      esac`,
    )
    program(
      'dpkg-deb',
      `mkdir -p ${folder}/deb/usr/sbin && touch ${folder}/deb/usr/sbin/ldirectord && tar -c -C ${folder}/deb .`,
    )
    program('sleep', `echo "$1" >>${folder}/pauses`)
    const { status } = spawnSync('bash', [FETCH, cache, 'ldirectord'], {
      env: { ...process.env, PATH: `${bin}:${process.env.PATH ?? ''}` },
    })
    return {
      status,
      log: read(path.join(cache, 'fetch-ldirectord.log')),
      pauses: read(path.join(folder, 'pauses')),
      cache,
    }
  }

  // Each try downloads twice: with the machine's package lists, and with fresh ones.
  it('fetches what it is made of again when that failed', () => {
    const { status, log, cache } = fetchPart(5)
    expect(log.match(/^== try .*/gm)).toEqual(['== try 1 of 3', '== try 2 of 3', '== try 3 of 3'])
    expect(existsSync(path.join(cache, 'ldirectord/usr/sbin/ldirectord'))).toBe(true)
    expect(status).toBe(0)
  })

  it('gives a fetch up after three times, with pauses in between', () => {
    const { status, log, pauses, cache } = fetchPart(7)
    expect(log.match(/^== try .*/gm)).toHaveLength(3)
    expect(pauses).toMatch(/^[1-9]\d*\n[1-9]\d*\n$/)
    expect(readdirSync(cache)).toEqual(['fetch-ldirectord.log'])
    expect(status).toBe(125)
  })

  it('takes nothing that a fetch has left that was killed', () => {
    const { status, cache } = fetchPart(1, (cache) => {
      mkdirSync(path.join(cache, 'new/part/usr/sbin'), { recursive: true })
      writeFileSync(path.join(cache, 'new/part/usr/sbin/half'), '')
    })
    expect(status).toBe(0)
    expect(readdirSync(path.join(cache, 'ldirectord/usr/sbin'))).toEqual(['ldirectord'])
    expect(readdirSync(cache)).toEqual(['fetch-ldirectord.log', 'ldirectord'])
  })
})

const EVE = 4321
const isRoot = process.geteuid?.() === 0
if (!isRoot) console.error("\n*** SKIPPED: root and another user's folders. That takes root.\n")

describe.runIf(isRoot)('guest by root', () => {
  let folder = ''
  const at = (name: string): string => path.join(folder, name)
  const make = (name: string, uid = 0, mode = 0o755): string => {
    mkdirSync(at(name), { recursive: true })
    chmodSync(at(name), mode)
    chownSync(at(name), uid, uid)
    return at(name)
  }

  beforeEach(() => {
    folder = ownFolder()
    // As it is installed: its cache is in the home then.
    cpSync(path.dirname(GUEST), at('node_modules/ipvs/guest'), { recursive: true })
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
  })

  const trust = async (): Promise<typeof import('../../guest/trust.mjs')> =>
    (await import(pathToFileURL(at('node_modules/ipvs/guest/trust.mjs')).href)) as never

  /** Looks whether all is there, which it is. Nothing is fetched, nor run: there are no programs. */
  function fetch(environment: Record<string, string | undefined>): string {
    const cache = environment.IPVS_GUEST_CACHE ?? path.join(environment.HOME ?? '', '.cache/ipvs-guest')
    for (const part of ['tools', '6.1']) mkdirSync(path.join(cache, '1', part), { recursive: true })
    const args = [at('node_modules/ipvs/guest/guest.mjs'), '--fetch']
    const { status, stderr } = spawnSync(process.execPath, args, {
      env: {
        ...process.env,
        XDG_CACHE_HOME: undefined,
        IPVS_GUEST_CACHE: undefined,
        ...environment,
      },
      cwd: folder,
      encoding: 'utf8',
    })
    return status === 0 ? 'ready' : stderr
  }

  it.each<[string, () => Record<string, string>, string]>([
    ['its home', () => ({ HOME: make('root') }), 'ready'],
    ['a home of somebody else', () => ({ HOME: make('eve', EVE) }), 'eve belongs to user 4321'],
    [
      'a home below a folder of somebody else',
      () => {
        make('eve', EVE)
        return { HOME: make('eve/root') }
      },
      'eve belongs to user 4321',
    ],
    [
      'a home behind a link of somebody else',
      () => {
        make('eve', EVE)
        symlinkSync(make('eve/real'), at('link'))
        return { HOME: at('link') }
      },
      'eve belongs to user 4321',
    ],
    ['a home that anyone may write to', () => ({ HOME: make('all', 0, 0o777) }), 'anyone may write to'],
    [
      'a home of somebody else, where anyone may change the guest itself',
      () => {
        make('node_modules/ipvs/guest', 0, 0o777)
        return { HOME: make('eve', EVE) }
      },
      'ready',
    ],
    ['a folder like /tmp', () => ({ HOME: make('tmp', 0, 0o1777) }), 'ready'],
    ['a folder that was named', () => ({ IPVS_GUEST_CACHE: make('eve', EVE) }), 'ready'],
    [
      'a folder that somebody has made where anyone may',
      () => {
        make('tmp', 0, 0o1777)
        return { IPVS_GUEST_CACHE: make('tmp/guest', EVE) }
      },
      'tmp/guest belongs to user 4321',
    ],
    [
      'a part of somebody else',
      () => {
        make('root/.cache/ipvs-guest/1/tools', EVE)
        return { HOME: at('root') }
      },
      '1/tools belongs to user 4321',
    ],
  ])('runs programs only from where no other could put them: %s', (_, environment, said) => {
    const answer = fetch(environment())
    expect(answer).toContain(said)
    if (said !== 'ready') expect(answer).toContain('guest: root does not run programs from ')
  })

  it('takes no folder for its home that we only happen to be in', async () => {
    const { home } = await trust()
    for (const told of ['', 'eve', './eve']) {
      vi.stubEnv('HOME', told)
      expect(home()).toBe(userInfo().homedir)
    }
    vi.unstubAllEnvs()
  })

  it('makes no temporary folder in one of somebody else', async () => {
    const { temporaryFolder } = await trust()
    const own = make('own', 0, 0o700)
    const shared = make('shared', 0, 0o1777)
    for (const [told, used] of [
      [own, own],
      [shared, shared],
      [path.join(own, 'gone'), path.join(own, 'gone')],
      [make('eve', EVE), '/tmp'],
      [make('all', 0, 0o777), '/tmp'],
      ['relative', '/tmp'],
    ] as const) {
      vi.stubEnv('TMPDIR', told)
      expect(await temporaryFolder(), told).toBe(used)
    }
    vi.unstubAllEnvs()
  })
})
