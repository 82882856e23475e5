import { schedulersAndEngines, unread } from '../../lib/doctor/findings/access.ts'
import {
  addressAnnounced,
  addressOnDirector,
  addressOnRealServer,
} from '../../lib/doctor/findings/addresses.ts'
import type { Finding } from '../../lib/doctor/findings/finding.ts'
import {
  answersAroundDirector,
  forwardingOff,
  portsIgnored,
  redirectsSent,
  routesToServers,
} from '../../lib/doctor/findings/forwarding.ts'
import type { Host } from '../../lib/doctor/findings/host.ts'
import { firewallDrops, firewallDropsOnRealServer } from '../../lib/doctor/findings/firewall.ts'
import type { Look, ServiceSeen, Situation } from '../../lib/doctor/findings/situation.ts'
import { sourceCheck, tunnelMissing, tunnelTooNarrow } from '../../lib/doctor/findings/tunnels.ts'
import type { Capabilities, ServiceKey, Tunnel } from '../../lib/index.ts'
import {
  DIRECTOR,
  link,
  onDirector,
  onRealServer,
  REAL_SERVER,
  route,
  server,
  service,
  withSysctls,
} from '../helpers/doctor-host.ts'

/** What is wrong with a machine, and what the doctor says of it. */
export interface DoctorCase {
  /** In words. */
  readonly input: string
  readonly look: Look
  readonly situation: Situation
  /** Code, severity, commands and what else is to be held of each finding, in order. None: all is well. */
  readonly finds: readonly (Pick<Finding, 'code' | 'severity' | 'commands'> & Partial<Finding>)[]
}

const WEB: ServiceKey = { protocol: 'tcp', address: '192.0.2.10', port: 80 }
const WEB6: ServiceKey = { protocol: 'tcp', address: '2001:db8::10', port: 80 }

const without = (host: Host, address: string): Host => ({
  ...host,
  addresses: host.addresses.filter((one) => one.address !== address),
})

const CAPABILITIES: Capabilities = {
  ...{ available: true, ipv6: true, schedulers: ['rr', 'wlc'], persistenceEngines: [], counters64: true },
  ...{ tunnelTypes: ['ipip', 'gue', 'gre'], mixedFamilies: true },
}

const access: readonly DoctorCase[] = [
  {
    input: 'nft hangs',
    look: unread,
    situation: onDirector({
      host: { ...DIRECTOR, unread: [{ what: 'nft', why: 'it took longer than 20 s' }] },
    }),
    finds: [
      {
        code: 'cannot-look',
        severity: 'note',
        message: 'could not run nft: it took longer than 20 s',
        commands: [],
      },
    ],
  },
  {
    input: 'ip is not installed',
    look: unread,
    situation: onDirector({ host: { ...DIRECTOR, unread: [{ what: 'ip', why: 'sh: 1: ip: not found' }] } }),
    finds: [{ code: 'cannot-look', severity: 'note', commands: ['apt-get install iproute2'] }],
  },
  {
    input: 'a service has no scheduler',
    look: schedulersAndEngines,
    situation: onDirector({ services: [service('tcp/192.0.2.10:80', { scheduler: 'none' }), service()] }),
    finds: [
      {
        ...{ code: 'scheduler-missing', severity: 'error', services: [WEB] },
        commands: ['ipvs set tcp/192.0.2.10:80 scheduler=wlc'],
      },
    ],
  },
  {
    input: 'a wanted service has a scheduler and a persistence engine that the kernel lacks',
    look: schedulersAndEngines,
    situation: onDirector({
      capabilities: CAPABILITIES,
      services: [
        service(),
        service('tcp/192.0.2.10:443', { scheduler: 'mh', persistenceEngine: 'sip' }),
        // Of another's module nothing is known.
        service('tcp/192.0.2.10:25', { scheduler: 'ours' }),
      ],
    }),
    finds: [
      { code: 'scheduler-missing', severity: 'error', commands: ['modprobe ip_vs_mh'] },
      { code: 'engine-missing', severity: 'error', commands: ['modprobe ip_vs_pe_sip'] },
    ],
  },
]

