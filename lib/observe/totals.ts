import { Errno } from '../model/errno.ts'
import { IpvsError } from '../model/errors.ts'
import type { Counter, CounterOf, ReadOptions, Totals } from '../model/types.ts'
import { readShortProcNet } from '../session/proc-net.ts'
import { checkReadOptions } from '../session/reads.ts'
import type { Session } from '../session/session.ts'

/** Reads the totals of the director. See Ipvs.totals(). */
export async function readTotals<B extends boolean>(
  session: Session,
  options: ReadOptions<B>,
): Promise<Totals<CounterOf<B>>> {
  checkReadOptions(options)
  const text = await readShortProcNet(session, 'totals', 'ip_vs_stats', options)
  const totals = parseTotals<Counter>(text, (digits) =>
    options.bigint === true ? BigInt(`0x${digits}`) : parseInt(digits, 16),
  )
  if (totals === undefined) throw new IpvsError({ errno: Errno.EBADMSG, command: 'totals' })
  return totals as Totals<CounterOf<B>>
}

/**
 * Reads /proc/net/ip_vs_stats as ip_vs_stats_show() writes it: a line of
 * counters and a line of rates, each of five hexadecimal numbers below the names
 * of their columns. `undefined` if the file looks different.
 */
export function parseTotals<N extends Counter>(
  text: string,
  counter: (hexadecimal: string) => N,
): Totals<N> | undefined {
  const [stats, rates] = text.matchAll(NUMBERS)
  if (stats === undefined || rates === undefined) return undefined
  const total = (column: number): N => counter(stats[column] as string)
  const perSecond = (column: number): number => parseInt(rates[column] as string, 16)
  return {
    stats: {
      connections: total(1),
      packetsIn: total(2),
      packetsOut: total(3),
      bytesIn: total(4),
      bytesOut: total(5),
    },
    rates: {
      connectionsPerSecond: perSecond(1),
      packetsInPerSecond: perSecond(2),
      packetsOutPerSecond: perSecond(3),
      bytesInPerSecond: perSecond(4),
      bytesOutPerSecond: perSecond(5),
    },
  }
}

const NUMBERS = /^ *([\dA-F]+) +([\dA-F]+) +([\dA-F]+) +([\dA-F]+) +([\dA-F]+)$/gm
