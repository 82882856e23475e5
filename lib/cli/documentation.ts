import { fileURLToPath } from 'node:url'
import { printable } from '../index.ts'

/** The end of each help: where to read more. The package's docs are two folders above this file, and above the file that it is built to. */
export function documentation(page = 'command.md'): string {
  const path = fileURLToPath(new URL(`../../docs/${page}`, import.meta.url))
  return `Documentation: man ipvs (where ipvs is installed globally), and\n  ${printable(path)}`
}
