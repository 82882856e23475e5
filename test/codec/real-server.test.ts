import { describe, expect, test } from 'vitest'
import { decodeDest, encodeDest } from '../../lib/codec/real-server.ts'
import { bigints, numbers } from '../../lib/codec/stats.ts'
import {
  completeSettings,
  mergeSettings,
  newDest,
  withServerSettings,
} from '../../lib/model/server-settings.ts'
import type { RealServerChanges, RealServerSettings } from '../../lib/model/types.ts'
import { concat, hex, number, type Order, ORDERS, writer } from '../helpers/bytes.ts'
import { byType, membersOf, readerOf } from './helpers.ts'

const DEST = 2
const ADDR4 = '0a000007000000000000000000000000'
const ADDR6 = '20010db8000000000000000000000007'
const KEY = { address: '10.0.0.7', port: 8443 }
const KEY6 = { address: '2001:db8::7', port: 0 }

function host(order: Order, value: number, size: number): string {
  return Buffer.from(number(value, size, order)).toString('hex')
}

function encodedMembers(
  order: Order,
  key: typeof KEY,
  settings?: RealServerSettings,
): Record<number, string> {
  return byType(
    membersOf(order, DEST, (w) => {
      encodeDest(w, key, settings && completeSettings(settings))
    }),
  )
}

