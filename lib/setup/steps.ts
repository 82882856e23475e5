import { familyOfAddress } from '../model/address.ts'
import type { Family } from '../model/types.ts'
import { type CommandStep, ip, type RouteStep, type SysctlStep } from './part.ts'

/** Steps that several parts have. All words in them have been checked. */

export function sysctl(name: string, value: number, changes: readonly string[] = []): SysctlStep {
  return { kind: 'sysctl', name, value: String(value), ...(changes.length > 0 && { changes }) }
}

/** Of an interface, or of `all`. */
export function interfaceSysctl(family: Family, name: string, setting: string, value: number): SysctlStep {
  return sysctl(`net.${family}.conf.${name.replaceAll('.', '/')}.${setting}`, value)
}

export function module(name: string): CommandStep {
  // Another may use it by the time that this is taken back.
  return { kind: 'command', command: `modprobe ${name}`, unless: `[ -d /sys/module/${name} ]` }
}

/** A virtual address on an interface, alone in its network. */
export function virtualAddress(address: string, name: string, anywhere: boolean): CommandStep {
  const family = familyOfAddress(address)
  const network = `${address}/${family === 'ipv4' ? '32' : '128'}`
  return {
    kind: 'command',
    // Of IPv6: not preferred, or this machine's own packets could come from it; and not looked for
    // elsewhere first, for there it is on purpose.
    command: `${ip(family)} address add ${network} dev ${name}${family === 'ipv4' ? '' : ' nodad preferred_lft 0'}`,
    unless: `${ip(family)} -o address show ${anywhere ? '' : `dev ${name} `}to ${network} | grep -q .`,
    undo: `${ip(family)} address delete ${network} dev ${name}`,
  }
}

export function route(family: Family, to: string, by: string, metric?: number): RouteStep {
  return { kind: 'route', family, to, by, ...(metric !== undefined && { metric }) }
}
