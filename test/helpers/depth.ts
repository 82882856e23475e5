/**
 * How much of what is drawn at random the tests try: IPVS_DEPTH is `default` or
 * `deep`. By default few cases with fixed seeds, so that the same code gets the
 * same verdict again. `npm run test:deep` tries many, with seeds of chance that
 * are printed; what it finds becomes a case with a name.
 */

const given: string = process.env.IPVS_DEPTH ?? 'default'
if (given !== 'default' && given !== 'deep') {
  throw new Error(`IPVS_DEPTH must be 'default' or 'deep', got '${given}'`)
}

export const DEEP: boolean = given === 'deep'

/** How many cases: `few` by default, `many` in a deep run. */
export function cases(few: number, many: number): number {
  return DEEP ? many : few
}
