import { type State, type Warning, warningsOf } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { reportOf, STATUS, UsageError } from '../exit-status.ts'
import { several, STATE_FILE, withFormat } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { readSchema } from '../schema-file.ts'
import { type ReadOptions, readStateOf, STDIN } from '../state-file.ts'
import { line } from '../terminal/line.ts'
import { counted } from '../words.ts'

interface CheckCommandOptions extends CommonOptions, ReadOptions {
  readonly schema?: boolean
}

export const check: CommandDefinition = {
  name: 'check',
  description: 'Check files of states, without a kernel. Exit status 7 if one of them is not a state.',
  examples: [
    'ipvs check web.yaml',
    'ipvs check states/*.yaml --json',
    'ipvs check --schema > state.schema.json',
  ],
  table: false,
  define: (command) =>
    withFormat(command.argument('[file...]', STATE_FILE, several))
      .option('--schema', 'print the JSON Schema of states, for editors and other programs')
      .option('--json', 'print JSON for programs, errors too'),
  async act(
    run: Run,
    { schema = false, ...how }: CheckCommandOptions,
    ...files: readonly (string | undefined)[]
  ) {
    const given = files.filter((file) => file !== undefined)
    if (schema) {
      if (given.length > 0)
        throw new UsageError('--schema prints the schema and checks no file: leave out one of the two')
      run.out.document(readSchema())
      return STATUS.done
    }
    if (given.length === 0) throw new UsageError('name a file to check; - is standard input')
    if (given.filter((file) => file === STDIN).length > 1)
      throw new UsageError(`only one file can be '${STDIN}', standard input`)
    const results: Result[] = []
    for (const file of given) results.push(await checkFile(run, file, how))
    if (run.json) run.printJson({ files: results })
    return results.every(({ valid }) => valid) ? STATUS.done : STATUS.file
  },
}

interface Result {
  readonly file: string
  readonly valid: boolean
  readonly services?: number
  readonly realServers?: number
  readonly warnings?: readonly Warning[]
  readonly message?: string
}

/** Checks one file, and tells a person what it is. */
async function checkFile(run: Run, file: string, how: ReadOptions): Promise<Result> {
  let state: State
  try {
    state = await readStateOf(file, run.surroundings, how)
  } catch (error) {
    const report = reportOf(error)
    // Whatever else it is, such as a bug, is not a mistake of the file.
    if (report.status !== STATUS.file) throw error
    run.complain(report)
    return { file, valid: false, message: report.message }
  }
  const { services = [] } = state
  const realServers = services.reduce((sum, service) => sum + (service.realServers ?? []).length, 0)
  const warnings = await warningsOf(services)
  if (!run.json) {
    const name = file === STDIN ? 'standard input' : file
    for (const { message } of warnings) run.note(line`${name}: warning: ${message}`)
    const found = [counted(services.length, 'service'), counted(realServers, 'real server')]
    run.out.line(
      line`${name}: valid; ${found.join(', ')}${warnings.length === 0 ? '' : `, ${counted(warnings.length, 'warning')}`}`,
    )
  }
  return { file, valid: true, services: services.length, realServers, warnings }
}
