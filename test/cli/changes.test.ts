import type { LookupOneOptions } from 'node:dns'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { until } from '../helpers/until.ts'
import { ipvs } from './terminal.ts'

// Not every machine knows a host with an IPv6 address.
vi.mock('node:dns/promises', async (original) => {
  const dns = await original<typeof import('node:dns/promises')>()
  return {
    ...dns,
    lookup: (host: string, options: LookupOneOptions) =>
      host === 'web6' && options.family === 6
        ? Promise.resolve({ address: '2001:db8::6', family: 6 })
        : dns.lookup(host, options),
  }
})

let folder: string
let kernel: MemoryKernel

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-cli-'))
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})

/** One service with two real servers, as lines of ipvsadm. */
const LINES = `-A -t 192.0.2.10:80 -s wrr
-a -t 192.0.2.10:80 -r 10.0.0.8:80 -m -w 2
-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 1
`

/** The same with one server less, and another weight. */
const LESS = `services:
  - protocol: tcp
    address: 192.0.2.10
    port: 80
    scheduler: wrr
    realServers:
      - { address: 10.0.0.7, method: masquerade, weight: 5 }
`

/** The same with one server more. */
const MORE = LINES.replace('\n', '\n-a -t 192.0.2.10:80 -r 10.0.0.9:80 -m -w 1\n')

const LESS_PLAN = `  tcp/192.0.2.10:80
~   10.0.0.7:80  weight 1 -> 5
-   10.0.0.8:80  method masquerade, weight 2
0 to add, 1 to change, 1 to delete.
`
const LESS_DONE = 'Done: 0 added, 1 changed, 1 deleted.\n'

beforeEach(async () => {
  kernel = createMemoryKernel()
  const table = await Ipvs.open({ transport: kernel })
  await table.restore(LINES)
  await table.close()
})

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** The table as lines of ipvsadm. */
async function lines(): Promise<string> {
  const { stdout } = await ipvs('save --format ipvsadm --no-timeouts', { kernel })
  return stdout
}

/** The answer of a person to the question. */
const yes = { columns: 100, stdin: 'y\n', env: { NO_COLOR: '1' } }

describe('ipvs plan', () => {
  test('prints what differs, and ends with 1', async () => {
    const { status, stdout, stderr } = await ipvs(['plan', file('less.yaml', LESS)], { kernel })
    expect(stdout).toBe(LESS_PLAN)
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(await lines()).toBe(LINES)
  })

  const ODD = LESS.replace('scheduler: wrr', 'scheduler: my.rr')
  const PLACE = "line 5, column 5: services[0].scheduler must consist of letters, digits, '-' and '_'"

  test.each([['plan'], ['apply'], ['apply --yes'], ['apply --dry-run'], ['restore --yes']])(
    '%s: a name that no kernel module can have is refused with its place in the file',
    async (words) => {
      const path = file('odd.yaml', ODD)
      const said = await ipvs([...words.split(' '), path], { kernel })
      expect(said).toMatchObject({ status: 7, stdout: '' })
      expect(said.stderr).toContain(`ipvs: ${path}: ${PLACE}`)
      expect(await lines()).toBe(LINES)
    },
  )

  test('and with its place in standard input', async () => {
    const { status, stderr } = await ipvs(['plan', '-'], { kernel, stdin: ODD })
    expect(status).toBe(7)
    expect(stderr).toContain(`ipvs: standard input: ${PLACE}`)
  })

  test('ends with 0 where nothing differs', async () => {
    expect(await ipvs(['plan', file('same', LINES)], { kernel })).toEqual({
      status: 0,
      stdout: 'Nothing to do.\n',
      stderr: '',
    })
  })

  test('is in colour on a terminal', async () => {
    const { stdout } = await ipvs(['plan', file('less.yaml', LESS)], { kernel, columns: 80 })
    expect(stdout).toContain('\u001B[31m-   10.0.0.8:80  method masquerade, weight 2\u001B[39m\n')
  })

  test('reads standard input', async () => {
    expect(await ipvs('plan -', { kernel, stdin: LESS })).toMatchObject({ status: 1, stdout: LESS_PLAN })
  })

  test.each([
    ['a byte that is no letter', Uint8Array.of(0xff, 0x0a)],
    ['a letter that is cut off', Uint8Array.of(0xc3)],
  ])('refuses standard input with %s, as it refuses such a file', async (_, bytes) => {
    const lines = Buffer.concat([Buffer.from('-A -t 192.0.2.10:80 -s r'), bytes])
    const path = file('bad.rules', '')
    writeFileSync(path, lines)
    for (const [name, stdin] of [
      [path, ''],
      ['-', lines],
    ] as const) {
      const { status, stdout, stderr } = await ipvs(['plan', name], { kernel, stdin })
      expect({ status, stdout }).toEqual({ status: 7, stdout: '' })
      expect(stderr).toContain('UTF-8')
    }
  })

  test('takes a letter of standard input that comes in two pieces', async () => {
    const text = Buffer.from(`# ü\n${LESS}`)
    const cut = text.indexOf(0xbc)
    const stdin = [text.subarray(0, cut), text.subarray(cut)]
    expect(await ipvs('plan -', { kernel, stdin })).toMatchObject({ status: 1, stdout: LESS_PLAN })
  })

  test('--json is steps', async () => {
    const { status, stdout } = await ipvs(['plan', file('less.yaml', LESS), '--json'], { kernel })
    expect(status).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({
      deletions: 1,
      starved: [],
      reordered: [],
      steps: [
        {
          kind: 'edit-server',
          service: { protocol: 'tcp', address: '192.0.2.10', port: 80 },
          server: { address: '10.0.0.7', port: 80 },
          before: { weight: 1 },
          after: { weight: 5 },
        },
        { kind: 'delete-server', server: { address: '10.0.0.8', port: 80 } },
      ],
    })
    expect(Object.keys(JSON.parse(stdout) as object)).toEqual([
      'deletions',
      'starved',
      'reordered',
      'absentSysctls',
      'warnings',
      'steps',
    ])
  })

  test.each([
    ['--no-prune', '1 to change, 0 to delete'],
    ['--keep-weights', '0 to change, 1 to delete'],
    ['--keep-weights --no-prune', 'Nothing to do.'],
    ['--scope 192.0.2.0/24', '1 to change, 1 to delete'],
  ])('heeds %s', async (options, said) => {
    const { stdout } = await ipvs(['plan', file('less.yaml', LESS), ...options.split(' ')], { kernel })
    expect(stdout).toContain(said)
  })

  test('--scope leaves alone what is outside', async () => {
    const empty = file('empty.yaml', 'services: []\n')
    expect(await ipvs(['plan', empty, '--scope', '198.51.100.0/24,fwmark/5'], { kernel })).toMatchObject({
      status: 0,
    })
    expect(
      await ipvs(['plan', empty, '--scope', '198.51.100.1', '--scope', '192.0.2.10'], { kernel }),
    ).toMatchObject({
      status: 1,
    })
  })

  test('refuses a state that speaks of what is outside of --scope', async () => {
    const { status, stderr } = await ipvs(['plan', file('less.yaml', LESS), '--scope', 'fwmark/5'], {
      kernel,
    })
    expect(status).toBe(2)
    expect(stderr).toMatch(/tcp\/192\.0\.2\.10:80/)
  })
})

