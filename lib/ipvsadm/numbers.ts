import { isIPv4, parseAddress, parseIPv4Number } from '../model/address.ts'

/** Addresses and numbers as ipvsadm reads and compares them. */

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
export function readNumber(text: string, least: number, most: number): number | undefined {
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
