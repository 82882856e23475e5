import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { NameSources } from '../../lib/cli/names.ts'
import { Ipvs, parseState, type Dump, type Transport } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { runOurs } from '../helpers/adm-programs.ts'
import type { CommandResult } from '../helpers/shell.ts'
import { type Around, ipvs, type Said } from './terminal.ts'

/**
 * Texts that would change the terminal of root, in every place that a text can
 * come from: no command prints one as it is, nor a line that such a text makes.
 */

/** Sets the title, hides what follows, turns its direction, and begins lines of its own in each way there is. */
const HOSTILE = 'a\u001B]0;x\u0007\u001B[8m\u009B35m\u202E\u2066\u007F\u0085\u2028\r\nFORGED\t'
/** The same as it is printed. */
const SHOWN = String.raw`a\u001b]0;x\u0007\u001b[8m\u009b35m\u202e\u2066\u007f\u0085\u2028\r\nFORGED\t`
/** A name of the kernel has 15 bytes at most. */
const NAME = '\u001B]0;x\u0007\r\nFORGED'
/** On a terminal what a Style writes, and the line of a progress that is written again. */
const OURS = /\u001B\[(?:1|2|22|31|32|33|36|39)m|\r\u001B\[K/g
const FORBIDDEN = /(?!\n)[\p{Cc}\p{Cs}\u2028\u2029\u202A-\u202E\u2066-\u2069]/u

/** The outputs, once it is sure that there is nothing in them. */
function checked({ status, stdout, stderr }: Said, { columns }: Around): string {
  for (const text of [stdout, stderr]) {
    const rest = columns === undefined ? text : text.replaceAll(OURS, '')
    expect(FORBIDDEN.exec(rest)).toBe(null)
    expect(rest).not.toMatch(/^FORGED/m)
  }
  expect(status).toBeGreaterThanOrEqual(0)
  return stdout + stderr
}

const LOOKS: readonly (readonly [string, Around, readonly string[]])[] = [
  ['a pipe', {}, []],
  ['a terminal', { columns: 100 }, []],
  ['a program', { columns: 100 }, ['--json']],
]

/** Runs a command in each way to look at it. Gives all that it printed. */
async function run(args: readonly string[], around: () => Around = () => ({})): Promise<string[]> {
  const printed: string[] = []
  for (const [, look, more] of LOOKS) {
    const all = { ...around(), ...look }
    printed.push(checked(await ipvs([...args, ...more], all), all))
  }
  return printed
}

let folder: string
let kernel: MemoryKernel

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-hostile-'))
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})

beforeEach(async () => {
  kernel = createMemoryKernel()
  const table = await Ipvs.open({ transport: kernel })
  await table.restore(`-A -t 192.0.2.10:80 -s lblcr -p 60
-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m
--start-daemon master --mcast-interface eth0
`)
  await table.editService({ protocol: 'tcp', address: '192.0.2.10', port: 80 }, { persistenceEngine: 'sip' })
  await table.close()
})

let files = 0

function file(contents: string | Buffer, extension = ''): string {
  files += 1
  const path = join(folder, `file-${String(files)}${extension}`)
  writeFileSync(path, contents)
  return path
}

const SERVICE = { protocol: 'tcp', address: '192.0.2.10', port: 80 }
const SERVER = { address: '10.0.0.7' }
const state = (service: object, more: object = {}): object => ({
  services: [{ ...SERVICE, ...service }],
  ...more,
})

