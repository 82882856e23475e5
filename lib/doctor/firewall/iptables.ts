import { contains } from '../../model/address.ts'
import {
  type Action,
  all,
  type Chain,
  type Hook,
  isProtocol,
  type Marked,
  type Match,
  matchIf,
  not,
  type Packet,
  type Rule,
} from './ruleset.ts'

/** What iptables-save and ip6tables-save print. */

const HOOKS: Readonly<Record<string, Hook>> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
}

/** Of the tables, in the order in which a packet meets them (linux/netfilter_ipv4.h). */
const PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  nat: -100,
  filter: 0,
  security: 50,
}
const SOURCE_PRIORITY = 100

interface MutableChain extends Chain {
  readonly rules: Rule[]
}

export function iptablesChains(text: string, program: 'iptables' | 'ip6tables'): Chain[] {
  const chains: Chain[] = []
  let table = ''
  let siblings = new Map<string, MutableChain>()
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      table = line.slice(1).trim()
      siblings = new Map()
    } else if (line.startsWith(':')) {
      const [name = '', policy = ''] = line.slice(1).split(' ')
      const hook = policy === '-' ? undefined : HOOKS[name]
      const late = table === 'nat' && (hook === 'postrouting' || hook === 'input')
      const chain: MutableChain = {
        ...{ program, table, name, rules: [], siblings },
        families: [program === 'iptables' ? 'ipv4' : 'ipv6'],
        ...(hook !== undefined && {
          hook,
          priority: late ? SOURCE_PRIORITY : (PRIORITIES[table] ?? 0),
          policy: policy === 'DROP' ? 'drop' : 'accept',
        }),
      }
      siblings.set(name, chain)
      chains.push(chain)
    } else if (line.startsWith('-A ')) {
      const [, name = '', ...words] = wordsOf(line)
      siblings.get(name)?.rules.push(ruleOf(line, words))
    }
  }
  return chains
}

/** The words of a line: in quotes there may be spaces, and a backslash before a quote. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, plain]) => quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '',
  )
}

type Test = (packet: Marked) => Match

/** Modules whose options are all known here, or that match nothing by themselves. */
const MODULES = ['tcp', 'udp', 'sctp', 'multiport', 'conntrack', 'state', 'mark', 'comment', 'ipvs']

const TESTS: Readonly<Record<string, (value: string) => Test>> = {
  '-s': (value) => (packet) => inNetwork(packet, packet.source, value),
  '-d': (value) => (packet) => inNetwork(packet, packet.destination, value),
  '-p': (value) => (packet) => ofProtocol(packet, value),
  '-i': (value) => (packet) => ofLink(packet.incoming, value),
  '-o': (value) => (packet) => ofLink(packet.outgoing, value),
  '--sport': (value) => (packet) => inPorts(packet.sourcePort, value),
  '--dport': (value) => (packet) => inPorts(packet.destinationPort, value),
  '--sports': (value) => (packet) => inPorts(packet.sourcePort, value),
  '--dports': (value) => (packet) => inPorts(packet.destinationPort, value),
  '--ctstate': (value) => (packet) => inStates(packet, value),
  '--state': (value) => (packet) => inStates(packet, value),
  '--mark': (value) => (packet) => hasMark(packet, value),
  '--vaddr': (value) => (packet) => inNetwork(packet, packet.virtual?.address, value),
  '--vport': (value) => (packet) => inPorts(packet.virtual?.port, value),
  '--comment': () => () => 'yes',
}

/** Targets that let the packet go on to the next rule, as it is. */
const GOING_ON = [
  'LOG',
  'NFLOG',
  'TCPMSS',
  'DSCP',
  'TOS',
  'TTL',
  'HL',
  'CLASSIFY',
  'CHECKSUM',
  'SET',
  'TRACE',
  'AUDIT',
]

