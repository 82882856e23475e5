import {
  AddressFamily,
  Command,
  CommandAttribute,
  DaemonAttribute,
  DestAttribute,
  ForwardMethod,
  ServiceAttribute,
} from '../../model/constants.ts'
import { Errno } from '../../model/errno.ts'
import { addressOf, IPV4_BYTES } from '../machine/addresses.ts'
import type { DaemonRequest } from '../machine/daemons.ts'
import type { Namespace } from '../machine/namespace.ts'
import { Refusal, refuse } from '../machine/refusal.ts'
import {
  type Dest,
  type DestIdentity,
  type DestSettings,
  fwmarkIdentity,
  type ServiceIdentity,
  type VirtualService,
  type VirtualServiceSettings,
} from '../machine/table.ts'
import { Attributes, LEFTOVER_TEXT, parseAttributes, POLICY_TEXT } from './attributes.ts'
import type { Policies } from './policies.ts'
import { servicePolicy, topPolicy } from './policies.ts'
import type { ReplyWriter } from './replies.ts'

/**
 * The commands of ip_vs (ip_vs_genl_ops): they read a request, check it in the
 * kernel's order, and do it. All refuse by throwing.
 */

/** The objects that a command works on. */
export interface Context {
  /** The kernel's policies for attributes. */
  readonly policies: Policies
  readonly namespace: Namespace
  readonly writer: ReplyWriter
  /** The kernel's words beside an errno (NLMSGERR_ATTR_MSG). */
  remark?: string
}

/** A request that is done in one go. Returns the message that answers it, if there is one. */
type Do = (context: Context, request: Attributes) => Uint8Array | undefined

/** Commands in the mode "do", by number. */
const DO: ReadonlyMap<number, Do> = new Map<number, Do>([
  [Command.NEW_SERVICE, newService],
  [Command.SET_SERVICE, setService],
  [Command.DEL_SERVICE, deleteService],
  [Command.GET_SERVICE, getService],
  [Command.NEW_DEST, newDest],
  [Command.SET_DEST, setDest],
  [Command.DEL_DEST, deleteDest],
  [Command.NEW_DAEMON, newDaemon],
  [Command.DEL_DAEMON, deleteDaemon],
  [Command.SET_CONFIG, setConfig],
  [Command.GET_CONFIG, ({ namespace, writer }) => writer.config(namespace.timeouts)],
  [Command.GET_INFO, getInfo],
  [Command.ZERO, zero],
  [Command.FLUSH, flush],
])

/** The entries that a dump lists at the moment, each as a function that writes its message. */
type DumpList = readonly (() => Uint8Array)[]

/** Lists the current entries: once for each piece of a dump. */
type Look = () => DumpList

/** Commands in the mode "dump", by number: each starts a dump. */
const DUMP: ReadonlyMap<number, (context: Context, attributes: Uint8Array) => Look> = new Map<
  number,
  (context: Context, attributes: Uint8Array) => Look
>([
  [Command.GET_SERVICE, dumpServices],
  [Command.GET_DEST, dumpDests],
  [Command.GET_DAEMON, dumpDaemons],
])

/** Does one request. */
export function execute(context: Context, command: number, attributes: Uint8Array): Uint8Array | undefined {
  const handler = DO.get(command) ?? refuse(Errno.EOPNOTSUPP)
  if (!context.namespace.machine.privileged) refuse(Errno.EPERM)
  const request = parseAttributes(attributes, topPolicy)
  const asked = { ...context, ...(request.leftover && { remark: LEFTOVER_TEXT }) }
  try {
    return handler(asked, request)
  } catch (error) {
    if (error instanceof Refusal) refuse(error.errno, error.text ?? asked.remark)
    throw error
  }
}

/** Starts a dump. */
export function startDump(context: Context, command: number, attributes: Uint8Array): Look {
  const start = DUMP.get(command) ?? refuse(Errno.EOPNOTSUPP)
  if (!context.namespace.machine.privileged) refuse(Errno.EPERM)
  return start(context, attributes)
}

// Services

function newService({ namespace }: Context, request: Attributes): undefined {
  const { identity, nest } = parseService(namespace, request)
  const existing = namespace.services.find(identity)
  const settings = parseServiceSettings(namespace, nest, existing)
  if (existing !== undefined) refuse(Errno.EEXIST)
  checkServiceSettings(namespace, identity, settings)
  namespace.addService(identity, settings)
}