const addresses: readonly DoctorCase[] = [
  {
    input: 'the virtual address is not on the director',
    look: addressOnDirector,
    situation: onDirector({
      host: without(without(DIRECTOR, '192.0.2.10'), '2001:db8::10'),
      services: [service(), service('tcp/[2001:db8::10]:80')],
    }),
    finds: [
      {
        ...{ code: 'address-missing', severity: 'error', services: [WEB] },
        commands: ['ip address add 192.0.2.10/32 dev eth0'],
      },
      {
        ...{ code: 'address-missing', severity: 'error', services: [WEB6] },
        commands: ['ip address add 2001:db8::10/128 dev eth0 nodad preferred_lft 0'],
      },
    ],
  },
  {
    input: 'the virtual address is in no network of the director: it goes where the default route leads',
    look: addressOnDirector,
    situation: onDirector({ services: [service('tcp/198.51.100.7:80')] }),
    finds: [
      {
        ...{ code: 'address-missing', severity: 'error' },
        commands: ['ip address add 198.51.100.7/32 dev eth0'],
      },
    ],
  },
  {
    input: 'the virtual address is in no network of the director, and there is no default route',
    look: addressOnDirector,
    situation: onDirector({
      host: { ...DIRECTOR, routes: [] },
      services: [service('tcp/198.51.100.7:80')],
    }),
    finds: [
      {
        ...{ code: 'address-missing', severity: 'error', commands: [] },
        message:
          'virtual address 198.51.100.7 is not on this director: add it to the interface by which clients come, such as ip address add 198.51.100.7/32 dev eth0',
      },
    ],
  },
  {
    input: 'a whole network is on the director by a local route',
    look: addressOnDirector,
    situation: onDirector({
      host: { ...DIRECTOR, routes: [...DIRECTOR.routes, route('198.51.100.0/24', { type: 'local' })] },
      services: [service('tcp/198.51.100.7:80'), service('fwmark/7')],
    }),
    finds: [],
  },
  {
    input: 'the virtual address is not on a real server',
    look: addressOnRealServer,
    situation: onRealServer({ host: without(REAL_SERVER, '192.0.2.10') }),
    finds: [
      { code: 'address-missing', severity: 'error', commands: ['ip address add 192.0.2.10/32 dev lo'] },
    ],
  },
  {
    input: 'the virtual address is not on a real server, whose tunnel has a device beside that of the kernel',
    look: addressOnRealServer,
    situation: onRealServer({
      host: {
        ...without(REAL_SERVER, '192.0.2.10'),
        links: [link('tunl0', { kind: 'ipip', up: false }), link('ipvs0', { kind: 'ipip' })],
      },
      told: { method: 'tunnel' },
    }),
    finds: [
      { code: 'address-missing', severity: 'error', commands: ['ip address add 192.0.2.10/32 dev ipvs0'] },
    ],
  },
  {
    input: 'a real server with method masquerade needs no virtual address',
    look: addressOnRealServer,
    situation: onRealServer({
      host: without(REAL_SERVER, '192.0.2.10'),
      told: { method: 'masquerade', director: '192.0.2.1' },
    }),
    finds: [],
  },
  {
    input: 'a real server answers ARP for the virtual address on lo',
    look: addressAnnounced,
    situation: onRealServer({
      host: withSysctls(REAL_SERVER, {
        'net.ipv4.conf.all.arp_ignore': '0',
        'net.ipv4.conf.all.arp_announce': '0',
      }),
    }),
    finds: [
      {
        ...{ code: 'address-announced', severity: 'error' },
        sysctls: { 'net.ipv4.conf.all.arp_ignore': '1', 'net.ipv4.conf.all.arp_announce': '2' },
        commands: ['sysctl -w net.ipv4.conf.all.arp_ignore=1', 'sysctl -w net.ipv4.conf.all.arp_announce=2'],
      },
    ],
  },
  {
    input: 'only arp_announce is too low',
    look: addressAnnounced,
    situation: onRealServer({
      host: withSysctls(REAL_SERVER, {
        'net.ipv4.conf.all.arp_announce': '0',
        'net.ipv4.conf.eth0.arp_announce': '1',
      }),
    }),
    finds: [
      {
        ...{ code: 'address-announced', severity: 'error' },
        commands: ['sysctl -w net.ipv4.conf.all.arp_announce=2'],
      },
    ],
  },
  {
    input: 'the interface itself is silent, though not all are',
    look: addressAnnounced,
    situation: onRealServer({
      host: withSysctls(REAL_SERVER, {
        'net.ipv4.conf.all.arp_ignore': '0',
        'net.ipv4.conf.all.arp_announce': '0',
        'net.ipv4.conf.eth0.arp_ignore': '1',
        'net.ipv4.conf.eth0.arp_announce': '2',
      }),
    }),
    finds: [],
  },
  {
    input: "the virtual address is on a real server's card",
    look: addressAnnounced,
    situation: onRealServer({
      host: {
        ...REAL_SERVER,
        addresses: REAL_SERVER.addresses.map((one) =>
          one.address === '192.0.2.10' ? { ...one, link: 'eth0', prefix: 24 } : one,
        ),
      },
    }),
    finds: [
      {
        ...{ code: 'address-announced', severity: 'error' },
        commands: ['ip address delete 192.0.2.10/24 dev eth0', 'ip address add 192.0.2.10/32 dev lo'],
      },
    ],
  },
]

