import { contains, parseAddress } from '../../model/address.ts'
import type { Family } from '../../model/types.ts'
import { ofLink } from './iptables.ts'
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
  type PacketProtocol,
  type Rule,
} from './ruleset.ts'

/** What `nft -j list ruleset` prints (libnftables-json(5)). */

type Json = Readonly<Record<string, unknown>>

const FAMILIES: Readonly<Record<string, readonly Family[]>> = {
  ip: ['ipv4'],
  ip6: ['ipv6'],
  inet: ['ipv4', 'ipv6'],
}

const HOOKS: readonly unknown[] = ['prerouting', 'input', 'forward', 'output', 'postrouting'] satisfies Hook[]

/** The elements of the sets and maps of a table, by name. */
type Sets = ReadonlyMap<string, Elements>
interface Elements {
  readonly list: readonly unknown[]
  /** Whether packets change it, or time. */
  readonly changes: boolean
}

export function nftChains(ruleset: unknown): Chain[] {
  const items = listOf(objectOf(ruleset).nftables).map(objectOf)
  const tables = new Map<
    string,
    { readonly sets: Map<string, Elements>; readonly chains: Map<string, Chain> }
  >()
  const tableOf = ({ family, table }: Json): NonNullable<ReturnType<(typeof tables)['get']>> => {
    const name = `${textOf(family)} ${textOf(table)}`
    const known = tables.get(name) ?? { sets: new Map(), chains: new Map() }
    tables.set(name, known)
    return known
  }
  for (const item of items) {
    const set = objectOf(item.set ?? item.map)
    if (set.name === undefined) continue
    const flags = listOf(set.flags)
    tableOf(set).sets.set(textOf(set.name), {
      list: listOf(set.elem),
      changes: flags.includes('dynamic') || flags.includes('timeout'),
    })
  }
  const rules = new Map<Chain, Rule[]>()
  for (const { chain: found } of items) {
    const chain = objectOf(found)
    const families = FAMILIES[textOf(chain.family)]
    if (families === undefined) continue
    const siblings = tableOf(chain).chains
    const own: Rule[] = []
    const made: Chain = {
      program: 'nft',
      table: `${textOf(chain.family)} ${textOf(chain.table)}`,
      name: textOf(chain.name),
      families,
      ...(HOOKS.includes(chain.hook) && {
        hook: chain.hook as Hook,
        priority: Number(chain.prio ?? 0),
        policy: chain.policy === 'drop' ? 'drop' : 'accept',
      }),
      rules: own,
      siblings,
    }
    siblings.set(made.name, made)
    rules.set(made, own)
  }
  for (const { rule: found } of items) {
    const rule = objectOf(found)
    if (FAMILIES[textOf(rule.family)] === undefined) continue
    const { chains, sets } = tableOf(rule)
    const chain = chains.get(textOf(rule.chain))
    if (chain !== undefined) rules.get(chain)?.push(ruleOf(rule, sets))
  }
  return [...rules.keys()]
}

type Test = (packet: Marked) => Match

const ALWAYS: Test = () => 'yes'

function ruleOf(rule: Json, sets: Sets): Rule {
  const tests: Test[] = []
  const actions: { match: Test; action: Action }[] = []
  for (const expression of listOf(rule.expr).map(objectOf)) {
    const [[kind, value] = ['', undefined]] = Object.entries(expression)
    if (kind === 'match') tests.push(testOf(objectOf(value), sets))
    else if (kind === 'vmap') actions.push(...verdictsOf(objectOf(value), sets))
    // What only counts or tells matches all.
    else if (!['counter', 'log', 'comment', 'set'].includes(kind)) {
      const action = actionOf(kind, value)
      if (action === undefined) tests.push(() => 'maybe')
      else actions.push({ match: ALWAYS, action })
    }
  }
  return {
    text: `the rule with handle ${String(Number(rule.handle))}`,
    match: (packet) => all(tests, packet),
    actions,
  }
}

