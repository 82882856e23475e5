import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../docs/markdown.ts'
import { admRoom } from './adm.ts'
import { commandRooms } from './command.ts'
import { libraryRooms } from './library.ts'
import { allLiterals, blanks, literalsOf, NO_MESSAGES } from './literals.ts'
import { pageOf } from './room.ts'
import { textRooms } from './texts.ts'

const { text, messages } = await pageOf([...libraryRooms, ...textRooms, ...commandRooms, admRoom])

/** Texts that no unit test can make the library say. */
const UNSAID: Readonly<Record<string, string>> = {
  'the address of ... is not known yet': 'every caller looks the host up, and asks again',
  'while it was read; try again': 'of two reads; test/cli/memory.test.ts changes the file between them',
  'standard input is longer than ... bytes': 'it takes 256 MiB; test/cli/errors.test.ts gives as many',
  'was written to each time it was read; try again later': 'takes a writer that never rests',
  'was replaced, but may be the old one again after a loss of power: its folder was not synced':
    'takes a disk that fails',
  'more than ... tokens': 'it takes seconds to read as many',
  'something else has changed this meanwhile': 'no step of the result of an apply fails without an error',
}

test('docs/messages.md is what the library says', async () => {
  await expect(text).toMatchFileSnapshot('../../docs/messages.md')
})

test('every text of lib/ is in a message', () => {
  const all = messages.map(blanks).join('\n')
  const literals = allLiterals()
  const missing = literals
    .filter((literal) => !Object.hasOwn(UNSAID, literal.text) && !literal.pattern.test(all))
    .map((literal) => `${literal.place}: ${literal.text}`)
  const excusedForNothing = [
    ...Object.keys(NO_MESSAGES).filter((file) => !existsSync(join(ROOT, file))),
    ...Object.keys(UNSAID).filter((text) => !literals.some((literal) => literal.text === text)),
  ]
  expect({ missing, excusedForNothing }).toEqual({ missing: [], excusedForNothing: [] })
})

test('a text is found wherever it stands', () => {
  const code = [
    'throw new Error(`${name} must be text, ` + (far ? "got more than wanted" : got))',
    'const WORDS: Record<"no such thing", string> = { "no such thing": "there is none" }',
    'log("debug text", debug("not for people"), "x")',
  ].join('\n')
  const found = literalsOf('a.ts', code)
  expect(found.map(({ place, text }) => `${place} ${text}`)).toEqual([
    'a.ts:1 ... must be text, ',
    'a.ts:1 got more than wanted',
    'a.ts:2 there is none',
    'a.ts:3 debug text',
  ])
  const [first] = found
  expect(first?.pattern.test('TypeError: weight must be text, got 5')).toBe(true)
  expect(first?.pattern.test('TypeError: weight must be a text, got 5')).toBe(false)
})
