import type { JSONScanner } from 'jsonc-parser'
import { createScanner } from 'jsonc-parser/lib/umd/impl/scanner.js'
import type { StatePath } from '../state/path.ts'
import { slices } from '../util/pace.ts'
import { ownText } from '../util/pieces.ts'

/**
 * Strict JSON (RFC 8259), with the scanner of jsonc-parser. JSON.parse() keeps
 * the JS thread until it is done, silently drops one of two members of the same
 * name, and does not tell where a value is.
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
type Visit = (path: StatePath, offset: number) => void

/** Reads a JSON text. `visit` hears of every member and element whose path has at most `deepest` steps. */
export async function parseJson(
  text: string,
  signal: AbortSignal | undefined,
  visit?: Visit,
  deepest: number = DEEPEST,
): Promise<unknown> {
  const builder = new Builder(text, visit, deepest)
  const ends = Array.from({ length: Math.ceil(text.length / PIECE) }, (_, index) =>
    Math.min((index + 1) * PIECE, text.length),
  )
  let start = 0
  for await (const some of slices(ends, signal)) {
    for (const end of some)
      start = takePiece(createScanner(text.slice(start, end)), builder, start, end, text.length)
  }
  return builder.end()
}

/** The offset of each of these in a JSON text that was read before; of what it would be part of, if it is not there. */
export async function locateInJson(
  text: string,
  paths: readonly StatePath[],
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const root: Sought = { offset: text.search(/[^ \t\r\n]/), parts: new Map() }
  let deepest = 0
  for (const path of paths) {
    deepest = Math.max(deepest, path.length)
    let sought = root
    for (const step of path) {
      const part = sought.parts.get(step) ?? { offset: undefined, parts: new Map() }
      sought.parts.set(step, part)
      sought = part
    }
  }
  const visit: Visit = (path, offset) => {
    let sought: Sought | undefined = root
    for (const step of path) {
      sought = sought.parts.get(step)
      if (sought === undefined) return
    }
    sought.offset = offset
  }
  await parseJson(text, signal, visit, deepest)
  return paths.map((path) => {
    let found = root.offset
    let sought: Sought | undefined = root
    for (const step of path) {
      sought = sought.parts.get(step)
      if (sought?.offset === undefined) break
      found = sought.offset
    }
    return found as number
  })
}

/** Something whose offset is sought, and its parts that are. */
interface Sought {
  offset: number | undefined
  readonly parts: Map<string | number, Sought>
}

/** How many characters the scanner is given at a time. */
const PIECE = 4096
/** Far longer than a string or number of a state. A token that a piece cuts is scanned again from its start, so this bounds the work. */
export const LONGEST_TOKEN = 16_384
/** Far deeper than a state, and shallow enough that a path in it stays short. */
export const DEEPEST = 100
/** Several million real servers. An empty array takes a hundred bytes for its two characters. */
const MOST_CONTAINERS = 4_000_000
/** Far more than any object of a state has: the kernel has some forty sysctls. */
export const MOST_MEMBERS = 1000

/** Takes the tokens of the piece from `start` to `end`. Gives the offset from which the next piece has to be scanned. */
function takePiece(
  scanner: JSONScanner,
  builder: Builder,
  start: number,
  end: number,
  textEnd: number,
): number {
  for (;;) {
    const kind: number = scanner.scan()
    if (kind === BLANKS || kind === LINE_BREAK) continue
    if (kind === END) return end
    const offset = start + scanner.getTokenOffset()
    if (scanner.getTokenLength() > LONGEST_TOKEN) throw builder.tooLong(kind, offset)
    // A token at the end of a piece may go on in the next one.
    if (start + scanner.getPosition() === end && end < textEnd) return offset
    builder.take(kind, scanner, offset)
  }
}

interface Container {
  readonly value: unknown[] | Record<string, unknown>
  /** Name of the member, or index of the element, that comes next. */
  at: string | number
  /** How many members an object has so far. */
  members: number
}

type Expected = 'value' | 'value or end' | 'name' | 'name or end' | 'colon' | 'comma or end'

