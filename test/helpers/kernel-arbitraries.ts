import { SocketAddress } from 'node:net'
import fc from 'fast-check'
import type {
  FwmarkServiceKey,
  PersistenceSpec,
  RealServerSpec,
  SchedulerFlag,
  ServiceSpec,
  Tunnel,
} from '../../lib/model/types.ts'
import { kernelSince } from './kernel.ts'

/**
 * Random virtual services and real servers over all that the kernel takes, and
 * what each must read back as. The second is worked out here from the
 * documentation of lib/model/types.ts, not by the library.
 */

/** A virtual service with its real servers, as they are asked for. */
export interface Rules {
  readonly service: ServiceSpec
  readonly realServers: readonly RealServerSpec[]
}

/** The same as toJSON() must give it. */
export interface CanonicalRules {
  readonly service: ServiceSpec
  readonly realServers: readonly RealServerSpec[]
}

/** Schedulers that Debian's kernels have as modules, and none. `ip_vs_twos` is missing in User Mode Linux. */
export const SCHEDULERS: readonly string[] = [
  ...['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh', 'none'],
  ...(kernelSince(6, 12) ? ['twos'] : []),
]

const INT_MAX = 2147483647

/** Numbers where it is easy to go wrong, besides any other. */
function numberUpTo(most: number, least = 0): fc.Arbitrary<number> {
  const edges = [
    least,
    least + 1,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2 ** 31 - 1,
    2 ** 31,
    most - 1,
    most,
  ]
  return fc.oneof(
    { weight: 1, arbitrary: fc.constantFrom(...edges.filter((edge) => edge >= least && edge <= most)) },
    { weight: 2, arbitrary: fc.integer({ min: least, max: Math.min(most, 2 ** 32 - 1) }) },
  )
}

const byte = numberUpTo(255)

const ipv4: fc.Arbitrary<string> = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join('.'))

/** Any eight groups, with runs of zeros where they may be shortened, written in one of the ways people do. */
const ipv6: fc.Arbitrary<string> = fc
  .tuple(
    fc.array(fc.oneof(fc.constant(0), fc.constantFrom(1, 0xffff, 0x64, 0xff9b), numberUpTo(0xffff)), {
      minLength: 8,
      maxLength: 8,
    }),
    fc.constantFrom('short', 'long', 'capitals', 'dotted'),
  )
  .map(([groups, form]) => writeIPv6(groups, form))

function writeIPv6(groups: readonly number[], form: string): string {
  const long = groups.map((group) => group.toString(16).padStart(4, '0')).join(':')
  if (form === 'short') return canonicalAddress(long)
  if (form === 'capitals') return groups.map((group) => group.toString(16).toUpperCase()).join(':')
  if (form !== 'dotted') return long
  const [high = 0, low = 0] = groups.slice(6)
  const head = groups.slice(0, 6).map((group) => group.toString(16))
  return `${head.join(':')}:${[high >> 8, high & 255, low >> 8, low & 255].join('.')}`
}

/** What the C library's inet_ntop(3) makes of an address; libuv has the same code. */
export function canonicalAddress(text: string): string {
  return new SocketAddress({ address: text, family: text.includes(':') ? 'ipv6' : 'ipv4' }).address
}

/** Addresses that the kernel takes for a real server wherever `lo` is up: unicast ones. */
const unicastIPv4: fc.Arbitrary<string> = fc
  .tuple(fc.oneof(fc.integer({ min: 1, max: 223 }), fc.integer({ min: 240, max: 254 })), byte, byte, byte)
  // 127.0.0.0 and 127.255.255.255 are broadcast addresses of lo.
  .map((bytes) => (bytes[0] === 127 ? '127.0.0.1' : bytes.join('.')))

const unicastIPv6: fc.Arbitrary<string> = fc
  .tuple(fc.oneof(fc.integer({ min: 0x2000, max: 0x3fff }), fc.integer({ min: 0xfc00, max: 0xfdff })), ipv6)
  .map(([first, text]) => {
    const groups = expand(text)
    return writeIPv6([first, ...groups.slice(1)], /[A-F]/.test(text) ? 'capitals' : 'short')
  })

