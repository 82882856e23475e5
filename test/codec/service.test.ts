import { describe, expect, test } from 'vitest'
import { decodeService, encodeService } from '../../lib/codec/service.ts'
import { bigints, numbers } from '../../lib/codec/stats.ts'
import {
  kernelServiceOf,
  mergeService,
  newService,
  withServiceSettings,
} from '../../lib/model/service-settings.ts'
import type { ServiceChanges, ServiceKey, ServiceSettings } from '../../lib/model/types.ts'
import { concat, hex, number, type Order, ORDERS, writer } from '../helpers/bytes.ts'
import { byType, membersOf, readerOf } from './helpers.ts'

const SERVICE = 1
const PERSISTENT = 0x01
const HASHED = 0x02
const ONEPACKET = 0x04
const SETTABLE = 0x3d

const TCP: ServiceKey = { protocol: 'tcp', address: '10.0.0.1', port: 80 }
const TCP6: ServiceKey = { protocol: 'tcp', address: '2001:db8::1', port: 443 }
const ADDR4 = '0a000001000000000000000000000000'
const ADDR6 = '20010db8000000000000000000000001'

function encodedMembers(order: Order, key: ServiceKey, settings?: ServiceSettings): Record<number, string> {
  const family =
    key.protocol === 'fwmark' ? (key.family ?? 'ipv4') : key.address.includes(':') ? 'ipv6' : 'ipv4'
  return byType(
    membersOf(order, SERVICE, (w) => {
      encodeService(w, key, settings && kernelServiceOf(settings, family))
    }),
  )
}

/** Host order, for expectations that run in both. */
function host(order: Order, value: number, size: number): string {
  return Buffer.from(number(value, size, order)).toString('hex')
}

