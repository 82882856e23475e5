import { drain, type DrainOptions, type DrainResult } from './apply/drain.ts'
import type { ApplyResult } from './apply/options.ts'
import { setRealServers, type SetRealServersOptions } from './apply/set-real-servers.ts'
import { specOfServer } from './model/server-settings.ts'
import { specOfService } from './model/service-settings.ts'
import type {
  Counter,
  CounterOf,
  Endpoint,
  Family,
  ForwardingMethod,
  Persistence,
  Protocol,
  Rates,
  ReadOptions,
  RealServerChanges,
  RealServerKey,
  RealServerSpec,
  RealServerState,
  RequestOptions,
  Scheduler,
  SchedulerFlag,
  ServiceChanges,
  ServiceKey,
  ServiceSpec,
  ServiceState,
  Stats,
  Tunnel,
} from './model/types.ts'
import {
  addRealServer,
  deleteRealServer,
  editRealServer,
  listRealServersAs,
  readRealServer,
} from './session/real-servers.ts'
import { deleteService, editService, readService, zero } from './session/services.ts'
import type { Session } from './session/session.ts'

/**
 * A virtual service as it was read, with methods to act on it. The data never
 * changes: `edit()` and `refresh()` return a new object.
 */
export class Service<N extends Counter = number> implements ServiceState<N> {
  readonly #session: Session
  /** Its identity; narrow it by `protocol` for the address or the mark. */
  readonly key: ServiceKey
  readonly family: Family
  readonly scheduler: Scheduler
  readonly schedulerFlags: readonly SchedulerFlag[]
  /** Whether each UDP packet is scheduled on its own. */
  readonly onePacket: boolean
  /** Absent: not persistent. */
  declare readonly persistence?: Persistence
  /** Absent: none. */
  declare readonly persistenceEngine?: string
  readonly stats: Stats<N>
  readonly rates: Rates

  private constructor(session: Session, state: ServiceState<N>) {
    this.#session = session
    this.key = state.key
    this.family = state.family
    this.scheduler = state.scheduler
    this.schedulerFlags = state.schedulerFlags
    this.onePacket = state.onePacket
    if (state.persistence !== undefined) this.persistence = state.persistence
    if (state.persistenceEngine !== undefined) this.persistenceEngine = state.persistenceEngine
    this.stats = state.stats
    this.rates = state.rates
  }

  /** @internal */
  static of<N extends Counter>(session: Session, state: ServiceState<N>): Service<N> {
    return new Service(session, state)
  }

  /** Its protocol, or 'fwmark'. */
  get protocol(): Protocol | 'fwmark' {
    return this.key.protocol
  }

  /** Its address; `undefined` for a firewall mark. */
  get address(): string | undefined {
    return this.key.protocol === 'fwmark' ? undefined : this.key.address
  }

  /** Its port; `undefined` for a firewall mark. */
  get port(): number | undefined {
    return this.key.protocol === 'fwmark' ? undefined : this.key.port
  }

  /** Its firewall mark; `undefined` for an address. */
  get fwmark(): number | undefined {
    return this.key.protocol === 'fwmark' ? this.key.fwmark : undefined
  }

  /** Its real servers. See {@link Ipvs.realServers}. */
  async realServers<B extends boolean = false>(
    options: ReadOptions<B> = {},
  ): Promise<RealServer<CounterOf<B>>[]> {
    const session = this.#session
    const { key } = this
    return listRealServersAs(session, key, options, (state) => RealServer.of(session, key, state))
  }