/** A state with such a text in each of its places. */
const STATES: Readonly<Record<string, object>> = {
  scheduler: state({ scheduler: HOSTILE }),
  'scheduler that is short enough': state({ scheduler: NAME, realServers: [SERVER] }),
  'a scheduler flag': state({ schedulerFlags: [HOSTILE] }),
  'a persistence engine': state({ persistence: {}, persistenceEngine: NAME }),
  'a netmask': state({ persistence: { netmask: HOSTILE } }),
  'a protocol': state({ protocol: HOSTILE }),
  'an address': state({ address: HOSTILE }),
  'a port': state({ port: HOSTILE }),
  'a name of a field': state({ [HOSTILE]: 1 }),
  'a name of a part': state({}, { [HOSTILE]: 1 }),
  'the address of a real server': state({ realServers: [{ address: HOSTILE }] }),
  'a method': state({ realServers: [{ ...SERVER, method: HOSTILE }] }),
  'a weight': state({ realServers: [{ ...SERVER, weight: HOSTILE }] }),
  'a field of a real server': state({ realServers: [{ ...SERVER, [HOSTILE]: 1 }] }),
  'a tunnel': state({ realServers: [{ ...SERVER, method: 'tunnel', tunnel: { type: HOSTILE } }] }),
  'a checksum': state({ realServers: [{ ...SERVER, tunnel: { type: 'gue', port: 1, checksum: HOSTILE } }] }),
  'a field of timeouts': state({}, { timeouts: { [HOSTILE]: 1 } }),
  'an interface': state({}, { syncDaemons: [{ state: 'backup', multicastInterface: NAME }] }),
  'the state of a daemon': state({}, { syncDaemons: [{ state: HOSTILE, multicastInterface: 'eth0' }] }),
  'a multicast group': state(
    {},
    { syncDaemons: [{ state: 'backup', multicastInterface: 'eth0', multicastGroup: HOSTILE }] },
  ),
  'the name of a sysctl': state({}, { sysctls: { [HOSTILE]: '1' } }),
  'the value of a sysctl': state({}, { sysctls: { conntrack: HOSTILE } }),
  services: { services: HOSTILE },
  'the version': state({}, { version: HOSTILE }),
}

/** Texts that are no state, or lines of ipvsadm. */
const TEXTS: Readonly<Record<string, string | Buffer>> = {
  'no form that is known': HOSTILE,
  'YAML with a key': `services: []\n"${HOSTILE.replaceAll('\n', '\\n')}": 1\n`,
  'YAML with the characters as they are': `services:\n  - protocol: tcp\n    scheduler: "a\u001B]0;x\u0007"\n`,
  'YAML with an alias': `services: *\u001B[8mx\n`,
  'YAML with a tag': `services: !\u001B[8mx [1]\n`,
  'JSON that ends too soon': `{"a${HOSTILE}`,
  'JSON with a word': `{"services": \u009B35m}`,
  'JSON with a name twice': `{"${SHOWN}": 1, "${SHOWN}": 2}`,
  'lines with a host': `-A -t \u001B[8m\u009B35m.test:80\n`,
  'lines with a service': `-A -t 192.0.2.10:\u001B[8mhttp\n`,
  'lines with a scheduler': '-A -t 192.0.2.10:80 -s \u001B[8m\u009B35m\n',
  'lines with an option': '-A -t 192.0.2.10:80 --\u001B[8m\n',
  'lines with a letter': '-A -t 192.0.2.10:80 -\u001B\n',
  'lines with a word too many': '-A -t 192.0.2.10:80 \u001B[8m\u202E\n',
  'lines with a command': '-\u001B[8m\n-A -t 192.0.2.10:80\n',
  'lines with a quote': "-A -t 192.0.2.10:80 -s '\u001B[8m\n",
  'lines without an end': '-A -t 192.0.2.10:80 -s \u001B[8m',
  'bytes that are not UTF-8': Buffer.from('services: "\xFF\x1B[8m"\n', 'latin1'),
  'a NUL': `services: "\u001B[8m\0"\n`,
}

const CONTENTS: readonly (readonly [string, string | Buffer, string])[] = [
  ...Object.entries(STATES).map(
    ([title, value]) => [`JSON with ${title}`, JSON.stringify(value), '.json'] as const,
  ),
  ...Object.entries(TEXTS).map(([title, text]) => [title, text, ''] as const),
]

describe.each(CONTENTS)('a file: %s', (_, contents, extension) => {
  test.each([
    ['plan', (path: string) => ['plan', path]],
    ['apply', (path: string) => ['apply', path]],
    ['apply --yes', (path: string) => ['apply', path, '--yes']],
    ['diff', (path: string) => ['diff', path, 'live']],
    ['list --memory', (path: string) => ['list', '--memory', path]],
  ])('%s', async (_, args) => {
    await run(args(file(contents, extension)), () => ({ kernel, stdin: 'y\n' }))
  })

  test('standard input', async () => {
    await run(['plan', '-'], () => ({ kernel, stdin: contents }))
  })

  test('reconcile', async () => {
    const path = file(contents, extension)
    const around = (): Around => ({
      kernel,
      onStdout: (text, signal) => {
        if (text !== '') signal('SIGTERM')
      },
      onStderr: (text, signal) => {
        if (text !== '') signal('SIGTERM')
      },
    })
    await run(['reconcile', path, '--yes', '--interval', '0.02'], around)
  })
})