describe.each(ORDERS)('encode service, %s endian', (order) => {
  test.each<[string, ServiceKey, (order: Order) => Record<number, string>]>([
    ['tcp over IPv4', TCP, (o) => ({ 1: host(o, 2, 2), 2: host(o, 6, 2), 3: ADDR4, 4: '0050' })],
    [
      'udp over IPv6',
      { ...TCP6, protocol: 'udp' },
      (o) => ({ 1: host(o, 10, 2), 2: host(o, 17, 2), 3: ADDR6, 4: '01bb' }),
    ],
    [
      'sctp',
      { ...TCP, protocol: 'sctp' },
      (o) => ({ 1: host(o, 2, 2), 2: host(o, 132, 2), 3: ADDR4, 4: '0050' }),
    ],
    [
      'a protocol by number',
      { ...TCP, protocol: 50 },
      (o) => ({ 1: host(o, 2, 2), 2: host(o, 50, 2), 3: ADDR4, 4: '0050' }),
    ],
    [
      'a firewall mark',
      { protocol: 'fwmark', fwmark: 0xfedcba98 },
      (o) => ({ 1: host(o, 2, 2), 5: host(o, 0xfedcba98, 4) }),
    ],
    [
      'a firewall mark of IPv6',
      { protocol: 'fwmark', fwmark: 7, family: 'ipv6' },
      (o) => ({ 1: host(o, 10, 2), 5: host(o, 7, 4) }),
    ],
  ])('writes the identity of %s and nothing else', (_, key, expected) => {
    expect(encodedMembers(order, key)).toEqual(expected(order))
  })

  test("writes ipvsadm's defaults for what is left out", () => {
    expect(encodedMembers(order, TCP, {})).toEqual({
      ...encodedMembers(order, TCP),
      6: '776c6300',
      7: host(order, 0, 4) + host(order, SETTABLE, 4),
      8: host(order, 0, 4),
      9: 'ffffffff',
    })
    expect(encodedMembers(order, TCP6, {})[9]).toBe(host(order, 128, 4))
  })

  test('writes every setting', () => {
    const members = encodedMembers(order, TCP, {
      scheduler: 'sh',
      schedulerFlags: ['sh-fallback', 'sh-port', 'flag-3'],
      onePacket: true,
      persistence: { timeoutSeconds: 600, netmask: '255.255.0.0' },
      persistenceEngine: 'sip',
    })
    expect(members).toEqual({
      ...encodedMembers(order, TCP),
      6: '736800',
      7: host(order, 0x3d, 4) + host(order, SETTABLE, 4),
      8: host(order, 600, 4),
      9: 'ffff0000',
      11: '73697000',
    })
  })

  test.each<[string, ServiceKey, ServiceSettings['persistence'], (order: Order) => string]>([
    ['an IPv4 mask in network order', TCP, { netmask: '255.255.255.0' }, () => 'ffffff00'],
    ['an IPv4 mask that is not contiguous', TCP, { netmask: '255.0.255.1' }, () => 'ff00ff01'],
    ['an IPv4 prefix as a mask', TCP, { netmask: 20 }, () => 'fffff000'],
    ['IPv4 prefix 0', TCP, { netmask: 0 }, () => '00000000'],
    ['IPv4 prefix 1', TCP, { netmask: 1 }, () => '80000000'],
    ['IPv4 prefix 32', TCP, { netmask: 32 }, () => 'ffffffff'],
    ["an IPv6 prefix in the machine's order", TCP6, { netmask: 64 }, (o) => host(o, 64, 4)],
    ['IPv6 prefix 1', TCP6, { netmask: 1 }, (o) => host(o, 1, 4)],
    [
      'the prefix of an IPv6 mark',
      { protocol: 'fwmark', fwmark: 1, family: 'ipv6' },
      { netmask: 56 },
      (o) => host(o, 56, 4),
    ],
    ['the mask of an IPv4 mark', { protocol: 'fwmark', fwmark: 1 }, { netmask: 24 }, () => 'ffffff00'],
    ['the default of persistence, IPv4', TCP, {}, () => 'ffffffff'],
    ['the default of persistence, IPv6', TCP6, {}, (o) => host(o, 128, 4)],
  ])('writes %s', (_, key, persistence, expected) => {
    expect(encodedMembers(order, key, { persistence: persistence! })[9]).toBe(expected(order))
  })

  test('persistence is 300 seconds by default, and can be 0', () => {
    expect(encodedMembers(order, TCP, { persistence: {} })[8]).toBe(host(order, 300, 4))
    expect(encodedMembers(order, TCP, { persistence: { timeoutSeconds: 0 } })[8]).toBe(host(order, 0, 4))
    expect(encodedMembers(order, TCP, { persistence: { timeoutSeconds: 4294967 } })[8]).toBe(
      host(order, 4294967, 4),
    )
  })

  test.each([
    ['flag-1', 0x08],
    ['flag-2', 0x10],
    ['flag-3', 0x20],
    ['sh-fallback', 0x08],
    ['sh-port', 0x10],
    ['mh-fallback', 0x08],
    ['mh-port', 0x10],
  ] as const)('flag %s is bit 0x%x', (flag, bit) => {
    const scheduler = flag.startsWith('flag') ? 'rr' : flag.slice(0, 2)
    expect(encodedMembers(order, TCP, { scheduler, schedulerFlags: [flag] })[7]).toBe(
      host(order, bit, 4) + host(order, SETTABLE, 4),
    )
  })
})

/** A reply's SERVICE nest with these members. */
function reply(order: Order, ...members: Uint8Array[]): Uint8Array {
  return writer(order).nest(SERVICE, ...members)
}

