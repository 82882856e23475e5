import type { Random } from './random.ts'

/**
 * Command lines by chance: few addresses, so that lines meet what others made;
 * mostly values that are good, and of those that are not one or two in a line.
 */

type Pool = readonly string[]

const SERVICE_ADDRESSES: Pool = [
  '10.0.0.1:80',
  '10.0.0.2:53',
  '10.0.0.1',
  '10.0.0.3:http',
  '[2001:db8::1]:80',
  '[2001:db8::2]:53',
  '2001:db8::1',
]
const ODD_ADDRESSES: Pool = [
  '10.0.0.1:',
  '10.0.0.1:x',
  '10.1:80',
  '[2001:db8::1]',
  '[10.0.0.1]:80',
  '0.0.0.0',
  '::',
  '80',
  '',
  '10.0.0.1:65536',
  '-n',
  'no-such-host.invalid:80',
]
const SERVERS: Pool = [
  '10.1.0.1',
  '10.1.0.2:80',
  '10.1.0.2:8080',
  '10.1.0.3:http',
  '127.0.0.1:81',
  '2001:db8:1::1',
  '[2001:db8:1::2]:81',
  '10.1.0.4:0',
]
const MARKS: Pool = ['1', '2', '4294967295', '007']
const NUMBERS: Pool = ['0', '1', '7', '100', '65535', '65536', '2147483647']
const ODD_NUMBERS: Pool = [
  '-1',
  '2147483648',
  'x',
  '',
  '+5',
  ' 6',
  '0x10',
  '99999999999999999999',
  '1.5',
  '5 ',
]
const WORDS: Pool = ['80', 'x', '1', '', '-', '--']

/** An option with a value that is good. */
const SERVICE_OPTIONS: readonly ((random: Random) => readonly string[])[] = [
  (random) => ['-s', random.pick(['rr', 'wrr', 'wlc', 'sh', 'mh', 'nq', 'none'])],
  (random) => ['-p', random.pick(['60', '1', '2678400'])],
  () => ['-p'],
  (random) => ['-M', random.pick(['255.255.255.0', '64', '255.255', '128'])],
  (random) => ['-b', random.pick(['flag-1', 'flag-2,flag-3', 'sh-port', 'mh-fallback,mh-port', 'flag-1,,'])],
  () => ['--pe', 'sip'],
  () => ['-o'],
]
const SERVER_OPTIONS: readonly ((random: Random) => readonly string[])[] = [
  (random) => [random.pick(['-m', '-g', '-i', '-i', '--masquerading', '--ipip'])],
  (random) => ['-w', random.pick(NUMBERS)],
  (random) => ['-x', random.pick(NUMBERS)],
  (random) => ['-y', random.pick(NUMBERS)],
  (random) => ['--tun-type', random.pick(['ipip', 'gue', 'gre'])],
  (random) => ['--tun-port', random.pick(['1', '6080', '65535'])],
  (random) => [random.pick(['--tun-nocsum', '--tun-csum', '--tun-remcsum'])],
]
const DAEMON_OPTIONS: readonly ((random: Random) => readonly string[])[] = [
  () => ['--mcast-interface', 'dummy0'],
  (random) => ['--syncid', random.pick(['0', '7', '255', '256'])],
  (random) => ['--mcast-group', random.pick(['239.1.2.3', 'ff05::51', '10.0.0.1', 'x'])],
  (random) => ['--mcast-port', random.pick(['9000', '0', '65535'])],
  (random) => ['--mcast-ttl', random.pick(['1', '255', '256'])],
  (random) => ['--sync-maxlen', random.pick(['1400', '1', '65507', '65508'])],
]
const LIST_OPTIONS: readonly ((random: Random) => readonly string[])[] = [
  (random) => [
    random.pick(['--stats', '--rate', '--thresholds', '--persistent-conn', '--tun-info', '--exact', '-X']),
  ],
  (random) => [
    random.pick(['--nosort', '--sort', '--timeout', '--daemon', '-c', '--connection', '--syncid=3']),
  ],
  (random) => [random.pick(['--stats', '--thresholds', '--tun-info'])],
]
/** What goes with nothing, or only with something else. */
const ANY_OPTION: readonly ((random: Random) => readonly string[])[] = [
  ...SERVICE_OPTIONS,
  ...SERVER_OPTIONS,
  ...DAEMON_OPTIONS,
  ...LIST_OPTIONS,
  (random) => ['-w', random.pick(ODD_NUMBERS)],
  (random) => ['-x', random.pick(ODD_NUMBERS)],
  (random) => ['-y', random.pick(ODD_NUMBERS)],
  (random) => ['-p', random.pick(ODD_NUMBERS)],
  (random) => ['-s', random.pick(['nosuch', '', 'averyveryverylongname'])],
  (random) => ['-b', random.pick(['bad', '1', 'flag-1,sh-port'])],
  (random) => ['--pe', random.pick(['nosuch', ''])],
  (random) => ['--tun-port', random.pick(ODD_NUMBERS)],
  (random) => ['--tun-type', random.pick(['GRE', ''])],
  (random) => ['-M', random.pick(['256.0.0.0', '', '0', '129'])],
  (random) => ['-r', random.pick(ODD_ADDRESSES)],
  (random) => ['-t', random.pick(ODD_ADDRESSES)],
  (random) => ['-f', random.pick(ODD_NUMBERS)],
  (random) => [
    random.pick(['-n', '-6', '-q', '--nosuch', '--numeric=x', '-L', '-A', '-v', '-h', '-nq', '--', '-']),
  ],
  (random) => [random.pick(WORDS)],
]

