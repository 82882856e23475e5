import type { Ipvs } from '../index.ts'
import { asUsage, UsageError } from './exit-status.ts'
import { isSet, type Surroundings } from './terminal/surroundings.ts'

/** Which table a command works on. */
export interface TableOptions {
  /** Network namespace, as `Ipvs.open()` takes it. */
  readonly netns?: string
  /** File of a table for the in-memory kernel. */
  readonly memory?: string
}

/**
 * Runs something on the table that the options, or IPVS_MEMORY, choose, and
 * closes it. The in-memory kernel's is written back to its file if it has
 * changed, and a line says that it was that one; `quiet` leaves the line out.
 */
export async function withTable<T>(
  { netns, memory }: TableOptions,
  surroundings: Pick<Surroundings, 'env' | 'stderr' | 'open'>,
  body: (ipvs: Ipvs) => Promise<T>,
  { quiet = false } = {},
): Promise<T> {
  const { env, stderr, open } = surroundings
  const file = memory ?? (isSet(env.IPVS_MEMORY) ? env.IPVS_MEMORY : undefined)
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
  // A script that is only tried out must not come through to a real table.
  if (netns !== undefined) {
    const by = memory === undefined ? 'IPVS_MEMORY' : '--memory'
    throw new UsageError(`--netns is about the real kernel, and ${by} chooses the one in memory`)
  }
  const { memoryNote, openMemory } = await import('./memory.ts')
  const table = await openMemory(file)
  if (!quiet) stderr.write(memoryNote(file))
  const ipvs = await table.open()
  try {
    return await body(ipvs)
  } finally {
    await ipvs.close()
    // What was done before an error is done here too.
    await table.writeBack()
  }
}
