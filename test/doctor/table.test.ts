import { describe, expect, test } from 'vitest'
import type { Look, ServerSeen, ServiceSeen, Situation } from '../../lib/doctor/findings/situation.ts'
import {
  connectionsNearLimit,
  deletedHoldClients,
  hashSmall,
  quiescentHoldClients,
  reuseHoldsClients,
  trackingFull,
} from '../../lib/doctor/findings/capacity.ts'
import { firewallDrops, sourceUnchanged } from '../../lib/doctor/findings/firewall.ts'
import type { Host, Link } from '../../lib/doctor/findings/host.ts'
import { besideEbpf, besideKubeProxy } from '../../lib/doctor/findings/neighbours.ts'
import { syncInterface, syncMismatch } from '../../lib/doctor/findings/sync.ts'
import {
  allQuiescent,
  ftpUnaided,
  noServers,
  persistenceOfOne,
  persistenceOverlaps,
  schedulerChanges,
  shadowed,
} from '../../lib/doctor/findings/table.ts'
import type { Connection, ServiceKey, SyncDaemon } from '../../lib/index.ts'
import { foundBy } from '../helpers/doctor-host.ts'

/** What is said of the table, of firewalls and of limits, and when nothing is: of machines made by hand. */

const KEY = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const

const LINK: Link = {
  ...{ name: 'eth0', up: true, loopback: false, arp: true, mtu: 1500 },
  ...{ kind: '', xdp: false, local: '', remote: '' },
}

function server(address: string, more: Partial<ServerSeen> = {}): ServerSeen {
  return {
    ...{ address, port: 80, method: 'masquerade', weight: 1 },
    ...{ activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 },
    ...more,
  }
}

function service(key: ServiceKey = KEY, more: Partial<ServiceSeen> = {}): ServiceSeen {
  return {
    key,
    scheduler: 'rr',
    onePacket: false,
    servers: [server('10.0.0.11'), server('10.0.0.12')],
    ...more,
  }
}

interface Seen {
  readonly services?: readonly ServiceSeen[]
  /** Those of the table, if they differ. */
  readonly now?: readonly ServiceSeen[]
  readonly sysctls?: Readonly<Record<string, string>>
  readonly host?: Partial<Host>
  readonly connections?: readonly Connection[]
  readonly daemons?: readonly SyncDaemon[]
  readonly peer?: readonly SyncDaemon[]
  readonly peerSysctls?: Readonly<Record<string, string>>
  readonly buckets?: number
}

function situation(seen: Seen): Situation {
  const {
    services = [service()],
    sysctls = {},
    host = {},
    connections = [],
    daemons = [],
    buckets = 4096,
  } = seen
  return {
    role: 'director',
    services,
    table: {
      services: seen.now ?? services,
      info: { version: '1.2.1', connectionTableSize: buckets },
      syncDaemons: daemons,
      connections,
    },
    host: {
      ...{
        kernelRelease: '6.1.0',
        links: [LINK],
        addresses: [],
        routes: [],
        neighbours: [],
        guePorts: [],
        unread: [],
      },
      ...{
        asked: new Set(),
        routesTo: new Map([['10.0.0.11', { link: 'eth1', type: 'unicast' }]]),
        modules: new Set(),
      },
      firewall: {},
      sysctls: new Map(Object.entries(sysctls)),
      ...host,
    },
    warnings: [],
    told: {
      method: 'direct',
      ...(seen.peer !== undefined && {
        peer: {
          syncDaemons: seen.peer,
          ...(seen.peerSysctls !== undefined && { sysctls: seen.peerSysctls }),
        },
      }),
    },
  }
}

function of(look: Look, seen: Seen): string[] {
  return foundBy(look, situation(seen)).map(({ message, commands }) => [message, ...commands].join(' | '))
}

