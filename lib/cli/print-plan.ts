import { type Differences, formatPlan, type Step } from '../index.ts'
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

/** What was done, counted as the last line of a plan counts what is to do. */
export function doneLine(steps: readonly Step[]): string {
  const counts = { added: 0, changed: 0, deleted: 0 }
  for (const step of steps) {
    counts[DONE[step.kind]] += 1
    if (step.kind === 'delete-service') counts.deleted += step.before.realServers?.length ?? 0
  }
  const { added, changed, deleted } = counts
  return `Done: ${String(added)} added, ${String(changed)} changed, ${String(deleted)} deleted.`
}

const DONE = {
  'add-service': 'added',
  'add-server': 'added',
  'start-daemon': 'added',
  'edit-service': 'changed',
  'edit-server': 'changed',
  'set-timeouts': 'changed',
  'set-sysctl': 'changed',
  'delete-service': 'deleted',
  'delete-server': 'deleted',
  'stop-daemon': 'deleted',
} as const satisfies Readonly<Record<Step['kind'], string>>
