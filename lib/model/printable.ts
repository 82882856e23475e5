/**
 * Controls (C0, DEL, C1), marks that change the direction of a text or cannot be
 * seen, other ends of lines, and halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/**
 * A text from anywhere, fit for a terminal or a log: characters that would
 * change a terminal's state, or how the text around them looks, are written as
 * JSON escapes them, such as `\n` and `\u001b`. So JSON stays the same value.
 *
 * @param keep Control characters to leave as they are, such as `'\n\t'`.
 */
export function printable(text: string, keep = ''): string {
  return text.replace(UNPRINTABLE, (character) => (keep.includes(character) ? character : escaped(character)))
}

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function escaped(character: string): string {
  return SHORT[character] ?? character.split('').map(unitEscaped).join('')
}

function unitEscaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}