function ruleOf(text: string, words: readonly string[]): Rule {
  const tests: Test[] = []
  let action: Action = { kind: 'continue' }
  for (let index = 0; index < words.length; index++) {
    const negated = words[index] === '!'
    if (negated) index++
    const option = words[index] ?? ''
    const value = words[index + 1] ?? ''
    if (option === '-j' || option === '-g') {
      action = option === '-g' ? { kind: 'goto', chain: value } : targetOf(value, words.slice(index + 2))
      break
    }
    const test = TESTS[option]?.(value)
    if (option === '-m') {
      if (!MODULES.includes(value)) tests.push(() => 'maybe')
      index++
    } else if (test !== undefined) {
      tests.push(negated ? (packet) => not(test(packet)) : test)
      index++
    } else if (option === '--ipvs') {
      tests.push(({ virtual }) => (negated ? not : same)(matchIf(virtual !== undefined)))
    } else if (option.startsWith('-')) {
      tests.push(() => 'maybe')
    }
  }
  return {
    text,
    match: (packet) => all(tests, packet),
    actions: [{ match: () => 'yes', action }],
  }
}

function same(match: Match): Match {
  return match
}

function targetOf(target: string, options: readonly string[]): Action {
  switch (target) {
    case 'ACCEPT':
      return { kind: 'accept' }
    case 'DROP':
    case 'REJECT':
      return { kind: 'drop' }
    case 'RETURN':
      return { kind: 'return' }
    case 'SNAT':
    case 'MASQUERADE':
      return { kind: 'source' }
    case 'DNAT':
    case 'REDIRECT':
    case 'NETMAP':
    case 'TPROXY':
    case 'QUEUE':
    case 'NFQUEUE':
      return { kind: 'elsewhere' }
    case 'MARK':
      return { kind: 'mark', mark: markBy(options) }
    case 'CONNMARK':
      return options.includes('--restore-mark')
        ? { kind: 'mark', mark: () => undefined }
        : { kind: 'continue' }
    case 'CT':
    case 'NOTRACK':
      return { kind: 'continue' }
    default:
      return GOING_ON.includes(target) ? { kind: 'continue' } : { kind: 'jump', chain: target }
  }
}

/** `--set-xmark 0x1/0xff`, as which all ways to set a mark are saved. */
function markBy([option = '', value = '']: readonly string[]): (before: number) => number | undefined {
  const [mark, mask] = maskedOf(value)
  return option === '--set-xmark' ? (before) => ((before & ~mask) ^ mark) >>> 0 : () => undefined
}

function maskedOf(value: string): readonly [number, number] {
  const [mark = '', mask = '0xffffffff'] = value.split('/')
  return [Number(mark), Number(mask)]
}

function inNetwork({ family }: Packet, address: string | undefined, network: string): Match {
  const bits = family === 'ipv4' ? 32 : 128
  if (network.endsWith('/0')) return 'yes'
  if (/\/.*[.:]/.test(network) || address === undefined) return 'maybe'
  return matchIf(contains(network.includes('/') ? network : `${network}/${String(bits)}`, address))
}

function ofProtocol({ protocol }: Packet, value: string): Match {
  return matchIf(value === 'all' || value === '0' || isProtocol(protocol, value))
}

/** Packets of clients come from elsewhere: never by `lo`. */
export function ofLink(link: string | undefined, pattern: string): Match {
  if (link === undefined) return pattern === 'lo' ? 'no' : 'maybe'
  return matchIf(
    pattern.endsWith('+') || pattern.endsWith('*') ? link.startsWith(pattern.slice(0, -1)) : link === pattern,
  )
}

/** `80`, `8000:8100`, and lists of these. */
function inPorts(port: number | undefined, list: string): Match {
  if (port === undefined) return 'maybe'
  return matchIf(
    list.split(',').some((part) => {
      const [low = '', high = low] = part.split(':')
      return port >= Number(low) && port <= Number(high)
    }),
  )
}

function inStates({ state }: Packet, list: string): Match {
  return state === undefined ? 'maybe' : matchIf(list.toLowerCase().split(',').includes(state))
}

function hasMark({ mark }: Marked, value: string): Match {
  const [wanted, mask] = maskedOf(value)
  return mark === undefined ? 'maybe' : matchIf((mark & mask) >>> 0 === wanted)
}
