import { type Feature, type LinuxVersion } from './versions.ts'

/** A network interface of the in-memory kernel. */
export interface MemoryInterface {
  /** Such as 'eth0'. */
  readonly name: string
  /** Default 1500. A backup sync daemon derives the length of its messages from it. */
  readonly mtuBytes?: number | undefined
  /** Its addresses with their prefix lengths: '10.0.0.1/24', 'fd00::1/64'. Default none. */
  readonly addresses?: readonly string[] | undefined
  /**
   * Whether it is up. If not, its addresses do not count, and a master sync daemon
   * does not start on it (ENETUNREACH). Default true.
   */
  readonly up?: boolean | undefined
}

/** Shared by all network namespaces of one in-memory kernel. */
export interface Machine {
  readonly version: LinuxVersion
  readonly features: ReadonlySet<Feature>
  readonly schedulers: ReadonlySet<string>
  readonly persistenceEngines: ReadonlySet<string>
  readonly ipv6: boolean
  readonly hz: number
  readonly interfaces: readonly MemoryInterface[]
  readonly sysctls: Readonly<Record<string, string | number | undefined>> | undefined
  readonly connectionTableSize: number
  readonly hashSeed: number
  privileged: boolean
  loaded: boolean
}
