import { describe, expect, test } from 'vitest'
import { Ipvs, parseState } from '../../lib/index.ts'
import { Command } from '../../lib/model/constants.ts'
import { kernelServiceOf } from '../../lib/model/service-settings.ts'
import { encodeService } from '../../lib/session/requests.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

/** Names that are written must be ones that the kernel's own could be; a name that is there may be anything. */

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const ODD = ['../evil', 'a b', 'a\u001b]0;x\u0007', 'my.rr', '-\n']

describe('a scheduler or an engine', () => {
  test.each(ODD)('%j is not written', async (name) => {
    const kernel = createMemoryKernel({ schedulers: ['rr', ...ODD], persistenceEngines: ['sip', ...ODD] })
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService({ ...WEB, port: 81, scheduler: 'rr' })
    kernel.clearLog()
    const engine = { persistence: {}, persistenceEngine: name }
    await expect(ipvs.addService({ ...WEB, scheduler: name })).rejects.toThrow(RangeError)
    await expect(ipvs.addService({ ...WEB, scheduler: 'rr', ...engine })).rejects.toThrow(RangeError)
    await expect(ipvs.editService({ ...WEB, port: 81 }, { scheduler: name })).rejects.toThrow(RangeError)
    await expect(
      ipvs.runSteps([{ kind: 'add-service', service: WEB, after: { ...WEB, scheduler: name } }]),
    ).rejects.toThrow('steps[0].after.scheduler must consist of letters')
    expect(kernel.log).toEqual([])
    const state = { services: [{ ...WEB, scheduler: name }] }
    await expect(ipvs.plan(state)).rejects.toThrow('tcp/192.0.2.10:80: scheduler must consist of letters')
    await expect(ipvs.apply(state)).rejects.toThrow('tcp/192.0.2.10:80: scheduler must consist of letters')
    await expect(
      ipvs.apply({ services: [{ ...WEB, port: 81, scheduler: 'rr', ...engine }] }),
    ).rejects.toThrow('persistenceEngine must consist of letters')
    expect((await ipvs.services()).map(({ port }) => port)).toEqual([81])
  })

  test.each(ODD)(
    '%j that another program put there is read, saved, planned and edited around',
    async (name) => {
      const kernel = createMemoryKernel({ schedulers: ['rr', name] })
      const ipvs = await Ipvs.open({ transport: kernel })
      const odd = encodeService(Command.NEW_SERVICE, WEB, kernelServiceOf({ scheduler: name }, 'ipv4'))
      expect(await kernel.batch([odd])).toEqual([{}])
      const saved = await ipvs.save()
      expect(saved.services[0]?.scheduler).toBe(name)
      expect((await ipvs.plan(saved)).steps).toEqual([])
      await ipvs.apply({ services: [{ ...WEB, scheduler: name, onePacket: true }] })
      expect((await ipvs.service(WEB)).onePacket).toBe(true)
      expect((await ipvs.editService(WEB, { onePacket: false })).scheduler).toBe(name)
    },
  )
})

test.each(['a/b', 'a b', '..', 'eth0:1', 'a\u001bb'])('no sync daemon is started on %j', async (name) => {
  const kernel = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport: kernel })
  const daemon = { state: 'master', multicastInterface: name } as const
  const refused = name.includes('\u001b') ? 'ENODEV' : undefined
  // dev_valid_name() lets control characters pass, so there may be such an interface.
  const message = refused ?? 'multicastInterface must be the name of a network interface'
  await expect(ipvs.startSyncDaemon(daemon)).rejects.toThrow(message)
  await expect(ipvs.apply({ syncDaemons: [daemon] })).rejects.toThrow(message)
})

test('a text may be bytes, and is then UTF-8 or tells where it is not', async () => {
  const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
  const text = '{"services": [{"protocol": "tcp", "address": "192.0.2.10", "port": 80}]}'
  const bytes = new TextEncoder().encode(text)
  expect(await parseState(bytes)).toEqual(await parseState(text))
  await ipvs.restore(bytes)
  expect(await ipvs.services()).toHaveLength(1)
  bytes[20] = 0xff
  await expect(parseState(bytes)).rejects.toThrow('line 1, column 21: byte 0xff is not valid in UTF-8')
  await expect(ipvs.restore(bytes)).rejects.toThrow('line 1, column 21')
})
