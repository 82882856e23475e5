import { fetchRuntimes } from '../../scripts/runtimes.mjs'
import { packedFile } from '../helpers/packed.ts'

/** Makes once, before the tests, the things that several files use: otherwise they would make them at the same time. */
export async function setup(): Promise<void> {
  packedFile()
  // If something cannot be fetched, the tests say so.
  await fetchRuntimes().catch(() => undefined)
}
