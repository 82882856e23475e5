import { stripVTControlCharacters } from 'node:util'
import {
  compareEndpoints,
  compareServiceKeys,
  formatEndpoint,
  formatServiceKey,
  type RealServer,
  type Service,
  type SnapshotEntry,
  type Totals,
  type Tunnel,
} from '../../index.ts'
import { serviceOf, type Session } from '../run.ts'
import { bar, hasUnicode, type Style } from '../terminal/surroundings.ts'

/** What columns `ipvs list` has: those of the moment, counters, or rates. */
export interface ListOptions {
  readonly stats?: boolean
  readonly rates?: boolean
}

/** A column of numbers, of services and of their real servers. */
interface Column {
  readonly title: string
  readonly service: (entry: SnapshotEntry) => number
  readonly server: (server: RealServer) => number
  /** Whether a bar shows it on a terminal. */
  readonly bar?: true
}

/** What the real servers of a service have together. */
function sum(of: (server: RealServer) => number): Pick<Column, 'service' | 'server'> {
  return {
    server: of,
    service: ({ realServers }) => realServers.reduce((total, server) => total + of(server), 0),
  }
}

function each(of: (one: Service | RealServer) => number): Pick<Column, 'service' | 'server'> {
  return { service: ({ service }) => of(service), server: of }
}

const WEIGHTS: readonly Column[] = [
  { title: 'WEIGHT', ...sum(({ weight }) => weight), bar: true },
  { title: 'ACTIVE', ...sum(({ activeConnections }) => activeConnections), bar: true },
  { title: 'INACTIVE', ...sum(({ inactiveConnections }) => inactiveConnections) },
  { title: 'PERSISTENT', ...sum(({ persistentConnections }) => persistentConnections) },
]

const COUNTERS: readonly Column[] = [
  { title: 'CONNECTIONS', ...each(({ stats }) => stats.connections), bar: true },
  { title: 'PACKETS-IN', ...each(({ stats }) => stats.packetsIn) },
  { title: 'PACKETS-OUT', ...each(({ stats }) => stats.packetsOut) },
  { title: 'BYTES-IN', ...each(({ stats }) => stats.bytesIn) },
  { title: 'BYTES-OUT', ...each(({ stats }) => stats.bytesOut) },
]

const RATES: readonly Column[] = [
  { title: 'CONNECTIONS/S', ...each(({ rates }) => rates.connectionsPerSecond), bar: true },
  { title: 'PACKETS-IN/S', ...each(({ rates }) => rates.packetsInPerSecond) },
  { title: 'PACKETS-OUT/S', ...each(({ rates }) => rates.packetsOutPerSecond) },
  { title: 'BYTES-IN/S', ...each(({ rates }) => rates.bytesInPerSecond) },
  { title: 'BYTES-OUT/S', ...each(({ rates }) => rates.bytesOutPerSecond) },
]

/** `ipvs list` */
export async function list(session: Session, options: ListOptions): Promise<number> {
  const table = inOrder(await session.withTable((ipvs) => ipvs.snapshot()))
  const columns = options.stats === true ? COUNTERS : options.rates === true ? RATES : WEIGHTS
  if (session.json) session.printJson({ services: table.map(serviceToJson) })
  else if (session.terminal)
    session.print(table.length === 0 ? 'No services.\n' : picture(table, columns, session))
  else session.print(plainTable(table, columns))
  return 0
}

/** `ipvs show SERVICE` */
export async function show(session: Session, text: string): Promise<number> {
  const key = serviceOf(text)
  const [service, realServers] = await session.withTable((ipvs) =>
    Promise.all([ipvs.service(key), ipvs.realServers(key)]),
  )
  const [entry] = inOrder([{ service, realServers }])
  if (entry === undefined) return 0
  if (session.json) session.printJson(serviceToJson(entry))
  else session.print(details(entry, session.style))
  return 0
}

/** As people see services and real servers; the order in the kernel has no meaning. */
function inOrder(table: readonly SnapshotEntry[]): SnapshotEntry[] {
  return table
    .map(({ service, realServers }) => ({
      service,
      realServers: [...realServers].sort((one, other) => compareEndpoints(one, other)),
    }))
    .sort((one, other) => compareServiceKeys(one.service.key, other.service.key))
}

/** A service with its real servers, as docs/command.md has it. */
function serviceToJson({ service, realServers }: SnapshotEntry): object {
  const { key, family, scheduler, schedulerFlags, onePacket, persistence, persistenceEngine, stats, rates } =
    service
  return {
    service: formatServiceKey(key),
    ...key,
    family,
    scheduler,
    schedulerFlags,
    onePacket,
    ...(persistence !== undefined && { persistence }),
    ...(persistenceEngine !== undefined && { persistenceEngine }),
    stats,
    rates,
    realServers: realServers.map(serverToJson),
  }
}

