import { expect, test } from 'vitest'
import type { Family } from '../../lib/index.ts'
import { concurrentKernelTests, kernelSince } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { countsOf, IN_VAIN_MS } from './agent.ts'
import {
  addressOf,
  allMarked,
  allPorts,
  directRouting,
  type Filter,
  fullNat,
  local,
  marked,
  type Mode,
  nat,
  natOneNetwork,
  onePacket,
  sctp,
  tunnel,
  udp,
} from './modes.ts'
import { expectWay, withMode } from './prove.ts'

/** Each mode as it is described: packets go the way that it says, and no other. */

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
/** On an emulated processor only what other programs make of each kernel: rules. */
const quick = test.skipIf(process.env.IPVS_GUEST === '6.12')
const FILTER: Filter = kernelSince(6, 12) ? 'nft' : 'iptables'

/** Tunnels of each type, through networks of each family, for services of each; with checksums only in their own. */
const TUNNELS = FAMILIES.flatMap((family) =>
  FAMILIES.flatMap((outer) =>
    (['ipip', 'gue', 'gre'] as const).flatMap((type) =>
      (type === 'ipip' || outer !== family ? [false] : [false, true]).map((checksum) =>
        tunnel(family, { type, checksum, outer }),
      ),
    ),
  ),
)

const MODES: readonly Mode[] = [
  ...FAMILIES.flatMap((family) => [
    nat(family),
    natOneNetwork(family),
    directRouting(family),
    local(family),
    udp(family),
    sctp(family),
  ]),
  ...TUNNELS,
]

/** What needs rules, which are made by another program on each kernel. */
const WITH_RULES = FAMILIES.flatMap((family) => [fullNat(family, FILTER)])

/** Sends much in both directions, and asks often enough that each server has its turn. */
async function expectMode(mode: Mode): Promise<void> {
  await withMode(mode, async (site) => {
    const conversation = await expectWay(mode, site)
    if (mode.target.protocol !== 'udp') {
      expect((await conversation.say('want 100000')).more).toBe(100_000)
      expect((await conversation.say('x'.repeat(100_000))).bytes).toBe(100_000)
    }
    await conversation.close()
    const servers = Object.keys(mode.servers)
    const answers = await site.agent.askMany(site.host(mode.client), mode.target, 2 * servers.length)
    expect(countsOf(answers)).toEqual(Object.fromEntries(servers.map((name) => [name, 2])))
    for (const service of mode.state.services.slice(1)) {
      if (service.protocol === 'fwmark') throw new Error('a mark has no port')
      const answer = await site.agent.ask(site.host(mode.client), { ...mode.target, port: service.port })
      expect(servers).toContain(answer.server)
    }
  })
}

const titled = (modes: readonly Mode[]): [string, Mode][] =>
  modes.map((mode) => [`${mode.name}, ${mode.family}`, mode])

concurrentKernelTests('packets go the way that is described', () => {
  test.each(titled(WITH_RULES))('%s', (_, mode) => expectMode(mode))
  quick.each(titled(MODES))('%s', (_, mode) => expectMode(mode))
})

concurrentKernelTests('direct routing', () => {
  quick.each(FAMILIES)('is seen by the router and the director as the director alone, %s', async (family) => {
    const mode = directRouting(family)
    await withMode(mode, async ({ host, agent, sh }) => {
      const answers = await agent.askMany(host('client'), mode.target, 4)
      expect(countsOf(answers)).toEqual({ web1: 2, web2: 2 })
      const mac = (await sh('director', 'cat /sys/class/net/eth0/address')).trim()
      expect(await sh('router', `ip neighbour show ${mode.target.address}`)).toContain(` lladdr ${mac} `)
      const { stats } = await until('the packets are counted', async () => {
        const [service] = await host('director').ipvs.services()
        return service !== undefined && service.stats.packetsIn >= 16 && service
      })
      expect(stats).toMatchObject({ connections: 4, packetsOut: 0, bytesOut: 0 })
    })
  })
})

concurrentKernelTests('NAT in one network', () => {
  const without = (mode: Mode, what: RegExp): Mode => ({
    ...mode,
    commands: Object.fromEntries(
      Object.entries(mode.commands).map(([name, lines]) => [name, lines.filter((line) => !what.test(line))]),
    ),
  })

  quick.each(FAMILIES)('has no answers if these take the short way, %s', async (family) => {
    const mode = without(natOneNetwork(family), /route replace (?!default)/)
    await withMode(mode, async ({ host, agent }) => {
      const asked = agent.ask(host(mode.client), { ...mode.target, withinMs: IN_VAIN_MS })
      await expect(asked).rejects.toThrow('ETIMEDOUT')
    })
  })

  quick('a director of IPv4 tells the real servers the short way, if it may', async () => {
    const mode = natOneNetwork('ipv4')
    const redirects = async (one: Mode): Promise<number> =>
      withMode(one, async ({ host, agent, sh }) => {
        await agent.askMany(host(one.client), one.target, 4)
        return Number(await sh('director', "nstat -asz IcmpOutRedirects | awk '/Redirects/ { print $2 }'"))
      })
    expect(await redirects(without(mode, /redirects/))).toBeGreaterThan(0)
    expect(await redirects(mode)).toBe(0)
  })

  quick(
    'a real server of IPv6 takes the short way when it is told, and has no clients any more',
    async () => {
      const mode = without(natOneNetwork('ipv6'), /redirects/)
      await withMode(mode, async ({ host, agent, sh }) => {
        const client = addressOf(mode.topology, mode.client, 'ipv6')
        const target = { ...mode.target, withinMs: IN_VAIN_MS }
        await until('the real servers take the short way', async () => {
          await agent.askMany(host(mode.client), target, 2)
          const routes = await Promise.all(['web1', 'web2'].map((name) => sh(name, `ip route get ${client}`)))
          return !routes.some((route) => route.includes(' via '))
        })
        await expect(agent.ask(host(mode.client), target)).rejects.toThrow('ETIMEDOUT')
      })
    },
  )
})

