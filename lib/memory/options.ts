import { type Policies, policiesOf } from './policies.ts'
import { atLeast, checkVersion, type Feature, featuresOf, type LinuxVersion } from './versions.ts'

/** A network interface of the in-memory kernel. */
export interface MemoryInterface {
  readonly name: string
  /** Default 1500. A backup sync daemon derives the length of its messages from it. */
  readonly mtuBytes?: number
  /** Its addresses with their prefix lengths: '10.0.0.1/24', 'fd00::1/64'. Default none. */
  readonly addresses?: readonly string[]
  /**
   * Whether it is up. The addresses of one that is not count for nothing, and a
   * master sync daemon does not start on it (ENETUNREACH). Default true.
   */
  readonly up?: boolean
}

/** What the in-memory kernel is. */
export interface MemoryKernelOptions {
  /**
   * The version of Linux, from '3.10' to '7.1', default '6.12'. It decides what
   * the kernel lacks, ignores or does otherwise, as docs/kernels.md lists it.
   * 6.1 and 6.12 are compared with the real kernels of these versions; what
   * others have in common is taken from them.
   */
  readonly version?: LinuxVersion
  /**
   * Schedulers that have a module. Default: all that this version has. A name
   * that no version has schedules as 'wlc' does. 'none' needs no module, but Linux 4.2.
   */
  readonly schedulers?: readonly string[]
  /** Persistence engines that have a module. Default ['sip']. */
  readonly persistenceEngines?: readonly string[]
  /** Whether IPVS was built with IPv6. Default true. */
  readonly ipv6?: boolean
  /**
   * The kernel's CONFIG_HZ, 100, 250, 300 or 1000: timeouts have a limit, and
   * those of persistence wrap, at 2^31 and 2^32 divided by it. Default 250.
   */
  readonly hz?: number
  /**
   * Interfaces of the network namespace. Default: `lo` and `eth0` with
   * addresses of both families. With none the kernel takes no IPv4 address for
   * a real server, as in a namespace where no interface is up.
   */
  readonly interfaces?: readonly MemoryInterface[]
  /** Sysctls of net.ipv4.vs that are not at their defaults. */
  readonly sysctls?: Readonly<Record<string, string>>
  /** Whether callers have CAP_NET_ADMIN. Default true. See {@link MemoryKernel.privileged}. */
  readonly privileged?: boolean
  /** Whether the module ip_vs is there. Default true. See {@link MemoryKernel.loaded}. */
  readonly loaded?: boolean
  /** Buckets of the connection table, which `info()` tells. Default 4096. With '7.1' it is 0 while there is no service. */
  readonly connectionTableSize?: number
  /**
   * Whether 64-bit numbers come with padding (PAD attributes), as on
   * architectures without efficient unaligned access. From 4.7 on. Default false.
   */
  readonly padding?: boolean
  /**
   * A real kernel lists services in the order of a hash, which it mixes with a
   * number of each boot and network namespace. 0 to 255, default 0.
   */
  readonly hashSeed?: number
}

/** What every network namespace of one in-memory kernel shares. */
export interface Machine {
  readonly version: LinuxVersion
  readonly features: ReadonlySet<Feature>
  readonly policies: Policies
  readonly schedulers: ReadonlySet<string>
  readonly persistenceEngines: ReadonlySet<string>
  readonly ipv6: boolean
  readonly hz: number
  readonly interfaces: readonly MemoryInterface[]
  readonly sysctls: Readonly<Record<string, string>>
  readonly connectionTableSize: number
  readonly hashSeed: number
  privileged: boolean
  loaded: boolean
}

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq']
const LATER_SCHEDULERS = { fo: '3.18', ovf: '4.3', mh: '4.18', twos: '5.12' }

/** The loopback interface, as it is in a namespace where it is up. */
export const LOOPBACK: MemoryInterface = {
  name: 'lo',
  mtuBytes: 65536,
  addresses: ['127.0.0.1/8', '::1/128'],
}

const ETHERNET: MemoryInterface = { name: 'eth0', addresses: ['192.168.0.2/24', 'fd00::2/64'] }

const OPTIONS: readonly (keyof MemoryKernelOptions)[] = [
  'version',
  'schedulers',
  'persistenceEngines',
  'ipv6',
  'hz',
  'interfaces',
  'sysctls',
  'privileged',
  'loaded',
  'connectionTableSize',
  'padding',
  'hashSeed',
]

/** Fills in the defaults. */
export function machineOf(options: MemoryKernelOptions): Machine {
  for (const name of Object.keys(options)) {
    if (!(OPTIONS as readonly string[]).includes(name)) throw new TypeError(`there is no option '${name}'`)
  }
  const { version = '6.12', hz = 250, hashSeed = 0, connectionTableSize = 4096 } = options
  checkVersion(version)
  const features = featuresOf(version, options.padding ?? false)
  checkNumber('hz', hz, 1, 10_000)
  checkNumber('hashSeed', hashSeed, 0, 255)
  checkNumber('connectionTableSize', connectionTableSize, 0, 2 ** 32 - 1)
  return {
    version,
    features,
    policies: policiesOf(features),
    schedulers: new Set(options.schedulers ?? schedulersOf(version)),
    persistenceEngines: new Set(options.persistenceEngines ?? ['sip']),
    ipv6: options.ipv6 ?? true,
    hz,
    interfaces: options.interfaces ?? [LOOPBACK, ETHERNET],
    sysctls: options.sysctls ?? {},
    connectionTableSize,
    hashSeed,
    privileged: options.privileged ?? true,
    loaded: options.loaded ?? true,
  }
}

function schedulersOf(version: LinuxVersion): string[] {
  const later = Object.entries(LATER_SCHEDULERS).filter(([, since]) => atLeast(version, since))
  return [...SCHEDULERS, ...later.map(([name]) => name)]
}

/** Refuses what is not a whole number in its range. */
export function checkNumber(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} must be a whole number from ${least} to ${most}, got ${String(value)}`)
  }
}
