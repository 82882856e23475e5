import fc from 'fast-check'
import { cases, DEEP } from './depth.ts'

/** The seed by default: the same commit, and the next one, get the same verdict. */
const FIXED_SEED = 20_190_419

/** The seed of a random test: fixed, or of chance and printed in a deep run. IPVS_SEED repeats one. */
export function chooseSeed(title: string): number {
  const given = process.env.IPVS_SEED
  if (given === undefined && !DEEP) return FIXED_SEED
  const seed = given === undefined ? Date.now() | 0 : Number(given)
  console.log(`${title}: IPVS_SEED=${String(seed)}`)
  return seed
}

/** Checks a property with the seed that chooseSeed() gives. */
export function holds<Ts extends [unknown, ...unknown[]]>(
  title: string,
  property: fc.IProperty<Ts>,
  numRuns = cases(200, 2_000),
): void {
  fc.assert(property, { seed: chooseSeed(title), numRuns })
}

/** Small, fast and repeatable random numbers: xorshift32. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0 || 1
  }

  /** A whole number from 0 up to, and without, `end`. */
  below(end: number): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return (state >>> 0) % end
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256))
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }
}
