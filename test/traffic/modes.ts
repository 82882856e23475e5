import {
  type Family,
  formatEndpoint,
  type RealServerSpec,
  type State,
  type StateService,
} from '../../lib/index.ts'
import type { Packet, Target, TrafficProtocol } from './agent.ts'
import { BEHIND_DIRECTOR, NO_WAY_BACK, ONE_NETWORK, ROUTED, VIRTUAL } from './topologies.mjs'
import type { Topology } from './topology.ts'

/**
 * Each way to use IPVS as data: machines, table, the commands of each machine, and the packet's way. Tests send
 * packets that way and look at them at each hop; guides are written from it.
 */
export interface Mode {
  /** Such as `nat`. */
  readonly name: string
  /** Of clients and virtual address. */
  readonly family: Family
  readonly topology: Topology
  /** The host that is the client. */
  readonly client: string
  /** What the client asks. */
  readonly target: Target
  /** The director's table. */
  readonly state: State & { readonly services: readonly [StateService, ...StateService[]] }
  /** Lines of shell that make a host what it is in this mode, as root. */
  readonly commands: Readonly<Record<string, readonly string[]>>
  /** What listens. */
  readonly servers: Readonly<Record<string, readonly Listener[]>>
  /** A packet to the target, and the answer. */
  readonly way: Way
}

export interface Listener {
  readonly protocol: TrafficProtocol
  readonly port: number
  /** Default: all of the host. A server of UDP must have the virtual one if packets keep it, or it answers from another. */
  readonly address?: string
}

export interface Way {
  readonly request: readonly Hop[]
  readonly reply: readonly Hop[]
}

/** A packet between two hosts. */
export interface Hop extends Packet {
  readonly from: string
  readonly to: string
}

/** The client's port in each way. */
export const CLIENT_PORT = 40000

/** UDP port of the GUE receivers. */
const GUE_PORT = 6080

const SERVERS = ['web1', 'web2'] as const

/** NAT with port mapping: the real servers' answers come back through the director, which is their default gateway. */
export function nat(family: Family): Mode {
  return natOf(family, { protocol: 'tcp', port: 80, to: 8080 })
}

/** The same with UDP. */
export function udp(family: Family): Mode {
  return { ...natOf(family, { protocol: 'udp', port: 53, to: 5353 }), name: 'udp' }
}

/** The same with SCTP, and two ports, each mapped to another. */
export function sctp(family: Family): Mode {
  const mode = natOf(family, { protocol: 'sctp', port: 2905, to: 12905 })
  const second = natOf(family, { protocol: 'sctp', port: 2906, to: 12906 })
  return {
    ...mode,
    name: 'sctp',
    state: { services: [mode.state.services[0], ...second.state.services] },
    servers: listeners([
      { protocol: 'sctp', port: 12905 },
      { protocol: 'sctp', port: 12906 },
    ]),
  }
}

function natOf(
  family: Family,
  { protocol, port, to }: { readonly protocol: TrafficProtocol; readonly port: number; readonly to: number },
): Mode {
  const topology = BEHIND_DIRECTOR
  const client = endpoint(topology, 'client', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port })
  const real = endpoint(topology, 'web1', family, to)
  return {
    name: 'nat',
    family,
    topology,
    client: 'client',
    target: { protocol, address: VIRTUAL[family], port },
    state: {
      services: [
        {
          ...{ protocol, address: VIRTUAL[family], port, scheduler: 'rr' },
          realServers: SERVERS.map((name) => ({
            ...{ address: addressOf(topology, name, family), port: to, method: 'masquerade' },
          })),
        },
      ],
    },
    commands: { director: [forwarding(family), virtualAddress(family, 'eth0')] },
    servers: listeners([{ protocol, port: to }]),
    way: {
      request: [
        ...along(['client', 'router', 'director'], { protocol, source: client, destination: virtual }),
        ...along(['director', 'web1'], { protocol, source: client, destination: real }),
      ],
      reply: [
        ...along(['web1', 'director'], { protocol, source: real, destination: client }),
        ...along(['director', 'router', 'client'], { protocol, source: virtual, destination: client }),
      ],
    },
  }
}

