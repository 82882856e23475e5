import { describe, expect, test } from 'vitest'
import { hostileTexts } from '../../bench/hostile-texts.mjs'
import { parseState, type StateSyntaxError } from '../../lib/text.ts'
import { DEEP } from '../helpers/depth.ts'

/** Texts of someone who wants to stop the process: a limit that says so, or a time that grows with the text. */

async function outcome(text: string): Promise<string> {
  return parseState(text).then(
    () => 'read',
    (error: unknown) => (error as StateSyntaxError).reason,
  )
}

describe('YAML has a limit to', () => {
  test.each<[string, string, number, number, RegExp]>([
    [
      'flows within flows',
      `a: ${'['.repeat(100_000)}`,
      1,
      103,
      /^nesting of more than 100 levels: too much for a state$/,
    ],
    ['mappings in flows', `a: ${'{x: '.repeat(100_000)}`, 1, 400, /^nesting of more than 100 levels/],
    ['sequences on a line', `a:\n${'- '.repeat(100_000)}`, 2, 199, /^nesting of more than 100 levels/],
    [
      'blocks within blocks',
      Array.from({ length: 3000 }, (_, depth) => `${' '.repeat(depth)}a:\n`).join(''),
      101,
      101,
      /^nesting of more than 100 levels/,
    ],
    [
      'keys',
      Array.from({ length: 100_000 }, (_, index) => `a${String(index)}: 1\n`).join(''),
      1001,
      1,
      /^a mapping of more than 1000 keys: too much for a state$/,
    ],
    [
      'keys in a flow',
      `{ ${Array.from({ length: 100_000 }, (_, index) => `a${String(index)}: 1`).join()} }`,
      1,
      7892,
      /^a mapping of more than 1000 keys: too much for a state$/,
    ],
    [
      'aliases',
      `services: &a []\nsysctls:\n${'  - *a\n'.repeat(20_000)}`,
      10_003,
      5,
      /^more than 10000 aliases: too much for a state$/,
    ],
    [
      'anchors',
      `services:\n${'  - &a 1\n'.repeat(20_000)}`,
      10_002,
      5,
      /^more than 10000 anchors: too much for a state$/,
    ],
    [
      'what aliases repeat',
      `services: [&a [${'1,'.repeat(999)}], ${'*a,'.repeat(2000)}]\n`,
      1,
      5017,
      /^aliases that repeat more than 1000000 values: too much for a state$/,
    ],
    [
      'what merge keys repeat',
      `x: &a {${Array.from({ length: 999 }, (_, index) => `a${String(index)}: 1`).join()}}\nservices:\n${'  - <<: *a\n'.repeat(2000)}`,
      503,
      9,
      /^aliases that repeat more than 1000000 values: too much for a state$/,
    ],
    [
      'a string',
      `services: ${'x'.repeat(20_000)}\n`,
      1,
      11,
      /^a string of more than 16384 characters: too much for a state$/,
    ],
    [
      'a string in quotes',
      `services: "${'x'.repeat(20_000)}"\n`,
      1,
      11,
      /^a string of more than 16384 characters: too much for a state$/,
    ],
    [
      'lines',
      `services: []\n${'\n'.repeat(2_000_000)}`,
      1_000_001,
      1,
      /^YAML of more than 1000000 lines is not read: use JSON or ipvsadm lines$/,
    ],
    [
      'characters',
      `services: []\n#${'x'.repeat(2 ** 24)}\n`,
      2,
      2 ** 24 - 12,
      /^YAML of more than 16777216 characters is not read: use JSON or ipvsadm lines$/,
    ],
  ])('%s', async (_, text, line, column, reason) => {
    const error = (await parseState(text, { format: 'yaml' }).catch(
      (one: unknown) => one,
    )) as StateSyntaxError
    expect(error.reason).toMatch(reason)
    expect([error.line, error.column]).toEqual([line, column])
  })

  // It takes seconds to come so far.
  test.runIf(DEEP)('collections', async () => {
    expect(await outcome(`services: [${'[],'.repeat(700_000)}`)).toBe(
      'more than 600000 mappings and sequences: too much for a state',
    )
  })

  test('what a state does not reach', async () => {
    const deep = `x: ${'['.repeat(90)}${']'.repeat(90)}\nservices: []\n`
    expect(await outcome(deep)).toMatch(/has no field 'x'/)
    const sysctls = Array.from({ length: 1000 }, (_, index) => `  a${String(index)}: "1"\n`).join('')
    expect(await outcome(`services: []\nsysctls:\n${sysctls}`)).toBe('read')
    expect(await outcome(`services: []\n#${'x'.repeat(100_000)}\n${' '.repeat(100_000)}\n`)).toBe('read')
  })
})