function setService({ namespace }: Context, request: Attributes): undefined {
  const { identity, nest } = parseService(namespace, request)
  const existing = namespace.services.find(identity)
  const settings = parseServiceSettings(namespace, nest, existing)
  const service = existing ?? refuse(Errno.ESRCH)
  checkServiceSettings(namespace, identity, settings)
  namespace.editService(service, settings)
}

function deleteService({ namespace }: Context, request: Attributes): undefined {
  namespace.deleteService(findService(namespace, request))
}

function getService({ namespace, writer }: Context, request: Attributes): Uint8Array {
  return writer.service(findService(namespace, request), namespace.machine.hz, false)
}

function zero({ namespace }: Context, request: Attributes): undefined {
  const one = request.has(CommandAttribute.SERVICE)
  const services = one ? [findService(namespace, request)] : [...namespace.services]
  if (!one) namespace.totals.zero()
  for (const { counters, dests } of services) {
    counters.zero()
    for (const dest of dests) dest.counters.zero()
  }
}

function flush({ namespace }: Context): undefined {
  for (const service of [...namespace.services]) namespace.deleteService(service)
}

function findService(namespace: Namespace, request: Attributes): VirtualService {
  return namespace.services.find(parseService(namespace, request).identity) ?? refuse(Errno.ESRCH)
}

interface ParsedService {
  readonly identity: ServiceIdentity
  readonly nest: Attributes
}

/** The identity of a service (ip_vs_genl_parse_service()). */
function parseService({ machine }: Namespace, request: Attributes): ParsedService {
  const nest = parseNest(request, CommandAttribute.SERVICE, servicePolicy)
  const { AF, PROTOCOL, ADDR, PORT, FWMARK } = ServiceAttribute
  if (!nest.has(AF) || !(nest.has(FWMARK) || nest.has(PROTOCOL, ADDR, PORT))) refuse(Errno.EINVAL)
  const family = nest.u16(AF)
  if (!isFamily(family, machine.ipv6)) refuse(Errno.EAFNOSUPPORT)
  if (nest.has(FWMARK)) return { identity: fwmarkIdentity(family, nest.u32(FWMARK)), nest }
  const address = addressOf(family, nest.padded(ADDR, 16))
  return {
    identity: { family, protocol: nest.u16(PROTOCOL), address, port: nest.u16be(PORT), fwmark: 0 },
    nest,
  }
}

function parseServiceSettings(
  { machine }: Namespace,
  nest: Attributes,
  existing: VirtualService | undefined,
): VirtualServiceSettings {
  const { AF, SCHED_NAME, FLAGS, TIMEOUT, NETMASK, PE_NAME } = ServiceAttribute
  if (!nest.has(SCHED_NAME, FLAGS, TIMEOUT, NETMASK)) refuse(Errno.EINVAL)
  const both = new Attributes(
    new Map([
      [0, nest.padded(FLAGS, 8)],
      [1, nest.padded(FLAGS, 8).subarray(4)],
    ]),
  )
  const flags = both.u32(0)
  const mask = both.u32(1)
  return {
    scheduler: nest.text(SCHED_NAME),
    flags: (((existing?.settings.flags ?? 0) & ~mask) | (flags & mask)) >>> 0,
    timeoutTicks: Number((BigInt(nest.u32(TIMEOUT)) * BigInt(machine.hz)) % 2n ** 32n),
    netmask: nest.u16(AF) === AddressFamily.INET6 ? nest.u32(NETMASK) : nest.u32be(NETMASK),
    persistenceEngine: nest.text(PE_NAME),
  }
}

/** The checks of ip_vs_add_service() and ip_vs_edit_service(). */
function checkServiceSettings(
  { machine }: Namespace,
  { family }: ServiceIdentity,
  { scheduler, persistenceEngine, netmask }: VirtualServiceSettings,
): void {
  const without = scheduler === 'none' && machine.features.has('noScheduler')
  if (!without && !machine.schedulers.has(scheduler)) refuse(Errno.ENOENT)
  if (persistenceEngine !== '' && !machine.persistenceEngines.has(persistenceEngine)) refuse(Errno.ENOENT)
  if (family === AddressFamily.INET6 && (netmask < 1 || netmask > 128)) refuse(Errno.EINVAL)
}

