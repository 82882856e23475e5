import type { Family, Tunnel } from '../model/types.ts'
import { type CommandStep, ip, type SetupStep } from './part.ts'
import { module } from './steps.ts'

/** Steps that take packets out of tunnels. */

/** What unwraps packets, by the families of what is around them and of the packet. */
const KINDS = {
  ipv4: { ipv4: 'ipip', ipv6: 'sit' },
  ipv6: { ipv4: 'ip6tnl', ipv6: 'ip6tnl' },
} as const
const GRE = { ipv4: 'gre', ipv6: 'ip6gre' } as const

/** The devices that the kernel has of each kind, which take what no other takes. */
const FALLBACKS: Readonly<Record<string, { readonly name: string; readonly module: string }>> = {
  ipip: { name: 'tunl0', module: 'ipip' },
  sit: { name: 'sit0', module: 'sit' },
  gre: { name: 'gre0', module: 'ip_gre' },
}

/** A UDP port that takes packets of GUE. */
export function gueReceiver(port: number, outer: Family): CommandStep[] {
  const fou = `${ip(outer)} fou`
  return [
    module(outer === 'ipv4' ? 'fou' : 'fou6'),
    {
      kind: 'command',
      command: `${fou} add port ${String(port)} gue`,
      unless: `${fou} show | grep -q 'port ${String(port)} gue'`,
      undo: `${fou} del port ${String(port)}`,
    },
  ]
}

/** The device for one family of packets: one of its own for a director, or else the one that takes all. */
export function tunnelDevice(
  { type, checksum }: Tunnel,
  outer: Family,
  inner: Family,
  director: string | undefined,
): { readonly name: string; readonly steps: readonly SetupStep[] } {
  const kind = type === 'gre' ? GRE[outer] : KINDS[outer][inner]
  const fallback = FALLBACKS[kind]
  if (director === undefined && fallback !== undefined) {
    const { name } = fallback
    const load = { ...module(fallback.module), unless: `ip link show dev ${name}` }
    return { name, steps: [load, up(name)] }
  }
  const name = `ipvs-${kind}`
  const mode = kind === 'ip6tnl' ? 'mode any ' : ''
  const check = type === 'gre' && checksum === 'csum' ? ' icsum' : ''
  const add: CommandStep = {
    kind: 'command',
    command: `ip link add ${name} type ${kind} ${mode}remote ${String(director)}${check}`,
    unless: `ip -d link show dev ${name} | grep -q 'remote ${String(director)} '`,
    undo: `ip link delete ${name}`,
  }
  return { name, steps: [add, up(name)] }
}

function up(name: string): CommandStep {
  return {
    kind: 'command',
    command: `ip link set ${name} up`,
    unless: `ip -o link show dev ${name} up | grep -q .`,
    undo: `ip link set ${name} down`,
  }
}
