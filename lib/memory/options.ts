import { address, flag, known, object, show, whole } from '../model/check.ts'
import { type Machine, type MemoryInterface } from './machine/machine.ts'
import { atLeast, checkVersion, featuresOf, type LinuxVersion } from './machine/versions.ts'

/** Options of an in-memory kernel. */
export interface MemoryKernelOptions {
  /**
   * The version of Linux, from '3.10' to '7.1', default '6.12'. It decides what the
   * kernel lacks, ignores or does differently, as listed in docs/kernels.md. 6.1
   * and 6.12 are compared with the real kernels of these versions; other versions
   * take from them what they have in common.
   */
  readonly version?: LinuxVersion | undefined
  /**
   * Schedulers that have a module. Default: all that this version has. A name
   * that no version has schedules as 'wlc' does. 'none' needs Linux 4.2 but no module.
   */
  readonly schedulers?: readonly string[] | undefined
  /** Persistence engines that have a module. Default ['sip']. */
  readonly persistenceEngines?: readonly string[] | undefined
  /** Whether IPVS was built with IPv6. Default true. */
  readonly ipv6?: boolean | undefined
  /**
   * The kernel's CONFIG_HZ: 100, 250, 300 or 1000. The limit of timeouts is 2^31
   * divided by it; timeouts of persistence wrap at 2^32 divided by it. Default 250.
   */
  readonly hz?: number | undefined
  /**
   * Interfaces of the network namespace. Default: `lo` and `eth0` with
   * addresses of both families. With none the kernel takes no IPv4 address for
   * a real server, as in a namespace where no interface is up.
   */
  readonly interfaces?: readonly MemoryInterface[] | undefined
  /** Sysctls of net.ipv4.vs that are not at their defaults, such as `{ expire_nodest_conn: 1 }`. */
  readonly sysctls?: Readonly<Record<string, string | number | undefined>> | undefined
  /** Whether callers have CAP_NET_ADMIN. Default true. See {@link MemoryKernel.privileged}. */
  readonly privileged?: boolean | undefined
  /** Whether the module ip_vs is loaded. Default true. See {@link MemoryKernel.loaded}. */
  readonly loaded?: boolean | undefined
  /** Buckets of the connection table, as in `info()`. Default 4096. With '7.1' it is 0 while there is no service. */
  readonly connectionTableSize?: number | undefined
  /**
   * Whether 64-bit numbers come with padding (PAD attributes), as on
   * architectures without efficient unaligned access. From 4.7 on. Default false.
   */
  readonly padding?: boolean | undefined
  /**
   * A real kernel lists services in the order of a hash, which depends on a number
   * that differs for each boot and network namespace. 0 to 255, default 0.
   *
   * @internal
   */
  readonly hashSeed?: number
}

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq']
const LATER_SCHEDULERS = { fo: '3.18', ovf: '4.3', mh: '4.18', twos: '5.12' }

/** The loopback interface of a namespace where it is up. */
const LOOPBACK: MemoryInterface = {
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
  known(object(options, 'the options of a kernel'), OPTIONS, [], 'a kernel')
  const { version = '6.12', hz = 250, hashSeed = 0, connectionTableSize = 4096 } = options
  checkVersion(version)
  const features = featuresOf(version, flag(options.padding ?? false, 'padding'))
  return {
    version,
    features,
    schedulers: new Set(texts(options.schedulers ?? schedulersOf(version), 'schedulers')),
    persistenceEngines: new Set(texts(options.persistenceEngines ?? ['sip'], 'persistenceEngines')),
    ipv6: flag(options.ipv6 ?? true, 'ipv6'),
    hz: whole(hz, 'hz', 1, 10_000),
    interfaces: array(options.interfaces ?? [LOOPBACK, ETHERNET], 'interfaces').map(checkInterface),
    sysctls: options.sysctls,
    connectionTableSize: whole(connectionTableSize, 'connectionTableSize', 0, 2 ** 32 - 1),
    hashSeed: whole(hashSeed, 'hashSeed', 0, 255),
    privileged: flag(options.privileged ?? true, 'privileged'),
    loaded: flag(options.loaded ?? true, 'loaded'),
  }
}

function schedulersOf(version: LinuxVersion): string[] {
  const later = Object.entries(LATER_SCHEDULERS).filter(([, since]) => atLeast(version, since))
  return [...SCHEDULERS, ...later.map(([name]) => name)]
}

function array(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`${field} must be an array, got ${show(value)}`)
  return value as unknown[]
}

function texts(value: unknown, field: string): readonly string[] {
  return array(value, field).map((item, index) => text(item, `${field}[${String(index)}]`))
}

function text(value: unknown, field: string): string {
  if (typeof value !== 'string' || value === '')
    throw new TypeError(`${field} must be a name, got ${show(value)}`)
  return value
}

function checkInterface(value: unknown, index: number): MemoryInterface {
  const field = `interfaces[${String(index)}]`
  const one = object(value, field)
  known(one, ['name', 'mtuBytes', 'addresses', 'up'], [], field)
  const { mtuBytes = 1500, addresses = [], up = true } = one
  return {
    name: text(one.name, `${field}.name`),
    mtuBytes: whole(mtuBytes, `${field}.mtuBytes`, 68, 2147483647),
    addresses: texts(addresses, `${field}.addresses`).map((item, place) =>
      checkNetwork(item, `${field}.addresses[${String(place)}]`),
    ),
    up: flag(up, `${field}.up`),
  }
}

/** An address with the length of its network: '10.0.0.1/24'. */
function checkNetwork(value: string, field: string): string {
  const [host, length, ...rest] = value.split('/')
  const most = address(host, field).includes(':') ? 128 : 32
  if (rest.length > 0 || (length !== undefined && !(/^\d{1,3}$/.test(length) && Number(length) <= most))) {
    throw new RangeError(`${field} must end in a prefix length of 0 to ${String(most)}, got ${show(value)}`)
  }
  return value
}
