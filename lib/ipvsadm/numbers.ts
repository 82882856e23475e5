import { isIPv4, isIPv6, parseAddress, parseIPv4Number } from '../model/address.ts'
import type { Range } from '../model/ranges.ts'

/** Addresses and numbers as ipvsadm reads and compares them. */

/** The parts of ADDRESS[:PORT], which are not checked yet. */
interface EndpointParts {
  readonly host: string
  readonly port: string | undefined
  /** Whether the host is an IPv6 address. One that has a port is in brackets. */
  readonly ipv6: boolean
  readonly brackets: boolean
}

/**
 * Splits ADDRESS[:PORT], [ADDRESS]:PORT or HOST[:PORT]; `undefined` if there is
 * no `]:` after a `[`. The reader of states and that of command lines differ in
 * what they make of brackets without an IPv6 address in them: each says how.
 */
export function splitEndpoint(text: string): EndpointParts | undefined {
  if (text.startsWith('[')) {
    const end = text.indexOf(']')
    if (end < 0 || text[end + 1] !== ':') return undefined
    const host = text.slice(1, end)
    return { host, port: text.slice(end + 2), ipv6: isIPv6(host), brackets: true }
  }
  // The first test is quick, and tells almost every IPv4 address.
  if (text.indexOf(':') !== text.lastIndexOf(':') && isIPv6(text)) {
    return { host: text, port: undefined, ipv6: true, brackets: false }
  }
  return splitAtColon(text)
}

/** Splits HOST[:PORT] at the last colon. */
export function splitAtColon(text: string): EndpointParts {
  const colon = text.lastIndexOf(':')
  // Field by field: each line of a table comes here, and spreading costs more than all else.
  const host = colon < 0 ? text : text.slice(0, colon)
  return { host, port: colon < 0 ? undefined : text.slice(colon + 1), ipv6: false, brackets: false }
}

/** Parts of an IPv4 address may be left out: the last one then fills the rest. By how many come before it. */
const LAST_PART_MAX = [0xffffffff, 0xffffff, 0xffff, 0xff]

/**
 * Reads an IPv4 address as inet_aton(3) does: one to four parts, decimal,
 * octal (0...) or hexadecimal (0x...); what follows white space is ignored.
 * `undefined` for anything else.
 */
export function readLooseIPv4(text: string): number | undefined {
  if (isIPv4(text)) return parseIPv4Number(text)
  const [, address] = /^([^ \t\n\v\f\r]+)/.exec(text) ?? []
  if (address === undefined) return undefined
  const parts = address.split('.')
  const last = LAST_PART_MAX[parts.length - 1]
  if (last === undefined) return undefined
  let value = 0
  for (const [index, part] of parts.entries()) {
    if (!/^(0x[\da-f]+|0[0-7]*|[1-9]\d*)$/i.test(part)) return undefined
    const number = /^0[0-7]+$/.test(part) ? parseInt(part, 8) : Number(part)
    if (index === parts.length - 1) {
      if (number > last) return undefined
      return value + number
    }
    if (number > 255) return undefined
    value += number * 2 ** (24 - 8 * index)
  }
  return undefined
}

/** The 32-bit words of an address that the kernel gave: one of IPv4, four of IPv6. */
export function wordsOf(address: string): readonly number[] {
  const view = new DataView(parseAddress(address).buffer)
  const word = (at: number): number => view.getUint32(at, false)
  return address.includes(':') ? [word(0), word(4), word(8), word(12)] : [word(0)]
}

/** Whether ipvsadm would read a whole decimal number, whatever its size. Blanks and a sign may come before it. */
export function isNumber(text: string): boolean {
  return /^[ \t\n\v\f\r]*[+-]?\d+$/.test(text)
}

/** A whole number within a range, or `undefined`. */
export function readNumber(text: string, [least, most]: Range): number | undefined {
  if (!isNumber(text)) return undefined
  const number = Number(text)
  // Adding 0 makes -0 an ordinary one.
  return number >= least && number <= most ? number + 0 : undefined
}

/** The number that a text begins with, or 0, as atoi(3) reads it: the lower 32 bits of one of 64. */
export function readLooseInteger(text: string): number {
  const [, sign, digits] = /^[ \t\n\v\f\r]*([+-]?)(\d+)/.exec(text) ?? []
  if (digits === undefined) return 0
  const number = sign === '-' ? -BigInt(digits) : BigInt(digits)
  const [least, most] = [-(2n ** 63n), 2n ** 63n - 1n]
  return Number(BigInt.asIntN(32, number < least ? least : number > most ? most : number))
}
