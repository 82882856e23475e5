import { canonicalAddress, familyOfAddress } from '../model/address.ts'
import { address, show, whole, wrong } from '../model/check.ts'
import { PREFIX_IPV4 } from '../model/ranges.ts'

/** Checks of what gets into a script: nothing else than these words may be in it. */

/** Fewer characters than the kernel allows: a script needs no quotes then. */
const INTERFACE = /^(?!\.{1,2}$)[\w.@+=][\w.@+=-]{0,14}$/

export function checkInterface(value: string, field = 'interface'): string {
  if (!INTERFACE.test(value))
    throw wrong(field, value, 'the name of a network interface: 1 to 15 letters, digits and .@+=_-')
  return value
}

export function checkAddress(value: string, field: string): string {
  return canonicalAddress(address(value, field))
}

/** An address and the length of its prefix. */
export function checkNetwork(value: string, field: string): string {
  const [, base = '', length = ''] = /^([^/]*)\/(\d{1,3})$/.exec(value) ?? []
  if (base === '') throw wrong(field, value, "a network such as '192.0.2.0/24'")
  const checked = checkAddress(base, field)
  const most = familyOfAddress(checked) === 'ipv4' ? PREFIX_IPV4[1] : 128
  return `${checked}/${String(whole(Number(length), `the length of ${field}`, 1, most))}`
}

/** Ports that a firewall marks: `80`, `5000-5010`, `53/udp`. */
export interface MarkedPorts {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  /** A port, or the first and the last: `5000-5010`. */
  readonly ports: readonly string[]
}

/** By their protocol, in the order of their first. */
export function checkPorts(words: readonly string[], field: string): MarkedPorts[] {
  const all = new Map<MarkedPorts['protocol'], string[]>()
  for (const word of words) {
    const [, first = '', last = first, protocol = 'tcp'] =
      /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(word) ?? []
    if (first === '' || Number(first) < 1 || Number(last) > 65535 || Number(first) > Number(last))
      throw new TypeError(
        `${field} must be ports 1 to 65535, such as '80', '5000-5010' or '53/udp', got ${show(word)}`,
      )
    const key = protocol as MarkedPorts['protocol']
    const range = first === last ? String(Number(first)) : `${String(Number(first))}-${String(Number(last))}`
    all.set(key, [...(all.get(key) ?? []), range])
  }
  return [...all].map(([protocol, ports]) => ({ protocol, ports }))
}
