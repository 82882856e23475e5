import { expect, test } from 'vitest'
import { diagnose, type StateService } from '../../lib/index.ts'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { IN_VAIN_MS } from './agent.ts'
import { expectMended } from './faults.ts'
import { BEHIND_DIRECTOR, ONE_NETWORK, ROUTED, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** Each finding about the way of packets: made, seen by clients, found, and mended by its own commands. */

const KEY = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const

type Hosts = 'client' | 'router' | 'director' | 'web1' | 'web2'

/** NAT as it should be. */
function withNat(
  body: (site: Site<Hosts>, serves: () => Promise<unknown>) => Promise<unknown>,
): Promise<unknown> {
  return withTopology(BEHIND_DIRECTOR, async (site) => {
    const { hosts, agent, sh } = site
    await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`, 'sysctl -qw net.ipv4.ip_forward=1')
    await agent.serve(hosts.web1, { port: 8080, name: 'web1' })
    await hosts.director.ipvs.restore({ services: [service('10.0.0.11', 8080, 'masquerade')] })
    return body(site, serving(site, 'client'))
  })
}

/** Direct routing as it should be, with one real server. */
function withDirect(
  body: (site: Site<Hosts | 'neighbour'>, serves: () => Promise<unknown>) => Promise<unknown>,
): Promise<unknown> {
  return withTopology(ONE_NETWORK, async (site) => {
    const { hosts, agent, sh } = site
    await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`)
    await sh(
      'web1',
      'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
      `ip address add ${VIRTUAL.ipv4}/32 dev lo`,
    )
    await agent.serve(hosts.web1, { port: 80, name: 'web1' })
    await hosts.director.ipvs.restore({ services: [service('192.0.2.11', 80, 'direct')] })
    return body(site, serving(site, 'client'))
  })
}

/** A tunnel as it should be: around the networks behind the router there is room for its header. */
const WIDE = {
  ...ROUTED,
  networks: {
    ...ROUTED.networks,
    front: { ...ROUTED.networks.front, mtu: 1600 },
    east: { ...ROUTED.networks.east, mtu: 1600 },
  },
} as const