concurrentKernelTests('several ports', () => {
  /** Of the client: enough that both servers have some. */
  const sources = (family: Family): string[] =>
    [1, 2, 3, 4].map((number) => (family === 'ipv4' ? `198.51.100.10${number}` : `2001:db8:100::10${number}`))
  const addSources = (family: Family): string[] =>
    sources(family).map((address) =>
      family === 'ipv4'
        ? `ip address add ${address}/24 dev eth0`
        : `ip address add ${address}/64 dev eth0 nodad`,
    )

  quick.each(FAMILIES)('of an address: a client finds the port where its server said, %s', async (family) => {
    const mode = allPorts(family)
    await withMode({ ...mode, servers: {} }, async ({ host, agent, sh }) => {
      await sh('client', ...addSources(family))
      for (const protocol of ['tcp', 'udp'] as const) {
        for (const name of ['web1', 'web2']) {
          const port = await agent.serve(host(name), { protocol, port: 0, name })
          // Like rpcbind: it says where the service is, on this host.
          await agent.serve(host(name), { protocol, port: 111, name: `${name} ${String(port)}` })
        }
        const found = []
        for (const source of sources(family)) {
          const target = { protocol, address: mode.target.address, source }
          const [name = '', port] = (await agent.ask(host('client'), { ...target, port: 111 })).server.split(
            ' ',
          )
          expect((await agent.ask(host('client'), { ...target, port: Number(port) })).server).toBe(name)
          found.push({ server: name })
        }
        expect(countsOf(found)).toEqual({ web1: 2, web2: 2 })
      }
    })
  })

  quick.each(FAMILIES)('of an address: TCP and UDP have a memory each, %s', async (family) => {
    const mode = allPorts(family)
    await withMode({ ...mode, servers: {} }, async ({ host, agent, sh }) => {
      await sh('client', ...addSources(family))
      for (const name of ['web1', 'web2'])
        for (const protocol of ['tcp', 'udp'] as const)
          await agent.serve(host(name), { protocol, port: 111, name })
      const [one = '', other = ''] = sources(family)
      const ask = async (protocol: 'tcp' | 'udp', source: string): Promise<string> =>
        (await agent.ask(host('client'), { ...mode.target, protocol, source })).server
      expect([await ask('tcp', one), await ask('udp', other), await ask('udp', one)]).toEqual([
        'web1',
        'web1',
        'web2',
      ])
    })
  })

  test.each(FAMILIES)('with a mark: of TCP and UDP a client finds the same server, %s', async (family) => {
    const mode = allMarked(family, FILTER)
    await withMode({ ...mode, servers: {} }, async ({ host, agent, sh }) => {
      await sh('client', ...addSources(family))
      for (const name of ['web1', 'web2'])
        for (const protocol of ['tcp', 'udp'] as const)
          await agent.serve(host(name), { protocol, port: 111, name })
      const found = []
      for (const source of sources(family)) {
        const { server } = await agent.ask(host('client'), { ...mode.target, source })
        expect((await agent.ask(host('client'), { ...mode.target, source, protocol: 'udp' })).server).toBe(
          server,
        )
        found.push({ server })
      }
      expect(countsOf(found)).toEqual({ web1: 2, web2: 2 })
    })
  })

  test.each(FAMILIES)('with a mark: 80 and 443 are one service, %s', async (family) => {
    const mode = marked(family, FILTER)
    await withMode(mode, async (site) => {
      const { host, agent, sh } = site
      await (await expectWay(mode, site)).close()
      await sh('client', ...addSources(family))
      const found = []
      for (const source of sources(family)) {
        const { server } = await agent.ask(host('client'), { ...mode.target, source })
        expect((await agent.ask(host('client'), { ...mode.target, source, port: 443 })).server).toBe(server)
        found.push({ server })
      }
      expect(countsOf(found)).toEqual({ web1: 2, web2: 2 })
      expect(await host('director').ipvs.services()).toHaveLength(1)
    })
  })
})

concurrentKernelTests('one-packet scheduling', () => {
  quick.each(FAMILIES)('gives each datagram of a client to another server, %s', async (family) => {
    const mode = onePacket(family)
    await withMode(mode, async (site) => {
      const conversation = await expectWay(mode, site)
      const servers = [conversation.server]
      for (let count = 0; count < 3; count++) servers.push((await conversation.say('again')).server)
      expect(servers).toEqual(['web1', 'web2', 'web1', 'web2'])
    })
  })
})
