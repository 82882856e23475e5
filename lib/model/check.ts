import { isIPv4, isIPv6 } from './address.ts'
import { bytesOfName } from './name-bytes.ts'

/** What callers give, checked as if TypeScript had not been there. Each error names the field, the value and what it may be. */

/**
 * The names of a type's fields, in the order they are written here, which is
 * that of texts. One that is forgotten or too many does not compile.
 */
export function namesOf<T>(all: Readonly<Record<keyof T, true>>): readonly string[] {
  return Object.keys(all)
}

/** Checks an object of options: nothing but these names, and those that all calls share. */
export function checkOptions(options: unknown, names: readonly string[]): void {
  const fields = object(options, 'options')
  known(fields, names, [], 'options')
  const { signal } = fields
  if (signal !== undefined && !isSignal(signal)) throw wrong('signal', signal, 'an AbortSignal')
  for (const name of ['bigint', 'stable']) {
    const value = fields[name]
    if (value !== undefined && typeof value !== 'boolean') throw wrong(name, value, 'true or false')
  }
}

/** An AbortSignal may come from another realm, so its class does not tell. */
function isSignal(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    'addEventListener' in value &&
    typeof value.addEventListener === 'function'
  )
}

/** Checks a whole number within a range; the range is in the message. */
export function whole(value: unknown, field: string, least: number, most: number): number {
  if (typeof value !== 'number')
    throw wrong(field, value, `a whole number ${String(least)} to ${String(most)}`)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw about(
      field,
      new RangeError(
        `${field} must be a whole number ${String(least)} to ${String(most)}, got ${String(value)}`,
      ),
    )
  }
  return value
}

/** Checks what is either true or false. */
export function flag(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw wrong(field, value, 'true or false')
  return value
}

/** Checks a function that may be absent. */
export function optionalFunction(value: unknown, field: string): void {
  if (value !== undefined && typeof value !== 'function') throw wrong(field, value, 'a function')
}

/** Checks a choice among names. */
export function oneOf<Name extends string>(value: unknown, field: string, names: readonly Name[]): Name {
  if (!(names as readonly unknown[]).includes(value)) throw wrong(field, value, `one of ${list(names)}`)
  return value as Name
}

/** A name out of a few, or a number for what has no name. */
export function named(value: unknown, field: string, names: readonly string[], most: number): void {
  if (typeof value === 'string' && names.includes(value)) return
  if (typeof value !== 'number')
    throw wrong(field, value, `one of ${list(names)}, or a number 0 to ${String(most)}`)
  whole(value, field, 0, most)
}

/** A name for the kernel: not empty, and short enough once it is bytes. */
export function name(value: unknown, field: string, most: number): void {
  if (typeof value !== 'string') throw wrong(field, value, 'a text')
  if (!isName(value, most)) {
    throw about(
      field,
      new RangeError(`${field} must have 1 to ${String(most)} bytes and no NUL, got ${show(value)}`),
    )
  }
}

/** Whether this can be a name for the kernel, which has room for so many bytes. */
export function isName(text: string, most: number): boolean {
  const bytes = bytesOfName(text).length
  return bytes > 0 && bytes <= most && !text.includes('\0')
}

/** Checks an IPv4 or IPv6 address. */
export function address(value: unknown, field: string): string {
  if (typeof value === 'string' && (isIPv4(value) || isIPv6(value))) return value
  let hint = ''
  if (typeof value === 'string') {
    if (/^\[.*\]/.test(value)) hint = ': leave out the brackets'
    else if (value.includes('%')) hint = ': IPVS knows no zones'
    else if (value.includes('/')) hint = ': one address, not a network'
    else if (/^[\d.]+:\d+$/.test(value)) hint = `: the port is a field of its own`
    else if (/[g-z]/i.test(value)) hint = ': names are not looked up'
  }
  throw about(field, new TypeError(`${field} must be an IPv4 or IPv6 address, got ${show(value)}${hint}`))
}

