import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { dependsOnOrder, SCHEDULERS } from '../../lib/model/schedulers.ts'
import { kernelTests, withNamespace } from '../helpers/kernel.ts'

/**
 * For which schedulers the order of real servers matters: the same clients go to two services, whose two
 * servers are in opposite order. Who comes first in a round is no difference: each client comes six times.
 */

const CLIENTS = Array.from({ length: 20 }, (_, index) => `10.9.8.${String(7 * index + 1)}`)
const TIMES = 6

/** Sends a datagram from each client, and says so, for each port that it is told. Every address is this host. */
const SENDER = `
  const dgram = require('node:dgram')
  const clients = ${JSON.stringify(CLIENTS)}
  require('node:readline').createInterface({ input: process.stdin }).on('line', async (port) => {
    for (const client of clients) {
      for (let time = 0; time < ${String(TIMES)}; time++) {
        const socket = dgram.createSocket('udp4').on('error', () => {})
        // A port of its own: two datagrams from one port are one connection.
        await new Promise((bound) => socket.bind(20000 + time, client, bound))
        await new Promise((sent) => socket.send('hello', Number(port), '10.9.9.2', sent))
        await new Promise((closed) => socket.close(closed))
      }
    }
    console.log('sent')
  })
  console.log('ready')`

const SERVERS = ['10.9.9.10', '10.9.9.11']

kernelTests('the order of real servers', () => {
  test('matters for the schedulers for which a plan says so', { timeout: 120_000 }, () =>
    withNamespace(
      async (netns) => {
        const { ipvs } = netns
        // It chooses at random, of any order.
        const available = SCHEDULERS.filter((name) => name !== 'twos')
        const sender = netns.start([process.execPath, '-e', SENDER])
        const lines = createInterface({ input: sender.stdout })
        await once(lines, 'line')
        const found: Record<string, boolean> = {}
        for (const [index, scheduler] of available.entries()) {
          const ports = [1000 + 2 * index, 1001 + 2 * index] as const
          for (const port of ports) {
            const key = { protocol: 'udp', address: '10.9.9.2', port } as const
            await ipvs.addService({ ...key, scheduler })
            const servers = port === ports[0] ? SERVERS : [...SERVERS].reverse()
            for (const address of servers) await ipvs.addRealServer(key, { address })
            sender.stdin.write(`${String(port)}\n`)
            await once(lines, 'line')
          }
          const shares = ports.map(() => new Map<string, number>())
          for await (const { virtualPort, clientAddress, serverAddress } of ipvs.connections()) {
            const share = shares[ports.indexOf(virtualPort)]
            const who = `${clientAddress} ${serverAddress}`
            share?.set(who, (share.get(who) ?? 0) + 1)
          }
          const [one, other] = shares.map((share) => Object.fromEntries([...share].sort()))
          const total = (share: object = {}): number =>
            (Object.values(share) as number[]).reduce((sum, count) => sum + count, 0)
          expect([scheduler, total(one), total(other)]).toEqual([
            scheduler,
            CLIENTS.length * TIMES,
            CLIENTS.length * TIMES,
          ])
          found[scheduler] = JSON.stringify(one) !== JSON.stringify(other)
        }
        expect(found).toEqual(Object.fromEntries(available.map((name) => [name, dependsOnOrder(name)])))
      },
      { setUp: () => [['route add local 10.9.9.0/24 dev lo', 'route add local 10.9.8.0/24 dev lo']] },
    ),
  )
})