describe('texts of a file', () => {
  test.each(['plan', 'apply', 'restore'])('are shown by %s, escaped', async (command) => {
    const path = file(JSON.stringify(STATES['a name of a field']))
    for (const printed of await run([command, path], () => ({ kernel })))
      expect(printed.replaceAll('\\\\', '\\')).toContain(SHOWN)
  })
})

/** With such a text for X. */
const ARGUMENTS: readonly (readonly string[])[] = [
  ['X'],
  ['help', 'X'],
  ['--X'],
  ['-X'],
  ['list', '--X'],
  ['list', '-X'],
  ['list', '--memory', 'X/X'],
  ['list', '--json=X'],
  ['show', 'X'],
  ['show', 'tcp/X'],
  ['show', 'tcp/192.0.2.10:X'],
  ['show', 'X/192.0.2.10:80'],
  ['show', 'fwmark/X'],
  ['add', 'X'],
  ['add', 'tcp/192.0.2.11:80', 'X=1'],
  ['add', 'tcp/192.0.2.11:80', 'scheduler=X'],
  ['add', 'tcp/192.0.2.11:80', 'schedulerFlags=X'],
  ['add', 'tcp/192.0.2.11:80', 'persistence=X'],
  ['add', 'tcp/192.0.2.10:80', 'X'],
  ['add', 'tcp/192.0.2.10:80', '10.0.0.8', 'X=1'],
  ['add', 'tcp/192.0.2.10:80', '10.0.0.8', 'tunnel=X'],
  ['add', 'tcp/192.0.2.10:80', '10.0.0.8', 'tunnel=:/X:'],
  ['set', 'tcp/192.0.2.10:80', 'onePacket=X'],
  ['set', 'tcp/192.0.2.10:80', 'persistence.netmask=X'],
  ['set', 'tcp/192.0.2.10:80', '10.0.0.7', 'method=X'],
  ['set', 'tcp/192.0.2.10:80', '10.0.0.7', '-X'],
  ['set', 'tcp/192.0.2.10:80', 'weight', 'X'],
  ['set', '--everywhere', 'X', 'weight=1'],
  ['set', '--everywhere', 'tcp/X', 'weight=1'],
  ['weight', 'tcp/192.0.2.10:80', '10.0.0.7', 'X'],
  ['weight', 'tcp/192.0.2.10:80', 'X', '1'],
  ['remove', 'tcp/192.0.2.10:80', 'X'],
  ['remove', '--everywhere', 'X'],
  ['zero', 'X'],
  ['save', 'X/X.json'],
  ['save', 'X'],
  ['save', '--format', 'X'],
  ['save', '--sysctl', 'X'],
  ['save', '--scope', 'X'],
  ['save', '--scope', '192.0.2.0/X'],
  ['plan', 'X'],
  ['plan', 'X/X'],
  ['plan', '-', '--scope', 'X'],
  ['plan', '-', '--format', 'X'],
  ['apply', 'X'],
  ['apply', '-', '--allow', 'X'],
  ['apply', '-', '--max-deletions', 'X'],
  ['apply', '-', '--drain', 'X'],
  ['restore', 'X'],
  ['reconcile', 'X', '--interval', 'X'],
  ['diff', 'X', 'live'],
  ['diff', 'live', 'X'],
  ['drain', 'X', '10.0.0.7'],
  ['drain', 'tcp/192.0.2.10:80', 'X'],
  ['drain', 'tcp/192.0.2.10:80', '10.0.0.7:X'],
  ['drain', 'tcp/192.0.2.10:80', '10.0.0.7', '--at-timeout', 'X'],
  ['drain', 'tcp/192.0.2.10:80', '10.0.0.7', '--wait-for', 'X'],
  ['drain', 'tcp/192.0.2.10:80', '10.0.0.7', '--timeout', 'X'],
  ['completion', 'X'],
]

