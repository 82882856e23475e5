// What the guest promises to whoever runs tests in it. Runs on the machine, not in the guest.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { GUEST, guestRequired, inGuest, whyNoGuest } from '../helpers/guest.ts'

interface Run {
  readonly status: number | null
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/** Every guest of this file makes its temporary folders in here, so that one left behind is seen. */
const temporary = mkdtempSync(path.join(tmpdir(), 'guest-test-'))
afterAll(() => {
  rmSync(temporary, { recursive: true })
})

function options(environment: Record<string, string> = {}): { env: NodeJS.ProcessEnv; maxBuffer: number } {
  return { env: { ...process.env, TMPDIR: temporary, ...environment }, maxBuffer: 1 << 26 }
}

function run(args: readonly string[], environment: Record<string, string> = {}): Run {
  return spawnSync(process.execPath, [GUEST, ...args], options(environment))
}

/** The processes of guests started here: every one has a path in `temporary` among its arguments. */
function guestProcesses(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return '' // it ended just now
      }
    })
    .filter((args) => args.includes(temporary))
}

async function expectNothingLeft(): Promise<void> {
  await expect.poll(guestProcesses, { timeout: 10_000 }).toEqual([])
  await expect.poll(() => readdirSync(temporary), { timeout: 10_000 }).toEqual([])
}

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

  const guest = (...args: string[]): Run => run(['--kernel', kernel, ...args])

  describe.skipIf(reason !== undefined)('', { timeout: 120_000 }, () => {
    it('returns the exit status: of the command, 128 + the signal that ended it, 126 and 127 as a shell', () => {
      expect(guest('sh', '-c', 'exit 200').status).toBe(200)
      expect(guest('sh', '-c', 'kill -KILL $$')).toMatchObject({ status: 137, stderr: Buffer.alloc(0) })
      expect(guest('no-such-command').status).toBe(127)
      expect(guest('/etc/passwd').status).toBe(126)
    })

    it('passes on standard output and error, apart and byte for byte', () => {
      const program = `
        const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => i ^ (i >> 8)))
        process.stdout.write(bytes)
        process.stderr.write(Buffer.from(bytes.subarray(0, 70000)).reverse())`
      const here = spawnSync(process.execPath, ['-e', program], options())
      const there = guest('node', '-e', program)
      expect(here.stdout).toHaveLength(1 << 20)
      expect(there.status).toBe(0)
      expect(there.stdout.equals(here.stdout)).toBe(true)
      expect(there.stderr.equals(here.stderr)).toBe(true)
    })

    it('waits for a slow reader', () => {
      const program = `"$1" "$2" --kernel "$3" head -c 1000000 /dev/zero | (sleep 8; wc -c)`
      const { stdout } = spawnSync('sh', ['-c', program, 'sh', process.execPath, GUEST, kernel], options())
      expect(stdout.toString().trim()).toBe('1000000')
    })

    it('passes arguments as they are', () => {
      const args = ['a b', '', "it's", '"', '$HOME `id` \\ *', 'two\nlines', '--limit', '-', 'ü']
      const { stdout } = guest('node', '-p', 'JSON.stringify(process.argv.slice(1))', '--', ...args)
      expect(JSON.parse(stdout.toString())).toEqual(args)
    })

    it("passes the folder and the caller's variables, but those that name what is not there", () => {
      const { stdout } = run(
        [
          '--kernel',
          kernel,
          '--env',
          'GIVEN=a =b',
          '--',
          'node',
          '-p',
          'JSON.stringify([process.cwd(), process.env])',
        ],
        { OWN: "it's", 'npm_config_some-name': '1', NOTIFY_SOCKET: '/run/x', USER: 'x' },
      )
      const [folder, env] = JSON.parse(stdout.toString()) as [string, Record<string, string>]
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

    it('is root on a writable system, whose changes are gone afterwards', () => {
      const file = path.join(temporary, 'written')
      const { stdout } = guest(
        'sh',
        '-c',
        `id -u; echo 1 >${file}; cat ${file}; rm /etc/hostname; touch /usr/x && echo ok`,
      )
      expect(stdout.toString()).toBe('0\n1\nok\n')
      expect(existsSync(file)).toBe(false)
      expect(existsSync('/etc/hostname')).toBe(true)
    })

    it('writes to a shared folder', () => {
      const share = mkdtempSync(path.join(tmpdir(), 'guest share,'))
      try {
        guest(
          '--share',
          share,
          'sh',
          '-c',
          'cd "$1" && mkdir a && head -c 300000 /dev/zero >a/b',
          'sh',
          share,
        )
        expect(readFileSync(path.join(share, 'a/b'))).toHaveLength(300000)
      } finally {
        rmSync(share, { recursive: true })
      }
    })

    it('has ip_vs, its modules on demand, and network namespaces', () => {
      const { status, stdout, stderr } = guest(
        'sh',
        '-euc',
        `ip netns add one; ip netns add two
        ip link add va netns one type veth peer name vb netns two
        ip -n one addr add 10.9.0.1/24 dev va; ip -n one link set va up
        ip -n two addr add 10.9.0.2/24 dev vb; ip -n two link set vb up; ip -n two link set lo up
        ip netns exec one ping -c 1 -W 5 10.9.0.2 >/dev/null
        ip netns exec two ipvsadm -A -t 10.9.0.2:80 -s mh
        ip netns exec two ipvsadm -Sn
        ipvsadm -Sn; ipvsadm -A -u 127.0.0.1:53 -p 60 --pe sip; ipvsadm -Sn`,
      )
      expect(stderr.toString()).toBe('')
      expect(stdout.toString()).toBe('-A -t 10.9.0.2:80 -s mh\n-A -u 127.0.0.1:53 -s wlc -p 60 --pe sip\n')
      expect(status).toBe(0)
    })

    it('lets others than root run, without rights', () => {
      const { stdout } = guest(
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        'sh',
        '-c',
        'id -u; ipvsadm -C || echo no',
      )
      expect(stdout.toString()).toBe('65534\nno\n')
    })

    it('can do without ip_vs', () => {
      const loaded =
        'grep -c "^ip_vs " /proc/modules; modprobe ip_vs 2>/dev/null && echo loads; modprobe nf_conntrack && echo ok'
      expect(guest('--no-module', 'sh', '-c', loaded).stdout.toString()).toBe('0\nloads\nok\n')
      expect(guest('--absent-module', 'sh', '-c', loaded).stdout.toString()).toBe('0\nok\n')
    })

    it('does not wait for what the command leaves running', async () => {
      expect(guest('sh', '-c', 'sleep 1000 & echo done').stdout.toString()).toBe('done\n')
      await expectNothingLeft()
    })

    it('kills everything at its time limit', async () => {
      const { status, stderr } = guest('--limit', '6', 'sh', '-c', 'sleep 1000 & sleep 1000')
      expect(status).toBe(124)
      expect(stderr.toString()).toContain('time limit of 6 s')
      await expectNothingLeft()
    })

    it.each(['SIGTERM', 'SIGKILL'] as const)(
      'shows output as it comes, and leaves nothing behind after %s',
      async (signal) => {
        const child = spawn(
          process.execPath,
          [GUEST, '--kernel', kernel, 'sh', '-c', 'echo up; sleep 1000'],
          options(),
        )
        const [bytes] = (await once(child.stdout, 'data')) as [Buffer]
        expect(bytes.toString()).toBe('up\n')
        expect(guestProcesses()).not.toEqual([])
        child.kill(signal)
        await once(child, 'exit')
        await expectNothingLeft()
      },
    )

    it('shows what the kernel said when it crashed', () => {
      const { status, stderr } = guest(
        'sh',
        '-c',
        'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60',
      )
      expect(status).toBe(125)
      expect(stderr.toString()).toContain('panic')
    })
  })
})

