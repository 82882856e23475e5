import { expect, test } from 'vitest'
import type { StateService } from '../../lib/index.ts'
import { setUpDirector } from '../../lib/setup/director.ts'
import { commandsOf } from '../../lib/setup/part.ts'
import { setUpRealServer } from '../../lib/setup/real-server.ts'
import { ipvs } from '../cli/terminal.ts'
import { wordsOf } from '../helpers/guides.ts'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { countsOf, IN_VAIN_MS, type Target } from './agent.ts'
import { SHORT_SECONDS } from './crowd.ts'
import { GUIDES } from './guides.ts'
import type { Mode } from './modes.ts'
import { type ModeSite, withMode } from './prove.ts'
import { ROUTED, TWO_DIRECTORS_ONE_NETWORK, VIRTUAL } from './topologies.mjs'
import { withTopology } from './topology.ts'

/**
 * What goes wrong, in the tables of the guides, where the doctor has no finding for it: the cause is made, a client sees what the row
 * says, and what mends it is done. A test is named by its page and what the row says is seen. That no row is missing is tested in
 * test/docs/wrong.test.ts; rows with a finding are in doctor*.test.ts.
 */

/** What a guide makes, as it should be. */
function guided(page: string, guide: string): Mode {
  const data = GUIDES[page]?.[guide]
  if (data === undefined) throw new Error(`there is no guide ${page}, ${guide}`)
  const { mode, services, director, realServer, realServers } = data
  const [first, ...others] = services
  if (first === undefined) throw new Error(`${page}, ${guide} has no service`)
  const realServerCommands = commandsOf(setUpRealServer(services, realServer))
  return {
    ...mode,
    state: { services: [first, ...others] },
    commands: {
      director: commandsOf(setUpDirector(services, { ...director, firewall: 'iptables' })),
      ...Object.fromEntries(realServers.map((name) => [name, realServerCommands])),
    },
  }
}

/** The same, but on one host without the commands that have this in them. */
function without(mode: Mode, what: string, host = 'director'): Mode {
  const lines = mode.commands[host] ?? []
  const kept = lines.filter((line) => !line.includes(what))
  expect(kept.length).toBeLessThan(lines.length)
  return { ...mode, commands: { ...mode.commands, [host]: kept } }
}

type Answers = Record<string, number>

/** Asks so many times where it should work; gives how many each server answered. */
async function ask({ host, agent }: ModeSite, target: Target, count = 2): Promise<Answers> {
  return countsOf(await agent.askMany(host('client'), target, count))
}

/** The same where some are to wait until they give up. */
function askInVain(site: ModeSite, target: Target, count = 1): Promise<Answers> {
  return ask(site, { ...target, withinMs: IN_VAIN_MS }, count)
}

/** Waits until what the only service has counted is this. The kernel adds it up every two seconds. */
async function untilCounted(
  { host }: ModeSite,
  is: (stats: { connections: number; packetsIn: number; packetsOut: number }) => boolean,
): Promise<void> {
  await until('the service has counted', async () => {
    const [service] = await host('director').ipvs.services()
    return service !== undefined && is(service.stats)
  })
}

/** Runs a line that begins with `ipvs` on the director. */
async function own({ host }: ModeSite, line: string): Promise<{ status: number; said: string }> {
  const words = ['--netns', host('director').name, ...wordsOf(line)]
  const { status, stdout, stderr } = await ipvs(words, { kernel: 'real' })
  return { status, said: stdout + stderr }
}

/** How many packets each rule of iptables matched, by its target. */
async function matched({ sh }: ModeSite, table: string, chain: string): Promise<Record<string, number>> {
  const lines = (await sh('director', `iptables -t ${table} -vnxL ${chain}`)).split('\n').slice(2)
  return Object.fromEntries(
    lines.flatMap((line) => {
      const [packets, , target] = line.trim().split(/ +/)
      return target === undefined ? [] : [[target, Number(packets)]]
    }),
  )
}