function expand(text: string): number[] {
  const [head = '', tail] = canonicalAddress(text).split('::')
  const parse = (part: string): number[] =>
    part === ''
      ? []
      : part.split(':').flatMap((group) => {
          if (!group.includes('.')) return [parseInt(group, 16)]
          const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
          return [a * 256 + b, c * 256 + d]
        })
  const front = parse(head)
  const back = tail === undefined ? [] : parse(tail)
  return [...front, ...Array.from({ length: 8 - front.length - back.length }, () => 0), ...back]
}

/** What is optional is there three times of four. */
function optional<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(arbitrary, { nil: undefined, freq: 4 })
}

/** Takes away what is undefined. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- what it makes, the caller knows
function present<T extends object>(fields: object): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T
}

const FLAG_NAMES: readonly SchedulerFlag[] = ['flag-1', 'flag-2', 'flag-3']
const OWN_FLAG_NAMES: Readonly<Record<string, readonly SchedulerFlag[]>> = {
  sh: ['sh-fallback', 'sh-port', 'flag-3'],
  mh: ['mh-fallback', 'mh-port', 'flag-3'],
}

/** Limits of what is generated. */
export interface Limits {
  /** Only what `ipvsadm -S` can say and `ipvsadm -R` can read. */
  readonly ipvsadm: boolean
}

/** A virtual service, of any kind that there is. */
export function serviceSpec({ ipvsadm }: Limits): fc.Arbitrary<ServiceSpec> {
  // ipvsadm has no option for other protocols, and prints firewall marks from 2^31 on as negative numbers.
  const named = fc.constantFrom('tcp', 'udp', 'sctp')
  const protocol = ipvsadm ? named : fc.oneof(named, numberUpTo(65535), fc.constantFrom(6, 17, 132))
  const address = fc.record({
    protocol,
    address: fc.oneof(
      ipv4,
      ipv6,
      fc.constantFrom('0.0.0.0', '255.255.255.255', '224.0.0.1', '::', '::1', 'ff02::1'),
    ),
    port: numberUpTo(65535),
  })
  const fwmark = fc
    .record({
      protocol: fc.constant('fwmark' as const),
      fwmark: numberUpTo(ipvsadm ? INT_MAX : 2 ** 32 - 1, 1),
      family: optional(fc.constantFrom('ipv4', 'ipv6')),
    })
    .map(present<FwmarkServiceKey>)
  const key = fc.oneof(
    { weight: 3, arbitrary: address },
    { weight: 1, arbitrary: fwmark },
  ) as fc.Arbitrary<ServiceSpec>

  return key.chain((key) => {
    const ipv6Service = key.protocol === 'fwmark' ? key.family === 'ipv6' : key.address.includes(':')
    const persistence = fc
      .record({
        // ipvsadm takes 1 to 2678400 seconds.
        timeoutSeconds: optional(ipvsadm ? numberUpTo(2678400, 1) : numberUpTo(4294967)),
        netmask: optional<string | number>(
          ipv6Service ? fc.integer({ min: 1, max: 128 }) : fc.oneof(ipv4, fc.integer({ min: 0, max: 32 })),
        ),
      })
      .map(present<PersistenceSpec>)
    const portIsAny = key.protocol !== 'fwmark' && key.port === 0
    return fc
      .record({
        scheduler: optional(fc.constantFrom(...SCHEDULERS)),
        flags: optional(fc.tuple(fc.subarray([0, 1, 2]), fc.boolean())),
        // ipvsadm takes it for UDP and firewall marks alone.
        onePacket: optional(
          ipvsadm && key.protocol !== 'udp' && key.protocol !== 'fwmark' ? fc.constant(false) : fc.boolean(),
        ),
        persistence: portIsAny ? persistence : optional(persistence),
        persistenceEngine: fc.option(fc.constant('sip'), { nil: undefined, freq: 2 }),
      })
      .map(({ flags, ...fields }) => {
        const own = OWN_FLAG_NAMES[fields.scheduler ?? 'wlc']
        const schedulerFlags = flags?.[0]
          // `ipvsadm -S` prints flag 3 of sh and mh as nothing at all.
          .filter((flag) => !(ipvsadm && own !== undefined && flag === 2))
          .map((flag) => (own !== undefined && flags[1] ? own : FLAG_NAMES)[flag])
        return { ...key, ...present({ ...fields, schedulerFlags }) }
      })
  })
}

