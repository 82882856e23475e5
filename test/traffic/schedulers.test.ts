import { expect, test } from 'vitest'
import type { Service } from '../../lib/index.ts'
import { kernelTests } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import type { Conversation } from './agent.ts'
import {
  ask,
  closeAll,
  counts,
  COUNT,
  CROWD,
  type CrowdSite,
  DESTINATIONS,
  each,
  freePort,
  hold,
  namesOf,
  serve,
  server,
  type ServerName,
  SHORT_SECONDS,
  targetOf,
  withCrowd,
} from './crowd.ts'

/**
 * What each scheduler of the kernel promises, on two hundred connections. That the in-memory kernel chooses the same
 * servers is tested in test/kernel/scheduling.test.ts.
 */

const ALL: readonly ServerName[] = ['a', 'b', 'c', 'd']

/** How many of `before` have another server now, of those that had another than `gone`. */
function moved(before: readonly string[], after: readonly string[], gone: string): number {
  return before.filter((name, at) => name !== gone && after[at] !== name).length
}

kernelTests('a scheduler', () => {
  test('rr: in turn; wrr: by weight, to the connection', () =>
    withCrowd(async (site) => {
      const even = await ask(site, await serve(site, { scheduler: 'rr' }, { ...each(ALL), b: { weight: 7 } }))
      for (const round of rounds(even)) expect([...round].sort()).toEqual(ALL)

      const weighted = await serve(site, { scheduler: 'wrr' }, { a: { weight: 3 }, b: { weight: 1 } })
      for (const round of rounds(await ask(site, weighted))) expect(counts(round)).toEqual({ a: 3, b: 1 })
    }))

  test('lc: to whom has least; wlc: least for its weight, and ends count', () =>
    withCrowd(async (site) => {
      const least = await hold(
        site,
        await serve(site, { scheduler: 'lc' }, { ...each(ALL), b: { weight: 7 } }),
      )
      expect(counts(namesOf(least))).toEqual({ a: 50, b: 50, c: 50, d: 50 })
      await closeAll(least)

      const weighted = await serve(site, { scheduler: 'wlc' }, { a: { weight: 3 }, b: { weight: 1 } })
      const held = await hold(site, weighted)
      expect(counts(namesOf(held))).toEqual({ a: 150, b: 50 })
      const ended = held.filter((one) => one.server === 'b').slice(0, 20)
      await closeAll(ended)
      await until('they are inactive', async () => {
        const { activeConnections } = await weighted.realServer(server('b'))
        return activeConnections === 30
      })
      expect(counts(namesOf(await hold(site, weighted, 20)))).toEqual({ b: 20 })
    }))

  test('sed: to whom it will wait least for; nq: to whom is idle, before that', () =>
    withCrowd(async (site) => {
      const weights = { a: { weight: 9 }, b: { weight: 1 } }
      const shortest = namesOf(await hold(site, await serve(site, { scheduler: 'sed' }, weights)))
      // b is idle, and still would be slower than a with eight more.
      expect(counts(shortest.slice(0, 8))).toEqual({ a: 8 })
      expect(counts(shortest)).toEqual({ a: 180, b: 20 })

      const queueless = namesOf(await hold(site, await serve(site, { scheduler: 'nq' }, weights)))
      expect(counts(queueless.slice(0, 2))).toEqual({ a: 1, b: 1 })
      expect(counts(queueless)).toEqual({ a: 180, b: 20 })
    }))

  test('fo: to the heaviest that can; ovf: to the heaviest that has not more than its weight', () =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      const failover = await serve(
        site,
        { scheduler: 'fo' },
        { a: { weight: 3, upperThreshold: 80 }, b: { weight: 2, upperThreshold: 70 }, c: { weight: 1 } },
      )
      const held = await hold(site, failover)
      expect(namesOf(held)).toEqual([...fill('a', 80), ...fill('b', 70), ...fill('c', 50)])
      await ipvs.editRealServer(failover, server('b'), { upperThreshold: 0 })
      expect(counts(await ask(site, failover, [], 10))).toEqual({ b: 10 })
      await ipvs.editRealServer(failover, server('b'), { weight: 0 })
      expect(counts(await ask(site, failover, [], 10))).toEqual({ c: 10 })
      await closeAll(held)

      const overflow = await serve(
        site,
        { scheduler: 'ovf' },
        { a: { weight: 100 }, b: { weight: 50 }, c: { weight: 60 } },
      )
      // A server is full with one more than its weight: ip_vs_ovf_schedule() passes over those that have more.
      expect(namesOf(await hold(site, overflow))).toEqual([
        ...fill('a', 101),
        ...fill('c', 61),
        ...fill('b', 38),
      ])
    }))

  test('sh: each client always to the same, whatever its port; with sh-port by that too; with sh-fallback never to nobody', () =>
    withCrowd(async (site) => {
      const service = await serve(site, { scheduler: 'sh' }, each(ALL))
      const before = await ask(site, service, CROWD.ipv4)
      expect(Object.keys(counts(before)).sort()).toEqual(ALL)
      expect(await ask(site, service, CROWD.ipv4)).toEqual(before)
      await quiescentHashed(site, 'sh', service, before)
      await hashesPorts(site, 'sh')
    }))

  test('mh: the same, and when a server goes few of the others move', () =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      const five: readonly ServerName[] = ['a', 'b', 'c', 'd', 'e']
      const went = { mh: COUNT, sh: 0 }
      for (const scheduler of ['mh', 'sh'] as const) {
        const service = await serve(site, { scheduler }, each(five))
        const before = await ask(site, service, CROWD.ipv4)
        expect(Object.keys(counts(before)).sort()).toEqual(five)
        expect(await ask(site, service, CROWD.ipv4)).toEqual(before)
        await ipvs.deleteRealServer(service, server('c'))
        const after = await ask(site, service, CROWD.ipv4)
        expect(Object.keys(counts(after)).sort()).toEqual(['a', 'b', 'd', 'e'])
        went[scheduler] = moved(before, after, 'c')
      }
      console.log(`clients of other servers that moved: ${JSON.stringify(went)}`)
      // A table of 4093 places is dealt out anew: a few change hands besides those of the server that is gone.
      expect(went.mh).toBeLessThanOrEqual(10)
      // sh deals out its 256 in turn, so that all behind the gap move up.
      expect(went.sh).toBeGreaterThan(80)
      const service = await serve(site, { scheduler: 'mh' }, each(ALL))
      await quiescentHashed(site, 'mh', service, await ask(site, service, CROWD.ipv4))
      await hashesPorts(site, 'mh')
    }))

  test('dh: each destination always by the same; lblc and lblcr too, until that has too much', () =>
    withCrowd(async (site) => {
      const { agent, hosts, sh } = site
      const { ipvs } = hosts.director
      /** Who answers at each of these addresses, one after the other. */
      const at = async (port: number, addresses: readonly string[]): Promise<string[]> => {
        const names: string[] = []
        for (const address of addresses) names.push((await agent.ask(hosts.client, { address, port })).server)
        return names
      }
      const marked = async (scheduler: string, weight: number): Promise<{ port: number }> => {
        const port = freePort()
        const key = { protocol: 'fwmark', fwmark: port } as const
        await ipvs.addService({ ...key, scheduler })
        for (const name of ['a', 'b', 'c'] as const) await ipvs.addRealServer(key, server(name, { weight }))
        const rule = `-d 198.18.0.0/24 -p tcp --dport ${String(port)} -j MARK --set-mark ${String(port)}`
        await sh('director', `iptables-legacy -t mangle -A PREROUTING ${rule}`)
        return { port }
      }

      const { port } = await marked('dh', 1)
      const first = await at(port, DESTINATIONS)
      expect(Object.keys(counts(first)).sort()).toEqual(['a', 'b', 'c'])
      expect(await at(port, DESTINATIONS.slice(0, 50))).toEqual(first.slice(0, 50))

      for (const scheduler of ['lblc', 'lblcr']) {
        const service = await marked(scheduler, 5)
        const twenty = DESTINATIONS.slice(0, 20)
        const local = await at(service.port, [...twenty])
        expect(Object.keys(counts(local)).sort()).toEqual(['a', 'b', 'c'])
        for (let round = 1; round < 10; round++) expect(await at(service.port, twenty)).toEqual(local)

        const held: Conversation[] = []
        const target = { address: twenty[0] ?? '', port: service.port }
        for (let more = 0; more < 12; more++) held.push(await agent.connect(hosts.client, target))
        const [own = '', other = ''] = new Set(namesOf(held))
        // Its weight and one more, as with ovf; then to another that has less than half of its own.
        expect(namesOf(held)).toEqual([...fill(own, 6), ...fill(other, 6)])
        expect(own).toBe(local[0])
        await closeAll(held)
        await until('they are inactive', async () => {
          const servers = await ipvs.realServers({ protocol: 'fwmark', fwmark: service.port })
          return servers.every(({ activeConnections }) => activeConnections === 0)
        })
        const later = new Set(await at(service.port, Array<string>(12).fill(target.address)))
        // lblc gave the destination away, lblcr has two for it now.
        expect([...later].sort()).toEqual(scheduler === 'lblc' ? [other] : [own, other].sort())
        expect(await at(service.port, twenty.slice(1))).toEqual(local.slice(1))
      }
    }))

  test('rr, sh and mh: the same with IPv6', () =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      for (const scheduler of ['rr', 'sh', 'mh']) {
        const service = await serve(site, { scheduler }, each(ALL), { family: 'ipv6' })
        const before = await ask(site, service, CROWD.ipv6)
        if (scheduler === 'rr') {
          expect(counts(before)).toEqual({ a: 50, b: 50, c: 50, d: 50 })
          continue
        }
        expect(Object.keys(counts(before)).sort()).toEqual(ALL)
        expect(await ask(site, service, CROWD.ipv6)).toEqual(before)
        if (scheduler === 'sh') continue
        await ipvs.deleteRealServer(service, { address: 'fd00::11', port: server('c').port })
        expect(moved(before, await ask(site, service, CROWD.ipv6), 'c')).toBeLessThanOrEqual(10)
      }
    }))
})