export type Fields = Readonly<Record<string, unknown>>

/** Checks that something is an object, and no array. */
export function object(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${what} must be an object, got ${show(value)}`)
  }
  return value as Fields
}

/** Refuses a field that has no meaning here, most likely misspelt. */
export function known(
  fields: Fields,
  some: readonly string[],
  more: readonly string[],
  what: string,
  inside = '',
): void {
  for (const field in fields) {
    if (some.includes(field) || more.includes(field)) continue
    const names = [...some, ...more]
    const meant = likely(field, names)
    throw about(
      `${inside}${field}`,
      new TypeError(
        `${what} has no field '${field}'` +
          (meant === undefined ? `, only ${list(names)}` : `: did you mean '${meant}'?`),
      ),
    )
  }
}

/**
 * Refuses a field that must be meant for `name`, which is absent. Keys may have
 * more fields than identify something, but one that has a default must not get
 * it by a slip.
 */
export function misspelt(fields: Fields, name: string, what: string): void {
  for (const field in fields) {
    if (field !== name && resembles(name, field)) {
      throw about(field, new TypeError(`${what} has no field '${field}': did you mean '${name}'?`))
    }
  }
}

/**
 * The fields that are there, with a copy of those that are objects themselves:
 * neither a getter nor what the caller changes later gets past the check.
 */
export function copyOf(fields: Fields, names: readonly string[]): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  for (const name of names) {
    if (!(name in fields)) continue
    const value = fields[name]
    if (Array.isArray(value)) copy[name] = [...(value as unknown[])]
    else if (typeof value !== 'object' || value === null) copy[name] = value
    else copy[name] = { ...value }
  }
  return copy
}

/** Which of some names is meant, where a name is none of them but resembles one. */
export function likely(name: string, names: readonly string[]): string | undefined {
  return names.find((candidate) => resembles(candidate, name))
}

/** Whether two names differ by capitals, by one letter, or by two that changed places. */
function resembles(one: string, other: string): boolean {
  const a = one.toLowerCase()
  const b = other.toLowerCase()
  if (a.startsWith(b) || b.startsWith(a)) return true
  if (Math.abs(a.length - b.length) > 1) return false
  let start = 0
  while (start < a.length && a[start] === b[start]) start += 1
  let end = 0
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end])
    end += 1
  return Math.max(a.length, b.length) - start - end <= 2
}

/** Checks a field that may be absent. `undefined` is refused: a field that is there means something. */
export function optional(fields: Fields, field: string, check: (value: unknown) => void): void {
  if (!(field in fields)) return
  const value = fields[field]
  if (value === undefined) {
    throw about(field, new TypeError(`${field} is undefined: leave it out, or give it a value`))
  }
  try {
    check(value)
  } catch (error) {
    throw about(field, error as Error)
  }
}

/** Says which field an error is about: the innermost one that knows. */
export function about(field: string, error: Error): Error {
  if ('field' in error) return error
  return Object.assign(error, { field })
}

/** The field that an error of these checks is about, such as 'tunnel.port'. */
export function fieldOf(error: Error): string | undefined {
  return 'field' in error && typeof error.field === 'string' ? error.field : undefined
}

export function wrong(field: string, value: unknown, expected: string): Error {
  return about(field, new TypeError(`${field} must be ${expected}, got ${show(value)}`))
}

export function list(values: readonly unknown[]): string {
  return values.map(show).join(', ')
}

/** More letters of a value than this help nobody. */
const SHOWN = 100

/** A value as a message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'string') return value.length > SHOWN ? `'${value.slice(0, SHOWN)}...'` : `'${value}'`
  if (typeof value === 'bigint') return `${String(value)}n`
  if (ArrayBuffer.isView(value)) return 'bytes'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  if (typeof value === 'function') return 'a function'
  return String(value)
}
