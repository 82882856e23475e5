/** A form in which a state is written. */
export type StateFormat = 'json' | 'yaml' | 'ipvsadm'

export const STATE_FORMATS: readonly StateFormat[] = ['json', 'yaml', 'ipvsadm']

/** The fields of a StateSyntaxError. */
export interface StateSyntaxErrorDetails {
  /** The form that the text was read as. */
  readonly format?: StateFormat | undefined
  /** From 1. */
  readonly line: number
  /** In UTF-16 units, from 1. */
  readonly column: number
  /** What is wrong there, and how to put it right. */
  readonly reason: string
  /** Where in the state, such as `services[3].realServers[0].weight`. */
  readonly path?: string | undefined
  /** The file that the text was read from. */
  readonly file?: string | undefined
  /** The error of the parser. */
  readonly cause?: unknown
}

/** A text is not a state, or not a state that the kernel could have. Nothing was taken from it. */
export class StateSyntaxError extends Error {
  /** Always `'ERR_IPVS_STATE_SYNTAX'`. */
  readonly code = 'ERR_IPVS_STATE_SYNTAX'
  /** The form that the text was read as; absent if it has none. */
  declare readonly format?: StateFormat
  /** Line of the text, from 1. */
  readonly line: number
  /** Column of that line in UTF-16 units, as editors count, from 1. */
  readonly column: number
  /** What is wrong there, and how to put it right. */
  readonly reason: string
  /** Where in the state it is, such as `services[3].realServers[0].weight`; absent outside of one. */
  declare readonly path?: string
  /** The file that the text was read from, if any. */
  declare readonly file?: string

  constructor({ format, line, column, reason, path, file, cause }: StateSyntaxErrorDetails) {
    super(
      `${file === undefined ? '' : `${file}: `}line ${String(line)}, column ${String(column)}: ${reason}`,
      cause === undefined ? undefined : { cause },
    )
    this.name = 'StateSyntaxError'
    if (format !== undefined) this.format = format
    this.line = line
    this.column = column
    this.reason = reason
    if (path !== undefined) this.path = path
    if (file !== undefined) this.file = file
  }

  /**
   * The same error with the file that the text was read from.
   *
   * @internal
   */
  in(file: string): StateSyntaxError {
    const { format, line, column, reason, path, cause } = this
    return new StateSyntaxError({
      ...(format !== undefined && { format }),
      line,
      column,
      reason,
      ...(path !== undefined && { path }),
      file,
      cause,
    })
  }
}

/** A place in a text, as an editor shows it. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** Line and column of an offset. A line ends at LF; a CR before it counts as a column of that line. */
export function placeOf(text: string, offset: number): Place {
  return placesOf(text, [offset])[0] as Place
}

/** The same for many offsets, in one pass over the text. */
export function placesOf(text: string, offsets: readonly number[]): Place[] {
  const places = new Map<number, Place>()
  let line = 1
  let start = 0
  let end = text.indexOf('\n')
  for (const offset of [...offsets].sort((one, other) => one - other)) {
    for (; end >= 0 && end < offset; end = text.indexOf('\n', start)) {
      line += 1
      start = end + 1
    }
    places.set(offset, { line, column: offset - start + 1 })
  }
  return offsets.map((offset) => places.get(offset) as Place)
}
