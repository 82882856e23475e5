import type { StatePath } from '../state/path.ts'

interface LineErrorOptions extends ErrorOptions {
  readonly path?: StatePath
}

/** What is wrong with a line, and in which column (from 1). */
export class LineError extends Error {
  readonly column: number
  /** Where in the state, if no state could have this. */
  readonly path: StatePath | undefined

  constructor(column: number, reason: string, options?: LineErrorOptions) {
    super(reason, options)
    this.column = column
    this.path = options?.path
  }
}
