import { Line, type Word } from './line.ts'

/** Columns of equal width, two blanks between them, and no blanks at the end of a line. */
export function align(rows: readonly (readonly Word[])[], right: readonly boolean[]): Line[] {
  const cells = rows.map((row) => row.map((word) => Line.of(word)))
  const widths = (cells[0] ?? []).map((_, index) =>
    cells.reduce((most, row) => Math.max(most, row[index]?.width ?? 0), 0),
  )
  return cells.map((row) => {
    const last = row.reduce((at, { width }, index) => (width > 0 ? index : at), -1)
    return Line.joined(
      row
        .slice(0, last + 1)
        .map((cell, index) =>
          index === last && right[index] !== true ? cell : cell.padded(widths[index] ?? 0, right[index]),
        ),
      '  ',
    )
  })
}