describe('the table', () => {
  test('a service without real servers, but not one whose packets may go on', () => {
    const mark = { protocol: 'fwmark', fwmark: 7, family: 'ipv4' } as const
    const services = [service(KEY, { servers: [] }), service(mark, { servers: [] })]
    const bypass = { 'net.ipv4.vs.cache_bypass': '1' }
    expect(of(noServers, { services })).toHaveLength(2)
    expect(of(noServers, { services, sysctls: bypass })).toEqual([
      'tcp/192.0.2.10:80 has no real server: add one, such as ipvs add tcp/192.0.2.10:80 10.0.0.11',
    ])
    expect(of(noServers, {})).toEqual([])
  })

  test('all weights 0', () => {
    const servers = [server('10.0.0.11', { weight: 0 }), server('10.0.0.12', { weight: 0 })]
    expect(of(allQuiescent, { services: [service(KEY, { servers })] })).toEqual([
      'all 2 real servers of tcp/192.0.2.10:80 have weight 0 | ipvs weight tcp/192.0.2.10:80 10.0.0.11:80 1 | ipvs weight tcp/192.0.2.10:80 10.0.0.12:80 1',
    ])
    expect(of(allQuiescent, { services: [service(KEY, { servers: servers.slice(1) })] })[0]).toContain(
      'the only',
    )
    expect(
      of(allQuiescent, { services: [service(KEY, { servers: [server('10.0.0.13'), ...servers] })] }),
    ).toEqual([])
  })

  test('persistence with one server, except where it makes a service of all ports', () => {
    const one = {
      persistence: { timeoutSeconds: 300, netmask: '255.255.255.255' },
      servers: [server('10.0.0.11')],
    }
    expect(of(persistenceOfOne, { services: [service(KEY, one)] })).toEqual([
      'tcp/192.0.2.10:80 is persistent and has one real server, 10.0.0.11:80 | ipvs set tcp/192.0.2.10:80 persistence=none',
    ])
    expect(of(persistenceOfOne, { services: [service({ ...KEY, port: 0 }, one)] })).toEqual([])
    expect(of(persistenceOfOne, {})).toEqual([])
  })

  test('persistence beside that of all ports', () => {
    const persistence = { timeoutSeconds: 300, netmask: '255.255.255.255' }
    const whole = service({ ...KEY, port: 0 }, { persistence })
    expect(of(persistenceOverlaps, { services: [whole, service(KEY, { persistence })] })).toEqual([
      'tcp/192.0.2.10:0 is persistent for all ports, and tcp/192.0.2.10:80 is persistent by itself | ipvs remove tcp/192.0.2.10:80',
    ])
    const other = service(KEY, { persistence, servers: [server('10.0.0.99')] })
    expect(of(persistenceOverlaps, { services: [whole, other] })[0]).toMatch(/give both one firewall mark$/)
    for (const beside of [
      service(KEY),
      service({ ...KEY, address: '192.0.2.11' }, { persistence }),
      service({ ...KEY, protocol: 'udp' }, { persistence }),
    ])
      expect(of(persistenceOverlaps, { services: [whole, beside] })).toEqual([])
  })

  test('a firewall mark, of the same family, that is certainly given', () => {
    const rule = (more: string): Partial<Host> => ({
      firewall: {
        iptables: `*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING ${more} -j MARK --set-xmark 0x7/0xffffffff\nCOMMIT`,
      },
    })
    const services = [service(), service({ protocol: 'fwmark', fwmark: 7, family: 'ipv4' })]
    expect(of(shadowed, { services, host: rule('-d 192.0.2.10/32 -p tcp') })).toEqual([
      'a rule gives packets to tcp/192.0.2.10:80 the mark 7, so fwmark/7 gets them all | ipvs remove tcp/192.0.2.10:80',
    ])
    const six = [service(), service({ protocol: 'fwmark', fwmark: 7, family: 'ipv6' })]
    expect(of(shadowed, { services: six, host: rule('-p tcp') })).toEqual([])
    expect(of(shadowed, { services, host: rule('-s 198.51.100.0/24') })).toEqual([])
    expect(of(shadowed, { services, host: rule('-d 192.0.2.11/32') })).toEqual([])
  })

  test('FTP without its helper', () => {
    const services = [service({ ...KEY, port: 21 })]
    expect(of(ftpUnaided, { services, host: { helpers: [] } })).toEqual([
      'tcp/192.0.2.10:21 is FTP with method masquerade, and module ip_vs_ftp is not loaded | modprobe ip_vs_ftp',
    ])
    const direct = [service({ ...KEY, port: 21 }, { servers: [server('10.0.0.11', { method: 'direct' })] })]
    expect(of(ftpUnaided, { services: direct, host: { helpers: [] } })).toEqual([])
    expect(of(ftpUnaided, { services, host: { helpers: ['ftp'] } })).toEqual([])
    expect(of(ftpUnaided, { services }), 'it cannot be told').toEqual([])
  })

  test('a change of scheduler, of a service that has connections, before Linux 7.2', () => {
    const now = [service(KEY, { servers: [server('10.0.0.11', { inactiveConnections: 1 })] })]
    const services = [service(KEY, { scheduler: 'wlc' })]
    expect(of(schedulerChanges, { services, now })).toHaveLength(1)
    expect(of(schedulerChanges, { services, now: [service()] })).toEqual([])
    expect(of(schedulerChanges, { services: now })).toEqual([])
    expect(of(schedulerChanges, { services, now, host: { kernelRelease: '7.2.0-rc1' } })).toEqual([])
    expect(of(schedulerChanges, { services, now: [] })).toEqual([])
  })
})

