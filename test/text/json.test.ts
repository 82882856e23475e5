import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { JsonError, locateInJson, parseJson } from '../../lib/text/json.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed } from '../helpers/random.ts'

/** The JSON reader, and JSON.parse(), which must agree wherever ours has no rule of its own. */

/** The scanner is given this many characters at a time. */
const PIECE = 4096

async function outcome(text: string): Promise<unknown> {
  try {
    return { value: await parseJson(text, undefined) }
  } catch (error) {
    expect(error).toBeInstanceOf(JsonError)
    return 'refused'
  }
}

function expectedOf(text: string): unknown {
  try {
    return { value: JSON.parse(text) as unknown }
  } catch {
    return 'refused'
  }
}

const TOKENS = [
  '{"a": [1, -2.5e+3, true, false, null, "x\\n\\u00e9\\"", {"__proto__": 1, "b": {}}, []]}',
  '  ["😀", "\\ud83d\\ude00", 0, -0, 1E5, 12345678901234567890]\r\n\t',
  '"a string alone"',
  '-17.25',
  'null',
]

describe('JSON', () => {
  test.each(TOKENS)('is read as JSON.parse() does, wherever a piece ends: %s', async (text) => {
    const value = JSON.parse(text) as unknown
    for (let before = PIECE - text.length - 1; before <= PIECE + 1; before++) {
      const read = await parseJson(`${' '.repeat(before)}${text}`, undefined)
      expect(read).toEqual(value)
      expect(JSON.stringify(read)).toBe(JSON.stringify(value))
    }
  })

  test.each([
    '[1, 2',
    '{"a": "b',
    '{"a": "\\x"}',
    '{"a": "\\u12g4"}',
    '["a\tb"]',
    '["a\nb"]',
    '[1 // one\n]',
    '[1 /* one */]',
    '/* one */ [1]',
    '[01]',
    '[-]',
    '[+1]',
    '[.5]',
    '[1.]',
    '[1e]',
    '[1e+]',
    '[1a]',
    '[1"2"]',
    '[0x10]',
    '[NaN]',
    '[Infinity]',
    '[tru]',
    '[truex]',
    '[True]',
    '[1,]',
    '[,1]',
    '{"a": 1,}',
    '{,}',
    '{a: 1}',
    '{1: 1}',
    "{'a': 1}",
    '{"a"}',
    '{"a" 1}',
    '{"a": 1 "b": 2}',
    '[1 2]',
    '[1}',
    '{"a": 1]',
    '[1]]',
    '[1] x',
    '\u00a0[1]',
    '\uFEFF\uFEFF[1]',
    '[1]\u2028',
    '',
    ' \n',
  ])('is refused where JSON.parse() refuses it, wherever a piece ends: %j', async (text) => {
    expect(expectedOf(text)).toBe('refused')
    for (const before of [0, ...Array.from({ length: text.length + 2 }, (_, at) => PIECE - at)]) {
      expect(await outcome(`${' '.repeat(before)}${text}`), String(before)).toBe('refused')
    }
  })

  test('of which one character is another is read as JSON.parse() does', async () => {
    const value = fc.jsonValue({ maxDepth: 4 }).filter((one) => !JSON.stringify(one).includes('__proto__'))
    const other = fc.constantFrom(...'{}[],:"\\/tfn0123456789.-+eEux \t\r\n\0\u0007é'.split(''), '')
    let refused = 0
    let read = 0
    await fc.assert(
      fc.asyncProperty(value, fc.nat(2), fc.nat(), other, fc.nat(64), async (one, space, at, char, back) => {
        const text = JSON.stringify(one, undefined, space)
        const where = at % (text.length + 1)
        const changed = `${text.slice(0, where)}${char}${text.slice(where + 1)}`
        const expected = expectedOf(changed)
        const result = await outcome(`${' '.repeat(PIECE - back)}${changed}`)
        if (expected === 'refused') refused += 1
        else read += 1
        // Two members of the same name are refused by ours alone.
        if (expected !== 'refused' && result === 'refused') {
          await expect(parseJson(changed, undefined)).rejects.toThrow('appears twice')
        } else expect(result).toEqual(expected)
      }),
      { seed: chooseSeed('JSON of which one character is another'), numRuns: cases(1000, 10_000) },
    )
    expect(refused).toBeGreaterThan(100)
    expect(read).toBeGreaterThan(100)
  })

  test('has an own member __proto__ where it says so', async () => {
    const read = (await parseJson('{"__proto__": {"admin": true}}', undefined)) as object
    expect(Object.keys(read)).toEqual(['__proto__'])
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype)
    await expect(parseJson('{"__proto__": 1, "__proto__": 2}', undefined)).rejects.toThrow('appears twice')
  })

  test.each<[string, string, number, string]>([
    [
      'a string',
      `["${'x'.repeat(20_000)}"]`,
      1,
      'a string of more than 16384 characters: too much for a state',
    ],
    [
      'a string without an end',
      `["${'x'.repeat(50_000)}`,
      1,
      'a string of more than 16384 characters: too much for a state',
    ],
    [
      'a number',
      `[${'1'.repeat(20_000)}]`,
      1,
      'a number of more than 16384 characters: too much for a state',
    ],
    ['a word', `[${'x'.repeat(50_000)}]`, 1, `expected a value, got "${'x'.repeat(40)}"`],
    ['a comment', `[/*${'x'.repeat(50_000)}*/]`, 1, 'expected a value, got "/"'],
    ['depth', '['.repeat(100_000), 100, 'objects and arrays are nested more than 100 levels deep'],
    [
      'members',
      `{${Array.from({ length: 2000 }, (_, index) => `"${String(index)}":0`).join()}}`,
      7891,
      'an object of more than 1000 members: too much for a state',
    ],
  ])('has a limit to %s', async (_, text, offset, message) => {
    const error: unknown = await parseJson(text, undefined).then(
      () => 'read',
      (one: unknown) => one,
    )
    expect(error).toMatchObject({ offset, message })
  })

  test('up to these limits is read', async () => {
    for (const blanks of [0, 1, PIECE - 2, PIECE]) {
      const string = 'x'.repeat(16_382)
      expect(await parseJson(`${' '.repeat(blanks)}"${string}"`, undefined)).toBe(string)
      await expect(parseJson(`${' '.repeat(blanks)}"${string}x"`, undefined)).rejects.toThrow(JsonError)
    }
    const deep = '['.repeat(100) + ']'.repeat(100)
    expect(await parseJson(deep, undefined)).toEqual(JSON.parse(deep))
    const members = JSON.stringify(
      Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`n${String(index)}`, 0])),
    )
    expect(await parseJson(members, undefined)).toEqual(JSON.parse(members))
  })
})

test('a path is found in JSON, and what is not there in what it would be part of', async () => {
  const text = ' {"a": [1, {"b": 2}], "c": 3}'
  const at = async (path: (string | number)[]): Promise<number | undefined> =>
    (await locateInJson(text, [path], undefined))[0]
  expect(await at([])).toBe(1)
  expect(await at(['c'])).toBe(text.indexOf('"c"'))
  expect(await at(['a', 1, 'b'])).toBe(text.indexOf('"b"'))
  expect(await at(['a', 1, 'x', 'y'])).toBe(text.indexOf('{"b"'))
  expect(await at(['a', 7])).toBe(text.indexOf('"a"'))
  const both = [['c'], ['a', 1, 'b']]
  expect(await locateInJson(text, both, undefined)).toEqual([text.indexOf('"c"'), text.indexOf('"b"')])
})
