import type { Counter, Rates, Stats } from '../types.ts'
import type { AttributeReader } from './attributes.ts'
import { StatsAttribute } from './constants.ts'

/** Counters and rates of one service or server. */
export interface Statistics<N extends Counter> {
  readonly stats: Stats<N>
  readonly rates: Rates
}

/**
 * How counters are read. A read for `bigint` and one for `number` each have
 * their own reader of a counter, so that the loop below has no branch for it.
 */
export interface CounterKind<N extends Counter> {
  readonly zero: N
  /** An IPVS_STATS_ATTR_* of 64 bits. */
  readonly long: (reader: AttributeReader) => N
  /** An IPVS_STATS_ATTR_* of 32 bits. */
  readonly short: (reader: AttributeReader) => N
}

export const numbers: CounterKind<number> = {
  zero: 0,
  long: (reader) => reader.u64(),
  short: (reader) => reader.u32(),
}

export const bigints: CounterKind<bigint> = {
  zero: 0n,
  long: (reader) => reader.u64big(),
  short: (reader) => BigInt(reader.u32()),
}

/** What a service or server has before anything passed. */
export function noStatistics<N extends Counter>(kind: CounterKind<N>): Statistics<N> {
  const none = kind.zero
  return {
    stats: { connections: none, packetsIn: none, packetsOut: none, bytesIn: none, bytesOut: none },
    rates: {
      connectionsPerSecond: 0,
      packetsInPerSecond: 0,
      packetsOutPerSecond: 0,
      bytesInPerSecond: 0,
      bytesOutPerSecond: 0,
    },
  }
}

/**
 * Reads the members of STATS64 (`wide`), or of STATS, whose bytes have 64 bits
 * and whose other members have 32. Padding (IPVS_STATS_ATTR_PAD) and what is
 * not known is stepped over.
 */
export function decodeStatistics<N extends Counter>(
  reader: AttributeReader,
  wide: boolean,
  kind: CounterKind<N>,
): Statistics<N> {
  const count = wide ? kind.long : kind.short
  let connections = kind.zero
  let packetsIn = kind.zero
  let packetsOut = kind.zero
  let bytesIn = kind.zero
  let bytesOut = kind.zero
  let connectionsPerSecond = 0
  let packetsInPerSecond = 0
  let packetsOutPerSecond = 0
  let bytesInPerSecond = 0
  let bytesOutPerSecond = 0
  while (reader.next()) {
    switch (reader.type) {
      case StatsAttribute.CONNS:
        connections = count(reader)
        break
      case StatsAttribute.INPKTS:
        packetsIn = count(reader)
        break
      case StatsAttribute.OUTPKTS:
        packetsOut = count(reader)
        break
      case StatsAttribute.INBYTES:
        bytesIn = kind.long(reader)
        break
      case StatsAttribute.OUTBYTES:
        bytesOut = kind.long(reader)
        break
      case StatsAttribute.CPS:
        connectionsPerSecond = wide ? reader.u64() : reader.u32()
        break
      case StatsAttribute.INPPS:
        packetsInPerSecond = wide ? reader.u64() : reader.u32()
        break
      case StatsAttribute.OUTPPS:
        packetsOutPerSecond = wide ? reader.u64() : reader.u32()
        break
      case StatsAttribute.INBPS:
        bytesInPerSecond = wide ? reader.u64() : reader.u32()
        break
      case StatsAttribute.OUTBPS:
        bytesOutPerSecond = wide ? reader.u64() : reader.u32()
        break
    }
  }
  return {
    stats: { connections, packetsIn, packetsOut, bytesIn, bytesOut },
    rates: {
      connectionsPerSecond,
      packetsInPerSecond,
      packetsOutPerSecond,
      bytesInPerSecond,
      bytesOutPerSecond,
    },
  }
}
