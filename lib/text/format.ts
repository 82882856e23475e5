import { formatLines, type StateLoss } from '../ipvsadm/format-state.ts'
import { checkOptions, oneOf, optionalFunction, show } from '../model/check.ts'
import type { State } from '../model/types.ts'
import { checkState } from '../state/table.ts'
import { formatJson, formatYaml } from './format-document.ts'
import { STATE_FORMATS, type StateFormat } from './syntax-error.ts'

/** How a text is written. */
export interface FormatStateOptions {
  /** Form of the text. Default 'json'. */
  readonly format?: StateFormat | undefined
  /**
   * Called for each part of the state that ipvsadm lines cannot express, which
   * is then left out. Default: such a part is an error, so nothing is lost
   * silently.
   */
  readonly onLoss?: ((loss: StateLoss) => void) | undefined
  /**
   * Path or URL of the JSON Schema of states, which is the package's
   * `state.schema.json`. YAML then begins with a line by which editors find it
   * and complete what is typed: `# yaml-language-server: $schema=...`. Other
   * formats have no such line. Default none.
   */
  readonly schema?: string | undefined
  /** Stops the work between two slices; formatState() then rejects with its reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Writes a state as text that ends with a newline. The same state always gives
 * the same text, and JSON and YAML have a line for each real server. Works in
 * slices of a few milliseconds.
 *
 * @throws {TypeError | RangeError} if the state is not valid: `services[3].port must be ...`.
 * @throws {TypeError} if ipvsadm lines cannot express a part of it and there is no `onLoss`.
 */
export async function formatState(state: State, options: FormatStateOptions = {}): Promise<string> {
  checkOptions(options, ['format', 'onLoss', 'schema', 'signal'])
  const { format = 'json', onLoss = refuseLoss, schema, signal } = options
  optionalFunction(onLoss, 'onLoss')
  oneOf(format, 'format', STATE_FORMATS)
  checkSchema(schema)
  signal?.throwIfAborted()
  await checkState(state, { signal })
  switch (format) {
    case 'json':
      return formatJson(state, signal)
    case 'yaml':
      return (
        (schema === undefined ? '' : `# yaml-language-server: $schema=${schema}\n`) +
        (await formatYaml(state, signal))
      )
    case 'ipvsadm':
      return formatLines(state, onLoss, signal)
  }
}

function refuseLoss({ path, reason }: StateLoss): never {
  // What is written instead comes last, and here nothing is written.
  const why = reason.replace(/: [^:]*$/, '')
  throw new TypeError(
    `ipvsadm lines cannot express ${path}: ${why}. Choose format 'json' or 'yaml', or give onLoss to write the rest.`,
  )
}

/** Checks where a schema is, as `schema` of the options has it. */
export function checkSchema(schema: unknown): void {
  if (schema === undefined) return
  // Editors take what follows a blank for something else.
  if (typeof schema !== 'string' || !/^[^\s\p{Cc}]+$/u.test(schema))
    throw new TypeError(`schema must be a path or a URL without blanks, got ${show(schema)}`)
}
