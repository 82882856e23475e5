import { checkFlagsFit, familyOfService } from '../model/validate.ts'
import type {
  Counter,
  Family,
  Persistence,
  Protocol,
  SchedulerFlag,
  ServiceChanges,
  ServiceKey,
  ServiceSettings,
  ServiceState,
} from '../model/types.ts'
import { familyName, familyNumber, formatAddress, writeAddress } from './address.ts'
import { formatIPv4, parseIPv4Number } from '../model/address.ts'
import { type AttributeReader, type AttributeWriter, malformed } from './attributes.ts'
import { CommandAttribute, IpProtocol, ServiceAttribute, ServiceFlag } from '../model/constants.ts'
import { type CounterKind, decodeStatistics, numbers, type Statistics } from './stats.ts'

/** A virtual service's settings as the kernel's SET wants them: all of them, each time. */
export interface KernelService {
  readonly scheduler: string
  /** IP_VS_SVC_F_*, and in `flagsMask` those of them that count: the kernel keeps the others. */
  readonly flags: number
  readonly flagsMask: number
  /** Kept by the kernel for services that are not persistent too. */
  readonly timeoutSeconds: number
  /** IPv4: the mask, high byte first. IPv6: the prefix length. Kept likewise. */
  readonly netmask: number
  /** '' for none. */
  readonly persistenceEngine: string
}

/** A service as it was read: for people, and for a SET that changes only part of it. */
export interface DecodedService<N extends Counter> {
  readonly state: ServiceState<N>
  readonly kernel: KernelService
}

const SETTABLE_FLAGS =
  ServiceFlag.PERSISTENT |
  ServiceFlag.ONEPACKET |
  ServiceFlag.SCHED1 |
  ServiceFlag.SCHED2 |
  ServiceFlag.SCHED3
const SCHEDULER_FLAGS = ServiceFlag.SCHED1 | ServiceFlag.SCHED2 | ServiceFlag.SCHED3

const DEFAULT_SCHEDULER = 'wlc'
const DEFAULT_PERSISTENCE_SECONDS = 300
const IPV4_HOST_MASK = 0xffffffff
const IPV6_HOST_PREFIX = 128

/** What the kernel gets for a new service: ipvsadm's defaults for what the spec leaves out. */
export function kernelServiceOf(settings: ServiceSettings, family: Family): KernelService {
  return mergeService(
    {
      scheduler: DEFAULT_SCHEDULER,
      flags: 0,
      flagsMask: 0,
      timeoutSeconds: 0,
      netmask: hostMask(family),
      persistenceEngine: '',
    },
    settings,
    family,
    SETTABLE_FLAGS,
  )
}

/**
 * The settings after a change: what is not named stays. Only the flags that are
 * named are in the mask, so those that someone else sets meanwhile stay too.
 *
 * @throws {TypeError} if a scheduler flag is not one of the scheduler's.
 */
export function mergeService(
  current: KernelService,
  changes: ServiceChanges,
  family: Family,
  flagsMask = 0,
): KernelService {
  let { flags, timeoutSeconds, netmask } = current
  const scheduler = changes.scheduler ?? current.scheduler
  if (changes.schedulerFlags !== undefined) {
    checkFlagsFit(changes.schedulerFlags, scheduler)
    flags = (flags & ~SCHEDULER_FLAGS) | flagBits(changes.schedulerFlags)
    flagsMask |= SCHEDULER_FLAGS
  }
  if (changes.onePacket !== undefined) {
    flags = changes.onePacket ? flags | ServiceFlag.ONEPACKET : flags & ~ServiceFlag.ONEPACKET
    flagsMask |= ServiceFlag.ONEPACKET
  }
  if (changes.persistence !== undefined) {
    flagsMask |= ServiceFlag.PERSISTENT
    if (changes.persistence === null) {
      flags &= ~ServiceFlag.PERSISTENT
      timeoutSeconds = 0
      netmask = hostMask(family)
    } else {
      const persistent = (flags & ServiceFlag.PERSISTENT) !== 0
      flags |= ServiceFlag.PERSISTENT
      timeoutSeconds =
        changes.persistence.timeoutSeconds ?? (persistent ? timeoutSeconds : DEFAULT_PERSISTENCE_SECONDS)
      netmask =
        changes.persistence.netmask === undefined
          ? persistent
            ? netmask
            : hostMask(family)
          : kernelNetmask(changes.persistence.netmask, family)
    }
  }
  const persistenceEngine =
    changes.persistenceEngine === undefined ? current.persistenceEngine : (changes.persistenceEngine ?? '')
  return { scheduler, flags, flagsMask, timeoutSeconds, netmask, persistenceEngine }
}

