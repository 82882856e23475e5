import { endianness } from 'node:os'

/**
 * A second writer and reader of netlink bytes, for expected values: it shares
 * nothing with lib/codec, so that two wrongs cannot cancel out. Plain arithmetic
 * instead of DataView, arrays of numbers instead of a growing buffer.
 */

export type Order = 'little' | 'big'

/** Byte order of the machine that the tests run on. */
export const MACHINE: Order = endianness() === 'LE' ? 'little' : 'big'

export const ORDERS: readonly Order[] = ['little', 'big']

/** Bytes of hexadecimal text; white space is for the reader. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '')
  if (!/^(?:[\da-f]{2})*$/i.test(digits)) throw new Error(`not hexadecimal: ${text}`)
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16))
}

/** Hexadecimal text of bytes, for readable differences. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** A NUL-terminated text. */
export function text(value: string): Uint8Array {
  return Uint8Array.from([...Buffer.from(value, 'utf8'), 0])
}

/** A number in so many bytes, low byte first or last. */
export function number(value: number | bigint, size: number, order: Order): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt(value)
  for (let index = 0; index < size; index++) {
    bytes.push(Number(rest % 256n))
    rest /= 256n
  }
  return Uint8Array.from(order === 'little' ? bytes : bytes.reverse())
}

/** The header fields of a message; what a test does not name is as the kernel answers. */
export interface Header {
  readonly command: number
  readonly type?: number
  readonly flags?: number
  readonly sequence?: number
  readonly port?: number
  readonly version?: number
}

/** The writer for one byte order. Its functions may be taken out of it. */
export interface Writer {
  readonly order: Order
  /** An attribute with this payload, and padding. */
  readonly attr: (type: number, payload?: Uint8Array) => Uint8Array
  readonly u8: (type: number, value: number) => Uint8Array
  readonly u16: (type: number, value: number) => Uint8Array
  readonly u16be: (type: number, value: number) => Uint8Array
  /** One number or several, as flags have their mask behind them. */
  readonly u32: (type: number, ...values: readonly number[]) => Uint8Array
  readonly u32be: (type: number, value: number) => Uint8Array
  readonly u64: (type: number, value: number | bigint) => Uint8Array
  readonly text: (type: number, value: string) => Uint8Array
  readonly nest: (type: number, ...members: readonly Uint8Array[]) => Uint8Array
  /** nlmsghdr, genlmsghdr and attributes. */
  readonly message: (header: Header, ...attributes: readonly Uint8Array[]) => Uint8Array
}

export function writer(order: Order): Writer {
  const attr = (type: number, payload: Uint8Array = new Uint8Array()): Uint8Array =>
    concat(
      number(4 + payload.length, 2, order),
      number(type, 2, order),
      payload,
      new Uint8Array((4 - (payload.length % 4)) % 4),
    )
  return {
    order,
    attr,
    u8: (type, value) => attr(type, number(value, 1, order)),
    u16: (type, value) => attr(type, number(value, 2, order)),
    u16be: (type, value) => attr(type, number(value, 2, 'big')),
    u32: (type, ...values) => attr(type, concat(...values.map((value) => number(value, 4, order)))),
    u32be: (type, value) => attr(type, number(value, 4, 'big')),
    u64: (type, value) => attr(type, number(value, 8, order)),
    text: (type, value) => attr(type, text(value)),
    nest: (type, ...members) => attr(type, concat(...members)),
    message: (header, ...attributes) => {
      const body = concat(...attributes)
      return concat(
        number(20 + body.length, 4, order),
        number(header.type ?? 0x22, 2, order),
        number(header.flags ?? 0, 2, order),
        number(header.sequence ?? 1, 4, order),
        number(header.port ?? 0, 4, order),
        Uint8Array.from([header.command, header.version ?? 1, 0, 0]),
        body,
      )
    },
  }
}

/** An attribute as it stands in bytes. */
export interface Attribute {
  readonly type: number
  readonly payload: Uint8Array
}

/** Takes bytes apart into attributes; anything that is not exactly that fails the test. */
export function attributes(bytes: Uint8Array, order: Order): Attribute[] {
  const list: Attribute[] = []
  let at = 0
  while (at < bytes.length) {
    const length = toNumber(bytes.subarray(at, at + 2), order)
    if (length < 4 || at + length > bytes.length) throw new Error(`attribute of ${length} bytes at ${at}`)
    list.push({
      type: toNumber(bytes.subarray(at + 2, at + 4), order),
      payload: bytes.subarray(at + 4, at + length),
    })
    const end = Math.ceil(length / 4) * 4
    if (bytes.subarray(at + length, at + end).some((byte) => byte !== 0))
      throw new Error('padding is not zero')
    at += end
  }
  return list
}

/** The payload of the one attribute of this type; `undefined` if there is none. */
export function payload(list: readonly Attribute[], type: number): Uint8Array | undefined {
  const found = list.filter((attribute) => attribute.type === type)
  if (found.length > 1) throw new Error(`attribute ${type} is there ${found.length} times`)
  return found[0]?.payload
}

/** A number of up to six bytes. */
export function toNumber(bytes: Uint8Array, order: Order): number {
  const ordered = order === 'little' ? [...bytes].reverse() : [...bytes]
  return ordered.reduce((value, byte) => value * 256 + byte, 0)
}