describe('ipvs apply', () => {
  test('adds and changes without a question', async () => {
    const { status, stdout, stderr } = await ipvs(['apply', file('more', MORE)], { kernel })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toBe(
      '  tcp/192.0.2.10:80\n+   10.0.0.9:80  method masquerade, weight 1\n1 to add, 0 to change, 0 to delete.\nDone: 1 added, 0 changed, 0 deleted.\n',
    )
    expect(await lines()).toContain('-r 10.0.0.9:80')
  })

  test('does nothing where nothing differs', async () => {
    const before = kernel.log.length
    expect(await ipvs(['apply', file('same', LINES)], { kernel })).toMatchObject({
      status: 0,
      stdout: 'Nothing to do.\nDone: 0 added, 0 changed, 0 deleted.\n',
    })
    const sent = kernel.log.slice(before).map(({ command }) => command)
    expect(sent.filter((command) => /^(add|edit|delete|set)/.test(String(command)))).toEqual([])
  })

  test('asks before something is removed, and does it after a yes', async () => {
    const { status, stdout, stderr } = await ipvs(['apply', file('less.yaml', LESS)], { kernel, ...yes })
    expect(stderr).toBe('This deletes 1 real server. Go on? [y/N] ')
    expect(stdout).toBe(`${LESS_PLAN}${LESS_DONE}`)
    expect(status).toBe(0)
    expect(await lines()).toBe('-A -t 192.0.2.10:80 -s wrr\n-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 5\n')
  })

  test.each([
    ['no', 'n\n'],
    ['an empty line', '\n'],
    ['something else', 'maybe\n'],
    ['the end of the input', ''],
  ])('does nothing after %s', async (_, stdin) => {
    const { status, stdout, stderr } = await ipvs(['apply', file('less.yaml', LESS)], {
      kernel,
      ...yes,
      stdin,
    })
    expect({ status, stdout }).toEqual({ status: 3, stdout: LESS_PLAN })
    expect(stderr).toMatch(/ipvs: nothing was changed\n$/)
    expect(await lines()).toBe(LINES)
  })

  test('does nothing after Ctrl-C at the question', async () => {
    const { status, stderr } = await ipvs(['apply', file('less.yaml', LESS)], {
      kernel,
      ...yes,
      stdin: '',
      onStderr(text, signal) {
        if (text.endsWith('[y/N] ')) signal('SIGINT')
      },
    })
    expect(status).toBe(130)
    expect(stderr).toContain('ended by SIGINT')
    expect(await lines()).toBe(LINES)
  })

  test.each([
    ['without a terminal', {}, []],
    ['with a state from standard input', { ...yes, stdin: LESS }, ['-']],
    ['with an input that is none', { ...yes, typing: false }, []],
    ['with --json', yes, ['--json']],
  ])('refuses to remove something %s, for there is nobody to ask', async (_, around, [more = '']) => {
    const name = more === '-' ? '-' : file('less.yaml', LESS)
    const args = ['apply', name, ...(more === '--json' ? [more] : [])]
    const { status, stderr } = await ipvs(args, { kernel, ...around })
    expect(status).toBe(3)
    expect(stderr).toContain('deletes 1 real server, and there is nobody to ask: give --yes')
    expect(await lines()).toBe(LINES)
  })

  test('--yes does not ask', async () => {
    const { status, stdout, stderr } = await ipvs(['apply', file('less.yaml', LESS), '--yes'], { kernel })
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: LESS_PLAN + LESS_DONE, stderr: '' })
    expect(await lines()).not.toContain('10.0.0.8')
  })

  test('counts services and real servers in its question', async () => {
    const { stderr } = await ipvs(['apply', file('none.yaml', 'services: []\n'), '--max-deletions', '3'], {
      kernel,
      ...yes,
      stdin: '',
    })
    expect(stderr).toContain('This deletes 1 service and 2 real servers. Go on?')
  })

  test('asks before a sync daemon is stopped, not before one is replaced', async () => {
    const table = await Ipvs.open({ transport: kernel })
    await table.startSyncDaemon({ state: 'master', multicastInterface: 'eth0', syncId: 1 })
    await table.close()
    const { stdout } = await ipvs('save', { kernel })
    const state = JSON.parse(stdout) as { syncDaemons: object[] }
    const none = file('none.json', JSON.stringify({ ...state, syncDaemons: [] }))
    const refused = await ipvs(['apply', none], { kernel })
    expect(refused).toMatchObject({ status: 3 })
    expect(refused.stderr).toContain('this stops a sync daemon')
    const other = { state: 'master', multicastInterface: 'eth0', syncId: 2 }
    const replaced = file('other.json', JSON.stringify({ ...state, syncDaemons: [other] }))
    expect(await ipvs(['apply', replaced], { kernel })).toMatchObject({ status: 0 })
  })

  test('refuses where the table has changed while the question stood', async () => {
    const { status, stderr } = await ipvs(['apply', file('less.yaml', LESS)], {
      kernel,
      ...yes,
      onStderr(text) {
        if (text.endsWith('[y/N] ')) kernel.beforeNext('getService', foreignServer)
      },
    })
    expect(status).toBe(3)
    expect(stderr).toContain('the table has changed since')
    expect(await lines()).toContain('10.0.0.8:80')
  })

  test('--yes takes the table as it finds it then', async () => {
    kernel.beforeNext('getService', foreignServer)
    expect(await ipvs(['apply', file('less.yaml', LESS), '--yes'], { kernel })).toMatchObject({ status: 0 })
    expect(await lines()).toBe('-A -t 192.0.2.10:80 -s wrr\n-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 5\n')
  })

  test.each([
    ['--dry-run', 1, ''],
    ['--dry-run --yes', 1, ''],
    [
      '--dry-run --max-deletions 0',
      3,
      '1 service or real server would be deleted, more than --max-deletions (0)',
    ],
    ['--yes --max-deletions 0', 3, 'To allow this, raise --max-deletions or give --force.'],
    [
      '--yes --allow add-server,edit-server',
      3,
      'because --allow has only add-server, edit-server. To allow this, add delete-server to --allow.',
    ],
  ])('%s ends with %i and changes nothing', async (options, expected, said) => {
    const args = ['apply', file('less.yaml', LESS), ...options.split(' ')]
    const { status, stderr } = await ipvs(args, { kernel })
    expect(status).toBe(expected)
    expect(stderr).toContain(said)
    expect(await lines()).toBe(LINES)
  })

  test.each([
    ['--max-deletions 1'],
    ['--max-deletions 0 --force'],
    ['--allow edit-server --allow delete-server,add-server'],
    ['--drain 0'],
  ])('--yes %s does it', async (options) => {
    const args = ['apply', file('less.yaml', LESS), '--yes', ...options.split(' ')]
    expect(await ipvs(args, { kernel })).toMatchObject({ status: 0 })
    expect(await lines()).not.toContain('10.0.0.8')
  })

  test('does not leave a service without a real server unless forced', async () => {
    const none = file('quiet.yaml', LESS.replace('weight: 5', 'weight: 0'))
    const refused = await ipvs(['apply', none, '--yes'], { kernel })
    expect(refused).toMatchObject({ status: 3 })
    expect(refused.stderr).toContain('without a real server')
    expect(await ipvs(['apply', none, '--yes', '--force'], { kernel })).toMatchObject({ status: 0 })
  })

  describe('with --keep-going', () => {
    const wanted = (): string =>
      file('part.rules', MORE.replace('10.0.0.9', '224.0.0.1') + '-A -t 192.0.2.11:80 -s nosuch\n')

    test('does nothing without it where a step fails', async () => {
      const { status } = await ipvs(['apply', wanted(), '--yes'], { kernel })
      expect(status).toBe(8)
      expect(await lines()).toBe(LINES)
    })

    test.each(['apply', 'restore'])(
      '%s does what can be done, and reports each step that failed',
      async (command) => {
        const path = file('part2.rules', `${MORE.replace('10.0.0.9', '224.0.0.1')}-A -f 7 -s wrr\n`)
        for (const yes of [['--yes'], []]) {
          kernel = createMemoryKernel()
          const { status, stdout, stderr } = await ipvs([command, path, '--keep-going', ...yes], { kernel })
          expect(status).toBe(8)
          expect(stdout).toMatch(
            /5 to add, 0 to change, 0 to delete\.\nDone: 4 added, 0 changed, 0 deleted\.\n$/,
          )
          expect(stderr).toMatch(
            /^ipvs: EINVAL: .*tcp\/192\.0\.2\.10:80 -> 224\.0\.0\.1:80: .*\nipvs: 4 of 5 steps done, 1 failed or skipped\n$/,
          )
          expect(await lines()).toContain('-A -f 7 -s wrr\n')
          expect(await lines()).toContain('-r 10.0.0.7:80')
        }
      },
    )

    test('reports a step that was left out, and leaves the server there', async () => {
      const path = file('part3.rules', LINES.replace('10.0.0.8', '224.0.0.1'))
      const { status, stderr } = await ipvs(['apply', path, '--yes', '--keep-going'], { kernel })
      expect(status).toBe(8)
      expect(stderr).toContain(
        'ipvs: delete-server tcp/192.0.2.10:80 -> 10.0.0.8:80: skipped, because another step of this service failed\n',
      )
      expect(await lines()).toBe(LINES)
    })

    test('--json has the steps that failed', async () => {
      const { status, stdout, stderr } = await ipvs(['apply', wanted(), '--yes', '--keep-going', '--json'], {
        kernel,
      })
      expect({ status, stderr }).toEqual({ status: 8, stderr: '' })
      const { applied, failed } = JSON.parse(stdout) as { applied: boolean; failed: object[] }
      expect(applied).toBe(true)
      expect(failed).toMatchObject([
        { step: { kind: 'add-service' }, code: 'ENOENT' },
        {
          step: { kind: 'add-server' },
          code: 'EINVAL',
          message: expect.stringMatching(/^EINVAL: /) as string,
        },
      ])
    })

    test('is 0 where nothing failed', async () => {
      const path = file('more.rules', MORE)
      expect(await ipvs(['apply', path, '--keep-going'], { kernel })).toMatchObject({ status: 0, stderr: '' })
      const again = await ipvs(['apply', path, '--keep-going', '--yes', '--json'], { kernel })
      expect(JSON.parse(again.stdout)).toMatchObject({ applied: true, failed: [] })
    })
  })

  test('undoes what was done where a step fails', async () => {
    kernel.failNext({ command: 'deleteRealServer', errno: 12 })
    const { status, stderr } = await ipvs(['apply', file('less.yaml', LESS), '--yes'], { kernel })
    expect(status).toBe(8)
    expect(stderr).toContain('the table is as it was')
    expect(await lines()).toBe(LINES)
  })

  test('--json says what was done', async () => {
    const args = ['apply', file('less.yaml', LESS), '--json']
    const dry = await ipvs([...args, '--dry-run'], { kernel })
    expect(dry.status).toBe(1)
    expect(JSON.parse(dry.stdout)).toMatchObject({ applied: false, deletions: 1 })
    const done = await ipvs([...args, '--yes'], { kernel })
    expect(done).toMatchObject({ status: 0, stderr: '' })
    expect(JSON.parse(done.stdout)).toEqual({
      ...(JSON.parse(dry.stdout) as object),
      applied: true,
    })
    const again = await ipvs(args, { kernel })
    expect(JSON.parse(again.stdout)).toEqual({
      applied: true,
      deletions: 0,
      starved: [],
      reordered: [],
      absentSysctls: [],
      warnings: [],
      steps: [],
    })
  })

  test('has a progress bar on a terminal, if it takes long', async () => {
    const many = { services: Array.from({ length: 1500 }, (_, port) => ({ ...SERVICE, port: port + 1 })) }
    const path = file('many.json', JSON.stringify(many))
    const args = ['apply', path, '--no-prune']
    const around = { columns: 80, env: { NO_COLOR: '1' }, secondsPerLook: 1 }
    const { stderr } = await ipvs(args, { kernel, ...around })
    expect(stderr.split('\r\u001B[K')).toEqual([
      '',
      `applying ██████████▎${' '.repeat(19)}  34 %  512/1500`,
      `applying ████████████████████▌${' '.repeat(9)}  68 %  1024/1500`,
      `applying ${'█'.repeat(30)} 100 %  1500/1500`,
      '',
    ])
    const quick = await ipvs(args, { kernel: createMemoryKernel(), ...around, secondsPerLook: 0 })
    expect(quick.stderr).toBe('')
    const pipe = await ipvs(args, { kernel: createMemoryKernel(), secondsPerLook: 1 })
    expect(pipe.stderr).toBe('')
  })
})