/** `undefined` for what is not known: it may match some packets. */
function actionOf(kind: string, value: unknown): Action | undefined {
  switch (kind) {
    case 'accept':
    case 'drop':
    case 'return':
    case 'continue':
      return { kind }
    case 'reject':
      return { kind: 'drop' }
    case 'jump':
    case 'goto':
      return { kind, chain: textOf(objectOf(value).target) }
    case 'snat':
    case 'masquerade':
      return { kind: 'source' }
    case 'dnat':
    case 'redirect':
    case 'tproxy':
    case 'queue':
    case 'fwd':
      return { kind: 'elsewhere' }
    case 'xt':
      // A rule of iptables, which nft cannot read.
      return objectOf(value).type === 'target' ? { kind: 'elsewhere' } : undefined
    case 'notrack':
      return { kind: 'continue' }
    case 'mangle': {
      const { key, value: to } = objectOf(value)
      if (objectOf(objectOf(key).meta).key !== 'mark') return { kind: 'continue' }
      return { kind: 'mark', mark: (before) => markFrom(to, before) }
    }
    default:
      return undefined
  }
}

/** `1`, or what is calculated from the mark that there is: `meta mark | 4`. */
function markFrom(value: unknown, before: number): number | undefined {
  if (typeof value === 'number') return value
  if (objectOf(objectOf(value).meta).key === 'mark') return before
  for (const [operator, sides] of Object.entries(objectOf(value))) {
    const [one, other] = listOf(sides).map((side) => markFrom(side, before))
    if (one === undefined || other === undefined) return undefined
    if (operator === '|') return (one | other) >>> 0
    if (operator === '&') return (one & other) >>> 0
    if (operator === '^') return (one ^ other) >>> 0
  }
  return undefined
}

/** A table of verdicts: each counts for the packets whose value is its key. */
function verdictsOf({ key, data }: Json, sets: Sets): { match: Test; action: Action }[] {
  const named = typeof data === 'string' ? sets.get(data.slice(1)) : undefined
  const elements = named?.list ?? listOf(objectOf(data).set)
  const verdicts = elements.flatMap((element) => {
    const [value, verdict] = listOf(element)
    const [[kind, more] = ['', undefined]] = Object.entries(objectOf(verdict))
    const action = actionOf(kind, more)
    const test = testOf({ op: '==', left: key, right: value }, sets)
    return action === undefined ? [] : [{ match: named?.changes === true ? orMaybe(test) : test, action }]
  })
  return verdicts
}

function orMaybe(test: Test): Test {
  return (packet) => (test(packet) === 'no' ? 'no' : 'maybe')
}

function testOf({ op, left, right }: Json, sets: Sets): Test {
  return (packet) => {
    const value = valueOf(left, packet)
    if (value === 'none') return 'no'
    if (op === '==' || op === 'in') return isIn(value, right, sets)
    if (op === '!=') return not(isIn(value, right, sets))
    const [number, limit] = [value.is, right]
    if (typeof number !== 'number' || typeof limit !== 'number') return 'maybe'
    if (op === '<') return matchIf(number < limit)
    if (op === '>') return matchIf(number > limit)
    if (op === '<=') return matchIf(number <= limit)
    if (op === '>=') return matchIf(number >= limit)
    return 'maybe'
  }
}

/** What a packet has: unknown without `is`. Links have patterns, and protocols have several names. */
type Value =
  | { readonly is?: string | number | undefined; readonly kind?: 'link' }
  | { readonly is: PacketProtocol; readonly kind: 'protocol' }

/** Protocols that have headers of their own, which a packet of another has not. */
const TRANSPORTS = ['tcp', 'udp', 'sctp', 'dccp', 'udplite', 'icmp', 'icmpv6', 'ah', 'esp', 'comp']