const NAT6 = service('tcp/[2001:db8::10]:80', { servers: [server('[fd00::11]:8080')] })
const ONE_NETWORK = service('tcp/192.0.2.10:80', { servers: [server('192.0.2.11:8080')] })

const forwarding: readonly DoctorCase[] = [
  {
    input: 'the director does not forward, and has NAT of both families',
    look: forwardingOff,
    situation: onDirector({
      host: withSysctls(DIRECTOR, { 'net.ipv4.ip_forward': '0', 'net.ipv6.conf.all.forwarding': '0' }),
      services: [service(), NAT6],
    }),
    finds: [
      {
        ...{ code: 'forwarding-off', severity: 'error', services: [WEB] },
        sysctls: { 'net.ipv4.ip_forward': '1' },
        commands: ['sysctl -w net.ipv4.ip_forward=1'],
      },
      {
        ...{ code: 'forwarding-off', severity: 'error', services: [WEB6] },
        commands: ['sysctl -w net.ipv6.conf.all.forwarding=1'],
      },
    ],
  },
  {
    input: 'the director does not forward, and need not: its method is direct',
    look: forwardingOff,
    situation: onDirector({
      host: withSysctls(DIRECTOR, { 'net.ipv4.ip_forward': '0' }),
      services: [service('tcp/192.0.2.10:80', { servers: [server('192.0.2.11:80', { method: 'direct' })] })],
    }),
    finds: [],
  },
  {
    input: 'NAT in one network, with redirects',
    look: redirectsSent,
    situation: onDirector({ services: [ONE_NETWORK, service('tcp/192.0.2.10:443')] }),
    finds: [
      {
        ...{ code: 'redirects-sent', severity: 'warning', services: [WEB] },
        commands: [
          'sysctl -w net.ipv4.conf.all.send_redirects=0',
          'sysctl -w net.ipv4.conf.eth0.send_redirects=0',
        ],
      },
    ],
  },
  {
    input: 'NAT in one network, without redirects',
    look: redirectsSent,
    situation: onDirector({
      host: withSysctls(DIRECTOR, {
        'net.ipv4.conf.all.send_redirects': '0',
        'net.ipv4.conf.eth0.send_redirects': '0',
      }),
      services: [ONE_NETWORK],
    }),
    finds: [],
  },
  {
    input: 'there is no route to a real server, of each family',
    look: routesToServers,
    situation: onDirector({ host: { ...DIRECTOR, routesTo: new Map() }, services: [service(), NAT6] }),
    finds: [
      {
        ...{ code: 'no-route', severity: 'error', commands: [], services: [WEB] },
        servers: [{ address: '10.0.0.11', port: 8080 }],
      },
      { code: 'no-route', severity: 'error', commands: [], services: [WEB6] },
    ],
  },
  {
    input: 'a route of another table leads nowhere',
    look: routesToServers,
    situation: onDirector({
      host: {
        ...DIRECTOR,
        routesTo: new Map(),
        routes: [...DIRECTOR.routes, route('10.0.0.0/24', { type: 'blackhole', table: '7' })],
      },
    }),
    finds: [
      {
        ...{ code: 'no-route', severity: 'error' },
        commands: ['ip route delete blackhole 10.0.0.0/24 table 7'],
      },
    ],
  },
  {
    input: 'a real server does not answer ARP',
    look: routesToServers,
    situation: onDirector({
      host: {
        ...DIRECTOR,
        neighbours: [
          { address: '10.0.0.11', link: 'eth1', states: ['FAILED'] },
          { address: '203.0.113.11', link: 'eth0', states: ['FAILED'] },
        ],
      },
      services: [service(), service('tcp/192.0.2.10:443', { servers: [server('203.0.113.11:443')] })],
    }),
    finds: [{ code: 'neighbour-silent', severity: 'error', commands: [], services: [WEB] }],
  },
  {
    input: 'a real server answers by one of two interfaces',
    look: routesToServers,
    situation: onDirector({
      host: {
        ...DIRECTOR,
        neighbours: [
          { address: '10.0.0.11', link: 'eth0', states: ['FAILED'] },
          { address: '10.0.0.11', link: 'eth1', states: ['STALE'] },
        ],
      },
    }),
    finds: [],
  },
  {
    input: 'a port of its own, with method direct',
    look: portsIgnored,
    situation: onDirector({
      warnings: [
        {
          code: 'port-ignored',
          service: WEB,
          server: { address: '10.0.0.11', port: 8080 },
          message:
            'real server 10.0.0.11:8080 of tcp/192.0.2.10:80: method direct does not change the port, so its packets arrive at port 80. Use method masquerade, or port 80.',
        },
        { code: 'weights-ignored', service: WEB, message: 'something else' },
      ],
    }),
    finds: [
      {
        ...{ code: 'port-ignored', severity: 'error' },
        commands: ['ipvs set tcp/192.0.2.10:80 10.0.0.11:8080 method=masquerade'],
      },
    ],
  },
]