describe.each(ORDERS)('decode service, %s endian', (order) => {
  const w = writer(order)
  const flags = (bits: number) => w.attr(7, concat(number(bits, 4, order), number(0xffffffff, 4, order)))
  const AF4 = w.u16(1, 2)
  const AF6 = w.u16(1, 10)
  const IDENTITY = [AF4, w.u16(2, 6), w.attr(3, hex(ADDR4)), w.u16be(4, 80)]
  const IDENTITY6 = [AF6, w.u16(2, 17), w.attr(3, hex(ADDR6)), w.u16be(4, 443)]
  const settings = (scheduler: string, bits: number) => [
    w.text(6, scheduler),
    flags(bits),
    w.u32(8, 0),
    w.attr(9, hex('ffffffff')),
  ]
  const decode = (...members: Uint8Array[]) =>
    decodeService(readerOf(reply(order, ...members), order), numbers)

  test('reads identities', () => {
    expect(decode(...IDENTITY, ...settings('wlc', HASHED)).state.key).toEqual(TCP)
    expect(decode(...IDENTITY6, ...settings('wlc', HASHED)).state).toMatchObject({
      key: { protocol: 'udp', address: '2001:db8::1', port: 443 },
      family: 'ipv6',
    })
    expect(decode(AF4, w.u32(5, 0xffffffff), ...settings('wlc', HASHED)).state.key).toEqual({
      protocol: 'fwmark',
      fwmark: 0xffffffff,
      family: 'ipv4',
    })
    expect(decode(AF6, w.u32(5, 1), ...settings('wlc', HASHED)).state).toMatchObject({
      key: { protocol: 'fwmark', fwmark: 1, family: 'ipv6' },
      family: 'ipv6',
    })
  })

  test.each([
    [6, 'tcp'],
    [17, 'udp'],
    [132, 'sctp'],
    [0, 0],
    [50, 50],
    [65535, 65535],
  ])('protocol %i reads as %s', (protocol, expected) => {
    const { key } = decode(AF4, w.u16(2, protocol), w.attr(3, hex(ADDR4)), w.u16be(4, 0)).state
    expect(key.protocol).toBe(expected)
  })

  test('reads the same whatever the order of the attributes', () => {
    const members = [
      ...IDENTITY6,
      w.text(6, 'mh'),
      flags(0x11),
      w.u32(8, 60),
      w.u32(9, 64),
      w.text(11, 'sip'),
    ]
    const expected = decode(...members)
    expect(expected.state).toMatchObject({ persistence: { timeoutSeconds: 60, netmask: 64 } })
    expect(decode(...[...members].reverse())).toEqual(expected)
    // The mask and the address before the family that they depend on.
    expect(decode(...members.slice(1), members[0]!)).toEqual(expected)
  })

  test('reads an IPv4 mask in network order, and an IPv6 prefix in that of the machine', () => {
    const persistent = (identity: Uint8Array[], netmask: Uint8Array) =>
      decode(...identity, w.text(6, 'rr'), flags(PERSISTENT), w.u32(8, 300), netmask).state.persistence
    expect(persistent(IDENTITY, w.u32be(9, 0xffffff00))).toEqual({
      timeoutSeconds: 300,
      netmask: '255.255.255.0',
    })
    expect(persistent(IDENTITY, w.u32be(9, 0))).toEqual({ timeoutSeconds: 300, netmask: '0.0.0.0' })
    expect(persistent(IDENTITY6, w.u32(9, 1))).toEqual({ timeoutSeconds: 300, netmask: 1 })
    expect(persistent([AF6, w.u32(5, 3)], w.u32(9, 128))).toEqual({ timeoutSeconds: 300, netmask: 128 })
  })

  test('shows no persistence where the flag is not set, whatever the rest says', () => {
    const { state } = decode(
      ...IDENTITY,
      w.text(6, 'rr'),
      flags(HASHED),
      w.u32(8, 300),
      w.u32be(9, 0xffffff00),
    )
    expect(state).not.toHaveProperty('persistence')
    expect(state).not.toHaveProperty('persistenceEngine')
  })

  test.each<[string, number, readonly (string | number)[], boolean]>([
    ['rr', 0x08 | 0x10 | 0x20, ['flag-1', 'flag-2', 'flag-3'], false],
    ['sh', 0x08 | 0x10 | 0x20, ['sh-fallback', 'sh-port', 'flag-3'], false],
    ['mh', 0x08 | 0x10 | 0x20, ['mh-fallback', 'mh-port', 'flag-3'], false],
    ['mh', 0x10, ['mh-port'], false],
    ['rr', ONEPACKET, [], true],
    ['rr', HASHED, [], false],
    ['rr', 0xffffffc2, [0xffffffc0], false],
    ['sh', 0x80000052, ['sh-port', 0x80000040], false],
    ['shx', 0x08, ['flag-1'], false],
  ])('names the flags of %s, and has a number for the others (0x%x)', (scheduler, bits, names, onePacket) => {
    const { state } = decode(...IDENTITY, ...settings(scheduler, bits))
    expect(state.schedulerFlags).toEqual(names)
    expect(state.onePacket).toBe(onePacket)
    expect(Object.keys(state).sort()).toEqual([
      'family',
      'key',
      'onePacket',
      'rates',
      'scheduler',
      'schedulerFlags',
      'stats',
    ])
  })

  test('steps over what a newer kernel sends, and takes the last of two', () => {
    const { state } = decode(
      w.attr(77, new Uint8Array(13)),
      ...IDENTITY,
      w.text(6, 'rr'),
      ...settings('wlc', HASHED),
      w.nest(0x8000 | 99, w.u32(1, 2)),
      w.attr(0x3fff),
    )
    expect(state).toMatchObject({ key: TCP, scheduler: 'wlc' })
  })

  test('reads nests that carry the nested flag, and other attributes around', () => {
    const bytes = concat(
      w.u32(4, 9),
      w.nest(0x8000 | SERVICE, ...IDENTITY, ...settings('rr', 0)),
      w.u32(6, 9),
    )
    expect(decodeService(readerOf(bytes, order), numbers).state.key).toEqual(TCP)
  })

  test('an empty engine is none', () => {
    expect(decode(...IDENTITY, ...settings('rr', 0), w.text(11, '')).state).not.toHaveProperty(
      'persistenceEngine',
    )
    expect(decode(...IDENTITY, ...settings('rr', 0), w.text(11, 'sip')).state.persistenceEngine).toBe('sip')
  })

  test('reads bigint counters beyond 2^53 exactly', () => {
    const members = [
      ...IDENTITY,
      ...settings('rr', 0),
      w.nest(12, w.u64(1, 2n ** 63n + 1n), w.u64(5, 2n ** 64n - 1n)),
    ]
    const { stats } = decodeService(readerOf(reply(order, ...members), order), bigints).state
    expect([stats.connections, stats.bytesOut, stats.packetsIn]).toEqual([2n ** 63n + 1n, 2n ** 64n - 1n, 0n])
  })

  test.each<[string, (order: Order) => Uint8Array]>([
    ['nothing', () => new Uint8Array()],
    ['another nest', (o) => writer(o).nest(2, writer(o).u16(1, 2))],
    ['an empty nest', (o) => reply(o)],
    [
      'no address and no mark',
      (o) => reply(o, writer(o).u16(1, 2), writer(o).u16(2, 6), writer(o).u16be(4, 80)),
    ],
    ['no family', (o) => reply(o, writer(o).attr(3, hex(ADDR4)))],
    ['family 3', (o) => reply(o, writer(o).u16(1, 3), writer(o).attr(3, hex(ADDR4)))],
    ['an address of 4 bytes', (o) => reply(o, writer(o).u16(1, 2), writer(o).attr(3, hex('0a000001')))],
    ['flags of 3 bytes', (o) => reply(o, writer(o).attr(7, hex('010203')))],
    ['a mask of 2 bytes', (o) => reply(o, writer(o).attr(9, hex('ffff')))],
  ])('refuses %s', (_, bytes) => {
    expect(() => decodeService(readerOf(bytes(order), order), numbers)).toThrow(
      expect.objectContaining({ name: 'IpvsError', code: 'EBADMSG' }),
    )
  })
})

