import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { Ipvs, type OpenOptions, type Transport, type TransportLock } from '../../lib/index.ts'
import { fileError } from '../../lib/cli/state-file.ts'
import type { MemoryKernel } from '../../lib/testing.ts'
import { platformError } from '../../lib/transport/load-addon.ts'
import { type Around, ipvs } from '../cli/terminal.ts'
import { ROOT } from '../docs/markdown.ts'
import { beside, type Case, type Files, type Room, shown, usualKernel } from './room.ts'

interface Surroundings extends Omit<Around, 'kernel'> {
  readonly kernel?: (kernel: MemoryKernel) => unknown
  readonly files?: Files
  /** What the line does not show. */
  readonly note?: string
  /** What someone else does to the files once something is written. */
  readonly meanwhile?: (folder: string) => void
  /** Command lines before this one; then there is a history, which something may happen to. */
  readonly before?: readonly string[]
  readonly spoil?: (history: string) => void
}

/** A command line: what it writes, and its exit status. */
export function command(
  line: string,
  { kernel: prepare, files = {}, note, meanwhile, before, spoil, ...around }: Surroundings = {},
): Case {
  const { stdin } = around
  return {
    input: [
      ...(before ?? []).map((one) => `ipvs ${one}`),
      `ipvs ${line}${note === undefined ? '' : `  # ${note}`}`,
      ...(typeof stdin === 'string' ? ['standard input:', stdin.trimEnd()] : []),
      ...shown(files),
    ].join('\n'),
    message: () =>
      beside(files, async (folder) => {
        const kernel = await usualKernel()
        await prepare?.(kernel)
        const wordsOf = (text: string): string[] =>
          text
            .split(' ')
            .map((word) => (/^[\w./-]+\.(json|ya?ml|rules|gone|dir)$/.test(word) ? join(folder, word) : word))
        const history = before && {
          IPVS_HISTORY: '',
          STATE_DIRECTORY: join(folder, 'state'),
          SUDO_USER: 'alice',
        }
        for (const one of before ?? []) await ipvs(wordsOf(one), { kernel, env: { ...history } })
        spoil?.(join(folder, 'state/history'))
        const words = wordsOf(line)
        const { status, stdout, stderr } = await ipvs(words, {
          kernel,
          ...(meanwhile !== undefined && {
            onStderr: () => {
              meanwhile(folder)
            },
          }),
          ...around,
          env: { NO_COLOR: '1', ...history, ...around.env },
        })
        // A line of progress takes the place of the one before it, and may come late.
        const text = `${stderr}${stdout}`
          .replaceAll(/\r|\u001b\[\d*[Km]/g, '\n')
          .replaceAll(/\n+/g, '\n')
          .replaceAll(/^\d+ s: /gm, '0 s: ')
          .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, '2026-01-05 09:30:00')
          .replaceAll(
            /(history\/)[\w%-]+(\/\d+)?-?[0-9a-f]*/g,
            (_, start, number = '') => `${String(start)}default${String(number)}`,
          )
          .replaceAll(ROOT, '/usr/lib/node_modules/ipvs')
        return `${text.trimStart()}exit status ${String(status)}`
      }),
  }
}

const EMPTY = '{"services": []}\n'
const WEB = JSON.stringify({
  services: [
    {
      protocol: 'tcp',
      address: '192.0.2.10',
      port: 80,
      scheduler: 'rr',
      realServers: [{ address: '10.0.0.7', port: 8080, method: 'masquerade' }],
    },
  ],
})
const OTHER = '{"services": [{"protocol": "fwmark", "fwmark": 5}]}'
const NO_SERVERS = JSON.stringify({
  services: [{ protocol: 'tcp', address: '192.0.2.10', port: 80, scheduler: 'rr' }],
})

async function withTable(kernel: MemoryKernel, work: (ipvs: Ipvs) => Promise<unknown>): Promise<void> {
  const ipvs = await Ipvs.open({ transport: kernel } satisfies OpenOptions)
  await work(ipvs)
  await ipvs.close()
}

function fileSystemError(code: string): Error {
  return Object.assign(new Error(`${code}: open`), { code, syscall: 'open' })
}

