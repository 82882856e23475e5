import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { diagnose, type Finding, type Ipvs, type ServiceSpec, type StateService } from '../../lib/index.ts'
import { concurrentKernelTests, kernelTests, type Netns, script } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { countsOf, IN_VAIN_MS } from './agent.ts'
import { learned } from './directors.ts'
import { expectMended } from './faults.ts'
import { BEHIND_DIRECTOR, ONE_NETWORK, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** Each finding about the table, firewall and limits: made, seen by clients, found, and mended by its own commands. */

/** A program that attaches one of XDP. */
const XDP = fileURLToPath(new URL('xdp.py', import.meta.url))

const KEY = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const

type Hosts = 'client' | 'router' | 'director' | 'web1' | 'web2'

/** NAT as it should be, with two real servers. */
function withNat(
  service: Partial<StateService>,
  body: (site: Site<Hosts>, serves: () => Promise<unknown>) => Promise<unknown>,
): Promise<unknown> {
  return withTopology(BEHIND_DIRECTOR, async (site) => {
    const { hosts, agent, sh } = site
    await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`, 'sysctl -qw net.ipv4.ip_forward=1')
    for (const web of ['web1', 'web2'] as const) await agent.serve(hosts[web], { port: 80, name: web })
    await hosts.director.ipvs.restore({ services: [{ ...both(KEY), ...service } as StateService] })
    return body(site, () => agent.ask(hosts.client, { ...KEY, withinMs: IN_VAIN_MS * 3 }))
  })
}

function both(key: ServiceSpec, port = 80): StateService {
  return {
    ...key,
    scheduler: 'rr',
    realServers: [
      { address: '10.0.0.11', port, method: 'masquerade' },
      { address: '10.0.0.12', port, method: 'masquerade' },
    ],
  }
}

const [ONE, TWO] = [
  { address: '10.0.0.11', port: 80 },
  { address: '10.0.0.12', port: 80 },
] as const

function fails(serves: () => Promise<unknown>): Promise<unknown> {
  return expect(serves()).rejects.toThrow()
}

concurrentKernelTests('the doctor, of a table', () => {
  test('finds a service without real servers, or with none that has a weight', async () => {
    await withNat({}, async (site, serves) => {
      const { ipvs } = site.hosts.director
      await expectMended(site, {
        ...{ code: 'all-quiescent', on: 'director', serves },
        make: async () => {
          for (const one of [ONE, TWO]) await ipvs.editRealServer(KEY, one, { weight: 0 })
        },
      })
      await expectMended(site, {
        ...{ code: 'no-servers', on: 'director', serves },
        make: async () => {
          for (const one of [ONE, TWO]) await ipvs.deleteRealServer(KEY, one)
        },
        byHand: () => ipvs.addRealServer(KEY, { ...ONE, method: 'masquerade' }),
      })
    })
  })

  test('finds persistence that brings all clients to the only real server, also when there are two', async () => {
    await withNat({}, async (site) => {
      const { hosts, agent } = site
      const { ipvs } = hosts.director
      const servers = async (): Promise<readonly string[]> =>
        Object.keys(countsOf(await agent.askMany(hosts.client, KEY, 4))).sort()
      await expectMended(site, {
        ...{ code: 'persistence-of-one', on: 'director' },
        serves: async () => {
          await ipvs.addRealServer(KEY, { ...TWO, method: 'masquerade' }).catch(() => undefined)
          expect(await servers()).toEqual(['web1', 'web2'])
        },
        make: async () => {
          await ipvs.deleteRealServer(KEY, TWO)
          await ipvs.editService(KEY, { persistence: { timeoutSeconds: 300 } })
        },
        shows: async () => {
          expect(await servers()).toEqual(['web1'])
          await ipvs.addRealServer(KEY, { ...TWO, method: 'masquerade' })
          expect(await servers()).toEqual(['web1'])
          await ipvs.deleteRealServer(KEY, TWO)
        },
      })
    })
  })

  test('finds clients that hang on a deleted real server', async () => {
    await withNat({}, async (site, serves) => {
      const { hosts, agent } = site
      const { ipvs } = hosts.director
      await agent.serve(hosts.web1, { protocol: 'udp', port: 53, name: 'web1' })
      await agent.serve(hosts.web2, { protocol: 'udp', port: 53, name: 'web2' })
      const dns = { ...KEY, protocol: 'udp', port: 53 } as const
      await ipvs.restore({ services: [both(KEY), both(dns, 53)] })
      await serves()
      const held = await agent.connect(hosts.client, dns)
      const [gone] = (await ipvs.realServers(dns)).filter(({ address }) =>
        held.server === 'web1' ? address === ONE.address : address === TWO.address,
      )
      const found = await expectMended(site, {
        ...{ code: 'deleted-hold-clients', on: 'director' },
        serves: () => held.say('again', IN_VAIN_MS * 3),
        make: () => ipvs.deleteRealServer(dns, gone ?? ONE),
      })
      expect(found.services).toEqual([dns])
    })
  })

  test('finds persistence that brings clients to a quiescent server, which is dead', async () => {
    await withNat({ persistence: { timeoutSeconds: 300 } }, async (site, serves) => {
      const { hosts, agent } = site
      await expectMended(site, {
        ...{ code: 'quiescent-hold-clients', on: 'director', serves },
        make: async () => {
          const { server } = await agent.ask(hosts.client, KEY)
          await hosts.director.ipvs.editRealServer(KEY, server === 'web1' ? ONE : TWO, { weight: 0 })
          await agent.stop(hosts[server as 'web1'], server)
        },
      })
    })
  })

  test('finds a port that is reused, and leads to a quiescent server, which is dead', async () => {
    await withNat({}, async (site) => {
      const { hosts, agent, sh } = site
      await sh('director', 'sysctl -qw net.ipv4.vs.conn_reuse_mode=0')
      await sh('client', 'sysctl -qw net.ipv4.tcp_tw_reuse=1')
      const ask = async (): Promise<string> => {
        const held = await agent.connect(hosts.client, { ...KEY, sourcePort: 5000, withinMs: IN_VAIN_MS * 3 })
        await held.close()
        return held.server
      }
      await expectMended(site, {
        ...{ code: 'reuse-holds-clients', on: 'director' },
        serves: ask,
        make: async () => {
          const server = await ask()
          await hosts.director.ipvs.editRealServer(KEY, server === 'web1' ? ONE : TWO, { weight: 0 })
          await agent.stop(hosts[server as 'web1'], server)
        },
      })
    })
  })

  test('finds a service by mark that takes the packets of another', async () => {
    await withNat({}, async (site) => {
      const { hosts, agent, sh } = site
      const { ipvs } = hosts.director
      const mark = { protocol: 'fwmark', fwmark: 7 } as const
      await ipvs.addService({ ...mark, scheduler: 'rr' })
      await ipvs.addRealServer(mark, { ...TWO, method: 'masquerade' })
      await expectMended(site, {
        ...{ code: 'service-shadowed', on: 'director' },
        serves: () => agent.askMany(hosts.client, KEY, 1),
        make: async () => {
          await ipvs.editRealServer(KEY, ONE, { weight: 1000 })
          await sh(
            'director',
            `iptables -t mangle -A PREROUTING -d ${VIRTUAL.ipv4} -p tcp -m multiport --dports 80,443 -j MARK --set-mark 7`,
          )
        },
        shows: async () => {
          expect(countsOf(await agent.askMany(hosts.client, KEY, 4))).toEqual({ web2: 4 })
        },
      })
    })
  })

  test('finds two persistent services that send a client to two real servers', async () => {
    await withTopology(BEHIND_DIRECTOR, async (site) => {
      const { hosts, agent, sh } = site
      const { ipvs } = hosts.director
      await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`, 'sysctl -qw net.ipv4.ip_forward=1')
      for (const web of ['web1', 'web2'] as const) {
        await agent.serve(hosts[web], { port: 80, name: web })
        await agent.serve(hosts[web], { port: 8000, name: web })
      }
      const persistence = { timeoutSeconds: 300 }
      const whole = { ...KEY, port: 0 }
      await ipvs.restore({ services: [{ ...both(whole, 0), persistence }] })
      const servers = async (): Promise<(string | undefined)[]> => {
        const answers = [
          await agent.ask(hosts.client, { ...KEY, port: 8000 }),
          await agent.ask(hosts.client, KEY),
        ]
        return answers.map(({ server }) => server)
      }
      await expectMended(site, {
        ...{ code: 'persistence-overlaps', on: 'director' },
        serves: async () => {
          const [one, other] = await servers()
          expect(one).toBe(other)
        },
        make: async () => {
          const [at] = await servers()
          await ipvs.addService({ ...KEY, scheduler: 'wrr', persistence })
          for (const one of [ONE, TWO]) {
            const name = one === ONE ? 'web1' : 'web2'
            await ipvs.addRealServer(KEY, { ...one, method: 'masquerade', weight: name === at ? 1 : 1000 })
          }
        },
        shows: async () => {
          const [one, other] = await servers()
          expect(one).not.toBe(other)
        },
      })
    })
  })

  test('notes a change of scheduler under traffic, which takes effect all the same', async () => {
    await withNat({}, async ({ hosts, agent }, serves) => {
      const { ipvs } = hosts.director
      const state = { services: [{ ...both(KEY), scheduler: 'wlc' as const }] }
      const look = (): Promise<Finding[]> => diagnose({ netns: hosts.director.name, state })
      expect(await look()).toEqual([])
      const held = await agent.connect(hosts.client, KEY)
      expect((await look()).map(({ code, severity }) => [code, severity])).toEqual([
        ['scheduler-change', 'note'],
      ])
      await held.close()
      await ipvs.restore(state)
      await serves()
      expect(await look()).toEqual([])
    })
  })

  test('notes kube-proxy', async () => {
    await withNat({}, async (site, serves) => {
      const { sh } = site
      await expectMended(site, {
        ...{ code: 'beside-kube-proxy', on: 'director', serves },
        make: () => sh('director', 'ip link add kube-ipvs0 type dummy'),
        shows: serves,
        byHand: () => sh('director', 'ip link delete kube-ipvs0'),
      })
      await expectMended(site, {
        ...{ code: 'beside-kube-proxy', on: 'director', serves },
        make: () => sh('director', 'iptables -t nat -N KUBE-SERVICES'),
        shows: serves,
        byHand: () => sh('director', 'iptables -t nat -X KUBE-SERVICES'),
      })
    })
  })

  test('notes Cilium, and a program of XDP, which keeps packets from IPVS', async () => {
    await withNat({}, async (site, serves) => {
      const { sh } = site
      await expectMended(site, {
        ...{ code: 'beside-ebpf', on: 'director', serves },
        make: () => sh('director', 'ip link add cilium_host type dummy'),
        shows: serves,
        byHand: () => sh('director', 'ip link delete cilium_host'),
      })
      const found = await expectMended(site, {
        ...{ code: 'beside-ebpf', on: 'director', serves },
        make: () => sh('director', `/usr/bin/python3 '${XDP}' eth0`),
        byHand: () => sh('director', 'ip link set dev eth0 xdpgeneric off'),
      })
      // It may be what carries all traffic of the machine: no command ends it.
      expect(found).toMatchObject({ services: [KEY], commands: [] })
    })
  })
})