describe('merge service', () => {
  const current = {
    scheduler: 'sh',
    flags: PERSISTENT | HASHED | 0x08 | 0x40,
    flagsMask: 0,
    timeoutSeconds: 60,
    netmask: 0xffffff00,
    persistenceEngine: 'sip',
  }

  test.each<[string, ServiceChanges, Partial<typeof current>]>([
    ['nothing', {}, {}],
    ['the scheduler', { scheduler: 'rr' }, { scheduler: 'rr' }],
    ['one-packet', { onePacket: true }, { flags: current.flags | ONEPACKET, flagsMask: ONEPACKET }],
    ['no one-packet', { onePacket: false }, { flagsMask: ONEPACKET }],
    [
      'scheduler flags',
      { schedulerFlags: ['sh-port'] },
      { flags: PERSISTENT | HASHED | 0x10 | 0x40, flagsMask: 0x38 },
    ],
    ['no scheduler flags', { schedulerFlags: [] }, { flags: PERSISTENT | HASHED | 0x40, flagsMask: 0x38 }],
    [
      'flags of the new scheduler',
      { scheduler: 'mh', schedulerFlags: ['mh-port'] },
      { scheduler: 'mh', flags: PERSISTENT | HASHED | 0x10 | 0x40, flagsMask: 0x38 },
    ],
    [
      'the timeout, and the mask stays',
      { persistence: { timeoutSeconds: 5 } },
      { timeoutSeconds: 5, flagsMask: PERSISTENT },
    ],
    [
      'the mask, and the timeout stays',
      { persistence: { netmask: 16 } },
      { netmask: 0xffff0000, flagsMask: PERSISTENT },
    ],
    ['persistence as it is', { persistence: {} }, { flagsMask: PERSISTENT }],
    [
      'no persistence',
      { persistence: null },
      { flags: HASHED | 0x08 | 0x40, flagsMask: PERSISTENT, timeoutSeconds: 0, netmask: 0xffffffff },
    ],
    ['no engine', { persistenceEngine: null }, { persistenceEngine: '' }],
    ['another engine', { persistenceEngine: 'xyz' }, { persistenceEngine: 'xyz' }],
  ])('changes %s, and nothing else', (_, changes, expected) => {
    expect(mergeService(current, changes, 'ipv4')).toEqual({ ...current, ...expected })
  })

  test('persistence that begins has the defaults, not what the kernel kept', () => {
    const off = { ...current, flags: HASHED }
    expect(mergeService(off, { persistence: {} }, 'ipv4')).toMatchObject({
      flags: HASHED | PERSISTENT,
      timeoutSeconds: 300,
      netmask: 0xffffffff,
    })
    expect(mergeService(off, { persistence: {} }, 'ipv6').netmask).toBe(128)
  })

  test('flags of another scheduler are refused once it is known', () => {
    expect(() => mergeService(current, { schedulerFlags: ['mh-port'] }, 'ipv4')).toThrow(TypeError)
    expect(() => mergeService(current, { scheduler: 'rr', schedulerFlags: ['sh-port'] }, 'ipv4')).toThrow(
      TypeError,
    )
  })

  test.each(ORDERS)('only bits that are named count: a SET writes no other, %s endian', (order) => {
    const settings = mergeService(current, { onePacket: true }, 'ipv4')
    const members = byType(
      membersOf(order, SERVICE, (w) => {
        encodeService(w, TCP, settings)
      }),
    )
    expect(members[7]).toBe(host(order, ONEPACKET, 4) + host(order, ONEPACKET, 4))
    expect(members[11]).toBe('73697000')
  })
})

describe('services without the kernel', () => {
  test('what was added reads as a reply would, and an edit keeps the counters', () => {
    const added = newService(TCP, kernelServiceOf({ scheduler: 'rr', persistence: {} }, 'ipv4'))
    expect(added.state).toMatchObject({ key: TCP, family: 'ipv4', persistence: { timeoutSeconds: 300 } })
    const read = { ...added, state: { ...added.state, stats: { ...added.state.stats, connections: 7 } } }
    expect(
      withServiceSettings(read, mergeService(read.kernel, { scheduler: 'lc' }, 'ipv4')).state,
    ).toMatchObject({
      scheduler: 'lc',
      stats: { connections: 7 },
    })
  })
})