function dumpServices({ namespace, writer }: Context): Look {
  const { hz } = namespace.machine
  return () => [...namespace.services].map((service) => () => writer.service(service, hz, true))
}

// Real servers

function newDest(context: Context, request: Attributes): undefined {
  const { service, identity, settings, existing } = parseWholeDest(context, request)
  if (existing !== undefined) refuse(Errno.EEXIST)
  context.namespace.addDest(service, identity, settings)
}

function setDest(context: Context, request: Attributes): undefined {
  const { settings, existing } = parseWholeDest(context, request)
  context.namespace.editDest(existing ?? refuse(Errno.ENOENT), settings)
}

/** A real server with its settings, checked as both NEW and SET check it. */
function parseWholeDest(
  context: Context,
  request: Attributes,
): {
  readonly service: VirtualService
  readonly identity: DestIdentity
  readonly settings: DestSettings
  readonly existing: Dest | undefined
} {
  const { namespace } = context
  const service = findService(namespace, request)
  const { identity, nest } = parseDest(context, service, request, true)
  checkFamilies(namespace, service, identity, nest)
  const settings = destSettings(nest)
  checkDestSettings(namespace, settings)
  return { service, identity, settings, existing: service.dest(identity) }
}

function deleteDest(context: Context, request: Attributes): undefined {
  const { namespace } = context
  const service = findService(namespace, request)
  const { identity } = parseDest(context, service, request, false)
  namespace.deleteDest(service.dest(identity) ?? refuse(Errno.ENOENT))
}

/** The identity of a real server (ip_vs_genl_parse_dest()). */
function parseDest(
  { namespace: { machine }, policies }: Context,
  service: VirtualService,
  request: Attributes,
  full: boolean,
): { readonly identity: DestIdentity; readonly nest: Attributes } {
  const nest = parseNest(request, CommandAttribute.DEST, policies.dest)
  const { ADDR, PORT, FWD_METHOD, WEIGHT, U_THRESH, L_THRESH, ADDR_FAMILY } = DestAttribute
  if (!nest.has(ADDR, PORT)) refuse(Errno.EINVAL)
  if (full && !nest.has(FWD_METHOD, WEIGHT, U_THRESH, L_THRESH)) refuse(Errno.EINVAL)
  const named = nest.u16(ADDR_FAMILY)
  const family = named === 0 ? service.identity.family : named
  if (!isFamily(family, machine.ipv6)) refuse(Errno.EAFNOSUPPORT)
  return {
    identity: { family, address: addressOf(family, nest.padded(ADDR, 16)), port: nest.u16be(PORT) },
    nest,
  }
}

/** Only tunnels can lead to another family, and only while no sync daemon runs. */
function checkFamilies(
  { daemons }: Namespace,
  service: VirtualService,
  { family }: DestIdentity,
  nest: Attributes,
): void {
  if (family === service.identity.family) return
  if (daemons.running.length > 0) refuse(Errno.EINVAL)
  if (methodOf(nest) !== ForwardMethod.TUNNEL) refuse(Errno.EINVAL)
}

function methodOf(nest: Attributes): number {
  return nest.u32(DestAttribute.FWD_METHOD) & ForwardMethod.FWD_MASK
}

function destSettings(nest: Attributes): DestSettings {
  return {
    method: methodOf(nest),
    weight: nest.u32(DestAttribute.WEIGHT) | 0,
    upperThreshold: nest.u32(DestAttribute.U_THRESH),
    lowerThreshold: nest.u32(DestAttribute.L_THRESH),
    tunnelType: nest.u8(DestAttribute.TUN_TYPE),
    tunnelPort: nest.u16be(DestAttribute.TUN_PORT),
    tunnelFlags: nest.u16(DestAttribute.TUN_FLAGS),
  }
}

const GUE = 1

/** The checks of ip_vs_add_dest() and ip_vs_edit_dest(). */
function checkDestSettings({ machine }: Namespace, settings: DestSettings): void {
  const { weight, upperThreshold, lowerThreshold, tunnelType, tunnelPort } = settings
  if (weight < 0 || lowerThreshold > upperThreshold) refuse(Errno.ERANGE)
  if (machine.features.has('newThresholds') && upperThreshold > 0x7fffffff) refuse(Errno.EINVAL)
  if (tunnelType === GUE && tunnelPort === 0) refuse(Errno.EINVAL)
}