function serverToJson(server: RealServer): object {
  const { address, port, family, method, weight, upperThreshold, lowerThreshold, tunnel } = server
  const { activeConnections, inactiveConnections, persistentConnections, stats, rates } = server
  return {
    server: formatEndpoint({ address, port }),
    address,
    port,
    family,
    method,
    weight,
    upperThreshold,
    lowerThreshold,
    ...(tunnel !== undefined && { tunnel }),
    activeConnections,
    inactiveConnections,
    persistentConnections,
    stats,
    rates,
  }
}

/** A line for each service and each real server, every line with as many words as the first. */
function plainTable(table: readonly SnapshotEntry[], columns: readonly Column[]): string {
  const rows = [
    ['SERVICE', 'SERVER', 'SCHEDULER', 'METHOD', ...columns.map(({ title }) => title), 'OPTIONS'],
    ...table.flatMap((entry) => {
      const { service, realServers } = entry
      const name = formatServiceKey(service.key)
      const numbers = columns.map((column) => String(column.service(entry)))
      return [
        [name, '-', service.scheduler, '-', ...numbers, word(serviceOptions(service))],
        ...realServers.map((server) => [
          name,
          formatEndpoint(server.key),
          '-',
          String(server.method),
          ...columns.map((column) => String(column.server(server))),
          word(serverOptions(server)),
        ]),
      ]
    }),
  ]
  return align(rows, [false, false, false, false, ...columns.map(() => true), false])
}

const BAR_WIDTH = 10

/** The table as a person wants to see it. */
function picture(table: readonly SnapshotEntry[], columns: readonly Column[], session: Session): string {
  const { style } = session
  const { env, stdout } = session.surroundings
  const unicode = hasUnicode(env)
  // A column that is empty throughout says nothing.
  const shown = columns.filter(
    (column) => column.title !== 'PERSISTENT' || table.some((entry) => column.service(entry) > 0),
  )
  const draw = (width: number): string[] => {
    const rows: string[][] = []
    const heads: string[] = []
    for (const entry of table) {
      const { service, realServers } = entry
      const options = serviceOptions(service).join(' ')
      heads.push(
        `${style.bold(formatServiceKey(service.key))}  ${service.scheduler}${options === '' ? '' : ` ${style.dim(options)}`}` +
          (realServers.length === 0 ? `  ${style.yellow('no real servers')}` : ''),
      )
      const most = shown.map((column) =>
        realServers.reduce((most, server) => Math.max(most, column.server(server)), 0),
      )
      for (const server of realServers) {
        rows.push([
          `  ${formatEndpoint(server.key)}`,
          String(server.method),
          ...shown.flatMap((column, index) => {
            const value = column.server(server)
            const text = String(value)
            if (column.bar === undefined || width === 0) return [quiet(column, value, text, style)]
            const filled = bar(value, most[index] ?? 0, width, unicode)
            return [
              quiet(column, value, text, style),
              column.title === 'WEIGHT' ? style.cyan(filled) : style.green(filled),
            ]
          }),
          style.dim(serverOptions(server).join(' ')),
        ])
      }
    }
    const bars = (column: Column): boolean => column.bar !== undefined && width > 0
    const titles = [
      '  SERVER',
      'METHOD',
      ...shown.flatMap((column) => (bars(column) ? [column.title, ''] : [column.title])),
      '',
    ].map(style.dim)
    const rights = [
      false,
      false,
      ...shown.flatMap((column) => (bars(column) ? [true, false] : [true])),
      false,
    ]
    const [title = '', ...lines] = align([titles, ...rows], rights).split('\n')
    const result = [title]
    for (const [index, { realServers }] of table.entries()) {
      result.push(heads[index] ?? '', ...lines.splice(0, realServers.length))
    }
    return result
  }
  let lines = draw(BAR_WIDTH)
  const most = stdout.columns === undefined || stdout.columns === 0 ? Infinity : stdout.columns
  if (lines.some((line) => stripVTControlCharacters(line).length > most)) lines = draw(0)
  return `${lines.join('\n')}\n`
}

/** Weight 0 gets no new connections, which is worth seeing. */
function quiet({ title }: Column, value: number, text: string, style: Style): string {
  return title === 'WEIGHT' && value === 0 ? style.yellow(text) : text
}