/**
 * NAT in one network, which clients are in too: the answers must go back through the director, although each could
 * reach the other without it.
 */
export function natOneNetwork(family: Family): Mode {
  const topology = ONE_NETWORK
  const client = endpoint(topology, 'neighbour', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port: 80 })
  const real = endpoint(topology, 'web1', family, 8080)
  const director = addressOf(topology, 'director', family)
  const neighbour = addressOf(topology, 'neighbour', family)
  return {
    ...nat(family),
    name: 'nat-one-network',
    topology,
    client: 'neighbour',
    state: {
      services: [
        {
          ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
          realServers: SERVERS.map((name) => ({
            ...{ address: addressOf(topology, name, family), port: 8080, method: 'masquerade' },
          })),
        },
      ],
    },
    commands: {
      director: [
        forwarding(family),
        // Of IPv6 there is none: it always sends them.
        ...(family === 'ipv4'
          ? ['sysctl -w net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0']
          : []),
        virtualAddress(family, 'eth0'),
      ],
      ...each(() => [
        ...(family === 'ipv6' ? ['sysctl -w net.ipv6.conf.eth0.accept_redirects=0'] : []),
        `ip route add ${neighbour} via ${director}`,
      ]),
    },
    way: {
      request: [
        ...along(['neighbour', 'director'], { protocol: 'tcp', source: client, destination: virtual }),
        ...along(['director', 'web1'], { protocol: 'tcp', source: client, destination: real }),
      ],
      reply: [
        ...along(['web1', 'director'], { protocol: 'tcp', source: real, destination: client }),
        ...along(['director', 'neighbour'], { protocol: 'tcp', source: virtual, destination: client }),
      ],
    },
  }
}

/** Direct routing: the packets keep their addresses, and the answers go straight to the client. */
export function directRouting(family: Family): Mode {
  return directRoutingOf(family, { protocol: 'tcp', port: 80 })
}

/** Each datagram is scheduled anew, as suits DNS. Not with NAT: nobody remembers which answer belongs to what. */
export function onePacket(family: Family): Mode {
  const mode = directRoutingOf(family, { protocol: 'udp', port: 53 })
  return {
    ...mode,
    name: 'one-packet',
    state: { services: [{ ...mode.state.services[0], onePacket: true }] },
  }
}

function directRoutingOf(
  family: Family,
  { protocol, port }: { readonly protocol: TrafficProtocol; readonly port: number },
): Mode {
  const topology = ONE_NETWORK
  const client = endpoint(topology, 'client', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port })
  const request = { protocol, source: client, destination: virtual }
  return {
    name: 'direct-routing',
    family,
    topology,
    client: 'client',
    target: { protocol, address: VIRTUAL[family], port },
    state: {
      services: [
        {
          ...{ protocol, address: VIRTUAL[family], port, scheduler: 'rr' },
          realServers: SERVERS.map((name) => ({
            ...{ address: addressOf(topology, name, family), port, method: 'direct' },
          })),
        },
      ],
    },
    commands: { director: [virtualAddress(family, 'eth0')], ...each(() => silentAddress(family)) },
    servers: listeners([{ protocol, port, ...(protocol === 'udp' && { address: VIRTUAL[family] }) }]),
    way: {
      request: along(['client', 'router', 'director', 'web1'], request),
      reply: along(['web1', 'router', 'client'], { protocol, source: virtual, destination: client }),
    },
  }
}

/** What is around the packets in a tunnel. */
export interface TunnelKind {
  readonly type: 'ipip' | 'gue' | 'gre'
  readonly checksum: boolean
  /** Family of the director's and the real servers' addresses. */
  readonly outer: Family
}