const anyTunnel: fc.Arbitrary<Tunnel> = fc
  .record({
    type: fc.oneof(fc.constantFrom('ipip', 'gue', 'gre'), numberUpTo(255)),
    port: optional(numberUpTo(65535)),
    checksum: optional(fc.oneof(fc.constantFrom('none', 'csum', 'remcsum'), numberUpTo(65535))),
  })
  .map((fields) => {
    // GUE without a port is what the kernel refuses.
    const needsPort = (fields.type === 'gue' || fields.type === 1) && (fields.port ?? 0) === 0
    return present<Tunnel>({ ...fields, ...(needsPort && { port: 6080 }) })
  })

/** As ipvsadm has them: a port for GUE alone, checksums by type. */
const ipvsadmTunnel: fc.Arbitrary<Tunnel> = fc.oneof(
  fc.constant({ type: 'ipip' as const }),
  fc
    .record({
      type: fc.constant('gue' as const),
      port: numberUpTo(65535, 1),
      checksum: optional(fc.constantFrom('none', 'csum', 'remcsum')),
    })
    .map(present<Tunnel>),
  fc
    .record({ type: fc.constant('gre' as const), checksum: optional(fc.constantFrom('none', 'csum')) })
    .map(present<Tunnel>),
)

/** A real server for a virtual service. */
export function realServerSpec(service: ServiceSpec, { ipvsadm }: Limits): fc.Arbitrary<RealServerSpec> {
  const ipv6Service =
    service.protocol === 'fwmark' ? service.family === 'ipv6' : service.address.includes(':')
  // `ipvsadm -S` prints local as -g, and knows no bypass.
  const method = ipvsadm
    ? fc.constantFrom('masquerade', 'tunnel', 'direct')
    : fc.constantFrom('masquerade', 'tunnel', 'direct', 'local', 'bypass', 5, 6, 7)
  return fc
    .record({
      otherFamily: fc.integer({ min: 0, max: 5 }).map((chance) => chance === 0),
      method: optional(method),
    })
    .chain(({ otherFamily, ...fields }) => {
      // Only tunnels lead to another family.
      const tunnels = otherFamily || fields.method === 'tunnel'
      const address = otherFamily !== ipv6Service ? unicastIPv6 : unicastIPv4
      // ipvsadm overwrites the port of servers that it does not masquerade, but for those of a firewall mark.
      const ownPort =
        !ipvsadm || service.protocol === 'fwmark' || (fields.method === 'masquerade' && !tunnels)
      return fc
        .record({
          address,
          port: ownPort ? optional(numberUpTo(65535)) : fc.constant(undefined),
          method: fc.constant(tunnels ? ('tunnel' as const) : fields.method),
          weight: optional(numberUpTo(INT_MAX)),
          // `ipvsadm -S` prints no thresholds.
          thresholds: optional(fc.tuple(numberUpTo(INT_MAX), numberUpTo(INT_MAX))),
          tunnel:
            ipvsadm && !tunnels ? fc.constant(undefined) : optional(ipvsadm ? ipvsadmTunnel : anyTunnel),
        })
        .map(({ thresholds, ...rest }) => {
          const [one, other] = thresholds ?? []
          if (ipvsadm || one === undefined || other === undefined) return present<RealServerSpec>(rest)
          return present<RealServerSpec>({
            ...rest,
            upperThreshold: Math.max(one, other),
            lowerThreshold: Math.min(one, other),
          })
        })
    })
}

/** A table: services that are all different, each with real servers that are. */
export function table(limits: Limits, services: number): fc.Arbitrary<Rules[]> {
  const rules = serviceSpec(limits).chain((service) =>
    fc
      .uniqueArray(realServerSpec(service, limits), {
        maxLength: 4,
        selector: (server) => serverId(canonicalRealServer(server, service)),
      })
      .map((realServers) => ({ service, realServers })),
  )
  return fc.uniqueArray(rules, {
    minLength: services,
    maxLength: services,
    selector: ({ service }) => serviceId(canonicalService(service)),
  })
}

/** A text that is the same for the same service. */
export function serviceId(key: ServiceSpec): string {
  if (key.protocol === 'fwmark') return `fwmark ${String(key.fwmark)} ${String(key.family)}`
  return `${String(key.protocol)} ${key.address} ${String(key.port)}`
}

