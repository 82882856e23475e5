import { type Counter, type Rates, type Stats } from './types.ts'

/** Counters and rates of one service or server. */
export interface Statistics<N extends Counter> {
  readonly stats: Stats<N>
  readonly rates: Rates
}

export function zeroStatistics<N extends Counter>(zero: N): Statistics<N> {
  return {
    stats: Object.freeze({
      connections: zero,
      packetsIn: zero,
      packetsOut: zero,
      bytesIn: zero,
      bytesOut: zero,
    }),
    rates: Object.freeze({
      connectionsPerSecond: 0,
      packetsInPerSecond: 0,
      packetsOutPerSecond: 0,
      bytesInPerSecond: 0,
      bytesOutPerSecond: 0,
    }),
  }
}

/** A service or server before anything passed, with counters of `number`. */
export const NO_STATISTICS: Statistics<number> = zeroStatistics(0)
