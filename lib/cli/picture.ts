import { formatEndpoint, formatServiceKey, type SnapshotEntry, type Warning } from '../index.ts'
import { barOf, type Column, CONNECTIONS, numberOf, serverOptions, serviceOptions } from './entries.ts'
import { drawTable, FIRST_SPARE, type FittedColumn, type FittedRow } from './terminal/fitted-table.ts'
import { Line, type Word } from './terminal/line.ts'
import type { Printer } from './terminal/printer.ts'
import { bar } from './terminal/progress.ts'
import { hasUnicode, type Style } from './terminal/style.ts'
import { withUnit } from './terminal/units.ts'
import { hang } from './terminal/wrap.ts'
import type { Warned } from './warned.ts'

/** The table as people see it on a terminal. */

/** A line of it: a service, a real server or a sum. */
interface Row extends FittedRow {
  /** The scheduler of a service, the method of a real server. */
  readonly kind: string
  readonly number: (column: Column) => number
  /** Of a real server: the largest number of its service's real servers, whose bar is full. */
  readonly most?: (column: Column) => number
}

/** How a table is shown. */
interface PictureOptions {
  /** All columns and exact numbers, however wide that is. */
  readonly wide?: boolean | undefined
}

/** Services with their sums, and the real servers below them. */
export function pictureOfTable(
  table: readonly SnapshotEntry[],
  columns: readonly Column[],
  warned: Warned,
  printer: Printer,
  options: PictureOptions,
): Line[] {
  const { style } = printer
  const rows = table.flatMap((entry): Row[] => [
    {
      ...named(formatServiceKey(entry.service.key), warned.about(entry.service.key), style.bold, style),
      kind: entry.service.scheduler,
      number: (column) => column.service(entry),
      options: serviceOptions(entry.service),
      ...(entry.realServers.length === 0 && { note: 'no real servers' }),
    },
    ...serverRows(entry, warned, style),
  ])
  const titles = { names: ['SERVICE', '  SERVER'], kinds: ['SCHEDULER', 'METHOD'] }
  // An empty column would only take room.
  const shown = columns.filter(
    (column) =>
      options.wide === true ||
      column !== CONNECTIONS.persistent ||
      table.some((entry) => column.service(entry) > 0),
  )
  const room = options.wide === true ? Infinity : printer.columns
  return [...draw(titles, rows, shown, printer, options), ...messagesOf(warned, room, style)]
}

/** The mark of what has a warning. */
const MARK = '!'

/** A name with the mark if there are warnings about it. */
function named(
  name: string,
  warnings: readonly Warning[],
  paint: Row['paint'],
  style: Style,
): Pick<Row, 'name' | 'paint'> {
  return warnings.length === 0
    ? { name, paint }
    : { name: `${name} ${MARK}`, paint: (text) => style.yellow(paint(text)) }
}

/** The messages of warnings, below a table. */
export function messagesOf({ all }: Warned, room = Infinity, style: Style): Line[] {
  if (all.length === 0) return []
  const lines = all.flatMap(({ message }) => hang(`${MARK} `, message, room))
  return [Line.of(''), ...lines.map(style.yellow)]
}

/** The real servers of one service, and their sums. */
export function pictureOfServers(
  entry: SnapshotEntry,
  columns: readonly Column[],
  warned: Warned,
  printer: Printer,
  options: PictureOptions,
): Line[] {
  const total: Row = {
    name: '  total',
    paint: printer.style.bold,
    kind: '',
    number: (column) => column.service(entry),
    options: [],
  }
  const titles = { names: ['  SERVER'], kinds: ['METHOD'] }
  return draw(titles, [...serverRows(entry, warned, printer.style), total], columns, printer, options)
}

function serverRows({ service, realServers: servers }: SnapshotEntry, warned: Warned, style: Style): Row[] {
  const mosts = new Map<Column, number>()
  const most = (column: Column): number => {
    const known =
      mosts.get(column) ?? servers.reduce((most, server) => Math.max(most, column.server(server)), 0)
    mosts.set(column, known)
    return known
  }
  return servers.map((server) => ({
    ...named(`  ${formatEndpoint(server.key)}`, warned.about(service.key, server.key), (name) => name, style),
    kind: String(server.method),
    number: (column) => column.server(server),
    most,
    options: serverOptions(server),
  }))
}

const BAR_WIDTH = 10
/** The kernel's names of schedulers are shorter than this; with escapes in them they need not be. */
const KIND_MOST = 16

function draw(
  titles: { readonly names: readonly string[]; readonly kinds: readonly string[] },
  rows: readonly Row[],
  columns: readonly Column[],
  printer: Printer,
  { wide = false }: PictureOptions,
): Line[] {
  const { style, ellipsis } = printer
  // Counters are read for their numbers alone.
  const counters = !columns.includes(CONNECTIONS.active)
  const unicode = hasUnicode(printer.env)
  const kinds: FittedColumn = {
    titles: titles.kinds,
    cells: rows.map(({ kind }) => (wide ? kind : Line.of(kind).cut(KIND_MOST, ellipsis))),
    right: false,
    spare: counters ? FIRST_SPARE : KIND_SPARE,
  }
  const cell = (row: Row, column: Column): Word => {
    const text = wide ? String(row.number(column)) : withUnit(row.number(column))
    return row.most === undefined ? text : numberOf(column, row.number(column), style, text)
  }
  const barFor = (row: Row, column: Column): Word =>
    row.most === undefined
      ? ''
      : barOf(column, bar(row.number(column), row.most(column), BAR_WIDTH, unicode), style)
  const numbers = columns.map((column): FittedColumn => ({
    titles: titles.names.map((_, index, { length }) => (index === length - 1 ? column.short : '')),
    cells: rows.map((row) => cell(row, column)),
    right: true,
    ...(column.bar === true && !wide && { bars: rows.map((row) => barFor(row, column)) }),
    ...(column.spare !== undefined && { spare: column.spare }),
  }))
  const shown = counters && !wide ? rows.map((row) => ({ ...row, options: [] })) : rows
  const table = { titles: titles.names, rows: shown, columns: [kinds, ...numbers] }
  return drawTable(table, wide ? Infinity : (printer.columns ?? Infinity), style)
}

/** More than that of any number but the first to go. */
const KIND_SPARE = 5