/** Writes IPVS_CMD_ATTR_SERVICE: the identity, and for NEW and SET the settings. */
export function encodeService(writer: AttributeWriter, key: ServiceKey, kernel?: KernelService): void {
  writer.nest(CommandAttribute.SERVICE, () => {
    const family = familyOfService(key)
    writer.u16(ServiceAttribute.AF, familyNumber(family))
    if (key.protocol === 'fwmark') {
      writer.u32(ServiceAttribute.FWMARK, key.fwmark)
    } else {
      writer.u16(ServiceAttribute.PROTOCOL, protocolNumber(key.protocol))
      writeAddress(writer, ServiceAttribute.ADDR, key.address)
      writer.u16be(ServiceAttribute.PORT, key.port)
    }
    if (kernel === undefined) return
    writer.string(ServiceAttribute.SCHED_NAME, kernel.scheduler)
    // The kernel drops the engine on a SET without it.
    if (kernel.persistenceEngine !== '') writer.string(ServiceAttribute.PE_NAME, kernel.persistenceEngine)
    writer.u32pair(ServiceAttribute.FLAGS, kernel.flags & kernel.flagsMask, kernel.flagsMask)
    writer.u32(ServiceAttribute.TIMEOUT, kernel.timeoutSeconds)
    // IPVS_SVC_ATTR_NETMASK means two things. IPv4: the mask in network order.
    // IPv6: a prefix length in the machine's order; ip_vs_add_service() answers
    // EINVAL to one outside 1 to 128.
    if (family === 'ipv6') writer.u32(ServiceAttribute.NETMASK, kernel.netmask)
    else writer.u32be(ServiceAttribute.NETMASK, kernel.netmask)
  })
}

/**
 * Reads the service of a reply to GET_SERVICE, from the reader of its top level.
 *
 * @throws {IpvsError} EBADMSG if there is none, or it has no identity.
 */
export function decodeService<N extends Counter>(
  reader: AttributeReader,
  kind: CounterKind<N>,
): DecodedService<N> {
  if (!reader.enter(CommandAttribute.SERVICE)) throw malformed('no service in it')
  let af = 0
  let protocol = 0
  let port = 0
  let fwmark = 0
  let scheduler = ''
  let flags = 0
  let timeoutSeconds = 0
  let persistenceEngine = ''
  // What these mean depends on AF, and the order of attributes is no promise.
  let addressAt = -1
  let netmaskAt = -1
  // The 32-bit statistics serve only where the kernel sends no others.
  let statsAt = 0
  let statsEnd = 0
  let wide = false
  while (reader.next()) {
    switch (reader.type) {
      case ServiceAttribute.AF:
        af = reader.u16()
        break
      case ServiceAttribute.PROTOCOL:
        protocol = reader.u16()
        break
      case ServiceAttribute.ADDR:
        addressAt = reader.at(16)
        break
      case ServiceAttribute.PORT:
        port = reader.u16be()
        break
      case ServiceAttribute.FWMARK:
        fwmark = reader.u32()
        break
      case ServiceAttribute.SCHED_NAME:
        scheduler = reader.string()
        break
      case ServiceAttribute.FLAGS:
        flags = reader.u32()
        break
      case ServiceAttribute.TIMEOUT:
        timeoutSeconds = reader.u32()
        break
      case ServiceAttribute.NETMASK:
        netmaskAt = reader.at(4)
        break
      case ServiceAttribute.PE_NAME:
        persistenceEngine = reader.string()
        break
      case ServiceAttribute.STATS:
        if (wide) break
        statsAt = reader.start
        statsEnd = statsAt + reader.length
        break
      case ServiceAttribute.STATS64:
        wide = true
        statsAt = reader.start
        statsEnd = statsAt + reader.length
        break
    }
  }
  const family = familyName(af)
  let key: ServiceKey
  if (addressAt >= 0) {
    key = { protocol: protocolName(protocol), address: formatAddress(reader.view, addressAt, af), port }
  } else if (fwmark !== 0) {
    key = { protocol: 'fwmark', fwmark, family }
  } else {
    throw malformed('a service without address and firewall mark')
  }
  // Network order for IPv4, the machine's for IPv6: see encodeService().
  const netmask =
    netmaskAt < 0 ? 0 : reader.view.getUint32(netmaskAt, family === 'ipv6' && reader.littleEndian)
  const kernel = { scheduler, flags, flagsMask: 0, timeoutSeconds, netmask, persistenceEngine }
  const read = decodeStatistics(reader.seek(statsAt, statsEnd), wide, kind)
  return { state: serviceState(key, family, kernel, read), kernel }
}

