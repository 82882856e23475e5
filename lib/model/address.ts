import type { Endpoint, Family, ServiceKey } from './types.ts'

/**
 * Text of addresses, and their 16 bytes: IPv4 in the first four, or IPv6. The
 * text to read has been checked (validate.ts); what is written is as
 * inet_ntop(3) writes it, since ipvsadm prints that.
 */

/** Bytes of an address as the kernel has it. */
export const ADDRESS_BYTES = 16

const DOT = 46
const ZERO = 48
const COLON = 58

/** Decimal text of every byte: formatting IPv4 addresses is a fifth of decoding a table. */
const DECIMAL: readonly string[] = Array.from({ length: 256 }, (_, byte) => String(byte))

export function parseAddress(text: string): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES)
  if (text.includes(':')) parseIPv6(text, bytes)
  else parseIPv4(text, bytes, 0)
  return bytes
}

/** Whether an address is in a network such as `192.0.2.0/24`. */
export function contains(network: string, address: string): boolean {
  const [base = '', length = ''] = network.split('/')
  if (base.includes(':') !== address.includes(':')) return false
  const bits = Number(length)
  const [one, other] = [parseAddress(base), parseAddress(address)]
  return one.every((byte, index) => {
    const mask = 0xff00 >> Math.min(8, Math.max(0, bits - 8 * index))
    return ((byte ^ (other[index] ?? 0)) & mask & 0xff) === 0
  })
}

/** The same address as the kernel's bytes read back: 2001:DB8:0:0::1 is 2001:db8::1. */
export function canonicalAddress(text: string): string {
  if (!text.includes(':')) return text
  return formatIPv6(new DataView(parseAddress(text).buffer), 0)
}

/** The same virtual service as it is read back: its address as inet_ntop(3) writes it. */
export function canonicalServiceKey(key: ServiceKey): ServiceKey {
  return key.protocol === 'fwmark' ? key : canonical(key)
}

/** The same real server as it is read back, likewise. */
export function canonicalServerKey(key: Endpoint): Endpoint {
  return canonical(key)
}

function canonical<Key extends { readonly address: string }>(key: Key): Key {
  // Only IPv6 has more than one spelling, and almost every key is another.
  return key.address.includes(':') ? { ...key, address: canonicalAddress(key.address) } : key
}

/** Dotted text of an IPv4 address or mask, as a number whose high byte comes first. */
export function formatIPv4(value: number): string {
  return `${decimal(value >>> 24)}.${decimal((value >>> 16) & 255)}.${decimal((value >>> 8) & 255)}.${decimal(value & 255)}`
}

/** The number of a dotted IPv4 address or mask, high byte first. */
export function parseIPv4Number(text: string): number {
  let number = 0
  let value = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === DOT) {
      number = number * 256 + value
      value = 0
    } else {
      value = value * 10 + code - ZERO
    }
  }
  return number * 256 + value
}

function decimal(byte: number): string {
  return DECIMAL[byte] as string
}

/** Writes the four bytes of a dotted IPv4 address. */
export function parseIPv4(text: string, bytes: Uint8Array, at: number): void {
  let value = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === DOT) {
      bytes[at++] = value
      value = 0
    } else {
      value = value * 10 + code - ZERO
    }
  }
  bytes[at] = value
}

function parseIPv6(text: string, bytes: Uint8Array): void {
  let at = 0
  let gap = -1
  let group = -1
  let start = 0
  for (let index = 0; index <= text.length; index++) {
    // No split(): a sort of a large table comes here millions of times.
    const code = index === text.length ? COLON : text.charCodeAt(index)
    if (code === COLON) {
      if (group >= 0) {
        bytes[at] = group >> 8
        bytes[at + 1] = group & 255
        at += 2
      } else if (text.charCodeAt(index - 1) === COLON) {
        gap = at
      }
      group = -1
      start = index + 1
    } else if (code === DOT) {
      parseIPv4(text.slice(start), bytes, at)
      at += 4
      break
    } else {
      group = Math.max(group, 0) * 16 + hexDigit(code)
    }
  }
  if (gap < 0) return
  bytes.copyWithin(ADDRESS_BYTES - (at - gap), gap, at)
  bytes.fill(0, gap, ADDRESS_BYTES - (at - gap))
}

