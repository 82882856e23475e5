import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { rulesetOf } from '../../lib/doctor/firewall/read.ts'
import {
  changesSource,
  type Drop,
  dropOf,
  type Hook,
  markOf,
  type Packet,
  type Ruleset,
} from '../../lib/doctor/firewall/ruleset.ts'

/** What firewall rules do to packets: of dumps that were taken from kernels. */

function dump(name: string): string {
  return readFileSync(new URL(`dumps/${name}`, import.meta.url), 'utf8')
}

const TABLES = rulesetOf({
  iptables: dump('iptables-1.8.9-linux-6.1.txt'),
  ip6tables: dump('ip6tables-1.8.9-linux-6.1.txt'),
})
const NFT = rulesetOf({ nft: JSON.parse(dump('nft-1.0.6-linux-6.12.json')) as unknown })

const WEB: Packet = {
  family: 'ipv4',
  protocol: 'tcp',
  destination: '192.0.2.10',
  destinationPort: 80,
  state: 'new',
}

function why(drop: Drop | undefined): string | undefined {
  return drop === undefined ? undefined : (drop.rule?.text ?? `policy of ${drop.chain.name}`)
}

interface Case {
  readonly title: string
  readonly packet?: { readonly [Field in keyof Packet]?: Packet[Field] | undefined }
  readonly hooks?: readonly Hook[]
  readonly drop: string | undefined
}

describe('iptables-save', () => {
  const NO_WEB = '-A checks -s 198.51.100.0/24 -p tcp -m tcp --dport 80 -m comment --comment "no web" -j DROP'
  const PORTS = '-A checks -p tcp -m multiport --dports 21,8000:8100 -j REJECT --reject-with tcp-reset'
  const cases: readonly Case[] = [
    { title: 'a client of a network', packet: { source: '198.51.100.7' }, drop: NO_WEB },
    { title: 'a client beside that network', packet: { source: '198.51.101.7' }, drop: undefined },
    { title: 'any client, of which some are dropped', drop: undefined },
    { title: 'one of several ports', packet: { destinationPort: 21 }, drop: PORTS },
    { title: 'a port in a range', packet: { destinationPort: 8050 }, drop: PORTS },
    { title: 'a port behind the range', packet: { destinationPort: 8101 }, drop: undefined },
    { title: 'any port, of which some are dropped', packet: { destinationPort: undefined }, drop: undefined },
    { title: 'another protocol', packet: { protocol: 'udp', destinationPort: 21 }, drop: undefined },
    { title: 'a known connection', packet: { destinationPort: 21, state: 'established' }, drop: undefined },
    { title: 'the policy', hooks: ['forward'], drop: 'policy of FORWARD' },
    {
      title: 'IPv6, of the other program',
      packet: { family: 'ipv6', protocol: 'sctp', destination: '2001:db8::10', destinationPort: 9 },
      drop: '-A INPUT -p sctp -m sctp --dport 9 -j DROP',
    },
    {
      title: 'IPv6, which the policy of IPv4 is not for',
      packet: { family: 'ipv6' },
      hooks: ['forward'],
      drop: undefined,
    },
  ]
  test.each(cases)('$title: $drop', ({ packet, hooks = ['prerouting', 'input'], drop }) => {
    expect(why(dropOf(TABLES, { ...WEB, ...packet } as Packet, hooks))).toBe(drop)
  })

  test.each([
    { packet: {}, mark: 1 },
    { packet: { destinationPort: 81 }, mark: 0 },
    { packet: { destination: '192.0.2.11' }, mark: 4 },
    { packet: { destination: undefined }, mark: undefined },
  ])('the mark of $packet is $mark', ({ packet, mark }) => {
    expect(markOf(TABLES, { ...WEB, ...packet } as Packet)).toBe(mark)
  })

  test('tells which packets of a service get another source address', () => {
    const to: Packet = {
      family: 'ipv4',
      protocol: 'tcp',
      destination: '10.0.0.11',
      destinationPort: 8080,
      outgoing: 'eth1',
    }
    const virtual = { address: '192.0.2.10', port: 80 }
    expect(changesSource(TABLES, { ...to, virtual })).toBe(true)
    expect(changesSource(TABLES, { ...to, virtual: { ...virtual, port: 81 } })).toBe(false)
    expect(changesSource(TABLES, to)).toBe(false)
  })
})

