import { formatAddress } from '../../codec/address.ts'
import { parseAddress } from '../../model/address.ts'
import { AddressFamily } from '../../model/constants.ts'
import type { MemoryInterface } from './machine.ts'

/** Addresses as the kernel has them: 16 bytes. IPv4 uses the first four; the others are 0. */

export const IPV4_BYTES = 4

/** A copy with zeros after an IPv4 address (ip_vs_addr_copy()). */
export function addressOf(family: number, bytes: Uint8Array): Uint8Array {
  const address = new Uint8Array(16)
  address.set(family === AddressFamily.INET ? bytes.subarray(0, IPV4_BYTES) : bytes.subarray(0, 16))
  return address
}

/** A string that is the same for the same address. */
export function addressKey(address: Uint8Array): string {
  return String.fromCharCode(...address)
}

export function addressText(family: number, address: Uint8Array): string {
  return formatAddress(new DataView(address.buffer, address.byteOffset, address.byteLength), 0, family)
}

/** The four words of an address xored, high byte first: what the hashes of ip_vs take. */
export function fold(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength)
  return (
    (view.getUint32(0, false) ^
      view.getUint32(4, false) ^
      view.getUint32(8, false) ^
      view.getUint32(12, false)) >>>
    0
  )
}

/** The bits of an address under a mask (IPv4) or prefix length (IPv6). */
export function maskAddress(family: number, address: Uint8Array, netmask: number): Uint8Array {
  const masked = address.slice()
  for (let index = 0; index < (family === AddressFamily.INET ? IPV4_BYTES : 16); index++) {
    const bits =
      family === AddressFamily.INET
        ? (netmask >>> (24 - 8 * index)) & 255
        : (0xff00 >> Math.min(8, Math.max(0, netmask - 8 * index))) & 255
    masked[index] = (masked[index] as number) & bits
  }
  return masked
}

/** Whether the kernel accepts an address for a real server (ip_vs_new_dest()). */
export function isUsable(
  family: number,
  address: Uint8Array,
  interfaces: readonly MemoryInterface[],
): boolean {
  const own = interfaces.flatMap(({ up, addresses = [] }) => (up === false ? [] : addresses.map(parsePrefix)))
  return family === AddressFamily.INET6 ? isUsableIPv6(address, own) : isUsableIPv4(address, own)
}

interface OwnAddress {
  readonly family: number
  readonly address: Uint8Array
  readonly prefix: number
}

/** Reads '10.0.0.1/24'. Without a length it is a single address. */
function parsePrefix(text: string): OwnAddress {
  const [address = '', length] = text.split('/')
  const family = address.includes(':') ? AddressFamily.INET6 : AddressFamily.INET
  const whole = family === AddressFamily.INET6 ? 128 : 32
  return { family, address: parseAddress(address), prefix: length === undefined ? whole : Number(length) }
}

/** inet_addr_type(): RTN_UNICAST or RTN_LOCAL. */
function isUsableIPv4(bytes: Uint8Array, own: readonly OwnAddress[]): boolean {
  const address = fold(bytes)
  if (address === 0 || address === 0xffffffff || address >>> 28 === 0xe) return false
  const local = own.filter(({ family }) => family === AddressFamily.INET)
  // No interface was ever up: the namespace has no table of local addresses.
  if (local.length === 0) return false
  return !local.some((one) => {
    if (one.prefix >= 31) return false
    const hosts = 2 ** (32 - one.prefix) - 1
    return address === ((fold(one.address) & ~hosts) | hosts) >>> 0
  })
}

/** ipv6_addr_type() has IPV6_ADDR_UNICAST, and not IPV6_ADDR_LINKLOCAL unless it is this host's own. */
function isUsableIPv6(address: Uint8Array, own: readonly OwnAddress[]): boolean {
  const [first = 0, second = 0] = address
  if (first === 0xff) return false
  if (first === 0xfe && (second & 0xc0) === 0x80) {
    return own.some(
      (one) => one.family === AddressFamily.INET6 && addressKey(one.address) === addressKey(address),
    )
  }
  if (address.subarray(0, 8).some((byte) => byte !== 0)) return true
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength)
  const mapped = view.getUint32(8, false) === 0xffff
  const any = view.getUint32(8, false) === 0 && view.getUint32(12, false) === 0
  return !mapped && !any
}