const told = { method: 'masquerade', director: '192.0.2.1' } as const

const answers: readonly DoctorCase[] = [
  {
    input: "a real server's default route is another, and it is in the network of its clients",
    look: answersAroundDirector,
    situation: onRealServer({ told }),
    finds: [
      {
        ...{ code: 'other-gateway', severity: 'error' },
        commands: ['ip route replace default via 192.0.2.1'],
      },
      {
        ...{ code: 'server-beside-clients', severity: 'warning' },
        commands: [
          'ip route replace 192.0.2.1 dev eth0',
          'ip route replace 192.0.2.0/24 via 192.0.2.1 dev eth0',
        ],
      },
    ],
  },
  {
    input: 'the same with IPv6, where the route of its own network has a metric',
    look: answersAroundDirector,
    situation: onRealServer({
      services: [service('tcp/[2001:db8::10]:80', { scheduler: 'none', servers: [] })],
      host: {
        ...REAL_SERVER,
        routes: [
          route('::/0', { gateway: '2001:db8::1', link: 'eth0' }),
          route('2001:db8::/64', { link: 'eth0' }),
        ],
      },
      told: { method: 'masquerade', director: '2001:db8::1' },
    }),
    finds: [
      {
        ...{ code: 'server-beside-clients', severity: 'warning' },
        commands: [
          'ip -6 route replace 2001:db8::1 dev eth0',
          'ip -6 route replace 2001:db8::/64 via 2001:db8::1 dev eth0 metric 256',
        ],
      },
    ],
  },
  {
    input: 'a real server has no default route',
    look: answersAroundDirector,
    situation: onRealServer({
      host: { ...REAL_SERVER, routes: [] },
      services: [service('tcp/[2001:db8::10]:80')],
      told: { method: 'masquerade', director: 'fd00::1' },
    }),
    finds: [
      { code: 'other-gateway', severity: 'error', commands: ['ip -6 route replace default via fd00::1'] },
    ],
  },
  {
    input: 'the way to a client in the same network is through the director',
    look: answersAroundDirector,
    situation: onRealServer({
      host: {
        ...REAL_SERVER,
        routes: [...REAL_SERVER.routes, route('192.0.2.100/32', { gateway: '192.0.2.1', link: 'eth0' })],
      },
      told,
    }),
    finds: [],
  },
  {
    input: 'nobody said where the director is',
    look: answersAroundDirector,
    situation: onRealServer({ told: { method: 'masquerade' } }),
    finds: [],
  },
]

