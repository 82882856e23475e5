import { expect, test } from 'vitest'
import type { IpvsError } from '../../lib/model/errors.ts'
import type { ServiceKey } from '../../lib/model/types.ts'
import { kernelTests, withNamespace } from '../helpers/kernel.ts'

const SERVICES = 1000
const SERVERS = 100

/** Services that the kernel's hash spreads: it looks at the low byte of the address, and at the port. */
function serviceKey(index: number): ServiceKey {
  return {
    protocol: 'tcp',
    address: `10.${String(index >> 8)}.0.${String(index & 255)}`,
    port: 1000 + (index >> 8),
  }
}

function serverAddress(index: number): string {
  return `172.16.${String(index >> 8)}.${String(index & 255)}`
}

kernelTests('a hundred thousand real servers', () => {
  test('are added in a few ticks, read back equal, and deleted with their services in one', () =>
    withNamespace(async ({ ipvs }) => {
      for (let from = 0; from < SERVICES; from += 50) {
        const calls: Promise<unknown>[] = []
        for (let index = from; index < from + 50; index++) {
          const service = serviceKey(index)
          calls.push(ipvs.addService({ ...service, scheduler: 'rr' }))
          for (let server = 0; server < SERVERS; server++) {
            calls.push(
              ipvs.addRealServer(service, {
                address: serverAddress(server),
                port: 8080,
                method: 'masquerade',
                weight: index + server,
              }),
            )
          }
        }
        await Promise.all(calls)
      }

      const table = await ipvs.snapshot()
      expect(table).toHaveLength(SERVICES)
      const byAddress = new Map(
        table.map((entry) => [`${String(entry.service.address)}:${String(entry.service.port)}`, entry]),
      )
      for (let index = 0; index < SERVICES; index++) {
        const { address, port } = serviceKey(index) as { address: string; port: number }
        const { realServers = [] } = byAddress.get(`${address}:${String(port)}`) ?? {}
        // Newest first. One comparison of text for each service: a hundred thousand of objects take a minute.
        const expected = Array.from(
          { length: SERVERS },
          (_, server) => `${serverAddress(server)}:8080 masquerade ${String(index + server)}`,
        )
        const got = realServers.map(
          (server) => `${server.address}:${String(server.port)} ${server.method} ${String(server.weight)}`,
        )
        expect(got.reverse().join('\n')).toBe(expected.join('\n'))
      }

      await Promise.all(table.map(({ service }) => service.delete()))
      expect(await ipvs.services()).toEqual([])
    }))
})

kernelTests('five thousand requests of one tick', () => {
  test('have an outcome each, in order, though every third fails', () =>
    withNamespace(async ({ ipvs }) => {
      const keys = Array.from({ length: 5000 }, (_, index): ServiceKey => {
        // Every third repeats the one before.
        return { protocol: 'fwmark', fwmark: index % 3 === 2 ? index : index + 1, family: 'ipv4' }
      })
      const order: number[] = []
      const outcomes = await Promise.allSettled(
        keys.map((key, index) =>
          ipvs.addService({ ...key, scheduler: 'rr' }).finally(() => {
            order.push(index)
          }),
        ),
      )
      for (const [index, outcome] of outcomes.entries()) {
        if (index % 3 === 2) {
          expect(outcome.status).toBe('rejected')
          const { code, service } = (outcome as PromiseRejectedResult).reason as IpvsError
          expect([code, service]).toEqual(['EEXIST', keys[index]])
        } else {
          expect(outcome.status === 'fulfilled' && outcome.value.key).toEqual(keys[index])
        }
      }
      expect(order).toEqual([...order].sort((a, b) => a - b))
      expect(await ipvs.services()).toHaveLength(keys.filter((_, index) => index % 3 !== 2).length)

      const deletions = await Promise.allSettled(keys.map((key) => ipvs.deleteService(key)))
      const codes = deletions.map((outcome) =>
        outcome.status === 'fulfilled' ? '' : (outcome.reason as IpvsError).code,
      )
      expect(codes).toEqual(keys.map((_, index) => (index % 3 === 2 ? 'ESRCH' : '')))
      expect(await ipvs.services()).toEqual([])
    }))
})
