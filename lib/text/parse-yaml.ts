import type { Composer, CST, Document } from 'yaml'
import type { StatePath } from '../state/path.ts'
import { DEEPEST, LONGEST_TOKEN, MOST_MEMBERS } from './json.ts'
import { YamlError, yamlValue } from './yaml-value.ts'

/**
 * Bounds of the time and the memory that a text can take: the package needs
 * much of both for each token, and keeps the JS thread. 110,000 rules are half of it.
 */
const MOST_CHARACTERS = 16 * 2 ** 20
const MOST_LINES = 1_000_000
const MOST_TOKENS = 8_000_000
/** More than real servers fit into as many characters. Each takes more than a kilobyte while it is read. */
const MOST_COLLECTIONS = 600_000
/** Far more than services that share a list of real servers. */
const MOST_ALIASES = 10_000
const MOST_ANCHORS = 10_000

/** A value, and the offsets of its parts in the text. */
interface ParsedYaml {
  readonly value: unknown
  readonly locate: (path: StatePath) => number
}

/**
 * Reads one document of YAML 1.2, with merge keys (`<<`) as 1.1 has them. The
 * package is loaded when it is first needed.
 */
export async function parseYaml(text: string): Promise<ParsedYaml> {
  const yaml = await import('yaml')
  if (text.length > MOST_CHARACTERS) throw tooLarge(MOST_CHARACTERS, 'characters', MOST_CHARACTERS)
  let lines = 0
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) {
    lines += 1
    if (lines > MOST_LINES) throw tooLarge(MOST_LINES, 'lines', end)
  }
  const document = compose(text, yaml)
  // A directive for 1.1 would make `yes` a truth value, and 010 eight.
  if (document.directives.yaml.version === '1.1') {
    throw new YamlError(text.search(/^%YAML/m), 'YAML 1.1 is not supported, only 1.2: remove this line')
  }
  const value = yamlValue(document.contents, yaml)
  const { isAlias, isMap, isScalar, isSeq } = yaml
  const locate = (path: StatePath): number => {
    let node: unknown = document.contents
    let offset: number = document.contents?.range[0] ?? 0
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(document)
      if (isMap(node)) {
        const pair = node.items.find(({ key }) => isScalar(key) && key.value === step)
        if (pair === undefined) break
        offset = (isScalar(pair.key) ? pair.key.range?.[0] : undefined) ?? offset
        node = pair.value
      } else if (isSeq(node) && typeof step === 'number') {
        const item = node.items[step] as { readonly range?: readonly number[] | null } | undefined
        offset = item?.range?.[0] ?? offset
        node = item
      } else {
        break
      }
    }
    return offset
  }
  return { value, locate }
}

/**
 * As parseDocument() of the package does, but with limits before it goes into
 * what it has read, which it does recursively, and only to the first error:
 * each takes it as long as a hundred tokens.
 */
