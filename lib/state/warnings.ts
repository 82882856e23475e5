import { familyOfAddress, familyOfService } from '../model/address.ts'
import { DEFAULT_METHOD, DEFAULT_SCHEDULER, DEFAULT_WEIGHT } from '../model/defaults.ts'
import { endpointName, formatTunnel, serviceName } from '../model/keys.ts'
import { hasOwnNames } from '../model/scheduler-flags.ts'
import { ignoresFlags, ignoresWeights } from '../model/schedulers.ts'
import type {
  Endpoint,
  RealServerSettings,
  RealServerState,
  SchedulerFlag,
  ServiceKey,
  ServiceSettings,
  ServiceState,
  StateService,
  Tunnel,
} from '../model/types.ts'
import { forEachOf, slices } from '../util/pace.ts'
import { SERVER_SIGN } from './steps.ts'
import { type Entry, tableOf } from './table.ts'

/**
 * The kind of a {@link Warning}.
 *
 * - `port-ignored`: a real server has another port than the packets that it gets. Only method
 *   `masquerade` changes a port, and not if the service is persistent and a mark, or has port 0.
 * - `tunnel-ignored`: tunnel settings of a real server with another method than `tunnel`, or a port
 *   or checksum that its type of tunnel does not have.
 * - `one-packet-ignored`: `onePacket` of a service that is neither UDP nor a firewall mark.
 * - `scheduler-flags-ignored`: `schedulerFlags` that the scheduler does not read.
 * - `weights-ignored`: weights above 0 that differ, with a scheduler to which they are all the same.
 * - `persistence-engine-ignored`: an engine of a service that is not persistent.
 * - `persistence-engine-drops`: an engine that cannot read the service's protocol: the kernel drops
 *   all new connections.
 * - `needs-persistence`: a service of port 0 without persistence: the kernel refuses all connections.
 */
export type WarningCode =
  | 'port-ignored'
  | 'tunnel-ignored'
  | 'one-packet-ignored'
  | 'scheduler-flags-ignored'
  | 'weights-ignored'
  | 'persistence-engine-ignored'
  | 'persistence-engine-drops'
  | 'needs-persistence'

/** Something that a table asks for, and the kernel accepts and ignores. */
export interface Warning {
  /** What kind it is. */
  readonly code: WarningCode
  /** The service that it is about. */
  readonly service: ServiceKey
  /** Absent: it is about the whole service. */
  readonly server?: Endpoint | undefined
  /** One line: what it is about, what is ignored, what happens instead, and what to do. */
  readonly message: string
}

/** A service that was read, with its real servers, such as an entry of `ipvs.snapshot()`. */
export interface ReadService {
  /** What is looked at of a service. */
  readonly service: Pick<
    ServiceState,
    'key' | 'scheduler' | 'schedulerFlags' | 'onePacket' | 'persistence' | 'persistenceEngine'
  >
  /** What is looked at of its real servers. */
  readonly realServers: readonly Pick<RealServerState, 'address' | 'port' | 'method' | 'weight' | 'tunnel'>[]
}

/**
 * Finds what the kernel would ignore of these services, which were read from a
 * kernel, as by `ipvs.snapshot()`, or are those of a state. Needs no kernel. A
 * plan has the warnings of the services that it wants.
 *
 * @throws {TypeError | RangeError} naming the field if services of a state are wrong.
 */
export async function warningsOf(
  services: Iterable<ReadService> | Iterable<StateService>,
): Promise<Warning[]> {
  const list: readonly (ReadService | StateService)[] = [...services]
  const first = list[0] as unknown
  const look = new Look()
  if (typeof first !== 'object' || first === null || !('service' in first)) {
    await look.atAll((await tableOf({ services: list })).services ?? [])
    return look.found
  }
  for await (const some of slices(list as readonly ReadService[])) {
    for (const { service, realServers } of some) await look.at(service.key, service, realServers)
  }
  return look.found
}

/** Finds what the kernel would ignore of a wanted table. */
export async function warningsIn(services: readonly Entry[]): Promise<Warning[]> {
  const look = new Look()
  await look.atAll(services)
  return look.found
}

type Server = Endpoint & RealServerSettings

/** Looks at one service after the other. Makes nothing where nothing is wrong: a table may have 100,000 real servers. */
class Look {
  readonly found: Warning[] = []
  #key: ServiceKey = NO_KEY
  #settings: ServiceSettings = {}
  /** Port of the packets, 0 where they may have any: those of a mark, or of a service with port 0. */
  #port = 0
  /** The first weight above 0, and whether another one differs. */
  #weight = 0
  #differ = false

  async atAll(services: readonly Entry[]): Promise<void> {
    for await (const some of slices(services)) {
      for (const { key, spec, servers } of some) {
        // Not awaited where there is nothing to wait for: that alone would cost as much as the rest.
        const later = this.at(key, spec, servers)
        if (later !== undefined) await later
      }
    }
  }

