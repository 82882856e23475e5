import { printable } from '../../index.ts'

/** A part of a line. A string may come from anywhere. */
export type Word = string | number | Line

/**
 * A line, or a part of one, that is fit to be printed. Strings that become part
 * of it are escaped, line feeds included, so that no name from a file, an
 * argument or a kernel can change a terminal or look like a line of its own.
 */
export class Line {
  /** What is written, colours included. */
  readonly text: string
  /** How many columns it takes. */
  readonly width: number

  private constructor(text: string, width: number) {
    this.text = text
    this.width = width
  }

  static of(word: Word): Line {
    if (word instanceof Line) return word
    const text = printable(String(word))
    return new Line(text, widthOf(text))
  }

  static joined(words: readonly Word[], between = ''): Line {
    let text = ''
    let width = 0
    for (const [index, word] of words.entries()) {
      const part = Line.of(word)
      text += (index === 0 ? '' : between) + part.text
      width += (index === 0 ? 0 : between.length) + part.width
    }
    return new Line(text, width)
  }

  /** The same in another look, such as a colour, which takes no columns. */
  painted(paint: (text: string) => string): Line {
    return this.text === '' ? this : new Line(paint(this.text), this.width)
  }

  /** The same if it fits into a width, else as much of its beginning as fits, and the mark. */
  cut(width: number, mark: string): Line {
    if (this.width <= width) return this
    const room = Math.max(0, width - mark.length)
    let used = 0
    let cut = ''
    // Codes of colours stay, all of them: what is switched on is also switched off.
    for (const piece of this.text.split(COLOR)) {
      if (piece.startsWith('\u001B')) cut += piece
      else {
        for (const character of piece) {
          used += widthOf(character)
          if (used <= room) cut += character
        }
      }
    }
    const shown = mark.slice(0, width)
    return new Line(cut + shown, widthOf(cut.replaceAll(COLOR, '')) + shown.length)
  }

  /** The same with blanks up to a width, behind it or before it. */
  padded(width: number, right = false): Line {
    const blanks = ' '.repeat(Math.max(0, width - this.width))
    return new Line(right ? blanks + this.text : this.text + blanks, Math.max(width, this.width))
  }
}

/** The codes that a Style writes. */
const COLOR = /(\u001B\[\d+m)/g

/** Characters of East Asian scripts, which take two columns. Those outside of the BMP are two units long already. */
const WIDE = /[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]/g

/** How many columns a text without colours takes, or at most takes. */
function widthOf(text: string): number {
  return text.length + (text.match(WIDE)?.length ?? 0)
}

/** A line with values in it: line`${style.bold(name)}: ${text}`. */
export function line(strings: TemplateStringsArray, ...values: readonly Word[]): Line {
  return Line.joined(strings.flatMap((text, index) => [text, values[index] ?? '']))
}
