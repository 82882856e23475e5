import { Line } from './line.ts'

/**
 * Breaks words into lines that are at most so wide. A word that is wider is broken where the line ends.
 * A line has at least one character, whatever the width, which is below 1 where an indent takes all of a terminal.
 */
export function wrap(words: readonly string[], width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of words) {
    let rest = Line.of(word).text
    if (line !== '' && Line.of(`${line} ${rest}`).width <= width) {
      line += ` ${rest}`
      continue
    }
    if (line !== '') lines.push(line)
    while (rest !== '' && Line.of(rest).width > width) {
      const start = Line.of(rest).cut(width, '').text || String.fromCodePoint(rest.codePointAt(0) ?? 0)
      lines.push(start)
      rest = rest.slice(start.length)
    }
    line = rest
  }
  if (line !== '') lines.push(line)
  return lines
}

/** A text after a beginning such as its name, on lines of at most this width that all begin below its first word. */
export function hang(start: string, text: string, width: number): string[] {
  const lines = wrap(text.split(' '), width - start.length)
  return lines.map((line, index) => (index === 0 ? start : ' '.repeat(start.length)) + line)
}
