import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runOurs, wordsOf } from '../helpers/adm-programs.ts'
import { installCommand } from '../helpers/installed-command.ts'
import {
  command,
  kernelTests,
  type Netns,
  THROWAWAY,
  withNamespace,
  withNamespaces,
} from '../helpers/kernel.ts'
import type { CommandResult } from '../helpers/shell.ts'
import { until } from '../helpers/until.ts'

/** The programs as scripts start them: processes, under the names of ipvsadm's own. */

const BUNDLE = join(installCommand().folder, 'ipvs.cjs')
const NAMES = ['ipvsadm', 'ipvsadm-save', 'ipvsadm-restore']

/** Shell scripts that must print the same with either ipvsadm. */
const SCRIPTS: readonly { readonly name: string; readonly script: string }[] = [
  {
    name: 'a table is made, listed and saved',
    script:
      'ipvsadm -A -t 10.0.0.1:80 -s rr; ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m; ipvsadm -Ln; ipvsadm -Sn; ipvsadm-save -n',
  },
  { name: 'without arguments it lists', script: 'ipvsadm -A -t 10.0.0.1:80; ipvsadm' },
  { name: 'version', script: 'ipvsadm -v; ipvsadm --version | cat; ipvsadm -v -Q; echo $?' },
  {
    name: 'what is wrong goes to stderr, with its status',
    script:
      'ipvsadm -Q; echo $?; ipvsadm -A; echo $?; ipvsadm -D -t 10.0.0.1:80; echo $?; ipvsadm -L -t 10.0.0.1:80 2>&1 >/dev/null; echo $?',
  },
  {
    name: 'restore from a pipe and from a file',
    script:
      'echo "-A -t 10.0.0.1:80" | ipvsadm -R; printf -- "-A -t 10.0.0.2:80" >/tmp/rules; ipvsadm -R </tmp/rules; ipvsadm -R </dev/null; ipvsadm -R <&-; echo $?; ipvsadm -Sn',
  },
  {
    name: 'save and restore by the scripts',
    script:
      'ipvsadm -A -t 10.0.0.1:80; ipvsadm-save -n >/tmp/rules; ipvsadm -C; ipvsadm-restore </tmp/rules; echo $?; ipvsadm-save -n; ipvsadm-save',
  },
  {
    name: 'ipvsadm-restore clears first, and drops comments',
    script:
      'ipvsadm -A -t 10.0.9.9:80; printf "# c\\n-A -t 10.0.0.1:80\\n#x\\n\\n-A -t 10.0.0.2:80\\n\\n\\n" | ipvsadm-restore -x y; echo $?; ipvsadm -Sn; ipvsadm-restore </dev/null; ipvsadm -Sn; echo end',
  },
  {
    name: 'output that cannot be written',
    script:
      'ipvsadm -A -t 10.0.0.1:80; ipvsadm -Ln >/dev/full; echo $?; ipvsadm -Ln >&-; echo $?; ipvsadm -Q 2>&-; echo $?; ipvsadm -v >/dev/full; echo $?',
  },
  {
    name: 'without the rights',
    script:
      'for x in -L -v -h "" "-A -t x" -Q; do setpriv --inh-caps=-all --bounding-set=-all ipvsadm $x; echo $?; done',
  },
  {
    name: 'POSIXLY_CORRECT',
    script:
      'export POSIXLY_CORRECT=1; ipvsadm -A x -t 10.0.0.1:80; echo $?; ipvsadm --set 1 2 3 -n; echo $?; echo "-A x -t 10.0.0.1:80" | ipvsadm -R 2>&1 | head -1; ipvsadm x -L',
  },
]

/** What a restore finds. */
const OLD = { protocol: 'tcp', address: '10.0.9.9', port: 80 } as const

let ours = ''
let real = ''

beforeAll(async () => {
  ours = await mkdtemp(join(tmpdir(), 'ipvs-ours-'))
  real = await mkdtemp(join(tmpdir(), 'ipvs-real-'))
  for (const name of NAMES) {
    await symlink(BUNDLE, join(ours, name))
    await symlink(
      (await command(['sh', '-c', `PATH=/usr/sbin:/sbin:$PATH command -v ${name}`])).trim(),
      join(real, name),
    )
  }
})

afterAll(async () => {
  for (const folder of [ours, real]) if (folder !== '') await rm(folder, { recursive: true, force: true })
})