describe('nft', () => {
  const cases: readonly Case[] = [
    { title: 'a port that a chain accepts', drop: undefined },
    { title: 'a port in a range of a set', packet: { destinationPort: 9050 }, drop: undefined },
    { title: 'a port that nothing accepts', packet: { destinationPort: 81 }, drop: 'policy of input' },
    { title: 'a prefix of a named set', packet: { source: '198.51.100.7' }, drop: 'the rule with handle 16' },
    {
      title: 'an address of a named set',
      packet: { source: '203.0.113.7' },
      drop: 'the rule with handle 16',
    },
    { title: 'a range of a named set', packet: { source: '203.0.113.25' }, drop: 'the rule with handle 16' },
    { title: 'an address that is not in it', packet: { source: '203.0.113.31' }, drop: undefined },
    {
      title: 'a port of a named set',
      packet: { source: '203.0.113.1', destinationPort: 8080 },
      drop: 'the rule with handle 21',
    },
    {
      title: 'IPv6, which no set of IPv4 is for',
      packet: { family: 'ipv6', source: '2001:db8::1', destination: '2001:db8::10' },
      drop: undefined,
    },
    {
      title: 'a map of verdicts',
      packet: { source: '203.0.113.1', destinationPort: 25 },
      drop: 'the rule with handle 22',
    },
    { title: 'a verdict to accept', packet: { destinationPort: 26 }, drop: undefined },
    { title: 'a map of states', packet: { state: 'invalid' }, drop: 'the rule with handle 15' },
    {
      title: 'not an address, of a client that is not known',
      packet: { protocol: 'udp', destinationPort: 53 },
      drop: undefined,
    },
    {
      title: 'that address',
      packet: { protocol: 'udp', destinationPort: 53, source: '10.1.1.1' },
      drop: 'policy of input',
    },
    { title: 'either of two protocols', packet: { protocol: 'udp', destinationPort: 5000 }, drop: undefined },
    {
      title: 'neither',
      packet: { protocol: 'sctp', destinationPort: 5000, source: '1.1.1.1' },
      drop: 'policy of input',
    },
    { title: 'flags, which are not understood', packet: { destinationPort: 7000 }, drop: undefined },
    { title: 'a limit, which may be reached', packet: { destinationPort: 22 }, drop: undefined },
    {
      title: 'an answer, by its source port',
      packet: { destination: '10.0.0.11', sourcePort: 80 },
      hooks: ['forward'],
      drop: 'the rule with handle 30',
    },
    {
      title: 'an expression that is not understood',
      packet: { sourcePort: 81 },
      hooks: ['forward'],
      drop: undefined,
    },
  ]
  test.each(cases)('$title: $drop', ({ packet, hooks = ['input'], drop }) => {
    expect(why(dropOf(NFT, { ...WEB, ...packet } as Packet, hooks))).toBe(drop)
  })

  test.each([
    { packet: {}, mark: 1 },
    { packet: { destination: '192.0.2.11' }, mark: 4 },
    { packet: { destination: '192.0.2.12' }, mark: 0 },
    { packet: { destinationPort: undefined }, mark: undefined },
  ])('the mark of $packet is $mark', ({ packet, mark }) => {
    expect(markOf(NFT, { ...WEB, ...packet } as Packet)).toBe(mark)
  })

  test('a mark leads to a rule about marks', () => {
    const marked = structuredClone(JSON.parse(dump('nft-1.0.6-linux-6.12.json')) as { nftables: object[] })
    const text = JSON.stringify(marked)
      .replace('"value": 1', '"value": 7')
      .replace('"value":1}', '"value":7}')
    const ruleset = rulesetOf({ nft: JSON.parse(text) as unknown })
    expect(why(dropOf(ruleset, { ...WEB, source: '1.1.1.1' }, ['prerouting', 'input']))).toBe(
      'the rule with handle 23',
    )
  })
})

