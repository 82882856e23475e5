import { familyOfAddress, familyOfService } from '../model/address.ts'
import { serviceName } from '../model/keys.ts'
import type { AddressServiceKey, Family, FwmarkServiceKey, ServiceKey } from '../model/types.ts'
import type { MarkedPorts } from './check.ts'
import type { CommandStep } from './part.ts'

/** Rules of the packet filter: by nft in a table of their own, or by iptables. */

/** The program that makes rules. */
export type Firewall = 'nft' | 'iptables'

/** Gives packets of services another source: this machine. */
export function sourceNat(key: ServiceKey, firewall: Firewall): CommandStep[] {
  const family = familyOfService(key)
  if (firewall === 'iptables') {
    const match =
      key.protocol === 'fwmark'
        ? `-m mark --mark ${String(key.fwmark)}`
        : `-m ipvs --vproto ${String(key.protocol)} --vaddr ${key.address}${key.port === 0 ? '' : ` --vport ${String(key.port)}`}`
    return [iptablesRule(family, 'nat', 'POSTROUTING', `${match} -j MASQUERADE`)]
  }
  const match = key.protocol === 'fwmark' ? `meta mark ${String(key.fwmark)}` : originalOf(key)
  return nftRule(family, 'postrouting', 'nat hook postrouting priority srcnat', [
    `${match} masquerade comment "${serviceName(key)}"`,
  ])
}

/** What a client asked for, which is not what the packet has by now. */
function originalOf({ protocol, address, port }: AddressServiceKey): string {
  const ip = familyOfAddress(address) === 'ipv4' ? 'ip' : 'ip6'
  return `meta l4proto ${String(protocol)} ct original ${ip} daddr ${address}${port === 0 ? '' : ` ct original proto-dst ${String(port)}`}`
}

/** Marks the packets to an address, or to some of its ports. */
export function mark(
  key: FwmarkServiceKey,
  address: string,
  ports: readonly MarkedPorts[],
  firewall: Firewall,
): CommandStep[] {
  const family = familyOfAddress(address)
  const some: readonly (MarkedPorts | undefined)[] = ports.length === 0 ? [undefined] : ports
  if (firewall === 'iptables') {
    return some.map((one) => {
      const only =
        one === undefined
          ? ''
          : ` -p ${one.protocol} -m multiport --dports ${one.ports.join(',').replaceAll('-', ':')}`
      const rule = `-d ${address}${only} -j MARK --set-mark ${String(key.fwmark)}`
      return iptablesRule(family, 'mangle', 'PREROUTING', rule)
    })
  }
  const ip = family === 'ipv4' ? 'ip' : 'ip6'
  const rules = some.map((one) => {
    const only = one === undefined ? '' : ` ${one.protocol} dport { ${one.ports.join(', ')} }`
    const comment = [serviceName(key), address, ...(one === undefined ? [] : [one.protocol, ...one.ports])]
    return `${ip} daddr ${address}${only} meta mark set ${String(key.fwmark)} comment "${comment.join(' ')}"`
  })
  return nftRule(family, 'prerouting', 'filter hook prerouting priority mangle', rules)
}

/** The table that has all rules, of each family. */
const TABLE = 'ipvs-setup'

/** A rule is known by its comment: nft prints the rest in words of its own. */
function nftRule(family: Family, chain: string, hook: string, rules: readonly string[]): CommandStep[] {
  const table = `${family === 'ipv4' ? 'ip' : 'ip6'} ${TABLE}`
  return [
    {
      kind: 'command',
      command: `nft add table ${table}`,
      unless: `nft list table ${table}`,
      undo: `nft delete table ${table}`,
    },
    {
      kind: 'command',
      command: `nft add chain ${table} ${chain} '{ type ${hook}; }'`,
      unless: `nft list chain ${table} ${chain}`,
    },
    ...rules.map((rule): CommandStep => ({
      kind: 'command',
      command: `nft add rule ${table} ${chain} '${rule}'`,
      unless: `nft list chain ${table} ${chain} | grep -qF '${rule.replace(/.* (?=comment)/, '')}'`,
    })),
  ]
}

function iptablesRule(family: Family, table: string, chain: string, rule: string): CommandStep {
  const program = `${family === 'ipv4' ? 'iptables' : 'ip6tables'} -t ${table}`
  return {
    kind: 'command',
    command: `${program} -A ${chain} ${rule}`,
    unless: `${program} -C ${chain} ${rule}`,
    undo: `${program} -D ${chain} ${rule}`,
  }
}