test.each(ARGUMENTS.map((words) => [words.join(' '), words] as const))(
  'an argument: %s',
  async (_, words) => {
    const printed = await run(
      words.map((word) => word.replaceAll('X', HOSTILE)),
      () => ({ kernel, stdin: '{"services":[]}' }),
    )
    // Each of these is an error that names what is wrong.
    const [pipe = ''] = printed
    expect(pipe).toContain(String.raw`\u001b`)
  },
)

test.each([
  ['list X', ['list', 'X']],
  ['flush X', ['flush', 'X']],
  ['list --netns X', ['list', '--netns', 'X']],
  ['list --netns /X', ['list', '--netns', '/X']],
  ['list --memory X --netns X', ['list', '--memory', 'X', '--netns', 'X']],
  ['reconcile X', ['reconcile', 'X']],
])('an argument that the error does not name: %s', async (_, words) => {
  await run(
    words.map((word) => word.replaceAll('X', HOSTILE)),
    () => ({ kernel }),
  )
})

test('words to be completed', async () => {
  for (const words of [
    ['X'],
    ['X', ''],
    ['show', 'X'],
    ['list', '--netns', 'X'],
    ['list', '--netns=X'],
    ['diff', 'X'],
    ['set', 'X', 'X'],
    ['set', 'tcp/192.0.2.10:80', 'X', 'X=', 'X=X'],
  ]) {
    const args = ['__complete', '--', ...words.map((word) => word.replaceAll('X', HOSTILE))]
    checked(await ipvs(args, { kernel }), {})
  }
})

test('a file of such a name: what is wrong in it is told, and it is read', async () => {
  const odd = join(folder, `${HOSTILE}.yaml`)
  mkdirSync(join(folder, `${HOSTILE}.d`))
  writeFileSync(odd, 'services: 7\n')
  for (const args of [
    ['plan', odd],
    ['diff', odd, 'live'],
    ['list', '--memory', odd],
    ['plan', join(folder, `${HOSTILE}.d`)],
  ])
    for (const printed of await run(args, () => ({ kernel })))
      expect(printed.replaceAll('\\\\', '\\')).toContain(SHOWN)
  await run(['save', odd], () => ({ kernel }))
  expect(readdirSync(folder)).toContain(`${HOSTILE}.yaml`)
  expect(await parseState(readFileSync(odd, 'utf8'))).toMatchObject({ services: [{ scheduler: 'lblcr' }] })
  await run(['save', '--memory', odd])
})

test('the environment', async () => {
  const around = (): Around => ({
    env: { IPVS_MEMORY: join(folder, HOSTILE), TERM: HOSTILE, LANG: HOSTILE, LC_ALL: HOSTILE },
  })
  for (const args of [['list'], ['list', '--netns', HOSTILE], ['info'], ['save'], ['show', 'fwmark/1']])
    await run(args, around)
})

/** What another program may have put into the kernel, in place of names of the same length. */
const NAMES: readonly (readonly [string, string])[] = [
  ['lblcr', '\u001B[8m\n'],
  ['sip', '\u009B\n'],
  ['eth0', '\u001B]0;'],
]

/** A kernel whose answers have other names in them. */
class OddKernel implements Transport {
  readonly #kernel: MemoryKernel
  readonly setSysctl: Transport['setSysctl']
  readonly openProcNet: Transport['openProcNet']
  readonly openScratch: Transport['openScratch']

  constructor(kernel: MemoryKernel) {
    this.#kernel = kernel
    this.setSysctl = (name, value) => kernel.setSysctl(name, value)
    this.openProcNet = (name) => kernel.openProcNet(name)
    this.openScratch = () => kernel.openScratch()
  }

  async batch(...args: Parameters<Transport['batch']>): ReturnType<Transport['batch']> {
    const replies = await this.#kernel.batch(...args)
    return replies.map(({ messages, ...reply }) => ({
      ...reply,
      ...(messages !== undefined && { messages: withOddNames(messages) }),
    }))
  }

