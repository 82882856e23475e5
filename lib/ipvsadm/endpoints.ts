import { canonicalAddress, familyOfAddress, isIPv4, isIPv6 } from '../model/address.ts'
import type { Family } from '../model/types.ts'
import { ownText } from '../util/pieces.ts'
import { type ShownOption, wholeNumber } from './given.ts'
import { LineError } from './line-error.ts'
import { isNumber } from './numbers.ts'

/** Addresses and ports in lines, and names in their place. */

/** How names in lines are looked up. */
export interface Lookups {
  /** The port of a service by its name, such as 80 for 'http' and 'tcp', as /etc/services has it; undefined if there is no such service. */
  readonly lookupService?: (
    name: string,
    protocol: 'tcp' | 'udp' | 'sctp',
  ) => number | undefined | Promise<number | undefined>
  /**
   * The address of a host in this family; undefined if it has none. A name
   * means an IPv4 host, a name in brackets an IPv6 host, as `ipvsadm -S` prints it.
   */
  readonly lookupHost?: (name: string, family: Family) => string | undefined | Promise<string | undefined>
}

/** Only digits, dots and other parts of numbers: not a host name. ipvsadm would read some of these. */
const IPV4_LIKE = /^(?:0x[\da-f]*|\d+)(?:\.(?:0x[\da-f]*|\d*))*$/i

export class EndpointReader {
  readonly #lookups: Lookups

  constructor(lookups: Lookups) {
    this.#lookups = lookups
  }

  /** Reads ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT, or names for either. */
  async read(
    given: ShownOption,
    protocol: 'tcp' | 'udp' | 'sctp' | number,
  ): Promise<{ address: string; port?: number }> {
    const { value = '', valueColumn: column, shown } = given
    const colon = value.lastIndexOf(':')
    if (value.indexOf(':') < colon && isIPv6(value)) return { address: canonicalAddress(value) }
    const brackets = /^\[([^\]]*)\](.*)$/.exec(value)
    let host = colon < 0 ? value : value.slice(0, colon)
    let portText = colon < 0 ? undefined : value.slice(colon + 1)
    if (brackets !== null) {
      const [, inside = '', rest = ''] = brackets
      if (!rest.startsWith(':')) {
        throw new LineError(
          column,
          `${shown} takes [ADDRESS]:PORT, or an IPv6 address without brackets, got '${value}'`,
        )
      }
      if (!inside.includes(':') && IPV4_LIKE.test(inside)) {
        throw new LineError(column, `ipvsadm drops the port of '${value}': an IPv4 address has no brackets`)
      }
      host = inside
      portText = rest.slice(1)
    }
    const address = await this.#address(host, given, brackets !== null)
    if (portText === undefined) return { address }
    return {
      address,
      port: await this.#port(portText, given, protocol, column + value.length - portText.length),
    }
  }

  async #address(
    host: string,
    { value = '', valueColumn: column, shown }: ShownOption,
    ipv6: boolean,
  ): Promise<string> {
    if (isIPv4(host)) return ownText(host)
    if (isIPv6(host) && ipv6) return canonicalAddress(host)
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
    protocol: 'tcp' | 'udp' | 'sctp' | number,
    column: number,
  ): Promise<number> {
    // Services may begin with a digit, such as 9pfs.
    if (isNumber(text) || text === '') return wholeNumber(text, `the port of ${shown}`, column, 0, 65535)
    const { lookupService } = this.#lookups
    if (lookupService === undefined) {
      throw new LineError(
        column,
        `'${text}' is a service name: give lookupService, or write the port, as \`ipvsadm -Sn\` does`,
      )
    }
    const port =
      typeof protocol === 'number'
        ? undefined
        : await lookedUp('lookupService', text, column, () => lookupService(text, protocol))
    if (port === undefined) throw new LineError(column, `no ${String(protocol)} service '${text}' was found`)
    if (!Number.isInteger(port) || port < 0 || port > 65535) {
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
