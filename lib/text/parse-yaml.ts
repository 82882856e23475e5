import type { StatePath } from '../state/path.ts'
import { ownText } from '../util/pieces.ts'

/** What is wrong with a YAML text, and where. */
export class YamlError extends Error {
  readonly offset: number

  constructor(offset: number, reason: string) {
    super(reason)
    this.offset = offset
  }
}

/** A list of servers may be that of thousands of services. What multiplies at each level is refused long before it fills memory. */
const MOST_ALIASES = 100_000

/** A value, and where its parts stand in the text. */
export interface ParsedYaml {
  readonly value: unknown
  readonly locate: (path: StatePath) => number
}

/**
 * Reads one document of YAML 1.2, with merge keys (`<<`) as 1.1 has them. The
 * package that does it is loaded when it is first needed.
 */
export async function parseYaml(text: string): Promise<ParsedYaml> {
  const { isAlias, isMap, isScalar, isSeq, parseDocument, visit } = await import('yaml')
  const document = parseDocument(text, { merge: true, prettyErrors: false, stringKeys: true })
  const [problem] = [...document.errors, ...document.warnings]
  if (problem !== undefined) {
    const second = problem.code === 'MULTIPLE_DOCS'
    throw new YamlError(problem.pos[0], second ? 'a second document: a state is one' : problem.message)
  }
  // A directive for 1.1 would make `yes` a truth value, and 010 eight.
  if (document.directives.yaml.version === '1.1') {
    throw new YamlError(text.search(/^%YAML/m), 'YAML 1.2 is read, and not 1.1: take this line out')
  }
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value === 'string') node.value = ownText(node.value)
    },
  })
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: MOST_ALIASES })
  } catch (error) {
    // Aliases that refer to nothing, or that would multiply without end.
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
