import { isIPv4, isIPv6 } from './address.ts'
import { isHealthCheck, ourField } from './foreign-names.ts'
import { printable } from './printable.ts'
import { bytesOfName } from './name-bytes.ts'

/** Checks of values from callers, who may be JavaScript. Each error names the field, its range or choices, and the value. */

/**
 * The names of a type's fields, in this order, which texts have too. A name that
 * is missing or that the type does not have is an error of the compiler.
 */
export function namesOf<T>(all: Readonly<Record<keyof T, true>>): readonly (keyof T & string)[] {
  return Object.keys(all) as (keyof T & string)[]
}

/** Checks that options have no other names than these, and checks the options that all calls share. */
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

/** Not by its class: an AbortSignal may come from another realm. */
function isSignal(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'aborted' in value &&
    'addEventListener' in value &&
    typeof value.addEventListener === 'function'
  )
}

/** Checks a whole number within a range. */
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

/** Checks a boolean. */
export function flag(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw wrong(field, value, 'true or false')
  return value
}

/** Checks that a value is a function or absent. */
export function optionalFunction(value: unknown, field: string): void {
  if (value !== undefined && typeof value !== 'function') throw wrong(field, value, 'a function')
}

/** Checks a choice among names. */
export function oneOf<Name extends string>(value: unknown, field: string, names: readonly Name[]): Name {
  if (!(names as readonly unknown[]).includes(value)) throw wrong(field, value, `one of ${list(names)}`)
  return value as Name
}

/** Checks one of these names, or a number for something that has no name. */
export function named(value: unknown, field: string, names: readonly string[], most: number): void {
  if (typeof value === 'string' && names.includes(value)) return
  if (typeof value !== 'number')
    throw wrong(field, value, `one of ${list(names)}, or a number 0 to ${String(most)}`)
  whole(value, field, 0, most)
}

/** Checks a name for the kernel, which is 1 to `most` bytes long. */
export function name(value: unknown, field: string, most: number): void {
  if (typeof value !== 'string') throw wrong(field, value, 'a string')
  if (!isName(value, most)) {
    throw about(
      field,
      new RangeError(`${field} must have 1 to ${String(most)} bytes and no NUL, got ${show(value)}`),
    )
  }
}

/** Whether this can be a name for the kernel, which has room for `most` bytes. */
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
    else if (value.includes('%')) hint = ': IPVS does not support zones'
    else if (value.includes('/')) hint = ': give one address, not a network'
    else if (/^[\d.]+:\d+$/.test(value)) hint = ': the port is a field of its own'
    else if (/[g-z]/i.test(value)) hint = ': names are not looked up'
  }
  throw about(field, new TypeError(`${field} must be an IPv4 or IPv6 address, got ${show(value)}${hint}`))
}

export type Fields = Readonly<Record<string, unknown>>

/** Checks that a value is an object and not an array. */
export function object(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${what} must be an object, got ${show(value)}`)
  }
  return value as Fields
}

/** Refuses a field that does not exist here, and is most likely misspelt. */
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
    const meant = ourField(field, names) ?? likely(field, names)
    throw about(
      `${inside}${field}`,
      new TypeError(
        `${what} ${/^(changes|timeouts|options)\b/.test(what) ? 'have' : 'has'} no field ${show(field)}` +
          (meant !== undefined
            ? `: did you mean '${meant}'?`
            : isHealthCheck(field)
              ? ': ipvs does not check the health of real servers; keepalived does'
              : `, only ${list(names)}`),
      ),
    )
  }
}

/**
 * Refuses a field that seems to be `name`, which is absent, misspelt. A key may
 * have more fields than those that identify something, but a typing error must
 * not select the default of one of these.
 */
export function misspelt(fields: Fields, name: string, what: string): void {
  for (const field in fields) {
    if (field !== name && (resembles(name, field) || ourField(field, [name]) === name)) {
      throw about(field, new TypeError(`${what} has no field ${show(field)}: did you mean '${name}'?`))
    }
  }
}

/** The same for a field that must be there. Else, the first field that nothing has may be what was meant. */
export function missing(fields: Fields, name: string, what: string, names: readonly string[]): void {
  misspelt(fields, name, what)
  for (const field in fields) {
    if (!names.includes(field)) {
      throw about(field, new TypeError(`${what} has no field ${show(field)}, and '${name}' is missing`))
    }
  }
}

/**
 * A copy of the fields that are there, and of the objects in them, so that
 * neither a getter nor a later change by the caller gets past the checks.
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

/** The one of these names that is probably meant by a name that is not among them. */
export function likely(name: string, names: readonly string[]): string | undefined {
  const given = name.toLowerCase()
  return (
    names.find((one) => one.toLowerCase() === given) ??
    names.find((one) => isNear(one.toLowerCase(), given)) ??
    names.find((one) => isBeginning(one.toLowerCase(), given)) ??
    (given.length < SHORTEST_END ? undefined : names.find((one) => one.toLowerCase().endsWith(given)))
  )
}

/** 'servers' is meant for 'realServers', but 's' for no plural. */
const SHORTEST_END = 4

function resembles(one: string, other: string): boolean {
  const a = one.toLowerCase()
  const b = other.toLowerCase()
  return isNear(a, b) || isBeginning(a, b)
}

function isBeginning(a: string, b: string): boolean {
  return a.startsWith(b) || b.startsWith(a)
}

/** Whether names differ by one letter, or by two that changed places. */
function isNear(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false
  let start = 0
  while (start < a.length && a[start] === b[start]) start += 1
  let end = 0
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end])
    end += 1
  return Math.max(a.length, b.length) - start - end <= 2
}

/** Checks a field that may be absent. A field that is there but `undefined` is refused. */
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

/** Adds to an error the field that it is about, unless it already names one further inside. */
export function about(field: string, error: Error): Error {
  if ('field' in error) return error
  return Object.assign(error, { field })
}

/** The field that an error of these checks is about, such as 'tunnel.port'. */
export function fieldOf(error: Error): string | undefined {
  return 'field' in error && typeof error.field === 'string' ? error.field : undefined
}

/** A value of the wrong kind. `ours` is what we call what was given, if that is known. */
export function wrong(field: string, value: unknown, expected: string, ours?: string): Error {
  const hint = ours === undefined ? '' : `, which is '${ours}' here`
  return about(field, new TypeError(`${field} must be ${expected}, got ${show(value)}${hint}`))
}

export function list(values: readonly unknown[]): string {
  return values.map(show).join(', ')
}

/** The most characters of a value that a message shows. */
const SHOWN = 100

/** A value as a message shows it, with control characters as escapes. */
export function show(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > SHOWN ? `'${printable(value.slice(0, SHOWN))}...'` : `'${printable(value)}'`
  }
  if (typeof value === 'bigint') return `${String(value)}n`
  if (ArrayBuffer.isView(value)) return 'bytes'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  if (typeof value === 'function') return 'a function'
  return typeof value === 'symbol' ? printable(String(value)) : String(value)
}
