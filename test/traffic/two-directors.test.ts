import { expect, test } from 'vitest'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { type Answer, countsOf, IN_VAIN_MS } from './agent.ts'
import { announce, type Held, learned, release, startBoth, take, untilLearned } from './directors.ts'
import { TWO_DIRECTORS, TWO_DIRECTORS_ONE_NETWORK, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** Two directors, of which one has the virtual address: what the other needs to go on where it stopped. */

type Name = keyof typeof TWO_DIRECTORS.hosts
type DirectorName = 'director1' | 'director2'

const FAMILIES = ['ipv4', 'ipv6'] as const
const FORWARD = 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1'
/** What moves with NAT: the real servers' answers must go where the requests do. */
const OF_NAT: readonly Held[] = [
  [VIRTUAL.ipv4, 'eth0'],
  [VIRTUAL.ipv6, 'eth0'],
  ['10.0.0.1', 'eth1'],
  ['fd00::1', 'eth1'],
]
const OF_DIRECT: readonly Held[] = OF_NAT.slice(0, 2)

const REAL = {
  masquerade: { ipv4: ['10.0.0.11', '10.0.0.12'], ipv6: ['fd00::11', 'fd00::12'], port: 8080 },
  direct: { ipv4: ['192.0.2.11', '192.0.2.12'], ipv6: ['2001:db8::11', '2001:db8::12'], port: 80 },
} as const

/** A site of either kind: director1 has the addresses, both have the table, and the real servers serve. */
async function withDirectors(
  method: 'masquerade' | 'direct',
  body: (
    site: Site<Name> & { move: (from: DirectorName, to: DirectorName, quietly?: boolean) => Promise<void> },
  ) => Promise<void>,
): Promise<void> {
  const held = method === 'direct' ? OF_DIRECT : OF_NAT
  await withTopology(method === 'direct' ? TWO_DIRECTORS_ONE_NETWORK : TWO_DIRECTORS, async (site) => {
    const { hosts, agent, sh } = site
    for (const name of ['director1', 'director2'] as const) {
      await sh(
        name,
        ...(method === 'masquerade' ? [FORWARD] : []),
        'sysctl -qw net.ipv6.conf.all.ndisc_notify=1 net.ipv6.conf.eth0.ndisc_notify=1',
      )
      for (const family of FAMILIES) {
        const { port } = REAL[method]
        const service = await hosts[name].ipvs.addService({
          ...{ protocol: 'tcp', address: VIRTUAL[family], port: 80, scheduler: 'rr' },
        })
        for (const address of REAL[method][family]) await service.addRealServer({ address, port, method })
      }
    }
    for (const name of ['web1', 'web2'] as const) {
      if (method === 'direct') {
        await sh(
          name,
          'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
          ...take([VIRTUAL.ipv4, 'lo'], [VIRTUAL.ipv6, 'lo']),
        )
      }
      await agent.serve(hosts[name], { port: REAL[method].port, name })
    }
    await sh('director1', ...take(...held).map((line) => `${line} ${line.includes(':') ? 'nodad' : ''}`))
    const move = async (from: DirectorName, to: DirectorName, quietly = false): Promise<void> => {
      await sh(from, ...release(...held))
      await sh(to, ...take(...held), ...(quietly ? [] : announce(...held)))
    }
    await body({ ...site, move })
  })
}

concurrentKernelTests('two directors', () => {
  test.each([
    ['NAT', 'masquerade'],
    ['direct routing', 'direct'],
  ] as const)(
    '%s: connections survive the move of the virtual address, and its way back',
    async (_, method) => {
      await withDirectors(method, async ({ hosts, agent, move }) => {
        const { client, director1, director2 } = hosts
        await startBoth([director1, director2])
        const held = await Promise.all(
          FAMILIES.map((family) => agent.connect(client, { address: VIRTUAL[family], port: 80 })),
        )
        for (const { sourcePort } of held) await untilLearned(director2, sourcePort)

        await move('director1', 'director2')
        for (const conversation of held) {
          const { said, server } = await conversation.say('still here')
          expect([said, server]).toEqual(['still here', conversation.server])
        }
        // And one that the second director begins.
        const later = await agent.connect(client, { address: VIRTUAL.ipv4, port: 80 })
        await untilLearned(director1, later.sourcePort)

        await move('director2', 'director1')
        for (const conversation of [...held, later]) {
          expect((await conversation.say('want 10000')).more).toBe(10_000)
          await conversation.close()
        }
      })
    },
  )

  test('without sync daemons a move breaks connections, and weights are those of the other director', async () => {
    await withDirectors('masquerade', async ({ hosts, agent, move }) => {
      const target = { address: VIRTUAL.ipv4, port: 80 }
      await hosts.director1.ipvs.editRealServer(
        { ...target, protocol: 'tcp' },
        { address: '10.0.0.11', port: 8080 },
        { weight: 0 },
      )
      expect(countsOf(await agent.askMany(hosts.client, target, 2))).toEqual({ web2: 2 })
      const held = await agent.connect(hosts.client, target)
      await move('director1', 'director2')
      await expect(held.say('still here?')).rejects.toMatchObject({ code: 'ECONNRESET' })
      expect(countsOf(await agent.askMany(hosts.client, target, 2))).toEqual({ web1: 1, web2: 1 })
    })
  })

  test('templates of persistence are sent: a client has the same real server as before', async () => {
    await withDirectors('masquerade', async ({ hosts, agent, sh, move }) => {
      const { client, director1, director2 } = hosts
      for (const { ipvs } of [director1, director2]) {
        const service = await ipvs.addService({
          ...{ protocol: 'tcp', address: VIRTUAL.ipv4, port: 81, scheduler: 'rr' },
          persistence: { timeoutSeconds: 300 },
        })
        for (const address of REAL.masquerade.ipv4)
          await service.addRealServer({ address, port: 8080, method: 'masquerade' })
      }
      const sources = [100, 101, 102, 103].map((number) => `198.51.100.${String(number)}`)
      await sh('client', ...sources.slice(1).map((source) => `ip address add ${source}/24 dev eth0`))
      await director1.ipvs.setSysctl('sync_persist_mode', 1)
      await startBoth([director1, director2])
      const ask = async (order: readonly string[]): Promise<Record<string, string>> => {
        const answers = await agent.askMany(client, { address: VIRTUAL.ipv4, port: 81 }, order.length, order)
        return Object.fromEntries(
          answers.map((answer) => [(answer as Answer).address, (answer as Answer).server]),
        )
      }
      const before = await ask(sources)
      expect(new Set(Object.values(before)).size).toBe(2)
      await until(
        'all templates are there',
        async () => (await learned(director2)).filter((port) => port === 0).length === sources.length,
      )
      // With sync_persist_mode their connections are not sent.
      expect(await learned(director2)).toEqual(sources.map(() => 0))

      // In an order in which rr would give each the other server.
      await move('director1', 'director2')
      expect(await ask([...sources.slice(1), ...sources.slice(0, 1)])).toEqual(before)
    })
  })

  test('a connection is sent with its third packet, and later again only as the sysctls say', async () => {
    await withDirectors('masquerade', async ({ hosts, agent }) => {
      const { client, director1, director2 } = hosts
      const target = { address: VIRTUAL.ipv4, port: 80 }
      await director1.ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })
      expect((await director1.ipvs.sysctls()).sync_threshold).toBe('3\t50')
      const sent = await agent.capture(director1, 'eth0')
      const early = await agent.connect(client, target)
      /** Opens a connection on which nothing is said, from this port. */
      const open = async (port: number): Promise<void> => {
        client.start(['socat', `TCP:${VIRTUAL.ipv4}:80,sourceport=${String(port)}`, '-'])
        await until('it is established', async () => {
          for await (const { clientPort, state } of director1.ipvs.connections())
            if (clientPort === port && state === 'ESTABLISHED') return true
          return false
        })
      }
      await open(5001)
      const other = await agent.connect(client, target)
      // Nobody gets the first datagram.
      await until('it is sent', async () => (await sent()).some(({ port }) => port === 8848))
      await director2.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'eth0' })
      await early.say('no news')
      // Its packets pass the fifty-third.
      for (let line = 0; line < 55; line++) await other.say('more')
      await untilLearned(director2, other.sourcePort)
      expect(await learned(director2)).toEqual([other.sourcePort])

      // Without a period in packets, one in seconds: all that speaks is sent again.
      await director1.ipvs.setSysctl('sync_threshold', '3 0')
      await director1.ipvs.setSysctl('sync_refresh_period', 1)
      await open(5002)
      await untilLearned(director2, 5002)
      expect(await learned(director2)).not.toContain(5001)
      await until('what was sent before is sent again', async () => {
        await early.say('still here')
        return (await learned(director2)).includes(early.sourcePort)
      })
    })
  })

  test('tables that differ: old connections continue if there is any service of their family, new ones are refused', async () => {
    await withDirectors('masquerade', async ({ hosts, agent, move }) => {
      const { client, director1, director2 } = hosts
      const target = { address: VIRTUAL.ipv4, port: 80 }
      await startBoth([director1, director2])
      await director2.ipvs.flush()
      const held = await agent.connect(client, target)
      const another = await agent.connect(client, target)
      for (const { sourcePort } of [held, another]) await untilLearned(director2, sourcePort)
      await move('director1', 'director2')
      // The kernel looks at no packet of a family that has no service.
      await expect(another.say('still here?')).rejects.toMatchObject({ code: 'ECONNRESET' })
      await director2.ipvs.addService({ protocol: 'tcp', address: VIRTUAL.ipv4, port: 443 })
      expect((await held.say('still here')).said).toBe('still here')
      await expect(agent.ask(client, target)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    })
  })

  test('without gratuitous ARP requests still go to the first director', async () => {
    await withDirectors('direct', async ({ hosts, agent, sh, move }) => {
      const target = { address: VIRTUAL.ipv4, port: 80, withinMs: IN_VAIN_MS }
      // A router that does not ask again for long.
      await sh('router', 'sysctl -qw net.ipv4.neigh.eth1.base_reachable_time_ms=3600000')
      await startBoth([hosts.director1, hosts.director2])
      const held = await agent.connect(hosts.client, target)
      await untilLearned(hosts.director2, held.sourcePort)
      await move('director1', 'director2', true)
      await expect(agent.ask(hosts.client, target)).rejects.toMatchObject({ code: 'ETIMEDOUT' })
      await sh('director2', ...announce([VIRTUAL.ipv4, 'eth0']))
      expect((await held.say('still here')).said).toBe('still here')
      expect(countsOf(await agent.askMany(hosts.client, target, 4))).toEqual({ web1: 2, web2: 2 })
    })
  })

  test.each([
    ['IPv4', '239.1.2.3', '239.1.2.4', 'the same'],
    ['IPv6', 'ff15::51', 'ff15::52', 'any'],
  ] as const)(
    'group, port, sync id and TTL are honoured: %s',
    async (_, multicastGroup, otherGroup, kind) => {
      await withTopology(TWO_DIRECTORS_ONE_NETWORK, async ({ hosts, agent }) => {
        const { director1, director2, web1, web2, router } = hosts
        const given = { multicastGroup, multicastPort: 9000, multicastTtl: 5, syncId: 7 }
        const service = { protocol: 'tcp', address: '192.0.2.1', port: 80 } as const
        await (
          await director1.ipvs.addService(service)
        ).addRealServer({ address: '192.0.2.1', method: 'local' })
        await agent.serve(director1, { port: 80, name: 'director1' })

        // Some that listen to something else, and one that listens to this: a sync id of 0 is any.
        const others = [
          [web1, 'eth0', { syncId: 8 }],
          [web2, 'eth0', { multicastGroup: otherGroup }],
          [router, 'eth1', { multicastPort: 9001 }],
        ] as const
        for (const [host, multicastInterface, other] of others)
          await host.ipvs.startSyncDaemon({ state: 'backup', multicastInterface, ...given, ...other })
        await director2.ipvs.startSyncDaemon({
          ...{ state: 'backup', multicastInterface: 'eth0', ...given },
          ...(kind === 'any' && { syncId: 0 }),
        })
        await director1.ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0', ...given })
        const sent = await agent.capture(director1, 'eth0')
        const first = await agent.connect(hosts.client, service)
        await untilLearned(director2, first.sourcePort)

        for (const [host, multicastInterface] of others) {
          await host.ipvs.stopSyncDaemon('backup')
          await host.ipvs.startSyncDaemon({ state: 'backup', multicastInterface, ...given })
        }
        const second = await agent.connect(hosts.client, service)
        for (const [host] of others) {
          await untilLearned(host, second.sourcePort)
          expect(await learned(host)).toEqual([second.sourcePort])
        }
        const datagrams = (await sent()).filter(({ protocol }) => protocol === 17)
        expect(
          new Set(
            datagrams.map(({ destination, port, ttl }) => `${destination} ${String(port)} ${String(ttl)}`),
          ),
        ).toEqual(new Set([`${multicastGroup} 9000 5`]))
      })
    },
  )

  test('directors that are also real servers need backup_only, and then one role at a time', async () => {
    await withTopology(TWO_DIRECTORS_ONE_NETWORK, async ({ hosts, agent, sh }) => {
      const { client, director1, director2 } = hosts
      const target = { address: VIRTUAL.ipv4, port: 80, withinMs: IN_VAIN_MS }
      for (const name of ['director1', 'director2'] as const) {
        const service = await hosts[name].ipvs.addService({
          ...{ protocol: 'tcp', address: VIRTUAL.ipv4, port: 80, scheduler: 'rr' },
        })
        for (const address of ['192.0.2.1', '192.0.2.2']) await service.addRealServer({ address })
        await agent.serve(hosts[name], { port: 80, name })
      }
      await sh('director1', ...take([VIRTUAL.ipv4, 'eth0']))
      await sh(
        'director2',
        'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
        ...take([VIRTUAL.ipv4, 'lo']),
      )
      // The second director sends half of what it gets as a real server back to the first, and so on: one of four is lost.
      expect(countsOf(await agent.askMany(client, target, 4))).toMatchObject({ director1: 2, director2: 1 })

      await director1.ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })
      await director2.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'eth0' })
      for (const { ipvs } of [director1, director2]) await ipvs.setSysctl('backup_only', 1)
      expect(countsOf(await agent.askMany(client, target, 8))).toEqual({ director1: 4, director2: 4 })

      // A director with both roles is a backup too, and forwards nothing: what it has itself answers.
      await director1.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'eth0' })
      expect(countsOf(await agent.askMany(client, target, 4))).toEqual({ director1: 4 })
    })
  })

  test('a firewall that drops the datagrams of the sync daemons costs the connections', async () => {
    await withDirectors('masquerade', async ({ hosts, agent, sh, move }) => {
      const { client, director1, director2 } = hosts
      const target = { address: VIRTUAL.ipv4, port: 80 }
      await startBoth([director1, director2])
      await sh('director2', 'iptables -A INPUT -p udp --dport 8848 -j DROP')
      const held = await agent.connect(client, target)
      await until('the firewall has dropped something', async () =>
        /^ +[1-9]\d* .*DROP/m.test(await sh('director2', 'iptables -L INPUT -nvx')),
      )
      await sh('director2', 'iptables -I INPUT -p udp --dport 8848 -j ACCEPT')
      const allowed = await agent.connect(client, target)
      await untilLearned(director2, allowed.sourcePort)
      expect(await learned(director2)).toEqual([allowed.sourcePort])
      await move('director1', 'director2')
      expect((await allowed.say('still here')).said).toBe('still here')
      await expect(held.say('still here?')).rejects.toMatchObject({ code: 'ECONNRESET' })
    })
  })
})