  async dump(...args: Parameters<Transport['dump']>): Promise<Dump> {
    return this.#changed(await this.#kernel.dump(...args))
  }

  async dumpOfDumps(...args: Parameters<Transport['dumpOfDumps']>): Promise<Dump> {
    return this.#changed(await this.#kernel.dumpOfDumps(...args))
  }

  async sysctls(...args: Parameters<Transport['sysctls']>): ReturnType<Transport['sysctls']> {
    const found = await this.#kernel.sysctls(...args)
    return found.map((value) => (typeof value === 'string' ? HOSTILE : value))
  }

  async close(): Promise<void> {
    // The kernel goes on.
  }

  #changed(dump: Dump): Dump {
    return { ...dump, messages: dump.messages.map(withOddNames) }
  }
}

function withOddNames(message: Uint8Array): Uint8Array {
  const bytes = Buffer.from(message)
  for (const [name, odd] of NAMES) {
    for (let at = bytes.indexOf(`${name}\0`); at >= 0; at = bytes.indexOf(`${name}\0`)) bytes.write(odd, at)
  }
  return new Uint8Array(bytes)
}

describe('names that a kernel has', () => {
  test.each([
    'list',
    'list --stats',
    'show tcp/192.0.2.10:80',
    'info',
    'save',
    'save --format yaml',
    'save --format ipvsadm',
    'save --format ipvsadm --lossy',
    'save --sysctls',
    'save --sysctl conntrack',
    'plan -',
    'apply -',
    'restore - --dry-run',
    'diff live -',
  ])('%s', async (line) => {
    const args = line.split(' ')
    const stdin = JSON.stringify(
      state({ scheduler: 'rr', port: 81 }, { syncDaemons: [], sysctls: { conntrack: '1' } }),
    )
    const printed = await run(args, () => ({ kernel: new OddKernel(kernel), stdin }))
    // Where --json is refused, or nobody can be asked, no name is printed.
    for (const text of printed.slice(0, 2)) expect(text).toMatch(/\\u001b|\\u009b/)
  })

  test.each(['json', 'yaml'])('are the same after save --format %s', async (format) => {
    const { stdout } = await ipvs(['save', '--format', format], { kernel: new OddKernel(kernel) })
    expect(await parseState(stdout)).toMatchObject({
      services: [{ scheduler: '\u001B[8m\n', persistenceEngine: '\u009B\n' }],
      syncDaemons: [{ multicastInterface: '\u001B]0;' }],
    })
  })

  test('are left out of the candidates', async () => {
    const { stdout } = await ipvs(['__complete', '--', 'show', ''], { kernel: new OddKernel(kernel) })
    expect(stdout).toBe(String.raw`tcp/192.0.2.10:80` + '\t' + String.raw`\u001b[8m\n` + '\n')
  })
})

/** Names that a name server gives, or that /etc/hosts has. */
const HOST_NAMES: Readonly<Record<string, string>> = {
  'all that changes a terminal': HOSTILE,
  'escape sequences alone': '\u001B[2J\u001B[1;1H\u001B]0;x\u0007',
  'C1 bytes': '\u009B2J\u009D0;x\u009C',
  'ends of lines': 'a\nFORGED\r\nFORGED\u2028FORGED\u0085FORGED\vFORGED\f',
  'marks of direction': '\u202E1.2.0.291\u2066\u2069\u200F',
  'halves of pairs': '\uD83D\uD83D',
  'a NUL': 'a\0b',
  '10 kB of controls': '\u001B'.repeat(10_000),
  '10 kB of letters': 'x'.repeat(10_000),
  'words of a line': 'x -r 10.0.0.9:1 -w 0',
  'an option': '-C',
  'a comment': '#x',
  quotes: `'"`,
  'a colon': 'x:1',
  'another address': '10.0.0.9',
  'the same in one number': '167772169',
  nothing: '',
}

/** Names of services that /etc/services has. */
const SERVICE_NAMES: Readonly<Record<string, string>> = {
  'all that changes a terminal': HOSTILE.replaceAll(/\s/gu, ''),
  'C1 bytes': '\u009B2J\u009D0;x\u009C',
  'marks of direction': '\u202Eptth\u2066',
  'a NUL': 'a\0b',
  '10 kB': 'x'.repeat(10_000),
  'a colon': 'x:1',
  'another port': '81',
  quotes: `'"`,
}

