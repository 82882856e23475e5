import { expect, test } from 'vitest'
import { concurrentKernelTests, type Netns } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { type Answer, countsOf, IN_VAIN_MS } from './agent.ts'
import { announce, type Held, learned, release, startBoth, take, untilLearned } from './directors.ts'
import { TWO_DIRECTORS, TWO_DIRECTORS_ONE_NETWORK, VIRTUAL } from './topologies.ts'
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

/** How many connections a director has forwarded. */
async function forwarded({ ipvs }: Netns): Promise<number> {
  return (await ipvs.totals()).connections
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

  test('without sync daemons a move breaks connections', async () => {
    await withDirectors('masquerade', async ({ hosts, agent, move }) => {
      const held = await agent.connect(hosts.client, { address: VIRTUAL.ipv4, port: 80 })
      await move('director1', 'director2')
      await expect(held.say('still here?')).rejects.toMatchObject({ code: 'ECONNRESET' })
      expect(await agent.ask(hosts.client, { address: VIRTUAL.ipv4, port: 80 })).toMatchObject({
        said: 'hello',
      })
    })
  })
})