/** Runs a script with the programs of a folder, and those of the machine. */
async function runScript(folder: string, script: string): Promise<CommandResult> {
  return withNamespace((netns) =>
    netns.tryRun(['bash', '-c', `PATH="$1:$2:$PATH"; ${script}`, 'bash', folder, dirname(process.execPath)]),
  )
}

kernelTests('the programs', () => {
  test.each(SCRIPTS)('do the same in a script: $name', async ({ script }) => {
    const [theirs, mine] = [await runScript(real, script), await runScript(ours, script)]
    // The help's words are ours.
    const comparable = ({ stdout, ...rest }: CommandResult): CommandResult => ({
      ...rest,
      stdout: stdout.replace(/^Commands:\n[^]*?^ {2}--mcast-ttl.*\n/m, '(help)\n'),
    })
    expect(comparable(mine)).toEqual(comparable(theirs))
    expect(theirs.stdout.length + theirs.stderr.length).toBeGreaterThan(5)
  })

  test.each(['-n', '', 'x', '-n x', 'x -n', '-h', '--numeric', '-nn', '-'])(
    'do the same: ipvsadm-save %s',
    async (line) => {
      await withNamespace(async (netns) => {
        await netns.run(['ipvsadm', '-A', '-t', '10.0.0.1:80'])
        const words = wordsOf(line)
        const theirs = await netns.tryRun(['ipvsadm-save', ...words])
        const mine = await runOurs(netns, words, '', { program: 'ipvsadm-save' })
        // The second line of its help is ours.
        const comparable = ({ status, stdout, stderr }: CommandResult): CommandResult => ({
          status,
          stdout,
          stderr: stderr
            .split('\n')
            .filter((_, index) => index !== 1)
            .join('\n'),
        })
        expect(comparable(mine)).toEqual(comparable(theirs))
      })
    },
  )

  test.each(['-nq', '-A', ' # x', '-A -t 10.0.0.1:80 x'])(
    'do the same: ipvsadm-restore with input that is no table: %s',
    async (line) => {
      await withNamespaces(2, async (real, ours) => {
        for (const { ipvs } of [real, ours]) await ipvs.addService(OLD)
        const theirs = await real.tryRun(['ipvsadm-restore'], `${line}\n`)
        const mine = await runOurs(ours, [], `${line}\n`, { program: 'ipvsadm-restore' })
        expect({ ...mine, stderr: mine.stderr.replace(/^ {2}in line .*\n/m, '') }).toEqual(theirs)
        const saves = await Promise.all([real, ours].map((netns) => netns.run(['ipvsadm', '-Sn'])))
        expect(saves[1]).toBe(saves[0])
      })
    },
  )

  test('are also there as ipvs adm', async () => {
    await withNamespace(async (netns) => {
      await netns.run([process.execPath, BUNDLE, 'adm', '-A', '-t', '10.0.0.1:80'])
      expect(await netns.run([process.execPath, BUNDLE, 'adm', '-Sn'])).toBe('-A -t 10.0.0.1:80 -s wlc\n')
      const { status, stderr } = await netns.tryRun([process.execPath, BUNDLE, 'adm', '-Q'])
      expect([status, stderr]).toEqual([
        255,
        "Try `ipvs adm -h' or 'ipvs adm --help' for more information.\n",
      ])
    })
  })

  test('are also there as ipvs adm for the table of a namespace', async () => {
    await withNamespaces(2, async (blue, other) => {
      const adm = (netns: string, ...words: readonly string[]): Promise<CommandResult> =>
        other.tryRun([process.execPath, BUNDLE, '--netns', netns, 'adm', ...words])
      await adm(blue.name, '-A', '-t', '10.0.0.1:80')
      expect((await adm(blue.name, '-Sn')).stdout).toBe('-A -t 10.0.0.1:80 -s wlc\n')
      expect(await other.ipvs.services()).toEqual([])
      const { status, stderr } = await adm('nosuch', '-Ln')
      expect(status).toBe(2)
      expect(stderr).toContain('nosuch')
    })
  })

  test('end silently, as SIGPIPE ends a program, when nobody reads what they print', async () => {
    await withNamespace(async (netns) => {
      await netns.ipvsadm(['-A -t 10.0.0.1:80'])
      const child = netns.start([join(ours, 'ipvsadm'), '-Ln'])
      let stderr = ''
      child.stderr.on('data', (text: Buffer) => (stderr += text.toString()))
      child.stdout.destroy()
      const [status] = (await once(child, 'exit')) as [number]
      expect([status, stderr]).toEqual([141, ''])
    })
  })

  test('restore lines as they come, while more are to come', async () => {
    await withNamespace(async (netns) => {
      const child = netns.start([join(ours, 'ipvsadm'), '-R'])
      for (const port of [80, 81, 82]) {
        child.stdin.write(`-A -t 10.0.0.1:${port}\n`)
        await until(
          `the service on port ${port}`,
          async () => (await netns.ipvs.services()).length === port - 79,
        )
      }
      child.stdin.write('-A\n')
      // Nothing more is read: it ends though its input does not.
      const [status] = (await once(child, 'exit')) as [number]
      expect(status).toBe(2)
    })
  })

  test('name the line that a restore stumbled over, after what ipvsadm says', async () => {
    await withNamespace(async (netns) => {
      const input = '-A -t 10.0.0.1:80\n\n-A -t 10.0.0.1:80\n-A -t 10.0.0.2:80 -w 1\n-A -t 10.0.0.3:80\n'
      const { status, stderr } = await netns.tryRun([join(ours, 'ipvsadm'), '-R'], input)
      expect(stderr).toBe(
        'Service already exists\n' +
          '  in line 3: -A -t 10.0.0.1:80\n' +
          "Illegal 'weight' option with the 'add-service' command\n" +
          '  in line 4: -A -t 10.0.0.2:80 -w 1\n',
      )
      expect(status).toBe(2)
      expect(await netns.run(['ipvsadm', '-Sn'])).toBe('-A -t 10.0.0.1:80 -s wlc\n')
    })
  })
})

