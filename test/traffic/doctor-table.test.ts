import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { diagnose, type Finding, type ServiceSpec, type StateService } from '../../lib/index.ts'
import { installCommand } from '../helpers/installed-command.ts'
import { concurrentKernelTests, kernelTests, script, tryCommand } from '../helpers/kernel.ts'
import { countsOf, IN_VAIN_MS } from './agent.ts'
import { expectMended } from './faults.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** Each finding about the table, firewall and limits: made, seen by clients, found, and mended by its own commands. */

const { env } = installCommand()

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
  test.each([
    `iptables -A INPUT -d ${VIRTUAL.ipv4} -p tcp -m multiport --dports 80,443 -j DROP`,
    'iptables -P INPUT DROP',
    'iptables -N web; iptables -A web -m state --state NEW -j REJECT; iptables -A INPUT -p tcp -g web',
    'iptables -t raw -A PREROUTING -p tcp --dport 80 -j DROP',
    'iptables -P FORWARD DROP; iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    'iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP',
    'iptables -A OUTPUT -d 10.0.0.0/24 -p tcp --dport 80 -j DROP',
    'iptables -t mangle -A POSTROUTING -o eth1 -p tcp -j DROP',
    `iptables -t mangle -A POSTROUTING -s ${VIRTUAL.ipv4} -j DROP`,
  ])('finds rules and policies that drop packets to a service, and answers: %s', async (fault) => {
    await withNat({}, async (site, serves) => {
      const { sh } = site
      const look = (): Promise<Finding[]> => diagnose({ netns: site.hosts.director.name })
      await serves()
      expect(await look()).toEqual([])
      await sh('director', fault)
      await fails(serves)
      const findings = await look()
      expect(findings.length).toBeGreaterThan(0)
      for (const { code, commands } of findings) {
        expect(code).toBe('firewall-drops')
        await sh('director', ...commands)
      }
      await serves()
      expect(await look()).toEqual([])
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

        await script('sysctl -qw net.netfilter.nf_conntrack_max=10')
        await fails(serves)
        const doctor = ['ipvs', 'doctor', '--netns', hosts.director.name, '--fix', '--yes']
        const { status, stderr } = await tryCommand(['env', `PATH=${env.PATH ?? ''}`, ...doctor])
        expect(stderr).toContain('set net.netfilter.nf_conntrack_max=')
        expect(status).toBe(0)
        await serves()
      } finally {
        await script(`sysctl -qw net.netfilter.nf_conntrack_max=${before}`)
      }
    })
  })
})
