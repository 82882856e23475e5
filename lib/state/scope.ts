import * as check from '../model/check.ts'
import { serviceName } from '../model/keys.ts'
import type { ServiceKey } from '../model/types.ts'
import { parseAddress } from '../model/address.ts'

/**
 * Which virtual services a state speaks of. What lies outside belongs to
 * another controller: it is never read as wrong, nor touched. A function says
 * so for each; or name addresses and firewall marks.
 */
export type Scope =
  | ((service: ServiceKey) => boolean)
  | {
      /** Addresses, and networks such as '192.0.2.0/24' or '2001:db8::/32', of virtual services. Default none. */
      readonly addresses?: readonly string[]
      /** Firewall marks, of both families. Default none. */
      readonly fwmarks?: readonly number[]
    }

export type ScopeTest = ((service: ServiceKey) => boolean) | undefined

/** Checks a scope and gives the test that it stands for; `undefined` is everything. */
export function scopeTest(scope: unknown): ScopeTest {
  if (scope === undefined) return undefined
  if (typeof scope === 'function') {
    const test = scope as (service: ServiceKey) => boolean
    // A copy: what the caller writes in it is not sent.
    return (key) => test({ ...key })
  }
  const fields = check.object(scope, 'scope')
  check.known(fields, ['addresses', 'fwmarks'], [], 'scope')
  const { addresses = [], fwmarks = [] } = fields
  if (!Array.isArray(addresses) || !Array.isArray(fwmarks)) {
    throw new TypeError('scope.addresses and scope.fwmarks must be arrays')
  }
  const networks = addresses.map((text, index) => parseNetwork(text, `scope.addresses[${String(index)}]`))
  const marks = new Set(
    fwmarks.map((mark, index) => check.whole(mark, `scope.fwmarks[${String(index)}]`, 1, 0xffffffff)),
  )
  return (key) => {
    if (key.protocol === 'fwmark') return marks.has(key.fwmark)
    if (networks.length === 0) return false
    const address = parseAddress(key.address)
    const ipv6 = key.address.includes(':')
    return networks.some((network) => network.ipv6 === ipv6 && startsWith(address, network))
  }
}

/** Whether a service is inside. A function of the caller's that gives something else than true or false is refused. */
export function inScope(scope: ScopeTest, key: ServiceKey): boolean {
  if (scope === undefined) return true
  const inside: unknown = scope(key)
  if (typeof inside !== 'boolean') {
    throw new TypeError(`scope must give true or false, got ${check.show(inside)} for ${serviceName(key)}`)
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