/** A server that listens at an address of its host's own, and then at all, and another that then listens at the virtual one. */
async function expectOwnAddressRefuses(mode: Mode, web1: string, web2: string): Promise<void> {
  await withMode({ ...mode, servers: {} }, async (site) => {
    const { agent, host } = site
    const { target } = mode
    await agent.serve(host('web1'), { ...target, address: web1, name: 'web1' })
    await agent.serve(host('web2'), { ...target, address: web2, name: 'web2' })
    expect(await ask(site, target)).toEqual({ ECONNREFUSED: 2 })
    await agent.stop(host('web1'), 'web1')
    await agent.serve(host('web1'), { ...target, address: '0.0.0.0', name: 'web1' })
    await agent.serve(host('web2'), { ...target, name: 'web2' })
    expect(await ask(site, target)).toEqual({ web1: 1, web2: 1 })
  })
}

const KEY = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
const CLIENT = '198.51.100.100'

/** A packet that goes round and round is lost when its TTL is used up. A router tells the client, but not each time. */
function expectLostOnTheWay(answers: Answers): void {
  expect(['EHOSTUNREACH', 'ETIMEDOUT']).toEqual(expect.arrayContaining(Object.keys(answers)))
  expect(answers).not.toEqual({})
}

/** Two directors, each of which has itself and the other in its table. */
async function expectBackAndForth(
  table: (own: string, other: string) => NonNullable<StateService['realServers']>,
): Promise<void> {
  await withTopology(TWO_DIRECTORS_ONE_NETWORK, async ({ hosts, agent, sh }) => {
    const { client, director1, director2 } = hosts
    for (const [name, address, other] of [
      ['director1', '192.0.2.1', '192.0.2.2'],
      ['director2', '192.0.2.2', '192.0.2.1'],
    ] as const) {
      const service = { ...KEY, scheduler: 'rr', realServers: table(address, other) }
      await hosts[name].ipvs.apply({ services: [service] })
      await agent.serve(hosts[name], { port: 80, name })
    }
    await sh('director1', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`)
    await sh(
      'director2',
      'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
      `ip address add ${VIRTUAL.ipv4}/32 dev lo`,
    )
    const packets = await agent.capture(director2, 'eth0')
    const {
      director1: _,
      director2: __,
      ...lost
    } = countsOf(await agent.askMany(client, { ...KEY, withinMs: IN_VAIN_MS }, 8))
    expectLostOnTheWay(lost)
    // Sent and got, until the TTL of 64 is used up.
    const ttls = new Set(
      (await packets())
        .filter(({ source, destination }) => source === CLIENT && destination === VIRTUAL.ipv4)
        .map(({ ttl }) => ttl),
    )
    expect(ttls.size).toBeGreaterThan(50)

    await director1.ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })
    await director2.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'eth0' })
    for (const name of ['director1', 'director2'] as const)
      await sh(name, 'sysctl -qw net.ipv4.vs.backup_only=1')
    expect(countsOf(await agent.askMany(client, KEY, 8))).toEqual({ director1: 4, director2: 4 })
  })
}

/** A director, a real server in its network, and one behind the router. */
const ONE_BESIDE = {
  ...ROUTED,
  hosts: {
    ...ROUTED.hosts,
    web1: {
      ...ROUTED.hosts.web1,
      interfaces: { eth0: { network: 'front', addresses: ['192.0.2.11/24'] } },
      routes: ['default via 192.0.2.254'],
    },
  },
} as const

concurrentKernelTests('what goes wrong with NAT', () => {
  test('nat: the same, and there are weights', async () => {
    const mode = guided('nat', 'nat')
    await withMode({ ...mode, servers: {} }, async (site) => {
      const { agent, host } = site
      const directly = (): Promise<string> =>
        agent.get(host('director'), { address: '10.0.0.11', port: 8080 })
      expect(await ask(site, mode.target)).toEqual({ ECONNREFUSED: 2 })
      await expect(directly()).rejects.toThrow('ECONNREFUSED')
      for (const name of ['web1', 'web2']) await agent.serve(host(name), { port: 8080, name })
      expect(await directly()).toBe('web1, for 10.0.0.1\n')
      expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
    })
  })

  test('full-nat: the same, and it is 1', async () => {
    const mode = guided('full-nat', 'full-nat')
    await withMode(without(mode, 'MASQUERADE'), async (site) => {
      const { agent, host, sh } = site
      const rule = mode.commands.director?.find((line) => line.includes('MASQUERADE')) ?? ''
      await sh('director', rule.replace(VIRTUAL.ipv4, '10.0.0.11').replace('--vport 80', '--vport 8080'))
      const packets = await agent.capture(host('web1'), 'eth0')
      expect(await sh('director', 'sysctl -n net.ipv4.vs.conntrack')).toBe('1\n')
      expect(await askInVain(site, mode.target)).toEqual({ ETIMEDOUT: 1 })
      expect((await packets()).map(({ source }) => source)).toContain(CLIENT)
      expect(await matched(site, 'nat', 'POSTROUTING')).toEqual({ MASQUERADE: 0 })

      await sh('director', 'iptables -t nat -F POSTROUTING', rule)
      expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
      expect(await matched(site, 'nat', 'POSTROUTING')).toEqual({ MASQUERADE: 2 })
    })
  })
})

concurrentKernelTests('what goes wrong with direct routing', () => {
  test('direct-routing: the same, or "No route to host", for one real server alone', async () => {
    const direct = guided('direct-routing', 'direct')
    const [service] = direct.state.services
    const realServers = ['192.0.2.11', '203.0.113.141'].map(
      (address) => ({ address, port: 80, method: 'direct' }) as const,
    )
    const state = { services: [{ ...service, realServers }] } as const
    await withMode({ ...direct, topology: ONE_BESIDE, state }, async (site) => {
      const { host, sh } = site
      expect(await sh('director', 'ip route get 192.0.2.11')).not.toContain(' via ')
      expect(await sh('director', 'ip route get 203.0.113.141')).toContain(' via 192.0.2.254 ')
      const { web1, ...lost } = await askInVain(site, KEY, 2)
      expect(web1).toBe(1)
      expectLostOnTheWay(lost)
      await untilCounted(site, ({ packetsIn }) => packetsIn > 0)

      const tunnel = guided('tunnel', 'ipip')
      await sh('web2', ...(tunnel.commands.web2 ?? []))
      await host('director').ipvs.editRealServer(
        KEY,
        { address: '203.0.113.141', port: 80 },
        { method: 'tunnel' },
      )
      expect(await ask(site, KEY)).toEqual({ web1: 1, web2: 1 })
    })
  })

  test('direct-routing: "Connection refused" at once', () =>
    expectOwnAddressRefuses(guided('direct-routing', 'direct'), '192.0.2.11', '192.0.2.12'))

  test('direct-routing: packets go back and forth between two directors', () =>
    expectBackAndForth((address, other) => [
      { address, method: 'direct' },
      { address: other, method: 'direct' },
    ]))
})

concurrentKernelTests('what goes wrong with tunnels', () => {
  test('tunnel: the same, and `tcpdump -ni eth0 src 192.0.2.10` on the real server shows answers', async () => {
    const mode = guided('tunnel', 'ipip')
    const answersOf = async ({ agent, host }: ModeSite): Promise<() => Promise<boolean>> => {
      const packets = await agent.capture(host('web1'), 'eth0')
      return async () =>
        (await packets()).some(({ source, destination }) => source === VIRTUAL.ipv4 && destination === CLIENT)
    }
    await withMode(mode, async (site) => {
      const { sh } = site
      const answers = await answersOf(site)
      // web1 is behind it.
      await sh('router', 'sysctl -qw net.ipv4.conf.eth2.rp_filter=1')
      expect(await askInVain(site, mode.target, 2)).toEqual({ ETIMEDOUT: 1, web2: 1 })
      expect(await answers()).toBe(true)
      await sh('router', 'sysctl -qw net.ipv4.conf.eth2.rp_filter=0')
      expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
    })
    const [service] = mode.state.services
    const realServers = [{ address: '192.0.2.11', port: 80, method: 'tunnel' }] as const
    const beside = {
      ...mode,
      topology: ONE_BESIDE,
      state: { services: [{ ...service, realServers }] },
    } as const
    await withMode(beside, async (site) => {
      const { sh } = site
      const answers = await answersOf(site)
      await sh('director', 'sysctl -qw net.ipv4.ip_forward=1')
      await sh('web1', 'ip route replace default via 192.0.2.1')
      expect(await sh('web1', `ip route get ${CLIENT}`)).toContain(' via 192.0.2.1 ')
      expect(await askInVain(site, mode.target)).toEqual({ ETIMEDOUT: 1 })
      expect(await answers()).toBe(true)
      await sh('web1', 'ip route replace default via 192.0.2.254')
      expect(await ask(site, mode.target)).toEqual({ web1: 2 })
    })
  })

  test('tunnel: no packet reaches the real server', async () => {
    const drops = { ipip: '-p 4', gre: '-p 47', gue: '-p udp --dport 6080' } as const
    const each = (['ipip', 'gre', 'gue'] as const).map((type) => {
      const mode = guided('tunnel', type)
      return withMode(mode, async (site) => {
        const { agent, host, sh } = site
        for (const name of ['web1', 'web2']) await agent.watch(host(name))
        await sh('router', `iptables -A FORWARD ${drops[type]} -j DROP`)
        expect(await askInVain(site, mode.target)).toEqual({ ETIMEDOUT: 1 })
        for (const name of ['web1', 'web2']) expect(await agent.seen(host(name))).toEqual([])
        if (type === 'ipip') {
          for (const name of ['web1', 'web2']) await sh(name, 'modprobe fou', 'ip fou add port 6080 gue')
          await host('director').ipvs.apply(guided('tunnel', 'gue').state)
          expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
          await host('director').ipvs.apply(mode.state)
          expect(await askInVain(site, mode.target)).toEqual({ ETIMEDOUT: 1 })
        }
        await sh('router', `iptables -I FORWARD ${drops[type]} -j ACCEPT`)
        expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
      })
    })
    await Promise.all(each)
  })

  test('tunnel: "Connection refused" at once', () =>
    expectOwnAddressRefuses(guided('tunnel', 'ipip'), '203.0.113.11', '203.0.113.141'))

  test('tunnel: it works until the next start, and then `rp_filter` is 1', async () => {
    const mode = guided('tunnel', 'ipip')
    const RP_FILTER = 'rp_filter'
    const own = mode.commands.web1 ?? []
    const setting = own.find((line) => line.includes(RP_FILTER))?.replace('sysctl -w ', '') ?? ''
    await withMode(mode, async (site) => {
      const { sh } = site
      expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
      const rpFilter = (): Promise<string> => sh('web1', 'sysctl -n net.ipv4.conf.ipvs-ipip.rp_filter')
      const readFile = `echo '${setting}' | sysctl -e -q -p -`
      const start = (device: readonly string[]): Promise<string> =>
        sh(
          'web1',
          'ip link delete ipvs-ipip',
          'sysctl -qw net.ipv4.conf.default.rp_filter=1',
          readFile,
          ...device,
        )
      await start(without(mode, RP_FILTER, 'web1').commands.web1 ?? [])
      expect(await rpFilter()).toBe('1\n')
      expect(await askInVain(site, mode.target, 2)).toEqual({ ETIMEDOUT: 1, web2: 1 })
      // Nothing is wrong with the file but when it is read.
      await sh('web1', readFile)
      expect(await rpFilter()).toBe('2\n')

      await start(own)
      expect(await rpFilter()).toBe('2\n')
      expect(await ask(site, mode.target)).toEqual({ web1: 1, web2: 1 })
    })
  })
})

concurrentKernelTests('what goes wrong with a director that serves', () => {
  const LOCAL = (): Mode => ({
    ...guided('local', 'local'),
    servers: { web1: [{ protocol: 'tcp', port: 80 }] },
  })

  test('local: "Connection refused" for a part of the requests', async () => {
    for (const address of ['0.0.0.0', VIRTUAL.ipv4]) {
      const mode = LOCAL()
      await withMode(mode, async (site) => {
        const { agent, host } = site
        await agent.serve(host('director'), { port: 80, address: '192.0.2.1', name: 'director' })
        expect(await ask(site, mode.target, 4)).toEqual({ ECONNREFUSED: 2, web1: 2 })
        await agent.stop(host('director'), 'director')
        await agent.serve(host('director'), { port: 80, address, name: 'director' })
        expect(await ask(site, mode.target, 4)).toEqual({ director: 2, web1: 2 })
      })
    }
  })

  test('local: clients get "back soon" while a real server works', async () => {
    const mode = LOCAL()
    await withMode(mode, async (site) => {
      const { agent, host } = site
      await agent.serve(host('director'), { port: 80, name: 'back soon' })
      expect(await ask(site, mode.target, 4)).toEqual({ 'back soon': 2, web1: 2 })
      expect(await own(site, 'ipvs weight tcp/192.0.2.10:80 127.0.0.1 0')).toMatchObject({ status: 0 })
      expect(await ask(site, mode.target, 4)).toEqual({ web1: 4 })
    })
  })

  test('local: packets go back and forth between two directors', () =>
    expectBackAndForth((_, address) => [
      { address: '127.0.0.1', method: 'local' },
      { address, method: 'direct' },
    ]))
})

concurrentKernelTests('what goes wrong with all ports', () => {
  test('all-ports: `ipvs add` refuses port 0', async () => {
    const mode = guided('all-ports', 'nfs')
    await withMode(mode, async (site) => {
      const { host } = site
      // The kernel takes it, as another program may show it.
      const [{ persistence: _, ...service }] = mode.state.services
      await host('director').ipvs.restore({ services: [service] }, { force: true })
      expect(await ask(site, mode.target)).toEqual({ ECONNREFUSED: 2 })
      await host('director').ipvs.flush()

      const add = 'ipvs add tcp/192.0.2.10:0 scheduler=rr'
      expect(await own(site, add)).toEqual({ status: 2, said: expect.stringContaining('port 0') })
      expect(await own(site, `${add} persistence=3600`)).toMatchObject({ status: 0 })
      const servers = 'ipvs add tcp/192.0.2.10:0 10.0.0.11 10.0.0.12 method=masquerade'
      expect(await own(site, servers)).toMatchObject({ status: 0 })
      expect(await ask(site, mode.target)).toEqual({ web1: 2 })
    })
  })

  test('all-ports: SSH to the virtual address reaches a real server', async () => {
    const mode = guided('all-ports', 'nfs')
    await withMode(mode, async (site) => {
      const { agent, host } = site
      for (const name of ['director', 'web1', 'web2']) await agent.serve(host(name), { port: 22, name })
      expect(await ask(site, { ...mode.target, port: 22 })).toEqual({ web1: 2 })
      expect(await ask(site, { address: '192.0.2.1', port: 22 })).toEqual({ director: 2 })
    })
  })

  test('all-ports: after a night clients get "Stale file handle"', async () => {
    const mode = guided('all-ports', 'nfs')
    // Its connections end by a timeout that can be set.
    const key = { ...KEY, protocol: 'udp', port: 0 } as const
    const nights = [
      { timeoutSeconds: 2 * SHORT_SECONDS, forgets: true },
      { timeoutSeconds: 3600, forgets: false },
    ].map(({ timeoutSeconds, forgets }) => {
      const [service] = mode.state.services
      const state = { services: [{ ...service, ...key, persistence: { timeoutSeconds } }] } as const
      return withMode({ ...mode, state, servers: {} }, async (site) => {
        const { agent, host } = site
        const { ipvs: table } = host('director')
        for (const name of ['web1', 'web2'])
          await agent.serve(host(name), { ...key, address: '0.0.0.0', port: 2049, name })
        await table.setTimeouts({ udpSeconds: SHORT_SECONDS })
        const target = { ...key, port: 2049 }
        expect(await ask(site, target)).toEqual({ web1: 2 })
        await until('the connections are over, and what the director remembers of the client', async () => {
          for await (const { template } of table.connections()) if (forgets || !template) return false
          return true
        })
        expect(await ask(site, target)).toEqual(forgets ? { web2: 2 } : { web1: 2 })
      })
    })
    await Promise.all(nights)
  })

  test('all-ports: callbacks of lockd do not reach the client', async () => {
    const mode = guided('all-ports', 'nfs')
    await withMode(mode, async (site) => {
      const { agent, host, sh } = site
      await agent.serve(host('client'), { port: 4045, name: 'client' })
      const packets = await agent.capture(host('router'), 'eth1')
      const callback = { address: CLIENT, port: 4045 }
      await expect(agent.ask(host('web1'), { ...callback, withinMs: IN_VAIN_MS })).rejects.toThrow()
      expect((await packets()).map(({ source }) => source)).toContain('10.0.0.11')

      await sh(
        'director',
        `iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j SNAT --to-source ${VIRTUAL.ipv4}`,
      )
      expect(await agent.ask(host('web1'), callback)).toMatchObject({
        server: 'client',
        address: VIRTUAL.ipv4,
      })
      expect(await ask(site, mode.target)).toEqual({ web1: 2 })
    })
  })
})

concurrentKernelTests('what goes wrong with firewall marks', () => {
  const MARKS = '-j MARK '
  const marksOf = (mode: Mode): string[] =>
    mode.commands.director?.filter((line) => line.includes(MARKS)) ?? []

  test('firewall-marks: "Connection refused", or the director\'s own server answers; the service counts nothing', async () => {
    const mode = guided('firewall-marks', 'marks')
    await withMode(without(mode, MARKS), async (site) => {
      const { agent, host, sh } = site
      await sh('director', ...marksOf(mode).map((line) => line.replace(VIRTUAL.ipv4, '192.0.2.11')))
      expect(await ask(site, mode.target)).toEqual({ ECONNREFUSED: 2 })
      await agent.serve(host('director'), { port: 80, name: 'director' })
      expect(await ask(site, mode.target)).toEqual({ director: 2 })
      expect(await matched(site, 'mangle', 'PREROUTING')).toEqual({ MARK: 0 })

      await sh('director', 'iptables -t mangle -F PREROUTING', ...marksOf(mode))
      expect(await ask(site, mode.target)).toEqual({ web1: 2 })
      expect((await matched(site, 'mangle', 'PREROUTING')).MARK).toBeGreaterThan(0)
      // None of those before.
      await untilCounted(site, ({ connections }) => connections === 2)
    })
  })

  test('firewall-marks: the rule counts packets, and the service does not', async () => {
    const mode = guided('firewall-marks', 'marks')
    await withMode(mode, async (site) => {
      const { sh } = site
      await sh(
        'director',
        'iptables -t mangle -N VPN',
        'iptables -t mangle -A VPN -j MARK --set-mark 7',
        'iptables -t mangle -A PREROUTING -j VPN',
      )
      expect(await ask(site, mode.target)).toEqual({ ECONNREFUSED: 2 })
      expect((await matched(site, 'mangle', 'PREROUTING')).MARK).toBeGreaterThan(0)
      await sh('director', ...marksOf(mode).flatMap((line) => [line.replace(' -A ', ' -D '), line]))
      expect(await ask(site, mode.target)).toEqual({ web1: 2 })
      await untilCounted(site, ({ connections }) => connections === 2)
    })
  })

  test('firewall-marks: IPv6 clients are refused', async () => {
    const mode = guided('firewall-marks', 'marks')
    await withMode(mode, async (site) => {
      const { sh } = site
      const target = { ...mode.target, address: VIRTUAL.ipv6 }
      await sh(
        'director',
        `ip address add ${VIRTUAL.ipv6}/128 dev eth0 nodad`,
        'sysctl -qw net.ipv6.conf.all.forwarding=1',
        ...marksOf(mode).map((line) =>
          line.replace('iptables', 'ip6tables').replace(VIRTUAL.ipv4, VIRTUAL.ipv6),
        ),
      )
      expect(await ask(site, target)).toEqual({ ECONNREFUSED: 2 })
      expect(await ask(site, mode.target)).toEqual({ web1: 2 })
      for (const line of [
        'ipvs add fwmark6/1 scheduler=rr',
        'ipvs add fwmark6/1 fd00::11 fd00::12 method=masquerade',
      ])
        expect(await own(site, line)).toMatchObject({ status: 0 })
      expect(await ask(site, target)).toEqual({ web1: 1, web2: 1 })
    })
  })
})
