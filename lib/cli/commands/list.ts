import { Option } from 'commander'
import { formatEndpoint, formatServiceKey, type SnapshotEntry } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import {
  type Column,
  COUNTERS,
  inOrder,
  oneWord,
  RATES,
  serverOptions,
  serviceOptions,
  serviceToJson,
  WEIGHTS,
} from '../entries.ts'
import { STATUS } from '../exit-status.ts'
import { type WideOption, withWide } from '../options.ts'
import { pictureOfTable } from '../picture.ts'
import type { CommonOptions, Run } from '../run.ts'
import { align } from '../terminal/columns.ts'
import type { Line } from '../terminal/line.ts'
import { Warned } from '../warned.ts'

interface ListCommandOptions extends CommonOptions, WideOption {
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
    withWide(
      command
        .option('--stats', 'show counters: connections, packets and bytes so far')
        .addOption(new Option('--rates', 'show rates: the same per second').conflicts('stats')),
    ),
  async act(run: Run, options: ListCommandOptions) {
    const table = inOrder(await run.withTable((ipvs) => ipvs.snapshot()))
    const columns = options.stats === true ? COUNTERS : options.rates === true ? RATES : WEIGHTS
    const warned = await Warned.of(table)
    if (run.json) run.printJson({ services: table.map((entry) => serviceToJson(entry, warned)) })
    else if (!run.terminal) run.out.lines(plainTable(table, columns, warned))
    else if (table.length === 0) run.out.line('No services.')
    else run.out.lines(pictureOfTable(table, columns, warned, run.out, options))
    return STATUS.done
  },
}

/** A line for each service and each real server, every line with as many words as the first. */
function plainTable(table: readonly SnapshotEntry[], columns: readonly Column[], warned: Warned): Line[] {
  const rows = [
    ['SERVICE', 'SERVER', 'SCHEDULER', 'METHOD', ...columns.map(({ title }) => title), 'OPTIONS'],
    ...table.flatMap((entry) => {
      const { service, realServers } = entry
      const name = formatServiceKey(service.key)
      const numbers = columns.map((column) => String(column.service(entry)))
      return [
        [
          name,
          '-',
          service.scheduler,
          '-',
          ...numbers,
          oneWord([...serviceOptions(service), ...warned.optionsOf(service.key)]),
        ],
        ...realServers.map((server) => [
          name,
          formatEndpoint(server.key),
          '-',
          String(server.method),
          ...columns.map((column) => String(column.server(server))),
          oneWord([...serverOptions(server), ...warned.optionsOf(service.key, server.key)]),
        ]),
      ]
    }),
  ]
  return align(rows, [false, false, false, false, ...columns.map(() => true), false])
}