describe('any rules', () => {
  const save = (...lines: readonly string[]): string =>
    ['*filter', ':INPUT ACCEPT [0:0]', ...lines, 'COMMIT'].join('\n')
  const of = (...lines: readonly string[]): string | undefined =>
    why(dropOf(rulesetOf({ iptables: save(...lines) }), WEB, ['input']))

  test.each([
    ['a module that is not known decides', ['-A INPUT -m bpf --bytecode x -j DROP'], undefined],
    [
      'what may be accepted before',
      ['-A INPUT -m limit --limit 5/min -j ACCEPT', '-A INPUT -j DROP'],
      undefined,
    ],
    [
      'what may have returned before',
      [':c - [0:0]', '-A INPUT -j c', '-A c -s 1.1.1.1/32 -j RETURN', '-A c -j DROP'],
      undefined,
    ],
    ['a return from the base chain', ['-A INPUT -p tcp -j RETURN', '-A INPUT -j DROP'], undefined],
    ['two ways that both end', ['-A INPUT -s 1.1.1.1/32 -j DROP', '-A INPUT -j DROP'], '-A INPUT -j DROP'],
    ['a queue to a program', ['-A INPUT -j NFQUEUE --queue-num 1', '-A INPUT -j DROP'], undefined],
    [
      'a log, and a comment with quotes',
      ['-A INPUT -j LOG --log-prefix "a \\"b\\" -j ACCEPT"', '-A INPUT -j DROP'],
      '-A INPUT -j DROP',
    ],
    ['an interface that clients do not come by', ['-A INPUT ! -i lo -j DROP'], '-A INPUT ! -i lo -j DROP'],
    ['a chain that is not there', ['-A INPUT -j GONE', '-A INPUT -j DROP'], undefined],
    [
      'a circle, which no kernel has',
      [':c - [0:0]', '-A INPUT -j c', '-A c -j c', '-A INPUT -j DROP'],
      '-A INPUT -j DROP',
    ],
    [
      'a chain that goes to another',
      [':c - [0:0]', '-A INPUT -g c', '-A c -p udp -j ACCEPT', '-A INPUT -j DROP'],
      undefined,
    ],
  ])('%s', (_, lines, drop) => {
    expect(of(...lines)).toBe(drop)
  })

  test('too many chains that go to each other end it', () => {
    const lines = Array.from({ length: 30 }, (_, at) => [
      `:c${String(at)} - [0:0]`,
      `-A c${String(at)} -j c${String(at + 1)}`,
      `-A c${String(at)} -j c${String(at + 1)}`,
    ])
    const declared = [...lines.map(([one = '']) => one), ':c30 - [0:0]']
    expect(
      of(...declared, ...lines.flatMap(([, ...rules]) => rules), '-A INPUT -j c0', '-A INPUT -j DROP'),
    ).toBe(undefined)
  })

  test.each([
    undefined,
    null,
    5,
    'x',
    {},
    { nftables: 5 },
    {
      nftables: [
        null,
        { rule: 5 },
        { chain: { family: 'inet' } },
        { rule: { family: 'inet', expr: [null, { match: null }] } },
      ],
    },
  ])('output that is none: %j', (nft) => {
    expect(dropOf(rulesetOf({ nft, iptables: '-A INPUT -j DROP\n:\n*' }), WEB, ['input'])).toBe(undefined)
  })

  test('rules of iptables that nft shows are read once', () => {
    const iptables = `# Generated by iptables-nft-save v1.8.9 (nf_tables)\n${save('-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT')}`
    const nft = {
      nftables: [
        { chain: { family: 'ip', table: 'filter', name: 'INPUT', hook: 'input', prio: 0, policy: 'drop' } },
      ],
    }
    expect(why(dropOf(rulesetOf({ nft }), WEB, ['input']))).toBe('policy of INPUT')
    expect(dropOf(rulesetOf({ nft, iptables }), WEB, ['input'])).toBe(undefined)
  })
})

describe('what is not TCP, UDP or SCTP', () => {
  const dropping = (...expr: readonly object[]): Ruleset => {
    const chain = { family: 'inet', table: 't', name: 'c', hook: 'input', prio: 0, policy: 'accept' }
    const rule = { family: 'inet', table: 't', chain: 'c', handle: 1, expr: [...expr, { drop: null }] }
    return rulesetOf({ nft: { nftables: [{ chain }, { rule }] } })
  }
  const match = (left: object, right: unknown): object => ({ match: { op: '==', left, right } })
  const l4proto = { meta: { key: 'l4proto' } }

  test.each([
    ['ipencap', match(l4proto, 'ipencap'), true],
    ['ipencap', match({ payload: { protocol: 'ip', field: 'protocol' } }, 4), true],
    ['ipencap', match(l4proto, { set: ['ipv6', 'gre'] }), false],
    ['gre', match(l4proto, { set: ['ipv6', 'gre'] }), true],
    ['gre', match({ payload: { protocol: 'tcp', field: 'dport' } }, 80), false],
    ['gre', match({ payload: { protocol: 'ether', field: 'type' } }, 'ip'), false],
    ['icmp', match(l4proto, 'icmp'), true],
    ['icmp', match({ payload: { protocol: 'icmp', field: 'type' } }, 'echo-request'), false],
  ] as const)('nft: %s, %j: %s', (protocol, expression, drops) => {
    const packet: Packet = { family: 'ipv4', protocol, destination: '192.0.2.10' }
    expect(dropOf(dropping(expression), packet, ['input']) !== undefined).toBe(drops)
  })
})
