import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeDaemon, encodeDaemon } from '../../lib/codec/daemon.ts'
import { decodeDest, encodeDest } from '../../lib/codec/real-server.ts'
import { decodeService, encodeService } from '../../lib/codec/service.ts'
import { numbers } from '../../lib/codec/stats.ts'
import { completeSettings } from '../../lib/model/server-settings.ts'
import { kernelServiceOf } from '../../lib/model/service-settings.ts'
import type {
  RealServerSettings,
  SchedulerFlag,
  ServiceKey,
  ServiceSettings,
  SyncDaemonSpec,
  Tunnel,
} from '../../lib/model/types.ts'
import {
  type Attribute,
  attributes,
  concat,
  number,
  type Order,
  ORDERS,
  payload,
  toNumber,
  writer,
} from '../helpers/bytes.ts'
import { holds } from '../helpers/random.ts'
import { encoded, membersOf, readerOf } from './helpers.ts'

/** Random settings through the encoder, read by the independent reader, and through our own decoder. */

const order = fc.constantFrom<Order>(...ORDERS)
const port = fc.integer({ min: 0, max: 65535 })
const int = fc.integer({ min: 0, max: 2147483647 })
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 })
const name = fc.stringMatching(/^[a-z0-9_-]{1,15}$/)

/** Bytes of an address, and one of its spellings. */
const address = fc.oneof(
  ipv4.map((bytes) => ({ bytes: concat(bytes, new Uint8Array(12)), text: bytes.join('.'), family: 2 })),
  ipv6.map((bytes) => ({
    bytes,
    text: Buffer.from(bytes).toString('hex').match(/.{4}/g)!.join(':'),
    family: 10,
  })),
)

const protocol = fc.oneof(
  fc.constantFrom<[string, number]>(['tcp', 6], ['udp', 17], ['sctp', 132]),
  fc.integer({ min: 200, max: 65535 }).map((value): [number, number] => [value, value]),
)

const FLAGS: readonly [SchedulerFlag, number][] = [
  ['flag-1', 0x08],
  ['flag-2', 0x10],
  ['flag-3', 0x20],
]

function member(list: readonly Attribute[], type: number): Uint8Array {
  const found = payload(list, type)
  if (found === undefined) throw new Error(`attribute ${type} is not there`)
  return found
}

test('services', () => {
  const arbitrary = fc.record({
    order,
    address,
    protocol,
    port,
    scheduler: name,
    flags: fc.subarray([...FLAGS]),
    onePacket: fc.boolean(),
    persistence: fc.option(
      fc.record({
        timeoutSeconds: fc.integer({ min: 0, max: 4294967 }),
        prefix: fc.integer({ min: 1, max: 32 }),
      }),
    ),
    engine: fc.option(fc.stringMatching(/^[a-z]{1,16}$/)),
  })
  holds(
    'services',
    fc.property(arbitrary, (it) => {
      const key: ServiceKey = { protocol: it.protocol[0] as 'tcp', address: it.address.text, port: it.port }
      const settings: ServiceSettings = {
        scheduler: it.scheduler,
        schedulerFlags: it.flags.map(([flag]) => flag),
        onePacket: it.onePacket,
        ...(it.persistence !== null && {
          persistence: { timeoutSeconds: it.persistence.timeoutSeconds, netmask: it.persistence.prefix },
        }),
        ...(it.engine !== null && { persistenceEngine: it.engine }),
      }
      const family = it.address.family === 10 ? 'ipv6' : 'ipv4'
      const encode = (w: Parameters<typeof encodeService>[0]) => {
        encodeService(w, key, kernelServiceOf(settings, family))
      }

      const members = membersOf(it.order, 1, encode)
      expect(toNumber(member(members, 1), it.order)).toBe(it.address.family)
      expect(toNumber(member(members, 2), it.order)).toBe(it.protocol[1])
      expect(member(members, 3)).toEqual(it.address.bytes)
      expect(toNumber(member(members, 4), 'big')).toBe(it.port)
      expect(Buffer.from(member(members, 6)).toString()).toBe(`${it.scheduler}\0`)
      const bits = it.flags.reduce((sum, [, bit]) => sum + bit, 0)
      expect(toNumber(member(members, 7).subarray(0, 4), it.order)).toBe(
        bits + (it.onePacket ? 4 : 0) + (it.persistence === null ? 0 : 1),
      )
      expect(toNumber(member(members, 7).subarray(4), it.order)).toBe(0x3d)
      if (it.persistence !== null) {
        expect(toNumber(member(members, 8), it.order)).toBe(it.persistence.timeoutSeconds)
        const netmask = member(members, 9)
        if (family === 'ipv6') expect(toNumber(netmask, it.order)).toBe(it.persistence.prefix)
        else {
          const mask = [...netmask].map((byte) => byte.toString(2).padStart(8, '0')).join('')
          expect(mask).toBe('1'.repeat(it.persistence.prefix).padEnd(32, '0'))
        }
      }
      expect(payload(members, 11) === undefined).toBe(it.engine === null)

      // What the kernel would answer is the same with its own flag and a full mask.
      const w = writer(it.order)
      const replied = members.map(({ type, payload: bytes }) =>
        type === 7
          ? w.attr(
              7,
              concat(
                number(toNumber(bytes.subarray(0, 4), it.order) | 2, 4, it.order),
                new Uint8Array(4).fill(255),
              ),
            )
          : w.attr(type, bytes),
      )
      const { state } = decodeService(readerOf(w.nest(1, ...replied), it.order), numbers)
      expect(state).toMatchObject({
        family,
        scheduler: it.scheduler,
        // sh and mh have names of their own for the same bits.
        ...(it.scheduler !== 'sh' && it.scheduler !== 'mh' && { schedulerFlags: settings.schedulerFlags }),
        onePacket: it.onePacket,
      })
      expect(state.persistence?.timeoutSeconds).toBe(it.persistence?.timeoutSeconds)
      expect(state.persistenceEngine).toBe(it.engine ?? undefined)
    }),
  )
})