describe('limits', () => {
  test('tracked connections, from nine tenths on', () => {
    const at = (count: number, most: number): string[] =>
      of(trackingFull, {
        sysctls: {
          'net.netfilter.nf_conntrack_count': String(count),
          'net.netfilter.nf_conntrack_max': String(most),
        },
      })
    expect(at(90, 100)).toEqual([
      'the firewall tracks 90 connections of at most 100 | sysctl -w net.netfilter.nf_conntrack_max=200',
    ])
    expect(at(89, 100)).toEqual([])
    expect(at(5, 0), 'no limit').toEqual([])
    expect(of(trackingFull, {})).toEqual([])
  })

  const busy = (count: number): readonly ServiceSeen[] => [
    service(KEY, {
      servers: [
        server('10.0.0.11', {
          activeConnections: count - 2,
          inactiveConnections: 1,
          persistentConnections: 1,
        }),
      ],
    }),
  ]

  test('conn_max, which kernels have from 7.2 on', () => {
    const sysctls = { 'net.ipv4.vs.conn_max': '1000' }
    expect(of(connectionsNearLimit, { services: busy(900), sysctls })).toEqual([
      'there are 900 connections of at most 1000 (net.ipv4.vs.conn_max) | sysctl -w net.ipv4.vs.conn_max=2000',
    ])
    expect(of(connectionsNearLimit, { services: busy(899), sysctls })).toEqual([])
    expect(of(connectionsNearLimit, { services: busy(900) })).toEqual([])
  })

  test('the table of connections, which grows by itself from 7.1 on', () => {
    expect(of(hashSmall, { services: busy(8 * 4096) })).toEqual([
      '32768 connections are in a table of 4096 lists; another size takes effect when ip_vs is loaded again, such as at the next boot | echo options ip_vs conn_tab_bits=15 >> /etc/modprobe.d/ip_vs.conf',
    ])
    expect(of(hashSmall, { services: busy(8 * 4096 - 1) })).toEqual([])
    expect(of(hashSmall, { services: busy(8 * 4096), host: { kernelRelease: '7.1.3' } })).toEqual([])
    expect(of(hashSmall, { services: busy(2 ** 24), buckets: 2 ** 20 }), 'it is as large as it gets').toEqual(
      [],
    )
  })

  const connection = (more: Partial<Connection>): Connection => ({
    ...{
      protocol: 'tcp',
      clientAddress: '198.51.100.1',
      clientPort: 5000,
      template: false,
      expiresSeconds: 9,
    },
    ...{
      virtualAddress: KEY.address,
      virtualPort: 80,
      serverAddress: '10.0.0.99',
      serverPort: 80,
      state: 'ESTABLISHED',
    },
    ...more,
  })

  test('connections of deleted servers, that are in use and belong to a service', () => {
    const sysctls = { 'net.ipv4.vs.expire_nodest_conn': '0' }
    const at = (...connections: readonly Connection[]): string[] =>
      of(deletedHoldClients, { sysctls, connections })
    expect(at(connection({}))).toEqual([
      'a connection of tcp/192.0.2.10:80 belongs to real servers that were deleted: 10.0.0.99:80 | sysctl -w net.ipv4.vs.expire_nodest_conn=1',
    ])
    expect(at(connection({}), connection({ clientPort: 6000 }))[0]).toContain('2 connections of')
    for (const other of [
      { serverAddress: '10.0.0.11' },
      { virtualPort: 81 },
      { state: 'TIME_WAIT' },
      { template: true },
      { protocol: 'udp' },
    ] as const)
      expect(at(connection(other)), JSON.stringify(other)).toEqual([])
    const whole = service({ ...KEY, port: 0 }, { servers: [server('10.0.0.99', { port: 0 })] })
    expect(of(deletedHoldClients, { sysctls, connections: [connection({})], services: [whole] })).toEqual([])
    const mark = service({ protocol: 'fwmark', fwmark: 7, family: 'ipv4' })
    expect(
      of(deletedHoldClients, { sysctls, connections: [connection({})], services: [service(), mark] }),
    ).toEqual([])
    expect(of(deletedHoldClients, { connections: [connection({})] }), 'it is 1, or not known').toEqual([])
  })

  test('templates of a quiescent server, while there is another', () => {
    const sysctls = { 'net.ipv4.vs.expire_quiescent_template': '0' }
    const persistence = { timeoutSeconds: 300, netmask: '255.255.255.255' }
    const held = server('10.0.0.11', { weight: 0, persistentConnections: 1 })
    const services = [service(KEY, { persistence, servers: [held, server('10.0.0.12')] })]
    expect(of(quiescentHoldClients, { sysctls, services })).toEqual([
      'tcp/192.0.2.10:80 is persistent, and keeps bringing clients to 10.0.0.11:80 with weight 0 | sysctl -w net.ipv4.vs.expire_quiescent_template=1',
    ])
    expect(
      of(quiescentHoldClients, { sysctls, services: [service(KEY, { persistence, servers: [held] })] }),
    ).toEqual([])
    expect(of(quiescentHoldClients, { sysctls, services: [service(KEY, { persistence })] })).toEqual([])
    expect(of(quiescentHoldClients, { services })).toEqual([])
  })

  test('ports that are reused, while a quiescent server has connections', () => {
    const sysctls = { 'net.ipv4.vs.conn_reuse_mode': '0' }
    const servers = [server('10.0.0.11', { weight: 0, inactiveConnections: 1 }), server('10.0.0.12')]
    expect(of(reuseHoldsClients, { sysctls, services: [service(KEY, { servers })] })).toHaveLength(1)
    expect(
      of(reuseHoldsClients, { sysctls, services: [service({ ...KEY, protocol: 'udp' }, { servers })] }),
    ).toEqual([])
    expect(of(reuseHoldsClients, { sysctls })).toEqual([])
    expect(of(reuseHoldsClients, { services: [service(KEY, { servers })] })).toEqual([])
  })
})

