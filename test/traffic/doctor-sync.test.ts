import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { diagnose, type Ipvs } from '../../lib/index.ts'
import { concurrentKernelTests, type Netns } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { learned } from './directors.ts'
import { expectMended } from './faults.ts'
import { ONE_NETWORK, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** Each finding about sync daemons: made, seen by the backup, found, and mended by its own commands. */

const KEY = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const

concurrentKernelTests('the doctor, of sync daemons', () => {
  const DAEMON = { multicastInterface: 'eth0', syncId: 5 } as const

  interface Sync extends Site<keyof (typeof ONE_NETWORK)['hosts']> {
    readonly master: Ipvs
    readonly backup: Ipvs
    /** Resolves once the backup knows a connection that begins now. */
    readonly serves: () => Promise<unknown>
    /** Resolves once another backup knows such a connection, and this one does not. */
    readonly shows: () => Promise<unknown>
    /** Opens a connection, and waits until a host knows it; gives the client's port. */
    readonly untilKnown: (host: Netns) => Promise<number>
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
      return body({ ...site, master, backup, serves: () => untilKnown(hosts.neighbour), shows, untilKnown })
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

  test('finds that the master sends to more ports than the backup hears', async () => {
    await withSync(async (site) => {
      const { hosts, master, backup, untilKnown, sh } = site
      await sh('director', 'sysctl -qw net.ipv4.vs.sync_ports=2')
      await master.stopSyncDaemon('master')
      await master.startSyncDaemon({ ...DAEMON, state: 'master' })
      for (const name of ['web2', 'neighbour'] as const) {
        await sh(name, 'sysctl -qw net.ipv4.vs.sync_ports=2')
        await hosts[name].ipvs.stopSyncDaemon('backup')
        await hosts[name].ipvs.startSyncDaemon({ ...DAEMON, state: 'backup' })
      }
      /** Some of each part, as good as surely. */
      const several = (host: Netns): Promise<number[]> =>
        Promise.all(Array.from({ length: 8 }, () => untilKnown(host)))
      await expectMended(site, {
        ...{ code: 'sync-mismatch', on: 'neighbour' },
        options: { peer: await master.save({ syncDaemons: true, sysctls: ['sync_ports'] }) },
        serves: () => several(hosts.neighbour),
        make: async () => {
          await backup.stopSyncDaemon('backup')
          await sh('neighbour', 'sysctl -qw net.ipv4.vs.sync_ports=1')
          await backup.startSyncDaemon({ ...DAEMON, state: 'backup' })
        },
        shows: async () => {
          const ports = await several(hosts.web2)
          const known = await learned(hosts.neighbour)
          expect(ports.filter((one) => !known.includes(one))).not.toEqual([])
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

  /** The kernel keeps what it tells for two seconds. (IPVS_SYNC_FLUSH_TIME) */
  const SYNC_MS = 3000

  test('finds that the master has lost the address that it sends from', async () => {
    await withSync(async (site) => {
      const { hosts, agent, serves, sh } = site
      await expectMended(site, {
        ...{ code: 'sync-interface', on: 'director', serves },
        make: () =>
          sh(
            'director',
            'ip address delete 192.0.2.1/24 dev eth0',
            `ip address delete ${VIRTUAL.ipv4}/32 dev eth0`,
            `ip route add local ${VIRTUAL.ipv4} dev lo`,
            'ip route add 192.0.2.0/24 dev eth0',
          ),
        shows: async () => {
          const held = await agent.connect(hosts.client, KEY)
          for (let count = 0; count < 10; count++) {
            await held.say('more')
            await setTimeout(SYNC_MS / 10)
          }
          expect(await learned(hosts.neighbour)).not.toContain(held.sourcePort)
          await held.close()
        },
        byHand: () => sh('director', 'ip address add 192.0.2.1/24 dev eth0'),
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
