import { expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import type { RealServer } from '../../lib/service.ts'
import type { DrainOptions, DrainProgress } from '../../lib/apply/drain.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import type { RealServerSpec, ServiceSpec } from '../../lib/model/types.ts'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import { PATIENCE, patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'
import {
  Connection,
  type Network,
  REAL,
  sendDatagram,
  startEcho,
  VIRTUAL,
  withNetwork,
} from '../helpers/kernel-traffic.ts'

const WEB = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80, scheduler: 'rr' } as const
const DNS = { protocol: 'udp', address: VIRTUAL.ipv4, port: 53, scheduler: 'rr' } as const
const TCP_PORT = 8080
/** Timeouts for which a test waits: as short as can be, and long enough to look before they end. */
const SHORT_SECONDS = Math.max(2, Math.ceil(PATIENCE * 0.4))
const UDP_PORT = 5353

/** A network whose director has one service and one real server behind it, that echoes. */
function withService(
  service: ServiceSpec,
  body: (server: RealServer, network: Network, ipvs: Ipvs) => Promise<void>,
): Promise<void> {
  return withNetwork(async (network) => {
    const protocol = service.protocol === 'udp' ? 'udp' : 'tcp'
    const port = protocol === 'udp' ? UDP_PORT : TCP_PORT
    await startEcho(network.host, protocol, port)
    const { ipvs } = network.director
    const added = await ipvs.addService(service)
    const spec: RealServerSpec = { address: REAL.ipv4, port, method: 'masquerade', weight: 5 }
    await body(await added.addRealServer(spec), network, ipvs)
  })
}

/** Starts a drain that looks often, and keeps what it saw. */
function drain(
  server: RealServer,
  options: DrainOptions = {},
): { done: ReturnType<RealServer['drain']>; seen: DrainProgress[] } {
  const seen: DrainProgress[] = []
  const done = server.drain({
    // Most services here have one server.
    force: true,
    intervalMs: 50,
    timeoutMs: patient(20_000),
    ...options,
    onProgress: (progress) => {
      seen.push(progress)
      options.onProgress?.(progress)
    },
  })
  // A test that fails before it waits for this has said enough.
  done.catch(() => undefined)
  return { done, seen }
}