/** One command line, with what -R reads. */
export function randomLine(random: Random): { words: string[]; stdin?: string } {
  if (random.below(12) > 0) return { words: commandLine(random) }
  const lines = Array.from({ length: 1 + random.below(8) }, () => restoreLine(random))
  const stdin = lines.join('') + random.pick(['', '', '', '-A -t 10.0.0.9:80', '-A -t 10.0.0.9:80\t', '\n\n'])
  return { words: ['-R'], stdin }
}

function restoreLine(random: Random): string {
  // What lists prints in the order of its namespace, and those differ.
  let words: string[]
  do words = commandLine(random)
  while (words.some((word) => /^(-[LlSR]|--list|--save|--restore)/.test(word)) || words.length === 0)
  return words.join(random.pick([' ', ' ', '  ', '\t'])) + random.pick(['\n', '\n', '\r\n', ' # x\n', '\n\n'])
}

function commandLine(random: Random): string[] {
  const [command, ...options] = goodLine(random)
  // Something that does not belong, in two of five lines.
  for (let more = random.below(5); more > 2; more--) {
    const at = random.below(options.length + 1)
    options.splice(at, 0, random.pick(ANY_OPTION)(random))
  }
  if (random.below(8) === 0) options.reverse()
  if (random.below(40) === 0) return options.flat()
  return [...(command ?? []), ...options.flat()]
}

/** A line that is as it should be: the command, then each option with its value. */
function goodLine(random: Random): (readonly string[])[] {
  const some = (
    from: readonly ((random: Random) => readonly string[])[],
    most: number,
  ): (readonly string[])[] => Array.from({ length: random.below(most + 1) }, () => random.pick(from)(random))
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
      return [
        [random.pick(['-A', '-A', '-A', '-E', '--add-service'])],
        ...service(random),
        ...some(SERVICE_OPTIONS, 3),
      ]
    case 3:
    case 4:
    case 5:
    case 6:
      return [
        [random.pick(['-a', '-a', '-a', '-e', '-e', '--edit-server'])],
        ...service(random),
        ['-r', random.pick(SERVERS)],
        ...some(SERVER_OPTIONS, 3),
      ]
    case 7:
      return [['-d'], ...service(random), ['-r', random.pick(SERVERS)]]
    case 8:
      return [[random.pick(['-D', '-Z', '-D', '-Z', '-C'])], ...service(random)]
    case 9:
      return random.below(2) === 0
        ? [['--start-daemon', random.pick(['master', 'backup'])], ...some(DAEMON_OPTIONS, 3)]
        : [['--stop-daemon', random.pick(['master', 'backup'])]]
    case 10:
      return [
        ['--set'],
        [random.pick(NUMBERS)],
        [random.pick(['60', '0', '2678401'])],
        [random.pick(['60', '0'])],
      ]
    default:
      return random.below(3) === 0
        ? [['-S'], ['-n']]
        : [['-L'], ['-n'], ...(random.below(3) === 0 ? service(random) : []), ...some(LIST_OPTIONS, 2)]
  }
}

function service(random: Random): (readonly string[])[] {
  switch (random.below(8)) {
    case 0:
      return [['-u', random.pick(SERVICE_ADDRESSES)]]
    case 1:
      return [['-f', random.pick(MARKS)]]
    case 2:
      return [['-f', random.pick(MARKS), '-6']]
    case 3:
      return [['--sctp-service', random.pick(SERVICE_ADDRESSES)]]
    default:
      return [[random.pick(['-t', '--tcp-service']), random.pick(SERVICE_ADDRESSES)]]
  }
}
