import type { Family } from '../../model/types.ts'

/** Firewall rules, whichever program wrote them, and what they do to a packet. */

/** What is in a packet of IP, by the names of /etc/protocols: `ipencap` is IPv4, and `ipv6` IPv6 in a tunnel. */
export type PacketProtocol = 'tcp' | 'udp' | 'sctp' | 'icmp' | 'ipv6-icmp' | 'ipencap' | 'ipv6' | 'gre'

/** Their numbers, and other names that programs print. */
const PROTOCOLS: Readonly<Record<PacketProtocol, readonly [number: string, ...others: string[]]>> = {
  tcp: ['6'],
  udp: ['17'],
  sctp: ['132'],
  icmp: ['1'],
  'ipv6-icmp': ['58', 'icmpv6'],
  ipencap: ['4', 'ipip'],
  ipv6: ['41'],
  gre: ['47'],
}

/** A packet, or many that are alike: what is absent is unknown, or differs between them. */
export interface Packet {
  readonly family: Family
  readonly protocol: PacketProtocol
  readonly source?: string
  readonly sourcePort?: number
  readonly destination?: string
  readonly destinationPort?: number
  /** Absent: any but `lo`. */
  readonly incoming?: string
  readonly outgoing?: string
  /** What connection tracking says of it: `new`, `established`, `invalid` ... */
  readonly state?: string
  /** The service of IPVS that it belongs to. */
  readonly virtual?: { readonly address: string; readonly port: number }
}

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'

/** Whether a rule matches a packet. */
export type Match = 'yes' | 'no' | 'maybe'

/** A packet on its way: rules may give it a mark. `undefined`: that it has one or another is not known. */
export type Marked = Packet & { readonly mark: number | undefined }

export type Action =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' | 'source' | 'elsewhere' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** The new mark; `undefined` if it cannot be told. */
  | { readonly kind: 'mark'; readonly mark: (before: number) => number | undefined }

export interface Rule {
  readonly match: (packet: Marked) => Match
  /** Several only for a table of verdicts: by what they match besides. */
  readonly actions: readonly { readonly match: (packet: Marked) => Match; readonly action: Action }[]
  /** As its program tells it. */
  readonly text: string
}

export interface Chain {
  readonly program: 'nft' | 'iptables' | 'ip6tables'
  /** As the program needs it: `inet filter`, `mangle`. */
  readonly table: string
  readonly name: string
  readonly families: readonly Family[]
  /** Only a base chain has these. */
  readonly hook?: Hook
  readonly priority?: number
  readonly policy?: 'accept' | 'drop'
  readonly rules: readonly Rule[]
  /** Chains of the same table, by name. */
  readonly siblings: ReadonlyMap<string, Chain>
}

export interface Ruleset {
  readonly chains: readonly Chain[]
  /** Whether some packets are not tracked. */
  readonly untracks: boolean
}

/** Why a packet is certainly dropped. */
export interface Drop {
  readonly chain: Chain
  /** Absent: nothing matched, and the policy of the chain is to drop. */
  readonly rule?: Rule
  /** The base chain from which it came there: where a rule that accepts the packet belongs. */
  readonly base: Chain
}

/** What drops the packet, in words. */
export function reasonOf({ chain, rule }: Drop): string {
  const by =
    rule === undefined
      ? `the policy of chain ${chain.name}`
      : `${rule.text}${rule.text.startsWith('-A') ? '' : ` of chain ${chain.name}`}`
  return `${by} in table ${chain.table}`
}

/** Where IPVS takes packets, or changes them: chains behind it see something else. (ip_vs_ops4 of ip_vs_core.c) */
const IPVS_PRIORITY: Partial<Record<Hook, number>> = { input: 98, forward: 99 }

/** More than any machine has; only what is made to be slow needs it. */
const MOST_RULES = 200_000

/** Why a packet is dropped in one of these hooks, in their order; `undefined` unless it certainly is. */
export function dropOf(ruleset: Ruleset, packet: Packet, hooks: readonly Hook[]): Drop | undefined {
  const walk = new Walk(packet, ruleset)
  for (const base of basesOf(ruleset, packet, hooks)) {
    const outcome = walk.base(base)
    // What is sent elsewhere is no longer this packet.
    if (walk.lost) return undefined
    if (outcome !== undefined) return outcome
  }
  return undefined
}

/** The mark with which a packet comes to IPVS; `undefined` if it may be one or another. */
export function markOf(ruleset: Ruleset, packet: Packet): number | undefined {
  const walk = new Walk(packet, ruleset)
  for (const base of basesOf(ruleset, packet, ['prerouting', 'input'])) walk.base(base)
  return walk.lost ? undefined : walk.mark
}

/** Whether a rule certainly gives a packet another source address. */
export function changesSource(ruleset: Ruleset, packet: Packet): boolean {
  const walk = new Walk(packet, ruleset)
  for (const base of basesOf(ruleset, packet, ['postrouting'])) walk.base(base)
  return walk.changesSource
}