const HOSTS = `127.0.0.1 localhost
10.0.0.1 web web.example.test
10.0.0.2 a-very-long-host-name-for-column-tests.example.test
10.0.0.3 abcdefghijklmnopqrstuvwxyz
10.0.0.4 a-host-name-that-is-so-long-that-no-port-fits-behind-it-at-all.example.test
10.0.0.5 twice
10.0.0.6 twice
10.9.0.2 client
2001:db8::1 six
2001:db8::2 a-very-long-host-name-for-column-tests6.example.test
10.0.0.7 both
2001:db8::7 both
255.255.255.0 mask24
`

/** Puts another text in the place of a file for as long as something takes. */
async function withFile(path: string, text: string, body: () => Promise<void>): Promise<void> {
  const before = await readFile(path, 'utf8').catch(() => '')
  await writeFile(path, text)
  try {
    await body()
  } finally {
    await writeFile(path, before)
  }
}

kernelTests('names', () => {
  test.skipIf(!THROWAWAY)('of hosts and services are read and written as ipvsadm does', async () => {
    const lines = [
      '-A -t web:http',
      '-A -t web:https -s rr',
      '-A -u web:domain',
      '-A -t web.example.test:90',
      '-A -t WEB:91',
      '-A -t [web]:80 -p',
      '-A -t six:80',
      '-A -t [six]:80',
      '-A -t both:80',
      '-A -t twice:80',
      '-A -t [2001:db8::1]:http',
      '-A -t [2001:db8::2]:6553',
      '-A -t 10.0.0.2:80',
      '-A -t 10.0.0.4:80',
      '-A -t web:99 -p 60 -M mask24',
      '-A -t localhost:12345',
      '-A -f 7',
      '-A --sctp-service web:3868',
      '-A -t 10.0.0.200:8080',
      '-a -t web:http -r both:http -m',
      '-a -t web:http -r twice -m',
      '-a -t web:http -r localhost:12345 -m',
      '-a -t web:http -r 10.0.0.2:9 -m',
      '-a -t web:http -r 10.0.0.3:http -m',
      '-a -t web:http -r 10.0.0.4:http -m -w 2',
      '-a -t web:http -r [2001:db8::2]:http -i',
      '-a -t web:http -r 10.0.0.222:nosuch -m',
      '-a -f 7 -r web:http',
      '-a -r web:http -t web:http -m',
      '-L',
      '-L --stats',
      '-L --tun-info',
      '-L --rate --nosort',
      '-Lc',
      '-L -t web:http',
      '-L -t nobody:http',
      '-D -t web:https',
      '-Sn',
    ]
    await withFile('/etc/hosts', HOSTS, () =>
      withNamespace(async (netns: Netns) => {
        const shell = netns.shell()
        const other = await netns.open()
        for (const line of lines) {
          const words = wordsOf(line)
          const before = await other.snapshot()
          const theirs = await shell.run(['ipvsadm', ...words])
          const after = JSON.stringify(await other.snapshot())
          // Once more from where it began, by ours.
          if (JSON.stringify(before) !== after) await undo(netns, before)
          expect(await runOurs(netns, words), line).toEqual(theirs)
          expect(sorted(JSON.stringify(await other.snapshot())), line).toEqual(sorted(after))
        }
        // Names that -R could not read are written as numbers (docs/ipvsadm.md): this save can be restored.
        const saved = await runOurs(netns, ['-S'])
        const table = await netns.run(['ipvsadm', '-Sn'])
        await netns.run(['ipvsadm', '-C'])
        expect(await shell.run(['ipvsadm', '-R'], saved.stdout)).toEqual({
          status: 0,
          stdout: '',
          stderr: '',
        })
        expect(await netns.run(['ipvsadm', '-Sn'])).toBe(table)
      }),
    )
  })

  test.skipIf(!THROWAWAY)(
    'that no name server answers for cost a large listing seconds, not hours',
    async () => {
      await withSilentNameServer(1, async (netns, asked) => {
        const key = { protocol: 'fwmark', fwmark: 1 } as const
        await netns.ipvs.addService(key)
        await Promise.all(
          Array.from({ length: 2000 }, (_, index) =>
            netns.ipvs.addRealServer(key, { address: `10.1.${index >> 8}.${index & 255}` }),
          ),
        )
        // One after the other they take 33 minutes, which is more than any test has.
        const listed = await netns.run([...withOurs(), 'ipvsadm', '-L'])
        expect(listed.match(/ -> 10\.1\./g)).toHaveLength(2000)
        expect(asked()).toBeGreaterThan(1000)
      })
    },
  )

  test.skipIf(!THROWAWAY)('that no name server answers for are an error in the end', async () => {
    await withSilentNameServer(1, async (netns, asked) => {
      const line = ['ipvsadm', '-a', '-t', '10.0.0.1:80', '-r', 'nobody.test:80']
      expect(await netns.tryRun([...withOurs(), ...line])).toEqual({
        status: 2,
        stdout: '',
        stderr: 'illegal real server address[:port] specified\n',
      })
      expect(asked()).toBeGreaterThan(0)
    })
  })

  test.skipIf(!THROWAWAY).each([
    ['ipvsadm', ['ipvsadm', '-a', '-t', '10.0.0.1:80', '-r', 'nobody.test:80'], ''],
    ['ipvsadm -R', ['ipvsadm', '-R'], '-A -t nobody.test:80\n'],
    ['ipvs plan', ['node', BUNDLE, 'plan', '-'], '-A -t nobody.test:80\n'],
  ])('that no name server answers for do not keep Ctrl-C from ending %s', async (_, words, stdin) => {
    // Longer than any test.
    await withSilentNameServer(30, async (netns, asked) => {
      const program = netns.start([...withOurs(), ...words])
      const exit = once(program, 'exit')
      program.stdin.end(stdin)
      await until('the question', () => asked() > 0)
      program.kill('SIGINT')
      expect(await exit).toEqual([null, 'SIGINT'])
    })
  })
})

