import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { buildOnce } from '../../scripts/build-once.mjs'

/**
 * The file that `npm pack` makes of these sources. If this machine has no
 * compiler for a processor, the file lacks the addon for that.
 */
export function packedFile(): string {
  const folder = buildOnce('tarball')
  const [name = 'nothing was packed'] = readdirSync(folder)
  return join(folder, name)
}
