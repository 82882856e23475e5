import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import type { ServiceKey } from '../../lib/index.ts'
import { type DirectorOptions, setUpDirector } from '../../lib/setup/director.ts'
import { commandsOf, type ServiceToSetUp, type SetupPart, sysctlsOf } from '../../lib/setup/part.ts'
import { type RealServerOptions, setUpRealServer } from '../../lib/setup/real-server.ts'
import { setupScript } from '../../lib/setup/script.ts'

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const WEB6 = { protocol: 'tcp', address: '2001:DB8:0::10', port: 80 } as const
const MARK = { protocol: 'fwmark', fwmark: 7 } as const

/** A service with one real server. */
function reached<Key extends ServiceKey>(
  key: Key,
  method: 'masquerade' | 'direct' | 'tunnel' | 'local',
  address: string,
): Key & Pick<ServiceToSetUp, 'realServers'> {
  return { ...key, realServers: [{ address, method }] }
}

const nat = reached(WEB, 'masquerade', '10.0.0.11')
const nat6 = reached(WEB6, 'masquerade', 'fd00::11')
const natMark = reached(MARK, 'masquerade', '10.0.0.11')
const directMark = reached(MARK, 'direct', '10.0.0.11')

function director(services: readonly ServiceToSetUp[], options: DirectorOptions = {}): string[] {
  return commandsOf(setUpDirector(services, { interface: 'eth0', ...options }))
}

const ADDRESS = 'ip address add 192.0.2.10/32 dev eth0'
const ADDRESS6 = 'ip -6 address add 2001:db8::10/128 dev eth0 nodad preferred_lft 0'
const FORWARD = 'sysctl -w net.ipv4.ip_forward=1'

