import { iptablesChains } from './iptables.ts'
import { nftChains } from './nft.ts'
import type { Ruleset } from './ruleset.ts'

/** Firewall rules, as the programs print them. Absent: the program is not there, or cannot run here. */
export interface RawFirewall {
  /** `nft -j list ruleset`, parsed. */
  readonly nft?: unknown
  /** `iptables-save` */
  readonly iptables?: string
  /** `ip6tables-save` */
  readonly ip6tables?: string
}

/** The rules of a machine, of all programs that have some. */
export function rulesetOf({ nft, iptables = '', ip6tables = '' }: RawFirewall): Ruleset {
  const [four, six] = [iptablesChains(iptables, 'iptables'), iptablesChains(ip6tables, 'ip6tables')]
  // iptables may keep its rules in tables of nft, which cannot read all of them.
  const known = new Set([
    ...(iptables.includes('(nf_tables)') ? four.map(({ table }) => `ip ${table}`) : []),
    ...(ip6tables.includes('(nf_tables)') ? six.map(({ table }) => `ip6 ${table}`) : []),
  ])
  const others = nftChains(nft).filter(({ table }) => !known.has(table))
  const untracks =
    /NOTRACK|--notrack/.test(iptables + ip6tables) || JSON.stringify(nft ?? '').includes('"notrack"')
  return { chains: [...four, ...six, ...others], untracks }
}
