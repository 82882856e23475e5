import fc from 'fast-check'
import type {
  ForwardingMethod,
  RealServerSpec,
  State,
  StateService,
  SyncDaemonSpec,
  Tunnel,
} from '../../lib/text.ts'

/** Random states that the library takes: everything that one can say, or only what lines of ipvsadm can. */

const ipv4 = fc
  .tuple(fc.integer({ min: 1, max: 223 }), fc.nat(255), fc.nat(255), fc.nat(255))
  .map((parts) => parts.join('.'))
/** As inet_ntop(3) writes them. */
const ipv6 = fc
  .tuple(fc.integer({ min: 1, max: 0xffff }), fc.integer({ min: 1, max: 0xffff }))
  .chain(([one, other]) =>
    fc.constantFrom(
      `2001:db8::${one.toString(16)}`,
      `2001:db8:${one.toString(16)}:1:2:3:4:${other.toString(16)}`,
      `${one.toString(16)}::${other.toString(16)}`,
    ),
  )
const port = fc.integer({ min: 1, max: 65535 })
const int = fc.oneof(fc.constantFrom(0, 1, 2147483647), fc.nat(2147483647))
const word = fc.stringMatching(/^[a-z][a-z0-9_-]{0,13}$/)
/** Names that no kernel has, but that it would be asked for. */
const name = fc.oneof(
  word,
  fc.constantFrom('true', 'null', '12', 'a: b', '#x', "it's", '"', '\\', 'y', '1.5', 'ü', ' ', '- a'),
)

const tunnels: fc.Arbitrary<Tunnel> = fc.oneof(
  fc.constant({ type: 'ipip' as const }),
  fc.record(
    { type: fc.constant('gue' as const), port, checksum: fc.constantFrom('csum', 'remcsum') },
    { requiredKeys: ['type', 'port'] },
  ),
  fc.record(
    { type: fc.constant('gre' as const), checksum: fc.constant('csum' as const) },
    { requiredKeys: ['type'] },
  ),
)
const anyTunnel: fc.Arbitrary<Tunnel> = fc.oneof(
  tunnels,
  fc.record(
    { type: fc.nat(255).filter((type) => type !== 1), port: fc.nat(65535), checksum: fc.nat(65535) },
    { requiredKeys: ['type'] },
  ),
)

function unique<T>(list: readonly T[], identify: (item: T) => string): T[] {
  return [...new Map(list.map((item) => [identify(item), item])).values()]
}

function servers(
  family: 'ipv4' | 'ipv6',
  servicePort: number,
  mark: boolean,
  sayable: boolean,
): fc.Arbitrary<RealServerSpec[]> {
  const own = family === 'ipv4' ? ipv4 : ipv6
  const rest = {
    weight: int,
    lowerThreshold: fc.nat(9),
    upperThreshold: fc.integer({ min: 10, max: sayable ? 2147483647 : 4294967295 }),
  }
  const one: fc.Arbitrary<RealServerSpec> = sayable
    ? fc
        .record({
          address: own,
          other: ipv4,
          port,
          method: fc.constantFrom('masquerade', 'direct', 'tunnel'),
          tunnel: tunnels,
          ...rest,
        })
        .map(({ address, other, port, method, tunnel, weight, upperThreshold, lowerThreshold }) => ({
          // A tunnel may lead to the other family.
          address: method === 'tunnel' && weight % 2 === 0 ? other : address,
          port: mark || method === 'masquerade' ? port : servicePort,
          method,
          weight,
          ...(upperThreshold % 2 === 0 && { upperThreshold }),
          ...(upperThreshold % 2 === 0 && lowerThreshold > 0 && { lowerThreshold }),
          ...(method === 'tunnel' && { tunnel }),
        }))
    : fc.record(
        {
          address: own,
          port,
          method: fc.constantFrom<ForwardingMethod>(
            'masquerade',
            'tunnel',
            'direct',
            'local',
            'bypass',
            5,
            6,
            7,
          ),
          tunnel: anyTunnel,
          ...rest,
        },
        { requiredKeys: ['address', 'upperThreshold'] },
      )
  return fc
    .array(one, { maxLength: 4 })
    .map((list) => unique(list, (server) => `${server.address} ${String(server.port ?? servicePort)}`))
}

