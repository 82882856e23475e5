import { type Differences, formatPlan } from '../index.ts'
import type { Run } from './run.ts'

/** Prints the differences between two states; for programs with some fields more. */
export async function printPlan(run: Run, found: Differences, more: object = {}): Promise<void> {
  if (run.json) {
    const { steps, deletions, starved, reordered } = found
    run.printJson({ ...more, deletions, starved, reordered, steps })
  } else {
    run.out.formatted(await formatPlan(found, { color: run.out.color }))
  }
}