/** Makes a value of tokens. */
class Builder {
  readonly #text: string
  readonly #visit: Visit | undefined
  readonly #deepest: number
  readonly #stack: Container[] = []
  #expected: Expected = 'value'
  #value: unknown
  #containers = 0

  constructor(text: string, visit: Visit | undefined, deepest: number) {
    this.#text = text
    this.#visit = visit
    this.#deepest = deepest
  }

  tooLong(kind: number, offset: number): JsonError {
    if (kind !== STRING && kind !== NUMBER) return this.#unexpected(offset)
    const what = kind === STRING ? 'string' : 'number'
    return new JsonError(
      offset,
      `a ${what} of more than ${String(LONGEST_TOKEN)} characters: too much for a state`,
    )
  }

  take(kind: number, scanner: JSONScanner, offset: number): void {
    const owner = this.#stack.at(-1)
    switch (this.#expected) {
      case 'value or end':
        if (kind === CLOSE_BRACKET) {
          this.#close()
          return
        }
        this.#beginValue(kind, scanner, offset, owner)
        return
      case 'value':
        this.#beginValue(kind, scanner, offset, owner)
        return
      case 'name or end':
        if (kind === CLOSE_BRACE) this.#close()
        else this.#beginMember(kind, scanner, offset, owner as Container)
        return
      case 'name':
        this.#beginMember(kind, scanner, offset, owner as Container)
        return
      case 'colon':
        if (kind !== COLON) throw this.#unexpected(offset)
        this.#expected = 'value'
        return
      case 'comma or end': {
        const isArray = Array.isArray(owner?.value)
        if (owner !== undefined && kind === COMMA) {
          if (isArray) owner.at = (owner.at as number) + 1
          this.#expected = isArray ? 'value' : 'name'
        } else if (owner !== undefined && kind === (isArray ? CLOSE_BRACKET : CLOSE_BRACE)) this.#close()
        else throw this.#unexpected(offset)
      }
    }
  }

  /** The value, if the text is one. */
  end(): unknown {
    if (this.#stack.length > 0 || this.#expected !== 'comma or end') throw this.#unexpected(this.#text.length)
    return this.#value
  }

  #beginValue(kind: number, scanner: JSONScanner, offset: number, owner: Container | undefined): void {
    if (owner !== undefined && typeof owner.at === 'number') this.#tell(offset)
    switch (kind) {
      case OPEN_BRACE:
        this.#open({ value: {}, at: '', members: 0 }, 'name or end', offset)
        return
      case OPEN_BRACKET:
        this.#open({ value: [], at: 0, members: 0 }, 'value or end', offset)
        return
      case STRING:
        this.#addValue(this.#stringOf(scanner, offset))
        return
      case NUMBER:
        this.#addValue(this.#numberOf(scanner, offset))
        return
      case TRUE:
      case FALSE:
        this.#addValue(kind === TRUE)
        return
      case NULL:
        this.#addValue(null)
        return
      default:
        throw this.#unexpected(offset)
    }
  }

