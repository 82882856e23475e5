import { show } from '../../model/check.ts'

/**
 * The features of IPVS by the version of Linux that brought them, as far as a
 * program can see them. docs/kernels.md says what they mean for users of the
 * library.
 */
const SINCE = {
  /** Schedulers look at a service's flags SCHED1 to SCHED3, which every kernel stores. */
  schedulerFlags: '3.11',
  /** A real server has a family of its own. */
  mixedFamilies: '3.18',
  /** STATS64. */
  counters64: '4.1',
  /** The scheduler 'none'. */
  noScheduler: '4.2',
  /** A sync daemon's length, group, port and TTL. */
  daemonSettings: '4.3',
  /** PAD in front of 64-bit numbers, if the architecture needs it. */
  padding: '4.7',
  /** TUN_TYPE and TUN_PORT. */
  tunnelTypes: '5.2',
  /** TUN_FLAGS. */
  tunnelFlags: '5.3',
  /** Thresholds below 2^31, which an edit applies at once. A patch of 6.12. */
  newThresholds: '6.12',
  /** One growing table for all services of a namespace; the table of connections is freed when there is no service. */
  growingTables: '7.1',
} as const

export type Feature = keyof typeof SINCE

/** A version such as '5.15'. */
export type LinuxVersion = `${number}.${number}`

/** A version that lacks all of the above, and the last one whose source was read for them. */
const OLDEST = '3.10'
const NEWEST = '7.1'

/** A version as a number that is greater for a later one: 5.15 is 5015. */
function ordinal(version: string): number {
  const [, major, minor] = /^(0|[1-9]\d?)\.(0|[1-9]\d{0,2})$/.exec(version) ?? []
  return Number(major) * 1000 + Number(minor)
}

/** Whether a version has what another version brought. */
export function atLeast(version: LinuxVersion, since: string): boolean {
  return ordinal(version) >= ordinal(since)
}

/** The features of a version; padding only if the architecture needs it. */
export function featuresOf(version: LinuxVersion, padding: boolean): ReadonlySet<Feature> {
  const features = Object.keys(SINCE) as Feature[]
  return new Set(
    features.filter((feature) => atLeast(version, SINCE[feature]) && (feature !== 'padding' || padding)),
  )
}

/** @throws {RangeError} */
export function checkVersion(version: LinuxVersion): void {
  // Callers without types may pass anything, and every comparison with NaN is false.
  if (typeof version !== 'string' || !(atLeast(version, OLDEST) && atLeast(NEWEST, version))) {
    throw new RangeError(
      `version must be a version of Linux from '${OLDEST}' to '${NEWEST}', such as '5.15', got ${show(version)}`,
    )
  }
}
