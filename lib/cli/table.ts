import type { Ipvs } from '../index.ts'
import { asUsage, UsageError } from './exit-status.ts'
import { type Environment, isSet, type Surroundings } from './terminal/surroundings.ts'

/** Which table a command works on. */
export interface TableOptions {
  /** Network namespace, as `Ipvs.open()` takes it. */
  readonly netns?: string
  /** File of a table for the in-memory kernel. */
  readonly memory?: string
}

/** The file of the table in memory, if the options or IPVS_MEMORY choose one. */
export function memoryFileOf({ memory }: TableOptions, env: Environment): string | undefined {
  return memory ?? (isSet(env.IPVS_MEMORY) ? env.IPVS_MEMORY : undefined)
}

/** Says that two tables were chosen. */
export function bothTables({ memory }: TableOptions): string {
  const by = memory === undefined ? 'IPVS_MEMORY' : '--memory'
  return `--netns selects a table of the real kernel, and ${by} the in-memory kernel: they cannot be combined`
}

/**
 * Runs something on the table that the options, or IPVS_MEMORY, choose, and
 * closes it. A table in a file is written back if it has changed; `note`, if
 * there is one, says beforehand that it is not the kernel's.
 */
export async function withTable<T>(
  { netns, memory }: TableOptions,
  { env, open, names }: Pick<Surroundings, 'env' | 'open' | 'names'>,
  body: (ipvs: Ipvs) => Promise<T>,
  note?: (line: string) => void,
): Promise<T> {
  const file = memoryFileOf(memory === undefined ? {} : { memory }, env)
  if (file === undefined) {
    const ipvs = await open(netns === undefined ? {} : { netns }).catch((error: unknown) => {
      throw asUsage(error)
    })
    try {
      return await body(ipvs)
    } finally {
      await ipvs.close()
    }
  }
  // A script that is only tried out must never reach a real table.
  if (netns !== undefined)
    throw new UsageError(bothTables({ netns, ...(memory !== undefined && { memory }) }))
  const { memoryNote, openMemory } = await import('./memory.ts')
  const table = await openMemory(file, names)
  note?.(memoryNote(file))
  const ipvs = await table.open()
  try {
    return await body(ipvs)
  } finally {
    await ipvs.close()
    // Whatever was done before an error is in the table, as it would be in a kernel.
    await table.writeBack()
  }
}
