import { describe, expect, test } from 'vitest'
import { printable } from '../../lib/index.ts'

describe('printable', () => {
  test.each([
    ['a title of a terminal', 'a\u001B]0;x\u0007', String.raw`a\u001b]0;x\u0007`],
    ['an end of a line, and a tab', 'a\r\n\tb', String.raw`a\r\n\tb`],
    ['DEL and a C1 control', 'a\u007F\u009B31m', String.raw`a\u007f\u009b31m`],
    ['other ends of lines', '\u0085\u2028\u2029', String.raw`\u0085\u2028\u2029`],
    ['what turns the direction', 'a\u202Eb\u2066c', String.raw`a\u202eb\u2066c`],
    ['what cannot be seen', '1\u200B\uFEFF2\u{E0041}', String.raw`1\u200b\ufeff2\udb40\udc41`],
    ['halves of a character', 'a\uD800b\uDC00', String.raw`a\ud800b\udc00`],
    ['what is fit already', 'eth0 grün 名前 🙂 \\n', 'eth0 grün 名前 🙂 \\n'],
  ])('writes %s', (_, text, expected) => {
    expect(printable(text)).toBe(expected)
    expect(printable(expected)).toBe(expected)
  })

  test('leaves what it is told to', () => {
    expect(printable('a\tb\nc\rd', '\n\t')).toBe('a\tb\nc\\rd')
  })

  test('keeps the value of JSON', () => {
    const value = { 'a\u009B': ['\u001B\u007F\u202E\u2028\u{E0041}', '\uD800', '"\\'] }
    expect(JSON.parse(printable(JSON.stringify(value, undefined, 2), '\n'))).toEqual(value)
  })
})