const TUNL = link('ipvs0', {
  kind: 'ipip',
  arp: false,
  mtu: 1480,
  remote: '192.0.2.1',
  local: '203.0.113.11',
})
/** A real server at the end of a tunnel. */
const AT_END: Host = {
  ...REAL_SERVER,
  links: [...REAL_SERVER.links, TUNL],
  addresses: [...REAL_SERVER.addresses, { address: '192.0.2.10', prefix: 32, link: 'ipvs0' }],
}
const ipip = { method: 'tunnel', tunnel: { type: 'ipip' }, director: '192.0.2.1' } as const
const BOTH = [
  service('tcp/192.0.2.10:80', { servers: [] }),
  service('tcp/[2001:db8::10]:80', { servers: [] }),
]

const tunnelled = (mtu: number, more: Partial<ReturnType<typeof server>> = {}): Situation =>
  onDirector({
    host: { ...DIRECTOR, links: DIRECTOR.links.map((one) => (one.name === 'eth0' ? { ...one, mtu } : one)) },
    services: [
      service('tcp/192.0.2.10:80', { servers: [server('203.0.113.11:80', { method: 'tunnel', ...more })] }),
    ],
  })

const tunnels: readonly DoctorCase[] = [
  {
    input: 'a real server has no tunnel device, for services of both families',
    look: tunnelMissing,
    situation: onRealServer({ services: BOTH, told: ipip }),
    finds: [
      {
        ...{ code: 'tunnel-missing', severity: 'error', services: [WEB] },
        commands: [
          'ip link add ipvs0 type ipip local 192.0.2.11 remote 192.0.2.1',
          'ip link set ipvs0 up',
          'sysctl -w net.ipv4.conf.ipvs0.rp_filter=2',
          'ip address add 192.0.2.10/32 dev ipvs0',
        ],
      },
      {
        ...{ code: 'tunnel-missing', severity: 'error', services: [WEB6] },
        commands: [
          'ip link add ipvs0 type sit local 192.0.2.11 remote 192.0.2.1',
          'ip link set ipvs0 up',
          'ip address add 2001:db8::10/128 dev ipvs0 nodad preferred_lft 0',
        ],
      },
    ],
  },
  {
    input: 'the tunnel device is down, and nothing receives GUE',
    look: tunnelMissing,
    situation: onRealServer({
      host: { ...REAL_SERVER, links: [...REAL_SERVER.links, { ...TUNL, up: false }] },
      told: { ...ipip, tunnel: { type: 'gue', port: 6080 } },
    }),
    finds: [
      { code: 'tunnel-missing', severity: 'error', commands: ['ip link set ipvs0 up'] },
      {
        ...{ code: 'tunnel-missing', severity: 'error' },
        commands: ['modprobe fou', 'ip fou add port 6080 gue'],
      },
    ],
  },
  {
    input: 'a tunnel is as it should be',
    look: tunnelMissing,
    situation: onRealServer({
      host: { ...AT_END, guePorts: [6080] },
      told: { ...ipip, tunnel: { type: 'gue', port: 6080 } },
    }),
    finds: [],
  },
  {
    input: 'the reverse-path filter of a tunnel device is strict',
    look: sourceCheck,
    situation: onRealServer({
      host: withSysctls(AT_END, { 'net.ipv4.conf.all.rp_filter': '1', 'net.ipv4.conf.ipvs0.rp_filter': '0' }),
      told: ipip,
    }),
    finds: [
      {
        ...{ code: 'source-check', severity: 'error' },
        sysctls: { 'net.ipv4.conf.ipvs0.rp_filter': '2' },
        commands: ['sysctl -w net.ipv4.conf.ipvs0.rp_filter=2'],
      },
    ],
  },
  {
    input: 'the reverse-path filter of a tunnel device is loose, which is more than strict',
    look: sourceCheck,
    situation: onRealServer({
      host: withSysctls(AT_END, { 'net.ipv4.conf.all.rp_filter': '1', 'net.ipv4.conf.ipvs0.rp_filter': '2' }),
      told: ipip,
    }),
    finds: [],
  },
  {
    input: 'the reverse-path filter drops all that comes by a device without an address',
    look: sourceCheck,
    situation: onRealServer({
      host: withSysctls(
        { ...AT_END, addresses: REAL_SERVER.addresses },
        { 'net.ipv4.conf.ipvs0.rp_filter': '2' },
      ),
      told: ipip,
    }),
    finds: [
      { code: 'source-check', severity: 'error', commands: ['ip address add 192.0.2.10/32 dev ipvs0'] },
    ],
  },
  {
    input: 'the director is behind another interface than the clients, and rp_filter is strict',
    look: sourceCheck,
    situation: onRealServer({
      host: withSysctls(
        {
          ...REAL_SERVER,
          links: [...REAL_SERVER.links, link('eth1.100')],
          addresses: [...REAL_SERVER.addresses, { address: '10.0.0.11', prefix: 24, link: 'eth1.100' }],
          routesTo: new Map([['10.0.0.1', { link: 'eth1.100', type: 'unicast' }]]),
        },
        { 'net.ipv4.conf.eth1/100.rp_filter': '1' },
      ),
      told: { method: 'direct', director: '10.0.0.1' },
    }),
    finds: [
      {
        ...{ code: 'source-check', severity: 'error' },
        commands: ['sysctl -w net.ipv4.conf.eth1/100.rp_filter=2'],
      },
    ],
  },
  {
    input: 'a tunnel device that is down has a name with other characters',
    look: tunnelMissing,
    situation: onRealServer({
      host: { ...AT_END, links: [{ ...TUNL, name: "a;b'c", up: false }] },
      told: ipip,
    }),
    finds: [{ code: 'tunnel-missing', severity: 'error', commands: ["ip link set 'a;b'\\''c' up"] }],
  },
  {
    input: 'a real server lacks what takes GRE with a checksum, over IPv6',
    look: tunnelMissing,
    situation: onRealServer({
      told: { method: 'tunnel', tunnel: { type: 'gre', checksum: 'csum' }, director: '2001:db8::1' },
    }),
    finds: [
      {
        ...{ code: 'tunnel-missing', severity: 'error' },
        commands: [
          'ip link add ipvs0 type ip6gre remote 2001:db8::1 icsum',
          'ip link set ipvs0 up',
          'sysctl -w net.ipv4.conf.ipvs0.rp_filter=2',
          'ip address add 192.0.2.10/32 dev ipvs0',
        ],
      },
    ],
  },
  {
    input: 'a real server lacks what takes IPv4 out of IPv6',
    look: tunnelMissing,
    situation: onRealServer({ told: { ...ipip, director: '2001:db8::1' } }),
    finds: [
      {
        ...{ code: 'tunnel-missing', severity: 'error' },
        commands: [
          'ip link add ipvs0 type ip6tnl mode any remote 2001:db8::1',
          'ip link set ipvs0 up',
          'sysctl -w net.ipv4.conf.ipvs0.rp_filter=2',
          'ip address add 192.0.2.10/32 dev ipvs0',
        ],
      },
    ],
  },
  {
    input: 'full packets do not fit into a tunnel',
    look: tunnelTooNarrow,
    situation: tunnelled(1500),
    finds: [{ code: 'tunnel-too-narrow', severity: 'note', commands: ['sysctl -w net.ipv4.vs.pmtu_disc=0'] }],
  },
  {
    input: 'GUE with a checksum needs more',
    look: tunnelTooNarrow,
    situation: tunnelled(1530, { tunnel: { type: 'gue', port: 6080, checksum: 'remcsum' } }),
    finds: [
      {
        code: 'tunnel-too-narrow',
        severity: 'note',
        message:
          'eth0 takes packets of 1530 bytes, and the largest of clients need 1540 in the tunnels of tcp/192.0.2.10:80',
        commands: ['sysctl -w net.ipv4.vs.pmtu_disc=0'],
      },
    ],
  },
  {
    input: 'full packets of IPv6 do not fit into a tunnel',
    look: tunnelTooNarrow,
    situation: {
      ...tunnelled(1500),
      services: [
        service('tcp/192.0.2.10:80', { servers: [server('203.0.113.11:80', { method: 'tunnel' })] }),
        service('tcp/[2001:db8::10]:80', { servers: [server('203.0.113.11:80', { method: 'tunnel' })] }),
      ],
    },
    finds: [
      {
        ...{ code: 'tunnel-too-narrow', severity: 'note', services: [WEB, WEB6] },
        commands: ['ip link set dev eth0 mtu 1520'],
      },
    ],
  },
  {
    input: 'the director sends what does not fit in pieces',
    look: tunnelTooNarrow,
    situation: {
      ...tunnelled(1500),
      host: withSysctls(DIRECTOR, { 'net.ipv4.vs.pmtu_disc': '0' }),
    },
    finds: [],
  },
  { input: 'there is room for a tunnel', look: tunnelTooNarrow, situation: tunnelled(1520), finds: [] },
]