function compose(text: string, { Composer, Lexer, Parser }: typeof import('yaml')): Document.Parsed {
  const parser = new Parser()
  Object.assign(parser, { atIndentedComment: blanksBeforeComments() })
  const composer: Composer = new Composer({ resolveKnownTags: false, prettyErrors: false, stringKeys: true })
  let error: YamlError | undefined
  Object.assign(composer, {
    // Warnings too, such as of a tag that nobody knows.
    onError(source: Place, _code: string, message: string): void {
      // The package catches it in each collection, and reports it again.
      throw (error ??= new YamlError(offsetOf(source), message))
    },
  })
  let document: Document.Parsed | undefined
  const add = (documents: Iterable<Document.Parsed>): void => {
    for (const one of documents) document = one
  }
  let begun: CST.Token | undefined
  const take = (token: CST.Token): void => {
    if (token.type === 'error') {
      const { offset, message, source } = token
      throw new YamlError(offset, source === '' ? message : `${message}: ${JSON.stringify(source)}`)
    }
    add(composer.next(token))
  }
  let tokens = 0
  let aliases = 0
  let anchors = 0
  let collections = 0
  for (const lexeme of new Lexer().lex(text)) {
    tokens += 1
    if (tokens > MOST_TOKENS) throw tooMuch(parser.offset, `more than ${String(MOST_TOKENS)} tokens`)
    if (lexeme.length > LONGEST_TOKEN && !/^[\s#]/.test(lexeme)) {
      throw tooMuch(parser.offset, `a string of more than ${String(LONGEST_TOKEN)} characters`)
    }
    if (lexeme.startsWith('*')) {
      aliases += 1
      if (aliases > MOST_ALIASES) throw tooMuch(parser.offset, `more than ${String(MOST_ALIASES)} aliases`)
    }
    if (lexeme.startsWith('&')) {
      anchors += 1
      if (anchors > MOST_ANCHORS) throw tooMuch(parser.offset, `more than ${String(MOST_ANCHORS)} anchors`)
    }
    const { offset, stack } = parser
    const depth = stack.length
    const before = stack.at(-1)
    for (const token of parser.next(lexeme)) take(token)
    const [bottom] = stack
    if (bottom?.type === 'document' && bottom !== begun) {
      if (begun !== undefined)
        throw new YamlError(bottom.offset, 'a second YAML document: a state is a single one')
      begun = bottom
    }
    // One of them is the document.
    if (stack.length > DEEPEST + 1) {
      throw tooMuch(offset, `nesting of more than ${String(DEEPEST)} levels`)
    }
    const top = stack.at(-1)
    if (top === undefined || !('items' in top)) continue
    // It is on top again when what was in it has ended.
    // A pair in a list is a mapping of its own.
    const isPair = lexeme === ':' && top.type === 'flow-collection' && top.start.source === '['
    if (isPair || (top !== before && stack.length >= depth)) {
      collections += 1
      if (collections > MOST_COLLECTIONS) {
        throw tooMuch(offset, `more than ${String(MOST_COLLECTIONS)} mappings and sequences`)
      }
    }
    if (top.items.length <= MOST_MEMBERS) continue
    if (top.type === 'block-map' || (top.type === 'flow-collection' && top.start.source === '{')) {
      throw tooMuch(offset, `a mapping of more than ${String(MOST_MEMBERS)} keys`)
    }
  }
  for (const token of parser.end()) take(token)
  add(composer.end(true, text.length))
  return document as unknown as Document.Parsed
}

/** Where the package reports something: an offset, a range or a token. */
type Place = number | readonly [number, ...unknown[]] | { readonly offset: number }

function offsetOf(place: Place): number {
  if (typeof place === 'number') return place
  return 'offset' in place ? place.offset : place[0]
}

/** What the package's parser keeps of its state, and what it asks of the tokens before an item. */
interface ParserState {
  readonly type: string
  readonly indent: number
}
type StartTokens = readonly { readonly type: string }[]

/**
 * The parser asks, at each comment, whether only blanks are before it. Its own
 * way looks at all of them each time, which a million lines without anything
 * else make hours.
 */
function blanksBeforeComments(): (this: ParserState, start: StartTokens, indent: number) => boolean {
  /** How many of the first tokens are known to be blanks. */
  const known = new WeakMap<StartTokens, number>()
  return function (start, indent) {
    if (this.type !== 'comment' || this.indent <= indent) return false
    let blanks = Math.min(known.get(start) ?? 0, start.length)
    while (blanks < start.length && /^(?:space|newline)$/.test(start[blanks]?.type ?? '')) blanks += 1
    known.set(start, blanks)
    return blanks === start.length
  }
}

function tooLarge(most: number, what: string, offset: number): YamlError {
  return new YamlError(
    offset,
    `YAML of more than ${String(most)} ${what} is not read: use JSON or ipvsadm lines`,
  )
}

function tooMuch(offset: number, what: string): YamlError {
  return new YamlError(offset, `${what}: too much for a state`)
}