/** A service that is not found, or not named properly, lists no real servers without an error (ip_vs_genl_dump_dests()). */
function dumpDests({ namespace, writer }: Context, attributes: Uint8Array): Look {
  let identity: ServiceIdentity
  try {
    identity = findService(namespace, parseAttributes(attributes, topPolicy)).identity
  } catch (error) {
    if (error instanceof Refusal) return () => []
    throw error
  }
  return () => (namespace.services.find(identity)?.dests ?? []).map((dest) => () => writer.dest(dest))
}

// Sync daemons

/** Here the kernel says in words what is wrong, unlike for services and real servers. */
function parseDaemon(context: Context, request: Attributes): Attributes {
  const { policies } = context
  const nest = parseNest(request, CommandAttribute.DAEMON, policies.daemon, POLICY_TEXT)
  if (nest.leftover) context.remark = LEFTOVER_TEXT
  return nest
}

function newDaemon(context: Context, request: Attributes): undefined {
  const { namespace } = context
  const { STATE, MCAST_IFN, SYNC_ID, SYNC_MAXLEN, MCAST_PORT, MCAST_TTL } = DaemonAttribute
  const nest = parseDaemon(context, request)
  if (!nest.has(STATE, MCAST_IFN, SYNC_ID)) refuse(Errno.EINVAL)
  const daemon: DaemonRequest = {
    state: nest.u32(STATE),
    interfaceName: nest.text(MCAST_IFN),
    syncId: nest.u32(SYNC_ID),
    maxLengthBytes: nest.u16(SYNC_MAXLEN),
    port: nest.u16(MCAST_PORT),
    ttl: nest.u8(MCAST_TTL),
    ...parseGroup(nest),
  }
  if (namespace.hasMixedFamilies) refuse(Errno.EINVAL)
  namespace.daemons.start(daemon, namespace.machine.interfaces)
}

/** The group of a daemon; an IPv4 one comes first. */
function parseGroup(nest: Attributes): { family: number; group: Uint8Array } | undefined {
  const { MCAST_GROUP, MCAST_GROUP6 } = DaemonAttribute
  if (nest.has(MCAST_GROUP)) {
    const group = addressOf(AddressFamily.INET, nest.padded(MCAST_GROUP, IPV4_BYTES))
    if ((group[0] as number) >> 4 !== 0xe) refuse(Errno.EINVAL)
    return { family: AddressFamily.INET, group }
  }
  if (!nest.has(MCAST_GROUP6)) return undefined
  const group = nest.padded(MCAST_GROUP6, 16)
  if (group[0] !== 0xff) refuse(Errno.EINVAL)
  return { family: AddressFamily.INET6, group }
}

function deleteDaemon(context: Context, request: Attributes): undefined {
  const nest = parseDaemon(context, request)
  if (!nest.has(DaemonAttribute.STATE)) refuse(Errno.EINVAL)
  context.namespace.daemons.stop(nest.u32(DaemonAttribute.STATE))
}

function dumpDaemons({ namespace, writer }: Context): Look {
  return () => namespace.daemons.running.map((daemon) => () => writer.daemon(daemon))
}

// The kernel as a whole

function getInfo({ namespace, writer }: Context): Uint8Array {
  const { connectionTableSize, features } = namespace.machine
  const none = features.has('growingTables') && namespace.services.size === 0
  return writer.info(none ? 0 : connectionTableSize)
}

function setConfig({ namespace }: Context, request: Attributes): undefined {
  const { TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP } = CommandAttribute
  namespace.timeouts.set(
    request.u32(TIMEOUT_TCP),
    request.u32(TIMEOUT_TCP_FIN),
    request.u32(TIMEOUT_UDP),
    namespace.machine.hz,
  )
}

/** A nest of the request. If it is missing or broken in any way, that is EINVAL. */
function parseNest(
  request: Attributes,
  type: number,
  policy: Parameters<typeof parseAttributes>[1],
  text?: string,
): Attributes {
  const bytes = request.bytes(type) ?? refuse(Errno.EINVAL)
  try {
    return parseAttributes(bytes, policy)
  } catch (error) {
    if (error instanceof Refusal) refuse(Errno.EINVAL, text)
    throw error
  }
}

function isFamily(family: number, ipv6: boolean): boolean {
  return family === AddressFamily.INET || (family === AddressFamily.INET6 && ipv6)
}