const iptables = (host: Host, ...lines: readonly string[]): Host => ({
  ...host,
  firewall: {
    iptables: [
      ...['*mangle', ':PREROUTING ACCEPT [0:0]', ':POSTROUTING ACCEPT [0:0]'],
      ...lines.filter((line) => line.includes('ROUTING')),
      ...['COMMIT', '*filter', ':INPUT ACCEPT [0:0]', ':FORWARD ACCEPT [0:0]', ':OUTPUT ACCEPT [0:0]'],
      ...lines.filter((line) => !line.includes('ROUTING')),
      'COMMIT',
    ].join('\n'),
  },
})
const tunnelService = (tunnel: Tunnel): ServiceSeen =>
  service('tcp/192.0.2.10:80', { servers: [server('203.0.113.11:80', { method: 'tunnel', tunnel })] })

const firewalls: readonly DoctorCase[] = [
  ...(
    [
      ['ipip', '-p ipencap -d 203.0.113.0/24', 'iptables -I OUTPUT -d 203.0.113.11 -p 4 -j ACCEPT'],
      ['gre', '-p 47', 'iptables -I OUTPUT -d 203.0.113.11 -p 47 -j ACCEPT'],
      ['gue', '-p udp --dport 6080', 'iptables -I OUTPUT -d 203.0.113.11 -p udp --dport 6080 -j ACCEPT'],
    ] as const
  ).map(([type, rule, command]): DoctorCase => ({
    input: `the director drops packets of its ${type} tunnels`,
    look: firewallDrops,
    situation: onDirector({
      host: iptables(DIRECTOR, `-A OUTPUT ${rule} -j DROP`),
      services: [tunnelService({ type, ...(type === 'gue' && { port: 6080 }) })],
    }),
    finds: [
      {
        ...{ code: 'firewall-drops', severity: 'error', services: [WEB], commands: [command] },
        servers: [{ address: '203.0.113.11', port: 80 }],
        message: `iptables drops packets of the tunnel to 203.0.113.11:80 for tcp/192.0.2.10:80: -A OUTPUT ${rule} -j DROP in table filter`,
      },
    ],
  })),
  {
    input: 'the director drops packets of another kind of tunnel',
    look: firewallDrops,
    situation: onDirector({
      host: iptables(DIRECTOR, '-A OUTPUT -p gre -j DROP', '-A OUTPUT -p tcp -j DROP'),
      services: [tunnelService({ type: 'ipip' })],
    }),
    finds: [],
  },
  {
    input: 'the director drops what goes to a real server, and what comes from it, behind the last routing',
    look: firewallDrops,
    situation: onDirector({
      host: iptables(DIRECTOR, '-A POSTROUTING -o eth1 -j DROP'),
    }),
    finds: [
      {
        ...{ code: 'firewall-drops', severity: 'error' },
        commands: ['iptables -t mangle -I POSTROUTING -d 10.0.0.11 -p tcp --dport 8080 -j ACCEPT'],
      },
    ],
  },
  {
    input: 'the director drops answers to clients behind the last routing',
    look: firewallDrops,
    situation: onDirector({
      host: iptables(DIRECTOR, '-A POSTROUTING -s 192.0.2.10/32 -j DROP'),
    }),
    finds: [
      {
        ...{ code: 'firewall-drops', severity: 'error' },
        commands: ['iptables -t mangle -I POSTROUTING -s 192.0.2.10 -p tcp --sport 80 -j ACCEPT'],
      },
    ],
  },
  {
    input: 'a real server drops requests and answers',
    look: firewallDropsOnRealServer,
    situation: onRealServer({
      host: iptables(REAL_SERVER, '-A INPUT -d 192.0.2.10/32 -i eth0 -j DROP', '-A OUTPUT -j REJECT'),
      told: { method: 'direct', director: '192.0.2.1' },
    }),
    finds: [
      {
        ...{ code: 'firewall-drops', severity: 'error', services: [WEB] },
        commands: ['iptables -I INPUT -d 192.0.2.10 -p tcp --dport 80 -j ACCEPT'],
      },
      {
        ...{ code: 'firewall-drops', severity: 'error', services: [WEB] },
        commands: ['iptables -I OUTPUT -s 192.0.2.10 -p tcp --sport 80 -j ACCEPT'],
      },
    ],
  },
  {
    input: 'a real server drops what comes through its tunnel',
    look: firewallDropsOnRealServer,
    situation: onRealServer({
      host: iptables(REAL_SERVER, '-A INPUT -i eth0 ! -p tcp -j DROP'),
      told: { method: 'tunnel', director: '192.0.2.1' },
    }),
    finds: [
      {
        ...{ code: 'firewall-drops', severity: 'error', services: [WEB] },
        commands: ['iptables -I INPUT -s 192.0.2.1 -d 192.0.2.11 -p 4 -j ACCEPT'],
        message: 'iptables drops packets of the tunnel: -A INPUT -i eth0 ! -p tcp -j DROP in table filter',
      },
    ],
  },
  {
    input: 'a real server with method masquerade: its port is not known',
    look: firewallDropsOnRealServer,
    situation: onRealServer({
      host: iptables(REAL_SERVER, '-A INPUT -j DROP'),
      told: { method: 'masquerade' },
    }),
    finds: [],
  },
  {
    input: 'a tunnel is too narrow, and no client is told',
    look: tunnelTooNarrow,
    situation: onDirector({
      host: iptables(DIRECTOR, '-A OUTPUT -p icmp -j DROP'),
      services: [tunnelService({ type: 'ipip' })],
    }),
    finds: [
      {
        ...{ code: 'tunnel-too-narrow', severity: 'error', commands: ['sysctl -w net.ipv4.vs.pmtu_disc=0'] },
        message:
          'eth0 takes packets of 1500 bytes, and the largest of clients need 1520 in the tunnels of tcp/192.0.2.10:80; iptables drops ICMP: -A OUTPUT -p icmp -j DROP in table filter',
      },
    ],
  },
]

export const DOCTOR_CASES: readonly DoctorCase[] = [
  ...access,
  ...addresses,
  ...forwarding,
  ...answers,
  ...tunnels,
  ...firewalls,
]
