import { beforeEach, describe, expect, test } from 'vitest'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { type Around, ipvs } from './terminal.ts'

let kernel: MemoryKernel

beforeEach(() => {
  kernel = createMemoryKernel()
})

describe('exit status', () => {
  interface Case {
    readonly title: string
    readonly line: string
    readonly around?: () => Around
    readonly status: number
    readonly said: RegExp
  }
  const cases: readonly Case[] = [
    {
      title: 'a command that is not there, with the one that may be meant',
      line: 'lst',
      status: 2,
      said: /^ipvs: unknown command 'lst' \(Did you mean list\?\); see "ipvs --help"\n$/,
    },
    {
      title: 'an option that is not there',
      line: 'list --jsno',
      status: 2,
      said: /^ipvs: unknown option '--jsno' \(Did you mean --json\?\); see "ipvs list --help"\n$/,
    },
    {
      title: 'the help of a command that is not there',
      line: 'help lst',
      status: 2,
      said: /^ipvs: unknown command 'lst' \(Did you mean list\?\); see "ipvs --help"\n$/,
    },
    {
      title: 'the same, asked for by its option',
      line: 'lst --help',
      status: 2,
      said: /^ipvs: unknown command 'lst' \(Did you mean list\?\); see "ipvs --help"\n$/,
    },
    {
      title: 'an option of a command before the command',
      line: '--stats list',
      status: 2,
      said: /^ipvs: unknown option '--stats'; options go after the command, and only .* before it as well; see "ipvs --help"\n$/,
    },
    {
      title: 'no argument',
      line: 'show',
      status: 2,
      said: /missing required argument 'service'; see "ipvs show --help"/,
    },
    { title: 'too many arguments', line: 'list all', status: 2, said: /too many arguments/ },
    {
      title: 'a service without its protocol, with an example',
      line: 'show 192.0.2.10:80',
      status: 2,
      said: /a virtual service is written like 'tcp\/192\.0\.2\.10:80'.*got '192\.0\.2\.10:80'/,
    },
    {
      title: 'a service without its port',
      line: 'show tcp/192.0.2.10',
      status: 2,
      said: /the port is missing; 0 means every port\n$/,
    },
    {
      title: 'a service whose port is a name',
      line: 'show tcp/192.0.2.10:http',
      status: 2,
      said: /got 'tcp\/192\.0\.2\.10:http': the port must be a number\n$/,
    },
    {
      title: 'an IPv6 address without brackets',
      line: 'show tcp/2001:db8::1:80',
      status: 2,
      said: /the port is missing; 0 means every port; an IPv6 address with a port needs brackets\n$/,
    },
    { title: 'a mark that is none', line: 'show fwmark/0', status: 2, said: /fwmark/ },
    {
      title: 'a form that is none',
      line: 'save --format xml',
      status: 2,
      said: /Allowed choices are json, yaml, ipvsadm/,
    },
    {
      title: 'a kind of steps that is none',
      line: 'apply - --allow add-server,ad-service',
      status: 2,
      said: /is invalid\. Unknown value 'ad-service'; expected one of add-service, .*, set-sysctl; see "ipvs apply --help"\n$/,
    },
    {
      title: 'a number that is none',
      line: 'apply - --max-deletions many',
      status: 2,
      said: /It must be a whole number; see "ipvs apply --help"/,
    },
    {
      title: 'a scope that is none',
      line: 'save --scope 192.0.2.0/33',
      status: 2,
      said: /^ipvs: --scope: its prefix length .*, got 33\n$/,
    },
    {
      title: 'a host as a scope',
      line: 'save --scope fwmark/5,web1',
      status: 2,
      said: /^ipvs: --scope must be an address, a network such as .*; got 'web1'\n$/,
    },
    {
      title: 'a shell that is unknown',
      line: 'completion csh',
      status: 2,
      said: /Allowed choices are bash, zsh, fish/,
    },
    {
      title: 'a file without a name',
      line: 'plan ',
      status: 2,
      said: /It must not be empty; see "ipvs plan --help"/,
    },
    { title: 'a namespace without a name', line: 'list --netns ', status: 2, said: /It must not be empty/ },
    {
      title: 'a namespace that cannot be',
      line: 'list --netns ..',
      status: 2,
      said: /^ipvs: --netns /,
    },
    { title: 'a table without a file', line: 'list --memory ', status: 2, said: /It must not be empty/ },
    { title: 'no kind of steps', line: 'apply - --allow ,', status: 2, said: /Give at least one value; see/ },
    {
      title: 'an interval that is none',
      line: 'drain tcp/192.0.2.10:80 10.0.0.7 --interval 0',
      status: 2,
      said: /It must be at least 0\.01 seconds; see "ipvs drain --help"\n$/,
    },
    { title: 'a sysctl that cannot be', line: 'save --sysctl ../x', status: 2, said: /sysctl/ },
    {
      title: 'a sysctl that is not there',
      line: 'save --sysctl conntrack,contrack',
      status: 2,
      said: /^ipvs: --sysctl: this kernel has no 'contrack': did you mean 'conntrack'\?\n$/,
    },
    {
      title: 'JSON that is not to be JSON',
      line: 'save --json --format yaml',
      status: 2,
      said: /^\{"error":\{"status":2,"message":"--json prints JSON and cannot be combined with --format yaml"\}\}\n$/,
    },
    {
      title: 'a service that is not there',
      line: 'show tcp/192.0.2.10:80',
      status: 4,
      said: /^ipvs: ESRCH: service tcp\/192\.0\.2\.10:80: there is no such virtual service/,
    },
    {
      title: 'no permission',
      line: 'list',
      around: () => ({ kernel: createMemoryKernel({ privileged: false }) }),
      status: 5,
      said: /^ipvs: EPERM: .*CAP_NET_ADMIN/,
    },
    {
      title: 'a kernel without IPVS',
      line: 'list',
      around: () => ({ kernel: createMemoryKernel({ loaded: false }) }),
      status: 6,
      said: /^ipvs: ENOENT: .*modprobe ip_vs/,
    },
    {
      title: 'a file that is not there',
      line: 'plan /no/such/file',
      status: 7,
      said: /^ipvs: cannot read \/no\/such\/file: there is no such file or folder\n$/,
    },
    { title: 'a folder', line: 'plan /tmp', status: 7, said: /cannot read \/tmp: it is a folder/ },
    {
      title: 'a file that is no text',
      line: 'plan /bin/true',
      status: 7,
      said: /\/bin\/true: line 1, column \d+: contains a NUL byte: not a text file, or not UTF-8\n$/,
    },
    {
      title: 'a kernel that refuses',
      line: 'list',
      around: () => {
        kernel.failNext({ errno: 12 })
        return { kernel }
      },
      status: 8,
      said: /^ipvs: ENOMEM: /,
    },
    {
      title: 'what nobody has foreseen, with where it came from',
      line: 'list',
      around: () => ({}),
      status: 8,
      said: /^ipvs: Error: this test opens no kernel\n {4}at /,
    },
    {
      title: 'a namespace and a kernel in memory',
      line: 'list --netns blue --memory table.json',
      status: 2,
      said: /--memory.* cannot be used with .*--netns/,
    },
    {
      title: 'a namespace while IPVS_MEMORY is set',
      line: 'list --netns blue',
      around: () => ({ env: { IPVS_MEMORY: 'table.json' } }),
      status: 2,
      said: /--netns selects a table of the real kernel, and IPVS_MEMORY the in-memory kernel: they cannot be combined/,
    },
  ]

  test.each(cases)('$status: $title', async ({ line, around, status, said }) => {
    const found = await ipvs(line, around?.() ?? { kernel })
    expect(found).toMatchObject({ status, stdout: '' })
    expect(found.stderr).toMatch(said)
  })

  test('2, and the help, for no command at all', async () => {
    const { status, stdout, stderr } = await ipvs([], { kernel })
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
    expect(stderr).toMatch(/^Usage: ipvs <command>/)
  })
})

