const UNITS = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z'] as const

/** The largest number that is shown as it is. */
const MOST_EXACT = 99_999

/**
 * A number as people read it: up to 99999 as it is, then three digits and a unit of
 * 1000, k, M, G, T, P, E; the rest is left out, not rounded. At most five columns wide.
 */
export function withUnit(value: number): string {
  if (value <= MOST_EXACT) return String(value)
  let unit = 0
  let least = 1
  while (value >= least * 1000 && unit < UNITS.length - 1) {
    least *= 1000
    unit += 1
  }
  const digits = value < least * 10 ? 2 : value < least * 100 ? 1 : 0
  const whole = Math.floor(value / (least / 10 ** digits))
  return `${(whole / 10 ** digits).toFixed(digits)}${UNITS[unit] ?? ''}`
}