const SERVICE = { protocol: 'udp', address: '192.0.2.77' }

/** What another program does meanwhile. */
async function foreignServer(): Promise<void> {
  const other = await Ipvs.open({ transport: kernel })
  await other.addRealServer({ protocol: 'tcp', address: '192.0.2.10', port: 80 }, { address: '10.0.0.99' })
  await other.close()
}

describe('ipvs reconcile', () => {
  test('makes the table as the file wants it, and keeps it so until a signal ends it', async () => {
    const path = file('kept.yaml', LESS)
    const around = {
      kernel,
      onStdout(text: string, signal: (name: 'SIGTERM') => void) {
        // It has begun; then someone else adds a server, and then the file changes.
        const runs = text.split('delete.\n').length - 1
        if (runs === 1) void foreignServer()
        else if (runs === 2) file('kept.yaml', LESS.replace('5', '6'))
        else if (runs === 3) signal('SIGTERM')
      },
    }
    const { status, stdout, stderr } = await ipvs(['reconcile', path, '--yes', '--interval', '0.02'], around)
    expect({ status, lines: stderr.split('\n') }).toEqual({
      status: 0,
      lines: [
        `ipvs: keeping the table as ${path} says: now, every 0.02 s, and when the file changes`,
        // Someone else's server may be there already.
        expect.stringMatching(/^ipvs: as wanted: 1 service and [12] real servers?$/),
        'ipvs: ended by SIGTERM',
        '',
      ],
    })
    expect(stdout).toBe(
      [
        LESS_PLAN.trimEnd(),
        '  tcp/192.0.2.10:80',
        '-   10.0.0.99:80  method direct, weight 1',
        '0 to add, 0 to change, 1 to delete.',
        '  tcp/192.0.2.10:80',
        '~   10.0.0.7:80  weight 5 -> 6',
        '0 to add, 1 to change, 0 to delete.',
        '',
      ].join('\n'),
    )
  })

  test('ended while it drains gives the weights back, and undoes the rest', async () => {
    const key = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
    const table = await Ipvs.open({ transport: kernel })
    const weights = async (): Promise<string[]> =>
      (await table.realServers(key)).map(({ address, weight }) => `${address} ${String(weight)}`)
    for (let i = 0; i < 2; i++) kernel.connect(key)
    const path = file('drained.rules', MORE)
    let signal: ((name: 'SIGTERM') => void) | undefined
    const ended = ipvs(['reconcile', path, '--yes', '--drain', '60', '--interval', '0.02'], {
      kernel,
      onStdout(_, raise) {
        signal ??= raise
      },
    })
    await until('it has begun', () => signal !== undefined)
    const before = await weights()
    file('drained.rules', LINES.replace(/.*10\.0\.0\.8:80.*\n/, '').replace('-w 1', '-w 5'))
    await until('it drains', async () => (await weights()).includes('10.0.0.8 0'))
    signal?.('SIGTERM')
    expect(await ended).toMatchObject({ status: 0 })
    expect(await weights()).toEqual(before)
  })

  test('says what fails, and goes on', async () => {
    const path = file('wrong.yaml', 'services: 7\n')
    const { status, stdout, stderr } = await ipvs(['reconcile', path, '--no-prune', '--interval', '0.02'], {
      kernel,
      onStderr: (text, signal) => {
        if (text.includes('column')) file('wrong.yaml', LESS)
        if (text.includes('works again')) signal('SIGINT')
      },
    })
    expect(status).toBe(0)
    expect(stderr).toMatch(
      /\nipvs: .*wrong\.yaml: line 1, column \d+: services .*\nipvs: works again after \d+ failed runs?: 1 service and 2 real servers\n/,
    )
    expect(stdout).toContain('0 to add, 1 to change, 0 to delete.')
  })

  test('says with --json what fails for machines too, a line each', async () => {
    const path = file('wrong.json', '{"services": 7}')
    const { status, stderr } = await ipvs(['reconcile', path, '--no-prune', '--interval', '0.02', '--json'], {
      kernel,
      onStderr: (text, signal) => {
        if (text.includes('"error"')) signal('SIGTERM')
      },
    })
    expect(status).toBe(0)
    const lines = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object)
    expect(lines[0]).toEqual({ keeping: { file: path, prune: false, intervalSeconds: 0.02 } })
    expect(lines[1]).toEqual({
      error: {
        status: 7,
        message: expect.stringMatching(/wrong\.json: line 1, column 2: services must be an array/) as string,
      },
    })
    expect(lines.at(-1)).toEqual({ ended: 'SIGTERM' })
  })

  test('does not take an error of the socket for one of the file', async () => {
    const path = file('less.yaml', LESS)
    let armed = false
    const { stderr } = await ipvs(['reconcile', path, '--yes', '--interval', '0.02'], {
      kernel,
      onStderr: (text, signal) => {
        if (!armed && text.includes('wanted')) {
          kernel.failNext({ errno: 'EPERM', syscall: 'sendmsg' })
          armed = true
        }
        if (text.includes('EPERM')) signal('SIGINT')
      },
    })
    expect(stderr).toMatch(/\nipvs: EPERM: (?!read|write)/)
  })

  test('takes names of services and hosts, as restore does', async () => {
    const path = file('names.rules', '-A -t localhost:http -s wrr\n')
    const { status, stdout, stderr } = await ipvs(['reconcile', path, '--no-prune', '--interval', '0.02'], {
      kernel,
      onStderr: (text, signal) => {
        if (text.split('\n').length > 2) signal('SIGINT')
      },
    })
    expect(status).toBe(0)
    expect(stderr).toContain('\nipvs: as wanted: 2 services and 2 real servers\n')
    expect(stdout).toContain('+ tcp/127.0.0.1:80')
  })

  test.each([
    ['without --yes or --no-prune', [], 3, 'without asking: give --yes'],
    ['from standard input', ['--yes'], 2, 'cannot be standard input'],
  ])('does not begin %s', async (_, more, status, said) => {
    const name = status === 2 ? '-' : file('less.yaml', LESS)
    const refused = await ipvs(['reconcile', name, ...more], { kernel })
    expect(refused).toMatchObject({ status, stdout: '' })
    expect(refused.stderr).toContain(said)
    expect(await lines()).toBe(LINES)
  })

  test('ends at once without permission', async () => {
    kernel.privileged = false
    expect(await ipvs(['reconcile', file('less.yaml', LESS), '--yes'], { kernel })).toMatchObject({
      status: 5,
    })
  })
})

