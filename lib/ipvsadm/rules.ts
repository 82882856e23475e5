import { portOfService } from '../model/address.ts'
import { protocolName } from '../model/protocols.ts'
import { type FlagName, flagFits, isFlagName } from '../model/scheduler-flags.ts'
import type { ForwardingMethod, ServiceKey, Timeouts } from '../model/types.ts'
import type { ServiceProtocol } from './options.ts'

/** Rules that hold wherever lines of ipvsadm are read or written. */

/** The port of a real server: with -g and -i that of the service, whatever the line says. */
export function serverPort(
  service: ServiceKey,
  method: ForwardingMethod,
  port: number = portOfService(service),
): number {
  return method === 'masquerade' || service.protocol === 'fwmark' ? port : portOfService(service)
}

/** The protocol whose services the ports of a virtual service, and of its real servers, may be named after. */
export function portNamesOf(protocol: ServiceProtocol): 'tcp' | 'udp' | 'sctp' {
  return protocol === 'fwmark' ? 'tcp' : protocol
}

/** Whether -o goes with a virtual service. */
export function takesOnePacket(protocol: ServiceKey['protocol']): boolean {
  return protocol === 'fwmark' || protocolName(protocol) === 'udp'
}

/** Reads the value of -b: names for a scheduler. `refuse` makes the error for a name that it lacks; `known`: another has it. */
export function readFlags(
  value: string,
  scheduler: string,
  refuse: (name: string, known: boolean) => Error,
): FlagName[] {
  const flags = new Set<FlagName>()
  for (const name of value.split(',')) {
    if (name === '') continue
    if (!isFlagName(name)) throw refuse(name, false)
    if (!flagFits(name, scheduler)) throw refuse(name, true)
    flags.add(name)
  }
  return [...flags]
}

/** The values of --set, in their order. */
export const TIMEOUT_ORDER = ['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const

/** The timeouts that --set changes: 0 keeps the present one. */
export function timeoutsToSet(seconds: readonly number[]): Partial<Timeouts> {
  return Object.fromEntries(
    TIMEOUT_ORDER.map((name, index) => [name, seconds[index] ?? 0] as const).filter(
      ([, value]) => value !== 0,
    ),
  )
}
