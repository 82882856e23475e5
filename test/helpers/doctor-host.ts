import type { Finding } from '../../lib/doctor/findings/finding.ts'
import type { Host, Link, Route } from '../../lib/doctor/findings/host.ts'
import type { Look, ServerSeen, ServiceSeen, Situation } from '../../lib/doctor/findings/situation.ts'
import { parseEndpoint, parseServiceKey } from '../../lib/model/keys.ts'

/** Machines that are as they should be, and what is wrong with one. */

export function link(name: string, more: Partial<Link> = {}): Link {
  return {
    ...{ name, up: true, loopback: false, arp: true, mtu: 1500, kind: '', xdp: false },
    ...{ local: '', remote: '' },
    ...more,
  }
}

export function route(destination: string, more: Partial<Route> = {}): Route {
  return { destination, type: 'unicast', table: 'main', ...more }
}

/** A director between the network of its virtual address, on eth0, and that of its real servers, on eth1. */
export const DIRECTOR: Host = {
  kernelRelease: '6.1.0-30-amd64',
  links: [link('lo', { loopback: true, arp: false, mtu: 65536 }), link('eth0'), link('eth1')],
  addresses: [
    { address: '127.0.0.1', prefix: 8, link: 'lo' },
    { address: '192.0.2.1', prefix: 24, link: 'eth0' },
    { address: '192.0.2.10', prefix: 32, link: 'eth0' },
    { address: '2001:db8::10', prefix: 128, link: 'eth0' },
    { address: '10.0.0.1', prefix: 24, link: 'eth1' },
  ],
  routes: [
    route('0.0.0.0/0', { gateway: '192.0.2.254', link: 'eth0' }),
    route('192.0.2.0/24', { link: 'eth0' }),
    route('10.0.0.0/24', { link: 'eth1' }),
    route('2001:db8::/64', { link: 'eth0' }),
  ],
  asked: new Set(['10.0.0.11', '10.0.0.12', 'fd00::11', '192.0.2.11', '203.0.113.11']),
  routesTo: new Map([
    ['10.0.0.11', { link: 'eth1', source: '10.0.0.1', type: 'unicast' }],
    ['10.0.0.12', { link: 'eth1', source: '10.0.0.1', type: 'unicast' }],
    ['fd00::11', { link: 'eth1', source: 'fd00::1', type: 'unicast' }],
    ['192.0.2.11', { link: 'eth0', source: '192.0.2.1', type: 'unicast' }],
    ['203.0.113.11', { link: 'eth0', gateway: '192.0.2.254', source: '192.0.2.1', type: 'unicast' }],
  ]),
  neighbours: [{ address: '10.0.0.11', link: 'eth1', states: ['REACHABLE'] }],
  modules: new Set(['ip_vs', 'ip_vs_wlc']),
  sysctls: new Map([
    ['net.ipv4.ip_forward', '1'],
    ['net.ipv6.conf.all.forwarding', '1'],
    ['net.ipv4.conf.all.send_redirects', '1'],
    ['net.ipv4.conf.eth0.send_redirects', '1'],
    ['net.ipv4.conf.eth1.send_redirects', '1'],
    ['net.ipv4.vs.conntrack', '0'],
    ['net.ipv4.vs.pmtu_disc', '1'],
  ]),
  firewall: {},
  guePorts: [],
  unread: [],
}

/** A real server in the network of the virtual address, to which packets come by direct routing. */
export const REAL_SERVER: Host = {
  ...DIRECTOR,
  links: [link('lo', { loopback: true, arp: false, mtu: 65536 }), link('eth0')],
  addresses: [
    { address: '127.0.0.1', prefix: 8, link: 'lo' },
    { address: '192.0.2.10', prefix: 32, link: 'lo' },
    { address: '192.0.2.11', prefix: 24, link: 'eth0' },
    { address: '2001:db8::10', prefix: 128, link: 'lo' },
  ],
  asked: new Set(['192.0.2.1']),
  routesTo: new Map([['192.0.2.1', { link: 'eth0', source: '192.0.2.11', type: 'unicast' }]]),
  neighbours: [],
  sysctls: new Map([
    ['net.ipv4.conf.all.arp_ignore', '1'],
    ['net.ipv4.conf.all.arp_announce', '2'],
  ]),
}

/** A host with some sysctls that are different. */
export function withSysctls(host: Host, sysctls: Readonly<Record<string, string>>): Host {
  return { ...host, sysctls: new Map([...host.sysctls, ...Object.entries(sysctls)]) }
}

export function server(endpoint: string, more: Partial<ServerSeen> = {}): ServerSeen {
  const { address, port = 0 } = parseEndpoint(endpoint)
  return {
    ...{ address, port, method: 'masquerade', weight: 1 },
    ...{ activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 },
    ...more,
  }
}

/** A service, by the text of its key: that of a web server, with NAT. */
export function service(key = 'tcp/192.0.2.10:80', more: Partial<ServiceSeen> = {}): ServiceSeen {
  return {
    ...{ key: parseServiceKey(key), scheduler: 'wlc', onePacket: false, servers: [server('10.0.0.11:8080')] },
    ...more,
  }
}

/** What a look finds. */
export function foundBy(look: Look, situation: Situation): Finding[] {
  return [...look(situation)].filter((found) => found !== undefined)
}

/** What is seen on a director: of the table, these services. */
export function onDirector(more: Partial<Situation> = {}): Situation {
  const services = more.services ?? [service()]
  return {
    role: 'director',
    host: DIRECTOR,
    services,
    table: {
      services,
      info: { version: '1.2.1', connectionTableSize: 4096 },
      syncDaemons: [],
      connections: [],
    },
    warnings: [],
    told: { method: 'direct' },
    ...more,
  }
}

/** What is seen on a real server, and told of it. */
export function onRealServer(more: Partial<Situation> = {}): Situation {
  return {
    role: 'real-server',
    host: REAL_SERVER,
    services: [service('tcp/192.0.2.10:80', { scheduler: 'none', servers: [] })],
    warnings: [],
    told: { method: 'direct' },
    ...more,
  }
}