describe('guest', () => {
  it.each([
    [['--bogus', 'true'], '--bogus'],
    [['--limit', '0', 'true'], 'time limit'],
    [['--mem', 'lots', 'true'], '--mem'],
    [['--env', '=x', 'true'], '--env'],
    [['--share', '/no/such/folder', 'true'], '/no/such/folder'],
    [['--kernel', '2.4', 'true'], '2.4'],
    [['--limit'], '--limit'],
    [[], 'COMMAND'],
  ])('refuses %j with status 125', (args, named) => {
    const { status, stderr } = run(args)
    expect(status).toBe(125)
    expect(stderr.toString()).toContain(named)
  })

  it('says how it is used', () => {
    const { status, stdout } = run(['--help'])
    expect(status).toBe(0)
    expect(stdout.toString()).toMatch(/^usage: npm run guest -- \[OPTION/)
    expect(stdout.toString()).toContain('npm run guest -- npm test')
  })

  it('elsewhere than on Linux says that it needs it', () => {
    const preload = new URL('../helpers/platform.mjs', import.meta.url).href
    const { status, stderr } = run(['true'], {
      NODE_OPTIONS: `--import=${preload}`,
      IPVS_TEST_PLATFORM: 'darwin',
    })
    expect(status).toBe(125)
    expect(stderr.toString()).toContain('it takes Linux on x86-64, and this is darwin on')
    expect(stderr.toString()).toContain('ipvs/testing')
  })

  it('on a Linux that is not Debian names the programs it misses', () => {
    const bin = path.join(temporary, 'bin')
    mkdirSync(bin)
    for (const program of ['bash', 'dd', 'env', 'setpriv', 'taskset', 'flock', 'tar', 'awk']) {
      writeFileSync(path.join(bin, program), '', { mode: 0o755 })
    }
    const { status, stderr } = run(['true'], { PATH: bin, IPVS_GUEST_CACHE: path.join(temporary, 'cache') })
    rmSync(bin, { recursive: true })
    expect(status).toBe(125)
    expect(stderr.toString()).toMatch(
      /missing on this machine: apt-get, apt-cache, dpkg-deb\. .*takes Debian/,
    )
    expect(readdirSync(temporary)).toEqual([])
  })
})
