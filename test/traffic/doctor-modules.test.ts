import { readFile, rm, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { State } from '../../lib/index.ts'
import { command, kernelSince, kernelTests, tryCommand } from '../helpers/kernel.ts'
import { inGuest, unload, withoutLoading } from '../helpers/modules.ts'
import { until } from '../helpers/until.ts'
import { countsOf, IN_VAIN_MS } from './agent.ts'
import { CROWD, server, withCrowd } from './crowd.ts'
import { expectMended } from './faults.ts'
import { getFile, serveFtp } from './ftp.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { withTopology } from './topology.ts'

/** Findings about the modules of the kernel: made, seen by clients, found, and mended by their own commands. */

/** Read when the module is loaded. */
const OPTIONS = '/etc/modprobe.d/ip_vs.conf'

/** Enough to be many for the smallest table that there can be, of 256 lists. */
const MANY = 2200

kernelTests('the doctor, of modules', () => {
  inGuest('finds that ip_vs is not loaded', async () => {
    await withCrowd(async (site) => {
      const { hosts, agent } = site
      const key = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
      const { ipvs } = hosts.director
      await ipvs.apply({ services: [{ ...key, scheduler: 'rr', realServers: [server('a')] }] })
      const state = await ipvs.save()
      // The library would load it, as every use of IPVS does.
      await withoutLoading(() =>
        expectMended(site, {
          ...{ code: 'no-module', on: 'director' },
          serves: () => agent.ask(hosts.client, { ...key, withinMs: IN_VAIN_MS * 3 }),
          make: async () => {
            await ipvs.flush()
            await unload()
          },
          byHand: async () => {
            await command(['modprobe', 'ip_vs_rr'])
            await ipvs.apply(state)
          },
        }),
      )
    })
  })

  // Since 7.1 the table grows by itself.
  const withFixedTable = kernelSince(7, 1) ? test.skip : inGuest
  withFixedTable('finds that the table of connections has too few lists', async () => {
    const before = await readFile(OPTIONS, 'utf8').catch(() => undefined)
    try {
      await withCrowd(async (site) => {
        const { hosts, agent } = site
        const key = { protocol: 'udp', address: VIRTUAL.ipv4, port: 53 } as const
        const { ipvs } = hosts.director
        const state: State = { services: [{ ...key, scheduler: 'rr', realServers: [server('a')] }] }
        /** The module as its options are now, without connections. */
        const reload = async (): Promise<number> => {
          await ipvs.flush()
          await unload()
          await command(['modprobe', 'ip_vs'])
          await ipvs.apply(state)
          return (await ipvs.info()).connectionTableSize
        }
        const serves = async (): Promise<void> => {
          const answers = await agent.askMany(hosts.client, key, MANY, CROWD.ipv4)
          expect(countsOf(answers)).toEqual({ a: MANY })
        }
        await ipvs.apply(state)
        const found = await expectMended(site, {
          ...{ code: 'hash-small', on: 'director', serves },
          make: async () => {
            await writeFile(OPTIONS, 'options ip_vs conn_tab_bits=8\n')
            expect(await reload()).toBe(256)
          },
          // Packets take longer, which nobody measures here.
          shows: serves,
          byHand: async () => {
            expect(await reload()).toBe(4096)
          },
        })
        expect(found.commands).toEqual([`echo options ip_vs conn_tab_bits=12 >> ${OPTIONS}`])
      })
    } finally {
      await (before === undefined ? rm(OPTIONS, { force: true }) : writeFile(OPTIONS, before))
      await unload()
      await command(['modprobe', 'ip_vs'])
    }
  })

  inGuest('finds that FTP has no helper', async () => {
    await withTopology(BEHIND_DIRECTOR, async (site) => {
      const { hosts, sh } = site
      const { ipvs } = hosts.director
      const state: State = {
        services: [
          {
            ...{ protocol: 'tcp', address: VIRTUAL.ipv4, port: 21, scheduler: 'rr' },
            realServers: [{ address: '10.0.0.11', port: 21, method: 'masquerade' }],
          },
        ],
      }
      await sh(
        'director',
        `ip address add ${VIRTUAL.ipv4}/32 dev eth0`,
        'sysctl -qw net.ipv4.ip_forward=1 net.ipv4.vs.expire_nodest_conn=1',
        'modprobe ip_vs_ftp',
      )
      // As on the Internet, where nobody knows them and nobody says so.
      await sh('router', 'ip route add blackhole 10.0.0.0/24')
      await serveFtp(hosts.web1, 'web1')
      await ipvs.apply(state)
      const gets = async (way: 'passive' | 'active'): Promise<void> => {
        expect(await getFile(hosts.client, VIRTUAL.ipv4, way, IN_VAIN_MS * 3)).toContain('web1')
      }
      await expectMended(site, {
        ...{ code: 'ftp-unaided', on: 'director' },
        serves: async () => {
          await gets('passive')
          await gets('active')
        },
        make: async () => {
          // The connections of deleted real servers end, and with them the use of the helper.
          await ipvs.deleteService({ protocol: 'tcp', address: VIRTUAL.ipv4, port: 21 })
          await until(
            'nobody uses the helper',
            async () => (await tryCommand(['rmmod', 'ip_vs_ftp'])).status === 0,
          )
          await ipvs.apply(state)
        },
        shows: async () => {
          await expect(gets('passive')).rejects.toThrow(/retrbinary[^]*timed out/)
          await expect(gets('active')).rejects.toThrow(/retrbinary[^]*timed out/)
        },
      })
    })
  })
})
