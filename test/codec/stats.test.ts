import { describe, expect, test } from 'vitest'
import { bigints, decodeStatistics, numbers } from '../../lib/codec/stats.ts'
import { concat, ORDERS, writer } from '../helpers/bytes.ts'
import { readerOf } from './helpers.ts'

const PAD = 11

describe.each(ORDERS)('statistics, %s endian', (order) => {
  const w = writer(order)
  const narrow = [
    w.u32(1, 1),
    w.u32(2, 2),
    w.u32(3, 3),
    w.u64(4, 4),
    w.u64(5, 5),
    w.u32(6, 6),
    w.u32(7, 7),
    w.u32(8, 8),
    w.u32(9, 9),
    w.u32(10, 10),
  ]
  const wide = Array.from({ length: 10 }, (_, index) => w.u64(index + 1, index + 1))
  const expected = {
    stats: { connections: 1, packetsIn: 2, packetsOut: 3, bytesIn: 4, bytesOut: 5 },
    rates: {
      connectionsPerSecond: 6,
      packetsInPerSecond: 7,
      packetsOutPerSecond: 8,
      bytesInPerSecond: 9,
      bytesOutPerSecond: 10,
    },
  }

  test('reads STATS and STATS64', () => {
    expect(decodeStatistics(readerOf(concat(...narrow), order), false, numbers)).toEqual(expected)
    expect(decodeStatistics(readerOf(concat(...wide), order), true, numbers)).toEqual(expected)
  })

  test('steps over padding before any 64-bit number, and takes any order', () => {
    for (const [members, isWide] of [
      [narrow, false],
      [wide, true],
    ] as const) {
      const padded = members.flatMap((member) => [w.attr(PAD), member, w.attr(PAD), w.attr(PAD)]).reverse()
      expect(decodeStatistics(readerOf(concat(...padded), order), isWide, numbers)).toEqual(expected)
    }
  })

  test('reads counters as bigint, and rates as numbers all the same', () => {
    const { stats, rates } = decodeStatistics(readerOf(concat(...wide), order), true, bigints)
    expect(stats).toEqual({ connections: 1n, packetsIn: 2n, packetsOut: 3n, bytesIn: 4n, bytesOut: 5n })
    expect(rates).toEqual(expected.rates)
    expect(decodeStatistics(readerOf(concat(...narrow), order), false, bigints).stats).toEqual(stats)
  })

  test.each([
    [0n, 0],
    [2n ** 31n, 2 ** 31],
    [2n ** 32n - 1n, 2 ** 32 - 1],
    [2n ** 32n, 2 ** 32],
    [2n ** 53n - 1n, Number.MAX_SAFE_INTEGER],
    // Beyond 2^53 a number is the nearest there is.
    [2n ** 53n + 1n, 2 ** 53],
    [2n ** 64n - 1n, 2 ** 64],
  ])('a counter of %s is the number %d, and exact as bigint', (counter, value) => {
    const bytes = w.u64(4, counter)
    expect(decodeStatistics(readerOf(bytes, order), true, numbers).stats.bytesIn).toBe(value)
    expect(decodeStatistics(readerOf(bytes, order), true, bigints).stats.bytesIn).toBe(counter)
    expect(decodeStatistics(readerOf(bytes, order), false, bigints).stats.bytesIn).toBe(counter)
  })

  test('what is not there is 0', () => {
    expect(decodeStatistics(readerOf(new Uint8Array(), order), true, numbers)).toEqual(numbers.none)
    expect(bigints.none.stats.bytesOut).toBe(0n)
  })

  test('refuses 32 bits where 64 belong', () => {
    expect(() => decodeStatistics(readerOf(w.u32(4, 1), order), false, numbers)).toThrow(/could not be read/)
    expect(() => decodeStatistics(readerOf(w.u32(1, 1), order), true, numbers)).toThrow(/could not be read/)
    expect(() => decodeStatistics(readerOf(w.u32(6, 1), order), true, bigints)).toThrow(/could not be read/)
  })
})
