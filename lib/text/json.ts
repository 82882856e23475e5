import type { StatePath } from '../state/path.ts'
import type { Pace } from '../util/pace.ts'
import { ownText } from '../util/pieces.ts'

/**
 * JSON (RFC 8259), read piece by piece: JSON.parse() holds the JS thread for as
 * long as a text lasts, keeps one of two members with the same name without a
 * word, and does not say where something stands.
 */

/** What is wrong with a JSON text, and where. */
export class JsonError extends Error {
  readonly offset: number

  constructor(offset: number, reason: string) {
    super(reason)
    this.offset = offset
  }
}

/** Called where an array's element or an object's member (its name) begins. */
export type Visit = (offset: number) => void

interface Container {
  readonly value: unknown[] | Record<string, unknown>
  /** Where it began. */
  readonly offset: number
  /** Name of the member, or index of the element, that comes next. */
  at: string | number
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const WORD = /[\w$+.-]+/y
/** What a string may not hold as it is, or what ends it. */
const SPECIAL = /["\\\x00-\x1f]/g
/** Far deeper than a state, and flat enough that a path in it stays short. */
const DEEPEST = 100
const QUOTE = 34
const COMMA = 44
const COLON = 58
const OPEN_BRACKET = 91
const BACKSLASH = 92
const CLOSE_BRACKET = 93
const OPEN_BRACE = 123
const CLOSE_BRACE = 125
const LITERALS: Readonly<Record<string, unknown>> = { true: true, false: false, null: null }

/** Reads a JSON text. `visit` hears of every member and element, with its path. */
export async function parseJson(
  text: string,
  pace: Pace,
  visit?: (path: StatePath, offset: number) => void,
): Promise<unknown> {
  const stack: Container[] = []
  let offset = 0

  for (;;) {
    if (pace.due()) await pace.rest()
    // A value begins here; `top` is what it will be part of.
    const top = stack.at(-1)
    offset = skipBlanks(text, offset)
    if (visit !== undefined && top !== undefined && typeof top.at === 'number') visit(pathOf(stack), offset)
    let value: unknown
    const code = text.charCodeAt(offset)
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      const container: Container = {
        value: code === OPEN_BRACE ? {} : [],
        offset,
        at: code === OPEN_BRACE ? '' : 0,
      }
      if (stack.length === DEEPEST)
        throw new JsonError(offset, 'objects and arrays are nested too deeply for a state')
      offset = skipBlanks(text, offset + 1)
      if (text.charCodeAt(offset) !== (code === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET)) {
        stack.push(container)
        if (code === OPEN_BRACE) offset = readName(text, offset, stack, visit)
        continue
      }
      offset += 1
      value = container.value
    } else if (code === QUOTE) {
      const end = endOfString(text, offset)
      value = stringAt(text, offset, end)
      offset = end
    } else {
      NUMBER.lastIndex = offset
      const number = NUMBER.exec(text)?.[0]
      WORD.lastIndex = offset
      const word = WORD.exec(text)?.[0] ?? ''
      if (number !== undefined && number === word) value = Number(number)
      else if (Object.hasOwn(LITERALS, word)) value = LITERALS[word]
      else throw unexpected(text, offset, 'a value', stack)
      offset += word.length
    }

    // A value has ended here, and perhaps what it is part of.
    for (;;) {
      const owner = stack.at(-1)
      offset = skipBlanks(text, offset)
      if (owner === undefined) {
        if (offset < text.length) throw unexpected(text, offset, 'the end of the text', stack)
        return value
      }
      const next = text.charCodeAt(offset)
      if (Array.isArray(owner.value)) {
        owner.value.push(value)
        if (next !== COMMA && next !== CLOSE_BRACKET) throw unexpected(text, offset, `',' or ']'`, stack)
        offset += 1
        if (next === COMMA) {
          owner.at = owner.value.length
          break
        }
      } else {
        setMember(owner.value, owner.at as string, value)
        if (next !== COMMA && next !== CLOSE_BRACE) throw unexpected(text, offset, `',' or '}'`, stack)
        offset += 1
        if (next === COMMA) {
          offset = readName(text, skipBlanks(text, offset), stack, visit)
          break
        }
      }
      value = owner.value
      stack.pop()
    }
  }
}

/** Where something stands in a JSON text that has been read; if it is not there, what it would be part of. */
export async function locateInJson(text: string, path: StatePath, pace: Pace): Promise<number> {
  let found = skipBlanks(text, 0)
  let depth = 0
  await parseJson(text, pace, (at, offset) => {
    if (at.length <= depth || at.length > path.length) return
    if (!at.every((step, index) => step === path[index])) return
    depth = at.length
    found = offset
  })
  return found
}

/** Reads a member's name and the colon, and gives where its value may begin. */
function readName(
  text: string,
  offset: number,
  stack: Container[],
  visit?: (path: StatePath, offset: number) => void,
): number {
  const owner = stack.at(-1) as Container
  if (text.charCodeAt(offset) !== QUOTE) throw unexpected(text, offset, 'a name in double quotes', stack)
  const end = endOfString(text, offset)
  const name = stringAt(text, offset, end)
  if (Object.hasOwn(owner.value, name)) throw new JsonError(offset, `${JSON.stringify(name)} comes twice`)
  owner.at = name
  visit?.(pathOf(stack), offset)
  const colon = skipBlanks(text, end)
  if (text.charCodeAt(colon) !== COLON) throw unexpected(text, colon, `':'`, stack)
  return colon + 1
}

function setMember(object: Record<string, unknown>, name: string, value: unknown): void {
  // Setting __proto__ would do something else.
  if (name === '__proto__') {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
  } else {
    object[name] = value
  }
}

function pathOf(stack: readonly Container[]): StatePath {
  return stack.map(({ at }) => at)
}

/** Over blanks, tabs, LF and CR, the only ones that JSON has. */
function skipBlanks(text: string, offset: number): number {
  for (;;) {
    const code = text.charCodeAt(offset)
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return offset
    offset += 1
  }
}

/** Just after the closing quote of the string that begins here. */
function endOfString(text: string, start: number): number {
  SPECIAL.lastIndex = start + 1
  for (;;) {
    const special = SPECIAL.exec(text)
    if (special === null) throw new JsonError(start, 'this string has no end: the text is cut off')
    const at = special.index
    const code = text.charCodeAt(at)
    if (code === QUOTE) return at + 1
    if (code !== BACKSLASH) {
      throw new JsonError(
        at,
        code === 10 || code === 13 ? 'a string ends with its line' : 'a control character',
      )
    }
    SPECIAL.lastIndex = at + 2
  }
}

function stringAt(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end - 1)
  if (!inner.includes('\\')) return ownText(inner)
  try {
    return JSON.parse(text.slice(start, end)) as string
  } catch {
    throw new JsonError(start, 'a string with an escape that JSON does not have')
  }
}

function unexpected(text: string, offset: number, expected: string, stack: readonly Container[]): JsonError {
  const open = stack.at(-1)
  if (offset >= text.length) {
    const what = open === undefined ? '' : Array.isArray(open.value) ? ' in an array' : ' in an object'
    return new JsonError(offset, `the text ends${what} where ${expected} is expected: it is cut off`)
  }
  WORD.lastIndex = offset
  const found = WORD.exec(text)?.[0] ?? String.fromCodePoint(text.codePointAt(offset) ?? 0)
  return new JsonError(offset, `expected ${expected}, got ${JSON.stringify(found.slice(0, 40))}`)
}