/** Every host, or every service, has this name. Names of hosts that are asked for have no address. */
function namesFrom({ host, service }: { readonly host?: string; readonly service?: string }): NameSources {
  return {
    services: () => (service === undefined ? '' : `${service} 80/tcp\n`),
    lookUp: () => Promise.resolve(undefined),
    lookUpName: () => Promise.resolve(host),
  }
}

describe('ipvs adm', () => {
  /** Runs a program. Gives what it said, once it is sure that nothing of that is hostile. */
  async function adm(
    where: Transport,
    words: readonly string[],
    { stdin = '', names = namesFrom({}) }: { readonly stdin?: string; readonly names?: NameSources } = {},
  ): Promise<CommandResult> {
    const program = words[0]?.startsWith('ipvsadm-') === true ? words[0] : undefined
    const said = await runOurs(where, program === undefined ? words : words.slice(1), stdin, {
      names,
      ...(program !== undefined && { program }),
    })
    // A tab of a line stays one where the line is repeated.
    checked({ ...said, stderr: said.stderr.replaceAll('\t', ' ') }, {})
    return said
  }

  const VIEWS = ['-L', '-L --stats', '-L --rate', '-L --thresholds', '-L --persistent-conn', '-L --tun-info']

  beforeEach(async () => {
    const table = await Ipvs.open({ transport: kernel })
    await table.restore(
      `-A -t 192.0.2.20:80
-a -t 192.0.2.20:80 -r 10.0.0.8:80 -m
-a -t 192.0.2.20:80 -r 10.0.0.9:8080 -m -w 3
-A -t [2001:db8::1]:80
-a -t [2001:db8::1]:80 -r [2001:db8::2]:80
-A -u 192.0.2.20:80
-A -f 7
`,
      { prune: false },
    )
    await table.close()
    kernel.connect({ protocol: 'tcp', address: '192.0.2.20', port: 80 })
  })

  /** Where the columns of an IPv4 line begin: names are cut there. */
  const columnsOf = (line: string): string => (/^(?:TCP|UDP|FWM|IP|Prot) /.test(line) ? '' : line.slice(33))

  const SOURCES = [
    ...Object.entries(HOST_NAMES).map(([title, host]) => [`hosts: ${title}`, namesFrom({ host })] as const),
    ...Object.entries(SERVICE_NAMES).map(
      ([title, service]) => [`services: ${title}`, namesFrom({ service })] as const,
    ),
  ]

  describe.each(SOURCES)('names of %s', (_, names) => {
    test.each(VIEWS)('%s has a line for each thing, and its columns', async (view) => {
      const words = view.split(' ')
      const [named, plain] = [await adm(kernel, words, { names }), await adm(kernel, [...words, '-n'])]
      expect([named.status, named.stderr]).toEqual([0, ''])
      const [lines, numbers] = [named, plain].map(({ stdout }) => stdout.split('\n')) as [string[], string[]]
      expect(lines).toHaveLength(numbers.length)
      for (const [index, line] of lines.entries()) {
        const number = numbers[index] ?? ''
        // A name of IPv6 is not cut.
        if (!number.includes('[')) expect(columnsOf(line)).toBe(columnsOf(number))
        else expect(line.length).toBeLessThan(160)
      }
    })

    test('-L -c has a line for each connection', async () => {
      for (const more of [[], ['--persistent-conn']]) {
        const { stdout } = await adm(kernel, ['-L', '-c', ...more], { names })
        expect(stdout.split('\n')).toHaveLength(4)
      }
    })

    test.each(['-S', 'ipvsadm-save'])('%s can be restored', async (program) => {
      const { stdout } = await adm(kernel, [program], { names })
      const other = createMemoryKernel()
      expect(await adm(other, ['-R'], { names, stdin: stdout })).toEqual({
        status: 0,
        stdout: '',
        stderr: '',
      })
      expect((await adm(other, ['-S', '-n'])).stdout).toBe((await adm(kernel, ['-S', '-n'])).stdout)
    })
  })

  test('such names are shown, escaped and cut where ipvsadm cuts', async () => {
    const names = namesFrom({ host: '\u001B[8m\u009B\nx', service: 'h\u202E' })
    const { stdout } = await adm(kernel, ['-L', '-t', '192.0.2.20:80'], { names })
    const at = stdout.indexOf('TCP')
    expect(stdout.slice(at)).toBe(
      String.raw`TCP  \u001b[8m\u009b\nx:h\u202e wlc
  -> \u001b[8m\u009b\nx:h\u202e   Masq    1      1          0${' '.repeat(9)}
  -> \u001b[8m\u009b\nx:8080      Masq    3      0          0${' '.repeat(9)}
`,
    )
  })

  test('a save has the names that can be read', async () => {
    const names = namesFrom({ host: 'web-1.example.test', service: 'http' })
    expect((await adm(kernel, ['-S'], { names })).stdout).toContain(
      '-a -t web-1.example.test:http -r web-1.example.test:8080 -m -w 3\n',
    )
  })

  test.each([...VIEWS, '-L --daemon', '-S', 'ipvsadm-save', '-L -n', '-S -n'])(
    'names that a kernel has: %s',
    async (view) => {
      const { stdout } = await adm(new OddKernel(kernel), view.split(' '))
      if (!view.includes('--stats') && !view.includes('--rate')) {
        expect(stdout).toContain(String.raw`\u001b`)
      }
      expect(stdout).not.toMatch(/^(?!IP |Prot |  ->|TCP |UDP |FWM |-[Aa] |master )./m)
    },
  )

  /** With such a text for X. */
  test.each([
    '',
    'X',
    '-X',
    '--X',
    '--X=1',
    '-A X',
    '-A -t X',
    '-A -t X:80',
    '-A -t 192.0.2.30:X',
    '-A -t [X]:80',
    '-A -f X',
    '-A -t 192.0.2.30:80 -s X',
    '-A -t 192.0.2.30:80 -p X',
    '-A -t 192.0.2.30:80 -p 1 -M X',
    '-A -t 192.0.2.30:80 --pe X',
    '-A -t 192.0.2.30:80 -b X',
    '-a -t 192.0.2.20:80 -r X',
    '-a -t 192.0.2.20:80 -r X:80',
    '-a -t 192.0.2.20:80 -r 10.0.0.1:X',
    '-a -t 192.0.2.20:80 -r 10.0.0.1 -w X',
    '-a -t 192.0.2.20:80 -r 10.0.0.1 -i --tun-type X',
    '-L -t X',
    '-Z -t X',
    '--set X X X',
    '--start-daemon X',
    '--start-daemon master --mcast-interface X',
    '--start-daemon master --mcast-group X',
    '-S X',
    'ipvsadm-save -X',
  ])('an argument, and a line of a restore: %s', async (line) => {
    const words = line.split(' ').filter((word) => word !== '')
    await adm(
      kernel,
      words.map((word) => word.replaceAll('X', HOSTILE)),
    )
    const stdin = `${line.replaceAll('X', HOSTILE)}\n`
    await adm(kernel, ['-R'], { stdin })
    await adm(kernel, ['ipvsadm-restore'], { stdin })
  })

  /** What a resolver may say of a host: `-r web` is read by what it says. */
  const NOT_FOUND = Object.assign(new Error(HOSTILE), { code: 'ENOTFOUND' })
  const ANSWERS: Readonly<Record<string, () => Promise<string | undefined>>> = {
    nothing: () => Promise.resolve(undefined),
    'an error': () => Promise.reject(NOT_FOUND),
    'a text that is not an address': () => Promise.resolve(HOSTILE),
    'half of an address': () => Promise.resolve('10.1'),
    'an address of the other family': () => Promise.resolve('2001:db8::7'),
    'an empty text': () => Promise.resolve(''),
  }

  describe.each(Object.entries(ANSWERS))('a resolver that answers with %s', (_, answer) => {
    const names: NameSources = { ...namesFrom({ service: 'http' }), lookUp: answer }

    test('a host of that name is refused', async () => {
      const line = '-a -t 192.0.2.20:80 -r web:http -m'
      const why = 'illegal real server address[:port] specified\n'
      expect(await adm(kernel, line.split(' '), { names })).toEqual({ status: 2, stdout: '', stderr: why })
      expect(await adm(kernel, ['-R'], { names, stdin: `${line}\n` })).toEqual({
        status: 2,
        stdout: '',
        stderr: `${why}  in line 1: ${line}\n`,
      })
    })

    test.each(['plan', 'apply --yes', 'diff live'])('and by ipvs %s', async (command) => {
      const path = file('-A -t 192.0.2.10:80\n-a -t 192.0.2.10:80 -r web:http\n')
      const [pipe] = await run([...command.split(' '), path], () => ({ kernel, names }))
      expect(pipe).toContain("line 2, column 24: no host 'web' was found")
    })
  })

  test('a resolver that never answers does not keep a signal from ending reconcile', async () => {
    const path = file('-A -t web:80\n')
    let asked: (() => void) | undefined
    const names: NameSources = {
      ...namesFrom({}),
      lookUp: () => {
        asked?.()
        return new Promise(() => undefined)
      },
    }
    const said = await ipvs(['reconcile', path, '--yes'], {
      kernel,
      names,
      onStart: (signal) => {
        asked = () => {
          signal('SIGTERM')
        }
      },
    })
    expect(said.status).toBe(0)
  })

  test('a host is looked up once, and has the address that the resolver gives first', async () => {
    const asked: string[] = []
    const names: NameSources = {
      ...namesFrom({ service: 'http' }),
      lookUp: (host) => {
        asked.push(host)
        return Promise.resolve(`10.9.9.${String(asked.length)}`)
      },
    }
    const stdin = '-a -t 192.0.2.20:80 -r web:http -m\n-a -t 192.0.2.20:80 -r web:81 -m\n'
    expect((await adm(kernel, ['-R'], { names, stdin })).status).toBe(0)
    expect(asked).toEqual(['web'])
    expect((await adm(kernel, ['-S', '-n'])).stdout).toContain('-r 10.9.9.1:81 ')
  })

  test.each(['99999', '65616', '18446744073709551696'])(
    'port %s in /etc/services is not one',
    async (port) => {
      const names: NameSources = { ...namesFrom({}), services: () => `http ${port}/tcp\n` }
      expect(await adm(kernel, ['-A', '-t', '192.0.2.30:http'], { names })).toEqual({
        status: 2,
        stdout: '',
        stderr: 'illegal virtual server address[:port] specified\n',
      })
    },
  )

  test('/etc/services that cannot be read, or is not one, gives no names', async () => {
    for (const services of [
      () => {
        throw new Error(HOSTILE)
      },
      () => `${HOSTILE}\0`.repeat(1000),
    ]) {
      const { stdout } = await adm(kernel, ['-L'], { names: { ...namesFrom({}), services } })
      expect(stdout).toBe((await adm(kernel, ['-L', '-n'])).stdout)
    }
  })
})

