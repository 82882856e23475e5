// What ip(8) is told to make a topology of network namespaces: a bridge for each network, in a namespace of their own, and
// a cable from it to each interface.

/** @import { HostDescription, Topology } from './topology.ts' */

/**
 * The lines of `ip -batch` for each namespace, which are there: first that of the bridges, then the hosts in their order.
 *
 * @param {Topology} topology
 * @param {readonly string[]} namespaces of the hosts
 * @returns {string[][]}
 */
export function cables({ networks, hosts }, namespaces) {
  const names = Object.keys(networks)
  /** @param {string} network */
  const bridge = (network) => `br${names.indexOf(network)}`
  const descriptions = Object.values(hosts)
  const bridges = names.flatMap((name) => [
    `link add ${bridge(name)} type bridge`,
    `link set ${bridge(name)} up`,
  ])
  const ports = descriptions.flatMap(({ interfaces }, host) =>
    Object.entries(interfaces).flatMap(([name, { network }], index) => {
      const port = `port${host}-${index}`
      const mtu = `mtu ${networks[network]?.mtu ?? 1500}`
      return [
        // Both ends are made where they belong: this machine's own network never sees them.
        `link add ${port} ${mtu} type veth peer name ${name} netns ${namespaces[host]} ${mtu}`,
        `link set ${port} master ${bridge(network)} up`,
      ]
    }),
  )
  return [[...bridges, ...ports], ...descriptions.map(ends)]
}

/** @param {HostDescription} host */
function ends({ interfaces, routes = [] }) {
  return [
    ...Object.entries(interfaces).flatMap(([name, { addresses }]) => [
      `link set ${name} up`,
      ...addresses.map(
        (address) => `addr add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`,
      ),
    ]),
    ...routes.map((route) => `route add ${route}`),
  ]
}

/** What a router is told besides, by sysctl(8). */
export const ROUTER_SYSCTLS = /** @type {const} */ ([
  'net.ipv4.ip_forward=1',
  'net.ipv6.conf.all.forwarding=1',
])
