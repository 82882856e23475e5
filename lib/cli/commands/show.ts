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
import { SERVICE, serviceOf } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { align } from '../terminal/columns.ts'
import { type Line, line } from '../terminal/line.ts'
import type { Style } from '../terminal/style.ts'

export const show: CommandDefinition = {
  name: 'show',
  description: 'Show everything about one service.',
  examples: ['ipvs show tcp/192.0.2.10:80', "ipvs show 'tcp/[2001:db8::1]:443' --json", 'ipvs show fwmark/5'],
  define: (command) => command.argument('<service>', SERVICE),
  async act(run: Run, _: CommonOptions, text: string) {
    const key = serviceOf(text)
    const [service, realServers] = await run.withTable((ipvs) =>
      Promise.all([ipvs.service(key), ipvs.realServers(key)]),
    )
    for (const entry of inOrder([{ service, realServers }])) {
      if (run.json) run.printJson(serviceToJson(entry))
      else run.out.lines(details(entry, run.out.style))
    }
    return STATUS.done
  },
}

function details(entry: SnapshotEntry, style: Style): Line[] {
  const { service, realServers } = entry
  const { persistence, persistenceEngine } = service
  const traffic = trafficText(service)
  const { active, inactive, persistent } = CONNECTIONS
  const total = (column: Column): string => String(column.service(entry))
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
    align(
      [
        ['  SERVER', 'METHOD', ...columns.map(({ title }) => title), 'OPTIONS'].map(style.dim),
        ...realServers.map((server) => [
          `  ${formatEndpoint(server.key)}`,
          String(server.method),
          ...columns.map((column) => numberOf(column, server, style)),
          oneWord(serverOptions(server)),
        ]),
      ],
      [false, false, ...columns.map(() => true), false],
    )
  return [
    style.bold(formatServiceKey(service.key)),
    ...facts.map(([name, value]) => line`  ${name.padEnd(11)}  ${value}`),
    line``,
    // Two narrow tables fit where a wide one does not.
    ...(realServers.length === 0
      ? [line`  ${style.yellow('no real servers')}`]
      : [...table(WEIGHTS), line``, ...table(COUNTERS)]),
  ]
}
