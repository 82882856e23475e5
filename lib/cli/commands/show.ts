import { formatEndpoint, formatServiceKey, type SnapshotEntry } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import {
  type Column,
  CONNECTIONS,
  COUNTERS,
  inOrder,
  numberOf,
  oneWord,
  serverOptions,
  serviceToJson,
  trafficText,
  WEIGHTS,
} from '../entries.ts'
import { STATUS } from '../exit-status.ts'
import { SERVICE, serviceOf, type WideOption, withWide } from '../options.ts'
import { messagesOf, pictureOfServers } from '../picture.ts'
import type { CommonOptions, Run } from '../run.ts'
import { align } from '../terminal/columns.ts'
import { type Line, line } from '../terminal/line.ts'
import type { Style } from '../terminal/style.ts'
import { withUnit } from '../terminal/units.ts'
import { hang, wrap } from '../terminal/wrap.ts'
import { Warned } from '../warned.ts'

export const show: CommandDefinition = {
  name: 'show',
  description: 'Show everything about one service.',
  examples: ['ipvs show tcp/192.0.2.10:80', "ipvs show 'tcp/[2001:db8::1]:443' --json", 'ipvs show fwmark/5'],
  define: (command) => withWide(command.argument('<service>', SERVICE)),
  async act(run: Run, options: CommonOptions & WideOption, text: string) {
    const key = serviceOf(text)
    const [service, realServers] = await run.withTable((ipvs) =>
      Promise.all([ipvs.service(key), ipvs.realServers(key)]),
    )
    for (const entry of inOrder([{ service, realServers }])) {
      const warned = await Warned.of([entry])
      if (run.json) run.printJson(serviceToJson(entry, warned))
      else run.out.lines(details(entry, warned, run, options.wide))
    }
    return STATUS.done
  },
}

function details(entry: SnapshotEntry, warned: Warned, run: Run, wide = false): Line[] {
  const { service, realServers } = entry
  const { style } = run.out
  const { persistence, persistenceEngine } = service
  const room = run.terminal && !wide ? run.out.width : Infinity
  const number = run.terminal && !wide ? withUnit : String
  const traffic = trafficText(service, number)
  const { active, inactive, persistent } = CONNECTIONS
  const total = (column: Column): string => number(column.service(entry))
  const facts: (readonly [string, string])[] = [
    ['scheduler', [service.scheduler, ...service.schedulerFlags].join(' ')],
    [
      'persistence',
      persistence === undefined
        ? 'none'
        : `${String(persistence.timeoutSeconds)} s, netmask ${String(persistence.netmask)}` +
          (persistenceEngine === undefined ? '' : `, engine ${persistenceEngine}`),
    ],
    ...(service.onePacket ? [['scheduled', 'each packet by itself'] as const] : []),
    [
      'connections',
      `${total(active)} active, ${total(inactive)} inactive, ${total(persistent)} persistent; ${traffic.connections}`,
    ],
    ['in', traffic.in],
    ['out', traffic.out],
  ]
  const table = (columns: readonly Column[]): Line[] =>
    run.terminal
      ? pictureOfServers(entry, columns, warned, run.out, { wide })
      : plainTable(entry, columns, warned, style)
  return [
    ...wrap([formatServiceKey(service.key)], room).map(style.bold),
    ...facts.flatMap(([name, value]) => factLines(name, value, room)),
    line``,
    // Two narrow tables fit where a wide one does not.
    ...(realServers.length === 0
      ? [line`  ${style.yellow('no real servers')}`]
      : [...table(WEIGHTS), line``, ...table(COUNTERS)]),
    ...messagesOf(warned, room, style),
  ]
}

/** A name and its value, which begins at the same column in all of these. */
function factLines(name: string, value: string, room: number): Line[] {
  return hang(`  ${name.padEnd(11)}  `, value, room).map((text) => line`${text}`)
}

function plainTable(
  { service, realServers }: SnapshotEntry,
  columns: readonly Column[],
  warned: Warned,
  style: Style,
): Line[] {
  return align(
    [
      ['  SERVER', 'METHOD', ...columns.map(({ title }) => title), 'OPTIONS'].map(style.dim),
      ...realServers.map((server) => [
        `  ${formatEndpoint(server.key)}`,
        String(server.method),
        ...columns.map((column) => numberOf(column, column.server(server), style)),
        oneWord([...serverOptions(server), ...warned.optionsOf(service.key, server.key)]),
      ]),
    ],
    [false, false, ...columns.map(() => true), false],
  )
}
