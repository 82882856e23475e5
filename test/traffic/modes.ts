import {
  type Family,
  formatEndpoint,
  type RealServerSpec,
  type State,
  type StateService,
} from '../../lib/index.ts'
import { type DirectorOptions, setUpDirector } from '../../lib/setup/director.ts'
import type { Firewall } from '../../lib/setup/firewall.ts'
import { commandsOf } from '../../lib/setup/part.ts'
import { type RealServerOptions, setUpRealServer } from '../../lib/setup/real-server.ts'
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
  readonly state: State & { readonly services: Services }
  /** Lines of shell that make a host what it is in this mode, as root: those that `ipvs setup` prints. */
  readonly commands: Readonly<Record<string, readonly string[]>>
  /** What listens. */
  readonly servers: Readonly<Record<string, readonly Listener[]>>
  /** A packet to the target, and the answer. */
  readonly way: Way
}

export type Services = readonly [StateService, ...StateService[]]

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
  const services: Services = [
    {
      ...{ protocol, address: VIRTUAL[family], port, scheduler: 'rr' },
      realServers: SERVERS.map((name) => ({
        ...{ address: addressOf(topology, name, family), port: to, method: 'masquerade' },
      })),
    },
  ]
  return {
    name: 'nat',
    family,
    topology,
    client: 'client',
    target: { protocol, address: VIRTUAL[family], port },
    state: { services },
    commands: commandsFor(services, {
      realServer: { method: 'masquerade', director: addressOf(topology, 'director', family, 'back') },
    }),
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
  const services: Services = [
    {
      ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
      realServers: SERVERS.map((name) => ({
        ...{ address: addressOf(topology, name, family), port: 8080, method: 'masquerade' },
      })),
    },
  ]
  return {
    ...nat(family),
    name: 'nat-one-network',
    topology,
    client: 'neighbour',
    state: { services },
    commands: commandsFor(services, {
      director: { oneNetwork: true },
      realServer: {
        method: 'masquerade',
        director: addressOf(topology, 'director', family),
        clients: family === 'ipv4' ? '192.0.2.0/24' : '2001:db8::/64',
        interface: 'eth0',
      },
    }),
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
  const services: Services = [
    {
      ...{ protocol, address: VIRTUAL[family], port, scheduler: 'rr' },
      realServers: SERVERS.map((name) => ({
        ...{ address: addressOf(topology, name, family), port, method: 'direct' },
      })),
    },
  ]
  return {
    name: 'direct-routing',
    family,
    topology,
    client: 'client',
    target: { protocol, address: VIRTUAL[family], port },
    state: { services },
    commands: commandsFor(services, { realServer: { method: 'direct' } }),
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
  const around = {
    type,
    ...(type === 'gue' && { port: GUE_PORT }),
    ...(checksum && { checksum: 'csum' as const }),
  }
  const services: Services = [
    {
      ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
      realServers: SERVERS.map((name) => ({
        ...{ address: addressOf(topology, name, outer), port: 80, method: 'tunnel', tunnel: around },
      })),
    },
  ]
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
    state: { services },
    commands: commandsFor(services, {
      realServer: { method: 'tunnel', tunnel: around, director: addresses.source },
    }),
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

/** The program that makes rules for packets. */
export type Filter = Firewall

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
    commands: commandsFor(mode.state.services, { director: { snat: true, firewall: filter } }),
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

/** A server on the director itself. */
export function local(family: Family): Mode {
  const topology = BEHIND_DIRECTOR
  const client = endpoint(topology, 'client', family, CLIENT_PORT)
  const virtual = formatEndpoint({ address: VIRTUAL[family], port: 80 })
  const services: Services = [
    {
      ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
      realServers: [{ address: family === 'ipv4' ? '127.0.0.1' : '::1', port: 80, method: 'local' }],
    },
  ]
  return {
    name: 'local',
    family,
    topology,
    client: 'client',
    target: { protocol: 'tcp', address: VIRTUAL[family], port: 80 },
    state: { services },
    commands: commandsFor(services, {}),
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

/** Ports that a firewall marks are one service: 80 and 443 of TCP. */
export function marked(family: Family, filter: Filter): Mode {
  return markedOf(family, filter, [80, 443])
}

/** All ports of TCP and UDP as one service: a client finds the same server with both. */
export function allMarked(family: Family, filter: Filter): Mode {
  return { ...markedOf(family, filter, []), name: `all-marked-${filter}` }
}

function markedOf(family: Family, firewall: Filter, ports: readonly number[]): Mode {
  const port = ports[0] ?? 111
  const mode = natOf(family, { protocol: 'tcp', port, to: port })
  const services: Services = [
    {
      ...{ protocol: 'fwmark', fwmark: 1, family, scheduler: 'rr', persistence: {} },
      realServers: anyPort(family),
    },
  ]
  return {
    ...mode,
    name: `marked-${firewall}`,
    state: { services },
    commands: {
      ...mode.commands,
      ...commandsFor(services, {
        director: { firewall, marked: { address: VIRTUAL[family], ports: ports.map(String) } },
      }),
    },
    servers: listeners(ports.map((one) => ({ protocol: 'tcp', port: one }))),
  }
}

/** FTP with NAT, of which a module of the kernel reads and mends the addresses and ports that the two tell each other. */
export function ftp(family: Family): Mode {
  return { ...natOf(family, { protocol: 'tcp', port: 21, to: 21 }), name: 'ftp' }
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

/** What the director and, if they need anything, the real servers are given. */
function commandsFor(
  services: Services,
  given: { readonly director?: Omit<DirectorOptions, 'interface'>; readonly realServer?: RealServerOptions },
): Mode['commands'] {
  const { director = {}, realServer } = given
  const parts = realServer === undefined ? undefined : setUpRealServer(services, realServer)
  return {
    director: commandsOf(setUpDirector(services, { interface: 'eth0', ...director })),
    ...(parts && Object.fromEntries(SERVERS.map((name) => [name, commandsOf(parts)]))),
  }
}

function listeners(all: readonly Listener[]): Mode['servers'] {
  return Object.fromEntries(SERVERS.map((name) => [name, all]))
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