describe('ipvs restore', () => {
  test('asks as apply does', async () => {
    const path = file('less.yaml', LESS)
    expect(await ipvs(['restore', path], { kernel })).toMatchObject({ status: 3 })
    expect(await ipvs(['restore', path], { kernel, ...yes, stdin: 'yes\n' })).toMatchObject({ status: 0 })
    expect(await lines()).not.toContain('10.0.0.8')
  })

  test('restores what save has saved, to the same text', async () => {
    const saved = join(folder, 'saved.json')
    expect(await ipvs(['save', saved, '--sysctls'], { kernel })).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    })
    const other = createMemoryKernel()
    expect(await ipvs(['restore', saved], { kernel: other })).toMatchObject({ status: 0 })
    const again = await ipvs('save --sysctls', { kernel: other })
    expect(again.stdout).toBe(readFileSync(saved, 'utf8'))
    expect(await ipvs(['restore', saved, '--dry-run'], { kernel: other })).toMatchObject({
      status: 0,
      stdout: 'Nothing to do.\n',
    })
  })

  test('takes names of services and hosts in lines of ipvsadm', async () => {
    const other = createMemoryKernel()
    const stdin = '-A -t localhost:http -s wrr\n'
    expect(await ipvs('restore -', { kernel: other, stdin })).toMatchObject({ status: 0 })
    const { stdout } = await ipvs('save --format ipvsadm --no-timeouts', { kernel: other })
    expect(stdout).toBe('-A -t 127.0.0.1:80 -s wrr\n')
  })

  test('takes a name in brackets for an IPv6 host', async () => {
    const other = createMemoryKernel()
    const stdin = '-A -t [web6]:http -s wrr\n-A -t localhost:http -s wrr\n'
    expect(await ipvs('restore -', { kernel: other, stdin })).toMatchObject({ status: 0 })
    const { stdout } = await ipvs('save --format ipvsadm --no-timeouts', { kernel: other })
    expect(stdout.split('\n').sort()).toEqual([
      '',
      '-A -t 127.0.0.1:80 -s wrr',
      '-A -t [2001:db8::6]:80 -s wrr',
    ])
  })

  test.each([
    ['a state that ends too early', '{"services": [', '--yes', /standard input: line 1, column 1\d: /],
    ['a file with a wrong weight', LESS.replace('5', '-5'), '--yes', /line 7, column \d+: .*weight/],
    [
      'lines that end within one',
      LINES.trimEnd(),
      '--yes',
      /^ipvs: standard input: line 3, column 43: the last line does not end in a newline, .* add the newline, or give --whole\n$/,
    ],
    ['nothing', '', '--yes', /the text is empty/],
  ])('changes nothing for %s', async (_, stdin, option, said) => {
    const { status, stderr } = await ipvs(['restore', '-', option], { kernel, stdin })
    expect(status).toBe(7)
    expect(stderr).toMatch(said)
    expect(await lines()).toBe(LINES)
  })

  test.each(['-', 'file'])('takes lines that end within one with --whole: %s', async (name) => {
    const path = name === '-' ? name : file('less.rules', LINES.trimEnd().replace('-w 1', '-w 10'))
    const around = { kernel, stdin: LINES.trimEnd().replace('-w 1', '-w 10') }
    for (const command of ['plan', 'apply', 'restore', 'diff live'])
      expect(await ipvs([...command.split(' '), path], around)).toMatchObject({ status: 7, stdout: '' })
    expect(await ipvs(['plan', path, '--whole'], around)).toMatchObject({ status: 1 })
    expect(await ipvs(['diff', 'live', path, '--whole'], around)).toMatchObject({ status: 1 })
    expect(await ipvs(['apply', path, '--whole', '--dry-run'], around)).toMatchObject({ status: 1 })
    expect(await ipvs(['restore', path, '--whole'], around)).toMatchObject({ status: 0 })
    expect(await lines()).toBe(LINES.replace('-w 1', '-w 10'))
  })

  test('takes an empty table of lines if the format says so', async () => {
    const args = 'restore - --format ipvsadm --yes --max-deletions 3'
    expect(await ipvs(args, { kernel, stdin: '' })).toMatchObject({ status: 0 })
    expect(await lines()).toBe('')
  })

  test('names the file, line and column', async () => {
    const path = file('bad.yaml', LESS.replace('tcp', 'tpc'))
    const { status, stderr } = await ipvs(['restore', path], { kernel })
    expect(status).toBe(7)
    expect(stderr).toContain(`ipvs: ${path}: line 2, column 5: services[0].protocol must be 'tcp', `)
  })
})