  at(key: ServiceKey, settings: ServiceSettings, servers: readonly Server[]): Promise<void> | undefined {
    this.#key = key
    this.#settings = settings
    this.#port = key.protocol === 'fwmark' ? 0 : key.port
    this.#weight = 0
    this.#differ = false
    this.#service(key, settings)
    const later = forEachOf(servers, this.#server)
    if (later !== undefined) return later.then(this.#weights)
    this.#weights()
    return undefined
  }

  #service(key: ServiceKey, settings: ServiceSettings): void {
    const { schedulerFlags = [], onePacket, persistence, persistenceEngine } = settings
    const { protocol } = key
    if (protocol !== 'fwmark' && key.port === 0 && persistence === undefined) {
      this.#warn(
        'needs-persistence',
        'port 0 without persistence: the kernel refuses all connections. Give persistence, or another port.',
      )
    }
    if (onePacket === true && protocol !== 'udp' && protocol !== 'fwmark') {
      this.#warn(
        'one-packet-ignored',
        'onePacket is ignored: the kernel schedules single packets of UDP only. Leave it out.',
      )
    }
    if (schedulerFlags.length > 0) this.#flags(schedulerFlags)
    if (persistenceEngine === undefined) return
    if (persistence === undefined) {
      this.#warn(
        'persistence-engine-ignored',
        `persistenceEngine ${persistenceEngine} is ignored without persistence: clients are scheduled as if there were none. Give persistence, or leave out persistenceEngine.`,
      )
    } else if (persistenceEngine === 'sip' && protocol !== 'udp' && protocol !== 'fwmark') {
      this.#warn(
        'persistence-engine-drops',
        'persistenceEngine sip reads UDP only: the kernel drops all new connections. Leave out persistenceEngine.',
      )
    }
  }

  #flags(flags: readonly SchedulerFlag[]): void {
    const { scheduler = DEFAULT_SCHEDULER } = this.#settings
    const none = ignoresFlags(scheduler)
    const ignored = flags.filter(
      (flag) => none || (hasOwnNames(scheduler) && (typeof flag === 'number' || flag === 'flag-3')),
    )
    if (ignored.length === 0) return
    this.#warn(
      'scheduler-flags-ignored',
      `schedulerFlags ${ignored.join(', ')} ${ignored.length === 1 ? 'is' : 'are'} ignored: scheduler ${scheduler} ` +
        (none
          ? 'has no flags. Leave them out, or use sh or mh.'
          : 'reads its first two flags only. Leave out the rest.'),
    )
  }

  readonly #server = (server: Server): void => {
    const { port, method = DEFAULT_METHOD, weight = DEFAULT_WEIGHT, tunnel } = server
    if (weight > 0 && weight !== this.#weight) {
      if (this.#weight === 0) this.#weight = weight
      else this.#differ = true
    }
    if (port !== 0 && port !== this.#port) {
      if (method !== 'masquerade') this.#portIgnored(server, method)
      else if (this.#port === 0 && this.#settings.persistence !== undefined) this.#portKept(server)
    }
    if (tunnel !== undefined) this.#tunnel(server, method, tunnel)
  }

  /** Nothing but masquerade writes to a packet (ip_vs_dr_xmit(), ip_vs_tunnel_xmit(), ip_vs_null_xmit()). */
  #portIgnored(server: Server, method: string | number): void {
    const { persistence } = this.#settings
    const anyPort = this.#port === 0
    const masquerades =
      familyOfAddress(server.address) === familyOfService(this.#key) &&
      !(anyPort && persistence !== undefined)
    this.#warn(
      'port-ignored',
      `port ${String(server.port)} is ignored with method ${String(method)}: packets ` +
        (anyPort ? 'keep the port that the client used' : `go to port ${String(this.#port)}`) +
        `. Use ${masquerades ? 'method masquerade, or ' : ''}port ${String(this.#port)}.`,
      server,
    )
  }

  /** One template leads a client to all ports (ip_vs_sched_persist()). */
  #portKept(server: Server): void {
    const mark = this.#key.protocol === 'fwmark'
    this.#warn(
      'port-ignored',
      `port ${String(server.port)} is ignored, because the service is persistent and ${mark ? 'a firewall mark' : 'takes every port'}: ` +
        `packets keep the port that the client used. Use port 0${mark ? ', or leave out persistence' : ''}.`,
      server,
    )
  }

  #tunnel(server: Server, method: string | number, tunnel: Tunnel): void {
    if (method !== 'tunnel') {
      this.#warn(
        'tunnel-ignored',
        `tunnel ${formatTunnel(tunnel)} is ignored with method ${String(method)}: packets are not wrapped. Use method tunnel, or leave out tunnel.`,
        server,
      )
      return
    }
    const { type, port, checksum = 'none' } = tunnel
    if (port !== undefined && type !== 'gue') {
      this.#warn(
        'tunnel-ignored',
        `tunnel port ${String(port)} is ignored with type ${String(type)}: only gue has a port. Use type gue, or leave out the port.`,
        server,
      )
    }
    if (checksum !== 'none' && (type === 'ipip' || (type === 'gre' && checksum === 'remcsum'))) {
      this.#warn(
        'tunnel-ignored',
        `tunnel checksum ${String(checksum)} is ignored with type ${type}, which does not have it. Leave it out, or use type ${checksum === 'csum' ? 'gue or gre' : 'gue'}.`,
        server,
      )
    }
  }

  readonly #weights = (): void => {
    const { scheduler = DEFAULT_SCHEDULER } = this.#settings
    if (!this.#differ || !ignoresWeights(scheduler)) return
    const weighted = WEIGHTED[scheduler]
    this.#warn(
      'weights-ignored',
      `weights are ignored with scheduler ${scheduler}, except 0: all other real servers are treated alike. ` +
        `Use ${weighted === undefined ? '' : `scheduler ${weighted}, or `}equal weights.`,
    )
  }

  #warn(code: WarningCode, what: string, server?: Server): void {
    const service = this.#key
    const name = serviceName(service)
    if (server === undefined) {
      this.found.push({ code, service, message: `${name}: ${what}` })
      return
    }
    const { address, port } = server
    const subject = `${name}${SERVER_SIGN}${endpointName(address, port)}`
    this.found.push({ code, service, server: { address, port }, message: `${subject}: ${what}` })
  }
}

const NO_KEY: ServiceKey = { protocol: 'fwmark', fwmark: 1 }

/** The scheduler that is the same but for weights. */
const WEIGHTED: Readonly<Record<string, string>> = { rr: 'wrr', lc: 'wlc' }
