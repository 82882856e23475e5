import { familyOfService, formatIPv4, parseIPv4Number } from './address.ts'
import { ServiceFlag } from './constants.ts'
import { DEFAULT_NETMASK, DEFAULT_PERSISTENCE_SECONDS, DEFAULT_SCHEDULER } from './defaults.ts'
import { UNNAMED_FLAGS } from './ranges.ts'
import { flagBits, flagsOf, SCHEDULER_BITS } from './scheduler-flags.ts'
import { NO_STATISTICS, type Statistics } from './statistics.ts'
import {
  type Counter,
  type Family,
  type Persistence,
  type ServiceChanges,
  type ServiceKey,
  type ServiceSettings,
  type ServiceSpec,
  type ServiceState,
} from './types.ts'
import { checkFlagsFit } from './validate.ts'

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

const SETTABLE_FLAGS = ServiceFlag.PERSISTENT | ServiceFlag.ONEPACKET | SCHEDULER_BITS

/** All flags that can be set, for a service that must become what a state says. Every kernel keeps those without a name. */
export const ALL_FLAGS: number = (SETTABLE_FLAGS | UNNAMED_FLAGS[1]) >>> 0

/** The default netmask as the kernel has it. */
const HOST_MASKS: Readonly<Record<Family, number>> = {
  ipv4: kernelNetmask(DEFAULT_NETMASK.ipv4, 'ipv4'),
  ipv6: kernelNetmask(DEFAULT_NETMASK.ipv6, 'ipv6'),
}

/** The settings of a new service for the kernel, with ipvsadm's defaults for absent fields. */
export function kernelServiceOf(
  settings: ServiceSettings,
  family: Family,
  flagsMask: number = SETTABLE_FLAGS,
): KernelService {
  return mergeService(
    {
      scheduler: DEFAULT_SCHEDULER,
      flags: 0,
      flagsMask: 0,
      timeoutSeconds: 0,
      netmask: HOST_MASKS[family],
      persistenceEngine: '',
    },
    settings,
    family,
    flagsMask,
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
    flags = (flags & ~SCHEDULER_BITS) | flagBits(changes.schedulerFlags)
    flagsMask |= SCHEDULER_BITS
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
      netmask = HOST_MASKS[family]
    } else {
      const persistent = (flags & ServiceFlag.PERSISTENT) !== 0
      flags |= ServiceFlag.PERSISTENT
      timeoutSeconds =
        changes.persistence.timeoutSeconds ?? (persistent ? timeoutSeconds : DEFAULT_PERSISTENCE_SECONDS)
      netmask =
        changes.persistence.netmask === undefined
          ? persistent
            ? netmask
            : HOST_MASKS[family]
          : kernelNetmask(changes.persistence.netmask, family)
    }
  }
  const persistenceEngine =
    changes.persistenceEngine === undefined ? current.persistenceEngine : (changes.persistenceEngine ?? '')
  return { scheduler, flags, flagsMask, timeoutSeconds, netmask, persistenceEngine }
}

/** A service that was just added, without asking the kernel. */
export function newService(key: ServiceKey, kernel: KernelService): DecodedService<number> {
  return { state: serviceState(key, familyOfService(key), kernel, NO_STATISTICS), kernel }
}

/** A service with other settings than were read. */
export function withServiceSettings<N extends Counter>(
  read: DecodedService<N>,
  kernel: KernelService,
): DecodedService<N> {
  const { key, family } = read.state
  return { state: serviceState(key, family, kernel, read.state), kernel }
}

export function serviceState<N extends Counter>(
  key: ServiceKey,
  family: Family,
  kernel: KernelService,
  { stats, rates }: Statistics<N>,
): ServiceState<N> {
  return {
    key,
    family,
    scheduler: kernel.scheduler,
    schedulerFlags: flagsOf(kernel.flags, kernel.scheduler),
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

function kernelNetmask(netmask: string | number, family: Family): number {
  if (typeof netmask === 'string') return parseIPv4Number(netmask)
  if (family === 'ipv6') return netmask
  return netmask === 0 ? 0 : (-1 << (32 - netmask)) >>> 0
}

/** The spec that would add a service again: no counters, no field that has its default. */
export function specOfService(state: Omit<ServiceState<Counter>, 'family' | 'stats' | 'rates'>): ServiceSpec {
  return {
    ...state.key,
    scheduler: state.scheduler,
    ...(state.schedulerFlags.length > 0 && { schedulerFlags: state.schedulerFlags }),
    ...(state.onePacket && { onePacket: true }),
    ...(state.persistence !== undefined && { persistence: state.persistence }),
    ...(state.persistenceEngine !== undefined && { persistenceEngine: state.persistenceEngine }),
  }
}

/** The spec that a service reads back as once it is added. */
export function completeService(key: ServiceKey, settings: ServiceSettings): ServiceSpec {
  const kernel = kernelServiceOf(settings, familyOfService(key))
  return specOfService(newService(key, kernel).state)
}
