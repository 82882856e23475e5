/** Controls (C0, DEL, C1), halves of a character, ends of lines, and what turns the direction of the text around it. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u202A-\u202E\u2066-\u2069]/gu

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
  return SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