describe('firewalls', () => {
  const filter = (...rules: readonly string[]): Partial<Host> => ({
    firewall: {
      iptables: [
        '*filter',
        ':INPUT ACCEPT [0:0]',
        ':FORWARD ACCEPT [0:0]',
        ':OUTPUT ACCEPT [0:0]',
        ...rules,
      ].join('\n'),
    },
  })

  test('a rule of iptables, with one before it that accepts', () => {
    expect(of(firewallDrops, { host: filter('-A INPUT -p tcp -j DROP') })).toEqual([
      'iptables drops packets to tcp/192.0.2.10:80: -A INPUT -p tcp -j DROP in table filter | iptables -I INPUT -d 192.0.2.10 -p tcp --dport 80 -j ACCEPT',
    ])
    expect(of(firewallDrops, { host: filter('-A INPUT -s 1.1.1.1/32 -j DROP') })).toEqual([])
    expect(of(firewallDrops, {})).toEqual([])
  })

  test('answers, which are invalid to connection tracking unless conntrack is 1', () => {
    const host = filter('-A FORWARD -m conntrack --ctstate INVALID -j DROP')
    expect(of(firewallDrops, { host, sysctls: { 'net.ipv4.vs.conntrack': '0' } })).toEqual([
      'iptables drops answers of 10.0.0.11:80 for tcp/192.0.2.10:80: -A FORWARD -m conntrack --ctstate INVALID -j DROP in table filter | iptables -I FORWARD -s 10.0.0.11 -p tcp --sport 80 -j ACCEPT',
      'iptables drops answers of 10.0.0.12:80 for tcp/192.0.2.10:80: -A FORWARD -m conntrack --ctstate INVALID -j DROP in table filter | iptables -I FORWARD -s 10.0.0.12 -p tcp --sport 80 -j ACCEPT',
    ])
    expect(of(firewallDrops, { host, sysctls: { 'net.ipv4.vs.conntrack': '1' } })).toEqual([])
    const direct = [service(KEY, { servers: [server('10.0.0.11', { method: 'direct' })] })]
    expect(of(firewallDrops, { host, services: direct, sysctls: { 'net.ipv4.vs.conntrack': '0' } })).toEqual(
      [],
    )
  })

  test('packets that IPVS sends', () => {
    const direct = [service(KEY, { servers: [server('10.0.0.11', { method: 'direct' })] })]
    expect(of(firewallDrops, { host: filter('-A OUTPUT -o eth1 -j DROP'), services: direct })).toEqual([
      'iptables drops packets to 10.0.0.11:80 for tcp/192.0.2.10:80: -A OUTPUT -o eth1 -j DROP in table filter | iptables -I OUTPUT -d 192.0.2.10 -p tcp --dport 80 -j ACCEPT',
    ])
  })

  test('a chain of nft, of all ports of an IPv6 address', () => {
    const chain = { family: 'inet', table: 'filter', name: 'input', hook: 'input', prio: 0, policy: 'drop' }
    const host = { firewall: { nft: { nftables: [{ chain }] } } }
    const services = [service({ ...KEY, address: '2001:db8::10', port: 0 })]
    expect(of(firewallDrops, { host, services })).toEqual([
      'nft drops packets to tcp/[2001:db8::10]:0: the policy of chain input in table inet filter | nft insert rule inet filter input ip6 daddr 2001:db8::10 meta l4proto tcp accept',
    ])
  })

  test('another source address, which conntrack=0 takes away again', () => {
    const nat = (rule: string): Partial<Host> => ({
      firewall: { iptables: `*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING ${rule}` },
    })
    const sysctls = { 'net.ipv4.vs.conntrack': '0' }
    const host = nat('-m ipvs --vaddr 192.0.2.10 --vport 80 -j SNAT --to-source 10.0.0.1')
    expect(of(sourceUnchanged, { host, sysctls })[0]).toMatch(/\| sysctl -w net\.ipv4\.vs\.conntrack=1$/)
    expect(of(sourceUnchanged, { host, sysctls: { 'net.ipv4.vs.conntrack': '1' } })).toEqual([])
    // The way of real servers to the Internet.
    expect(of(sourceUnchanged, { host: nat('-s 10.0.0.0/24 -o eth0 -j MASQUERADE'), sysctls })).toEqual([])
    expect(of(sourceUnchanged, { host: nat('-s 10.0.0.0/24 -j MASQUERADE'), sysctls })).toEqual([])
  })
})