test.each(['list', 'info', 'save', 'drain tcp/192.0.2.10:80 10.0.0.7:80'])(
  "the kernel's own words: %s",
  async (line) => {
    for (const printed of await run(line.split(' '), () => {
      kernel.failNext({ errno: 'EINVAL', kernelMessage: HOSTILE })
      return { kernel }
    }))
      expect(printed.replaceAll('\\\\', '\\')).toContain(SHOWN)
  },
)

test('an error that nobody has foreseen', async () => {
  class FailingKernel extends OddKernel {
    override dumpOfDumps(): Promise<Dump> {
      return Promise.reject(new Error(HOSTILE))
    }
  }
  for (const printed of await run(['list'], () => ({ kernel: new FailingKernel(kernel) })))
    expect(printed).toContain('FORGED')
})

test('all is written by the printer, by the writers of ipvs adm, and at the very end', () => {
  const root = new URL('../../lib/cli/', import.meta.url)
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  const writes = names.filter((name) =>
    /\bwriteSync\(|console\.|(?:stdout|stderr|output|\boutput)\.write\((?!'')/.test(
      readFileSync(new URL(name, root), 'utf8'),
    ),
  )
  expect(writes.sort()).toEqual(['adm/process.ts', 'main.ts', 'terminal/printer.ts'])
})
