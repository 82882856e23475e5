import { expect, test } from 'vitest'
import { kernelTests } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { type Conversation, IN_VAIN_MS } from './agent.ts'
import {
  ask,
  closeAll,
  counts,
  CROWD,
  COUNT,
  type CrowdSite,
  each,
  hold,
  namesOf,
  serve,
  server,
  SHORT_SECONDS,
  withCrowd,
} from './crowd.ts'

/** Who stays where: persistence, thresholds, quiescent servers and deleted ones, on two hundred connections. */

const TIMEOUT_SECONDS = 600

/** How many clients, or networks of them, persistence remembers. */
async function remembered(site: CrowdSite): Promise<number> {
  let templates = 0
  for await (const { template } of site.hosts.director.ipvs.connections()) if (template) templates++
  return templates
}

kernelTests('persistence', () => {
  test.each([
    ['ipv4', '255.255.255.0'],
    ['ipv6', 64],
  ] as const)('keeps each network of %s together, however its connections come and go', (family, netmask) =>
    withCrowd(async (site) => {
      const persistence = { timeoutSeconds: TIMEOUT_SECONDS, netmask }
      const service = await serve(site, { scheduler: 'rr', persistence }, each(['a', 'b', 'c', 'd']), {
        family,
      })
      const first = await ask(site, service, CROWD[family])
      const networks = Array.from({ length: COUNT / 25 }, (_, at) => first.slice(25 * at, 25 * at + 25))
      // The others in turn: eight networks on four servers.
      for (const network of networks) expect(new Set(network).size).toBe(1)
      expect(counts(networks.map(([name = '']) => name))).toEqual({ a: 2, b: 2, c: 2, d: 2 })
      expect(await remembered(site)).toBe(8)
      const servers = await service.realServers()
      expect(servers.map(({ persistentConnections }) => persistentConnections)).toEqual([2, 2, 2, 2])
      expect(await ask(site, service, CROWD[family])).toEqual(first)
      expect(await remembered(site)).toBe(8)
    }),
  )

  test('takes each client for itself where it is not told otherwise', () =>
    withCrowd(async (site) => {
      const service = await serve(site, { scheduler: 'rr', persistence: {} }, each(['a', 'b', 'c', 'd']))
      const first = await ask(site, service, CROWD.ipv4)
      expect(counts(first)).toEqual({ a: 50, b: 50, c: 50, d: 50 })
      expect(await remembered(site)).toBe(COUNT)
      expect(await ask(site, service, CROWD.ipv4)).toEqual(first)
    }))
})

kernelTests('a quiescent server', () => {
  test('keeps the connections that it has, and gets no others', () =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      const service = await serve(site, { scheduler: 'rr' }, each(['a', 'b', 'c']))
      const held = await hold(site, service)
      await ipvs.editRealServer(service, server('a'), { weight: 0 })
      expect(counts(await ask(site, service))).toEqual({ b: COUNT / 2, c: COUNT / 2 })
      const said = await Promise.all(held.map((one) => one.say('still here')))
      expect(said.map((answer) => answer.server)).toEqual(namesOf(held))
      await closeAll(held)
    }))

  test('gets the clients that persistence remembers too, unless expire_quiescent_template is set', () =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      const service = await serve(site, { scheduler: 'rr', persistence: {} }, each(['a', 'b', 'c', 'd']))
      const old = CROWD.ipv4.slice(0, 100)
      const first = await ask(site, service, old, old.length)
      const held = await hold(site, service, 1)
      await ipvs.editRealServer(service, server('a'), { weight: 0 })
      const returned = await ask(site, service, CROWD.ipv4)
      expect(returned.slice(0, 100)).toEqual(first)
      expect(counts(returned.slice(100)).a).toBeUndefined()

      await site.sh('director', 'sysctl -qw net.ipv4.vs.expire_quiescent_template=1')
      const after = await ask(site, service, CROWD.ipv4)
      expect(counts(after).a).toBeUndefined()
      expect(after.filter((name, at) => returned[at] !== 'a' && name !== returned[at])).toEqual([])
      expect((await held[0]?.say('still here'))?.server).toBe(held[0]?.server)
    }))
})

kernelTests('thresholds', () => {
  test('stop new connections at the upper, and let them in again below the lower', () =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      // Connections of UDP end by a timeout that can be set.
      const limits = { a: { upperThreshold: 60, lowerThreshold: 30 }, b: { upperThreshold: 70 }, c: {} }
      const service = await serve(site, { scheduler: 'rr' }, limits, { protocol: 'udp' })
      const held = await hold(site, service)
      expect(counts(namesOf(held))).toEqual({ a: 60, b: 70, c: 70 })

      const say = (some: readonly Conversation[]): Promise<unknown> =>
        Promise.all(some.map((one) => one.say('still here')))
      await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
      await say(held)
      const own = held.filter((one) => one.server === 'a')
      for (const [left, next] of [
        [30, { b: 3, c: 3 }],
        [29, { a: 2, b: 2, c: 2 }],
      ] as const) {
        await until(`${String(left)} are left`, async () => {
          await say(own.slice(0, left))
          return (await ipvs.realServer(service, server('a'))).inactiveConnections === left
        })
        expect(counts(await ask(site, service, [], 6))).toEqual(next)
      }
    }))
})

kernelTests('a deleted server', () => {
  test.each([
    [0, 'ETIMEDOUT'],
    [1, 'ECONNRESET'],
  ])('loses its connections: with expire_nodest_conn=%i their clients get %s', (value, code) =>
    withCrowd(async (site) => {
      const { ipvs } = site.hosts.director
      await site.sh('director', `sysctl -qw net.ipv4.vs.expire_nodest_conn=${String(value)}`)
      const service = await serve(site, { scheduler: 'rr' }, each(['a', 'b']))
      const held = await hold(site, service, 4)
      const own = held.filter((one) => one.server === 'a')
      await ipvs.deleteRealServer(service, server('a'))
      for (const one of own) await expect(one.say('hello?', IN_VAIN_MS)).rejects.toMatchObject({ code })
      for (const one of held.filter((other) => !own.includes(other))) await one.say('still here')
      expect(counts(await ask(site, service))).toEqual({ b: COUNT })
      if (value === 1) return
      // What is only dropped goes on with the server, and its clients have waited.
      await service.addRealServer(server('a'))
      for (const one of own) expect((await one.say('back again')).server).toBe('a')
    }),
  )
})