/** Everything about one service. */
function details(entry: SnapshotEntry, style: Style): string {
  const { service, realServers } = entry
  const { persistence, persistenceEngine } = service
  const passed = whatPassed(service)
  const total = (column: Column | undefined): string => String(column?.service(entry) ?? 0)
  const facts: (readonly [string, string])[] = [
    ['scheduler', [service.scheduler, ...service.schedulerFlags].join(' ')],
    [
      'persistence',
      persistence === undefined
        ? 'none'
        : `${String(persistence.timeoutSeconds)} s, netmask ${String(persistence.netmask)}` +
          (persistenceEngine === undefined ? '' : `, engine ${persistenceEngine}`),
    ],
    ...(service.onePacket ? [['scheduled', 'each packet on its own'] as const] : []),
    [
      'connections',
      `${total(WEIGHTS[1])} active, ${total(WEIGHTS[2])} inactive, ${total(WEIGHTS[3])} persistent; ${passed.connections}`,
    ],
    ['in', passed.in],
    ['out', passed.out],
  ]
  const table = (columns: readonly Column[]): string =>
    align(
      [
        ['  SERVER', 'METHOD', ...columns.map(({ title }) => title), 'OPTIONS'].map(style.dim),
        ...realServers.map((server) => [
          `  ${formatEndpoint(server.key)}`,
          String(server.method),
          ...columns.map((column) =>
            quiet(column, column.server(server), String(column.server(server)), style),
          ),
          word(serverOptions(server)),
        ]),
      ],
      [false, false, ...columns.map(() => true), false],
    )
  const head = facts.map(([name, value]) => `  ${name.padEnd(11)}  ${value}\n`).join('')
  // Two narrow tables fit where a wide one does not.
  const servers =
    realServers.length === 0
      ? `  ${style.yellow('no real servers')}\n`
      : `${table(WEIGHTS)}\n${table(COUNTERS)}`
  return `${style.bold(formatServiceKey(service.key))}\n${head}\n${servers}`
}

/** Counters and rates, in words. */
export function whatPassed({ stats, rates }: Totals): Readonly<Record<'connections' | 'in' | 'out', string>> {
  return {
    connections: `${String(stats.connections)} so far, ${String(rates.connectionsPerSecond)}/s`,
    in: `${String(stats.packetsIn)} packets, ${String(stats.bytesIn)} bytes; ${String(rates.packetsInPerSecond)} and ${String(rates.bytesInPerSecond)}/s`,
    out: `${String(stats.packetsOut)} packets, ${String(stats.bytesOut)} bytes; ${String(rates.packetsOutPerSecond)} and ${String(rates.bytesOutPerSecond)}/s`,
  }
}

/** What a service has that is not as by default, a word each. */
function serviceOptions({
  family,
  schedulerFlags,
  onePacket,
  persistence,
  persistenceEngine,
}: Service): string[] {
  const words: string[] = []
  if (persistence !== undefined) {
    words.push(`persistent=${String(persistence.timeoutSeconds)}s`)
    const whole = family === 'ipv6' ? 128 : '255.255.255.255'
    if (persistence.netmask !== whole) words.push(`netmask=${String(persistence.netmask)}`)
  }
  if (persistenceEngine !== undefined) words.push(`engine=${persistenceEngine}`)
  if (onePacket) words.push('one-packet')
  return [...words, ...schedulerFlags]
}

function serverOptions({ upperThreshold, lowerThreshold, tunnel }: RealServer): string[] {
  const words: string[] = []
  if (upperThreshold !== 0) words.push(`upper=${String(upperThreshold)}`)
  if (lowerThreshold !== 0) words.push(`lower=${String(lowerThreshold)}`)
  if (tunnel !== undefined && tunnel.type !== 'ipip') words.push(`tunnel=${tunnelText(tunnel)}`)
  return words
}

function tunnelText({ type, port, checksum }: Tunnel): string {
  return (
    String(type) +
    (port === undefined ? '' : `:${String(port)}`) +
    (checksum === undefined || checksum === 'none' ? '' : `/${String(checksum)}`)
  )
}

/** Several options as one word of a line, or the word for none. */
function word(options: readonly string[]): string {
  return options.length === 0 ? '-' : options.join(',')
}

/** Columns of equal width, two blanks between them; nothing at the end of a line. */
function align(rows: readonly (readonly string[])[], right: readonly boolean[]): string {
  const width = (text: string): number => stripVTControlCharacters(text).length
  const widths = (rows[0] ?? []).map((_, index) =>
    rows.reduce((most, row) => Math.max(most, width(row[index] ?? '')), 0),
  )
  let text = ''
  for (const row of rows) {
    const cells = row.map((cell, index) => {
      const blanks = ' '.repeat((widths[index] ?? 0) - width(cell))
      return right[index] === true ? blanks + cell : cell + blanks
    })
    text += `${cells.join('  ').trimEnd()}\n`
  }
  return text
}
