import { fetchRuntimes } from '../../scripts/runtimes.mjs'
import { packedFile } from '../helpers/packed.ts'

/** Makes what several files use, once: they would make it at the same time. */
export async function setup(): Promise<void> {
  packedFile()
  // The tests say what cannot be fetched.
  await fetchRuntimes().catch(() => undefined)
}
