import { familyOfAddress } from '../../model/address.ts'
import type { Family } from '../../model/types.ts'
import type { RawFirewall } from '../firewall/read.ts'

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
  /** What helps protocols that have addresses inside, such as `ftp`; absent if it could not be read. */
  readonly helpers?: readonly string[]
  /** What could not be read: the program, or the file, and why. */
  readonly unread: readonly Unread[]
}

export interface Link {
  readonly name: string
  readonly up: boolean
  readonly loopback: boolean
  /** Whether it takes part in ARP. */
  readonly arp: boolean
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

export interface Unread {
  readonly what: string
  readonly why: string
}

/** Whether a part of a machine could not be read: what is not in there may be there all the same. */
export function isUnread({ unread }: Host, what: 'ip' | '/proc/sys/net'): boolean {
  return unread.some((one) => one.what === what)
}

/** A word of a shell's command line: names of interfaces may have any characters but blanks and slashes. */
export function word(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** Name of a setting of an interface, as sysctl(8) has it: a dot in the name of an interface is a slash there. */
export function settingOf(link: string, name: string): string {
  return `net.ipv4.conf.${link.replaceAll('.', '/')}.${name}`
}

/** Effective value of a setting of `net.ipv4.conf`: the kernel takes the greater of `all` and the interface's own. */
export function greaterOf({ sysctls }: Host, link: string, name: string): number {
  const of = (interface_: string): number => Number(sysctls.get(settingOf(interface_, name)) ?? 0)
  return Math.max(of('all'), of(link))
}

/** Whether the kernel is this one, or newer. */
export function kernelSince({ kernelRelease }: Host, major: number, minor: number): boolean {
  const [first = 0, second = 0] = kernelRelease.split('.').map((part) => parseInt(part, 10))
  return first > major || (first === major && second >= minor)
}

/** The link that an address is on. */
export function linkOfAddress({ addresses }: Host, address: string): string | undefined {
  return addresses.find((one) => one.address === address)?.link
}

/** Whether a route is the default one of a family. */
export function hasDefault({ destination, type, table }: Route, family: Family): boolean {
  return destination === (family === 'ipv4' ? '0.0.0.0/0' : '::/0') && type === 'unicast' && table === 'main'
}

/** The command that adds an address which is this machine's alone. */
export function addAddress(address: string, link: string): string {
  return familyOfAddress(address) === 'ipv4'
    ? `ip address add ${address}/32 dev ${word(link)}`
    : // Not preferred: or the machine would send from it whatever it sends itself.
      `ip address add ${address}/128 dev ${word(link)} nodad preferred_lft 0`
}
