import { slices } from './pace.ts'

/** Elements that are few enough to sort at once. */
const RUN = 128

/** Sorts like `sort()`, but in slices: `sort()` of a long list keeps the JS thread for a second. */
export async function sorted<T>(
  list: readonly T[],
  compare: (one: T, other: T) => number,
): Promise<readonly T[]> {
  const starts = Array.from({ length: Math.ceil(list.length / RUN) }, (_, index) => index * RUN)
  let runs: (readonly T[])[] = []
  for await (const some of slices(starts)) {
    for (const start of some) runs.push(list.slice(start, start + RUN).sort(compare))
  }
  while (runs.length > 1) {
    const longer: (readonly T[])[] = []
    for (let at = 0; at < runs.length; at += 2)
      longer.push(await merged(runs[at] ?? [], runs[at + 1], compare))
    runs = longer
  }
  return runs[0] ?? []
}

async function merged<T>(
  first: readonly T[],
  second: readonly T[] = [],
  compare: (one: T, other: T) => number,
): Promise<readonly T[]> {
  const result: T[] = []
  let at = 0
  for await (const some of slices(first)) {
    for (const one of some) {
      for (; at < second.length; at++) {
        const other = second[at] as T
        if (compare(other, one) >= 0) break
        result.push(other)
      }
      result.push(one)
    }
  }
  for (; at < second.length; at++) result.push(second[at] as T)
  return result
}
