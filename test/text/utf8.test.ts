import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { StateSyntaxError } from '../../lib/text.ts'
import { decodeUtf8 } from '../../lib/text/utf8.ts'

/** Bytes of files that are not UTF-8. */

/** Text as UTF-8, and bytes as they are. */
function bytesOf(...parts: readonly (string | readonly number[])[]): Uint8Array {
  return Buffer.concat(parts.map((part) => Buffer.from(part as string)))
}

function refusal(bytes: Uint8Array): StateSyntaxError {
  try {
    decodeUtf8(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(StateSyntaxError)
    return error as StateSyntaxError
  }
  throw new Error('it was taken')
}

describe('bytes', () => {
  test.each(['', 'services: []\n', '\uFEFFa', '\uFFFD', 'größe 😀\u2028\u0000', '\uFFFD\uFFFD\n\uFFFD'])(
    'of UTF-8 are the text: %j',
    (text) => {
      expect(decodeUtf8(bytesOf(text))).toBe(text.replace(/^\uFEFF/, ''))
    },
  )

  test.each<[string, Uint8Array, number, number, number]>([
    ['Latin-1', bytesOf('# Gr', [0xf6], [0xdf], 'e\nservices: []\n'), 1, 5, 0xf6],
    ['Latin-1 on a later line', bytesOf('services: []\n# ', [0xe9], '\n'), 2, 3, 0xe9],
    ['at the end', bytesOf('ä\n😀', [0xc3]), 2, 3, 0xc3],
    ['a cut sequence in the middle', bytesOf('a', [0xf0, 0x9f, 0x98], 'b'), 1, 2, 0xf0],
    ['a byte that never is', bytesOf('ab', [0xff]), 1, 3, 0xff],
    ['a slash in two bytes', bytesOf([0xc0, 0xaf]), 1, 1, 0xc0],
    ['half a surrogate', bytesOf('\n\n', [0xed, 0xa0, 0x80]), 3, 1, 0xed],
    ['after the replacement character itself', bytesOf('\uFFFD\uFFFD', [0x80]), 1, 3, 0x80],
    ['after a byte order mark', bytesOf('\uFEFFab', [0x80]), 1, 3, 0x80],
    ['after a lot', bytesOf('x😀\n'.repeat(100_000), 'ab', [0xbf], 'c'), 100_001, 3, 0xbf],
  ])('that are not UTF-8 have a line and a column: %s', (_, bytes, line, column, byte) => {
    const error = refusal(bytes)
    expect([error.line, error.column]).toEqual([line, column])
    expect(error.reason).toBe(`byte 0x${byte.toString(16)} is not valid in UTF-8: save the file as UTF-8`)
  })

  test('of compressed files and images are told as such', () => {
    const zcat = gzipSync('services: []\n')
    expect(refusal(zcat)).toMatchObject({
      line: 1,
      column: 1,
      reason: 'this is a compressed file: unpack it, as with `zcat FILE | ipvs restore -`',
    })
    expect(refusal(bytesOf([0xfd], '7zXZ', [0, 0xff])).reason).toContain('`xzcat FILE')
    expect(refusal(bytesOf([0x28, 0xb5, 0x2f, 0xfd, 4])).reason).toContain('`zstdcat FILE')
    expect(refusal(bytesOf('BZh91AY&SY', [0x9a])).reason).toContain('`bzcat FILE')
    const png = refusal(bytesOf([0x89], 'PNG\r\n', [0x1a, 10, 0, 0, 0, 13]))
    expect([png.line, png.reason]).toEqual([3, 'contains a NUL byte: not a text file, or not UTF-8'])
  })

  test('of a program are told as such', () => {
    const error = refusal(bytesOf([0x7f], 'ELF\n', [2, 1, 0, 0xff]))
    expect([error.line, error.column]).toEqual([2, 3])
    expect(error.reason).toBe('contains a NUL byte: not a text file, or not UTF-8')
  })

  test.each<[string, Uint8Array]>([
    ['little-endian', Buffer.from('\uFEFFservices: []\n', 'utf16le')],
    ['big-endian', Buffer.from('\uFEFFservices: []\n', 'utf16le').swap16()],
  ])('of UTF-16 are told as such: %s', (_, bytes) => {
    const error = refusal(bytes)
    expect([error.line, error.column]).toEqual([1, 1])
    expect(error.reason).toMatch(/^the file is UTF-16: byte 0xf[ef] is not valid in UTF-8/)
  })
})