describe('a director needs', () => {
  test.each<[string, readonly ServiceToSetUp[], DirectorOptions, readonly string[]]>([
    ['its address with direct routing', [reached(WEB, 'direct', '192.0.2.11')], {}, [ADDRESS]],
    ['no more if it has no real servers yet', [WEB], {}, [ADDRESS]],
    ['no more with tunnels', [reached(WEB, 'tunnel', '203.0.113.11')], {}, [ADDRESS]],
    ['no more with local servers', [reached(WEB, 'local', '127.0.0.1')], {}, [ADDRESS]],
    ['to forward with NAT', [nat], {}, [FORWARD, ADDRESS]],
    ['the same if it is told the method', [WEB], { method: 'masquerade' }, [FORWARD, ADDRESS]],
    [
      'to forward IPv6, and an address that it does not use itself',
      [nat6],
      {},
      ['sysctl -w net.ipv6.conf.all.forwarding=1', ADDRESS6],
    ],
    [
      'to send no redirects in one network',
      [nat],
      { oneNetwork: true, interface: 'eth0.7' },
      [
        FORWARD,
        'sysctl -w net.ipv4.conf.all.send_redirects=0',
        'sysctl -w net.ipv4.conf.eth0/7.send_redirects=0',
        'ip address add 192.0.2.10/32 dev eth0.7',
      ],
    ],
    [
      'each thing once for several services',
      [nat, { ...nat, port: 21 }, { ...nat, address: '192.0.2.20' }],
      {},
      ['modprobe ip_vs_ftp', FORWARD, ADDRESS, 'ip address add 192.0.2.20/32 dev eth0'],
    ],
    [
      'source NAT by iptables',
      [nat, nat6, natMark],
      { snat: true, firewall: 'iptables' },
      [
        FORWARD,
        'sysctl -w net.ipv6.conf.all.forwarding=1',
        'sysctl -w net.ipv4.vs.conntrack=1',
        'iptables -t nat -A POSTROUTING -m ipvs --vproto tcp --vaddr 192.0.2.10 --vport 80 -j MASQUERADE',
        'ip6tables -t nat -A POSTROUTING -m ipvs --vproto tcp --vaddr 2001:db8::10 --vport 80 -j MASQUERADE',
        'iptables -t nat -A POSTROUTING -m mark --mark 7 -j MASQUERADE',
        ADDRESS,
        ADDRESS6,
      ],
    ],
    [
      'source NAT by nft',
      [nat, { ...nat, port: 0, protocol: 'udp' }],
      { snat: true },
      [
        FORWARD,
        'sysctl -w net.ipv4.vs.conntrack=1',
        'nft add table ip ipvs-setup',
        "nft add chain ip ipvs-setup postrouting '{ type nat hook postrouting priority srcnat; }'",
        `nft add rule ip ipvs-setup postrouting 'meta l4proto tcp ct original ip daddr 192.0.2.10 ct original proto-dst 80 masquerade comment "tcp/192.0.2.10:80"'`,
        `nft add rule ip ipvs-setup postrouting 'meta l4proto udp ct original ip daddr 192.0.2.10 masquerade comment "udp/192.0.2.10:0"'`,
        ADDRESS,
      ],
    ],
    ['nothing for a mark that others set', [directMark], { interface: undefined }, []],
    [
      'to mark all packets to an address',
      [directMark],
      { marked: { address: '192.0.2.10' }, firewall: 'iptables' },
      ['iptables -t mangle -A PREROUTING -d 192.0.2.10 -j MARK --set-mark 7', ADDRESS],
    ],
    [
      'to mark some ports',
      [directMark],
      { marked: { address: '192.0.2.10', ports: ['80', '53/udp', '5000-5010'] }, firewall: 'iptables' },
      [
        'iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp -m multiport --dports 80,5000:5010 -j MARK --set-mark 7',
        'iptables -t mangle -A PREROUTING -d 192.0.2.10 -p udp -m multiport --dports 53 -j MARK --set-mark 7',
        ADDRESS,
      ],
    ],
    [
      'to mark ports by nft',
      [reached({ ...MARK, family: 'ipv6' }, 'direct', 'fd00::11')],
      { marked: { address: '2001:db8::10', ports: ['080', '443-443'] } },
      [
        'nft add table ip6 ipvs-setup',
        "nft add chain ip6 ipvs-setup prerouting '{ type filter hook prerouting priority mangle; }'",
        `nft add rule ip6 ipvs-setup prerouting 'ip6 daddr 2001:db8::10 tcp dport { 80, 443 } meta mark set 7 comment "fwmark6/7 2001:db8::10 tcp 80 443"'`,
        ADDRESS6,
      ],
    ],
  ])('%s', (_, services, options, expected) => {
    expect(director(services, options)).toEqual(['modprobe ip_vs', ...expected])
  })

  const marked = (...ports: string[]): DirectorOptions => ({ marked: { address: '192.0.2.10', ports } })

  test.each<[string, readonly ServiceToSetUp[], DirectorOptions, RegExp]>([
    ['no interface', [WEB], { interface: undefined }, /^name the interface that clients' packets come by/],
    ['an interface that a shell would read', [WEB], { interface: 'a;reboot' }, /^interface must be the name/],
    ['an interface that is an option', [WEB], { interface: '-x' }, /^interface must be the name/],
    ['a long interface', [WEB], { interface: 'x'.repeat(16) }, /^interface must be the name/],
    ['what is not an address', [{ ...WEB, address: '$(reboot)' }], {}, /address must be an IPv4 or IPv6/],
    ['what is not a port', [MARK], marked('80;'), /^ports must be ports/],
    ['port 0', [MARK], marked('0'), /^ports must be ports/],
    ['a port that is too large', [MARK], marked('65536'), /^ports must be ports/],
    ['ports backwards', [MARK], marked('9-8'), /^ports must be ports/],
    [
      'an address of another family',
      [MARK],
      { marked: { address: '::1' } },
      /have different address families/,
    ],
    ['an address without a mark', [WEB], marked(), /needs one service that is a firewall mark/],
    ['an address for two marks', [MARK, { ...MARK, fwmark: 8 }], marked(), /needs one service that/],
    ['source NAT without NAT', [WEB], { snat: true }, /^source NAT needs a service with method masq/],
    ['one network without NAT', [WEB], { oneNetwork: true }, /^a network of clients needs a service/],
  ])('and refuses %s', (_, services, options, message) => {
    expect(() => director(services, options)).toThrow(message)
  })
})

function realServer(services: readonly ServiceToSetUp[], options: RealServerOptions): string[] {
  return commandsOf(setUpRealServer(services, options))
}

const SILENT = ['sysctl -w net.ipv4.conf.all.arp_ignore=1', 'sysctl -w net.ipv4.conf.all.arp_announce=2']

describe('a real server needs', () => {
  test.each<[string, readonly ServiceToSetUp[], RealServerOptions, readonly string[]]>([
    [
      'the addresses, of which nobody hears, with direct routing',
      [WEB, WEB6, { ...WEB, port: 443 }],
      { method: 'direct' },
      [
        ...SILENT,
        'ip address add 192.0.2.10/32 dev lo',
        'ip -6 address add 2001:db8::10/128 dev lo nodad preferred_lft 0',
      ],
    ],
    [
      'no silence for IPv6 alone',
      [WEB6],
      { method: 'direct' },
      ['ip -6 address add 2001:db8::10/128 dev lo nodad preferred_lft 0'],
    ],
    [
      'the address whose packets are marked',
      [MARK],
      { method: 'direct', marked: { address: '192.0.2.10' } },
      [...SILENT, 'ip address add 192.0.2.10/32 dev lo'],
    ],
    [
      'a way back with NAT',
      [WEB],
      { method: 'masquerade', director: '10.0.0.1' },
      ['ip route replace default via 10.0.0.1'],
    ],
    [
      'a way back to clients in its network',
      [WEB],
      { method: 'masquerade', director: '192.0.2.1', clients: '192.0.2.0/24', interface: 'eth0' },
      [
        'ip route replace default via 192.0.2.1',
        'sysctl -w net.ipv4.conf.all.accept_redirects=0',
        'sysctl -w net.ipv4.conf.eth0.accept_redirects=0',
        'ip route replace 192.0.2.1/32 dev eth0',
        'ip route replace 192.0.2.0/24 via 192.0.2.1 dev eth0',
      ],
    ],
    [
      'the same with IPv6',
      [WEB6],
      { method: 'masquerade', director: '2001:db8::1', clients: '2001:db8::/64', interface: 'eth0' },
      [
        'ip -6 route replace default via 2001:db8::1',
        'sysctl -w net.ipv6.conf.eth0.accept_redirects=0',
        'ip -6 route replace 2001:db8::1/128 dev eth0',
        'ip -6 route replace 2001:db8::/64 via 2001:db8::1 dev eth0 metric 256',
      ],
    ],
    [
      'the devices that take tunnels from everybody',
      [WEB, WEB6],
      { method: 'tunnel' },
      [
        'modprobe ipip',
        'ip link set tunl0 up',
        'sysctl -w net.ipv4.conf.tunl0.rp_filter=2',
        ...SILENT,
        'ip address add 192.0.2.10/32 dev tunl0',
        'modprobe sit',
        'ip link set sit0 up',
        'ip -6 address add 2001:db8::10/128 dev sit0 nodad preferred_lft 0',
      ],
    ],
    [
      'a device for the director alone, and a port for GUE',
      [WEB],
      { method: 'tunnel', tunnel: { type: 'gue', port: 6080 }, director: '2001:db8::1' },
      [
        'modprobe fou6',
        'ip -6 fou add port 6080 gue',
        'ip link add ipvs-ip6tnl type ip6tnl mode any remote 2001:db8::1',
        'ip link set ipvs-ip6tnl up',
        'sysctl -w net.ipv4.conf.ipvs-ip6tnl.rp_filter=2',
        ...SILENT,
        'ip address add 192.0.2.10/32 dev ipvs-ip6tnl',
      ],
    ],
    [
      'a device that takes checksums of GRE',
      [WEB6],
      { method: 'tunnel', tunnel: { type: 'gre', checksum: 'csum' }, director: '192.0.2.1' },
      [
        'ip link add ipvs-gre type gre remote 192.0.2.1 icsum',
        'ip link set ipvs-gre up',
        'ip -6 address add 2001:db8::10/128 dev ipvs-gre nodad preferred_lft 0',
      ],
    ],
  ])('%s', (_, services, options, expected) => {
    expect(realServer(services, options)).toEqual(expected)
  })

  const masquerade = { method: 'masquerade', director: '10.0.0.1', interface: 'eth0' } as const

  test.each<[string, readonly ServiceToSetUp[], RealServerOptions, RegExp]>([
    ['NAT without a director', [WEB], { method: 'masquerade' }, /^method masquerade needs the address/],
    [
      'a director of another family',
      [WEB],
      { ...masquerade, director: '::1' },
      /have different address families/,
    ],
    ['the name of a director', [WEB], { method: 'tunnel', director: 'gw' }, /^director must be an IPv4 or/],
    ['one client', [WEB], { ...masquerade, clients: '10.0.0.0' }, /^clients must be a network/],
    ['a long prefix', [WEB], { ...masquerade, clients: '10.0.0.0/33' }, /^the length of clients must be a/],
    ['clients of another family', [WEB], { ...masquerade, clients: 'fd00::/64' }, /^clients fd00::\/64 and/],
    [
      'clients without an interface',
      [WEB],
      { ...masquerade, interface: undefined, clients: '10.0.0.0/8' },
      /^clients in the network of a real server need/,
    ],
    ['a mark without an address', [MARK], { method: 'direct' }, /^fwmark\/7 has no address of its own/],
    ['GUE without a port', [WEB], { method: 'tunnel', tunnel: { type: 'gue' } }, /^tunnel.port must be a/],
    [
      'checksums of GRE from everybody',
      [WEB],
      { method: 'tunnel', tunnel: { type: 'gre', checksum: 'csum' } },
      /^a gre tunnel with a checksum needs the address/,
    ],
    ['another method', [WEB], { method: 'local' as 'direct' }, /^method must be one of/],
  ])('and refuses %s', (_, services, options, message) => {
    expect(() => realServer(services, options)).toThrow(message)
  })
})

describe('parts', () => {
  test('say which sysctls they set', () => {
    const parts = setUpDirector([nat], { interface: 'eth0', snat: true, oneNetwork: true })
    expect(sysctlsOf(parts)).toEqual({
      'net.ipv4.ip_forward': '1',
      'net.ipv4.conf.all.send_redirects': '0',
      'net.ipv4.conf.eth0.send_redirects': '0',
      'net.ipv4.vs.conntrack': '1',
    })
  })

  test('may only say something', () => {
    expect(setUpDirector([MARK], {}).at(-1)).toEqual({
      why: 'fwmark/7 gets the packets that have its mark: your own firewall rules must set it.',
      steps: [],
    })
  })
})

describe('a script', () => {
  const all: readonly (readonly SetupPart[])[] = [
    [],
    setUpDirector([nat, nat6], { interface: 'eth0', snat: true, oneNetwork: true }),
    setUpDirector([nat, natMark], {
      ...{ interface: 'eth0', firewall: 'iptables', marked: { address: '192.0.2.10' } },
    }),
    setUpRealServer([WEB, WEB6], { method: 'tunnel', tunnel: { type: 'gue', port: 6080 } }),
    setUpRealServer([WEB6], {
      ...{ method: 'masquerade', director: 'fd00::1', clients: 'fd00::/64', interface: 'eth0' },
    }),
  ]

  test.each(all.map((parts) => [parts]))('is one that a shell can read: %#', (parts) => {
    const script = setupScript(parts, { role: 'director', title: 'Title' })
    expect(() => execFileSync('sh', ['-n'], { input: script, stdio: 'pipe' })).not.toThrow()
    expect(script.split('\n').filter((line) => line.startsWith('#') && line.length > 80)).toEqual([])
  })

  test('has each command as it is typed, with a test and what takes it back', () => {
    const script = setupScript(setUpRealServer([WEB], { method: 'direct' }), {
      ...{ role: 'real-server', title: 'What web1 needs.' },
    })
    expect(script.startsWith('#!/bin/sh\n# What web1 needs.\n#\n')).toBe(true)
    expect(script.slice(script.indexOf('# Only the director'))).toBe(`\
# Only the director may answer ARP for the virtual address.
setting net.ipv4.conf.all.arp_ignore 1
setting net.ipv4.conf.all.arp_announce 2

# Packets arrive with the virtual address as their destination, so this machine
# must have it too.
need 'ip -o address show dev lo to 192.0.2.10/32 | grep -q .' \\
  'ip address add 192.0.2.10/32 dev lo' \\
  'ip address delete 192.0.2.10/32 dev lo'
`)
  })
})