  #beginMember(kind: number, scanner: JSONScanner, offset: number, owner: Container): void {
    if (kind !== STRING) throw this.#unexpected(offset)
    const name = this.#stringOf(scanner, offset)
    if (Object.hasOwn(owner.value, name)) throw new JsonError(offset, `${JSON.stringify(name)} appears twice`)
    owner.members += 1
    if (owner.members > MOST_MEMBERS) {
      throw new JsonError(
        offset,
        `an object of more than ${String(MOST_MEMBERS)} members: too much for a state`,
      )
    }
    owner.at = name
    this.#tell(offset)
    this.#expected = 'colon'
  }

  #open(container: Container, expected: Expected, offset: number): void {
    if (this.#stack.length === DEEPEST) {
      throw new JsonError(offset, `objects and arrays are nested more than ${String(DEEPEST)} levels deep`)
    }
    this.#containers += 1
    if (this.#containers > MOST_CONTAINERS) {
      throw new JsonError(
        offset,
        `more than ${String(MOST_CONTAINERS)} objects and arrays: too much for a state`,
      )
    }
    this.#stack.push(container)
    this.#expected = expected
  }

  #close(): void {
    this.#addValue((this.#stack.pop() as Container).value)
  }

  #addValue(value: unknown): void {
    const owner = this.#stack.at(-1)
    if (owner === undefined) this.#value = value
    else if (Array.isArray(owner.value)) owner.value.push(value)
    else setMember(owner.value, owner.at as string, value)
    this.#expected = 'comma or end'
  }

  #stringOf(scanner: JSONScanner, offset: number): string {
    const error: number = scanner.getTokenError()
    if (error === NO_ERROR) return ownText(scanner.getTokenValue())
    const end = offset + scanner.getTokenLength()
    if (error === END_OF_STRING) {
      throw end < this.#text.length
        ? new JsonError(end, 'a line break inside a string: write it as \\n')
        : new JsonError(offset, 'this string has no end: the text is cut off')
    }
    if (error === INVALID_CHARACTER) {
      const at = this.#text.slice(offset, end).search(/[\x00-\x1f]/)
      throw new JsonError(offset + at, 'a control character inside a string: write it as an escape')
    }
    throw new JsonError(offset, 'a string with an escape that JSON does not have')
  }

  #numberOf(scanner: JSONScanner, offset: number): number {
    const next = this.#text.charCodeAt(offset + scanner.getTokenLength())
    // The scanner takes `01` for two numbers.
    if ((scanner.getTokenError() as number) !== NO_ERROR || isWord(next)) throw this.#unexpected(offset)
    return Number(scanner.getTokenValue())
  }

  #tell(offset: number): void {
    if (this.#stack.length <= this.#deepest)
      this.#visit?.(
        this.#stack.map(({ at }) => at),
        offset,
      )
  }

  #unexpected(offset: number): JsonError {
    const open = this.#stack.at(-1)
    const expected = this.#expectedText(open)
    if (offset >= this.#text.length) {
      const where = open === undefined ? '' : Array.isArray(open.value) ? ' in an array' : ' in an object'
      return new JsonError(offset, `the text ends${where} where ${expected} is expected: it is cut off`)
    }
    WORD.lastIndex = offset
    const found = WORD.exec(this.#text)?.[0] ?? String.fromCodePoint(this.#text.codePointAt(offset) ?? 0)
    return new JsonError(offset, `expected ${expected}, got ${JSON.stringify(found)}`)
  }

  #expectedText(open: Container | undefined): string {
    switch (this.#expected) {
      case 'value':
      case 'value or end':
        return 'a value'
      case 'name':
      case 'name or end':
        return 'a name in double quotes'
      case 'colon':
        return `':'`
      case 'comma or end':
        return open === undefined
          ? 'the end of the text'
          : Array.isArray(open.value)
            ? `',' or ']'`
            : `',' or '}'`
    }
  }
}

/** As much of an unexpected word as a message shows. */
const WORD = /[\w$+.-]{1,40}/y

function isWord(code: number): boolean {
  // Most often a comma or a closing bracket, or blanks before one.
  if (code === 44 || code === 93 || code === 125 || code <= 32 || Number.isNaN(code)) return false
  return /[\w$+.-]/.test(String.fromCharCode(code))
}

export function setMember(object: Record<string, unknown>, name: string, value: unknown): void {
  // An assignment to __proto__ would set the prototype.
  if (name === '__proto__') {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
  } else {
    object[name] = value
  }
}

// Numbers of jsonc-parser's SyntaxKind and ScanError: its enums are there for its own compiler alone.
const OPEN_BRACE = 1
const CLOSE_BRACE = 2
const OPEN_BRACKET = 3
const CLOSE_BRACKET = 4
const COMMA = 5
const COLON = 6
const NULL = 7
const TRUE = 8
const FALSE = 9
const STRING = 10
const NUMBER = 11
const LINE_BREAK = 14
const BLANKS = 15
const END = 17
const NO_ERROR = 0
const END_OF_STRING = 2
const INVALID_CHARACTER = 6