describe('sync daemons', () => {
  const daemon = (more: Partial<SyncDaemon> = {}): SyncDaemon => ({
    ...{
      state: 'master',
      multicastInterface: 'eth0',
      syncId: 5,
      multicastGroup: '224.0.0.81',
      multicastPort: 8848,
    },
    ...more,
  })

  test('their interface', () => {
    const addresses = [{ address: '192.0.2.1', prefix: 24, link: 'eth0' }]
    const at = (link: Partial<Link>, more: Partial<Host> = {}, state = daemon()): string[] =>
      of(syncInterface, { daemons: [state], host: { links: [{ ...LINK, ...link }], addresses, ...more } })
    expect(at({})).toEqual([])
    expect(at({ up: false })).toEqual([
      'interface eth0 of the master sync daemon is down | ip link set eth0 up',
    ])
    expect(at({ name: 'eth1' })).toEqual([
      'there is no interface eth0, which the master sync daemon was started with: stop the daemon, and start it on another',
    ])
    const lost =
      'interface eth0 of the master sync daemon has lost its address, which the daemon sends from: give it back'
    expect(at({}, { addresses: [] })).toEqual([lost])
    expect(at({}, {}, daemon({ multicastGroup: 'ff02::81' })), 'of the family of the group').toEqual([lost])
    expect(at({}, { addresses: [] }, daemon({ state: 'backup' }))).toEqual([])
    const unread = [{ what: 'ip', why: 'it ended with status 1' }]
    expect(of(syncInterface, { daemons: [daemon()], host: { links: [], unread } })).toEqual([])
  })

  test('a firewall, for the side that it is on', () => {
    const host = {
      addresses: [{ address: '192.0.2.1', prefix: 24, link: 'eth0' }],
      firewall: { iptables: '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -p udp -j DROP' },
    }
    expect(of(syncInterface, { daemons: [daemon({ state: 'backup' })], host })).toEqual([
      'iptables drops packets of the sync daemons to 224.0.0.81:8848: -A INPUT -i eth0 -p udp -j DROP in table filter | iptables -I INPUT -d 224.0.0.81 -p udp --dport 8848 -j ACCEPT',
    ])
    expect(of(syncInterface, { daemons: [daemon()], host })).toEqual([])
    const sysctls = { 'net.ipv4.vs.sync_ports': '4' }
    expect(of(syncInterface, { daemons: [daemon({ state: 'backup' })], host, sysctls })).toHaveLength(4)
  })

  test('those of the other director', () => {
    const at = (daemons: readonly SyncDaemon[], peer: readonly SyncDaemon[]): string[] =>
      of(syncMismatch, { daemons, peer })
    const backup = daemon({ state: 'backup' })
    expect(at([daemon()], [backup])).toEqual([])
    expect(at([daemon(), backup], [daemon(), backup])).toEqual([])
    expect(at([], [])).toEqual([])
    expect(of(syncMismatch, { daemons: [daemon()] }), 'nothing is known of it').toEqual([])
    expect(at([daemon()], [{ ...backup, syncId: 0 }]), 'a backup with 0 hears all').toEqual([])
    expect(at([daemon({ syncId: 0 })], [backup])).toHaveLength(1)
    expect(at([daemon()], [{ ...backup, syncId: 6, multicastPort: 8849 }])).toEqual([
      'the master sync daemon and the backup of the other director differ: 224.0.0.81:8848 here and 224.0.0.81:8849 there; sync id 5 here and 6 there | ipvs adm --stop-daemon master | ipvs adm --start-daemon master --mcast-interface eth0 --syncid 6 --mcast-port 8849',
    ])
    expect(at([daemon()], [daemon()])).toEqual([
      'this director has a master of the sync daemons, the other one a master: one needs a master, and the other a backup',
    ])
    expect(at([], [backup])).toHaveLength(1)
  })

  test('that one sends to more ports than the other hears', () => {
    const backup = daemon({ state: 'backup' })
    const at = (ours: SyncDaemon, here: string, theirs: SyncDaemon, there?: string): string[] =>
      of(syncMismatch, {
        daemons: [ours],
        peer: [theirs],
        sysctls: { 'net.ipv4.vs.sync_ports': here },
        ...(there !== undefined && { peerSysctls: { sync_ports: there } }),
      })
    expect(at(daemon(), '2', backup), 'not saved').toEqual([])
    expect(at(daemon(), '2', backup, '2')).toEqual([])
    expect(at(daemon(), '2', backup, '4'), 'it hears more than there is').toEqual([])
    expect(at(backup, '1', daemon(), '2')).toEqual([
      'the backup sync daemon and the master of the other director differ: net.ipv4.vs.sync_ports is 1 here and 2 there | sysctl -w net.ipv4.vs.sync_ports=2 | ipvs adm --stop-daemon backup | ipvs adm --start-daemon backup --mcast-interface eth0 --syncid 5',
    ])
    expect(at(daemon(), '2', backup, '1')).toHaveLength(1)
  })
})

describe('neighbours', () => {
  test('kube-proxy, by its device or its rules', () => {
    expect(of(besideKubeProxy, { host: { links: [{ ...LINK, name: 'kube-ipvs0' }] } })).toHaveLength(1)
    const iptables = '*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]'
    expect(of(besideKubeProxy, { host: { firewall: { iptables } } })).toHaveLength(1)
    expect(of(besideKubeProxy, {})).toEqual([])
  })

  test('programs of XDP on the interface of a virtual address, and Cilium', () => {
    const links = [{ ...LINK, xdp: true }]
    const addresses = [{ address: KEY.address, prefix: 32, link: 'eth0' }]
    expect(of(besideEbpf, { host: { links, addresses } })).toEqual([
      'a program of XDP is attached to eth0: see what it is with ip -details link show eth0',
    ])
    expect(of(besideEbpf, { host: { links } })).toEqual([])
    expect(of(besideEbpf, { host: { links: [{ ...LINK, name: 'cilium_host' }] } })).toHaveLength(1)
    expect(of(besideEbpf, {})).toEqual([])
  })
})