describe('ipvs save', () => {
  test('writes JSON to standard output', async () => {
    const { status, stdout } = await ipvs('save', { kernel })
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      version: 1,
      services: [
        {
          protocol: 'tcp',
          address: '192.0.2.10',
          port: 80,
          scheduler: 'wrr',
          realServers: [
            { address: '10.0.0.8', port: 80, method: 'masquerade', weight: 2 },
            { address: '10.0.0.7', port: 80, method: 'masquerade', weight: 1 },
          ],
        },
      ],
      timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
      syncDaemons: [],
    })
    expect(await ipvs('save --json', { kernel })).toMatchObject({ stdout })
    expect(await ipvs('save -', { kernel })).toMatchObject({ stdout })
  })

  test.each([
    ['--no-timeouts --no-sync-daemons', ['version', 'services']],
    ['--no-timeouts --no-sync-daemons --scope 192.0.2.10', ['version', 'services']],
    ['--scope 192.0.2.0/24', ['version', 'services']],
    ['--sysctl conntrack,drop_entry --no-timeouts', ['version', 'services', 'syncDaemons', 'sysctls']],
  ])('%s decides what is in it', async (options, parts) => {
    const { stdout } = await ipvs(`save ${options}`, { kernel })
    expect(Object.keys(JSON.parse(stdout) as object)).toEqual(parts)
  })

  test('has the sysctls that are named', async () => {
    const { stdout } = await ipvs('save --sysctl conntrack --sysctl drop_entry', { kernel })
    expect((JSON.parse(stdout) as { sysctls: unknown }).sysctls).toEqual({ conntrack: '0', drop_entry: '0' })
  })

  test.each([
    ['table.yaml', /^# yaml-language-server: \$schema=\/.*state\.schema\.json\nversion: 1\nservices:\n/],
    ['table.rules', /^-A -t 192\.0\.2\.10:80 -s wrr\n/],
    ['table.json', /^\{\n {2}"version": 1,\n/],
  ])('writes %s in the form of its name, for its owner alone', async (name, form) => {
    const path = join(folder, name)
    expect(await ipvs(['save', path], { kernel })).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(readFileSync(path, 'utf8')).toMatch(form)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder).filter((other) => other.startsWith('.'))).toEqual([])
  })

  test('writes it so with --json too, which is about what is printed', async () => {
    const path = join(folder, 'table.yaml')
    expect(await ipvs(['save', path, '--json'], { kernel })).toMatchObject({ status: 0, stdout: '' })
    expect(readFileSync(path, 'utf8')).toMatch(/^# .*\nversion: 1\n/)
  })

  test('refuses what lines of ipvsadm cannot say, unless --lossy', async () => {
    const table = await Ipvs.open({ transport: kernel })
    await table.addRealServer(
      { protocol: 'tcp', address: '192.0.2.10', port: 80 },
      { address: '10.0.0.6', method: 'bypass' },
    )
    await table.close()
    const refused = await ipvs('save --format ipvsadm', { kernel })
    expect(refused).toMatchObject({ status: 2, stdout: '' })
    expect(refused.stderr).toContain('services[0].realServers[0].method')
    expect(refused.stderr).toContain('--lossy')
    const lossy = await ipvs('save --format ipvsadm --lossy', { kernel })
    expect(lossy.status).toBe(0)
    expect(lossy.stderr).toMatch(/^ipvs: services\[0\]\.realServers\[0\]\.method: .*\n$/)
    expect(lossy.stdout).toContain('-r 10.0.0.6:80 -g')
  })

  test.each([
    ['in no folder', 'no/such/folder/table.json', 7, 'there is no such file or folder'],
    ['of a name that tells no form', 'table', 2, 'does not say the format'],
  ])('does not write a file %s', async (_, name, status, said) => {
    const failed = await ipvs(['save', join(folder, name)], { kernel })
    expect(failed).toMatchObject({ status, stdout: '' })
    expect(failed.stderr).toContain(said)
  })

  test.each([
    ['ETIMEDOUT', 'recvmsg', 8],
    ['EPERM', 'sendmsg', 5],
  ])('does not take %s of %s for an error of the file', async (errno, syscall, status) => {
    kernel.failNext({ errno, syscall })
    const failed = await ipvs(['save', join(folder, 'table.json')], { kernel })
    expect(failed).toMatchObject({ status, stdout: '' })
    expect(failed.stderr).toMatch(new RegExp(`^ipvs: ${errno}: (?!read|write|.*table\\.json)`))
  })
})

