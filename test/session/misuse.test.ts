import { expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

/** What TypeScript cannot see, or sees as right. */

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const SHOP = { protocol: 'tcp', address: '10.0.0.2', port: 80 } as const

test('a transport for options is told where it goes', async () => {
  await expect(Ipvs.open(createMemoryKernel() as object)).rejects.toThrow('Ipvs.open({ transport })')
})

test('a real server that was read adds its like to another service', async () => {
  const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
  await ipvs.addService(WEB)
  await ipvs.addService(SHOP)
  const server = await ipvs.addRealServer(WEB, {
    address: '10.1.0.1',
    port: 8080,
    method: 'tunnel',
    weight: 7,
    tunnel: { type: 'gue', port: 6080 },
  })
  const copy = await ipvs.addRealServer(SHOP, server)
  expect(copy.toJSON()).toEqual(server.toJSON())
  expect((await ipvs.realServers(SHOP)).map((one) => one.toJSON())).toEqual([server.toJSON()])
})