describe.each(ORDERS)('encode real server, %s endian', (order) => {
  const defaults = {
    3: host(order, 3, 4),
    4: host(order, 1, 4),
    5: host(order, 0, 4),
    6: host(order, 0, 4),
    13: '00',
    14: '0000',
    15: '0000',
  }

  test('writes the identity with its family, and nothing else', () => {
    expect(encodedMembers(order, KEY)).toEqual({ 1: ADDR4, 2: '20fb', 11: host(order, 2, 2) })
    expect(encodedMembers(order, KEY6)).toEqual({ 1: ADDR6, 2: '0000', 11: host(order, 10, 2) })
  })

  test("writes ipvsadm's defaults for what is left out", () => {
    expect(encodedMembers(order, KEY, {})).toEqual({ ...encodedMembers(order, KEY), ...defaults })
  })

  test.each<[string, RealServerSettings, (order: Order) => Record<number, string>]>([
    ['masquerade', { method: 'masquerade' }, (o) => ({ 3: host(o, 0, 4) })],
    ['local', { method: 'local' }, (o) => ({ 3: host(o, 1, 4) })],
    ['tunnel', { method: 'tunnel' }, (o) => ({ 3: host(o, 2, 4) })],
    ['direct', { method: 'direct' }, (o) => ({ 3: host(o, 3, 4) })],
    ['bypass', { method: 'bypass' }, (o) => ({ 3: host(o, 4, 4) })],
    ['method 7', { method: 7 }, (o) => ({ 3: host(o, 7, 4) })],
    ['weight 0', { weight: 0 }, (o) => ({ 4: host(o, 0, 4) })],
    ['the largest weight', { weight: 2147483647 }, (o) => ({ 4: host(o, 2147483647, 4) })],
    [
      'thresholds',
      { upperThreshold: 2000, lowerThreshold: 1500 },
      (o) => ({ 5: host(o, 2000, 4), 6: host(o, 1500, 4) }),
    ],
    ['an IP-in-IP tunnel', { method: 'tunnel', tunnel: { type: 'ipip' } }, (o) => ({ 3: host(o, 2, 4) })],
    [
      'a GUE tunnel',
      { method: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
      (o) => ({ 3: host(o, 2, 4), 13: '01', 14: '17c0' }),
    ],
    [
      'GUE with remote checksums',
      { tunnel: { type: 'gue', port: 1, checksum: 'remcsum' } },
      (o) => ({ 13: '01', 14: '0001', 15: host(o, 2, 2) }),
    ],
    [
      'a GRE tunnel with checksums',
      { tunnel: { type: 'gre', checksum: 'csum' } },
      (o) => ({ 13: '02', 15: host(o, 1, 2) }),
    ],
    [
      'a tunnel without a name',
      { tunnel: { type: 200, port: 65535, checksum: 0x1234 } },
      (o) => ({ 13: 'c8', 14: 'ffff', 15: host(o, 0x1234, 2) }),
    ],
  ])('writes %s', (_, settings, expected) => {
    expect(encodedMembers(order, KEY, settings)).toEqual({
      ...encodedMembers(order, KEY),
      ...defaults,
      ...expected(order),
    })
  })
})

describe.each(ORDERS)('decode real server, %s endian', (order) => {
  const w = writer(order)
  const IDENTITY = [w.attr(1, hex(ADDR4)), w.u16be(2, 8443)]
  const decode = (...members: Uint8Array[]) =>
    decodeDest(readerOf(w.nest(DEST, ...members), order), 'ipv4', numbers)
  const BASE = [...IDENTITY, w.u32(3, 3), w.u32(4, 1), w.u32(5, 0), w.u32(6, 0)]
  const GAUGES = [w.u32(7, 11), w.u32(8, 22), w.u32(9, 33)]

  test('reads every member', () => {
    const members = [
      ...IDENTITY,
      w.u32(3, 2),
      w.u32(4, 2147483647),
      w.u8(13, 2),
      w.u16be(14, 6080),
      w.u16(15, 1),
      w.u32(5, 2000),
      w.u32(6, 1500),
      ...GAUGES,
      w.u16(11, 2),
      w.nest(10, w.u32(1, 1)),
      w.nest(12, w.u64(1, 2)),
    ]
    const expected = {
      ...KEY,
      family: 'ipv4',
      method: 'tunnel',
      weight: 2147483647,
      upperThreshold: 2000,
      lowerThreshold: 1500,
      tunnel: { type: 'gre', port: 6080, checksum: 'csum' },
      activeConnections: 11,
      inactiveConnections: 22,
      persistentConnections: 33,
    }
    expect(decode(...members)).toMatchObject(expected)
    expect(decode(...members).stats.connections).toBe(2)
    // The order of attributes is no promise: the family after the address, STATS64 before STATS.
    expect(decode(...[...members].reverse())).toEqual(decode(...members))
  })

  test.each([
    [0, 'masquerade'],
    [1, 'local'],
    [2, 'tunnel'],
    [3, 'direct'],
    [4, 'bypass'],
    [5, 5],
    [6, 6],
    [7, 7],
    [0x1003, 'direct'],
    [0xfffffff8, 'masquerade'],
  ])('method 0x%x reads as %s', (value, method) => {
    expect(decode(...IDENTITY, w.u32(3, value)).method).toBe(method)
  })

  test('reads the address in its own family, which may come after it', () => {
    const server = decode(w.attr(1, hex(ADDR6)), w.u16be(2, 1), w.u32(3, 2), w.u16(11, 10))
    expect(server).toMatchObject({ address: '2001:db8::7', family: 'ipv6' })
  })

  test('without ADDR_FAMILY, before Linux 3.18, the family is that of the service', () => {
    const bytes = w.nest(DEST, w.attr(1, hex(ADDR6)), w.u16be(2, 80))
    expect(decodeDest(readerOf(bytes, order), 'ipv6', numbers)).toMatchObject({
      address: '2001:db8::7',
      family: 'ipv6',
    })
    expect(decodeDest(readerOf(bytes, order), 'ipv4', numbers)).toMatchObject({
      address: '32.1.13.184',
      family: 'ipv4',
    })
  })

  test('without TUN_TYPE, before Linux 5.2, there is no tunnel to tell of', () => {
    expect(decode(...IDENTITY, w.u32(3, 2))).not.toHaveProperty('tunnel')
  })

  test('without TUN_FLAGS, before Linux 5.3, there is no checksum', () => {
    expect(decode(...IDENTITY, w.u32(3, 2), w.u8(13, 1), w.u16be(14, 5)).tunnel).toEqual({
      type: 'gue',
      port: 5,
    })
  })

  test('tells of a tunnel where the method is that, and wherever it is not plain IP-in-IP', () => {
    const ipip = [w.u8(13, 0), w.u16be(14, 0), w.u16(15, 0)]
    expect(decode(...BASE, ...ipip)).not.toHaveProperty('tunnel')
    expect(decode(...IDENTITY, w.u32(3, 2), ...ipip).tunnel).toEqual({ type: 'ipip' })
    expect(decode(...BASE, w.u8(13, 2)).tunnel).toEqual({ type: 'gre' })
    expect(decode(...BASE, w.u8(13, 0), w.u16be(14, 9)).tunnel).toEqual({ type: 'ipip', port: 9 })
    expect(decode(...BASE, w.u8(13, 255), w.u16(15, 3)).tunnel).toEqual({ type: 255, checksum: 3 })
  })

  test('reads 32-bit counters where the kernel has no others, and 64-bit ones where it has', () => {
    const stats = w.nest(10, w.u32(1, 0xffffffff), w.u64(4, 2n ** 40n))
    expect(decode(...BASE, stats).stats).toMatchObject({ connections: 0xffffffff, bytesIn: 2 ** 40 })
    const stats64 = w.nest(12, w.u64(1, 2n ** 33n))
    expect(decode(...BASE, stats, stats64).stats).toMatchObject({ connections: 2 ** 33, bytesIn: 0 })
    expect(decode(...BASE, stats64, stats).stats).toMatchObject({ connections: 2 ** 33, bytesIn: 0 })
    expect(decode(...BASE).stats.connections).toBe(0)
  })

  test('reads counters as bigint', () => {
    const bytes = w.nest(DEST, ...BASE, w.nest(12, w.u64(2, 2n ** 64n - 1n)))
    const { stats, rates } = decodeDest(readerOf(bytes, order), 'ipv4', bigints)
    expect(stats.packetsIn).toBe(2n ** 64n - 1n)
    expect(rates.connectionsPerSecond).toBe(0)
  })

  test('steps over what a newer kernel sends, and takes the last of two', () => {
    expect(decode(w.attr(16, hex('010203')), ...BASE, w.u32(4, 5), w.nest(99), w.u32(4, 6)).weight).toBe(6)
  })

  test.each<[string, (order: Order) => Uint8Array]>([
    ['nothing', () => new Uint8Array()],
    ['another nest', (o) => writer(o).nest(1, writer(o).attr(1, hex(ADDR4)))],
    ['no address', (o) => writer(o).nest(DEST, writer(o).u16be(2, 80))],
    ['a short address', (o) => writer(o).nest(DEST, writer(o).attr(1, hex('0a000001')))],
    ['family 3', (o) => writer(o).nest(DEST, writer(o).attr(1, hex(ADDR4)), writer(o).u16(11, 3))],
    ['a weight of 2 bytes', (o) => writer(o).nest(DEST, writer(o).attr(1, hex(ADDR4)), writer(o).u16(4, 3))],
    [
      'a tunnel type of 0 bytes',
      (o) => writer(o).nest(DEST, writer(o).attr(1, hex(ADDR4)), writer(o).attr(13)),
    ],
    [
      'counters of 4 bytes',
      (o) => writer(o).nest(DEST, writer(o).attr(1, hex(ADDR4)), writer(o).nest(12, writer(o).u32(1, 1))),
    ],
  ])('refuses %s', (_, bytes) => {
    expect(() => decodeDest(readerOf(bytes(order), order), 'ipv4', numbers)).toThrow(
      expect.objectContaining({ name: 'IpvsError', code: 'EBADMSG' }),
    )
  })

  test('a server that was read, written and read again is the same', () => {
    const first = decode(
      ...IDENTITY,
      w.u32(3, 2),
      w.u32(4, 9),
      w.u32(5, 7),
      w.u32(6, 6),
      w.u8(13, 1),
      w.u16be(14, 5),
      w.u16(15, 2),
    )
    const members = membersOf(order, DEST, (encoder) => {
      encodeDest(encoder, { address: first.address, port: first.port }, first)
    })
    expect(decode(concat(...members.map(({ type, payload }) => w.attr(type, payload))))).toEqual(first)
  })
})

describe('merge real server', () => {
  const current = {
    method: 'tunnel',
    weight: 3,
    upperThreshold: 100,
    lowerThreshold: 50,
    tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
  } as const

  test.each<[string, RealServerChanges, object]>([
    ['nothing', {}, {}],
    ['the weight, to 0', { weight: 0 }, { weight: 0 }],
    ['the method', { method: 'direct' }, { method: 'direct' }],
    ['one threshold', { lowerThreshold: 100 }, { lowerThreshold: 100 }],
    ['both thresholds', { upperThreshold: 0, lowerThreshold: 0 }, { upperThreshold: 0, lowerThreshold: 0 }],
    [
      'the port of the tunnel',
      { tunnel: { type: 'gue', port: 1 } },
      { tunnel: { type: 'gue', port: 1, checksum: 'csum' } },
    ],
    [
      'the checksum, away',
      { tunnel: { type: 'gue', checksum: 'none' } },
      { tunnel: { type: 'gue', port: 6080 } },
    ],
    [
      'the same type, by number',
      { tunnel: { type: 1, checksum: 2 } },
      { tunnel: { type: 'gue', port: 6080, checksum: 'remcsum' } },
    ],
    ['the type, with nothing of the old one', { tunnel: { type: 'gre' } }, { tunnel: { type: 'gre' } }],
    ['the type to plain', { tunnel: { type: 'ipip' } }, { tunnel: { type: 'ipip' } }],
  ])('changes %s, and nothing else', (_, changes, expected) => {
    expect(mergeSettings(current, changes)).toEqual({ ...current, ...expected })
  })

  test.each<[string, RealServerChanges]>([
    ['a lower threshold above the upper', { lowerThreshold: 101 }],
    ['an upper threshold below the lower', { upperThreshold: 49 }],
    ['GUE whose port goes', { tunnel: { type: 'gue', port: 0 } }],
  ])('refuses %s', (_, changes) => {
    expect(() => mergeSettings(current, changes)).toThrow(RangeError)
  })

  test('refuses GUE without a port where there was none', () => {
    expect(() =>
      mergeSettings({ ...current, tunnel: { type: 'ipip' } }, { tunnel: { type: 'gue' } }),
    ).toThrow(RangeError)
  })

  test('leaves thresholds alone that a foreign writer set, however odd', () => {
    expect(mergeSettings({ ...current, lowerThreshold: 200 }, { weight: 1 }).lowerThreshold).toBe(200)
  })

  test('what was added reads as a reply would, and an edit keeps the counters', () => {
    const added = newDest(KEY, completeSettings({ method: 'tunnel' }))
    expect(added).toMatchObject({
      ...KEY,
      family: 'ipv4',
      method: 'tunnel',
      weight: 1,
      tunnel: { type: 'ipip' },
    })
    expect(newDest(KEY, completeSettings({}))).not.toHaveProperty('tunnel')
    const read = { ...added, activeConnections: 4 }
    expect(withServerSettings(read, mergeSettings(read, { weight: 0 }))).toEqual({ ...read, weight: 0 })
  })
})
