import { describe, expect, test } from 'vitest'
import { type AttributeReader, MessageReader } from '../../lib/codec/attributes.ts'
import { decodeInfo, decodeTimeouts } from '../../lib/codec/config.ts'
import { decodeDaemon } from '../../lib/codec/daemon.ts'
import { decodeDest } from '../../lib/codec/real-server.ts'
import { decodeService } from '../../lib/codec/service.ts'
import { bigints, decodeStatistics, numbers } from '../../lib/codec/stats.ts'
import { IpvsError } from '../../lib/model/errors.ts'
import * as golden from '../fixtures/messages-6.12-x86_64.ts'
import { concat, hex, number, type Order, ORDERS, writer } from '../helpers/bytes.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed, Random } from '../helpers/random.ts'
import { readerOf } from './helpers.ts'

/**
 * Whatever the bytes, a decoder gives a value or throws IpvsError EBADMSG: it
 * does not read past the end (a DataView throws RangeError), and it ends.
 */

type Decoder = (reader: AttributeReader) => unknown

const DECODERS: Readonly<Record<string, Decoder>> = {
  'all attributes': (reader) => {
    let sum = 0
    while (reader.next()) sum += reader.type + reader.string().length
    return sum
  },
  service: (reader) => decodeService(reader, numbers),
  'service, bigint': (reader) => decodeService(reader, bigints),
  'real server': (reader) => decodeDest(reader, 'ipv4', numbers),
  'real server, bigint': (reader) => decodeDest(reader, 'ipv6', bigints),
  daemon: decodeDaemon,
  info: decodeInfo,
  timeouts: decodeTimeouts,
  statistics: (reader) => decodeStatistics(reader, false, numbers),
  'statistics, 64 bits': (reader) => decodeStatistics(reader, true, bigints),
}

/** Runs every decoder over the attributes, and fails the test on anything but a value or EBADMSG. */
function decodeAll(bytes: Uint8Array, order: Order): void {
  for (const [name, decode] of Object.entries(DECODERS)) {
    attempt(name, bytes, () => decode(readerOf(bytes, order)))
  }
}

/** The same for whole messages. */
function readAll(bytes: Uint8Array, order: Order): void {
  for (const [name, decode] of Object.entries(DECODERS)) {
    attempt(`messages, ${name}`, bytes, () => {
      const messages = new MessageReader(bytes, order === 'little')
      let count = 0
      while (messages.next()) {
        decode(messages.attributes())
        count += 1
      }
      // The shortest message has 20 bytes: more of them than fit would be a reader that does not move on.
      expect(count).toBeLessThanOrEqual(bytes.length / 20)
    })
  }
}

function attempt(name: string, bytes: Uint8Array, action: () => unknown): void {
  try {
    action()
  } catch (error) {
    if (error instanceof IpvsError && error.code === 'EBADMSG') return
    throw new Error(`${name} over ${Buffer.from(bytes).toString('hex')}`, { cause: error })
  }
}

/** The same bytes, in memory of exactly their length: reading past it is a RangeError. */
function exactly(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes)
}

/** Replies as a kernel sends them, for either byte order. */
function replies(order: Order): Record<string, Uint8Array> {
  const w = writer(order)
  const stats = (type: number, wide: boolean) =>
    w.nest(
      type,
      ...Array.from({ length: 10 }, (_, index) =>
        wide || index === 3 || index === 4
          ? concat(w.attr(11), w.u64(index + 1, 2n ** 40n + BigInt(index)))
          : w.u32(index + 1, index),
      ),
    )
  const flags = w.attr(7, concat(number(0x13, 4, order), number(0xffffffff, 4, order)))
  const service = w.nest(
    1,
    w.u16(1, 10),
    w.u16(2, 17),
    w.attr(3, hex('20010db8000000000000000000000001')),
    w.u16be(4, 443),
    w.text(6, 'mh'),
    w.text(11, 'sip'),
    flags,
    w.u32(8, 300),
    w.u32(9, 64),
    stats(10, false),
    stats(12, true),
  )
  const mark = w.nest(
    1,
    w.u16(1, 2),
    w.u32(5, 5),
    w.text(6, 'sh'),
    flags,
    w.u32(8, 1),
    w.u32be(9, 0xffffff00),
  )
  const dest = w.nest(
    2,
    w.attr(1, hex('0a000007000000000000000000000000')),
    w.u16be(2, 8443),
    w.u32(3, 2),
    w.u32(4, 1),
    w.u8(13, 1),
    w.u16be(14, 6080),
    w.u16(15, 1),
    ...[5, 6, 7, 8, 9].map((type) => w.u32(type, type)),
    w.u16(11, 2),
    stats(10, false),
    stats(12, true),
  )
  const daemon = w.nest(
    3,
    w.u32(1, 1),
    w.text(2, 'ethé'),
    w.u32(3, 7),
    w.u16(4, 1472),
    w.u16(7, 8848),
    w.u8(8, 1),
    w.attr(5, hex('e0000051')),
  )
  return {
    service: w.message({ command: 1, flags: 2 }, service),
    'firewall mark': w.message({ command: 1 }, mark),
    'real server': w.message({ command: 5, flags: 2 }, dest),
    daemon: w.message({ command: 9, flags: 2 }, daemon),
    timeouts: w.message({ command: 12 }, w.u32(4, 900), w.u32(5, 120), w.u32(6, 300)),
    info: w.message({ command: 14 }, w.u32(1, 0x010201), w.u32(2, 4096)),
    'several messages': concat(
      w.message({ command: 1, flags: 2 }, service),
      w.message({ command: 5, flags: 2 }, dest),
      w.message({ command: 1, flags: 2 }, mark),
    ),
  }
}

