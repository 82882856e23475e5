import { Option } from 'commander'
import { formatEndpoint, formatServiceKey, type SnapshotEntry } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import {
  barOf,
  type Column,
  CONNECTIONS,
  COUNTERS,
  inOrder,
  numberOf,
  oneWord,
  RATES,
  serverOptions,
  serviceOptions,
  serviceToJson,
  WEIGHTS,
} from '../entries.ts'
import { STATUS } from '../exit-status.ts'
import type { CommonOptions, Run } from '../run.ts'
import { align } from '../terminal/columns.ts'
import { Line, line, type Word } from '../terminal/line.ts'
import type { Printer } from '../terminal/printer.ts'
import { bar } from '../terminal/progress.ts'
import { hasUnicode } from '../terminal/style.ts'

interface ListCommandOptions extends CommonOptions {
  readonly stats?: boolean
  readonly rates?: boolean
}

export const list: CommandDefinition = {
  name: 'list',
  description: 'List services and their real servers.',
  examples: [
    'ipvs list',
    "ipvs list --json | jq '.services[].realServers[] | select(.weight == 0) | .server'",
    'ipvs list --stats --netns blue',
  ],
  define: (command) =>
    command
      .option('--stats', 'show counters: connections, packets and bytes so far')
      .addOption(new Option('--rates', 'show rates: the same per second').conflicts('stats')),
  async act(run: Run, options: ListCommandOptions) {
    const table = inOrder(await run.withTable((ipvs) => ipvs.snapshot()))
    const columns = options.stats === true ? COUNTERS : options.rates === true ? RATES : WEIGHTS
    if (run.json) run.printJson({ services: table.map(serviceToJson) })
    else if (!run.terminal) run.out.lines(plainTable(table, columns))
    else if (table.length === 0) run.out.line('No services.')
    else run.out.lines(picture(table, columns, run.out))
    return STATUS.done
  },
}

/** A line for each service and each real server, every line with as many words as the first. */
function plainTable(table: readonly SnapshotEntry[], columns: readonly Column[]): Line[] {
  const rows = [
    ['SERVICE', 'SERVER', 'SCHEDULER', 'METHOD', ...columns.map(({ title }) => title), 'OPTIONS'],
    ...table.flatMap((entry) => {
      const { service, realServers } = entry
      const name = formatServiceKey(service.key)
      const numbers = columns.map((column) => String(column.service(entry)))
      return [
        [name, '-', service.scheduler, '-', ...numbers, oneWord(serviceOptions(service))],
        ...realServers.map((server) => [
          name,
          formatEndpoint(server.key),
          '-',
          String(server.method),
          ...columns.map((column) => String(column.server(server))),
          oneWord(serverOptions(server)),
        ]),
      ]
    }),
  ]
  return align(rows, [false, false, false, false, ...columns.map(() => true), false])
}

const BAR_WIDTH = 10

/** The table as a person wants to see it, with bars if they fit. */
function picture(table: readonly SnapshotEntry[], columns: readonly Column[], printer: Printer): Line[] {
  // An empty column would only take room.
  const shown = columns.filter(
    (column) => column !== CONNECTIONS.persistent || table.some((entry) => column.service(entry) > 0),
  )
  const lines = draw(table, shown, BAR_WIDTH, printer)
  const most = printer.columns ?? Infinity
  return lines.some(({ width }) => width > most) ? draw(table, shown, 0, printer) : lines
}

function draw(
  table: readonly SnapshotEntry[],
  columns: readonly Column[],
  barWidth: number,
  { style, env }: Printer,
): Line[] {
  const unicode = hasUnicode(env)
  const hasBar = (column: Column): boolean => column.bar === true && barWidth > 0
  const titles = columns.flatMap((column) => (hasBar(column) ? [column.title, ''] : [column.title]))
  const rows: Word[][] = [['  SERVER', 'METHOD', ...titles, ''].map(style.dim)]
  for (const { realServers } of table) {
    const most = columns.map((column) =>
      realServers.reduce((most, server) => Math.max(most, column.server(server)), 0),
    )
    for (const server of realServers) {
      const cells = columns.flatMap((column, index) => {
        const number = numberOf(column, server, style)
        if (!hasBar(column)) return [number]
        const filled = bar(column.server(server), most[index] ?? 0, barWidth, unicode)
        return [number, barOf(column, filled, style)]
      })
      const options = style.dim(serverOptions(server).join(' '))
      rows.push([`  ${formatEndpoint(server.key)}`, String(server.method), ...cells, options])
    }
  }
  const rights = columns.flatMap((column) => (hasBar(column) ? [true, false] : [true]))
  const [title = Line.of(''), ...lines] = align(rows, [false, false, ...rights, false])
  const result = [title]
  let at = 0
  for (const { service, realServers } of table) {
    const options = serviceOptions(service).join(' ')
    result.push(
      Line.joined([
        line`${style.bold(formatServiceKey(service.key))}  ${service.scheduler}`,
        ...(options === '' ? [] : [line` ${style.dim(options)}`]),
        ...(realServers.length === 0 ? [line`  ${style.yellow('no real servers')}`] : []),
      ]),
      ...lines.slice(at, at + realServers.length),
    )
    at += realServers.length
  }
  return result
}
