import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The JSON Schema of states, which the package has: two folders above this file, and above the file that it is built to. */
const SCHEMA = new URL('../../state.schema.json', import.meta.url)

export function readSchema(): string {
  return readFileSync(SCHEMA, 'utf8')
}

/**
 * Where an editor finds the schema: its path, or, if that has a blank, at which
 * an editor would end it, a URL. `undefined` if the command was copied without it.
 */
export function schemaForEditors(): string | undefined {
  if (!existsSync(SCHEMA)) return undefined
  const path = fileURLToPath(SCHEMA)
  return /\s/.test(path) ? SCHEMA.href : path
}
