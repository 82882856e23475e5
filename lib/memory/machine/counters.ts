/** The five numbers that a service or server counts: struct ip_vs_kstats without its rates. */
export interface Counts {
  connections: number
  packetsIn: number
  packetsOut: number
  bytesIn: number
  bytesOut: number
}

const NAMES = ['connections', 'packetsIn', 'packetsOut', 'bytesIn', 'bytesOut'] as const

function zeros(): Counts {
  return { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 }
}

/** The estimator runs this often. */
export const ESTIMATOR_SECONDS = 2

/** Binary digits behind the point that the estimator's averages have: 10 for packets, 5 for bytes. */
const FRACTION: Readonly<Record<keyof Counts, number>> = {
  connections: 10,
  packetsIn: 10,
  packetsOut: 10,
  bytesIn: 5,
  bytesOut: 5,
}

/**
 * Counters and rates of one service or server. Traffic is counted at once, and
 * shows after the estimator has run (ip_vs_read_cpu_stats()).
 */
export class Counters {
  readonly #now = zeros()
  /** The counts that the estimator saw last. */
  readonly #seen = zeros()
  /** What #seen was when the counters were set to zero (ip_vs_zero_stats()): they are never reset. */
  readonly #baseline = zeros()
  /** Averages, in units of 2^-FRACTION per second. */
  readonly #averages = zeros()

  count(more: Partial<Counts>): void {
    for (const name of NAMES) this.#now[name] += more[name] ?? 0
  }

  /**
   * The estimator's work every two seconds: a moving average, a quarter of it new
   * (ip_vs_est.c). Returns whether there will be something to do the next time too.
   */
  estimate(): boolean {
    let moves = false
    for (const name of NAMES) {
      const rate = (this.#now[name] - this.#seen[name]) * 2 ** (FRACTION[name] - 1)
      this.#seen[name] = this.#now[name]
      this.#averages[name] += Math.floor((rate - this.#averages[name]) / 4)
      moves ||= this.#averages[name] !== 0
    }
    return moves
  }

  zero(): void {
    Object.assign(this.#baseline, this.#seen)
    Object.assign(this.#averages, zeros())
  }

  /** As they are read: since zero(), two seconds old at most. */
  get counts(): Readonly<Counts> {
    const counts = zeros()
    for (const name of NAMES) counts[name] = this.#seen[name] - this.#baseline[name]
    return counts
  }

  /** Per second, rounded (ip_vs_read_estimator()). */
  get rates(): Readonly<Counts> {
    const rates = zeros()
    for (const name of NAMES) {
      const unit = 2 ** FRACTION[name]
      rates[name] = Math.floor((this.#averages[name] + unit / 2 - 1) / unit)
    }
    return rates
  }
}