concurrentKernelTests('traffic', () => {
  test("shows in gauges at once, and in counters within the two seconds of the kernel's estimator", () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const start = await server.refresh()
      expect([start.activeConnections, start.stats.connections]).toEqual([0, 0])
      const connections = [await Connection.open(client, VIRTUAL.ipv4, 80)]
      expect((await server.refresh()).activeConnections).toBe(1)
      connections.push(
        await Connection.open(client, VIRTUAL.ipv4, 80),
        await Connection.open(client, VIRTUAL.ipv4, 80),
      )
      const held = await server.refresh()
      expect([held.activeConnections, held.inactiveConnections]).toEqual([3, 0])

      await until(
        'three connections are counted',
        async () => (await server.refresh()).stats.connections === 3,
      )
      const counted = await server.refresh()
      // Three handshakes and a line each, and what the server said.
      expect(counted.stats.packetsIn).toBeGreaterThanOrEqual(9)
      expect(counted.stats.packetsOut).toBeGreaterThanOrEqual(6)
      expect(counted.stats.bytesIn).toBeGreaterThan(9 * 40)
      expect(counted.stats.bytesOut).toBeGreaterThan(6 * 40)
      expect(counted.rates.packetsInPerSecond).toBeGreaterThan(0)
      expect((await ipvs.service(WEB)).stats).toEqual(counted.stats)

      for (const connection of connections) await connection.close()
      await until('they are inactive', async () => {
        const now = await server.refresh()
        return now.activeConnections === 0 && now.inactiveConnections === 3
      })
    }))

  test('reads as bigint what it reads as number, by every way of reading', () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const connection = await Connection.open(client, VIRTUAL.ipv4, 80)
      await until('it is counted', async () => (await server.refresh()).stats.connections === 1)
      await connection.echo('more')
      const asBigints = (stats: object | undefined): unknown =>
        Object.fromEntries(
          Object.entries(stats ?? {}).map(([name, value]) => [name, BigInt(value as number)]),
        )
      // The estimator may come in between, then again.
      await until('both see the same', async () => {
        const [small, big] = await Promise.all([ipvs.snapshot(), ipvs.snapshot({ bigint: true })])
        const [number, bigint] = [small[0]?.service.stats, big[0]?.service.stats]
        if (number?.packetsIn !== Number(bigint?.packetsIn)) return false
        expect(bigint).toEqual(asBigints(number))
        expect(big[0]?.realServers[0]?.stats).toEqual(asBigints(small[0]?.realServers[0]?.stats))
        expect(big[0]?.realServers[0]?.stats.connections).toBe(1n)
        return true
      })
      const reads = [
        (await ipvs.services({ bigint: true }))[0]?.stats,
        (await ipvs.service(WEB, { bigint: true })).stats,
        (await ipvs.realServers(WEB, { bigint: true }))[0]?.stats,
        (await server.refresh({ bigint: true })).stats,
      ]
      for (const stats of reads) expect([stats?.connections, typeof stats?.bytesIn]).toEqual([1n, 'bigint'])
      await connection.close()
    }))

  test('is zeroed for one service, or for all, and connections stay', () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const other = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 81 } as const
      await ipvs.addService(other)
      await ipvs.addRealServer(other, { address: REAL.ipv4, port: TCP_PORT, method: 'masquerade' })
      const one = await Connection.open(client, VIRTUAL.ipv4, 80)
      const two = await Connection.open(client, VIRTUAL.ipv4, 81)
      const counts = async (): Promise<unknown> =>
        Promise.all([WEB, other].map(async (key) => (await ipvs.service(key)).stats.connections))
      await until('both are counted', async () => JSON.stringify(await counts()) === '[1,1]')
      await ipvs.zero(WEB)
      expect(await counts()).toEqual([0, 1])
      const { stats, rates, activeConnections } = await server.refresh()
      expect(Object.values(stats)).toEqual([0, 0, 0, 0, 0])
      expect(Object.values(rates)).toEqual([0, 0, 0, 0, 0])
      expect(activeConnections).toBe(1)
      await ipvs.zero()
      expect(await counts()).toEqual([0, 0])
      await one.echo('still here')
      await two.echo('still here')
    }))

  test('goes by IPv6 too', () =>
    withNetwork(async ({ client, director, host }) => {
      await startEcho(host, 'tcp', TCP_PORT)
      const web = await director.ipvs.addService({ protocol: 'tcp', address: VIRTUAL.ipv6, port: 80 })
      const server = await web.addRealServer({ address: REAL.ipv6, port: TCP_PORT, method: 'masquerade' })
      const connection = await Connection.open(client, VIRTUAL.ipv6, 80)
      expect((await server.refresh()).activeConnections).toBe(1)
      await connection.close()
    }))

  test('of UDP is inactive for as long as the timeout of UDP', () =>
    withService(DNS, async (server, { client }, ipvs) => {
      await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
      await sendDatagram(client, VIRTUAL.ipv4, 53)
      const { activeConnections, inactiveConnections } = await server.refresh()
      expect([activeConnections, inactiveConnections]).toEqual([0, 1])
      await until('it is forgotten', async () => (await server.refresh()).inactiveConnections === 0)
    }))

  test('of one-packet scheduling is counted, and never remembered', () =>
    withService({ ...DNS, onePacket: true }, async (server, { client }) => {
      // Its answers are not translated back, so none comes.
      for (let packet = 0; packet < 3; packet++) await sendDatagram(client, VIRTUAL.ipv4, 53, false)
      expect((await server.refresh()).inactiveConnections).toBe(0)
      await until('each packet is a connection', async () => (await server.refresh()).stats.connections === 3)
    }))

  test('comes back with its counters when a real server is deleted and added again', () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const connection = await Connection.open(client, VIRTUAL.ipv4, 80)
      await until('it is counted', async () => (await server.refresh()).stats.connections === 1)
      await server.delete()
      const added = await ipvs.addRealServer(WEB, server.toJSON())
      expect(added.stats.connections).toBe(0)
      const { stats, activeConnections } = await added.refresh()
      expect([stats.connections, activeConnections]).toEqual([1, 1])
      await connection.echo('still here')
    }))

  test('keeps flowing, and its counters, while its server and service are edited', () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const connection = await Connection.open(client, VIRTUAL.ipv4, 80)
      await until('it is counted', async () => (await server.refresh()).stats.connections === 1)
      const edited = await server.edit({ weight: 9, upperThreshold: 100 })
      expect([edited.stats.connections, edited.activeConnections, edited.weight]).toEqual([1, 1, 9])
      expect((await ipvs.editService(WEB, { scheduler: 'wlc' })).stats.connections).toBe(1)
      expect((await server.refresh()).stats.connections).toBe(1)
      await connection.echo('still here')
    }))
})

