import { canonicalServiceKey, familyOfAddress, familyOfService } from '../model/address.ts'
import { oneOf, whole } from '../model/check.ts'
import { serviceName } from '../model/keys.ts'
import { GUE_PORT } from '../model/ranges.ts'
import { IPIP } from '../model/server-settings.ts'
import type { ServiceKey, Tunnel } from '../model/types.ts'
import { checkServiceKey } from '../model/validate.ts'
import { checkAddress, checkInterface, checkNetwork } from './check.ts'
import type { ServiceToSetUp, SetupPart } from './part.ts'
import { interfaceSysctl, route, virtualAddress } from './steps.ts'
import { gueReceiver, tunnelDevice } from './tunnel-steps.ts'

/** How a real server is to be set up. */
export interface RealServerOptions {
  /** How the director reaches it. */
  readonly method: 'masquerade' | 'direct' | 'tunnel'
  /** With method tunnel. Default: IP-in-IP. */
  readonly tunnel?: Tunnel | undefined
  /**
   * Address of the director that its packets to this machine come from. Method masquerade needs it. A tunnel
   * without it takes packets from everybody, of IPv4.
   */
  readonly director?: string | undefined
  /** With method masquerade: the network of clients that this machine could reach without the director. Default: none. */
  readonly clients?: string | undefined
  /** With `clients`: the interface to that network. */
  readonly interface?: string | undefined
  /** Address of a virtual service that is a firewall mark, with methods direct and tunnel. */
  readonly marked?: { readonly address: string } | undefined
}

/** What a real server of these services needs, in this order. */
export function setUpRealServer(
  services: readonly ServiceToSetUp[],
  options: RealServerOptions,
): SetupPart[] {
  const keys = services.map((service) => canonicalServiceKey(checkServiceKey(service)))
  const director = options.director === undefined ? undefined : checkAddress(options.director, 'director')
  switch (oneOf(options.method, 'method', ['masquerade', 'direct', 'tunnel'])) {
    case 'masquerade':
      return masquerade(keys, director, options)
    case 'direct':
      return hiddenAddresses(virtualAddresses(keys, options), 'lo')
    case 'tunnel':
      return tunnels(keys, director, options)
  }
}

function masquerade(
  keys: readonly ServiceKey[],
  director: string | undefined,
  options: RealServerOptions,
): SetupPart[] {
  if (director === undefined)
    throw new TypeError('method masquerade needs the address of the director: answers must go there')
  const family = familyOfAddress(director)
  const other = keys.find((key) => familyOfService(key) !== family)
  if (other !== undefined)
    throw new TypeError(
      `${serviceName(other)} and the director ${director} have different address families: set up each`,
    )
  const parts: SetupPart[] = [
    {
      why: 'Answers must go back through the director, which puts the virtual address into them.',
      steps: [route(family, 'default', `via ${director}`)],
    },
  ]
  if (options.clients === undefined) return parts
  const clients = checkNetwork(options.clients, 'clients')
  if (familyOfAddress(clients) !== family)
    throw new TypeError(`clients ${clients} and the director ${director} have different address families`)
  if (options.interface === undefined)
    throw new TypeError('clients in the network of a real server need the interface to that network')
  const name = checkInterface(options.interface)
  parts.push({
    why: 'These clients could be reached directly, but answers must go through the director, and no redirect may change that.',
    steps: [
      ...(family === 'ipv4' ? ['all', name] : [name]).map((one) =>
        interfaceSysctl(family, one, 'accept_redirects', 0),
      ),
      // Before the other, which would lead to the director through itself.
      route(family, `${director}/${family === 'ipv4' ? '32' : '128'}`, `dev ${name}`),
      // In the place of that which comes with an address.
      route(family, clients, `via ${director} dev ${name}`, family === 'ipv6' ? 256 : undefined),
    ],
  })
  return parts
}

/** Virtual addresses of which nobody else hears, on an interface that does not answer ARP. */
function hiddenAddresses(addresses: readonly string[], name: string): SetupPart[] {
  const parts: SetupPart[] = []
  if (addresses.some((address) => familyOfAddress(address) === 'ipv4')) {
    parts.push({
      why: 'Only the director may answer ARP for the virtual address.',
      steps: [
        interfaceSysctl('ipv4', 'all', 'arp_ignore', 1),
        interfaceSysctl('ipv4', 'all', 'arp_announce', 2),
      ],
    })
  }
  if (addresses.length > 0) {
    parts.push({
      why: `Packets arrive with the virtual address as their destination, so this machine must have it too.`,
      steps: addresses.map((address) => virtualAddress(address, name, false)),
    })
  }
  return parts
}

function tunnels(
  keys: readonly ServiceKey[],
  director: string | undefined,
  options: RealServerOptions,
): SetupPart[] {
  const { tunnel = IPIP } = options
  const outer = director === undefined ? 'ipv4' : familyOfAddress(director)
  const addresses = virtualAddresses(keys, options)
  const parts: SetupPart[] = []
  // A device that takes packets from everybody takes none with a checksum (ip_tunnel_rcv()).
  if (tunnel.type === 'gre' && tunnel.checksum === 'csum' && director === undefined)
    throw new TypeError('a gre tunnel with a checksum needs the address of the director')
  if (tunnel.type === 'gue') {
    parts.push({
      why: 'GUE packets arrive at a UDP port, which unwraps them.',
      steps: gueReceiver(whole(tunnel.port, 'tunnel.port', ...GUE_PORT), outer),
    })
  }
  for (const inner of ['ipv4', 'ipv6'] as const) {
    const inside = addresses.filter((address) => familyOfAddress(address) === inner)
    if (inside.length === 0) continue
    const { name, steps } = tunnelDevice(tunnel, outer, inner, director)
    parts.push({
      why: `This device takes ${inner === 'ipv4' ? 'IPv4' : 'IPv6'} packets out of the tunnel.`,
      steps,
    })
    if (inner === 'ipv4') {
      parts.push({
        why: 'Packets arrive through the tunnel and answers leave by another interface, which a reverse path filter of 1 forbids; 2 only asks whether there is a route to the client.',
        steps: [interfaceSysctl('ipv4', name, 'rp_filter', 2)],
      })
    }
    parts.push(...hiddenAddresses(inside, name))
  }
  return parts
}

function virtualAddresses(keys: readonly ServiceKey[], { marked }: RealServerOptions): readonly string[] {
  const all = keys.map((key) => {
    if (key.protocol !== 'fwmark') return key.address
    if (marked === undefined)
      throw new TypeError(`${serviceName(key)} has no address of its own: give the one that clients ask for`)
    return checkAddress(marked.address, 'address')
  })
  return [...new Set(all)]
}
