import { StatsAttribute } from '../model/constants.ts'
import { NO_STATISTICS, type Statistics, zeroStatistics } from '../model/statistics.ts'
import type { Counter } from '../model/types.ts'
import type { AttributeReader } from './attributes.ts'

/**
 * How counters are read. A read for `bigint` and one for `number` each have
 * their own reader of a counter, so that the loop below has no branch for it.
 */
export interface CounterKind<N extends Counter> {
  readonly zero: N
  /**
   * The statistics of a service or server without any traffic. Most entries of a
   * table have these, so they share the objects, which are frozen for that.
   */
  readonly none: Statistics<N>
  /** An IPVS_STATS_ATTR_* of 64 bits: the current one, or one whose payload starts at an offset. */
  readonly long: (reader: AttributeReader, at?: number) => N
  /** An IPVS_STATS_ATTR_* of 32 bits. */
  readonly short: (reader: AttributeReader) => N
}

export const numbers: CounterKind<number> = {
  zero: 0,
  none: NO_STATISTICS,
  long: (reader, at) => reader.u64(at),
  short: (reader) => reader.u32(),
}

export const bigints: CounterKind<bigint> = {
  zero: 0n,
  none: zeroStatistics(0n),
  long: (reader, at) => reader.u64big(at),
  short: (reader) => BigInt(reader.u32()),
}

/**
 * Reads the members of STATS64 (`wide`), or of STATS, whose bytes have 64 bits
 * and whose other members have 32. Skips padding (IPVS_STATS_ATTR_PAD) and unknown
 * attributes.
 */
export function decodeStatistics<N extends Counter>(
  reader: AttributeReader,
  wide: boolean,
  kind: CounterKind<N>,
): Statistics<N> {
  const at = wide ? reader.sequence(StatsAttribute.OUTBPS, 8) : -1
  if (at >= 0) return decodeSequence(reader, at, kind)
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
  return statistics(
    kind,
    connections,
    packetsIn,
    packetsOut,
    bytesIn,
    bytesOut,
    connectionsPerSecond,
    packetsInPerSecond,
    packetsOutPerSecond,
    bytesInPerSecond,
    bytesOutPerSecond,
  )
}

/** STATS64 from a kernel that needs no padding, starting at the first payload. Most of the bytes of a table are these. */
function decodeSequence<N extends Counter>(
  reader: AttributeReader,
  at: number,
  kind: CounterKind<N>,
): Statistics<N> {
  return statistics(
    kind,
    kind.long(reader, at),
    kind.long(reader, at + 12),
    kind.long(reader, at + 24),
    kind.long(reader, at + 36),
    kind.long(reader, at + 48),
    reader.u64(at + 60),
    reader.u64(at + 72),
    reader.u64(at + 84),
    reader.u64(at + 96),
    reader.u64(at + 108),
  )
}

function statistics<N extends Counter>(
  kind: CounterKind<N>,
  connections: N,
  packetsIn: N,
  packetsOut: N,
  bytesIn: N,
  bytesOut: N,
  connectionsPerSecond: number,
  packetsInPerSecond: number,
  packetsOutPerSecond: number,
  bytesInPerSecond: number,
  bytesOutPerSecond: number,
): Statistics<N> {
  const { zero, none } = kind
  const idle =
    connections === zero && packetsIn === zero && packetsOut === zero && bytesIn === zero && bytesOut === zero
  const still =
    connectionsPerSecond === 0 &&
    packetsInPerSecond === 0 &&
    packetsOutPerSecond === 0 &&
    bytesInPerSecond === 0 &&
    bytesOutPerSecond === 0
  return {
    stats: idle ? none.stats : { connections, packetsIn, packetsOut, bytesIn, bytesOut },
    rates: still
      ? none.rates
      : {
          connectionsPerSecond,
          packetsInPerSecond,
          packetsOutPerSecond,
          bytesInPerSecond,
          bytesOutPerSecond,
        },
  }
}
