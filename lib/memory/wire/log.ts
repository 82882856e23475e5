import { canonicalServerKey } from '../../model/address.ts'
import { AddressFamily, CommandAttribute, DestAttribute, ServiceAttribute } from '../../model/constants.ts'
import { errnoName } from '../../model/errno.ts'
import type { IpvsErrorCode } from '../../model/error-codes.ts'
import { protocolName } from '../../model/protocols.ts'
import type { Endpoint, ServiceKey } from '../../model/types.ts'
import type { Request } from '../../transport/transport.ts'
import { addressOf, addressText } from '../machine/addresses.ts'
import { Refusal } from '../machine/refusal.ts'
import { Attributes, parseAttributes } from './attributes.ts'
import { commandName, type KernelCommand } from './command-names.ts'
import { destPolicy, servicePolicy, topPolicy } from './policies.ts'

/** A request that reached the in-memory kernel. */
export interface LogEntry {
  /** The command of the request; a number if the kernel has no such command. */
  readonly command: KernelCommand | number
  /** The number of the call that sent it: requests with the same number travelled together. */
  readonly call: number
  /** The virtual service it named, if it named one. */
  readonly service?: ServiceKey
  /** The real server it named, if it named one. */
  readonly realServer?: Endpoint
  /** Name of the errno in the answer, such as 'ESRCH'. Absent: it succeeded. */
  readonly code?: IpvsErrorCode
}

/** Describes a request and its outcome. */
export function logEntry(request: Request, call: number, errno: number | undefined): LogEntry {
  const { service, realServer } = subjectOf(request)
  return {
    command: commandName(request.command),
    call,
    ...(service !== undefined && { service }),
    ...(realServer !== undefined && { realServer }),
    ...(errno !== undefined && { code: errnoName(errno) }),
  }
}

function subjectOf({ attributes }: Request): Partial<Pick<LogEntry, 'service' | 'realServer'>> {
  const top = parse(attributes, topPolicy)
  const service = parse(top?.bytes(CommandAttribute.SERVICE), servicePolicy)
  const key = service && serviceKeyOf(service)
  if (service === undefined || key === undefined) return {}
  const dest = parse(top?.bytes(CommandAttribute.DEST), destPolicy)
  const realServer = dest && realServerKeyOf(dest, service.u16(ServiceAttribute.AF))
  return { service: key, ...(realServer !== undefined && { realServer }) }
}

function parse(
  bytes: Uint8Array | undefined,
  policy: Parameters<typeof parseAttributes>[1],
): Attributes | undefined {
  if (bytes === undefined) return undefined
  try {
    return parseAttributes(bytes, policy)
  } catch (error) {
    if (error instanceof Refusal) return undefined
    throw error
  }
}

function serviceKeyOf(nest: Attributes): ServiceKey | undefined {
  const { AF, PROTOCOL, ADDR, PORT, FWMARK } = ServiceAttribute
  const family = nest.u16(AF)
  if (nest.has(FWMARK)) {
    const name = family === AddressFamily.INET6 ? 'ipv6' : 'ipv4'
    return { protocol: 'fwmark', fwmark: nest.u32(FWMARK), family: name }
  }
  if (!nest.has(AF, PROTOCOL, ADDR, PORT)) return undefined
  const number = nest.u16(PROTOCOL)
  const protocol = protocolName(number)
  const address = addressText(family, addressOf(family, nest.padded(ADDR, 16)))
  return { protocol, address, port: nest.u16be(PORT) }
}

function realServerKeyOf(nest: Attributes, serviceFamily: number): Endpoint | undefined {
  const { ADDR, PORT, ADDR_FAMILY } = DestAttribute
  if (!nest.has(ADDR, PORT)) return undefined
  const named = nest.u16(ADDR_FAMILY)
  const family = named === 0 ? serviceFamily : named
  return canonicalServerKey({
    address: addressText(family, addressOf(family, nest.padded(ADDR, 16))),
    port: nest.u16be(PORT),
  })
}