/** The clients of a server that is quiescent get nobody, or another with the fallback; those of others stay. */
async function quiescentHashed(
  site: CrowdSite,
  scheduler: 'sh' | 'mh',
  service: Service,
  before: readonly string[],
): Promise<void> {
  const { ipvs } = site.hosts.director
  await ipvs.editRealServer(service, server('b'), { weight: 0 })
  const refused = await ask(site, service, CROWD.ipv4)
  const fallback = await serve(site, { scheduler, schedulerFlags: [`${scheduler}-fallback`] }, each(ALL))
  await ipvs.editRealServer(fallback, server('b'), { weight: 0 })
  const others = await ask(site, fallback, CROWD.ipv4)
  if (scheduler === 'sh') {
    expect(refused).toEqual(before.map((name) => (name === 'b' ? 'ECONNREFUSED' : name)))
    expect(moved(before, others, 'b')).toBe(0)
  } else {
    // mh deals out the places of a quiescent server as those of one that is gone.
    expect(moved(before, refused, 'b')).toBeLessThanOrEqual(10)
  }
  expect(Object.keys(counts(others)).sort()).toEqual(['a', 'c', 'd'])
}

/** With the flag one client's connections are spread by their ports, the same port always to the same server. */
async function hashesPorts(site: CrowdSite, scheduler: 'sh' | 'mh'): Promise<void> {
  const { agent, hosts } = site
  const { ipvs } = hosts.director
  // UDP, which is soon forgotten: then the same ports are new connections.
  await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
  const settings = { scheduler, schedulerFlags: [`${scheduler}-port`] } as const
  const service = await serve(site, settings, each(ALL), { protocol: 'udp' })
  const asked = async (): Promise<string[]> => {
    const held: Conversation[] = []
    for (let sourcePort = 20_000; sourcePort < 20_000 + COUNT; sourcePort++)
      held.push(await agent.connect(hosts.client, { ...targetOf(service), sourcePort }))
    await closeAll(held)
    return namesOf(held)
  }
  const before = await asked()
  expect(Object.keys(counts(before)).sort()).toEqual(ALL)
  await until('they are forgotten', async () => {
    const servers = await service.realServers()
    return servers.every(({ inactiveConnections }) => inactiveConnections === 0)
  })
  expect(await asked()).toEqual(before)
}

/** A list in rounds of four. */
function rounds(list: readonly string[]): string[][] {
  return Array.from({ length: list.length / 4 }, (_, at) => list.slice(4 * at, 4 * at + 4))
}

function fill(name: string, count: number): string[] {
  return Array<string>(count).fill(name)
}
