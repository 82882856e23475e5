/** The virtual addresses of all topologies. */
export const VIRTUAL = /** @type {const} */ ({ ipv4: '192.0.2.10', ipv6: '2001:db8::10' })

/**
 * The director between two networks, with real servers behind it: NAT. Clients are behind a router, as
 * they are everywhere.
 *
 * @satisfies {import('./topology.ts').Topology}
 */
export const BEHIND_DIRECTOR = /** @type {const} */ ({
  networks: {
    internet: { title: 'where the clients are' },
    front: { title: "the director's network" },
    back: { title: 'the network of the real servers' },
  },
  hosts: {
    client: {
      title: 'a client',
      interfaces: { eth0: { network: 'internet', addresses: ['198.51.100.100/24', '2001:db8:100::100/64'] } },
      routes: ['default via 198.51.100.1', 'default via 2001:db8:100::1'],
    },
    router: {
      title: 'the router',
      router: true,
      interfaces: {
        eth0: { network: 'internet', addresses: ['198.51.100.1/24', '2001:db8:100::1/64'] },
        eth1: { network: 'front', addresses: ['192.0.2.254/24', '2001:db8::254/64'] },
      },
    },
    director: {
      title: 'the director',
      interfaces: {
        eth0: { network: 'front', addresses: ['192.0.2.1/24', '2001:db8::1/64'] },
        eth1: { network: 'back', addresses: ['10.0.0.1/24', 'fd00::1/64'] },
      },
      routes: ['default via 192.0.2.254', 'default via 2001:db8::254'],
    },
    web1: {
      title: 'a real server',
      interfaces: { eth0: { network: 'back', addresses: ['10.0.0.11/24', 'fd00::11/64'] } },
      routes: ['default via 10.0.0.1', 'default via fd00::1'],
    },
    web2: {
      title: 'a real server',
      interfaces: { eth0: { network: 'back', addresses: ['10.0.0.12/24', 'fd00::12/64'] } },
      routes: ['default via 10.0.0.1', 'default via fd00::1'],
    },
  },
})

/**
 * Everything in one network, and the clients behind a router too: direct routing, and NAT with one network.
 *
 * @satisfies {import('./topology.ts').Topology}
 */
export const ONE_NETWORK = /** @type {const} */ ({
  networks: {
    internet: { title: 'where the clients are' },
    lan: { title: 'the network of director and real servers' },
  },
  hosts: {
    client: BEHIND_DIRECTOR.hosts.client,
    router: {
      title: 'the router',
      router: true,
      interfaces: {
        eth0: { network: 'internet', addresses: ['198.51.100.1/24', '2001:db8:100::1/64'] },
        eth1: { network: 'lan', addresses: ['192.0.2.254/24', '2001:db8::254/64'] },
      },
    },
    neighbour: {
      title: "a client in the real servers' network",
      interfaces: { eth0: { network: 'lan', addresses: ['192.0.2.100/24', '2001:db8::100/64'] } },
      routes: ['default via 192.0.2.254', 'default via 2001:db8::254'],
    },
    director: {
      title: 'the director',
      interfaces: { eth0: { network: 'lan', addresses: ['192.0.2.1/24', '2001:db8::1/64'] } },
      routes: ['default via 192.0.2.254', 'default via 2001:db8::254'],
    },
    web1: {
      title: 'a real server',
      interfaces: { eth0: { network: 'lan', addresses: ['192.0.2.11/24', '2001:db8::11/64'] } },
      routes: ['default via 192.0.2.254', 'default via 2001:db8::254'],
    },
    web2: {
      title: 'a real server',
      interfaces: { eth0: { network: 'lan', addresses: ['192.0.2.12/24', '2001:db8::12/64'] } },
      routes: ['default via 192.0.2.254', 'default via 2001:db8::254'],
    },
  },
})

/**
 * Real servers in other networks, behind routers: tunnels.
 *
 * @satisfies {import('./topology.ts').Topology}
 */
