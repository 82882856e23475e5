import { attributes, toNumber, writer } from './bytes.ts'

/**
 * Attribute bytes made by hand, for what the library's own encoder cannot or
 * would not say. Little-endian, as every machine is that the guest runs on.
 */

export const { attr: attribute, u8, u16, u16be, u32, text, nest } = writer('little')

/** An IPv4 address in the sixteen bytes that the kernel has for any. */
export function ipv4(type: number, address: string): Uint8Array {
  return attribute(type, Uint8Array.of(...address.split('.').map(Number), ...new Array<number>(12).fill(0)))
}

/** The members of attribute `type` of a whole netlink message, behind its two headers of 20 bytes. */
export function membersOfMessage(message: Uint8Array, type: number): Map<number, Uint8Array> {
  return members(members(message.subarray(20)).get(type) ?? new Uint8Array(0))
}

function members(bytes: Uint8Array): Map<number, Uint8Array> {
  return new Map(attributes(bytes, 'little').map(({ type, payload }) => [type, payload]))
}

/** The number at the start of a payload: flags have their mask behind them. */
export function readU32(bytes: Uint8Array | undefined): number {
  if (bytes === undefined) throw new Error('there is no such attribute')
  return toNumber(bytes.subarray(0, 4), 'little')
}

/** Members of a TCP service on an IPv4 address that identify it. */
export function identity(address: string, port: number): Uint8Array[] {
  return [u16(1, 2), u16(2, 6), ipv4(3, address), u16be(4, port)]
}

/** What a new or changed service needs besides its identity: round robin, these flags, no persistence. */
export function serviceSettings(flags = 0, scheduler = 'rr', flagsMask = 0xffffffff): Uint8Array[] {
  return [text(6, scheduler), u32(7, flags, flagsMask), u32(8, 0), u32(9, 0xffffffff)]
}

/** What a new or changed real server needs: its address, direct routing, and these numbers. */
export function destSettings({
  address = '10.0.0.1',
  port = 80,
  method = 3,
  weight = 1,
  upper = 0,
  lower = 0,
}): Uint8Array[] {
  return [ipv4(1, address), u16be(2, port), u32(3, method), u32(4, weight), u32(5, upper), u32(6, lower)]
}