concurrentKernelTests('the doctor, of a firewall', () => {
  test('finds rules and policies that drop packets to a service, and answers', async () => {
    await withNat({}, async (site, serves) => {
      const { sh } = site
      const faults = [
        `iptables -A INPUT -d ${VIRTUAL.ipv4} -p tcp -m multiport --dports 80,443 -j DROP`,
        'iptables -P INPUT DROP',
        'iptables -N web; iptables -A web -m state --state NEW -j REJECT; iptables -A INPUT -p tcp -g web',
        'iptables -t raw -A PREROUTING -p tcp --dport 80 -j DROP',
        'iptables -P FORWARD DROP; iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
        'iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP',
        'iptables -A OUTPUT -d 10.0.0.0/24 -p tcp --dport 80 -j DROP',
      ]
      for (const fault of faults) {
        const look = (): Promise<Finding[]> => diagnose({ netns: site.hosts.director.name })
        await serves()
        expect(await look()).toEqual([])
        await sh('director', fault)
        await fails(serves)
        const findings = await look()
        expect(findings.length, fault).toBeGreaterThan(0)
        for (const { code, commands } of findings) {
          expect(code).toBe('firewall-drops')
          await sh('director', ...commands)
        }
        await serves()
        expect(await look(), fault).toEqual([])
        await sh(
          'director',
          'iptables -P INPUT ACCEPT; iptables -P FORWARD ACCEPT; iptables -F; iptables -t raw -F; iptables -X',
        )
      }
    })
  })

  test('finds nothing in rules that accept what IPVS needs', async () => {
    await withNat({}, async ({ hosts, sh }, serves) => {
      await sh(
        'director',
        'iptables -P INPUT DROP; iptables -P FORWARD DROP',
        'iptables -A INPUT -i lo -j ACCEPT',
        'iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
        'iptables -A INPUT -s 203.0.113.0/24 -j DROP',
        `iptables -A INPUT -d ${VIRTUAL.ipv4} -p tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT`,
        'iptables -A FORWARD -s 10.0.0.0/24 -i eth1 -j ACCEPT',
      )
      await serves()
      expect(await diagnose({ netns: hosts.director.name })).toEqual([])
    })
  })

  test('finds a rule for another source address that IPVS does not let work', async () => {
    await withNat({}, async (site, serves) => {
      const { sh } = site
      // The real servers do not answer through the director but to its address.
      for (const web of ['web1', 'web2'] as const) await sh(web, 'ip route delete default')
      await sh(
        'director',
        'sysctl -qw net.ipv4.vs.conntrack=1',
        `iptables -t nat -A POSTROUTING -m ipvs --vaddr ${VIRTUAL.ipv4} --vport 80 -j SNAT --to-source 10.0.0.1`,
      )
      await expectMended(site, {
        ...{ code: 'conntrack-off', on: 'director', serves },
        make: () => sh('director', 'sysctl -qw net.ipv4.vs.conntrack=0'),
      })
    })
  })
})