/** Runs what follows with our programs in place of ipvsadm's. */
function withOurs(): readonly string[] {
  return ['env', `PATH=${ours}:${dirname(process.execPath)}:${process.env.PATH ?? ''}`]
}

/** Runs something in a namespace whose name server never answers; `asked` gives the bytes of the questions so far. */
async function withSilentNameServer(
  timeoutSeconds: number,
  body: (netns: Netns, asked: () => number) => Promise<void>,
): Promise<void> {
  const resolver = `nameserver 127.0.0.1\noptions timeout:${String(timeoutSeconds)} attempts:1\n`
  await withFile('/etc/resolv.conf', resolver, () =>
    withNamespace(async (netns) => {
      let asked = 0
      const silent = netns.start(['socat', '-u', 'UDP4-RECV:53,bind=127.0.0.1', '-'])
      silent.stdout.on('data', (bytes: Buffer) => (asked += bytes.length))
      const sockets = `/proc/${String(silent.pid)}/net/udp`
      await until('the silent name server', async () => (await readFile(sockets, 'utf8')).includes(':0035 '))
      await body(netns, () => asked)
    }),
  )
}

function sorted(text: string): string {
  return text
    .split(/(?<=[{},])/)
    .sort()
    .join('')
}

async function undo(netns: Netns, before: Awaited<ReturnType<Netns['ipvs']['snapshot']>>): Promise<void> {
  await netns.ipvs.flush()
  for (const { service, realServers } of [...before].reverse()) {
    await netns.ipvs.addService(service.toJSON())
    for (const server of [...realServers].reverse()) await netns.ipvs.addRealServer(service, server.toJSON())
  }
}
