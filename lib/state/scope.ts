import { parseAddress } from '../model/address.ts'
import * as check from '../model/check.ts'
import { serviceKeyOf, serviceName } from '../model/keys.ts'
import type { ServiceKey } from '../model/types.ts'

/**
 * Which virtual services a state speaks of. Services outside belong to another
 * controller: they are never taken for wrong, nor touched. Give a function that
 * answers for each service, or addresses, firewall marks and services.
 */
export type Scope =
  | ((service: ServiceKey) => boolean)
  | {
      /** Addresses, and networks such as '192.0.2.0/24' or '2001:db8::/32', of virtual services. Default none. */
      readonly addresses?: readonly string[] | undefined
      /** Firewall marks. Each means two services, that of IPv4 and that of IPv6 packets. Default none. */
      readonly fwmarks?: readonly number[] | undefined
      /**
       * Single services, as `parseServiceKey()` reads them or as objects:
       * 'tcp/192.0.2.1:80', 'fwmark6/5'. A mark here is of one family; 'fwmark/5' is
       * that of IPv4 packets alone. Default none.
       */
      readonly services?: readonly (ServiceKey | string)[] | undefined
    }

export type ScopeTest = ((service: ServiceKey) => boolean) | undefined

/** Checks a scope and gives its test; `undefined` is everything. */
export function scopeTest(scope: unknown): ScopeTest {
  if (scope === undefined) return undefined
  if (typeof scope === 'function') {
    const test = scope as (service: ServiceKey) => boolean
    // A copy: what the caller writes in it is not sent.
    return (key) => test({ ...key })
  }
  const fields = check.object(scope, 'scope')
  check.known(fields, SCOPE_FIELDS, [], 'scope')
  const [addresses, fwmarks, services] = SCOPE_FIELDS.map((name) => {
    const list = fields[name] ?? []
    if (!Array.isArray(list)) throw new TypeError(`scope.${name} must be an array, got ${check.show(list)}`)
    return list as unknown[]
  }) as [unknown[], unknown[], unknown[]]
  const networks = addresses.map((text, index) => parseNetwork(text, `scope.addresses[${String(index)}]`))
  const marks = new Set(
    fwmarks.map((mark, index) => check.whole(mark, `scope.fwmarks[${String(index)}]`, 1, 0xffffffff)),
  )
  const names = new Set(services.map((one, index) => nameOf(one, `scope.services[${String(index)}]`)))
  return (key) => {
    if (names.size > 0 && names.has(serviceName(key))) return true
    if (key.protocol === 'fwmark') return marks.has(key.fwmark)
    if (networks.length === 0) return false
    const address = parseAddress(key.address)
    const ipv6 = key.address.includes(':')
    return networks.some((network) => network.ipv6 === ipv6 && startsWith(address, network))
  }
}

const SCOPE_FIELDS = ['addresses', 'fwmarks', 'services'] as const

/** The name of a service that is given as text or as an object. */
function nameOf(service: unknown, field: string): string {
  try {
    return serviceName(serviceKeyOf(service))
  } catch (error) {
    const { message } = error as Error
    throw new (error instanceof RangeError ? RangeError : TypeError)(`${field}: ${message}`, { cause: error })
  }
}

/** Whether a service is inside. Refuses an answer of the caller's function that is neither true nor false. */
export function inScope(scope: ScopeTest, key: ServiceKey): boolean {
  if (scope === undefined) return true
  const inside: unknown = scope(key)
  if (typeof inside !== 'boolean') {
    throw new TypeError(`scope must return true or false, got ${check.show(inside)} for ${serviceName(key)}`)
  }
  return inside
}

interface Network {
  readonly bytes: Uint8Array
  readonly bits: number
  readonly ipv6: boolean
}

function parseNetwork(text: unknown, field: string): Network {
  const [address, prefix, ...rest] = typeof text === 'string' ? text.split('/') : [undefined]
  if (address === undefined || rest.length > 0) {
    throw new TypeError(
      `${field} must be an address or a network such as '192.0.2.0/24', got ${check.show(text)}`,
    )
  }
  check.address(address, field)
  const ipv6 = address.includes(':')
  const most = ipv6 ? 128 : 32
  const length = prefix !== undefined && /^\d{1,3}$/.test(prefix) ? Number(prefix) : prefix
  const bits = check.whole(length ?? most, `${field}: its prefix length`, 0, most)
  const bytes = parseAddress(address)
  return { bytes, bits, ipv6 }
}

function startsWith(address: Uint8Array, { bytes, bits }: Network): boolean {
  for (let at = 0; at * 8 < bits; at++) {
    const left = bits - at * 8
    const mask = left >= 8 ? 255 : (255 << (8 - left)) & 255
    if ((((address[at] ?? 0) ^ (bytes[at] ?? 0)) & mask) !== 0) return false
  }
  return true
}