/** The value of 0-9, a-f or A-F. */
function hexDigit(code: number): number {
  return code < 58 ? code - ZERO : (code | 32) - 87
}

/**
 * RFC 5952 as inet_ntop(3) has it: lower case, the leftmost longest run of two
 * or more zero groups as '::', and the last two groups dotted after '::' or
 * '::ffff:'.
 */
export function formatIPv6(view: DataView, at: number): string {
  let bestStart = -1
  let bestLength = 1
  let runStart = -1
  for (let group = 0; group < 8; group++) {
    if (view.getUint16(at + 2 * group, false) !== 0) {
      runStart = -1
      continue
    }
    if (runStart < 0) runStart = group
    if (group - runStart + 1 > bestLength) {
      bestStart = runStart
      bestLength = group - runStart + 1
    }
  }
  const mapped = bestLength === 5 && view.getUint16(at + 10, false) === 0xffff
  const dotted = bestStart === 0 && (bestLength === 6 || mapped)
  let text = ''
  for (let group = 0; group < 8; group++) {
    if (group === bestStart) {
      text += '::'
      group += bestLength - 1
      continue
    }
    if (text !== '' && !text.endsWith(':')) text += ':'
    if (dotted && group === 6) return text + formatIPv4(view.getUint32(at + 12, false))
    text += view.getUint16(at + 2 * group, false).toString(16)
  }
  return text
}

/** 'ipv4' or 'ipv6': that of the mark, or of the address. The key has been checked. */
export function familyOfService(key: ServiceKey): Family {
  return key.protocol === 'fwmark' ? (key.family ?? 'ipv4') : familyOfAddress(key.address)
}

/** The port of a virtual service, which its real servers have too unless they say otherwise; 0 for a firewall mark. */
export function portOfService(key: ServiceKey): number {
  return key.protocol === 'fwmark' ? 0 : key.port
}

/** 'ipv4' or 'ipv6' of an address that has been checked. */
export function familyOfAddress(text: string): Family {
  return text.includes(':') ? 'ipv6' : 'ipv4'
}

/** Whether this is an IPv4 address: four decimal numbers without leading zeros. */
export function isIPv4(text: string): boolean {
  // No expression: each address of a table comes here, and to compile one takes milliseconds.
  let dots = 0
  let digits = 0
  let number = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === DOT && digits > 0) {
      dots += 1
      digits = 0
      number = 0
    } else {
      const digit = code - ZERO
      if (digit < 0 || digit > 9 || (digits > 0 && number === 0)) return false
      digits += 1
      number = 10 * number + digit
      if (number > 255) return false
    }
  }
  return dots === 3 && digits > 0
}

/** RFC 4291, section 2.2: eight groups, one run of them as '::', the last two as an IPv4 address. */
export function isIPv6(text: string): boolean {
  if (!text.includes(':')) return false
  const halves = text.split('::')
  if (halves.length > 2) return false
  let groups = 0
  for (const [half, part] of halves.entries()) {
    if (part === '') continue
    const pieces = part.split(':')
    for (const [index, piece] of pieces.entries()) {
      const last = half === halves.length - 1 && index === pieces.length - 1
      if (last && piece.includes('.')) {
        if (!isIPv4(piece)) return false
        groups += 2
      } else if (/^[\da-f]{1,4}$/i.test(piece)) {
        groups += 1
      } else {
        return false
      }
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8
}

/** Whether this is an address in 224.0.0.0/4 or ff00::/8. */
export function isMulticast(text: string): boolean {
  return text.includes(':')
    ? isIPv6(text) && /^ff[\da-f]{2}:/i.test(text)
    : isIPv4(text) && /^2(2[4-9]|3\d)\./.test(text)
}