/** Tunnels to real servers in other networks; the answers go straight to the client. */
export function tunnel(family: Family, { type, checksum, outer }: TunnelKind): Mode {
  const topology = ROUTED
  const client = endpoint(topology, 'client', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port: 80 })
  const request = { protocol: 'tcp', source: client, destination: virtual } as const
  const addresses = {
    source: addressOf(topology, 'director', outer),
    destination: addressOf(topology, 'web1', outer),
  }
  return {
    name: [
      'tunnel',
      type,
      ...(checksum ? ['checksum'] : []),
      ...(outer === family ? [] : ['over', outer]),
    ].join('-'),
    family,
    topology,
    client: 'client',
    target: { protocol: 'tcp', address: VIRTUAL[family], port: 80 },
    state: {
      services: [
        {
          ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
          realServers: SERVERS.map((name) => ({
            ...{ address: addressOf(topology, name, outer), port: 80, method: 'tunnel' },
            tunnel: {
              type,
              ...(type === 'gue' && { port: GUE_PORT }),
              ...(checksum && { checksum: 'csum' }),
            },
          })),
        },
      ],
    },
    commands: {
      director: [virtualAddress(family, 'eth0')],
      ...each((name) => tunnelEnd(topology, name, family, { type, checksum, outer })),
    },
    servers: listeners([{ protocol: 'tcp', port: 80 }]),
    way: {
      request: [
        ...along(['client', 'router', 'director'], request),
        ...along(['director', 'router', 'web1'], { ...request, outer: { tunnel: type, ...addresses } }),
      ],
      reply: along(['web1', 'router', 'client'], {
        ...{ protocol: 'tcp', source: virtual, destination: client },
      }),
    },
  }
}

/** Unwraps the director's packets on a real server, of which the virtual address is on the device that does so. */
function tunnelEnd(
  topology: Topology,
  name: string,
  family: Family,
  { type, checksum, outer }: TunnelKind,
): string[] {
  const local = addressOf(topology, name, outer)
  const remote = addressOf(topology, 'director', outer)
  const six = outer === 'ipv6'
  const kind = type === 'gre' ? (six ? 'ip6gre' : 'gre') : six ? 'ip6tnl' : family === 'ipv6' ? 'sit' : 'ipip'
  const of =
    kind === 'ip6tnl'
      ? `mode any local ${local} remote ${remote}`
      : `local ${local} remote ${remote}${checksum && type === 'gre' ? ' icsum' : ''}`
  return [
    ...(type === 'gue'
      ? [`modprobe ${six ? 'fou6' : 'fou'}`, `ip ${six ? '-6 ' : ''}fou add port ${String(GUE_PORT)} gue`]
      : []),
    `ip link add ipvs0 type ${kind} ${of}`,
    'ip link set ipvs0 up',
    // The packets come from clients, to whom the way is another interface: 2 asks only whether there is a way.
    ...(family === 'ipv4' ? ['sysctl -w net.ipv4.conf.ipvs0.rp_filter=2'] : []),
    virtualAddress(family, 'ipvs0'),
  ]
}

/** The program that makes rules for packets. */
export type Filter = 'iptables' | 'nft'

/** NAT in which the director is the client, for the real servers: they need no route to the clients. */
export function fullNat(family: Family, filter: Filter): Mode {
  const topology = NO_WAY_BACK
  const mode = nat(family)
  const client = endpoint(topology, 'client', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port: 80 })
  const director = formatEndpoint({
    ...{ address: addressOf(topology, 'director', family, 'back'), port: CLIENT_PORT },
  })
  const real = endpoint(topology, 'web1', family, 8080)
  return {
    ...mode,
    name: `full-nat-${filter}`,
    topology,
    state: { ...mode.state, sysctls: { conntrack: 1 } },
    commands: { director: [...(mode.commands.director ?? []), ...sourceNat(family, filter)] },
    way: {
      request: [
        ...along(['client', 'router', 'director'], {
          ...{ protocol: 'tcp', source: client, destination: virtual },
        }),
        ...along(['director', 'web1'], { protocol: 'tcp', source: director, destination: real }),
      ],
      reply: [
        ...along(['web1', 'director'], { protocol: 'tcp', source: real, destination: director }),
        ...along(['director', 'router', 'client'], {
          ...{ protocol: 'tcp', source: virtual, destination: client },
        }),
      ],
    },
  }
}