describe.each(ORDERS)('a reply that was cut, %s endian', (order) => {
  test.each(Object.entries(replies(order)))('%s, at every length', (_, bytes) => {
    for (let length = 0; length <= bytes.length; length++) {
      const cut = exactly(bytes.subarray(0, length))
      readAll(cut, order)
      if (length >= 20) decodeAll(exactly(cut.subarray(20)), order)
    }
  })

  test.each(Object.entries(replies(order)))('%s, with its own lengths put right', (_, bytes) => {
    // The message and its nest claim to end at the cut, so that the cut lies inside a member.
    for (let length = 24; length < bytes.length; length++) {
      const cut = exactly(bytes.subarray(0, length))
      cut.set(number(length, 4, order), 0)
      cut.set(number(length - 20, 2, order), 20)
      readAll(cut, order)
    }
  })

  test.each(Object.entries(replies(order)))(
    '%s, in a larger buffer, does not reach what follows',
    (_, bytes) => {
      for (let length = 0; length < bytes.length; length++) {
        const larger = concat(bytes.subarray(0, length), new Uint8Array(64).fill(0xff))
        readAll(larger.subarray(0, length), order)
      }
    },
  )
})

test.each(Object.entries({ GET_SERVICE: golden.GET_SERVICE_REPLY, GET_DEST: golden.GET_DEST_REPLY }))(
  'a captured reply to %s that was cut is refused at every length',
  (_, text) => {
    const bytes = hex(text)
    for (let length = 1; length < bytes.length; length++) {
      const messages = new MessageReader(exactly(bytes.subarray(0, length)), true)
      expect(() => messages.next()).toThrow(expect.objectContaining({ code: 'EBADMSG' }))
    }
  },
)

const ROUNDS = cases(500, 10_000)

describe.each(ORDERS)('random byte strings, %s endian', (order) => {
  test('of no shape at all', () => {
    const random = new Random(chooseSeed(`random bytes, ${order}`))
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = random.bytes(random.below(160))
      decodeAll(bytes, order)
      readAll(bytes, order)
    }
  })

  test('that are attributes, of random types and lengths', () => {
    const random = new Random(chooseSeed(`random attributes, ${order}`))
    const w = writer(order)
    const attribute = (depth: number): Uint8Array => {
      const type = random.below(20) | random.pick([0, 0, 0, 0x4000, 0x8000])
      const members = Array.from({ length: random.below(6) }, () =>
        depth > 0 && random.below(3) === 0
          ? attribute(depth - 1)
          : w.attr(random.below(20), random.bytes(random.below(20))),
      )
      return depth > 0 ? w.nest(type, ...members) : w.attr(type, random.bytes(random.below(20)))
    }
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = concat(
        w.nest(1 + random.below(3), attribute(2), attribute(1), attribute(0)),
        attribute(1),
      )
      decodeAll(bytes, order)
    }
  })

  test('that are replies with some bytes changed', () => {
    const random = new Random(chooseSeed(`mutated replies, ${order}`))
    const originals = Object.values(replies(order))
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = exactly(random.pick(originals))
      for (let changes = 1 + random.below(4); changes > 0; changes--) {
        bytes[random.below(bytes.length)] = random.pick([0, 1, 3, 4, 5, 0x7f, 0x80, 0xff, random.below(256)])
      }
      const length = random.below(4) === 0 ? random.below(bytes.length) : bytes.length
      readAll(exactly(bytes.subarray(0, length)), order)
    }
  })
})
