import { describe, expect, test } from 'vitest'
import { parseTotals } from '../../lib/observe/totals.ts'

/** What /proc/net/ip_vs_stats says, as Linux 6.1 and 6.12 write it. */

const TEXT = `   Total Incoming Outgoing         Incoming         Outgoing
   Conns  Packets  Packets            Bytes            Bytes
       6       15       10              545              419

 Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
       0        1        2               5F               4A
`

const number = (digits: string): number => parseInt(digits, 16)

describe('/proc/net/ip_vs_stats', () => {
  test('has counters and rates in hexadecimal', () => {
    expect(parseTotals(TEXT, number)).toEqual({
      stats: { connections: 6, packetsIn: 21, packetsOut: 16, bytesIn: 1349, bytesOut: 1049 },
      rates: {
        connectionsPerSecond: 0,
        packetsInPerSecond: 1,
        packetsOutPerSecond: 2,
        bytesInPerSecond: 95,
        bytesOutPerSecond: 74,
      },
    })
  })

  test('has numbers that are longer than their column, up to 64 bits', () => {
    const line = ['FFFFFFFFFFFFFFFF', 'ABCDEF012', '10', '20000000000001', '0'].join(' ')
    const text = TEXT.replace(/^ +6 .*$/m, line)
    expect(parseTotals(text, (digits) => BigInt(`0x${digits}`))?.stats).toEqual({
      connections: 2n ** 64n - 1n,
      packetsIn: 0xabcdef012n,
      packetsOut: 16n,
      bytesIn: 2n ** 53n + 1n,
      bytesOut: 0n,
    })
  })

  test.each([
    ['nothing', ''],
    ['no rates', TEXT.slice(0, TEXT.indexOf(' Conns/s'))],
    ['a number too few', TEXT.replace(/^( +)6 +15/m, '$16')],
    ['a number too many', TEXT.replace(/^( +)6 +15/m, '$16 7 15')],
    ['a word', TEXT.replace('545', '5x5')],
    ['a sign', TEXT.replace(' 545', '-545')],
  ])('is not taken for what it is not: %s', (_, text) => {
    expect(parseTotals(text, number)).toBeUndefined()
  })
})