describe('ipvs diff', () => {
  test('compares two files without a kernel', async () => {
    const [a, b] = [file('a', LINES), file('b.yaml', LESS)]
    expect(await ipvs(['diff', a, b])).toEqual({ status: 1, stdout: LESS_PLAN, stderr: '' })
    const back = await ipvs(['diff', b, a])
    expect(back.stdout).toContain('1 to add, 1 to change, 0 to delete.')
  })

  test('says nothing of two that are equal, whatever their form', async () => {
    const yaml = (await ipvs('save --format yaml --no-timeouts --no-sync-daemons', { kernel })).stdout
    expect(await ipvs(['diff', file('a', LINES), file('b.yaml', yaml)])).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    })
  })

  test('compares a file with the table', async () => {
    const less = file('less.yaml', LESS)
    expect(await ipvs(['diff', 'live', less], { kernel })).toMatchObject({ status: 1, stdout: LESS_PLAN })
    const other = await ipvs(['diff', less, 'live'], { kernel })
    expect(other.stdout).toContain('+   10.0.0.8:80')
    expect(await ipvs(['diff', 'live', '-'], { kernel, stdin: LINES })).toMatchObject({
      status: 0,
      stdout: '',
    })
  })

  test('compares of the table what the file has', async () => {
    const { stdout: saved } = await ipvs('save --sysctl conntrack', { kernel })
    const path = file('saved.json', saved.replace('"tcpSeconds": 900', '"tcpSeconds": 901'))
    expect(await ipvs(['diff', 'live', path], { kernel })).toMatchObject({
      status: 1,
      stderr: '',
      stdout: '~ timeouts  tcpSeconds 900 -> 901\n0 to add, 1 to change, 0 to delete.\n',
    })
  })

  test('says which sysctls of the file the kernel does not have', async () => {
    const sysctls = { conntrack: '0', lblc_expiration: '60' }
    const path = file('sysctls.json', JSON.stringify({ services: [], sysctls }))
    for (const two of [
      ['live', path],
      [path, 'live'],
    ]) {
      const { status, stdout, stderr } = await ipvs(['diff', ...two], { kernel })
      expect(status).toBe(1)
      expect(stderr).toBe("ipvs: this kernel has no sysctl 'lblc_expiration': not compared\n")
      expect(stdout).not.toContain('sysctl')
    }
  })

  test('says what only one file has', async () => {
    const a = file('a.json', JSON.stringify({ services: [], timeouts: { tcpSeconds: 1, udpSeconds: 2 } }))
    const b = file('b.json', JSON.stringify({ services: [], timeouts: { udpSeconds: 2 }, syncDaemons: [] }))
    expect(await ipvs(['diff', a, b])).toEqual({
      status: 0,
      stdout: '',
      stderr:
        'ipvs: only one of the two has timeouts.tcpSeconds: not compared\n' +
        'ipvs: only one of the two has syncDaemons: not compared\n',
    })
  })

  test('heeds --keep-weights, --scope and --json', async () => {
    const [a, b] = [file('a', LINES), file('b.yaml', LESS)]
    expect((await ipvs(['diff', a, b, '--keep-weights'])).stdout).toContain('0 to change, 1 to delete.')
    expect(await ipvs(['diff', a, a, '--scope', '192.0.2.10'])).toMatchObject({ status: 0 })
    const { status, stdout } = await ipvs(['diff', a, b, '--json'])
    expect(status).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ deletions: 1 })
  })

  describe('with --scope', () => {
    const timeouts = '--set 900 120 300\n'
    const outside = '-A -t 198.51.100.1:80 -s wrr\n'
    const mark = '-A -f 5 -s wrr\n'
    const within = ['--scope', '192.0.2.0/24']
    const NOTE = 'ipvs: timeouts belong to the whole director, not to a scope: not compared\n'

    test('compares of two files what is inside', async () => {
      const [a, b] = [file('a', LINES + mark), file('b.rules', MORE + outside)]
      const plan = `  tcp/192.0.2.10:80
+   10.0.0.9:80  method masquerade, weight 1
1 to add, 0 to change, 0 to delete.
`
      expect(await ipvs(['diff', a, b, ...within])).toEqual({ status: 1, stdout: plan, stderr: '' })
      expect((await ipvs(['diff', b, a, ...within])).stdout).toContain('0 to add, 0 to change, 1 to delete.')
    })

    test('leaves out what belongs to the whole director, and says so', async () => {
      const [a, b] = [file('a', LINES + timeouts), file('b.rules', LINES + timeouts.replace('900', '901'))]
      expect(await ipvs(['diff', a, b, ...within])).toEqual({ status: 0, stdout: '', stderr: NOTE })
      const all = file('all.json', (await ipvs('save --sysctl conntrack', { kernel })).stdout)
      const { status, stderr } = await ipvs(['diff', all, 'live', ...within], { kernel })
      expect(status).toBe(0)
      expect(stderr).toBe(
        NOTE + NOTE.replace('timeouts', 'syncDaemons') + NOTE.replace('timeouts', 'sysctls'),
      )
    })

    test('compares of the table what is inside', async () => {
      const table = await Ipvs.open({ transport: kernel })
      await table.restore(outside + mark, { prune: false })
      await table.close()
      const less = file('less.yaml', LESS)
      expect(await ipvs(['diff', 'live', less, ...within], { kernel })).toEqual({
        status: 1,
        stdout: LESS_PLAN,
        stderr: '',
      })
      const back = await ipvs(['diff', less, 'live', ...within], { kernel })
      expect(back).toMatchObject({ status: 1, stderr: '' })
      expect(back.stdout).toContain('1 to add, 1 to change, 0 to delete.')
    })

    test('refuses one that is none', async () => {
      const { status, stderr } = await ipvs(['diff', file('a', LINES), 'live', '--scope', '192.0.2.0/33'], {
        kernel,
      })
      expect(status).toBe(2)
      expect(stderr).toMatch(/^ipvs: --scope: its prefix length .*, got 33\n$/)
    })
  })

  test.each(['live live', '- -'])('refuses %s', async (both) => {
    expect(await ipvs(`diff ${both}`, { kernel })).toMatchObject({ status: 2, stdout: '' })
  })
})