/** The newest entry of the history of the one table in a folder. */
function newestIn(history: string): string {
  const [table = ''] = readdirSync(history)
  const names = readdirSync(join(history, table)).sort()
  return join(history, table, names.at(-1) ?? '')
}

function edit(path: string, change: (text: string) => string): void {
  writeFileSync(path, change(readFileSync(path, 'utf8')))
}

const MORE = WEB.replace('10.0.0.7', '10.0.0.9')
const past: Room = {
  title: 'History and undo',
  about: '[History and undo](command.md#history-and-undo) says what is kept, and where.',
  cases: [
    command('history', { before: [] }),
    command('undo', { before: [] }),
    command('history', {
      before: ['apply more.json --yes --no-prune', 'drain tcp/192.0.2.10:80 10.0.0.7:8080'],
      files: { 'more.json': MORE },
    }),
    command('undo', { before: ['drain tcp/192.0.2.10:80 10.0.0.7:8080'] }),
    command('undo', { before: ['apply more.json --yes --no-prune'], files: { 'more.json': MORE } }),
    command('undo 7', { before: ['apply more.json --yes --no-prune'], files: { 'more.json': MORE } }),
    command('undo first', { before: [] }),
    command('history --format yaml', { before: [] }),
    command('history 1 --json --format yaml', { before: [] }),
    command('undo', {
      before: ['apply more.json --yes --no-prune'],
      files: { 'more.json': MORE },
      spoil: (history) => {
        edit(newestIn(history), (text) => text.replace(/("inode":")/, '$19'))
      },
      note: 'the network namespace was deleted and made again',
    }),
    command('undo', {
      before: ['apply more.json --yes --no-prune'],
      files: { 'more.json': MORE },
      spoil: (history) => {
        edit(newestIn(history), (text) => text.slice(0, 30))
      },
      note: 'somebody has cut the file off',
    }),
    command('apply more.json --yes --no-prune', {
      before: ['apply more.json --yes --no-prune', 'drain tcp/192.0.2.10:80 10.0.0.7:8080'],
      files: { 'more.json': WEB },
      spoil: (history) => {
        chmodSync(history, 0o777)
      },
      note: 'all users may write to the folder',
    }),
    command('undo', {
      before: ['drain tcp/192.0.2.10:80 10.0.0.7:8080'],
      spoil: (history) => {
        chmodSync(history, 0o777)
      },
      note: 'the same',
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --keep', { before: [] }),
    command('drain tcp/192.0.2.10:80 10.0.0.8:8080', {
      before: ['drain tcp/192.0.2.10:80 10.0.0.7:8080 --keep'],
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --undo', {
      before: ['drain tcp/192.0.2.10:80 10.0.0.7:8080 --keep'],
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --undo', { before: [] }),
    command('drain tcp/192.0.2.10:80 10.0.0.9:8080 --undo', { before: [] }),
    command('drain tcp/192.0.2.11:80 10.0.0.9:8080 --undo', { before: [] }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --undo', {
      before: ['drain tcp/192.0.2.10:80 10.0.0.7:8080 --keep', 'apply empty.json --yes --force'],
      files: { 'empty.json': EMPTY },
    }),
  ],
}

const checks: Room = {
  title: 'Files that are checked',
  about: '`ipvs check` needs no kernel. A file that is not a state ends it with exit status 7.',
  cases: [
    command('check web.json', { files: { 'web.json': WEB } }),
    command('check web.json', { files: { 'web.json': WEB.replace('masquerade', 'direct') } }),
    command('check web.json other.json', {
      files: { 'web.json': WEB.replace('8080', '80800'), 'other.json': OTHER },
    }),
    command('check'),
    command('check - -'),
    command('check --schema web.json'),
    command('save --keep 3'),
    command('save --keep few table.json'),
    command('save table.json', {
      files: { 'table.json': WEB },
      kernel: (kernel) => withTable(kernel, (ipvs) => ipvs.flush()),
      note: 'somebody has run ipvsadm -C',
    }),
  ],
}

const usage: Room = {
  title: 'The command line',
  about: 'A wrong command line ends with exit status 2.',
  cases: [
    command('lst'),
    command('list --jsno'),
    command('help lst'),
    command('--stats list'),
    command('-Ln'),
    command('-A -t 192.0.2.10:80'),
    command('show'),
    command('list all'),
    command('list --json extra'),
    command('show 192.0.2.10:80'),
    command('show tcp/192.0.2.10:http'),
    command('drain tcp/192.0.2.10:80 web1'),
    command('drain tcp/192.0.2.10:80 10.0.0.7 --timeout soon'),
    command('drain tcp/192.0.2.10:80 10.0.0.7 --interval 0'),
    command('drain tcp/192.0.2.10:80 10.0.0.7 --at-timeout stop'),
    command('apply web.json --allow ,', { files: { 'web.json': WEB } }),
    command('apply web.json --allow add', { files: { 'web.json': WEB } }),
    command('apply web.json --max-deletions few', { files: { 'web.json': WEB } }),
    command('apply web.json --scope web', { files: { 'web.json': WEB } }),
    command('apply web.json --scope 192.0.2', { files: { 'web.json': WEB } }),
    command('apply web.json --scope 192.0.2.0/33', { files: { 'web.json': WEB } }),
    command('plan web.json --scope 198.51.100.0/24', { files: { 'web.json': WEB } }),
    command('plan web.json --scope 198.51.100.0/24', {
      files: { 'web.json': '{"services": [], "timeouts": {"tcpSeconds": 60}}' },
    }),
    command('list --netns='),
    command('save table'),
    command('save --sysctl Conntrack'),
    command('list --netns blue --memory table.json'),
    command('save --json --format yaml'),
    command('save --sysctl conntrac'),
    command('save --format ipvsadm', {
      kernel: (kernel) =>
        withTable(kernel, (ipvs) => ipvs.addService({ protocol: 50, address: '192.0.2.11', port: 80 })),
    }),
    command('diff live live'),
    command('diff - -'),
    command('reconcile - --yes'),
    command('reconcile web.yaml'),
    command('list --jsno --json', { note: 'errors too are JSON' }),
    command('list --netns blue', { env: { IPVS_MEMORY: 'table.json' }, note: 'IPVS_MEMORY=table.json' }),
  ],
}

const files: Room = {
  title: 'Files of the command',
  about: 'Exit status 7.',
  cases: [
    command('plan web.json'),
    command('plan .', {}),
    command('plan web.json/web.json', { files: { 'web.json': WEB } }),
    command('plan web.json', { files: { 'web.json': '{"services": [' } }),
    command('plan web.json', { files: { 'web.json': '' } }),
    command('plan web.json', { files: { 'web.json': '"services"' } }),
    command('plan web.json --format ipvsadm', { files: { 'web.json': WEB } }),
    command('plan web.yaml', { files: { 'web.yaml': 'timeouts:\n  tcpSeconds: 90' } }),
    command('plan web.yaml', { files: { 'web.yaml': 'sysctls:\n  conntrac: 1\n' } }),
    command('plan web.yaml', { files: { 'web.yaml': 'sysctls:\n  nothing_like_it: 1\n' } }),
    command('apply web.yaml --yes', { files: { 'web.yaml': 'sysctls:\n  nothing_like_it: 1\n' } }),
    command('apply web.yaml --yes --keep-going', {
      files: { 'web.yaml': 'sysctls:\n  nothing_like_it: 1\n' },
    }),
    command('plan web.rules', { files: { 'web.rules': '-A -t 192.0.2.10:80 -s my.rr\n' } }),
    command('plan web.rules', { files: { 'web.rules': '-A -t 192.0.2.10:80 -s round-robin\n' } }),
    command('plan web.yaml', {
      files: { 'web.yaml': 'services:\n  - { protocol: tcp, vip: 192.0.2.10, port: 80 }\n' },
    }),
    command('plan -', { stdin: 'services: [' }),
    command('plan -', { stdin: 'services: [\n' }),
    command('plan -', { stdin: Buffer.from([0x7b, 0xff]), note: 'a byte that is not UTF-8' }),
    command('save gone/table.json'),
    command('list', {
      outputFails: Object.assign(new Error('write ENOSPC'), {
        code: 'ENOSPC',
        errno: -constants.errno.ENOSPC,
      }),
      note: 'the disk is full',
    }),
    command('list --memory table.json', { files: { 'table.json': '{"services": 5}' } }),
    command('list --memory table.json', {
      files: { 'table.json': '{"services": [{"protocol": "fwmark", "fwmark": 5, "scheduler": "nosuch"}]}' },
    }),
    command('apply empty.json --memory table.json --yes --force', {
      files: { 'empty.json': EMPTY, 'table.json': WEB },
      meanwhile: (folder) => {
        writeFileSync(join(folder, 'table.json'), EMPTY)
      },
      note: 'another program writes table.json meanwhile',
    }),
    command('apply esp.json --memory table.rules', {
      files: {
        'esp.json': '{"services": [{"protocol": 50, "address": "192.0.2.10", "port": 80}]}\n',
        'table.rules': '-C\n',
      },
    }),
    ...(['EROFS', 'ENOSPC', 'EACCES'] as const).map((code): Case => ({
      input: `ipvs save table.json  # the system answers ${code}`,
      message: () =>
        Promise.resolve((fileError('write', 'table.json', fileSystemError(code)) as Error).message),
    })),
    command('plan empty.json --memory table.json', { files: { 'empty.json': EMPTY, 'table.json': EMPTY } }),
  ],
}

const changes: Room = {
  title: 'Changes',
  about: 'Questions, refusals and results.',
  cases: [
    command('plan empty.json', { files: { 'empty.json': EMPTY } }),
    command('apply empty.json --yes', { files: { 'empty.json': EMPTY } }),
    command('apply empty.json --max-deletions 3', { files: { 'empty.json': EMPTY } }),
    command('apply empty.json --max-deletions 3', {
      files: { 'empty.json': EMPTY },
      columns: 80,
      stdin: 'n\n',
    }),
    command('apply empty.json --yes --max-deletions 3', { files: { 'empty.json': EMPTY } }),
    command('apply empty.json --yes --max-deletions 1', { files: { 'empty.json': EMPTY } }),
    command('apply web.json --yes --allow add-server', { files: { 'web.json': WEB } }),
    command('apply web.json --yes', { files: { 'web.json': NO_SERVERS } }),
    command('apply web.json --yes --keep-going', {
      files: { 'web.json': WEB },
      kernel: (kernel) => {
        kernel.failNext({ command: 'deleteRealServer', errno: 'EPERM' })
      },
      note: 'the kernel answers EPERM to delete-server',
    }),
    command('apply empty.json --yes --keep-going --max-deletions 3', {
      files: { 'empty.json': '{"services": [{"protocol": "fwmark", "fwmark": 5}]}' },
      kernel: (kernel) => {
        kernel.failNext({ command: 'addService', errno: 'ENOMEM' })
      },
      note: 'the kernel answers ENOMEM to add-service',
    }),
    command('apply web.json --yes --force', {
      files: { 'web.json': OTHER },
      kernel: (kernel) => {
        kernel.failNext({ command: 'addService', errno: 'ENOENT' })
      },
      note: 'the kernel answers ENOENT to add-service',
    }),
    command('apply web.json --yes --force', {
      files: { 'web.json': OTHER },
      kernel: (kernel) => {
        kernel.failNext({ command: 'addService', errno: 'EEXIST' })
      },
      note: 'the kernel answers EEXIST to add-service',
    }),
    command('apply web.json --yes --force', {
      files: { 'web.json': OTHER },
      kernel: (kernel) => {
        kernel.failNext({ command: 'addService', errno: 'ETIMEDOUT' })
        kernel.beforeNext('addService', () => {
          kernel.failNext({ command: 'getService', errno: 'ETIMEDOUT' })
        })
      },
      note: 'the kernel does not answer any more',
    }),
    command('apply empty.json --max-deletions 3', {
      files: { 'empty.json': EMPTY },
      columns: 80,
      stdin: 'y\n',
      kernel: (kernel) => {
        // Read for the plan that is shown, and for the guards; then it is applied.
        kernel.beforeNext('getService', () => {
          kernel.beforeNext('getService', () => {
            kernel.beforeNext('getService', () =>
              withTable(kernel, (ipvs) => ipvs.editService(KEY, { scheduler: 'wlc' })),
            )
          })
        })
      },
      note: 'another program changes the table meanwhile',
    }),
    command('apply web.json', {
      files: { 'web.json': JSON.stringify({ ...JSON.parse(WEB), services: [], syncDaemons: [] }) },
      kernel: (kernel) =>
        withTable(kernel, async (ipvs) => {
          await ipvs.flush()
          await ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })
        }),
    }),
    command('diff live web.json', {
      files: { 'web.json': JSON.stringify({ ...JSON.parse(WEB), sysctls: { conntrac: '1' } }) },
    }),
    command('diff web.json other.json', {
      files: { 'web.json': '{"services": []}', 'other.json': '{"timeouts": {"tcpSeconds": 60}}' },
    }),
    command('diff live web.json --scope 192.0.2.0/24', {
      files: { 'web.json': JSON.stringify({ ...JSON.parse(WEB), timeouts: { tcpSeconds: 60 } }) },
    }),
    command('diff web.json other.json', {
      files: {
        'web.json': WEB,
        'other.json': JSON.stringify({ ...JSON.parse(WEB), timeouts: { tcpSeconds: 60 } }),
      },
    }),
    command('save --format ipvsadm --lossy', {
      kernel: (kernel) =>
        withTable(kernel, (ipvs) => ipvs.addService({ protocol: 50, address: '192.0.2.11', port: 80 })),
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080'),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --timeout 0', { kernel: busy }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --interval 0.01', {
      kernel: (kernel) => {
        busy(kernel)
        whenDrained(kernel, (ipvs) => ipvs.deleteRealServer(KEY, SERVER))
      },
      note: 'another program deletes it',
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080 --interval 0.01', {
      kernel: (kernel) => {
        busy(kernel)
        whenDrained(kernel, (ipvs) => ipvs.editRealServer(KEY, SERVER, { weight: 5 }))
      },
      note: 'another program gives it a weight',
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080', {
      kernel: busy,
      columns: 200,
      onStderr: interruptOnce('active'),
      note: 'Ctrl-C',
    }),
    command('drain tcp/192.0.2.10:80 10.0.0.7:8080', {
      kernel: (kernel) => {
        for (const connection of busy(kernel)) connection.close()
      },
      columns: 200,
      onStderr: interruptOnce('inactive'),
      note: 'its connections are closed; Ctrl-C',
    }),
  ],
}

const verbs: Room = {
  title: 'One service, one server',
  about: 'add, set, weight, remove, zero and flush.',
  cases: [
    command('add tcp/192.0.2.11:80 scheduler=wrr'),
    command('add tcp/192.0.2.11:80 10.0.0.7'),
    command('add tcp/[2001:db8::1]:80 2001:db8::7'),
    command('add tcp/192.0.2.10:80'),
    command('add tcp/192.0.2.10:80 10.0.0.7:8080'),
    command('add tcp/192.0.2.11:0'),
    command('add tcp/192.0.2.11:80 scheduler=wrrr'),
    command('set tcp/192.0.2.10:80'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080'),
    command('set tcp/192.0.2.10:80 sheduler=wrr'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 color=red'),
    command('set tcp/192.0.2.10:80 wieght=5'),
    command('set tcp/192.0.2.10:80 weight=5'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 scheduler=rr'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 weight 5'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 weight'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 -w 5'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 weight=1 weight=2'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 tunnel=gue/6080/csum'),
    command('set tcp/192.0.2.10:80 persistence=yes'),
    command('set tcp/192.0.2.10:80 persistence=none persistence.netmask=/24'),
    command('set tcp/192.0.2.10:80 persistence.netmask=/24'),
    command('set --everywhere weight=5'),
    command('set --everywhere 10.0.0.7 scheduler=rr'),
    command('set tcp/192.0.2.10:80 onePacket=maybe'),
    command('set tcp/192.0.2.10:80 10.0.0.7:8080 tunnel=gue'),
    command('add -t 192.0.2.10:80 -s rr'),
    command('add tcp/192.0.2.10:80 -r 10.0.0.7:8080'),
    command('remove --everywhere'),
    command('set --everywhere tcp/192.0.2.10:80 10.0.0.7 weight=5'),
    command('set --everywhere 10.0.0.7 weight=5'),
    command('set tcp/192.0.2.10:80 10.0.0.7 weight=5'),
    command('weight tcp/192.0.2.10:80 10.0.0.7:8080 1'),
    command('weight tcp/192.0.2.10:80 10.0.0.7:8080 10.0.0.8:8080 0'),
    command('weight tcp/192.0.2.10:80 10.0.0.7:8080'),
    command('weight tcp/192.0.2.10:80 5'),
    command('remove tcp/192.0.2.10:80 10.0.0.7:8080'),
    command('remove tcp/192.0.2.10:80 10.0.0.9'),
    command('remove tcp/192.0.2.10:80 weight=5'),
    command('remove tcp/192.0.2.10:80 10.0.0.7:8080 method=tunnel'),
    command('weight tcp/192.0.2.10:80 10.0.0.8:8080 method=masquerade 5'),
    command('remove --everywhere 10.0.0.9'),
    command('zero'),
    command('zero tcp/192.0.2.10:80'),
    command('zero tcp/192.0.2.10:80 --dry-run'),
    command('flush'),
    command('flush', { columns: 80, stdin: 'n\n' }),
  ],
}

const KEY = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const SERVER = { address: '10.0.0.7', port: 8080 }

/** Each of the two real servers has a connection. */
function busy(kernel: MemoryKernel): ReturnType<MemoryKernel['traffic']> {
  return kernel.traffic(KEY, { connections: 2 })
}

/** Someone else does something once the server has lost its weight. */
function whenDrained(kernel: MemoryKernel, work: (ipvs: Ipvs) => Promise<unknown>): void {
  kernel.beforeNext('editRealServer', () => {
    kernel.beforeNext('getRealServers', () => withTable(kernel, work))
  })
}

function interruptOnce(word: string): NonNullable<Around['onStderr']> {
  let sent = false
  return (text, signal) => {
    if (sent || !text.includes(word)) return
    sent = true
    signal('SIGINT')
  }
}

/** The lock of the table, as these answers have it one after the other, the last one for good. */
function locked(
  ...answers: readonly Awaited<ReturnType<NonNullable<Transport['lock']>>>[]
): (kernel: MemoryKernel) => void {
  const left = [...answers]
  return (kernel) => {
    const lock: Transport['lock'] = () =>
      Promise.resolve((left.length > 1 ? left.shift() : left[0]) ?? { errno: 5 })
    Object.assign(kernel, { lock })
  }
}

const HOLDER = { holder: { pid: 4711, command: 'ipvs apply other.yaml' } }

const locks: Room = {
  title: 'Two commands at the same time',
  about: '[Two at the same time](save-and-restore.md#two-at-the-same-time) says how they take turns.',
  cases: [
    command('weight tcp/192.0.2.10:80 10.0.0.7:8080 5', {
      kernel: locked(HOLDER, { release: () => Promise.resolve() }),
      note: 'another changes the table',
    }),
    command('apply web.rules', {
      files: {
        'web.rules':
          '-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m\n-a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 5\n',
      },
      kernel: (kernel) => {
        const lock = async (): Promise<TransportLock> => {
          const other = await Ipvs.open({ transport: kernel })
          await other.editRealServer('tcp/192.0.2.10:80', '10.0.0.7:8080', { weight: 3 })
          return { release: () => other.close() }
        }
        Object.assign(kernel, { lock })
      },
      note: 'another has just changed the table',
    }),
    command('weight tcp/192.0.2.10:80 10.0.0.7:8080 5 --no-wait', {
      kernel: locked(HOLDER),
      note: 'another changes the table',
    }),
    command('weight tcp/192.0.2.10:80 10.0.0.7:8080 5', {
      kernel: locked({ errno: constants.errno.EROFS, syscall: 'mkdir' }),
      note: '/run is read-only',
    }),
  ],
}

const kernels: Room = {
  title: 'Exit statuses of what the kernel refuses',
  about: '`ipvs --help` has them all.',
  cases: [
    command('show tcp/192.0.2.11:80'),
    command('drain tcp/192.0.2.10:80 10.0.0.9'),
    command('list', {
      kernel: (kernel) => {
        kernel.privileged = false
      },
      note: 'not root',
    }),
    command('list', {
      kernel: (kernel) => {
        kernel.loaded = false
      },
      note: 'no IPVS in the kernel',
    }),
    command('list --json', {
      kernel: (kernel) => {
        kernel.failNext({ errno: 'ENOMEM' })
      },
      note: 'the kernel answers ENOMEM',
    }),
    command('list', {
      kernel: (kernel) => {
        Object.defineProperty(kernel, 'dump', { value: () => Promise.reject(platformError('darwin')) })
        Object.defineProperty(kernel, 'batch', { value: () => Promise.reject(platformError('darwin')) })
        Object.defineProperty(kernel, 'dumpOfDumps', { value: () => Promise.reject(platformError('darwin')) })
      },
      note: 'on macOS',
    }),
  ],
}

const outputs: Room = {
  title: 'What the command prints',
  about: 'Listings.',
  cases: [
    command('list'),
    command('list --stats'),
    command('list', {
      kernel: (kernel) => withTable(kernel, (ipvs) => ipvs.flush()),
      columns: 80,
      note: 'an empty table, on a terminal',
    }),
    command('list', {
      kernel: (kernel) =>
        withTable(kernel, (ipvs) => ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80 })),
      columns: 80,
      note: 'a service without real servers, on a terminal',
    }),
    command('show tcp/192.0.2.10:80'),
    command('show udp/192.0.2.11:53', {
      kernel: (kernel) =>
        withTable(kernel, (ipvs) =>
          ipvs.addService({
            protocol: 'udp',
            address: '192.0.2.11',
            port: 53,
            onePacket: true,
            persistence: { timeoutSeconds: 300 },
            persistenceEngine: 'sip',
          }),
        ),
    }),
    command('info', {
      kernel: (kernel) =>
        withTable(kernel, (ipvs) => ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })),
    }),
  ],
}

/** Ends a reconciler with SIGTERM at a word; before that, at another, something is done once. */
function reconciling(
  last: string,
  word = last,
  work: (signal: (name: 'SIGHUP') => void) => void = () => undefined,
): Pick<Surroundings, 'onStderr'> {
  let done = false
  return {
    onStderr(text, signal) {
      if (!done && text.includes(word)) {
        done = true
        work(signal)
      }
      if (text.includes(last)) signal('SIGTERM')
    },
  }
}

const reconcilers: Room = {
  title: 'What a reconciler says',
  about: 'On standard error; what a run changed is printed to standard output.',
  cases: [
    command('reconcile web.json --no-prune --scope 192.0.2.0/24', {
      files: { 'web.json': WEB },
      ...reconciling('as wanted'),
      note: 'and then SIGTERM',
    }),
    command('reconcile web.json --yes', {
      files: { 'web.json': WEB },
      ...reconciling('SIGHUP', 'as wanted', (signal) => {
        signal('SIGHUP')
      }),
      note: 'SIGHUP, and then SIGTERM',
    }),
    command('reconcile web.json --yes', {
      files: { 'web.json': WEB },
      async kernel(kernel) {
        await withTable(kernel, (ipvs) => ipvs.flush())
        kernel.failNext({ errno: 'ENOMEM', command: 'addRealServer' })
      },
      ...reconciling('works again', 'ENOMEM', (signal) => {
        signal('SIGHUP')
      }),
      note: 'the kernel answers ENOMEM once; SIGHUP, and then SIGTERM',
    }),
    command('reconcile web.json --yes', {
      files: { 'web.json': WEB },
      env: { NOTIFY_SOCKET: '/run/systemd/notify' },
      onNotification: () => 'ECONNREFUSED (sendto)',
      ...reconciling('as wanted'),
      note: 'systemd does not listen; and then SIGTERM',
    }),
  ],
}

const helps: Room = {
  title: 'Help',
  about: 'Of the command, and of each of its commands.',
  cases: [
    command('--help'),
    ...'list show info add set weight remove zero flush save restore check plan apply reconcile diff drain history undo doctor setup completion'
      .split(' ')
      .map((name) => command(`${name} --help`)),
  ],
}

export const commandRooms: readonly Room[] = [
  usage,
  files,
  checks,
  changes,
  verbs,
  past,
  locks,
  kernels,
  outputs,
  reconcilers,
  helps,
]
