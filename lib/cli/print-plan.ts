import { type Differences, formatPlan } from '../index.ts'
import type { Run } from './run.ts'

/** Whether a table is what a state wants. */
export function isSame({ steps, absentSysctls }: Differences): boolean {
  return steps.length === 0 && absentSysctls.length === 0
}

/** Prints the differences between two states; for programs with some fields more. */
export async function printPlan(run: Run, found: Differences, more: object = {}): Promise<void> {
  if (run.json) {
    const { steps, deletions, starved, reordered, absentSysctls, warnings } = found
    run.printJson({ ...more, deletions, starved, reordered, absentSysctls, warnings, steps })
  } else {
    run.out.formatted(await formatPlan(found, { color: run.out.color }))
  }
}
