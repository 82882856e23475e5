import type { StatePath } from '../state/check.ts'

/** Words and options of one line, as ipvsadm 1.31 and its option library (popt) understand them. */

interface LineErrorOptions extends ErrorOptions {
  readonly path?: StatePath
}

/** What is wrong with a line, and in which column (from 1). */
export class LineError extends Error {
  readonly column: number
  /** Where in the state, if it is something that no state could have. */
  readonly path: StatePath | undefined

  constructor(column: number, reason: string, options?: LineErrorOptions) {
    super(reason, options)
    this.column = column
    this.path = options?.path
  }
}

/** A word of a line. */
export interface Word {
  readonly text: string
  /** Column in which it begins, from 1. */
  readonly column: number
}

/**
 * Splits a line at its blanks. Beyond `ipvsadm -R`, which has neither: quotes
 * hold blanks and `#` together, and a word that begins with `#` ends the line.
 */
export function splitWords(line: string): Word[] {
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
      if (end < 0) throw new LineError(at + 1, `this ${line.charAt(at)} has no end in its line`)
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

/** Blank, tab and CR: what `ipvsadm -R` splits at. */
function isBlank(code: number): boolean {
  return code === 32 || code === 9 || code === 13
}

/** An option, or a command, which is an option too. */
export interface Option {
  /** Long name without the dashes, which is also what messages call it. */
  readonly name: string
  /** Options of one set exclude each other. */
  readonly set?: string
  readonly value?: 'one' | 'maybe'
  readonly command?: true
}

const OPTIONS: readonly (Option & { readonly short?: string })[] = [
  { short: 'A', name: 'add-service', command: true },
  { short: 'E', name: 'edit-service', command: true },
  { short: 'D', name: 'delete-service', command: true },
  { short: 'C', name: 'clear', command: true },
  { short: 'Ll', name: 'list', command: true },
  { short: 'Z', name: 'zero', command: true },
  { short: 'a', name: 'add-server', command: true },
  { short: 'e', name: 'edit-server', command: true },
  { short: 'd', name: 'delete-server', command: true },
  { short: 'R', name: 'restore', command: true },
  { short: 'S', name: 'save', command: true },
  { name: 'set', command: true },
  { name: 'start-daemon', command: true, value: 'one' },
  { name: 'stop-daemon', command: true, value: 'one' },
  { short: 'h', name: 'help', command: true },
  { short: 'v', name: 'version', command: true },
  { short: 't', name: 'tcp-service', value: 'one', set: 'service' },
  { short: 'u', name: 'udp-service', value: 'one', set: 'service' },
  { name: 'sctp-service', value: 'one', set: 'service' },
  { short: 'f', name: 'fwmark-service', value: 'one', set: 'service' },
  { short: '6', name: 'ipv6' },
  { short: 's', name: 'scheduler', value: 'one' },
  { short: 'p', name: 'persistent', value: 'maybe' },
  { short: 'M', name: 'netmask', value: 'one' },
  { short: 'r', name: 'real-server', value: 'one' },
  { short: 'g', name: 'gatewaying', set: 'method' },
  { short: 'i', name: 'ipip', set: 'method' },
  { short: 'm', name: 'masquerading', set: 'method' },
  { short: 'w', name: 'weight', value: 'one' },
  { short: 'x', name: 'u-threshold', value: 'one' },
  { short: 'y', name: 'l-threshold', value: 'one' },
  { short: 'o', name: 'ops' },
  { name: 'pe', value: 'one' },
  { short: 'b', name: 'sched-flags', value: 'one' },
  { name: 'tun-type', value: 'one' },
  { name: 'tun-port', value: 'one' },
  { name: 'tun-nocsum', set: 'tunnel checksum' },
  { name: 'tun-csum', set: 'tunnel checksum' },
  { name: 'tun-remcsum', set: 'tunnel checksum' },
  { name: 'mcast-interface', value: 'one' },
  { name: 'syncid', value: 'one' },
  { name: 'mcast-group', value: 'one' },
  { name: 'mcast-port', value: 'one' },
  { name: 'mcast-ttl', value: 'one' },
  { name: 'sync-maxlen', value: 'one' },
  { name: 'sort' },
  { short: 'n', name: 'numeric' },
  { short: 'X', name: 'exact' },
  { short: 'c', name: 'connection' },
]

const BY_NAME = new Map(OPTIONS.map((option) => [option.name, option]))
const BY_LETTER = new Map(
  OPTIONS.flatMap((option) => Array.from(option.short ?? '', (letter) => [letter, option] as const)),
)

/** An option as it stands in a line. */
export interface GivenOption {
  readonly option: Option
  /** As it was written, for messages. */
  readonly shown: string
  readonly value?: string
  /** Of the option. */
  readonly column: number
  /** Of its value, else of the option. */
  readonly valueColumn: number
}

/** The options of a line in their order, and the words that are none. */
export function splitOptions(words: readonly Word[]): { options: GivenOption[]; others: Word[] } {
  const options: GivenOption[] = []
  const others: Word[] = []
  let index = 0

  /** Adds an option; its value is the rest of its word, or the next one. */
  const add = (
    option: Option,
    shown: string,
    column: number,
    rest: string | undefined,
    restColumn: number,
  ) => {
    let value = rest
    let valueColumn = restColumn
    const next = words[index]
    if (value === undefined && option.value !== undefined && next !== undefined) {
      if (option.value === 'one' || !next.text.startsWith('-')) {
        value = next.text
        valueColumn = next.column
        index += 1
      }
    }
    if (value === undefined && option.value === 'one') {
      // What `ipvsadm -S` prints of flag 3 of sh and mh is -b with nothing.
      if (option.name !== 'sched-flags') throw new LineError(column, `${shown} needs a value`)
      value = ''
    }
    options.push({ option, shown, column, valueColumn, ...(value !== undefined && { value }) })
  }

  while (index < words.length) {
    const { text, column } = words[index] as Word
    index += 1
    if (text === '--') {
      others.push(...words.slice(index))
      break
    }
    if (!text.startsWith('-') || text === '-') {
      others.push({ text, column })
    } else if (text.startsWith('--')) {
      const equals = text.indexOf('=')
      const shown = equals < 0 ? text : text.slice(0, equals)
      const option = BY_NAME.get(shown.slice(2))
      if (option === undefined) throw new LineError(column, `ipvsadm has no option ${shown}`)
      if (equals >= 0 && option.value === undefined) {
        throw new LineError(column, `${shown} takes no value`)
      }
      add(option, shown, column, equals < 0 ? undefined : text.slice(equals + 1), column + equals + 1)
    } else {
      let at = 1
      while (at < text.length) {
        const shown = `-${text[at] as string}`
        const option = BY_LETTER.get(text[at] as string)
        if (option === undefined) throw new LineError(column + at, `ipvsadm has no option ${shown}`)
        at += 1
        if (option.value === undefined) {
          if (text[at] === '=') throw new LineError(column + at - 1, `${shown} takes no value`)
          add(option, shown, column, undefined, column)
          continue
        }
        // The value may be the rest of the word, after one '=' or at once.
        const start = text[at] === '=' ? at + 1 : at
        add(option, shown, column, at === text.length ? undefined : text.slice(start), column + start)
        break
      }
    }
  }
  return { options, others }
}
