import type { Composer, Document, Parser } from 'yaml'
import type { StatePath } from '../state/path.ts'
import { ownText } from '../util/pieces.ts'
import { DEEPEST, LONGEST_TOKEN, MOST_MEMBERS } from './json.ts'

/** What is wrong with a YAML text, and where. */
export class YamlError extends Error {
  readonly offset: number

  constructor(offset: number, reason: string) {
    super(reason)
    this.offset = offset
  }
}

/**
 * Bounds of the time and the memory that a text can take: the package needs
 * much of both for each token, and keeps the JS thread. 110,000 rules are half of it.
 */
const MOST_CHARACTERS = 16 * 2 ** 20
const MOST_LINES = 1_000_000
const MOST_TOKENS = 8_000_000
/** Far more than services that share a list of real servers. Each is looked up among all that is before it. */
const MOST_ALIASES = 10_000
/** What aliases multiply to is refused long before it fills memory. */
const MOST_ALIASED = 100_000

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
  const { Composer, isAlias, isMap, isScalar, isSeq, Lexer, Parser, visit } = await import('yaml')
  if (text.length > MOST_CHARACTERS) throw tooLarge(MOST_CHARACTERS, 'characters', MOST_CHARACTERS)
  let lines = 0
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) {
    lines += 1
    if (lines > MOST_LINES) throw tooLarge(MOST_LINES, 'lines', end)
  }
  const composer: Composer = new Composer({ merge: true, prettyErrors: false, stringKeys: true })
  const document = compose(text, new Lexer().lex(text), new Parser(), composer)
  const [problem] = [...document.errors, ...document.warnings]
  if (problem !== undefined) throw new YamlError(problem.pos[0], problem.message)
  // A directive for 1.1 would make `yes` a truth value, and 010 eight.
  if (document.directives.yaml.version === '1.1') {
    throw new YamlError(text.search(/^%YAML/m), 'YAML 1.1 is not supported, only 1.2: remove this line')
  }
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value === 'string') node.value = ownText(node.value)
    },
  })
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: MOST_ALIASED })
  } catch (error) {
    // Aliases that refer to nothing, or that multiply.
    throw new YamlError(0, (error as Error).message)
  }
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

/** As parseDocument() of the package does, but with limits before it goes into what it has read, which it does recursively. */
function compose(
  text: string,
  lexemes: Iterable<string>,
  parser: Parser,
  composer: Composer,
): Document.Parsed {
  let document: Document.Parsed | undefined
  const add = (documents: Iterable<Document.Parsed>): void => {
    for (const one of documents) {
      if (document !== undefined)
        throw new YamlError(one.range[0], 'a second YAML document: a state is a single one')
      document = one
    }
  }
  let tokens = 0
  let aliases = 0
  for (const lexeme of lexemes) {
    tokens += 1
    if (tokens > MOST_TOKENS) throw tooMuch(parser.offset, `more than ${String(MOST_TOKENS)} tokens`)
    if (lexeme.length > LONGEST_TOKEN && !/^[\s#]/.test(lexeme)) {
      throw tooMuch(parser.offset, `a string of more than ${String(LONGEST_TOKEN)} characters`)
    }
    if (lexeme.startsWith('*')) {
      aliases += 1
      if (aliases > MOST_ALIASES) throw tooMuch(parser.offset, `more than ${String(MOST_ALIASES)} aliases`)
    }
    const { offset } = parser
    for (const token of parser.next(lexeme)) add(composer.next(token))
    const { stack } = parser
    // One of them is the document.
    if (stack.length > DEEPEST + 1) {
      throw tooMuch(offset, `nesting of more than ${String(DEEPEST)} levels`)
    }
    const top = stack.at(-1)
    if (top === undefined || !('items' in top) || top.items.length <= MOST_MEMBERS) continue
    if (top.type === 'block-map' || (top.type === 'flow-collection' && top.start.source === '{')) {
      throw tooMuch(offset, `a mapping of more than ${String(MOST_MEMBERS)} keys`)
    }
  }
  for (const token of parser.end()) add(composer.next(token))
  add(composer.end(true, text.length))
  return document as unknown as Document.Parsed
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