/** `none`: a packet of this kind has no such field, so no rule about it matches. */
function valueOf(left: unknown, packet: Marked): Value | 'none' {
  const { payload, meta, ct, '&': masked } = objectOf(left)
  const some = (is: string | number | undefined): Value => (is === undefined ? {} : { is })
  if (masked !== undefined) {
    const [of, mask] = listOf(masked)
    const value = valueOf(of, packet)
    if (value === 'none' || typeof value.is !== 'number' || typeof mask !== 'number') return {}
    return { is: (value.is & mask) >>> 0 }
  }
  if (payload !== undefined) {
    const { protocol, field } = objectOf(payload)
    if (protocol === 'ip' || protocol === 'ip6') {
      if ((protocol === 'ip') !== (packet.family === 'ipv4')) return 'none'
      if (field === 'saddr') return some(packet.source)
      if (field === 'daddr') return some(packet.destination)
      if (field === 'protocol' || field === 'nexthdr') return { is: packet.protocol, kind: 'protocol' }
      return {}
    }
    const name = textOf(protocol)
    if (TRANSPORTS.includes(name) && !isProtocol(packet.protocol, name)) return 'none'
    if (field === 'sport') return some(packet.sourcePort)
    if (field === 'dport') return some(packet.destinationPort)
    return {}
  }
  if (meta !== undefined) {
    switch (objectOf(meta).key) {
      case 'l4proto':
        return { is: packet.protocol, kind: 'protocol' }
      case 'nfproto':
        return some(packet.family)
      case 'protocol':
        return some(packet.family === 'ipv4' ? 'ip' : 'ip6')
      case 'mark':
        return some(packet.mark)
      case 'iif':
      case 'iifname':
        return { ...some(packet.incoming), kind: 'link' }
      case 'oif':
      case 'oifname':
        return { ...some(packet.outgoing), kind: 'link' }
      default:
        return {}
    }
  }
  return objectOf(ct).key === 'state' ? some(packet.state) : {}
}

function isIn(value: Value, right: unknown, sets: Sets): Match {
  if (typeof right === 'string' && right.startsWith('@')) {
    const set = sets.get(right.slice(1))
    if (set === undefined || value.is === undefined) return 'maybe'
    const match = any(set.list.map((one) => isIn(value, one, sets)))
    return set.changes ? 'maybe' : match
  }
  const { set, prefix, range, elem } = objectOf(right)
  const list = Array.isArray(right)
    ? (right as readonly unknown[])
    : set === undefined
      ? undefined
      : listOf(set)
  if (list !== undefined) return any(list.map((one) => isIn(value, one, sets)))
  if (elem !== undefined) return isIn(value, objectOf(elem).val, sets)
  if (value.kind === 'link') {
    return typeof right === 'string'
      ? ofLink(value.is === undefined ? undefined : String(value.is), right)
      : 'maybe'
  }
  const { is } = value
  if (is === undefined) return 'maybe'
  if (prefix !== undefined) {
    const { addr, len } = objectOf(prefix)
    if (typeof is !== 'string' || typeof addr !== 'string') return 'maybe'
    return matchIf(contains(`${addr}/${String(Number(len))}`, is))
  }
  if (range !== undefined) return inRange(is, listOf(range))
  if (typeof right !== 'number' && typeof right !== 'string') return 'maybe'
  return matchIf(value.kind === 'protocol' ? isProtocol(value.is, String(right)) : is === right)
}

function inRange(is: string | number, [low, high]: readonly unknown[]): Match {
  if (typeof is === 'number') {
    return typeof low === 'number' && typeof high === 'number' ? matchIf(is >= low && is <= high) : 'maybe'
  }
  if (typeof low !== 'string' || typeof high !== 'string' || !/[.:]/.test(is)) return 'maybe'
  const [at, from, to] = [is, low, high].map((text) => Buffer.from(parseAddress(text)))
  if (at === undefined || from === undefined || to === undefined) return 'maybe'
  return matchIf(Buffer.compare(at, from) >= 0 && Buffer.compare(at, to) <= 0)
}

function any(matches: readonly Match[]): Match {
  if (matches.includes('yes')) return 'yes'
  return matches.includes('maybe') ? 'maybe' : 'no'
}

function objectOf(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {}
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value as readonly unknown[]
  return value === undefined ? [] : [value]
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
