import type { StatePath } from '../state.ts'
import { type GivenOption, splitOptions, splitWords } from './ipvsadm-words.ts'

/** What checkState() refuses of a state that lines of ipvsadm say, in the words of these lines. */

interface Place {
  readonly line: number
  readonly column: number
}

/** Options that say a field, by their name or set: the first that a line has. */
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  port: ['service'],
  scheduler: ['scheduler'],
  persistenceEngine: ['pe'],
  method: ['method', 'real-server'],
  lowerThreshold: ['l-threshold'],
  multicastInterface: ['mcast-interface'],
  multicastGroup: ['mcast-group'],
}

/** Where a line says the field that a path ends with; if it does not, where what it is part of begins. */
export function placeInLine(text: string, place: Place, path: StatePath): Place {
  const names = OPTIONS[String(path.at(-1))]
  if (names === undefined) return place
  // It has been split before, without an error.
  const words = splitWords(lineOf(text, place.line)).filter(({ column }) => column >= place.column)
  const { options } = splitOptions(words)
  const found = names
    .map((name) => options.find(({ option }) => option.name === name || option.set === name))
    .find((given): given is GivenOption => given !== undefined)
  return found === undefined ? place : { line: place.line, column: found.valueColumn }
}

function lineOf(text: string, number: number): string {
  let start = 0
  for (let line = 1; line < number; line++) start = text.indexOf('\n', start) + 1
  const end = text.indexOf('\n', start)
  return end < 0 ? text.slice(start) : text.slice(start, end)
}

/** Names of fields and methods in messages, and how a line says them. */
const WORDS: Readonly<Record<string, string>> = {
  scheduler: '-s',
  persistenceEngine: '--pe',
  '`persistence`': '-p',
  upperThreshold: '-x',
  lowerThreshold: '-y',
  multicastInterface: '--mcast-interface',
  multicastGroup: '--mcast-group',
  method: 'the method',
  "'direct'": '-g',
  "'tunnel'": '-i',
  "'masquerade'": '-m',
}

/** A refusal with options in place of fields, and lines in place of what comes twice. */
export function describeInLines(
  message: string,
  path: StatePath,
  placeOf: (path: StatePath) => Place,
): string {
  return message
    .replace(/it is \w+\[(\d+)\](?: of the same service)? already$/, (_, first: string) => {
      const { line } = placeOf([...path.slice(0, -1), Number(first)])
      return `line ${String(line)} has it already`
    })
    .replace(/'[^']*'|`\w+`|\w+/g, (word) => (Object.hasOwn(WORDS, word) ? (WORDS[word] as string) : word))
}
