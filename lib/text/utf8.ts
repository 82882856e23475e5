import { refuseBinary } from './recognise.ts'
import { placeOf, StateSyntaxError } from './syntax-error.ts'

/**
 * Decodes a text.
 *
 * @throws {StateSyntaxError} with the place of the first byte that is not UTF-8.
 */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    const { text, at, byte } = firstWrong(bytes)
    const [compressed] = COMPRESSED.find(([, magic]) => startsWith(bytes, magic)) ?? []
    if (compressed !== undefined) {
      throw new StateSyntaxError({
        line: 1,
        column: 1,
        reason: `this is a compressed file: unpack it, as with \`${compressed} FILE | ipvs restore -\``,
        cause,
      })
    }
    const utf16 = UTF_16.some((magic) => startsWith(bytes, magic))
    // A program or an image is better told by this, and has it soon.
    if (!utf16) refuseBinary(text.slice(0, Math.max(at, SOON)))
    const hint = utf16 ? 'the file is UTF-16: ' : ''
    throw new StateSyntaxError({
      ...placeOf(text, at),
      reason: `${hint}byte 0x${byte.toString(16).padStart(2, '0')} is not valid in UTF-8: save the file as UTF-8`,
      cause,
    })
  }
}

const SOON = 1024

/** What unpacks each kind of file, and how such a file begins. */
const COMPRESSED: readonly (readonly [string, readonly number[]])[] = [
  ['zcat', [0x1f, 0x8b]],
  ['xzcat', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['zstdcat', [0x28, 0xb5, 0x2f, 0xfd]],
  ['bzcat', [0x42, 0x5a, 0x68]],
]

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, index) => bytes[index] === byte)
}

const UTF_16 = [
  [0xff, 0xfe],
  [0xfe, 0xff],
]

/** The text with U+FFFD for all that is not UTF-8, the offset of the first of these, and the byte there. */
function firstWrong(bytes: Uint8Array): {
  readonly text: string
  readonly at: number
  readonly byte: number
} {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  const encoder = new TextEncoder()
  // Not counted as a column.
  const start = text.startsWith('\uFEFF') ? 1 : 0
  let from = 0
  let offset = 0
  for (;;) {
    const at = text.indexOf('\uFFFD', from)
    offset += encoder.encode(text.slice(from, at)).length
    // The file may have this character itself.
    const itself = bytes[offset] === 0xef && bytes[offset + 1] === 0xbf && bytes[offset + 2] === 0xbd
    if (!itself) return { text: text.slice(start), at: at - start, byte: bytes[offset] ?? 0 }
    offset += 3
    from = at + 1
  }
}