concurrentKernelTests('the doctor, of sync daemons', () => {
  const DAEMON = { multicastInterface: 'eth0', syncId: 5 } as const

  interface Sync extends Site<keyof (typeof ONE_NETWORK)['hosts']> {
    readonly master: Ipvs
    readonly backup: Ipvs
    /** Resolves once the backup knows a connection that begins now. */
    readonly serves: () => Promise<unknown>
    /** Resolves once another backup knows such a connection, and this one does not. */
    readonly shows: () => Promise<unknown>
  }

  /** The director is the master, and a neighbour the backup. */
  function withSync(body: (site: Sync) => Promise<unknown>): Promise<unknown> {
    return withTopology(ONE_NETWORK, async (site) => {
      const { hosts, agent, sh } = site
      await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`)
      const [master, backup] = [hosts.director.ipvs, hosts.neighbour.ipvs]
      await agent.serve(hosts.web1, { port: 80, name: 'web1' })
      await sh(
        'web1',
        'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
        `ip address add ${VIRTUAL.ipv4}/32 dev lo`,
      )
      await master.restore({
        services: [{ ...KEY, realServers: [{ address: '192.0.2.11', port: 80, method: 'direct' }] }],
      })
      await master.startSyncDaemon({ ...DAEMON, state: 'master' })
      await backup.startSyncDaemon({ ...DAEMON, state: 'backup' })
      // One that is always well, so that nobody waits in vain for what is not sent.
      await hosts.web2.ipvs.startSyncDaemon({ ...DAEMON, state: 'backup' })
      let port = 5000
      /** Opens a connection, and waits until another host knows it. */
      const untilKnown = async (host: Netns): Promise<number> => {
        const sourcePort = port++
        const held = await agent.connect(hosts.client, { ...KEY, sourcePort })
        await until('a backup knows the connection', async () => {
          await held.say('more')
          return (await learned(host)).includes(sourcePort)
        })
        await held.close()
        return sourcePort
      }
      const shows = async (): Promise<void> => {
        const sent = await untilKnown(hosts.web2)
        expect(await learned(hosts.neighbour)).not.toContain(sent)
      }
      return body({ ...site, master, backup, serves: () => untilKnown(hosts.neighbour), shows })
    })
  }

  test('finds a firewall, and a peer that does not match', async () => {
    await withSync(async (site) => {
      const { master, backup, serves, shows, sh } = site
      const about = { on: 'neighbour', serves, shows } as const
      await expectMended(site, {
        ...{ ...about, code: 'firewall-drops' },
        make: () => sh('neighbour', 'iptables -A INPUT -d 224.0.0.0/4 -p udp --dport 8848 -j DROP'),
      })
      await sh('neighbour', 'iptables -F')
      const peer = { syncDaemons: await master.syncDaemons() }
      await expectMended(site, {
        ...{ ...about, code: 'sync-mismatch', options: { peer } },
        make: async () => {
          await backup.stopSyncDaemon('backup')
          await backup.startSyncDaemon({ ...DAEMON, state: 'backup', syncId: 6, multicastPort: 8849 })
        },
      })
      await expectMended(site, {
        ...{ ...about, code: 'sync-mismatch', options: { peer } },
        make: async () => {
          await backup.stopSyncDaemon('backup')
          await backup.startSyncDaemon({ ...DAEMON, state: 'master' })
        },
        byHand: async () => {
          await backup.stopSyncDaemon('master')
          await backup.startSyncDaemon({ ...DAEMON, state: 'backup' })
        },
      })
    })
  })

  test('finds an interface that is down, or gone', async () => {
    await withSync(async (site) => {
      const { backup, serves, shows, sh } = site
      const about = { on: 'neighbour', code: 'sync-interface', serves, shows } as const
      await expectMended(site, { ...about, make: () => sh('neighbour', 'ip link set eth0 down') })
      await backup.stopSyncDaemon('backup')
      await sh('neighbour', 'ip link add link eth0 name sync0 type macvlan', 'ip link set sync0 up')
      await backup.startSyncDaemon({ ...DAEMON, state: 'backup', multicastInterface: 'sync0' })
      await expectMended(site, {
        ...about,
        // The daemon goes on without it, and hears nothing.
        make: () => sh('neighbour', 'ip link delete sync0'),
        byHand: async () => {
          await backup.stopSyncDaemon('backup')
          await backup.startSyncDaemon({ ...DAEMON, state: 'backup' })
        },
      })
    })
  })

  test('finds nothing in interfaces without flag MULTICAST, by which the daemons send and hear all the same', async () => {
    await withSync(async ({ hosts, master, backup, serves, sh }) => {
      for (const name of ['director', 'neighbour'] as const) await sh(name, 'ip link set eth0 multicast off')
      await serves()
      for (const multicastGroup of ['224.0.0.81', 'ff02::51']) {
        await master.stopSyncDaemon('master')
        await backup.stopSyncDaemon('backup')
        await master.startSyncDaemon({ ...DAEMON, state: 'master', multicastGroup })
        await backup.startSyncDaemon({ ...DAEMON, state: 'backup', multicastGroup })
        await serves()
        for (const name of ['director', 'neighbour'] as const)
          expect(await diagnose({ netns: hosts[name].name })).toEqual([])
      }
    })
  })
})

kernelTests('the doctor, of limits of the whole machine', () => {
  test('finds that the firewall tracks nearly as many connections as it may', async () => {
    await withNat({}, async (site, serves) => {
      const { hosts, agent, sh } = site
      await sh('director', 'iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT')
      const port = await agent.serve(hosts.director, { port: 0, name: 'director' })
      const before = (await script('sysctl -n net.netfilter.nf_conntrack_max')).trim()
      try {
        const look = (): Promise<Finding[]> => diagnose({ netns: hosts.director.name })
        await serves()
        expect(await look()).toEqual([])
        for (let count = 0; count < 10; count++)
          await agent.connect(hosts.client, { address: '192.0.2.1', port })
        await script('sysctl -qw net.netfilter.nf_conntrack_max=10')
        await fails(serves)
        const [found, ...others] = await look()
        expect(others).toEqual([])
        expect(found).toMatchObject({
          code: 'conntrack-full',
          commands: ['sysctl -w net.netfilter.nf_conntrack_max=20'],
        })
        // A setting of the machine: no namespace may change it.
        await script(found?.commands.join('\n') ?? '')
        await serves()
        expect(await look()).toEqual([])
      } finally {
        await script(`sysctl -qw net.netfilter.nf_conntrack_max=${before}`)
      }
    })
  })
})
