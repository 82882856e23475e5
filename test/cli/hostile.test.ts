import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Ipvs, parseState, type Dump, type Transport } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
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
