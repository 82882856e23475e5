import { isProgram } from '../ipvsadm/parse-state.ts'
import { placeOf, type StateFormat, StateSyntaxError } from './syntax-error.ts'

/** Tells what a text is, by its first line that is neither blank nor a comment. */

const NAMES = { json: 'JSON', yaml: 'YAML', ipvsadm: 'ipvsadm lines' } as const

/**
 * The format in which `parseState()` reads a text if none is named.
 * `undefined` if the text has only blanks and comments.
 */
export function detectStateFormat(text: string): StateFormat | undefined {
  const line = firstLine(text)?.line
  return line === undefined ? undefined : looksLike(line)
}

/** The format of a text that must have one. */
export function recognise(text: string): StateFormat {
  const format = detectStateFormat(text)
  if (format === undefined) {
    throw new StateSyntaxError({
      line: 1,
      column: 1,
      reason:
        `the text is empty${text.trim() === '' ? '' : ' except for comments'}; ` +
        "if you mean an empty table, name the format 'ipvsadm'",
    })
  }
  return format
}

/** JSON is also YAML, and a line that looks like YAML may be anything; but JSON is never ipvsadm lines, nor are these anything else. */
export function refuseOther(text: string, format: StateFormat): void {
  const first = firstLine(text)
  if (first === undefined) return
  const look = looksLike(first.line)
  if (look === format || look === 'yaml' || (look === 'json' && format === 'yaml')) return
  throw new StateSyntaxError({
    format,
    ...placeOf(text, first.offset),
    reason: `this is read as ${NAMES[format]}, but looks like ${NAMES[look]}: name the format '${look}'`,
  })
}

/** Compressed files, databases and UTF-16 have NUL bytes; a state never has. */
export function refuseBinary(text: string): void {
  const offset = text.indexOf('\0')
  if (offset < 0) return
  throw new StateSyntaxError({
    ...placeOf(text, offset),
    reason: 'contains a NUL byte: not a text file, or not UTF-8',
  })
}

function looksLike(line: string): StateFormat {
  if (line.startsWith('{')) return 'json'
  const [word = ''] = line.split(/\s/, 1)
  return isProgram(word) || /^-(?:\w|-\w)/.test(word) ? 'ipvsadm' : 'yaml'
}

/** The first line that is neither blank nor a comment, without the blanks before it, and its offset. */
function firstLine(text: string): { readonly line: string; readonly offset: number } | undefined {
  const next = /\s*(\S[^\n]*)/y
  for (;;) {
    const line = next.exec(text)?.[1]
    if (line === undefined) return undefined
    if (!line.startsWith('#')) return { line, offset: next.lastIndex - line.length }
  }
}