/** More keys than a mapping may have. */
const KEYS = Array.from({ length: 1100 }, (_, index) => `a${String(index)}: 1\n`).join('')

describe('YAML is read to its first error alone', () => {
  // Each error takes the time of a hundred tokens, and a kilobyte. What comes after it would be refused too.
  test.each([
    ['a closing bracket', `a: ]\n${KEYS}`, 1, 4, /^Unexpected flow-seq-end token/],
    ['two tags', `a: !a !b 1\n---\na: 1\n`, 1, 7, /^A node can have at most one tag$/],
    ['two anchors in a list', `a: [[&a &b 1]]\n---\na: 1\n`, 1, 9, /at most one anchor$/],
    ['a comma', `a: [1,,]\n---\na: 1\n`, 1, 7, /^Unexpected , in flow sequence$/],
    ['a second document', `a: 1\n---\n${KEYS}`, 2, 1, /^a second YAML document: a state is a single one$/],
  ])('%s', async (_, text, line, column, reason) => {
    const error = (await parseState(text, { format: 'yaml' }).catch(
      (one: unknown) => one,
    )) as StateSyntaxError
    expect(error.reason).toMatch(reason)
    expect([error.line, error.column]).toEqual([line, column])
  })

  test('a warning of the package is an error too', async () => {
    expect(await outcome('%a\n%b\n---\nservices: []\n')).toBe('Unknown directive %a')
    expect(await outcome('services: !a []\nx: [,]\n')).toBe('Unresolved tag: !a')
  })
})

// It takes seconds to come so far.
test.runIf(DEEP)('JSON has a limit to objects and arrays', async () => {
  expect(await outcome(`{"services": [${'[],'.repeat(4e6)}`)).toBe(
    'more than 4000000 objects and arrays: too much for a state',
  )
})

test.each(['-o ', 'x ', 'x', ' '])('an ipvsadm line has a limit: %j', async (part) => {
  const error: unknown = await parseState(`-A -f 2\n-A -f 1 ${part.repeat(20_000)}\n`).catch(
    (one: unknown) => one,
  )
  expect(error).toMatchObject({
    line: 2,
    column: 16_385,
    reason: 'a line of more than 16384 characters: too much for a state',
  })
})

describe('the time for a text grows no faster than the text', () => {
  /** The shortest of some readings: others use the machine too. */
  async function shortest(text: string): Promise<number> {
    let least = Infinity
    for (let round = 0; round < 2; round++) {
      const start = performance.now()
      await outcome(text)
      least = Math.min(least, performance.now() - start)
    }
    return least
  }

  // All of them take half a minute.
  const names = Object.keys(hostileTexts).filter(
    (name) => DEEP || /rules|names|blank lines|anchors/.test(name),
  )

  test.each(names)('%s', async (name) => {
    const make = hostileTexts[name] as (size: number) => string
    // The first size that takes some time, so that a ratio means something; or the text is refused at once whatever it is.
    let size = 0.002
    while (size < 0.02 && (await shortest(make(size))) < 15) size *= 2
    const one = await shortest(make(size))
    const four = await shortest(make(size * 4))
    // A limit bounds the rest.
    if ((await outcome(make(size * 4))).endsWith(': too much for a state')) return
    // Sixteen times for four times the text would be quadratic.
    expect(four, `${String(one)} ms, then ${String(four)} ms`).toBeLessThan(Math.max(15, one) * 10)
  })
})
