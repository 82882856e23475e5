import { formatServiceKey, type Ipvs, printable } from '../../lib/index.ts'
import { GROUPS } from './adm-lines.ts'
import { ODD_TABLES, type RawRequest } from './adm-odd-tables.ts'
import { wordsOf } from './adm-programs.ts'
import type { CommandResult } from './shell.ts'

/**
 * Command lines of ipvsadm's programs with what they print, how they end and
 * what they change, as text: of the real programs it is a fixture, which ours
 * must repeat on the in-memory kernel.
 */

/** One start of a program. */
export interface Start {
  readonly program: 'ipvsadm' | 'ipvsadm-save' | 'ipvsadm-restore'
  readonly line: string
  readonly stdin?: string
}

/** Starts that share a table, which is empty at first. */
export interface Scene {
  readonly title: string
  /** What other programs have made before. */
  readonly requests?: readonly RawRequest[]
  readonly starts: readonly Start[]
}

const VIEWS = ['-Ln', '-Ln --nosort', '-Ln --stats', '-Ln --thresholds', '-Ln --tun-info', '-Sn', '-S']

/** Tables for ipvsadm-restore; what it cannot do leaves the table that the lines before have made. */
const RESTORES = [
  '-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 3\n',
  '# a comment\n-A -t 10.0.0.2:80\n#\n\n-A -f 7 -p 60\n\n\n',
  '',
  '-A -t 10.0.0.3:80',
  '-A -t 10.0.0.4:80\n-A -t 10.0.0.4:80\n-A -t 10.0.0.5:80\n',
  '-A -t 10.0.0.6:80\n-A\n-A -t 10.0.0.7:80\n',
  '-nq\n',
  ' # x\n',
]

export const SCENES: readonly Scene[] = [
  ...GROUPS.map(({ title, lines }) => ({
    title,
    starts: lines.map((each) => ({
      program: 'ipvsadm' as const,
      ...(typeof each === 'string' ? { line: each } : each),
    })),
  })),
  {
    title: 'ipvsadm-save',
    starts: [
      { program: 'ipvsadm', line: '-A -t 10.0.0.1:80' },
      ...['-n', '', 'x', '-n x', 'x -n', '-h', '--numeric', '-nn', '-'].map((line) => ({
        program: 'ipvsadm-save' as const,
        line,
      })),
    ],
  },
  {
    title: 'ipvsadm-restore',
    starts: RESTORES.map((stdin) => ({ program: 'ipvsadm-restore', line: '', stdin })),
  },
  ...ODD_TABLES.map(({ title, requests, views = VIEWS }) => ({
    title: `listings of ${title}`,
    requests,
    starts: views.map((line) => ({ program: 'ipvsadm' as const, line })),
  })),
]

/** The services and hosts that have names while a transcript is made. */
export const SERVICES = `http\t80/tcp\twww\nhttps\t443/tcp\nhttp\t80/sctp\ndomain\t53/tcp\ndomain\t53/udp\ntftp\t69/udp\nsip\t5060/tcp\nsip\t5060/udp\n`
export const HOSTS = '127.0.0.1\tlocalhost\n::1\tlocalhost\n'

/** Interfaces of the namespace: lo, and one for sync daemons. */
export const LINKS = [
  'link add dummy0 type dummy',
  'link set dummy0 up',
  'addr add 192.0.2.1/24 dev dummy0',
  'addr add 2001:db8:ffff::1/64 dev dummy0 nodad',
  'route add 224.0.0.0/4 dev dummy0',
]

/**
 * Without what differs on purpose (docs/ipvsadm.md): the help's own words, the
 * lines that a restore names, control characters, and the marks and flags that
 * make a save one which can be restored.
 */
export function comparable(
  { status, stdout, stderr }: CommandResult,
  { program = 'ipvsadm', words }: { readonly program?: string; readonly words: readonly string[] },
): CommandResult {
  return {
    status,
    stdout: stdout
      .replace(/^Commands:\n[^]*?^ {2}--mcast-ttl.*\n/m, '(help)\n')
      .replace(
        /^(-[Aa] -f )(-\d+)/gm,
        (_, start: string, mark: string) => `${start}${String(Number(mark) >>> 0)}`,
      )
      .replace(/^(-A .* -s (?:sh|mh)\b.*) -b ?(\S*)$/gm, (_, start: string, flags: string) => {
        const named = flags.split(',').filter((flag) => flag !== 'flag-3' && flag !== '')
        return named.length === 0 ? start : `${start} -b ${named.join(',')}`
      }),
    stderr:
      program === 'ipvsadm-restore' || words[0] === '-R'
        ? printable(stderr, '\n\t').replace(/^ {2}in line \d+: .*\n/gm, '')
        : program === 'ipvsadm-save'
          ? stderr.replace(/^ {3}.*\n/m, '   (help)\n')
          : printable(stderr, '\n\t'),
  }
}

/** All that can be set of a table, a line for each thing. */
async function tableOf(ipvs: Ipvs): Promise<string[]> {
  const [table, timeouts, syncDaemons] = await Promise.all([
    ipvs.snapshot(),
    ipvs.timeouts(),
    ipvs.syncDaemons(),
  ])
  const lines = table.flatMap(({ service, realServers }) => {
    const { key, family } = service
    const name = formatServiceKey(key)
    const settings = without(service.toJSON(), [...Object.keys(key), 'family'])
    return [
      `${name} ${family} ${JSON.stringify(settings)}`,
      ...realServers.map((server) => `${name} -> ${JSON.stringify(server.toJSON())}`),
    ]
  })
  return [
    ...lines.sort(),
    `timeouts ${JSON.stringify(timeouts)}`,
    ...syncDaemons.map((daemon) => `daemon ${JSON.stringify(daemon)}`),
  ]
}

function without(object: object, names: readonly string[]): object {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)))
}

/** A text with a mark before each line, as JSON where it has more than plain lines. */
function marked(mark: string, text: string): string {
  if (text === '') return ''
  if (!/^(?:[\x20-\x7E]*\n)+$/.test(text)) return `${mark}json ${JSON.stringify(text)}\n`
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => `${mark} ${line}\n`)
    .join('')
}

/** What happens in a scene. */
export async function transcript(
  { starts }: Scene,
  ipvs: Ipvs,
  run: (start: Start, words: readonly string[]) => Promise<CommandResult>,
): Promise<string> {
  let text = ''
  let before = await tableOf(ipvs)
  for (const start of starts) {
    const { program, line, stdin } = start
    const words = wordsOf(line)
    const { status, stdout, stderr } = comparable(await run(start, words), { program, words })
    const after = await tableOf(ipvs)
    text += marked('$', `${program} ${line}`.trimEnd() + '\n')
    if (stdin !== undefined) text += marked('<', stdin)
    text += marked('>', stdout) + marked('!', stderr)
    if (status !== 0) text += `= ${String(status)}\n`
    for (const one of before) if (!after.includes(one)) text += marked('-', `${one}\n`)
    for (const one of after) if (!before.includes(one)) text += marked('+', `${one}\n`)
    before = after
  }
  return text
}
