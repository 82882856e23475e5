import { expect, test } from 'vitest'
import { guidePage } from '../helpers/guides.ts'
import { GUIDES } from '../traffic/guides.ts'
import { examples } from './markdown.ts'

/**
 * The guides' pictures are as small a part of Mermaid as they need, so that its own parser, which comes with a browser's
 * worth of packages, is not needed to tell that they are drawn.
 */

/** What is written on an arrow or a machine. `;` and `#` mean something else to Mermaid. */
const TEXT = String.raw`[^;#]*[^;#\s]`
const LINES = [
  'autonumber',
  String.raw`participant (?<machine>\w+) as ${TEXT}`,
  String.raw`(?<from>\w+)-{1,2}>>(?<to>\w+): ${TEXT}`,
  String.raw`Note over (?<over>\w+)(,(?<until>\w+))?: ${TEXT}`,
].map((line) => new RegExp(`^  ${line}$`))

/** What is wrong with a sequence diagram. */
function faults(code: string): string[] {
  const [first = '', ...lines] = code.split('\n')
  const machines = new Set<string>()
  const wrong = first === 'sequenceDiagram' ? [] : [`'${first}' is not how a picture begins`]
  for (const line of lines) {
    const found = LINES.map((pattern) => pattern.exec(line)).find((match) => match !== null)
    if (found === undefined) wrong.push(`'${line.trim()}' is not a line of a picture`)
    const groups: Readonly<Record<string, string | undefined>> = found?.groups ?? {}
    const { machine, ...named } = groups
    if (machine !== undefined) machines.add(machine)
    for (const name of Object.values(named))
      if (name !== undefined && !machines.has(name)) wrong.push(`'${name}' is not a participant`)
  }
  return wrong
}

const pictures = Object.keys(GUIDES).flatMap((name) => examples(guidePage(name), 'mermaid'))

test('there are pictures', () => {
  expect(pictures.length).toBeGreaterThan(5)
})

test.each(pictures)('$place is drawn', ({ code }) => {
  expect(faults(code)).toEqual([])
})

test('what Mermaid would not draw is found', () => {
  const lines = ['sequenceDiagram', '  participant a as a', '  a->>b: x', '  a->>a: one; two', '  a-> a: x']
  expect(faults(lines.join('\n'))).toHaveLength(3)
  expect(faults('flow')).toHaveLength(1)
})