test('firewall marks', () => {
  holds(
    'firewall marks',
    fc.property(
      order,
      fc.integer({ min: 1, max: 0xffffffff }),
      fc.constantFrom('ipv4', 'ipv6'),
      (byteOrder, fwmark, family) => {
        const key: ServiceKey = { protocol: 'fwmark', fwmark, family }
        const members = membersOf(byteOrder, 1, (w) => {
          encodeService(w, key)
        })
        expect(members.map(({ type }) => type)).toEqual([1, 5])
        expect(toNumber(member(members, 5), byteOrder)).toBe(fwmark)
        const bytes = encoded(byteOrder, (w) => {
          encodeService(w, key)
        })
        expect(decodeService(readerOf(bytes, byteOrder), numbers).state.key).toEqual(key)
      },
    ),
  )
})

const METHODS = { masquerade: 0, local: 1, tunnel: 2, direct: 3, bypass: 4 } as const

test('real servers', () => {
  const tunnel = fc.record({
    type: fc.oneof(
      fc.constantFrom<[Tunnel['type'], number]>(['ipip', 0], ['gue', 1], ['gre', 2]),
      fc.integer({ min: 3, max: 255 }).map((value): [number, number] => [value, value]),
    ),
    port: fc.integer({ min: 1, max: 65535 }),
    checksum: fc.oneof(
      fc.constantFrom<[Tunnel['checksum'], number]>(['csum', 1], ['remcsum', 2]),
      fc.integer({ min: 3, max: 65535 }).map((value): [number, number] => [value, value]),
    ),
  })
  const arbitrary = fc.record({
    order,
    address,
    port,
    method: fc.constantFrom(...(Object.keys(METHODS) as (keyof typeof METHODS)[])),
    weight: int,
    thresholds: fc.tuple(int, int).map(([a, b]): [number, number] => [Math.max(a, b), Math.min(a, b)]),
    tunnel,
  })
  holds(
    'real servers',
    fc.property(arbitrary, (it) => {
      const settings: RealServerSettings = {
        method: it.method,
        weight: it.weight,
        upperThreshold: it.thresholds[0],
        lowerThreshold: it.thresholds[1],
        tunnel: { type: it.tunnel.type[0], port: it.tunnel.port, checksum: it.tunnel.checksum[0]! },
      }
      const key = { address: it.address.text, port: it.port }
      const bytes = encoded(it.order, (w) => {
        encodeDest(w, key, completeSettings(settings))
      })
      const members = attributes(attributes(bytes, it.order)[0]!.payload, it.order)
      expect(member(members, 1)).toEqual(it.address.bytes)
      expect(toNumber(member(members, 2), 'big')).toBe(it.port)
      expect(toNumber(member(members, 3), it.order)).toBe(METHODS[it.method])
      expect(toNumber(member(members, 4), it.order)).toBe(it.weight)
      expect(toNumber(member(members, 5), it.order)).toBe(it.thresholds[0])
      expect(toNumber(member(members, 6), it.order)).toBe(it.thresholds[1])
      expect(toNumber(member(members, 11), it.order)).toBe(it.address.family)
      expect(toNumber(member(members, 13), it.order)).toBe(it.tunnel.type[1])
      expect(toNumber(member(members, 14), 'big')).toBe(it.tunnel.port)
      expect(toNumber(member(members, 15), it.order)).toBe(it.tunnel.checksum[1])

      expect(decodeDest(readerOf(bytes, it.order), 'ipv4', numbers)).toMatchObject({
        ...settings,
        port: it.port,
      })
    }),
  )
})

test('sync daemons', () => {
  const arbitrary = fc.record({
    order,
    state: fc.constantFrom<[SyncDaemonSpec['state'], number]>(['master', 1], ['backup', 2]),
    multicastInterface: name,
    syncId: fc.integer({ min: 0, max: 255 }),
    maxLengthBytes: fc.integer({ min: 1, max: 65507 }),
    multicastPort: fc.integer({ min: 1, max: 65535 }),
    multicastTtl: fc.integer({ min: 1, max: 255 }),
    group: ipv4.map((bytes) => Uint8Array.from([224 + (bytes[0]! & 15), ...bytes.subarray(1)])),
  })
  holds(
    'sync daemons',
    fc.property(arbitrary, ({ order: byteOrder, state, group, ...rest }) => {
      const spec: SyncDaemonSpec = { ...rest, state: state[0], multicastGroup: group.join('.') }
      const bytes = encoded(byteOrder, (w) => {
        encodeDaemon(w, spec)
      })
      const members = attributes(attributes(bytes, byteOrder)[0]!.payload, byteOrder)
      expect(toNumber(member(members, 1), byteOrder)).toBe(state[1])
      expect(toNumber(member(members, 3), byteOrder)).toBe(spec.syncId)
      expect(toNumber(member(members, 4), byteOrder)).toBe(spec.maxLengthBytes)
      expect(member(members, 5)).toEqual(group)
      expect(toNumber(member(members, 7), byteOrder)).toBe(spec.multicastPort)
      expect(toNumber(member(members, 8), byteOrder)).toBe(spec.multicastTtl)
      expect(decodeDaemon(readerOf(bytes, byteOrder))).toEqual(spec)
    }),
  )
})