export const ROUTED = /** @type {const} */ ({
  networks: {
    internet: { title: 'where the clients are' },
    front: { title: "the director's network" },
    east: { title: 'a network of real servers' },
    west: { title: 'another' },
  },
  hosts: {
    client: BEHIND_DIRECTOR.hosts.client,
    router: {
      title: 'the router',
      router: true,
      interfaces: {
        eth0: { network: 'internet', addresses: ['198.51.100.1/24', '2001:db8:100::1/64'] },
        eth1: { network: 'front', addresses: ['192.0.2.254/24', '2001:db8::254/64'] },
        eth2: { network: 'east', addresses: ['203.0.113.1/25', '2001:db8:e::1/64'] },
        eth3: { network: 'west', addresses: ['203.0.113.129/25', '2001:db8:f::1/64'] },
      },
    },
    director: {
      title: 'the director',
      interfaces: { eth0: { network: 'front', addresses: ['192.0.2.1/24', '2001:db8::1/64'] } },
      routes: ['default via 192.0.2.254', 'default via 2001:db8::254'],
    },
    web1: {
      title: 'a real server',
      interfaces: { eth0: { network: 'east', addresses: ['203.0.113.11/25', '2001:db8:e::11/64'] } },
      routes: ['default via 203.0.113.1', 'default via 2001:db8:e::1'],
    },
    web2: {
      title: 'a real server',
      interfaces: { eth0: { network: 'west', addresses: ['203.0.113.141/25', '2001:db8:f::12/64'] } },
      routes: ['default via 203.0.113.129', 'default via 2001:db8:f::1'],
    },
  },
})

/**
 * Two directors between two networks. The address that the real servers' routes lead to moves as the virtual one does.
 *
 * @satisfies {import('./topology.ts').Topology}
 */
export const TWO_DIRECTORS = /** @type {const} */ ({
  networks: BEHIND_DIRECTOR.networks,
  hosts: {
    client: BEHIND_DIRECTOR.hosts.client,
    router: BEHIND_DIRECTOR.hosts.router,
    director1: {
      title: 'a director',
      interfaces: {
        eth0: { network: 'front', addresses: ['192.0.2.1/24', '2001:db8::1/64'] },
        eth1: { network: 'back', addresses: ['10.0.0.2/24', 'fd00::2/64'] },
      },
      routes: BEHIND_DIRECTOR.hosts.director.routes,
    },
    director2: {
      title: 'the other director',
      interfaces: {
        eth0: { network: 'front', addresses: ['192.0.2.2/24', '2001:db8::2/64'] },
        eth1: { network: 'back', addresses: ['10.0.0.3/24', 'fd00::3/64'] },
      },
      routes: BEHIND_DIRECTOR.hosts.director.routes,
    },
    web1: BEHIND_DIRECTOR.hosts.web1,
    web2: BEHIND_DIRECTOR.hosts.web2,
  },
})

/**
 * Two directors in the network of their real servers: direct routing.
 *
 * @satisfies {import('./topology.ts').Topology}
 */
export const TWO_DIRECTORS_ONE_NETWORK = /** @type {const} */ ({
  networks: ONE_NETWORK.networks,
  hosts: {
    client: ONE_NETWORK.hosts.client,
    router: ONE_NETWORK.hosts.router,
    director1: ONE_NETWORK.hosts.director,
    director2: {
      title: 'the other director',
      interfaces: { eth0: { network: 'lan', addresses: ['192.0.2.2/24', '2001:db8::2/64'] } },
      routes: ONE_NETWORK.hosts.director.routes,
    },
    web1: ONE_NETWORK.hosts.web1,
    web2: ONE_NETWORK.hosts.web2,
  },
})

/**
 * As BEHIND_DIRECTOR, but the real servers know no way to the clients: full NAT.
 *
 * @satisfies {import('./topology.ts').Topology}
 */
export const NO_WAY_BACK = /** @type {const} */ ({
  ...BEHIND_DIRECTOR,
  hosts: {
    ...BEHIND_DIRECTOR.hosts,
    web1: { title: 'a real server', interfaces: BEHIND_DIRECTOR.hosts.web1.interfaces },
    web2: { title: 'a real server', interfaces: BEHIND_DIRECTOR.hosts.web2.interfaces },
  },
})
