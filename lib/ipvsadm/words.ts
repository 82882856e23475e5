import { LineError } from './line-error.ts'
import { LONG, type OptionDefinition, SHORT } from './options.ts'

/** Splits a line as `ipvsadm -R` does: nothing is quoted, nothing is a comment, and the word `ipvsadm` counts for nothing. */
export function splitPlainWords(line: string): string[] {
  // Most lines have a blank between words and nothing odd in them.
  if (!ODD.test(line)) return line.split(' ').filter((word) => word !== '' && word !== 'ipvsadm')
  const words = line.split(/[ \t\r]+/).filter((word) => word !== '')
  return words.map(endedByNul).filter((word) => word !== 'ipvsadm')
}

const ODD = /[\t\r\0]/

/** The part of a word that C sees: a NUL ends it, though not the line. */
function endedByNul(word: string): string {
  const end = word.indexOf('\0')
  return end < 0 ? word : word.slice(0, end)
}

/** A word of a line. */
export interface Word {
  readonly text: string
  /** Column in which it begins, from 1. */
  readonly column: number
}

/**
 * Splits a line of a state at its blanks. `ipvsadm -R` has neither of these:
 * quotes hold blanks and `#` together, and a word that begins with `#` ends the line.
 */
export function splitQuotedWords(line: string): Word[] {
  const words: Word[] = []
  let at = 0
  for (;;) {
    while (isBlank(line.charCodeAt(at))) at += 1
    if (at >= line.length || line.charCodeAt(at) === HASH) return words
    const column = at + 1
    let text = ''
    let start = at
    for (; at < line.length && !isBlank(line.charCodeAt(at)); at++) {
      const code = line.charCodeAt(at)
      if (code !== DOUBLE_QUOTE && code !== SINGLE_QUOTE) continue
      const end = line.indexOf(line.charAt(at), at + 1)
      if (end < 0) throw new LineError(at + 1, `this ${line.charAt(at)} is not closed in its line`)
      text += line.slice(start, at) + line.slice(at + 1, end)
      start = end + 1
      at = end
    }
    words.push({ text: text + line.slice(start, at), column })
  }
}

const HASH = 35
const DOUBLE_QUOTE = 34
const SINGLE_QUOTE = 39

/** Blank, tab and CR, where `ipvsadm -R` splits too. */
function isBlank(code: number): boolean {
  return code === 32 || code === 9 || code === 13
}

/** An option of a command line, and where it is. */
export interface GivenOption {
  readonly option: OptionDefinition
  readonly value?: string
  /** The index of its word, and where it is in that word: 0 for a long name, else the place of the letter. */
  readonly word: number
  readonly at: number
  /** The same of its value. */
  readonly valueWord: number
  readonly valueAt: number
}

type Reason = 'unknown option' | 'option does not take an argument' | 'missing argument'

interface ErrorPlace {
  readonly word: number
  readonly at: number
  readonly option?: OptionDefinition
}

/** An option that is unknown, lacks a value, or has one that it does not take. */
export class OptionError extends Error {
  readonly reason: Reason
  readonly word: number
  readonly at: number
  /** Absent if it is unknown. */
  readonly option: OptionDefinition | undefined

  constructor(last: string, reason: Reason, { word, at, option }: ErrorPlace) {
    super(`${last}: ${reason}`)
    this.reason = reason
    this.word = word
    this.at = at
    this.option = option
  }
}

/**
 * Reads the words of a command line as popt 1.19 does, the library behind
 * ipvsadm: options in any order, with other words between them. Its aliases
 * (`!#:+`) are left out.
 */
export class OptionReader {
  readonly #words: readonly string[]
  readonly #others: number[] = []
  /** With POSIXLY_CORRECT no option comes after the first word that is not one. */
  readonly #posix: boolean
  #next = 0
  /** Where the next letter is in a word of short options. 0: no such word is being read. */
  #at = 0
  #optionsEnded = false

  constructor(words: readonly string[], { posix = false }: { readonly posix?: boolean } = {}) {
    this.#words = words
    this.#posix = posix
  }

  /** The next option, or `undefined` when there is none. Throws {@link OptionError}. */
  next(): GivenOption | undefined {
    while (this.#at === 0) {
      const index = this.#next
      const word = this.#words[index]
      if (word === undefined) return undefined
      this.#next += 1
      if (this.#optionsEnded || !word.startsWith('-') || word === '-') {
        if (this.#posix) this.#optionsEnded = true
        this.#others.push(index)
      } else if (word === '--') {
        this.#optionsEnded = true
      } else if (word.startsWith('--')) {
        return this.#long(word)
      } else {
        this.#at = 1
      }
    }
    return this.#short()
  }

  /** Indices of the words that are not options. All of them are known once next() gave `undefined`. */
  get others(): readonly number[] {
    return this.#others
  }

  /** The word that was read last. */
  get last(): string {
    return this.#words[this.#next - 1] ?? ''
  }

  #long(text: string): GivenOption {
    const word = this.#next - 1
    const equals = text.indexOf('=')
    const option = LONG.get(equals < 0 ? text.slice(2) : text.slice(2, equals))
    if (option === undefined) throw this.#error('unknown option', { word, at: 0 })
    if (option.value === undefined) {
      if (equals >= 0) throw this.#error('option does not take an argument', { word, at: 0, option })
      return { option, word, at: 0, valueWord: word, valueAt: 0 }
    }
    if (equals < 0) return this.#valueAfter(option, word, 0)
    return { option, value: text.slice(equals + 1), word, at: 0, valueWord: word, valueAt: equals + 1 }
  }

  #short(): GivenOption {
    const word = this.#next - 1
    const text = this.last
    const at = this.#at
    const end = at + 1 === text.length
    this.#at = end ? 0 : at + 1
    const option = SHORT.get(text.charAt(at))
    if (option === undefined) throw this.#error('unknown option', { word, at })
    if (option.value === undefined) {
      if (text.charAt(at + 1) === '=')
        throw this.#error('option does not take an argument', { word, at, option })
      return { option, word, at, valueWord: word, valueAt: 0 }
    }
    if (end) return this.#valueAfter(option, word, at)
    this.#at = 0
    const valueAt = text.charAt(at + 1) === '=' ? at + 2 : at + 1
    return { option, value: text.slice(valueAt), word, at, valueWord: word, valueAt }
  }

  #valueAfter(option: OptionDefinition, word: number, at: number): GivenOption {
    const value = this.#words[this.#next]
    const absent = { option, word, at, valueWord: word, valueAt: 0 }
    if (value === undefined) {
      if (option.value === 'optional') return absent
      throw this.#error('missing argument', { word, at, option })
    }
    if (option.value === 'optional' && value.startsWith('-')) return absent
    this.#next += 1
    return { option, value, word, at, valueWord: word + 1, valueAt: 0 }
  }

  #error(reason: Reason, place: ErrorPlace): OptionError {
    return new OptionError(this.last, reason, place)
  }
}