/** A service that was just added, without asking the kernel. */
export function newService(key: ServiceKey, kernel: KernelService): DecodedService<number> {
  return { state: serviceState(key, familyOfService(key), kernel, numbers.none), kernel }
}

/** A service with other settings than were read. */
export function withSettings<N extends Counter>(
  read: DecodedService<N>,
  kernel: KernelService,
): DecodedService<N> {
  const { key, family } = read.state
  return { state: serviceState(key, family, kernel, read.state), kernel }
}

function serviceState<N extends Counter>(
  key: ServiceKey,
  family: Family,
  kernel: KernelService,
  { stats, rates }: Statistics<N>,
): ServiceState<N> {
  return {
    key,
    family,
    scheduler: kernel.scheduler,
    schedulerFlags: flagNames(kernel.flags, kernel.scheduler),
    onePacket: (kernel.flags & ServiceFlag.ONEPACKET) !== 0,
    ...((kernel.flags & ServiceFlag.PERSISTENT) !== 0 && { persistence: persistenceOf(kernel, family) }),
    ...(kernel.persistenceEngine !== '' && { persistenceEngine: kernel.persistenceEngine }),
    stats,
    rates,
  }
}

function persistenceOf(kernel: KernelService, family: Family): Persistence {
  return {
    timeoutSeconds: kernel.timeoutSeconds,
    netmask: family === 'ipv6' ? kernel.netmask : formatIPv4(kernel.netmask),
  }
}

function hostMask(family: Family): number {
  return family === 'ipv6' ? IPV6_HOST_PREFIX : IPV4_HOST_MASK
}

function kernelNetmask(netmask: string | number, family: Family): number {
  if (typeof netmask === 'string') return parseIPv4Number(netmask)
  if (family === 'ipv6') return netmask
  return netmask === 0 ? 0 : (-1 << (32 - netmask)) >>> 0
}

function protocolNumber(protocol: Protocol): number {
  if (typeof protocol === 'number') return protocol
  return protocol === 'tcp' ? IpProtocol.TCP : protocol === 'udp' ? IpProtocol.UDP : IpProtocol.SCTP
}

function protocolName(protocol: number): Protocol {
  switch (protocol) {
    case IpProtocol.TCP:
      return 'tcp'
    case IpProtocol.UDP:
      return 'udp'
    case IpProtocol.SCTP:
      return 'sctp'
    default:
      return protocol
  }
}

const FLAG_BITS: Readonly<Record<SchedulerFlag, number>> = {
  'flag-1': ServiceFlag.SCHED1,
  'sh-fallback': ServiceFlag.SCHED1,
  'mh-fallback': ServiceFlag.SCHED1,
  'flag-2': ServiceFlag.SCHED2,
  'sh-port': ServiceFlag.SCHED2,
  'mh-port': ServiceFlag.SCHED2,
  'flag-3': ServiceFlag.SCHED3,
}

const NO_FLAGS: readonly SchedulerFlag[] = []

function flagBits(flags: readonly SchedulerFlag[]): number {
  return flags.reduce((bits, flag) => bits | FLAG_BITS[flag], 0)
}

function flagNames(flags: number, scheduler: string): readonly SchedulerFlag[] {
  if ((flags & SCHEDULER_FLAGS) === 0) return NO_FLAGS
  const own = scheduler === 'sh' || scheduler === 'mh' ? scheduler : undefined
  const names: SchedulerFlag[] = []
  if ((flags & ServiceFlag.SCHED1) !== 0) names.push(own === undefined ? 'flag-1' : `${own}-fallback`)
  if ((flags & ServiceFlag.SCHED2) !== 0) names.push(own === undefined ? 'flag-2' : `${own}-port`)
  if ((flags & ServiceFlag.SCHED3) !== 0) names.push('flag-3')
  return names
}
