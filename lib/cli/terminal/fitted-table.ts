import { align } from './columns.ts'
import { Line, line, type Word } from './line.ts'
import type { Style } from './style.ts'
import { wrap } from './wrap.ts'

/** A table on a terminal, which is never wider than the terminal. */
export interface FittedTable {
  /** Above the names, a line each. */
  readonly titles: readonly string[]
  readonly rows: readonly FittedRow[]
  readonly columns: readonly FittedColumn[]
}

/** The beginning and the end of a line. */
export interface FittedRow {
  readonly name: string
  /** How the name, or a piece of it, looks. */
  readonly paint: (name: string) => Word
  readonly options: readonly string[]
  /** Something that stands out, behind the options. */
  readonly note?: string
}

/** What is between the names and the options. */
export interface FittedColumn {
  /** As many as those of the names. */
  readonly titles: readonly string[]
  /** One for each row. */
  readonly cells: readonly Word[]
  readonly right: boolean
  /** Shown beside the cells if all else fits too. */
  readonly bars?: readonly Word[]
  /** Where there is no room, columns with a higher number are left out first. None: it stays. */
  readonly spare?: number
}

/** Columns that are left out before long names get a line of their own. */
export const FIRST_SPARE = 9

const GAP = 2
/** 'tcp/255.255.255.255:65535': of a table with longer names too, these should have their numbers beside them. */
const USUAL_NAME = 25
/** Of lines that continue a row. */
const INDENT = '    '

/**
 * Draws a table within `room` columns. If it does not fit, first bars go, then the columns that are missed least. After that
 * long names have lines of their own, and then more columns go. Options that do not fit follow below their row.
 */
export function drawTable(table: FittedTable, room: number, style: Style): Line[] {
  const { titles, rows } = table
  const columns = chooseColumns(table, room)
  const cells = cellsOf(columns, titles.length, style)
  const rest = widest(cells)
  const names = rows.map(({ name }) => Line.of(name))
  const nameWidth = names.reduce(
    (most, { width }) => (width + GAP + rest <= room ? Math.max(most, width) : most),
    titles.reduce((most, { length }) => (length + GAP + rest <= room ? Math.max(most, length) : most), 0),
  )
  const lines = titles.flatMap((title, index) => {
    const start = style.dim(title.length <= nameWidth ? title : '')
    const more = cells[index] ?? Line.of('')
    if (more.width > 0) return [line`${start.padded(nameWidth)}  ${more}`]
    return start.width > 0 ? [start] : []
  })
  for (const [index, row] of rows.entries()) {
    const name = names[index] ?? Line.of('')
    const inPlace = name.width <= nameWidth
    if (!inPlace) lines.push(...nameLines(row, room))
    const start = line`${Line.of(inPlace ? row.paint(name.text) : '').padded(nameWidth)}  ${cells[titles.length + index] ?? ''}`
    const end = endOf(row, style)
    const whole = end.width === 0 ? start : line`${start.padded(nameWidth + GAP + rest)}  ${end}`
    if (whole.width <= room) lines.push(whole)
    else lines.push(start, ...endLines(row, room, style))
  }
  return lines
}

/** The columns that fit, with bars or without. */
function chooseColumns({ rows, columns }: FittedTable, room: number): readonly FittedColumn[] {
  const longestName = rows.reduce((most, { name }) => Math.max(most, Line.of(name).width), 0)
  const longestEnd = rows.reduce((most, row) => Math.max(most, widthOfEnd(row)), 0)
  const fits = (some: readonly FittedColumn[], more: number): boolean => more + widthOf(some) <= room
  if (fits(columns, longestName + longestEnd)) return columns
  const plain = columns.map(({ bars: _, ...column }) => column)
  return (
    fewer(plain, FIRST_SPARE).find((some) => fits(some, longestName)) ??
    fewer(plain, FIRST_SPARE).find((some) => fits(some, Math.min(longestName, USUAL_NAME))) ??
    fewer(plain, 1).find((some) => fits(some, 0)) ??
    []
  )
}

/** All columns, then without those that are left out first, and so on, down to those whose `spare` is less than `least`. */
function fewer(columns: readonly FittedColumn[], least: number): (readonly FittedColumn[])[] {
  const spares = columns.flatMap(({ spare }) => (spare !== undefined && spare >= least ? [spare] : []))
  return [Infinity, ...spares.sort((one, other) => other - one)].map((limit) =>
    columns.filter(({ spare = 0 }) => spare < limit),
  )
}

/** The width of columns, with the gap before each. */
function widthOf(columns: readonly FittedColumn[]): number {
  return columns.reduce(
    (sum, { titles, cells, bars }) =>
      sum + GAP + widest([...titles, ...cells]) + (bars === undefined ? 0 : GAP + widest(bars)),
    0,
  )
}

function widest(words: readonly Word[]): number {
  return words.reduce<number>((most, word) => Math.max(most, Line.of(word).width), 0)
}

/** The titles of columns, then their cells, a line for each row. */
function cellsOf(columns: readonly FittedColumn[], titles: number, style: Style): Line[] {
  const all = columns.flatMap(({ titles, cells, right, bars }) => [
    { words: [...titles.map(style.dim), ...cells], right },
    ...(bars === undefined ? [] : [{ words: [...titles.map(() => ''), ...bars], right: false }]),
  ])
  const count = titles + (columns[0]?.cells.length ?? 0)
  const rows = Array.from({ length: count }, (_, index) => all.map(({ words }) => words[index] ?? ''))
  return align(
    rows,
    all.map(({ right }) => right),
  )
}

/** A name that is too long for its column. */
function nameLines({ name, paint }: FittedRow, room: number): Line[] {
  const [first = '', ...more] = wrap([name], room)
  return [first, ...wrap(more, room - INDENT.length).map((piece) => INDENT + piece)].map((piece) =>
    Line.of(paint(piece)),
  )
}

/** What a row has behind its columns. */
function endOf({ options, note }: FittedRow, style: Style): Line {
  const words = options.length === 0 ? [] : [style.dim(options.join(' '))]
  return Line.joined(note === undefined ? words : [...words, style.yellow(note)], '  ')
}

function widthOfEnd({ options, note }: FittedRow): number {
  const parts = [options.join(' '), note ?? ''].filter((part) => part !== '')
  return parts.reduce((sum, part) => sum + GAP + Line.of(part).width, 0)
}

/** The same below the row. */
function endLines(row: FittedRow, room: number, style: Style): Line[] {
  const end = endOf(row, style)
  if (INDENT.length + end.width <= room) return [line`${INDENT}${end}`]
  const { options, note } = row
  const lines = wrap(options, room - INDENT.length).map((text) => line`${INDENT}${style.dim(text)}`)
  return note === undefined ? lines : [...lines, line`${INDENT}${style.yellow(note)}`]
}
