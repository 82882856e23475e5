import { type OptionDefinition, OPTIONS } from './options.ts'

/**
 * Reads the words of a command line as popt 1.19 does, the library behind
 * ipvsadm: options in any order, words that are none in between.
 */
export class Words {
  readonly #words: readonly string[]
  readonly #positional: string[] = []
  /** With POSIXLY_CORRECT no option comes after the first word that is none. */
  readonly #posix: boolean
  #next = 0
  /** What is left of a word of short options. */
  #letters = ''
  #optionsEnded = false

  constructor(words: readonly string[], { posix = false }: { readonly posix?: boolean } = {}) {
    this.#words = words
    this.#posix = posix
  }

  /** The next option, or `undefined` when there is none. Throws {@link OptionError}. */
  next(): GivenOption | undefined {
    while (this.#letters === '') {
      const word = this.#words[this.#next]
      if (word === undefined) return undefined
      this.#next += 1
      if (this.#optionsEnded || !word.startsWith('-') || word === '-') {
        if (this.#posix) this.#optionsEnded = true
        this.#positional.push(word)
      } else if (word === '--') {
        this.#optionsEnded = true
      } else if (word.startsWith('--')) {
        return this.#long(word)
      } else {
        this.#letters = word.slice(1)
      }
    }
    return this.#short()
  }

  /** The next of the words that were no options. All of them are known once next() gave `undefined`. */
  positional(): string | undefined {
    return this.#positional.shift()
  }

  /** The word that was read last. */
  get last(): string {
    return this.#words[this.#next - 1] ?? ''
  }

  #long(word: string): GivenOption {
    const [, name = '', value] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? []
    const option = LONG.get(name)
    if (option === undefined) throw this.#error('unknown option')
    if (option.value === undefined) {
      if (value !== undefined) throw this.#error('option does not take an argument')
      return { option }
    }
    return value === undefined ? this.#valueAfter(option) : { option, value: value }
  }

  #short(): GivenOption {
    const letter = this.#letters.charAt(0)
    const rest = this.#letters.slice(1)
    this.#letters = rest
    const option = SHORT.get(letter)
    if (option === undefined) throw this.#error('unknown option')
    if (option.value === undefined) {
      if (rest.startsWith('=')) throw this.#error('option does not take an argument')
      return { option }
    }
    if (rest === '') return this.#valueAfter(option)
    this.#letters = ''
    return { option, value: rest.startsWith('=') ? rest.slice(1) : rest }
  }

  #valueAfter(option: OptionDefinition): GivenOption {
    const optional = option.value === 'optional'
    const word = this.#words[this.#next]
    if (word === undefined) {
      if (optional) return { option }
      throw this.#error('missing argument')
    }
    if (optional && word.startsWith('-')) return { option }
    this.#next += 1
    return { option, value: word }
  }

  #error(reason: string): OptionError {
    return new OptionError(`${this.last}: ${reason}`)
  }
}

export interface GivenOption {
  readonly option: OptionDefinition
  readonly value?: string
}

/** An option that is unknown, lacks a value, or has one that it does not take. */
export class OptionError extends Error {}

const LONG: ReadonlyMap<string, OptionDefinition> = new Map(OPTIONS.map((option) => [option.long, option]))
const SHORT: ReadonlyMap<string, OptionDefinition> = new Map(
  OPTIONS.flatMap((option) => (option.letter === undefined ? [] : [[option.letter, option]])),
)
