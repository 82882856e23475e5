import { canonicalAddress, familyOfAddress, isIPv4, isIPv6 } from '../model/address.ts'
import { PORT } from '../model/ranges.ts'
import type { Family } from '../model/types.ts'
import { ownText } from '../util/pieces.ts'
import { type ShownOption, wholeNumber } from './given.ts'
import { LineError } from './line-error.ts'
import { isNumber, splitAtColon, splitEndpoint } from './numbers.ts'
import type { ServiceProtocol } from './options.ts'
import { portNamesOf } from './rules.ts'

/** Addresses and ports in lines, and names in their place. */

/** How names in lines are looked up. */
export interface Lookups {
  /** The port of a service by its name, such as 80 for 'http' and 'tcp', as /etc/services has it; undefined if there is no such service. */
  readonly lookupService?:
    | ((name: string, protocol: 'tcp' | 'udp' | 'sctp') => number | undefined | Promise<number | undefined>)
    | undefined
  /**
   * The address of a host in this family; undefined if it has none. A name
   * means an IPv4 host, a name in brackets an IPv6 host, as `ipvsadm -S` prints it.
   */
  readonly lookupHost?:
    ((name: string, family: Family) => string | undefined | Promise<string | undefined>) | undefined
}

/** Only digits, dots and other parts of numbers: not a host name. ipvsadm would read some of these. */
const IPV4_LIKE = /^(?:0x[\da-f]*|\d+)(?:\.(?:0x[\da-f]*|\d*))*$/i

export class EndpointReader {
  readonly #lookups: Lookups

  constructor(lookups: Lookups) {
    this.#lookups = lookups
  }

  /**
   * Reads ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT, or names for either. Brackets
   * hold an IPv6 address or a name: ipvsadm would drop the port of an IPv4 address.
   */
  async read(given: ShownOption, protocol: ServiceProtocol): Promise<{ address: string; port?: number }> {
    const { value = '', valueColumn: column, shown } = given
    const parts = splitEndpoint(value)
    if (parts === undefined && value.includes(']')) {
      throw new LineError(
        column,
        `${shown} takes [ADDRESS]:PORT, or an IPv6 address without brackets, got '${value}'`,
      )
    }
    const { host, port, ipv6, brackets } = parts ?? splitAtColon(value)
    if (brackets && !host.includes(':') && IPV4_LIKE.test(host)) {
      throw new LineError(column, `ipvsadm drops the port of '${value}': an IPv4 address has no brackets`)
    }
    const address = ipv6 ? canonicalAddress(host) : await this.#address(host, given, brackets)
    if (port === undefined) return { address }
    const portColumn = column + value.length - port.length
    return { address, port: await this.#port(port, given, protocol, portColumn) }
  }

  async #address(
    host: string,
    { value = '', valueColumn: column, shown }: ShownOption,
    ipv6: boolean,
  ): Promise<string> {
    if (isIPv4(host)) return ownText(host)
    if (IPV4_LIKE.test(host) || host === '' || !/^[\w.-]+$/.test(host)) {
      throw new LineError(
        column,
        `${shown} takes an address such as 192.0.2.10:80 or [2001:db8::1]:80, in full, got '${value}'`,
      )
    }
    const { lookupHost } = this.#lookups
    if (lookupHost === undefined) {
      throw new LineError(
        column,
        `'${host}' is a host name: give lookupHost, or write the address, as \`ipvsadm -Sn\` does`,
      )
    }
    const family = ipv6 ? 'ipv6' : 'ipv4'
    const shownHost = ipv6 ? `[${host}]` : host
    const address = await lookedUp('lookupHost', shownHost, column, () => lookupHost(host, family))
    if (address === undefined) {
      throw new LineError(column, `no ${ipv6 ? 'IPv6 ' : ''}host '${shownHost}' was found`)
    }
    if (!isIPv4(address) && !isIPv6(address)) {
      throw new LineError(column, `lookupHost gave '${address}' for '${shownHost}', which is not an address`)
    }
    if (familyOfAddress(address) !== family) {
      throw new LineError(
        column,
        `lookupHost gave '${address}' for '${shownHost}': a name in brackets means an IPv6 host, without brackets an IPv4 host`,
      )
    }
    return canonicalAddress(address)
  }

  async #port(
    text: string,
    { shown }: ShownOption,
    protocol: ServiceProtocol,
    column: number,
  ): Promise<number> {
    // Services may begin with a digit, such as 9pfs.
    if (isNumber(text) || text === '') return wholeNumber(text, `the port of ${shown}`, column, PORT)
    const { lookupService } = this.#lookups
    if (lookupService === undefined) {
      throw new LineError(
        column,
        `'${text}' is a service name: give lookupService, or write the port, as \`ipvsadm -Sn\` does`,
      )
    }
    const names = portNamesOf(protocol)
    const port = await lookedUp('lookupService', text, column, () => lookupService(text, names))
    if (port === undefined) throw new LineError(column, `no ${names} service '${text}' was found`)
    if (!Number.isInteger(port) || port < PORT[0] || port > PORT[1]) {
      throw new LineError(column, `lookupService gave ${String(port)} for '${text}', which is not a port`)
    }
    return port
  }
}

/** Calls the caller's function. An error that it throws gets the place of the name. */
async function lookedUp<T>(
  what: keyof Lookups,
  name: string,
  column: number,
  look: () => T | Promise<T>,
): Promise<T> {
  try {
    return await look()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new LineError(column, `${what} failed for '${name}': ${why}`, { cause })
  }
}