function serverId({ address, port }: RealServerSpec): string {
  return `${address} ${String(port)}`
}

const PROTOCOLS: Readonly<Record<number, 'tcp' | 'udp' | 'sctp'>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }

/** What a service reads back as. */
export function canonicalService(spec: ServiceSpec): ServiceSpec {
  const ipv6Service = spec.protocol === 'fwmark' ? spec.family === 'ipv6' : spec.address.includes(':')
  const scheduler = spec.scheduler ?? 'wlc'
  const names = OWN_FLAG_NAMES[scheduler] ?? FLAG_NAMES
  const bits = (spec.schedulerFlags ?? []).map((flag) => FLAG_BITS[flag])
  const schedulerFlags = names.filter((_, bit) => bits.includes(bit))
  const { timeoutSeconds = 300, netmask = ipv6Service ? 128 : 32 } = spec.persistence ?? {}
  return {
    ...(spec.protocol === 'fwmark'
      ? { protocol: 'fwmark', fwmark: spec.fwmark, family: spec.family ?? 'ipv4' }
      : {
          protocol:
            typeof spec.protocol === 'number' ? (PROTOCOLS[spec.protocol] ?? spec.protocol) : spec.protocol,
          address: canonicalAddress(spec.address),
          port: spec.port,
        }),
    scheduler,
    ...(schedulerFlags.length > 0 && { schedulerFlags }),
    ...(spec.onePacket === true && { onePacket: true }),
    ...(spec.persistence !== undefined && {
      persistence: {
        timeoutSeconds,
        netmask: ipv6Service || typeof netmask === 'string' ? netmask : dotted(netmask),
      },
    }),
    ...(spec.persistenceEngine !== undefined && { persistenceEngine: spec.persistenceEngine }),
  }
}

const FLAG_BITS: Readonly<Record<SchedulerFlag, number>> = {
  'flag-1': 0,
  'sh-fallback': 0,
  'mh-fallback': 0,
  'flag-2': 1,
  'sh-port': 1,
  'mh-port': 1,
  'flag-3': 2,
}

/** The mask of an IPv4 prefix length, bit by bit. */
function dotted(prefix: number): string {
  const bits = '1'.repeat(prefix).padEnd(32, '0')
  return [0, 8, 16, 24].map((at) => parseInt(bits.slice(at, at + 8), 2)).join('.')
}

/** What a real server reads back as. */
export function canonicalRealServer(spec: RealServerSpec, service: ServiceSpec): RealServerSpec {
  const method = spec.method ?? 'direct'
  const { type = 'ipip', port = 0, checksum = 'none' } = spec.tunnel ?? {}
  const kind = typeof type === 'number' ? ((['ipip', 'gue', 'gre'] as const)[type] ?? type) : type
  const sum =
    typeof checksum === 'number' ? ((['none', 'csum', 'remcsum'] as const)[checksum] ?? checksum) : checksum
  const plain = kind === 'ipip' && port === 0 && sum === 'none'
  return {
    address: canonicalAddress(spec.address),
    port: spec.port ?? (service.protocol === 'fwmark' ? 0 : service.port),
    method,
    weight: spec.weight ?? 1,
    ...((spec.upperThreshold ?? 0) !== 0 && { upperThreshold: spec.upperThreshold }),
    ...((spec.lowerThreshold ?? 0) !== 0 && { lowerThreshold: spec.lowerThreshold }),
    ...((method === 'tunnel' || !plain) && {
      tunnel: { type: kind, ...(port !== 0 && { port }), ...(sum !== 'none' && { checksum: sum }) },
    }),
  }
}

/** A table as it must read back, in an order of its own; real servers newest first, as the kernel has them. */
export function canonicalTable(rules: readonly Rules[]): CanonicalRules[] {
  return sorted(
    rules.map(({ service, realServers }) => ({
      service: canonicalService(service),
      realServers: realServers.map((server) => canonicalRealServer(server, service)).reverse(),
    })),
  )
}

/** The order of services is the kernel's affair: it hashes them. */
export function sorted(rules: CanonicalRules[]): CanonicalRules[] {
  const ids = new Map(rules.map((rule) => [rule, serviceId(rule.service)]))
  return rules.sort((a, b) => ((ids.get(a) ?? '') < (ids.get(b) ?? '') ? -1 : 1))
}