test('standard input that never ends is left where it is too long', async () => {
  const piece = Buffer.alloc(2 ** 23, '#')
  const stdin = Array.from({ length: 40 }, () => piece)
  const { status, stderr } = await ipvs('apply -', { stdin, kernel: createMemoryKernel() })
  expect({ status, stderr }).toEqual({
    status: 7,
    stderr: 'ipvs: standard input is longer than 268435456 bytes\n',
  })
})

describe('an error', () => {
  test('is red on a terminal', async () => {
    const { stderr } = await ipvs('show tcp/192.0.2.10:80', { kernel, columns: 80 })
    expect(stderr).toMatch(/^\u001B\[31mipvs:\u001B\[39m ESRCH/)
  })

  test.each([
    ['show tcp/192.0.2.10:80 --json', 4, 'ESRCH'],
    ['plan /no/such/file --json', 7, 'ENOENT'],
    ['list --json --nonsense', 2, undefined],
  ])('is JSON with --json: %s', async (line, status, code) => {
    const { stdout, stderr } = await ipvs(line, { kernel, columns: 80 })
    const { error } = JSON.parse(stderr) as { error: object }
    expect(error).toEqual({ status, ...(code !== undefined && { code }), message: expect.any(String) })
    expect(stdout).toBe('')
  })
})

describe('an output', () => {
  const fails = (code: string): Around => ({
    kernel,
    outputFails: Object.assign(new Error(`${code}: write`), { code }),
  })

  test('that nobody reads ends the command without a word', async () => {
    expect(await ipvs('list', fails('EPIPE'))).toEqual({ status: 141, stdout: '', stderr: '' })
  })

  test('that is full is an error', async () => {
    expect(await ipvs('list', fails('ENOSPC'))).toEqual({
      status: 7,
      stdout: '',
      stderr: 'ipvs: cannot write the output: ENOSPC: write\n',
    })
  })
})

describe('help', () => {
  test('is there for the whole', async () => {
    const { status, stdout, stderr } = await ipvs('--help', { kernel })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/^Usage: ipvs <command> \[argument\.\.\.\]\n/)
    expect(stdout).toContain('\nExit status:\n')
    for (const command of [...COMMANDS, 'adm', 'guest'])
      expect(stdout).toMatch(new RegExp(`\\n  ${command} `))
    expect(stdout).not.toContain('__complete')
  })

  const COMMANDS = [
    'list',
    'show',
    'info',
    'save',
    'restore',
    'plan',
    'apply',
    'reconcile',
    'diff',
    'drain',
    'completion',
  ]

  test.each(COMMANDS)('of %s has examples', async (command) => {
    const { status, stdout } = await ipvs([command, '--help'], { kernel })
    expect(status).toBe(0)
    expect(stdout).toMatch(new RegExp(`^Usage: ipvs ${command} `))
    expect(stdout).toMatch(new RegExp(`\\nExamples:\\n  \\$ .*ipvs ${command}`))
    expect(await ipvs(['help', command], { kernel })).toMatchObject({ status: 0, stdout })
  })

  test.each(COMMANDS.filter((command) => command !== 'completion'))(
    'of %s has --json, --netns and --memory',
    async (command) => {
      const { stdout } = await ipvs([command, '--help'], { kernel })
      for (const option of ['--json', '--netns <netns>', '--memory <file>'])
        expect(stdout).toContain(`\n  ${option} `)
    },
  )

  test('has colours on terminals alone', async () => {
    expect((await ipvs('--help', { kernel, columns: 80 })).stdout).toContain('\u001B[1mUsage:\u001B[22m')
    expect((await ipvs('--help', { kernel })).stdout).not.toContain('\u001B')
  })

  test('fits the terminal', async () => {
    const { stdout } = await ipvs('apply --help', { kernel, columns: 80, env: { NO_COLOR: '1' } })
    const [text = ''] = stdout.split('\nExamples:')
    expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80)
  })

  test('--version is that of the package', async () => {
    const { stdout } = await ipvs('--version', { kernel })
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

test('--netns is the namespace that is opened', async () => {
  // With a transport of one's own there is no namespace to choose: Ipvs.open() says so.
  const { status, stderr } = await ipvs('list --netns blue', { kernel })
  expect(status).toBe(2)
  expect(stderr).toContain('netns cannot be used together with transport')
})
