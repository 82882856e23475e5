import { parseAddress, parseIPv4Number } from './address.ts'
import { parseEndpoint, serviceKeyOf } from './keys.ts'
import type { RealServerKey, ServiceKey } from './types.ts'

/**
 * The order in which people see services and real servers; the kernel's own has
 * no meaning. Addresses and ports count as numbers: 10.0.0.9 comes before
 * 10.0.0.10, and 2001:db8::a before 2001:db8::10.
 */

/**
 * Compares the identities of two virtual services, for `sort()`: by protocol,
 * then IPv4 before IPv6, then by address and port, or by firewall mark.
 */
export function compareServiceKeys(one: ServiceKey | string, other: ServiceKey | string): number {
  if (typeof one === 'string' || typeof other === 'string')
    return compareServiceKeys(serviceKeyOf(one), serviceKeyOf(other))
  if (one.protocol === 'fwmark' && other.protocol === 'fwmark') {
    return (
      Number(one.family === 'ipv6') - Number(other.family === 'ipv6') || Math.sign(one.fwmark - other.fwmark)
    )
  }
  if (one.protocol !== 'fwmark' && other.protocol !== 'fwmark' && one.protocol === other.protocol)
    return compareEndpoints(one, other)
  return compareProtocols(one.protocol, other.protocol)
}

/**
 * Compares the identities of two real servers, for `sort()`: IPv4 before IPv6,
 * then by address, then by port. One without a port comes first.
 */
export function compareEndpoints(one: RealServerKey | string, other: RealServerKey | string): number {
  if (typeof one === 'string') return compareEndpoints(parseEndpoint(one), other)
  if (typeof other === 'string') return compareEndpoints(one, parseEndpoint(other))
  return (
    (one.address === other.address ? 0 : compareAddresses(one.address, other.address)) ||
    Math.sign((one.port ?? -1) - (other.port ?? -1))
  )
}

function compareAddresses(one: string, other: string): number {
  const isIPv6 = one.includes(':')
  if (isIPv6 !== other.includes(':')) return isIPv6 ? 1 : -1
  if (!isIPv6) return Math.sign(parseIPv4Number(one) - parseIPv4Number(other))
  const [bytes, others] = [parseAddress(one), parseAddress(other)]
  const at = bytes.findIndex((byte, index) => byte !== others[index])
  return Math.sign((bytes[at] ?? 0) - (others[at] ?? 0))
}

/** Those that are numbers come before those that have a name. */
function compareProtocols(one: string | number, other: string | number): number {
  if (typeof one === 'number' && typeof other === 'number') return Math.sign(one - other)
  if (typeof one !== typeof other) return typeof one === 'number' ? -1 : 1
  return one < other ? -1 : Number(one > other)
}
