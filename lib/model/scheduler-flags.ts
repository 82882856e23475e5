import { ServiceFlag } from './constants.ts'
import { UNNAMED_FLAGS } from './ranges.ts'
import type { SchedulerFlag } from './types.ts'

export type FlagName = Exclude<SchedulerFlag, number>

interface NamedFlag {
  readonly bit: number
  /** The only scheduler that has this name for its bit. Absent: every scheduler. */
  readonly scheduler?: string
}

/** The names that <linux/ip_vs.h> has for the flags of schedulers; `ipvsadm -b` takes the same. */
export const SCHEDULER_FLAGS: Readonly<Record<FlagName, NamedFlag>> = {
  'flag-1': { bit: ServiceFlag.SCHED1 },
  'flag-2': { bit: ServiceFlag.SCHED2 },
  'flag-3': { bit: ServiceFlag.SCHED3 },
  'sh-fallback': { bit: ServiceFlag.SCHED1, scheduler: 'sh' },
  'sh-port': { bit: ServiceFlag.SCHED2, scheduler: 'sh' },
  'mh-fallback': { bit: ServiceFlag.SCHED1, scheduler: 'mh' },
  'mh-port': { bit: ServiceFlag.SCHED2, scheduler: 'mh' },
}

export const FLAG_NAMES: readonly FlagName[] = Object.keys(SCHEDULER_FLAGS) as FlagName[]

const BITS: readonly number[] = [...new Set(FLAG_NAMES.map((name) => SCHEDULER_FLAGS[name].bit))]

/** All flags with a name. */
export const SCHEDULER_BITS: number = BITS.reduce((all, bit) => all | bit, 0)

export function isFlagName(name: unknown): name is FlagName {
  return typeof name === 'string' && Object.hasOwn(SCHEDULER_FLAGS, name)
}

/** Whether a scheduler has a flag: 'sh-port' means nothing to mh. */
export function flagFits(flag: SchedulerFlag, scheduler: string): boolean {
  if (typeof flag === 'number') return true
  const { scheduler: only } = SCHEDULER_FLAGS[flag]
  return only === undefined || only === scheduler
}

/** Whether a scheduler has names of its own. */
export function hasOwnNames(scheduler: string): boolean {
  return FLAG_NAMES.some((name) => SCHEDULER_FLAGS[name].scheduler === scheduler)
}

/** IP_VS_SVC_F_* of these flags. */
export function flagBits(flags: readonly SchedulerFlag[]): number {
  return flags.reduce<number>(
    (bits, flag) => bits | (typeof flag === 'number' ? flag : SCHEDULER_FLAGS[flag].bit),
    0,
  )
}

const NO_FLAGS: readonly SchedulerFlag[] = []

/** The flags that are set, by the scheduler's own names where it has some; all without a name are one number. */
export function flagsOf(bits: number, scheduler: string): readonly SchedulerFlag[] {
  const unnamed = (bits & UNNAMED_FLAGS[1]) >>> 0
  if ((bits & SCHEDULER_BITS) === 0 && unnamed === 0) return NO_FLAGS
  const flags: SchedulerFlag[] = BITS.filter((bit) => (bits & bit) !== 0).map((bit) => nameOf(bit, scheduler))
  return unnamed === 0 ? flags : [...flags, unnamed]
}

function nameOf(bit: number, scheduler: string): FlagName {
  const named = (only: string | undefined): FlagName | undefined =>
    FLAG_NAMES.find((name) => SCHEDULER_FLAGS[name].bit === bit && SCHEDULER_FLAGS[name].scheduler === only)
  return named(scheduler) ?? (named(undefined) as FlagName)
}
