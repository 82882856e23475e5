import type { Alias, Node, Pair, YAMLMap } from 'yaml'
import { ownText } from '../util/pieces.ts'
import { setMember } from './json.ts'

/** What is wrong with a YAML text, and where. */
export class YamlError extends Error {
  readonly offset: number

  constructor(offset: number, reason: string) {
    super(reason)
    this.offset = offset
  }
}

/** The parts of the package `yaml` that tell nodes apart. */
type Kinds = Pick<typeof import('yaml'), 'isAlias' | 'isMap' | 'isScalar' | 'isSeq'>

/**
 * Values that aliases and merge keys add to those of the text, a list of real
 * servers that a thousand services share among them: all of them are checked.
 */
const MOST_REPEATED = 1_000_000

/**
 * The value of a document, each node converted once. The package's toJS() looks
 * each alias up among all anchors, and converts what is merged again for each
 * merge key.
 */
export function yamlValue(document: unknown, kinds: Kinds): unknown {
  return new Values(kinds).of(document)
}

/** What an alias refers to. */
interface Anchored {
  value: unknown
  /** How many values it is made of, with those that its own aliases repeat. Absent until it has been read to its end. */
  size?: number
}

class Values {
  readonly #kinds: Kinds
  /** The last of each name so far. */
  readonly #anchors = new Map<string, Anchored>()
  /** How many values there are so far, and how many of them are repeated. */
  #made = 0
  #repeated = 0

  constructor(kinds: Kinds) {
    this.#kinds = kinds
  }

  of(node: unknown): unknown {
    const { isAlias, isMap, isScalar, isSeq } = this.#kinds
    if (isAlias(node)) return this.#alias(node)
    if (!isScalar(node) && !isMap(node) && !isSeq(node)) return null
    const anchored: Anchored | undefined = node.anchor === undefined ? undefined : { value: undefined }
    if (anchored !== undefined) this.#anchors.set(node.anchor as string, anchored)
    const before = this.#made
    this.#made += 1
    const value = isScalar(node)
      ? ownScalar(node.value)
      : isMap(node)
        ? this.#mapping(node)
        : node.items.map((item) => this.of(item))
    if (anchored !== undefined) Object.assign(anchored, { value, size: this.#made - before })
    return value
  }

  #alias(alias: Alias): unknown {
    const anchored = this.#anchors.get(alias.source)
    if (anchored === undefined) {
      throw new YamlError(
        offsetOf(alias),
        `Unresolved alias (the anchor must be set before the alias): ${alias.source}`,
      )
    }
    const { value, size } = anchored
    if (size === undefined) {
      throw new YamlError(offsetOf(alias), `the alias ${alias.source} is a part of what it refers to`)
    }
    this.#made += size
    this.#repeated += size
    if (this.#repeated > MOST_REPEATED) {
      throw new YamlError(
        offsetOf(alias),
        `aliases that repeat more than ${String(MOST_REPEATED)} values: too much for a state`,
      )
    }
    return value
  }

  #mapping(map: YAMLMap): Record<string, unknown> {
    const object: Record<string, unknown> = {}
    for (const pair of map.items) {
      const name = this.#name(pair)
      if (name === undefined) this.#merge(object, pair.value)
      else setMember(object, name, this.of(pair.value))
    }
    return object
  }

  /** `undefined` for a merge key. */
  #name({ key }: Pair): string | undefined {
    // With `stringKeys` no other key is left.
    if (!this.#kinds.isScalar<string>(key)) return ''
    const name = this.of(key) as string
    return name === '<<' && (key.type === undefined || key.type === 'PLAIN') ? undefined : name
  }

  /** Adds the members of a mapping, or of several, that the object does not have. */
  #merge(object: Record<string, unknown>, node: unknown): void {
    const value = this.of(node)
    for (const source of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof source !== 'object' || source === null || Array.isArray(source)) {
        throw new YamlError(offsetOf(node), 'Merge sources must be maps or map aliases')
      }
      for (const [name, member] of Object.entries(source)) {
        if (!Object.hasOwn(object, name)) setMember(object, name, member)
      }
    }
  }
}

/** Without the text that the package cut it from. */
function ownScalar(value: unknown): unknown {
  return typeof value === 'string' ? ownText(value) : value
}

function offsetOf(node: unknown): number {
  return (node as Node | null)?.range?.[0] ?? 0
}
