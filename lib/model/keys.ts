import { canonicalAddress, canonicalServerKey, canonicalServiceKey } from './address.ts'
import { show } from './check.ts'
import { PROTOCOL_NAMES } from './protocols.ts'
import type { AddressServiceKey, Endpoint, RealServerKey, ServiceKey, Tunnel } from './types.ts'
import { checkServerKey, checkServiceKey } from './validate.ts'

const SERVICE_EXAMPLES =
  "'tcp/192.0.2.10:80', 'tcp/[2001:db8::1]:443', 'fwmark/5' or, for IPv6 packets, 'fwmark6/5'"
const ENDPOINT_EXAMPLES = "'10.0.0.7:8080', '[2001:db8::7]:8080', or an address alone"

/**
 * Reads the identity of a virtual service as people write it, and as errors
 * name it: `tcp/192.0.2.10:80`, `udp/[2001:db8::1]:53`, `sctp/...`,
 * `NUMBER/...` for any other IP protocol, `fwmark/5` and `fwmark6/5`.
 *
 * @throws {TypeError | RangeError} with an example of the right form.
 */
export function parseServiceKey(text: string): ServiceKey {
  const refuse = (why: string): TypeError =>
    new TypeError(`a virtual service is written like ${SERVICE_EXAMPLES}; got ${show(text)}${why}`)
  const [, protocol = '', rest = ''] = /^([^/]*)\/(.*)$/s.exec(text) ?? []
  if (protocol === 'fwmark' || protocol === 'fwmark6') {
    if (!/^\d+$/.test(rest)) throw refuse('')
    return checkServiceKey({
      protocol: 'fwmark',
      fwmark: Number(rest),
      family: protocol === 'fwmark6' ? 'ipv6' : 'ipv4',
    })
  }
  const number = /^\d+$/.test(protocol)
  if (!number && !(PROTOCOL_NAMES as readonly string[]).includes(protocol)) throw refuse('')
  const { address, port } = splitEndpoint(rest) ?? {}
  if (address === undefined) throw refuse('')
  if (port === undefined) {
    const [before = '', after, more] = address.split(':')
    if (before !== '' && after !== undefined && more === undefined)
      throw refuse(': the port must be a number')
    const brackets =
      after === undefined || rest.startsWith('[') ? '' : '; an IPv6 address with a port needs brackets'
    throw refuse(`: the port is missing; 0 means every port${brackets}`)
  }
  return canonicalServiceKey(
    checkServiceKey({ protocol: number ? Number(protocol) : protocol, address, port }),
  )
}

/** The identity of a virtual service that a caller gave, as text or as an object: checked, and as it reads back. */
export function serviceKeyOf(given: unknown): ServiceKey {
  return typeof given === 'string' ? parseServiceKey(given) : canonicalServiceKey(checkServiceKey(given))
}

/**
 * Writes the identity of a virtual service: `tcp/192.0.2.10:80`, `tcp/[2001:db8::1]:443`, `fwmark/5`, `fwmark6/5`.
 * Text is read first, so the result has the one form that a service has everywhere.
 */
export function formatServiceKey(key: ServiceKey | string): string {
  return serviceName(serviceKeyOf(key))
}

/**
 * Reads the identity of a real server: `10.0.0.7:8080`, `[2001:db8::7]:8080`,
 * or an address alone, whose port is then that of the virtual service.
 *
 * @throws {TypeError | RangeError} with an example of the right form.
 */
export function parseEndpoint(text: string): RealServerKey {
  const found = splitEndpoint(text)
  // One colon: an IPv4 address and something that is no number.
  const badPort = /^[^:[\]]+:[^:]*[^:\d][^:]*$/.test(text)
  if (found === undefined || badPort) {
    throw new TypeError(
      `a real server is written like ${ENDPOINT_EXAMPLES}; got ${show(text)}${badPort ? ': the port must be a number' : ''}`,
    )
  }
  const { address, port } = checkServerKey(found, ANY_SERVICE)
  return { address: canonicalAddress(address), ...(found.port !== undefined && { port }) }
}

/** The identity of a real server that a caller gave, likewise. A port that is absent is that of the service. */
export function endpointOf(given: unknown, service: ServiceKey): Endpoint {
  const key = typeof given === 'string' ? parseEndpoint(given) : given
  return canonicalServerKey(checkServerKey(key, service))
}

/** Writes the identity of a real server: `10.0.0.7:8080`, `[2001:db8::7]:8080`, or, without a port, its address. */
export function formatEndpoint(key: RealServerKey | string): string {
  const given = typeof key === 'string' ? parseEndpoint(key) : key
  const { address, port } = endpointOf(given, ANY_SERVICE)
  return endpointName(address, given.port === undefined ? undefined : port)
}

/** Of which a server takes a port that is not named: none does here. */
const ANY_SERVICE: AddressServiceKey = { protocol: 'tcp', address: '0.0.0.0', port: 0 }

/** ADDRESS, ADDRESS:PORT, [ADDRESS] or [ADDRESS]:PORT; the parts are not checked yet. */
function splitEndpoint(text: string): { address: string; port?: number } | undefined {
  const bracketed = /^\[([^\]]*)\](?::(\d+))?$/.exec(text)
  // Without brackets an IPv6 address has no port: 2001:db8::1:80 is one address.
  const plain = /^([^:[\]]+):(\d+)$/.exec(text) ?? /^([^[\]]*[^[\]:]|[^[\]]*::)$/.exec(text)
  const [, address, port] = bracketed ?? plain ?? []
  if (address === undefined || address === '') return undefined
  return { address, ...(port !== undefined && { port: Number(port) }) }
}

/** A virtual service as people write it: tcp/192.0.2.1:80, tcp/[2001:db8::1]:443, fwmark/5, fwmark6/5. */
export function serviceName(key: ServiceKey): string {
  if (key.protocol === 'fwmark')
    return `${key.family === 'ipv6' ? 'fwmark6' : 'fwmark'}/${String(key.fwmark)}`
  return `${String(key.protocol)}/${endpointName(key.address, key.port)}`
}

/** 192.0.2.1:80, [2001:db8::1]:443; without a port the address alone. */
export function endpointName(address: string, port?: number): string {
  if (port === undefined) return address
  return address.includes(':') ? `[${address}]:${String(port)}` : `${address}:${String(port)}`
}

/** An endpoint as the key of a map: shorter than its name, and made for each server of a list. */
export function endpointId({ address, port = 0 }: RealServerKey): string {
  return `${address} ${String(port)}`
}

/** Writes a tunnel as lists and plans show it: `ipip`, `gue:6080/csum`. */
export function formatTunnel({ type, port, checksum = 'none' }: Tunnel): string {
  const at = port === undefined ? '' : `:${String(port)}`
  return `${String(type)}${at}${checksum === 'none' ? '' : `/${String(checksum)}`}`
}