function services(sayable: boolean): fc.Arbitrary<StateService> {
  return fc
    .record({
      kind: fc.constantFrom('ipv4', 'ipv6', 'mark4', 'mark6'),
      protocol: sayable
        ? fc.constantFrom('tcp', 'udp', 'sctp')
        : fc.constantFrom('tcp', 'udp', 'sctp', 50, 65535),
      ipv4,
      ipv6,
      port,
      fwmark: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4294967295 })),
      scheduler: fc.oneof(fc.constantFrom('rr', 'wlc', 'sh', 'mh', 'none'), sayable ? word : name),
      bits: fc.nat(7),
      unnamed: sayable ? fc.constant(0) : fc.constantFrom(0, 0, 64, 4294967232),
      onePacket: fc.boolean(),
      seconds: sayable ? fc.integer({ min: 1, max: 2678400 }) : fc.nat(42949672),
      mask: fc.constantFrom('255.255.255.255', '255.255.0.0', '0.0.0.0'),
      length: fc.constantFrom(1, 64, 128),
      persistent: fc.boolean(),
      engine: fc.option(sayable ? word : name),
    })
    .chain((draw) => {
      const six = draw.kind === 'ipv6' || draw.kind === 'mark6'
      const mark = draw.kind.startsWith('mark')
      const own = draw.scheduler === 'sh' || draw.scheduler === 'mh' ? draw.scheduler : undefined
      const names =
        own === undefined ? ['flag-1', 'flag-2', 'flag-3'] : [`${own}-fallback`, `${own}-port`, 'flag-3']
      const flags = [
        ...names.filter((_, bit) => ((draw.bits >> bit) & 1) === 1),
        ...(draw.unnamed === 0 ? [] : [draw.unnamed]),
      ]
      const onePacket = draw.onePacket && (!sayable || mark || draw.protocol === 'udp')
      const key = mark
        ? { protocol: 'fwmark', fwmark: draw.fwmark, family: six ? 'ipv6' : 'ipv4' }
        : { protocol: draw.protocol, address: six ? draw.ipv6 : draw.ipv4, port: draw.port }
      return servers(six ? 'ipv6' : 'ipv4', mark ? 0 : draw.port, mark, sayable).map(
        (realServers) =>
          ({
            ...key,
            scheduler: draw.scheduler,
            ...(flags.length > 0 && { schedulerFlags: flags }),
            ...(onePacket && { onePacket }),
            ...(draw.persistent && {
              persistence: { timeoutSeconds: draw.seconds, netmask: six ? draw.length : draw.mask },
            }),
            ...(draw.engine !== null && { persistenceEngine: draw.engine }),
            ...(realServers.length > 0 && { realServers }),
          }) as StateService,
      )
    })
}

function daemons(sayable: boolean): fc.Arbitrary<SyncDaemonSpec[]> {
  const one = (state: 'master' | 'backup'): fc.Arbitrary<SyncDaemonSpec> =>
    fc.record(
      {
        state: fc.constant(state),
        multicastInterface: sayable ? word : name,
        syncId: fc.integer({ min: 0, max: sayable ? 255 : 4294967295 }),
        maxLengthBytes: fc.integer({ min: 1, max: 65507 }),
        multicastGroup: fc.constantFrom('224.0.0.82', 'ff05::51'),
        multicastPort: port,
        multicastTtl: fc.integer({ min: 1, max: 255 }),
      },
      { requiredKeys: ['state', 'multicastInterface', 'syncId'] },
    )
  return fc
    .tuple(fc.option(one('master')), fc.option(one('backup')))
    .map((pair) => pair.filter((daemon) => daemon !== null))
}

function timeouts(most: number): fc.Arbitrary<NonNullable<State['timeouts']>> {
  const seconds = fc.integer({ min: 1, max: most })
  return fc.record({ tcpSeconds: seconds, tcpFinSeconds: seconds, udpSeconds: seconds }, { requiredKeys: [] })
}

/** A state; `sayable`: one that lines of ipvsadm can say, as parseState() gives it. */
export function states({ sayable = false } = {}): fc.Arbitrary<State> {
  return fc
    .record({
      services: fc.array(services(sayable), { maxLength: 5 }),
      timeouts: fc.option(timeouts(sayable ? 2678400 : 21474836)),
      syncDaemons: fc.option(daemons(sayable)),
      sysctls: fc.option(
        fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9_]{0,5}$/), fc.stringMatching(/^[\x20-\x7e\t]{0,6}$/), {
          maxKeys: 3,
        }),
      ),
    })
    .map(({ services, timeouts, syncDaemons, sysctls }) => ({
      version: 1,
      services: unique(services, (service) =>
        service.protocol === 'fwmark'
          ? `${String(service.fwmark)} ${String(service.family)}`
          : `${String(service.protocol)} ${service.address} ${String(service.port)}`,
      ),
      ...(timeouts !== null && { timeouts }),
      ...(syncDaemons !== null && !(sayable && syncDaemons.length === 0) && { syncDaemons }),
      ...(sysctls !== null && !sayable && { sysctls: { ...sysctls } }),
    }))
}
