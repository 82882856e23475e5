/**
 * Attribute bytes made by hand, for what the library's own encoder cannot or
 * would not say. Little-endian, as every machine is that the guest runs on.
 */

/** Commands and attribute numbers of <linux/ip_vs.h>, written down once more. */
export const COMMANDS = {
  newService: 1,
  setService: 2,
  deleteService: 3,
  getService: 4,
  newDest: 5,
  setDest: 6,
  deleteDest: 7,
  getDest: 8,
  newDaemon: 9,
  deleteDaemon: 10,
  getDaemon: 11,
  setConfig: 12,
  getConfig: 13,
  setInfo: 14,
  getInfo: 15,
  zero: 16,
  flush: 17,
} as const

/** An attribute: header, payload and padding to a multiple of four. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + payload.length + 3) & ~3)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 4 + payload.length, true)
  view.setUint16(2, type, true)
  bytes.set(payload, 4)
  return bytes
}

export function u8(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value))
}

export function u16(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value & 255, value >> 8))
}

export function u16be(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value >> 8, value & 255))
}

export function u32(type: number, ...values: readonly number[]): Uint8Array {
  return attribute(type, new Uint8Array(Uint32Array.from(values).buffer))
}

export function text(type: number, value: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${value}\0`))
}

export function nest(type: number, ...members: readonly Uint8Array[]): Uint8Array {
  return attribute(type, join(...members))
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}

/** An IPv4 address in the sixteen bytes that the kernel has for any. */
export function ipv4(type: number, address: string): Uint8Array {
  return attribute(type, Uint8Array.of(...address.split('.').map(Number), ...new Array<number>(12).fill(0)))
}

/** Members of the attributes at the start of `bytes`, by type. */
export function members(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 4 <= bytes.length; at += (view.getUint16(at, true) + 3) & ~3) {
    found.set(view.getUint16(at + 2, true), bytes.subarray(at + 4, at + view.getUint16(at, true)))
  }
  return found
}

/** The members of attribute `type` of a whole netlink message, behind its two headers of 20 bytes. */
export function membersOfMessage(message: Uint8Array, type: number): Map<number, Uint8Array> {
  return members(members(message.subarray(20)).get(type) ?? new Uint8Array(0))
}

export function readU32(bytes: Uint8Array | undefined): number {
  if (bytes === undefined) throw new Error('there is no such attribute')
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true)
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