concurrentKernelTests('drain', () => {
  test('waits while a connection is held, sends new ones elsewhere, and deletes when it ends', () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const held = await Connection.open(client, VIRTUAL.ipv4, 80)
      const other = await ipvs.addRealServer(WEB, {
        address: REAL.second,
        port: TCP_PORT,
        method: 'masquerade',
      })
      const { done, seen } = drain(server, { waitFor: 'active' })
      await until('it has looked three times', () => seen.length >= 3)
      expect((await server.refresh()).weight).toBe(0)
      for (const progress of seen) {
        expect(progress).toMatchObject({ activeConnections: 1, inactiveConnections: 0, waitsFor: ['active'] })
        expect(progress.atMostSeconds).toBeUndefined()
      }
      const next = await Connection.open(client, VIRTUAL.ipv4, 80)
      expect((await other.refresh()).activeConnections).toBe(1)
      await held.echo('still here')

      await held.close()
      const { outcome, last } = await done
      expect(outcome).toBe('deleted')
      expect(last).toMatchObject({
        activeConnections: 0,
        inactiveConnections: 1,
        waitsFor: [],
        atMostSeconds: 0,
      })
      expect((await ipvs.realServers(WEB)).map(({ address }) => address)).toEqual([REAL.second])
      await next.echo('still here')
    }))

  test('waits for inactive connections too, and says how long that may take', () =>
    withService(WEB, async (server, { client }) => {
      const held = await Connection.open(client, VIRTUAL.ipv4, 80)
      const { done, seen } = drain(server)
      await held.close()
      await until('it is inactive', () => seen.some(({ waitsFor }) => waitsFor.includes('inactive')))
      // TIME_WAIT: two minutes.
      expect(seen.at(-1)).toMatchObject({
        activeConnections: 0,
        inactiveConnections: 1,
        waitsFor: ['inactive'],
        atMostSeconds: 120,
      })
      await server.delete()
      expect((await done).outcome).toBe('gone')
    }))

  test('deletes at once what has no connections', () =>
    withService(WEB, async (server, _, ipvs) => {
      const { done, seen } = drain(server)
      expect((await done).outcome).toBe('deleted')
      expect(seen).toHaveLength(1)
      expect(await ipvs.realServers(WEB)).toEqual([])
    }))

  test('leaves the server at weight 0 at its deadline, or deletes it, as the caller said', () =>
    withService(WEB, async (server, { client }, ipvs) => {
      const held = await Connection.open(client, VIRTUAL.ipv4, 80)
      const kept = await drain(server, { timeoutMs: 300 }).done
      expect(kept).toMatchObject({ outcome: 'kept', last: { activeConnections: 1, waitsFor: ['active'] } })
      expect(kept.last.elapsedMs).toBeGreaterThanOrEqual(300)
      expect((await server.refresh()).weight).toBe(0)
      await held.echo('still here')

      const deleted = await drain(server, { timeoutMs: 0, atTimeout: 'delete' }).done
      expect(deleted).toMatchObject({ outcome: 'deleted', last: { activeConnections: 1 } })
      expect(await ipvs.realServers(WEB)).toEqual([])
    }))

  test('gives the weight back when it is aborted, or when onProgress throws', () =>
    withService(WEB, async (server, { client }) => {
      const held = await Connection.open(client, VIRTUAL.ipv4, 80)
      const controller = new AbortController()
      const { done, seen } = drain(server, { signal: controller.signal })
      await until('it has looked', () => seen.length > 0)
      expect((await server.refresh()).weight).toBe(0)
      const reason = new Error('changed my mind')
      controller.abort(reason)
      await expect(done).rejects.toBe(reason)
      expect((await server.refresh()).toJSON()).toEqual(server.toJSON())

      const thrown = new Error('no progress')
      const failing = drain(server, {
        onProgress: () => {
          throw thrown
        },
      })
      await expect(failing.done).rejects.toBe(thrown)
      expect((await server.refresh()).weight).toBe(5)
      await expect(drain(server, { signal: controller.signal }).done).rejects.toBe(reason)
      expect((await server.refresh()).weight).toBe(5)
      await held.echo('still here')
    }))

  test('yields to someone else who gives the server a weight, deletes it, or deletes its service', () =>
    withService(WEB, async (server, { client, director }, ipvs) => {
      const held = await Connection.open(client, VIRTUAL.ipv4, 80)
      const endpoint = `${REAL.ipv4}:${String(TCP_PORT)}`
      const begin = async (): Promise<ReturnType<typeof drain>> => {
        const started = drain(server)
        await until('it has looked', () => started.seen.length > 0)
        return started
      }

      const overruled = await begin()
      await director.ipvsadm([`-e -t ${VIRTUAL.ipv4}:80 -r ${endpoint} -m -w 7`])
      expect(await overruled.done).toMatchObject({ outcome: 'overruled', last: { activeConnections: 1 } })
      expect((await server.refresh()).weight).toBe(7)

      const deleted = await begin()
      await director.ipvsadm([`-d -t ${VIRTUAL.ipv4}:80 -r ${endpoint}`])
      expect(await deleted.done).toMatchObject({ outcome: 'gone', last: { activeConnections: 1 } })
      await director.ipvsadm([`-a -t ${VIRTUAL.ipv4}:80 -r ${endpoint} -m`])

      const gone = await begin()
      await director.ipvsadm([`-D -t ${VIRTUAL.ipv4}:80`])
      expect((await gone.done).outcome).toBe('gone')
      expect(await ipvs.services()).toEqual([])
      await held.close()
    }))

  test('rejects what is not there at its start', () =>
    withService(WEB, async (server, _, ipvs) => {
      await server.delete()
      await expect(server.drain()).rejects.toMatchObject({ code: 'ENOENT', realServer: server.key })
      await ipvs.deleteService(WEB)
      await expect(server.drain()).rejects.toMatchObject({ code: 'ESRCH' })
    }))

  test('waits for UDP as long as its timeout says', () =>
    withService(DNS, async (server, { client }, ipvs) => {
      await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
      await sendDatagram(client, VIRTUAL.ipv4, 53)
      const { done, seen } = drain(server)
      const { outcome } = await done
      expect(outcome).toBe('deleted')
      expect(seen[0]).toMatchObject({
        activeConnections: 0,
        inactiveConnections: 1,
        persistentConnections: 0,
        waitsFor: ['inactive'],
        atMostSeconds: SHORT_SECONDS,
      })
      expect(seen.at(-1)).toMatchObject({ inactiveConnections: 0, waitsFor: [], atMostSeconds: 0 })
    }))

  test('waits for clients that persistence remembers, where expire_quiescent_template is 0', () =>
    withService({ ...DNS, persistence: { timeoutSeconds: 600 } }, async (server, { client }, ipvs) => {
      await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
      await sendDatagram(client, VIRTUAL.ipv4, 53)
      const { done, seen } = drain(server)
      await until('only persistence is left', () => seen.at(-1)?.waitsFor.join() === 'persistent')
      expect(seen[0]).toMatchObject({
        persistentConnections: 1,
        waitsFor: ['inactive', 'persistent'],
        atMostSeconds: 600,
      })
      expect(seen.at(-1)).toMatchObject({
        inactiveConnections: 0,
        persistentConnections: 1,
        atMostSeconds: 600,
      })
      // The client comes back to the quiescent server: that is what is waited for.
      await sendDatagram(client, VIRTUAL.ipv4, 53)
      await until('it has a connection again', () => seen.at(-1)?.waitsFor.join() === 'inactive,persistent')
      expect((await server.refresh()).weight).toBe(0)
      await server.delete()
      expect((await done).outcome).toBe('gone')
    }))

  test('outwaits persistence that ends, where expire_quiescent_template is 0', () =>
    withService(
      { ...DNS, persistence: { timeoutSeconds: 3 * SHORT_SECONDS } },
      async (server, { client }, ipvs) => {
        await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
        await sendDatagram(client, VIRTUAL.ipv4, 53)
        const { done, seen } = drain(server)
        expect((await done).outcome).toBe('deleted')
        expect(seen.some(({ waitsFor }) => waitsFor.join() === 'persistent')).toBe(true)
        expect(seen.at(-1)).toMatchObject({ persistentConnections: 0, waitsFor: [] })
      },
    ))

  test('remembers a client longer than persistence says while a connection of it is left: for another minute', () =>
    withService({ ...WEB, persistence: { timeoutSeconds: SHORT_SECONDS } }, async (_, { client }, ipvs) => {
      const connection = await Connection.open(client, VIRTUAL.ipv4, 80)
      const memory = createMemoryKernel()
      const copy = await Ipvs.open({ transport: memory })
      await copy.addService({ ...WEB, persistence: { timeoutSeconds: SHORT_SECONDS } })
      await copy.addRealServer(WEB, { address: REAL.ipv4, method: 'masquerade' })
      memory.connect(WEB)
      memory.advance(SHORT_SECONDS)
      const left = async (kernel: Ipvs): Promise<number> => {
        for await (const one of kernel.connections()) if (one.template) return one.expiresSeconds
        throw new Error('there is no template')
      }
      let unchangedAt = performance.now()
      const anew = await until('its time starts anew', async () => {
        const begin = performance.now()
        const seconds = await left(ipvs)
        if (seconds > SHORT_SECONDS) return { seconds, sinceMs: performance.now() - unchangedAt }
        unchangedAt = begin
        return undefined
      })
      expect(await left(copy)).toBe(60)
      expect(anew.seconds).toBeLessThanOrEqual(60)
      expect(anew.seconds).toBeGreaterThanOrEqual(60 - Math.ceil(anew.sinceMs / 1000))
      await connection.close()
    }))

  test('does not wait for persistence where expire_quiescent_template is 1', () =>
    withService(
      { ...DNS, persistence: { timeoutSeconds: 600 } },
      async (server, { client, director }, ipvs) => {
        await director.run(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/vs/expire_quiescent_template'])
        await ipvs.setTimeouts({ udpSeconds: SHORT_SECONDS })
        await sendDatagram(client, VIRTUAL.ipv4, 53)
        const { done, seen } = drain(server)
        const { outcome, last } = await done
        expect(outcome).toBe('deleted')
        expect(seen[0]).toMatchObject({
          persistentConnections: 1,
          waitsFor: ['inactive'],
          atMostSeconds: SHORT_SECONDS,
        })
        expect(last).toMatchObject({ inactiveConnections: 0, persistentConnections: 1, waitsFor: [] })
      },
    ))
})
