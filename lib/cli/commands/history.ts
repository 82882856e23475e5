import { Option } from 'commander'
import { formatState, printable, type StateFormat } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { asUsage, NotFound, STATUS, UsageError } from '../exit-status.ts'
import {
  commandLine,
  type EntryFile,
  type History,
  type HistoryEntry,
  historyError,
  localTime,
  openHistory,
  whoOf,
} from '../history.ts'
import { FORMATS } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { align } from '../terminal/columns.ts'
import { line, Line } from '../terminal/line.ts'
import { hasUnicode } from '../terminal/style.ts'

interface HistoryCommandOptions extends CommonOptions {
  readonly format?: StateFormat
}

export const history: CommandDefinition = {
  name: 'history',
  description: 'List the states that the table had before each change, or print one of them.',
  examples: ['ipvs history', 'ipvs history 2 > old.json', 'ipvs history 1 --format yaml', 'ipvs undo 2'],
  define: (command) =>
    command
      .argument('[number]', 'prints the state from before this command; 1 is the newest (default: lists all)')
      .addOption(new Option('--format <format>', 'format of the state (default: json)').choices(FORMATS)),
  async act(run: Run, { format }: HistoryCommandOptions, number: string | undefined) {
    if (number === undefined && format !== undefined)
      throw new UsageError('--format is for the state of one entry: give its number too')
    if (run.json && format !== undefined && format !== 'json')
      throw new UsageError(`--json prints JSON and cannot be combined with --format ${format}`)
    if (number === undefined) {
      await list(run)
    } else {
      const { entry } = await readEntry(run, number)
      try {
        run.out.document(await formatState(entry.state, { format: format ?? 'json' }))
      } catch (error) {
        throw asUsage(error)
      }
    }
    return STATUS.done
  },
}

/** Reads an entry by its number. */
export async function readEntry(
  run: Run,
  number: string,
): Promise<{ readonly entry: HistoryEntry; readonly history: History }> {
  if (!/^[1-9]\d{0,8}$/.test(number))
    throw new UsageError(
      `the number of an entry must be one of those that ipvs history lists; got '${number}'`,
    )
  const { history, files } = await openHistory(run)
  const file = files[Number(number) - 1]
  if (file === undefined) {
    const most = files.length
    throw new NotFound(
      most === 0
        ? `the history of this table is empty: there is nothing in ${history.place.folder}`
        : `the history of this table has no entry ${number}: the oldest is ${String(most)}`,
    )
  }
  try {
    return { entry: await history.read(file), history }
  } catch (error) {
    throw historyError(error)
  }
}

async function list(run: Run): Promise<void> {
  const { history, files } = await openHistory(run)
  const rows: Row[] = []
  for (const [index, file] of files.entries()) rows.push(await rowOf(history, file, index + 1))
  if (run.json) {
    run.printJson({
      entries: rows.map(({ number, entry, problem }) =>
        entry === undefined ? { number, problem } : toJson(number, entry),
      ),
    })
    return
  }
  if (rows.length === 0) {
    run.note(line`the history of this table is empty`)
    return
  }
  const cells = rows.map(({ number, entry, problem = '' }) =>
    entry === undefined
      ? [String(number), '-', '-', `(${problem})`]
      : [String(number), localTime(entry.when), whoOf(entry), commandLine(entry)],
  )
  const table = [['NUMBER', 'WHEN', 'WHO', 'COMMAND'], ...cells]
  const columns = run.out.isTerminal ? run.out.columns : undefined
  run.out.lines(
    align(columns === undefined ? table : narrowed(table, columns, run), [true, false, false, false]),
  )
}

interface Row {
  readonly number: number
  readonly entry?: HistoryEntry
  /** Why it cannot be read. */
  readonly problem?: string
}

async function rowOf(history: History, file: EntryFile, number: number): Promise<Row> {
  try {
    return { number, entry: await history.read(file) }
  } catch (error) {
    return { number, problem: (historyError(error) as Error).message }
  }
}

function toJson(number: number, { when, command, who, drained, state }: HistoryEntry): object {
  const { services } = state
  const realServers = services.reduce((sum, service) => sum + (service.realServers ?? []).length, 0)
  return {
    number,
    when,
    command,
    who,
    ...(drained !== undefined && { drained }),
    services: services.length,
    realServers,
  }
}

/** The same rows, no wider than a terminal: the command line is cut. */
function narrowed(rows: readonly (readonly string[])[], columns: number, run: Run): string[][] {
  const before = [0, 1, 2].reduce(
    (sum, at) => sum + 2 + Math.max(...rows.map((row) => Line.of(row[at] ?? '').width)),
    0,
  )
  const room = Math.max(10, columns - before)
  const end = hasUnicode(run.surroundings.env) ? '…' : '...'
  return rows.map((row) => {
    const [number = '', when = '', who = '', command = ''] = row.map((word) => printable(word))
    return [number, when, who, command.length > room ? command.slice(0, room - end.length) + end : command]
  })
}