function withTunnel(
  tunnel: { readonly type: 'ipip' | 'gue' | 'gre'; readonly port?: number },
  body: (site: Site<Hosts>, serves: () => Promise<unknown>) => Promise<unknown>,
): Promise<unknown> {
  return withTopology(WIDE, async (site) => {
    const { hosts, agent, sh } = site
    await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`)
    await sh(
      'web1',
      ...(tunnel.type === 'gue' ? [`modprobe fou`, `ip fou add port ${String(tunnel.port)} gue`] : []),
      `ip link add ipvs0 type ${tunnel.type === 'gre' ? 'gre' : 'ipip'} local 203.0.113.11 remote 192.0.2.1`,
      'ip link set ipvs0 up',
      'sysctl -qw net.ipv4.conf.ipvs0.rp_filter=2',
      `ip address add ${VIRTUAL.ipv4}/32 dev ipvs0`,
    )
    await agent.serve(hosts.web1, { port: 80, name: 'web1' })
    const [server] = service('203.0.113.11', 80, 'tunnel').realServers ?? []
    await hosts.director.ipvs.restore({
      services: [
        { ...KEY, scheduler: 'rr', realServers: server === undefined ? [] : [{ ...server, tunnel }] },
      ],
    })
    return body(site, serving(site, 'client'))
  })
}

function service(address: string, port: number, method: 'masquerade' | 'direct' | 'tunnel'): StateService {
  return { ...KEY, scheduler: 'rr', realServers: [{ address, port, method }] }
}

/** Whether clients are served: in the time in which an answer comes, or a fault shows. */
function serving({ agent, hosts }: Site<'client'>, client: 'client', text = 'hello'): () => Promise<unknown> {
  return () => agent.ask(hosts[client], { ...KEY, protocol: 'tcp', text, withinMs: IN_VAIN_MS * 3 })
}

const ICMP = 1

const DIRECT_SERVER = { role: 'real-server', services: [KEY] } as const

concurrentKernelTests('the doctor, on a director', () => {
  test('finds forwarding off, of each family', async () => {
    await withNat(async (site, serves) => {
      await expectMended(site, {
        ...{ code: 'forwarding-off', on: 'director', serves },
        make: () => site.sh('director', 'sysctl -qw net.ipv4.ip_forward=0'),
      })
    })
    await withNat(async (site) => {
      const { hosts, agent, sh } = site
      await sh(
        'director',
        `ip address add ${VIRTUAL.ipv6}/128 dev eth0 nodad`,
        'sysctl -qw net.ipv6.conf.all.forwarding=1',
      )
      const key = { ...KEY, address: VIRTUAL.ipv6 }
      await hosts.director.ipvs.restore(
        {
          services: [{ ...key, realServers: [{ address: 'fd00::11', port: 8080, method: 'masquerade' }] }],
        },
        { force: true },
      )
      await expectMended(site, {
        ...{ code: 'forwarding-off', on: 'director' },
        serves: () => agent.ask(hosts.client, { ...key, withinMs: IN_VAIN_MS * 3 }),
        // The routes of routers that announce themselves end with it: these are by hand.
        make: () => sh('director', 'sysctl -qw net.ipv6.conf.all.forwarding=0'),
      })
    })
  })

  test('finds a virtual address that is missing', async () => {
    await withNat(async (site, serves) => {
      await expectMended(site, {
        ...{ code: 'address-missing', on: 'director', serves },
        make: () => site.sh('director', `ip address delete ${VIRTUAL.ipv4}/32 dev eth0`),
      })
    })
  })

  test('takes an address that is there by a route for one that is there', async () => {
    await withNat(async ({ hosts, sh }) => {
      await sh(
        'director',
        `ip address delete ${VIRTUAL.ipv4}/32 dev eth0`,
        `ip route add local ${VIRTUAL.ipv4} dev lo`,
      )
      expect(await diagnose({ netns: hosts.director.name })).toEqual([])
    })
  })

  test('finds a route that keeps packets from a real server, and that there is none', async () => {
    await withNat(async (site, serves) => {
      const { hosts, sh } = site
      await expectMended(site, {
        ...{ code: 'no-route', on: 'director', serves },
        make: () => sh('director', 'ip route add unreachable 10.0.0.11'),
      })
      await expectMended(site, {
        ...{ code: 'no-route', on: 'director', serves },
        make: () =>
          sh('director', 'ip route delete default', 'ip -6 route delete default', 'ip link set eth1 down'),
        byHand: () =>
          sh(
            'director',
            'ip link set eth1 up',
            'ip -6 route add default via 2001:db8::254',
            'ip route add default via 192.0.2.254',
          ),
      })
      expect(await hosts.director.ipvs.services()).toHaveLength(1)
    })
  })

  test('finds a real server that nobody hears of', async () => {
    await withNat(async (site, serves) => {
      const failed = (): Promise<unknown> =>
        until('the director has given up', async () => {
          await serves().catch(() => undefined)
          return (await site.sh('director', 'ip neighbour show 10.0.0.11')).includes('FAILED')
        })
      await expectMended(site, {
        ...{ code: 'neighbour-silent', on: 'director', serves },
        make: () =>
          site
            .sh('web1', 'ip link set eth0 down')
            .then(() => site.sh('director', 'ip neighbour flush to 10.0.0.11')),
        shows: failed,
        byHand: async () => {
          await site.sh('web1', 'ip link set eth0 up', 'ip route add default via 10.0.0.1')
          await site.sh('director', 'ip neighbour flush to 10.0.0.11')
        },
      })
    })
  })

  test('finds a port that the method cannot change to', async () => {
    await withNat(async (site, serves) => {
      const { ipvs } = site.hosts.director
      await expectMended(site, {
        ...{ code: 'port-ignored', on: 'director', serves },
        make: () => ipvs.editRealServer(KEY, { address: '10.0.0.11', port: 8080 }, { method: 'direct' }),
      })
    })
  })

  test('finds redirects that lead around the director', async () => {
    await withTopology(ONE_NETWORK, async (site) => {
      const { hosts, agent, sh } = site
      const quiet = 'net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0'
      await sh(
        'director',
        `ip address add ${VIRTUAL.ipv4}/32 dev eth0`,
        `sysctl -qw net.ipv4.ip_forward=1 ${quiet}`,
      )
      await sh(
        'web1',
        'ip route add 192.0.2.100 via 192.0.2.1',
        'sysctl -qw net.ipv4.conf.all.accept_redirects=1',
      )
      await agent.serve(hosts.web1, { port: 8080, name: 'web1' })
      await hosts.director.ipvs.restore({ services: [service('192.0.2.11', 8080, 'masquerade')] })
      const serves = (): Promise<unknown> => agent.ask(hosts.neighbour, { ...KEY, withinMs: IN_VAIN_MS * 3 })
      const packets = await agent.capture(hosts.web1, 'eth0')
      await expectMended(site, {
        ...{ code: 'redirects-sent', on: 'director', serves },
        make: () => sh('director', `sysctl -qw ${quiet.replaceAll('=0', '=1')}`),
        // Whether a host follows it is its own affair.
        shows: () =>
          until('a real server is told to go around the director', async () => {
            await serves().catch(() => undefined)
            return (await packets()).some(
              ({ protocol, source }) => protocol === ICMP && source === '192.0.2.1',
            )
          }),
      })
    })
  })

  test('finds a tunnel that is too narrow for clients whose ICMP is filtered', async () => {
    await withTunnel({ type: 'ipip' }, async (site) => {
      const { sh } = site
      await sh('client', 'iptables -A INPUT -p icmp -j DROP')
      await expectMended(site, {
        ...{ code: 'tunnel-too-narrow', on: 'director' },
        serves: serving(site, 'client', 'x'.repeat(20_000)),
        make: () => sh('director', 'ip link set dev eth0 mtu 1500'),
      })
    })
  })

  test('finds a firewall that keeps clients from sending smaller packets', async () => {
    await withTunnel({ type: 'ipip' }, async (site) => {
      const { sh } = site
      const found = await expectMended(site, {
        ...{ code: 'tunnel-too-narrow', on: 'director' },
        serves: serving(site, 'client', 'x'.repeat(20_000)),
        make: () => sh('director', 'ip link set dev eth0 mtu 1500', 'iptables -A OUTPUT -p icmp -j DROP'),
      })
      expect(found.severity).toBe('error')
    })
  })

  test.each([
    [{ type: 'ipip' }, 'iptables -A OUTPUT -p 4 -j DROP'],
    [{ type: 'gre' }, 'iptables -t mangle -A POSTROUTING -p gre -j DROP'],
    [{ type: 'gue', port: 6080 }, 'iptables -P OUTPUT DROP'],
  ] as const)('finds a firewall that drops packets of a tunnel: %j, %s', async (tunnel, rule) => {
    await withTunnel(tunnel, async (site, serves) => {
      const { sh } = site
      await expectMended(site, {
        ...{ code: 'firewall-drops', on: 'director', serves },
        make: () => sh('director', rule),
      })
    })
  })

  test('finds nothing where all is well with tunnels of each kind', async () => {
    await withTunnel({ type: 'gre' }, async ({ hosts }, serves) => {
      await serves()
      expect(await diagnose({ netns: hosts.director.name })).toEqual([])
    })
  })
})

concurrentKernelTests('the doctor, on a real server', () => {
  test('finds that the virtual address is missing', async () => {
    await withDirect(async (site, serves) => {
      await expectMended(site, {
        ...{ code: 'address-missing', on: 'web1', options: DIRECT_SERVER, serves },
        make: () => site.sh('web1', `ip address delete ${VIRTUAL.ipv4}/32 dev lo`),
      })
    })
  })

  test('finds that it answers ARP for the virtual address', async () => {
    await withDirect(async (site, serves) => {
      const { sh } = site
      const answering = async (): Promise<number> => {
        const said = await sh('router', `busybox arping -c 2 -w 3 -I eth1 ${VIRTUAL.ipv4} || true`)
        return new Set([...said.matchAll(/\[([\da-f:]{17})\]/gi)].map(([, hardware]) => hardware)).size
      }
      const alone = async (): Promise<void> => {
        expect(await answering()).toBe(1)
        await serves()
      }
      const shows = async (): Promise<void> => {
        expect(await answering()).toBe(2)
      }
      const about = {
        on: 'web1',
        code: 'address-announced',
        options: DIRECT_SERVER,
        serves: alone,
        shows,
      } as const
      await expectMended(site, {
        ...about,
        make: () => sh('web1', 'sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0'),
      })
      await expectMended(site, {
        ...about,
        make: () =>
          sh(
            'web1',
            `ip address delete ${VIRTUAL.ipv4}/32 dev lo`,
            `ip address add ${VIRTUAL.ipv4}/32 dev eth0`,
          ),
      })
    })
  })

  test('finds a firewall that does not let requests in, or answers out', async () => {
    await withDirect(async (site, serves) => {
      const { sh } = site
      const about = { on: 'web1', code: 'firewall-drops', options: DIRECT_SERVER, serves } as const
      // It accepts what comes to its own address, as it did before it was a real server.
      const own = 'iptables -A INPUT -d 192.0.2.11 -p tcp --dport 80 -j ACCEPT'
      await expectMended(site, { ...about, make: () => sh('web1', own, 'iptables -P INPUT DROP') })
      await expectMended(site, {
        ...about,
        make: () => sh('web1', `iptables -A OUTPUT -s ${VIRTUAL.ipv4} -j DROP`),
      })
    })
  })

  test('finds a firewall that drops what comes through a tunnel', async () => {
    await withTunnel({ type: 'ipip' }, async (site, serves) => {
      const { sh } = site
      const options = { ...DIRECT_SERVER, method: 'tunnel', director: '192.0.2.1' } as const
      const about = { on: 'web1', code: 'firewall-drops', options, serves } as const
      await expectMended(site, { ...about, make: () => sh('web1', 'iptables -A INPUT -i eth0 -p 4 -j DROP') })
      await expectMended(site, { ...about, make: () => sh('web1', 'iptables -A INPUT -i ipvs0 -j DROP') })
    })
  })

  test('finds that its answers do not go through the director', async () => {
    await withNat(async (site, serves) => {
      const options = { ...DIRECT_SERVER, method: 'masquerade', director: '10.0.0.1' } as const
      await expectMended(site, {
        ...{ code: 'other-gateway', on: 'web1', options, serves },
        make: () => site.sh('web1', 'ip route replace default via 10.0.0.12'),
      })
    })
  })

  test('finds that it answers clients of its own network directly', async () => {
    await withTopology(ONE_NETWORK, async (site) => {
      const { hosts, agent, sh } = site
      await sh(
        'director',
        `ip address add ${VIRTUAL.ipv4}/32 dev eth0`,
        'sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0',
      )
      await sh(
        'web1',
        'ip route replace default via 192.0.2.1',
        'ip route replace 192.0.2.1 dev eth0',
        'ip route replace 192.0.2.0/24 via 192.0.2.1 dev eth0',
      )
      await agent.serve(hosts.web1, { port: 8080, name: 'web1' })
      await hosts.director.ipvs.restore({ services: [service('192.0.2.11', 8080, 'masquerade')] })
      await expectMended(site, {
        ...{ code: 'server-beside-clients', on: 'web1' },
        options: { ...DIRECT_SERVER, method: 'masquerade', director: '192.0.2.1' },
        serves: () => agent.ask(hosts.neighbour, { ...KEY, withinMs: IN_VAIN_MS * 3 }),
        make: () => sh('web1', 'ip route replace 192.0.2.0/24 dev eth0'),
      })
    })
  })

  test.each([{ type: 'ipip' } as const, { type: 'gre' } as const, { type: 'gue', port: 6080 } as const])(
    'finds a tunnel of $type that is missing or down, and its rp_filter',
    async (tunnel) => {
      await withTunnel(tunnel, async (site, serves) => {
        const { sh } = site
        const options = { ...DIRECT_SERVER, method: 'tunnel', tunnel, director: '192.0.2.1' } as const
        const about = { on: 'web1', code: 'tunnel-missing', options, serves } as const
        await expectMended(site, { ...about, make: () => sh('web1', 'ip link set ipvs0 down') })
        await expectMended(site, {
          ...{ ...about, code: 'source-check' },
          make: () => sh('web1', 'sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.ipvs0.rp_filter=0'),
        })
        await sh('web1', 'sysctl -qw net.ipv4.conf.all.rp_filter=0')
        if (tunnel.type === 'gue') {
          await expectMended(site, { ...about, make: () => sh('web1', 'ip fou del port 6080') })
        }
        await expectMended(site, {
          ...{ ...about, code: 'source-check' },
          make: () =>
            sh(
              'web1',
              `ip address delete ${VIRTUAL.ipv4}/32 dev ipvs0`,
              `ip address add ${VIRTUAL.ipv4}/32 dev lo`,
            ),
        })
        await sh('web1', `ip address delete ${VIRTUAL.ipv4}/32 dev lo`)
        await expectMended(site, {
          ...{ ...about, code: 'address-missing' },
          make: () => sh('web1', `ip address delete ${VIRTUAL.ipv4}/32 dev ipvs0`),
        })
        if (tunnel.type === 'gue') return
        // The address goes with it. There is the kernel's own device of that kind, which is down.
        await expectMended(site, {
          ...{ ...about, also: ['address-missing'] },
          make: () => sh('web1', 'ip link delete ipvs0'),
        })
      })
    },
  )
})
