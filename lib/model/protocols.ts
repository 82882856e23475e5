import { IpProtocol } from './constants.ts'
import type { Protocol } from './types.ts'

/** A protocol that the kernel balances. */
export type NamedProtocol = Exclude<Protocol, number>

const NUMBERS: Readonly<Record<NamedProtocol, number>> = {
  tcp: IpProtocol.TCP,
  udp: IpProtocol.UDP,
  sctp: IpProtocol.SCTP,
}

export const PROTOCOL_NAMES: readonly NamedProtocol[] = Object.keys(NUMBERS) as NamedProtocol[]

const NAMES: Readonly<Record<number, NamedProtocol>> = Object.fromEntries(
  PROTOCOL_NAMES.map((name) => [NUMBERS[name], name]),
)

/** The IP protocol number. */
export function protocolNumber(protocol: Protocol): number {
  return typeof protocol === 'number' ? protocol : NUMBERS[protocol]
}

/** The protocol as it is read back: by its name if it has one. */
export function protocolName(protocol: Protocol): Protocol {
  return typeof protocol === 'number' ? (NAMES[protocol] ?? protocol) : protocol
}
