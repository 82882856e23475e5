import { familyOfAddress, parseAddress } from '../../model/address.ts'
import type { Family } from '../../model/types.ts'

/** What is known of a machine, beside IPVS. */

/** A machine, or one of its network namespaces, as its own programs tell it. */
export interface Host {
  /** `6.1.0-30-amd64` */
  readonly kernelRelease: string
  readonly links: readonly Link[]
  readonly addresses: readonly HostAddress[]
  /** Of all tables. */
  readonly routes: readonly Route[]
  /** The addresses whose routes were asked for. */
  readonly asked: ReadonlySet<string>
  /** How each of them would be reached. One that is not here has no route. */
  readonly routesTo: ReadonlyMap<string, RouteTo>
  readonly neighbours: readonly Neighbour[]
  /** Names of modules that are loaded. */
  readonly modules: ReadonlySet<string>
  readonly sysctls: ReadonlyMap<string, string>
  readonly firewall: RawFirewall
  /** UDP ports that take packets out of GUE. */
  readonly guePorts: readonly number[]
  /** What could not be read: the program, or the file, and why. */
  readonly unread: readonly Unread[]
}

export interface Link {
  readonly name: string
  readonly up: boolean
  readonly loopback: boolean
  /** Whether it takes part in ARP. */
  readonly arp: boolean
  readonly multicast: boolean
  readonly mtu: number
  /** Such as `ipip`, `gre`, `dummy`, `veth`; '' for a card. */
  readonly kind: string
  /** Whether a program of XDP is attached. */
  readonly xdp: boolean
  /** Of a tunnel: its ends; '' for any. */
  readonly local: string
  readonly remote: string
}

export interface HostAddress {
  readonly address: string
  readonly prefix: number
  readonly link: string
}

export interface Route {
  /** `0.0.0.0/0` for a default route; a single address has its prefix too. */
  readonly destination: string
  readonly gateway?: string
  readonly link?: string
  /** `unicast`, `local`, `blackhole` ... */
  readonly type: string
  readonly table: string
}

export interface RouteTo {
  readonly gateway?: string
  readonly link: string
  /** Address that packets there come from. */
  readonly source?: string
  /** `local`: it is this machine. */
  readonly type: string
}

export interface Neighbour {
  readonly address: string
  readonly link: string
  /** `REACHABLE`, `STALE`, `FAILED` ... */
  readonly states: readonly string[]
}

/** Firewall rules, as the programs print them. Absent: the program is not there, or cannot run here. */
export interface RawFirewall {
  /** `nft -j list ruleset`, parsed. */
  readonly nft?: unknown
  /** `iptables-save` */
  readonly iptables?: string
  /** `ip6tables-save` */
  readonly ip6tables?: string
}

export interface Unread {
  readonly what: string
  readonly why: string
}

/** Effective value of a setting of `net.ipv4.conf`: the kernel takes the greater of `all` and the interface's own. */
export function greaterOf({ sysctls }: Host, link: string, name: string): number {
  const of = (interface_: string): number => Number(sysctls.get(`net.ipv4.conf.${interface_}.${name}`) ?? 0)
  return Math.max(of('all'), of(link))
}

/** The link that an address is on. */
export function linkOfAddress({ addresses }: Host, address: string): string | undefined {
  return addresses.find((one) => one.address === address)?.link
}

/** Whether a route is the default one of a family. */
export function hasDefault({ destination, type, table }: Route, family: Family): boolean {
  return destination === (family === 'ipv4' ? '0.0.0.0/0' : '::/0') && type === 'unicast' && table === 'main'
}

/** Whether an address is in a network such as `192.0.2.0/24`. */
export function contains(network: string, address: string): boolean {
  const [base = '', length = ''] = network.split('/')
  if (base.includes(':') !== address.includes(':')) return false
  const bits = Number(length)
  const [one, other] = [parseAddress(base), parseAddress(address)]
  return one.every((byte, index) => {
    const mask = 0xff00 >> Math.min(8, Math.max(0, bits - 8 * index))
    return ((byte ^ (other[index] ?? 0)) & mask & 0xff) === 0
  })
}

/** The command that adds an address which is this machine's alone. */
export function addAddress(address: string, link: string): string {
  return familyOfAddress(address) === 'ipv4'
    ? `ip address add ${address}/32 dev ${link}`
    : // Not preferred: or the machine would send from it whatever it sends itself.
      `ip address add ${address}/128 dev ${link} nodad preferred_lft 0`
}