function basesOf({ chains }: Ruleset, { family }: Packet, hooks: readonly Hook[]): readonly Chain[] {
  return hooks.flatMap((hook) =>
    chains
      .filter(
        (chain) =>
          chain.hook === hook &&
          chain.families.includes(family) &&
          (chain.priority ?? 0) < (IPVS_PRIORITY[hook] ?? Infinity),
      )
      .sort((one, other) => (one.priority ?? 0) - (other.priority ?? 0)),
  )
}

/** A packet's way through chains. Where a rule may match, both ways are taken. */
class Walk {
  mark: number | undefined = 0
  /** It may have got another destination, or have gone to a program. */
  lost = false
  changesSource = false
  readonly #packet: Packet
  /** Whether the packet surely comes to where the walk is. */
  #sure = true
  #ends: ('accept' | Omit<Drop, 'base'>)[] = []
  #left = MOST_RULES

  constructor(packet: Packet, { untracks }: Ruleset) {
    const { state: _, ...untracked } = packet
    this.#packet = untracks ? untracked : packet
  }

  /** Why it certainly drops the packet. */
  base(base: Chain): Drop | undefined {
    this.#ends = []
    this.#sure = true
    if (this.#goesThrough(base, new Set()))
      this.#ends.push(base.policy === 'drop' ? { chain: base } : 'accept')
    // The last is the one for all that is left.
    const last = this.#ends.at(-1)
    if (last === undefined || last === 'accept' || this.#ends.includes('accept')) return undefined
    return { ...last, base }
  }

  /** Whether the packet may come to the end of a chain, or return from it. */
  #goesThrough(chain: Chain, above: ReadonlySet<Chain>): boolean {
    // No kernel has a circle of chains.
    if (above.has(chain)) return true
    let mayReturn = false
    let packet: Marked = { ...this.#packet, mark: this.mark }
    for (const rule of chain.rules) {
      if (this.#left-- <= 0) {
        this.lost = true
        return true
      }
      if (packet.mark !== this.mark) packet = { ...this.#packet, mark: this.mark }
      const matches = rule.match(packet)
      if (matches === 'no') continue
      for (const { match, action } of rule.actions) {
        const both = and(matches, match(packet))
        if (both === 'no') continue
        const goesOn = this.#act(action, both === 'yes', chain, rule, new Set([...above, chain]))
        if (goesOn === 'returns') return true
        if (goesOn === 'ends') return mayReturn
        if (goesOn === 'may-return') mayReturn = true
      }
    }
    return true
  }

  #act(
    action: Action,
    certain: boolean,
    chain: Chain,
    rule: Rule,
    above: ReadonlySet<Chain>,
  ): 'goes-on' | 'ends' | 'returns' | 'may-return' {
    switch (action.kind) {
      case 'continue':
        return 'goes-on'
      case 'elsewhere':
        this.lost = true
        return 'goes-on'
      case 'source':
        if (certain && this.#sure) this.changesSource = true
        return 'goes-on'
      case 'mark': {
        const after = this.mark === undefined ? undefined : action.mark(this.mark)
        this.mark = (certain && this.#sure) || after === this.mark ? after : undefined
        return 'goes-on'
      }
      case 'accept':
      case 'drop':
        this.#ends.push(action.kind === 'accept' ? 'accept' : { chain, rule })
        if (certain) return 'ends'
        this.#sure = false
        return 'goes-on'
      case 'return':
        if (certain) return 'returns'
        this.#sure = false
        return 'may-return'
      case 'jump':
      case 'goto': {
        const target = chain.siblings.get(action.chain)
        if (target === undefined) {
          this.lost = true
          return 'goes-on'
        }
        const before = this.#sure
        if (!certain) this.#sure = false
        const through = this.#goesThrough(target, above)
        // What may have ended in there may not come here.
        this.#sure = this.#sure && before
        if (!certain) return action.kind === 'goto' ? 'may-return' : 'goes-on'
        if (!through) return 'ends'
        return action.kind === 'goto' ? 'returns' : 'goes-on'
      }
    }
  }
}

/** A protocol as every program reads it: not all know the names of tunnels. */
export function protocolWord(protocol: PacketProtocol): string {
  return ['tcp', 'udp', 'sctp'].includes(protocol) ? protocol : PROTOCOLS[protocol][0]
}

/** Whether a protocol is meant by a name or number. */
export function isProtocol(protocol: PacketProtocol, text: string): boolean {
  return text === protocol || PROTOCOLS[protocol].includes(text)
}

function and(one: Match, other: Match): Match {
  if (one === 'no' || other === 'no') return 'no'
  return one === 'maybe' || other === 'maybe' ? 'maybe' : 'yes'
}

/** Whether a packet passes all tests of a rule, most of which fail at the first. */
export function all(tests: readonly ((packet: Marked) => Match)[], packet: Marked): Match {
  let outcome: Match = 'yes'
  for (const test of tests) {
    const match = test(packet)
    if (match === 'no') return 'no'
    if (match === 'maybe') outcome = 'maybe'
  }
  return outcome
}

export function not(match: Match): Match {
  return match === 'maybe' ? 'maybe' : match === 'yes' ? 'no' : 'yes'
}

export function matchIf(condition: boolean): Match {
  return condition ? 'yes' : 'no'
}
