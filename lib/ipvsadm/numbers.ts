/** Addresses and numbers as ipvsadm reads and compares them. */

/** Parts of an IPv4 address may be left out: the last one then fills the rest. By how many come before it. */
const LAST_PART_MAX = [0xffffffff, 0xffffff, 0xffff, 0xff]

/**
 * Reads an IPv4 address as inet_aton(3) does: one to four parts, decimal,
 * octal (0...) or hexadecimal (0x...); what follows white space is ignored.
 * `undefined` for what is none.
 */
export function readLooseIPv4(text: string): number | undefined {
  return readIPv4(text) ?? readParts(text)
}

function readParts(text: string): number | undefined {
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

/** 10.0.0.1 of a number. */
export function formatIPv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.')
}

/** The number of four decimal parts, as inet_pton(3) reads them. Most addresses are these: it goes letter by letter. */
export function readIPv4(text: string): number | undefined {
  let value = 0
  let part = -1
  let dots = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === DOT) {
      if (part < 0) return undefined
      value = value * 256 + part
      part = -1
      dots += 1
    } else {
      const digit = code - ZERO
      if (digit < 0 || digit > 9 || part === 0) return undefined
      part = part < 0 ? digit : part * 10 + digit
      if (part > 255) return undefined
    }
  }
  return part < 0 || dots !== 3 ? undefined : value * 256 + part
}

const DOT = 46
const ZERO = 48

/** The four 32-bit words of an IPv6 address, as inet_pton(3) reads it. `undefined` for what is none. */
export function readIPv6(text: string): readonly number[] | undefined {
  // The shortest is `::`. Addresses of IPv4 with a port end here.
  if (text.indexOf(':') === text.lastIndexOf(':')) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const groups: number[][] = []
  for (const [index, half] of halves.entries()) {
    const read = readGroups(half, index === halves.length - 1)
    if (read === undefined) return undefined
    groups.push(read)
  }
  const [head = [], tail = []] = groups
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const all = [...head, ...Array<number>(missing).fill(0), ...tail]
  return [0, 2, 4, 6].map((at) => (all[at] as number) * 65536 + (all[at + 1] as number))
}

function readGroups(half: string, last: boolean): number[] | undefined {
  if (half === '') return []
  const groups: number[] = []
  const pieces = half.split(':')
  for (const [index, piece] of pieces.entries()) {
    if (/^[\da-f]{1,4}$/i.test(piece)) {
      groups.push(parseInt(piece, 16))
    } else {
      const embedded = last && index === pieces.length - 1 ? readIPv4(piece) : undefined
      if (embedded === undefined) return undefined
      groups.push(embedded >>> 16, embedded & 65535)
    }
  }
  return groups
}

/** The words of an address: one of IPv4, four of IPv6. The text is one that the kernel gave. */
export function wordsOf(address: string): readonly number[] {
  return readIPv6(address) ?? [readLooseIPv4(address) ?? 0]
}

/** A whole decimal number within a range; blanks and a sign may come before it, nothing after it. */
export function readNumber(text: string, least: number, most: number): number | undefined {
  if (!/^[ \t\n\v\f\r]*[+-]?\d+$/.test(text)) return undefined
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