function sourceNat(family: Family, filter: Filter): string[] {
  const virtual = VIRTUAL[family]
  if (filter === 'iptables') {
    const program = family === 'ipv4' ? 'iptables' : 'ip6tables'
    return [`${program} -t nat -A POSTROUTING -m ipvs --ipvs --vaddr ${virtual} --vport 80 -j MASQUERADE`]
  }
  const ip = family === 'ipv4' ? 'ip' : 'ip6'
  return [
    `nft add table ${ip} ipvs`,
    `nft add chain ${ip} ipvs postrouting '{ type nat hook postrouting priority srcnat; }'`,
    `nft add rule ${ip} ipvs postrouting ct original ${ip} daddr ${virtual} tcp dport 8080 masquerade`,
  ]
}

/** A server on the director itself. */
export function local(family: Family): Mode {
  const topology = BEHIND_DIRECTOR
  const client = endpoint(topology, 'client', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port: 80 })
  return {
    name: 'local',
    family,
    topology,
    client: 'client',
    target: { protocol: 'tcp', address: VIRTUAL[family], port: 80 },
    state: {
      services: [
        {
          ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
          realServers: [{ address: family === 'ipv4' ? '127.0.0.1' : '::1', port: 80, method: 'local' }],
        },
      ],
    },
    commands: { director: [virtualAddress(family, 'eth0')] },
    servers: { director: [{ protocol: 'tcp', port: 80 }] },
    way: {
      request: along(['client', 'router', 'director'], {
        ...{ protocol: 'tcp', source: client, destination: virtual },
      }),
      reply: along(['director', 'router', 'client'], {
        ...{ protocol: 'tcp', source: virtual, destination: client },
      }),
    },
  }
}

/** Every port of an address goes to the same server, which persistence remembers: of TCP, and of UDP. */
export function allPorts(family: Family): Mode {
  const service = (protocol: TrafficProtocol): StateService => ({
    ...{ protocol, address: VIRTUAL[family], port: 0, scheduler: 'rr', persistence: {} },
    realServers: anyPort(family),
  })
  return {
    ...natOf(family, { protocol: 'tcp', port: 111, to: 111 }),
    name: 'all-ports',
    state: { services: [service('tcp'), service('udp')] },
  }
}

/** Ports that a firewall marks are one service, whatever their protocol: 80 and 443 of TCP. */
export function marked(family: Family, filter: Filter): Mode {
  return markedOf(family, filter, 'tcp', [80, 443])
}

/** All ports of TCP and UDP as one service: a client finds the same server with both. */
export function allMarked(family: Family, filter: Filter): Mode {
  return { ...markedOf(family, filter, 'any', []), name: `all-marked-${filter}` }
}

const MARK = 1

function markedOf(family: Family, filter: Filter, protocol: 'tcp' | 'any', ports: readonly number[]): Mode {
  const port = ports[0] ?? 111
  const mode = natOf(family, { protocol: 'tcp', port, to: port })
  return {
    ...mode,
    name: `marked-${filter}`,
    state: {
      services: [
        {
          ...{ protocol: 'fwmark', fwmark: MARK, family, scheduler: 'rr', persistence: {} },
          realServers: anyPort(family),
        },
      ],
    },
    commands: { director: [...(mode.commands.director ?? []), ...marks(family, filter, protocol, ports)] },
    servers: listeners(ports.map((one) => ({ protocol: 'tcp', port: one }))),
  }
}

