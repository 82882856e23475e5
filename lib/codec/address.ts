import { ADDRESS_BYTES, formatIPv4, formatIPv6, parseAddress, parseIPv4 } from '../model/address.ts'
import { AddressFamily } from '../model/constants.ts'
import type { Family } from '../model/types.ts'
import { type AttributeWriter, malformed } from './attributes.ts'

/** Addresses as attributes, and families as numbers: union nf_inet_addr of the kernel. */

/** Writes an address attribute. */
export function writeAddress(writer: AttributeWriter, type: number, text: string): void {
  if (text.includes(':')) {
    writer.bytes(type, parseAddress(text))
    return
  }
  writer.room(type, ADDRESS_BYTES, (bytes, at) => {
    parseIPv4(text, bytes, at)
  })
}

/** The address at an offset that has room for it. */
export function formatAddress(view: DataView, at: number, family: number): string {
  return family === AddressFamily.INET6 ? formatIPv6(view, at) : formatIPv4(view.getUint32(at, false))
}

/** AF_INET or AF_INET6 of a family. */
export function familyNumber(family: Family): number {
  return family === 'ipv6' ? AddressFamily.INET6 : AddressFamily.INET
}

/** Family of an AF_* number that the kernel sent. */
export function familyName(family: number): Family {
  if (family === AddressFamily.INET) return 'ipv4'
  if (family === AddressFamily.INET6) return 'ipv6'
  throw malformed(`unknown address family ${String(family)}`)
}