  /** One of its real servers. See {@link Ipvs.realServer}. */
  async realServer<B extends boolean = false>(
    server: RealServerKey | string,
    options: ReadOptions<B> = {},
  ): Promise<RealServer<CounterOf<B>>> {
    return RealServer.of(
      this.#session,
      this.key,
      await readRealServer(this.#session, this.key, server, options),
    )
  }

  /** Adds a real server. See {@link Ipvs.addRealServer}. */
  async addRealServer(spec: RealServerSpec, options: RequestOptions = {}): Promise<RealServer> {
    const given = spec instanceof RealServer ? spec.toJSON() : spec
    return RealServer.of(
      this.#session,
      this.key,
      await addRealServer(this.#session, this.key, given, options),
    )
  }

  /** Makes its real servers equal to a list. See {@link Ipvs.setRealServers}. */
  async setRealServers(
    list: readonly RealServerSpec[],
    options: SetRealServersOptions = {},
  ): Promise<ApplyResult> {
    return setRealServers(this.#session, this.key, specsOf(list), options)
  }

  /** Changes the fields that are named. See {@link Ipvs.editService}. */
  async edit(changes: ServiceChanges, options: RequestOptions = {}): Promise<Service> {
    return Service.of(this.#session, await editService(this.#session, this.key, changes, options))
  }

  /** Deletes it with its real servers. See {@link Ipvs.deleteService}. */
  async delete(options: RequestOptions = {}): Promise<void> {
    return deleteService(this.#session, this.key, options)
  }

  /** Sets its counters and rates, and those of its real servers, to 0. See {@link Ipvs.zero}. */
  async zero(options: RequestOptions = {}): Promise<void> {
    return zero(this.#session, this.key, options)
  }

  /** Reads it again. See {@link Ipvs.service}. */
  async refresh<B extends boolean = false>(options: ReadOptions<B> = {}): Promise<Service<CounterOf<B>>> {
    return Service.of(this.#session, await readService(this.#session, this.key, options))
  }

  /** The spec that would add this service again: no counters, no field that has its default. */
  toJSON(): ServiceSpec {
    return specOfService(this)
  }
}

/**
 * A real server of a virtual service as it was read, with methods to act on it.
 * The data never changes: `edit()` and `refresh()` return a new object.
 */
export class RealServer<N extends Counter = number> implements RealServerState<N> {
  readonly #session: Session
  /** The virtual service it belongs to. */
  readonly service: ServiceKey
  readonly address: string
  readonly port: number
  readonly family: Family
  readonly method: ForwardingMethod
  /** 0: quiescent, it gets no new connections. */
  readonly weight: number
  /** 0: no limit. */
  readonly upperThreshold: number
  /** 0: three quarters of `upperThreshold`. */
  readonly lowerThreshold: number
  /** Present for method 'tunnel', and whenever it is not plain IP-in-IP. */
  declare readonly tunnel?: Tunnel
  /** TCP connections that are established or being established, SCTP ones that are established. */
  readonly activeConnections: number
  /** All other connections: closing ones, and all of UDP. */
  readonly inactiveConnections: number
  /** Clients that persistence remembers for this server. */
  readonly persistentConnections: number
  readonly stats: Stats<N>
  readonly rates: Rates

  private constructor(session: Session, service: ServiceKey, state: RealServerState<N>) {
    this.#session = session
    this.service = service
    this.address = state.address
    this.port = state.port
    this.family = state.family
    this.method = state.method
    this.weight = state.weight
    this.upperThreshold = state.upperThreshold
    this.lowerThreshold = state.lowerThreshold
    if (state.tunnel !== undefined) this.tunnel = state.tunnel
    this.activeConnections = state.activeConnections
    this.inactiveConnections = state.inactiveConnections
    this.persistentConnections = state.persistentConnections
    this.stats = state.stats
    this.rates = state.rates
  }

  /** @internal */
  static of<N extends Counter>(
    session: Session,
    service: ServiceKey,
    state: RealServerState<N>,
  ): RealServer<N> {
    return new RealServer(session, service, state)
  }

  /** Its identity within its virtual service. */
  get key(): Endpoint {
    return { address: this.address, port: this.port }
  }

  /** Changes the fields that are named. See {@link Ipvs.editRealServer}. */
  async edit(changes: RealServerChanges, options: RequestOptions = {}): Promise<RealServer> {
    const state = await editRealServer(this.#session, this.service, this.key, changes, options)
    return RealServer.of(this.#session, this.service, state)
  }

  /**
   * Deletes it. The kernel silently drops packets of the connections it still has;
   * `drain()` waits for those to end first. See {@link Ipvs.deleteRealServer}.
   */
  async delete(options: RequestOptions = {}): Promise<void> {
    return deleteRealServer(this.#session, this.service, this.key, options)
  }

  /**
   * Sets its weight to 0, waits until its connections have ended, and deletes
   * it, or with `keep` leaves it there. The last real server of a service with a
   * weight above 0 is refused without `force`, as `apply()` refuses it. TCP connections end when their clients are done, and then stay inactive
   * for two minutes, which `waitFor: 'active'` does not wait for. Connections of
   * UDP and of one-packet scheduling end only by timeout.
   *
   * While the sysctl net.ipv4.vs.expire_quiescent_template is 0, the kernel's
   * default, a client that persistence remembers keeps coming back to a quiescent
   * server, so the server may stay busy as long as its clients live. With 1 the
   * drain does not wait for persistence.
   *
   * @throws {ApplyError} ERR_IPVS_GUARD if its service would be left without a real
   *   server whose weight is above 0. Nothing was sent.
   * @throws {IpvsError} ENOENT or ESRCH if the server or its service does not
   *   exist at the start. If it vanishes later, the drain ends as 'gone'.
   * @throws the reason of `signal`, or {@link IpvsError} EBADF if its `Ipvs` is
   *   closed meanwhile; both after the weight is restored.
   */
  drain(options?: DrainOptions): Promise<DrainResult> {
    return drain(this.#session, this.service, this.key, options)
  }

  /**
   * Reads it again.
   *
   * @throws {IpvsError} ENOENT if it is gone, ESRCH if its virtual service is.
   */
  async refresh<B extends boolean = false>(options: ReadOptions<B> = {}): Promise<RealServer<CounterOf<B>>> {
    const state = await readRealServer(this.#session, this.service, this.key, options)
    return RealServer.of(this.#session, this.service, state)
  }

  /** The spec that would add this real server again: no counters, no field that has its default. */
  toJSON(): RealServerSpec {
    return specOfServer(this, this)
  }
}

/**
 * Real servers of a list as specs: one that was read has more fields.
 *
 * @internal
 */
export function specsOf(list: readonly RealServerSpec[]): readonly RealServerSpec[] {
  // Callers without types may pass anything; the check says what is wrong with it.
  const given: unknown = list
  if (!Array.isArray(given)) return list
  return list.map((spec) => (spec instanceof RealServer ? spec.toJSON() : spec))
}
