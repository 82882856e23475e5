import { expect, test } from 'vitest'
import { openNative } from '../../lib/transport/native.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import type { RealServerChanges, RealServerSpec, ServiceChanges, ServiceSpec } from '../../lib/model/types.ts'
import { COMMANDS } from '../helpers/commands.ts'
import {
  destSettings,
  identity,
  membersOfMessage,
  nest,
  readU32,
  serviceSettings,
  text,
  u32,
} from '../helpers/kernel-bytes.ts'
import { kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'

const TCP = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const

/** A service with nothing as by default. */
const FULL: ServiceSpec = {
  ...TCP,
  scheduler: 'sh',
  schedulerFlags: ['sh-fallback', 'flag-3'],
  onePacket: true,
  persistence: { timeoutSeconds: 123, netmask: '255.255.0.0' },
  persistenceEngine: 'sip',
}

/** What is edited, and what alone is then different. */
const SERVICE_EDITS: Readonly<Record<string, readonly [ServiceChanges, object]>> = {
  nothing: [{}, {}],
  'the scheduler': [{ scheduler: 'mh' }, { scheduler: 'mh', schedulerFlags: ['mh-fallback', 'flag-3'] }],
  'the scheduler by one without names for its flags': [
    { scheduler: 'rr' },
    { scheduler: 'rr', schedulerFlags: ['flag-1', 'flag-3'] },
  ],
  'scheduler flags': [{ schedulerFlags: ['sh-port'] }, { schedulerFlags: ['sh-port'] }],
  'one-packet scheduling': [{ onePacket: false }, { onePacket: undefined }],
  'the timeout of persistence': [
    { persistence: { timeoutSeconds: 7 } },
    { persistence: { timeoutSeconds: 7, netmask: '255.255.0.0' } },
  ],
  'the netmask of persistence': [
    { persistence: { netmask: 24 } },
    { persistence: { timeoutSeconds: 123, netmask: '255.255.255.0' } },
  ],
  'persistence away': [{ persistence: null }, { persistence: undefined }],
  'the persistence engine away': [{ persistenceEngine: null }, { persistenceEngine: undefined }],
  'no scheduler flags': [{ schedulerFlags: [] }, { schedulerFlags: undefined }],
}

const SERVER: RealServerSpec = {
  address: '10.1.0.1',
  port: 8080,
  method: 'tunnel',
  weight: 5,
  upperThreshold: 100,
  lowerThreshold: 50,
  tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
}

const SERVER_EDITS: Readonly<Record<string, readonly [RealServerChanges, object]>> = {
  nothing: [{}, {}],
  'the weight': [{ weight: 0 }, { weight: 0 }],
  'the method': [{ method: 'masquerade' }, { method: 'masquerade' }],
  'the upper threshold': [{ upperThreshold: 60 }, { upperThreshold: 60 }],
  'the lower threshold': [{ lowerThreshold: 0 }, { lowerThreshold: undefined }],
  'both thresholds': [
    { upperThreshold: 2147483647, lowerThreshold: 2147483647 },
    { upperThreshold: 2147483647, lowerThreshold: 2147483647 },
  ],
  'the port of the tunnel': [
    { tunnel: { type: 'gue', port: 7000 } },
    { tunnel: { type: 'gue', port: 7000, checksum: 'csum' } },
  ],
  'the checksum of the tunnel': [
    { tunnel: { type: 'gue', checksum: 'remcsum' } },
    { tunnel: { type: 'gue', port: 6080, checksum: 'remcsum' } },
  ],
  'the type of the tunnel': [{ tunnel: { type: 'gre' } }, { tunnel: { type: 'gre' } }],
}

/** `before` with `difference`, in which undefined takes a field away. */
function changed(before: object, difference: object): unknown {
  return plain({ ...before, ...difference })
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** The addon without the library over it. */
async function raw({ path }: Netns): Promise<Transport> {
  const transport = await openNative({ netns: path, timeoutMs: patient(5000) })
  if ('errno' in transport) throw new Error(`errno ${String(transport.errno)}`)
  return transport
}

kernelTests('edit', () => {
  test('changes one thing of a service and keeps all others', () =>
    withNamespace(async ({ ipvs }) => {
      for (const [name, [changes, difference]] of Object.entries(SERVICE_EDITS)) {
        const before = await ipvs.addService(FULL)
        await before.addRealServer(SERVER)
        const after = await before.edit(changes)
        expect(plain(after), name).toEqual(changed(FULL, difference))
        expect(plain(await ipvs.service(TCP)), name).toEqual(changed(FULL, difference))
        expect(plain(await ipvs.realServers(TCP)), name).toEqual([SERVER])
        await before.delete()
      }
    }))

  test('gives a service what it had not, and nothing else', () =>
    withNamespace(async ({ ipvs }) => {
      const bare: ServiceSpec = { protocol: 'tcp', address: '2001:db8::1', port: 80, scheduler: 'rr' }
      const cases: readonly (readonly [ServiceChanges, object])[] = [
        [{ persistence: {} }, { persistence: { timeoutSeconds: 300, netmask: 128 } }],
        [{ persistenceEngine: 'sip' }, { persistenceEngine: 'sip' }],
        [{ onePacket: true }, { onePacket: true }],
        [{ schedulerFlags: ['flag-2'] }, { schedulerFlags: ['flag-2'] }],
        [{ scheduler: 'none' }, { scheduler: 'none' }],
      ]
      for (const [changes, difference] of cases) {
        const service = await ipvs.addService(bare)
        await service.edit(changes)
        expect(plain(await service.refresh())).toEqual(changed(bare, difference))
        await service.delete()
      }
    }))

  test('changes one thing of a real server and keeps all others', () =>
    withNamespace(async ({ ipvs }) => {
      const web = await ipvs.addService({ ...TCP, scheduler: 'rr' })
      const other = await web.addRealServer({ address: '10.1.0.2', weight: 77 })
      for (const [name, [changes, difference]] of Object.entries(SERVER_EDITS)) {
        const before = await web.addRealServer(SERVER)
        const after = await before.edit(changes)
        expect(plain(after), name).toEqual(changed(SERVER, difference))
        expect(plain(await before.refresh()), name).toEqual(changed(SERVER, difference))
        expect(plain(await other.refresh()), name).toEqual(plain(other))
        await before.delete()
      }
    }))

  test('edits an IPv6 real server of an IPv4 service', () =>
    withNamespace(async ({ ipvs }) => {
      const web = await ipvs.addService({ ...TCP, scheduler: 'rr' })
      const server = await web.addRealServer({ address: '2001:db8::7', method: 'tunnel' })
      await server.edit({ weight: 9 })
      expect(plain(await web.realServers())).toEqual([
        { address: '2001:db8::7', port: 80, method: 'tunnel', weight: 9, tunnel: { type: 'ipip' } },
      ])
      await expect(server.edit({ method: 'direct' })).rejects.toThrow(TypeError)
      await server.delete()
      expect(await web.realServers()).toEqual([])
    }))

  test('keeps the place of a real server in the list', () =>
    withNamespace(async ({ ipvs }) => {
      const web = await ipvs.addService(TCP)
      for (const last of [1, 2, 3]) await web.addRealServer({ address: `10.1.0.${String(last)}` })
      await ipvs.editRealServer(TCP, { address: '10.1.0.2' }, { weight: 9 })
      expect((await web.realServers()).map(({ address, weight }) => [address, weight])).toEqual([
        ['10.1.0.3', 1],
        ['10.1.0.2', 9],
        ['10.1.0.1', 1],
      ])
    }))

  test('does a hundred edits of one tick, each with its own result', () =>
    withNamespace(async ({ ipvs }) => {
      const numbers = Array.from({ length: 100 }, (_, index) => index + 1)
      await Promise.all(
        numbers.flatMap((number) => [
          ipvs.addService({ protocol: 'fwmark', fwmark: number, scheduler: 'rr' }),
          ipvs.addRealServer({ protocol: 'fwmark', fwmark: number }, { address: '10.1.0.1', weight: number }),
        ]),
      )
      const services = await Promise.all(
        numbers.map((number) =>
          ipvs.editService(
            { protocol: 'fwmark', fwmark: number },
            { persistence: { timeoutSeconds: number } },
          ),
        ),
      )
      expect(services.map(({ persistence }) => persistence?.timeoutSeconds)).toEqual(numbers)
      const servers = await Promise.all(
        numbers.map((number) =>
          ipvs.editRealServer(
            { protocol: 'fwmark', fwmark: number },
            { address: '10.1.0.1' },
            { upperThreshold: number },
          ),
        ),
      )
      expect(servers.map(({ weight, upperThreshold }) => [weight, upperThreshold])).toEqual(
        numbers.map((n) => [n, n]),
      )
      for (const { service, realServers } of await ipvs.snapshot()) {
        const number = service.fwmark
        expect(service.persistence?.timeoutSeconds).toBe(number)
        expect(plain(realServers)).toEqual([
          { address: '10.1.0.1', port: 0, method: 'direct', weight: number, upperThreshold: number },
        ])
      }
    }))

  test('does two edits of the same service or server in one tick, and neither undoes the other', () =>
    withNamespace(async ({ ipvs }) => {
      const web = await ipvs.addService({ ...TCP, scheduler: 'rr' })
      const server = await web.addRealServer(SERVER)
      const [, second] = await Promise.all([
        web.edit({ scheduler: 'wrr' }),
        web.edit({ persistence: { timeoutSeconds: 9 } }),
        server.edit({ weight: 8 }),
        server.edit({ upperThreshold: 200 }),
      ])
      const expected = {
        ...TCP,
        scheduler: 'wrr',
        persistence: { timeoutSeconds: 9, netmask: '255.255.255.255' },
      }
      expect(plain(second)).toEqual(expected)
      expect(plain(await web.refresh())).toEqual(expected)
      expect(plain(await server.refresh())).toEqual({ ...SERVER, weight: 8, upperThreshold: 200 })
    }))

  test('sees in one tick what the first of two edits made of the server', () =>
    withNamespace(async ({ ipvs }) => {
      const server = await (await ipvs.addService(TCP)).addRealServer(SERVER)
      const outcomes = await Promise.allSettled([
        server.edit({ lowerThreshold: 0, upperThreshold: 10 }),
        server.edit({ lowerThreshold: 11 }),
        server.edit({ lowerThreshold: 10 }),
      ])
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(plain(await server.refresh())).toEqual({ ...SERVER, upperThreshold: 10, lowerThreshold: 10 })
    }))

  test('keeps the order of adds, edits and deletes of one tick', () =>
    withNamespace(async ({ ipvs }) => {
      const key = { address: '10.1.0.1' }
      const outcomes = await Promise.allSettled([
        ipvs.editService(TCP, { scheduler: 'lc' }), // there is none yet
        ipvs.addService({ ...TCP, scheduler: 'rr', persistence: {} }),
        ipvs.editService(TCP, { scheduler: 'wrr' }),
        ipvs.editRealServer(TCP, key, { weight: 2 }), // no such server yet
        ipvs.addRealServer(TCP, { ...key, method: 'masquerade' }),
        ipvs.editRealServer(TCP, key, { weight: 3 }),
        ipvs.deleteRealServer(TCP, key),
        ipvs.editRealServer(TCP, key, { weight: 4 }), // no longer
        ipvs.addRealServer(TCP, { ...key, method: 'tunnel' }),
        ipvs.editRealServer(TCP, key, { weight: 5 }),
        ipvs.deleteService(TCP),
        ipvs.editService(TCP, { scheduler: 'lc' }), // no longer
        ipvs.addService({ ...TCP, scheduler: 'sed' }),
        ipvs.addRealServer(TCP, key),
        ipvs.editRealServer(TCP, key, { weight: 6 }),
        ipvs.realServers(TCP),
      ])
      const codes = outcomes.map((outcome) =>
        outcome.status === 'fulfilled' ? 'done' : (outcome.reason as { code: string }).code,
      )
      expect(codes).toEqual([
        'ESRCH',
        'done',
        'done',
        'ENOENT',
        'done',
        'done',
        'done',
        'ENOENT',
        'done',
        'done',
        'done',
        'ESRCH',
        'done',
        'done',
        'done',
        'done',
      ])
      expect(plain(await ipvs.snapshot())).toEqual([
        {
          service: { ...TCP, scheduler: 'sed' },
          realServers: [{ address: '10.1.0.1', port: 80, method: 'direct', weight: 6 }],
        },
      ])
      const last = outcomes.at(-1)
      expect(last?.status === 'fulfilled' && plain(last.value)).toEqual([
        { address: '10.1.0.1', port: 80, method: 'direct', weight: 6 },
      ])
    }))

  test('keeps flags of a service that it has no name for', () =>
    withNamespace(async (netns) => {
      const transport = await raw(netns)
      const service = identity('10.0.0.1', 80)
      const foreign = 0x8000_0000 + 0x4000 + 0x40
      const [added] = await transport.batch([
        { command: COMMANDS.newService, attributes: nest(1, ...service, ...serviceSettings(foreign + 0x08)) },
      ])
      expect(added).toEqual({})
      const flags = async (): Promise<number> => {
        const [reply] = await transport.batch([
          { command: COMMANDS.getService, attributes: nest(1, ...service) },
        ])
        return readU32(membersOfMessage(reply?.messages ?? new Uint8Array(0), 1).get(7))
      }
      // 0x02 says that the kernel has it in its table.
      expect(await flags()).toBe(foreign + 0x08 + 0x02)

      const read = await netns.ipvs.service(TCP)
      expect(plain(read)).toEqual({ ...TCP, scheduler: 'rr', schedulerFlags: ['flag-1', foreign] })
      await read.edit({ schedulerFlags: ['flag-2'], onePacket: true, persistence: {} })
      expect(await flags()).toBe(foreign + 0x10 + 0x04 + 0x02 + 0x01)
      await read.edit({ scheduler: 'wrr' })
      await read.edit({ persistence: null, onePacket: false, schedulerFlags: [] })
      expect(await flags()).toBe(foreign + 0x02)
      await transport.close()
    }))

  test('keeps the timeout and netmask that a service without persistence has', () =>
    withNamespace(async (netns) => {
      const transport = await raw(netns)
      const service = identity('10.0.0.1', 80)
      const settings = [text(6, 'rr'), u32(7, 0, 0xffffffff), u32(8, 55), u32(9, 0x0000ffff)]
      await transport.batch([{ command: COMMANDS.newService, attributes: nest(1, ...service, ...settings) }])
      const read = await netns.ipvs.service(TCP)
      expect(plain(read)).toEqual({ ...TCP, scheduler: 'rr' })
      await read.edit({ scheduler: 'wrr' })
      const [reply] = await transport.batch([
        { command: COMMANDS.getService, attributes: nest(1, ...service) },
      ])
      const members = membersOfMessage(reply?.messages ?? new Uint8Array(0), 1)
      expect([readU32(members.get(8)), readU32(members.get(9))]).toEqual([55, 0x0000ffff])
      await transport.close()
    }))

  test('keeps a method above 7 as the kernel masks it', () =>
    withNamespace(async (netns) => {
      const transport = await raw(netns)
      const service = identity('10.0.0.1', 80)
      await transport.batch([
        { command: COMMANDS.newService, attributes: nest(1, ...service, ...serviceSettings()) },
        {
          command: COMMANDS.newDest,
          attributes: Uint8Array.from([
            ...nest(1, ...service),
            ...nest(2, ...destSettings({ method: 0xf5 })),
          ]),
        },
      ])
      const [server] = await netns.ipvs.realServers(TCP)
      expect(server?.method).toBe(5)
      await server?.edit({ weight: 3 })
      expect(plain(await server?.refresh())).toEqual({ address: '10.0.0.1', port: 80, method: 5, weight: 3 })
      await transport.close()
    }))
})