function marks(family: Family, filter: Filter, protocol: 'tcp' | 'any', ports: readonly number[]): string[] {
  const virtual = VIRTUAL[family]
  if (filter === 'iptables') {
    const program = family === 'ipv4' ? 'iptables' : 'ip6tables'
    const only = protocol === 'any' ? '' : ` -p ${protocol} -m multiport --dports ${ports.join(',')}`
    return [`${program} -t mangle -A PREROUTING -d ${virtual}${only} -j MARK --set-mark ${String(MARK)}`]
  }
  const ip = family === 'ipv4' ? 'ip' : 'ip6'
  const only = protocol === 'any' ? '' : ` ${protocol} dport '{ ${ports.join(', ')} }'`
  return [
    `nft add table ${ip} ipvs`,
    `nft add chain ${ip} ipvs prerouting '{ type filter hook prerouting priority mangle; }'`,
    `nft add rule ${ip} ipvs prerouting ${ip} daddr ${virtual}${only} meta mark set ${String(MARK)}`,
  ]
}

/** FTP with NAT, of which a module of the kernel reads and mends the addresses and ports that the two tell each other. */
export function ftp(family: Family): Mode {
  const mode = natOf(family, { protocol: 'tcp', port: 21, to: 21 })
  return {
    ...mode,
    name: 'ftp',
    commands: { director: ['modprobe ip_vs_ftp', ...(mode.commands.director ?? [])] },
  }
}

/** SIP: whatever belongs to a call goes to the same server, wherever it comes from. */
export function sip(family: Family): Mode {
  const mode = natOf(family, { protocol: 'udp', port: 5060, to: 5060 })
  return {
    ...mode,
    name: 'sip',
    state: { services: [{ ...mode.state.services[0], persistence: {}, persistenceEngine: 'sip' }] },
  }
}

function anyPort(family: Family): RealServerSpec[] {
  return SERVERS.map((name) => ({
    ...{ address: addressOf(BEHIND_DIRECTOR, name, family), port: 0, method: 'masquerade' },
  }))
}

/** Each of these hosts, with its commands. */
function each(commands: (name: (typeof SERVERS)[number]) => string[]): Record<string, string[]> {
  return Object.fromEntries(SERVERS.map((name) => [name, commands(name)]))
}

function listeners(all: readonly Listener[]): Mode['servers'] {
  return Object.fromEntries(SERVERS.map((name) => [name, all]))
}

function forwarding(family: Family): string {
  return family === 'ipv4' ? 'sysctl -w net.ipv4.ip_forward=1' : 'sysctl -w net.ipv6.conf.all.forwarding=1'
}

function virtualAddress(family: Family, device: string): string {
  return family === 'ipv4'
    ? `ip address add ${VIRTUAL.ipv4}/32 dev ${device}`
    : // Valid, but not preferred: or a director would send from it what it wraps, and what it asks itself.
      `ip address add ${VIRTUAL.ipv6}/128 dev ${device} nodad preferred_lft 0`
}

/** The virtual address on a real server, of which nobody else hears. */
function silentAddress(family: Family): string[] {
  return family === 'ipv4'
    ? [
        'sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
        virtualAddress(family, 'lo'),
      ]
    : [virtualAddress(family, 'lo')]
}

/** The first address of a host, or its first in a network. */
export function addressOf(topology: Topology, host: string, family: Family, network?: string): string {
  const found = Object.values(topology.hosts[host]?.interfaces ?? {})
    .filter((one) => network === undefined || one.network === network)
    .flatMap(({ addresses }) => addresses)
    .find((address) => address.includes(':') === (family === 'ipv6'))
  if (found === undefined) throw new Error(`${host} has no address of ${family}`)
  return found.replace(/\/.*/, '')
}

function endpoint(topology: Topology, host: string, family: Family, port: number): string {
  return formatEndpoint({ address: addressOf(topology, host, family), port })
}

function along(hosts: readonly string[], packet: Packet): Hop[] {
  return hosts.slice(1).map((to, index) => ({ from: hosts[index] ?? '', to, ...packet }))
}
