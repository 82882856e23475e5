import { AttributeWriter, memberTypes, MessageReader } from './codec/attributes.ts'
import { decodeInfo, decodeTimeouts, encodeTimeouts } from './codec/config.ts'
import { Command, CommandAttribute } from './codec/constants.ts'
import { decodeDaemon, encodeDaemon, encodeDaemonState } from './codec/daemon.ts'
import * as dests from './codec/real-server.ts'
import * as services from './codec/service.ts'
import { bigints, type CounterKind, numbers } from './codec/stats.ts'
import { type EditOutcome, runEdits } from './edits.ts'
import { formatEndpoint, formatServiceKey, IpvsError } from './errors.ts'
import { Pace } from './pace.ts'
import { probe, type ReportedAttributes } from './probe.ts'
import { RealServer, Service } from './service.ts'
import { openNative } from './transport/native.ts'
import { RequestQueue } from './transport/queue.ts'
import type { Dump, Failure, Reply, Request, RequestOptions, Transport } from './transport/transport.ts'
import type {
  Capabilities,
  Counter,
  Info,
  RealServerChanges,
  RealServerKey,
  RealServerSpec,
  ServiceChanges,
  ServiceKey,
  ServiceSpec,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
} from './types.ts'
import * as check from './validate.ts'

/** How to reach a kernel. */
export interface OpenOptions {
  /**
   * Network namespace to work in: a name under /run/netns, or a path (anything
   * with a slash), such as /proc/1234/ns/net. Needs CAP_SYS_ADMIN. Default:
   * that of the process.
   */
  readonly netns?: string
  /**
   * How long to wait for a reply. 1 to 2147483647 ms, default 5000. The kernel
   * does its work while a request is sent, and that time does not count: it can
   * be long only when a module has to be loaded.
   */
  readonly timeoutMs?: number
  /** Another way to a kernel than the addon. Not together with `netns`. */
  readonly transport?: Transport
}

/** Options of what reads counters. */
export interface ReadOptions extends RequestOptions {
  /** Counters as `bigint`, exact beyond 2^53. Default false. */
  readonly bigint?: boolean
}

/** Options of `snapshot()`. */
export interface SnapshotOptions extends ReadOptions {
  /**
   * Read until two reads in a row agree on everything but counters, at most
   * eight times. Default false: one read, in which a change that someone makes
   * meanwhile may show in part.
   */
  readonly stable?: boolean
}

/** A virtual service with its real servers. */
export interface SnapshotEntry<N extends Counter = number> {
  readonly service: Service<N>
  /** In the kernel's order: newest first. */
  readonly realServers: readonly RealServer<N>[]
}

const DEFAULT_TIMEOUT_MS = 5000
const STABLE_READS = 8
/** A list this short came in one message of the socket, so nothing in it is there twice. */
const ONE_CHUNK = 9

const NOTHING = new Uint8Array(0)
const REQUEST_OPTIONS = ['signal']
const READ_OPTIONS = ['signal', 'bigint']

/**
 * The IPVS table of one network namespace.
 *
 * Calls are done in the order they are made, one after the other; those of one
 * tick travel to the kernel together, each with its own outcome. All of them
 * need the capability CAP_NET_ADMIN in the initial user namespace, and reject
 * with {@link IpvsError} EPERM without it.
 *
 * Misuse rejects with a TypeError or RangeError that names the field, before
 * anything is sent.
 */
export class Ipvs {
  readonly #queue: RequestQueue
  readonly #transport: Transport
  readonly #writer = new AttributeWriter()
  #closing: Promise<void> | undefined

  private constructor(transport: Transport) {
    this.#transport = transport
    this.#queue = new RequestQueue(transport)
  }

  /**
   * Opens a socket to the kernel. Kernels since 5.16 load the module `ip_vs` by
   * themselves; before that it must have been loaded.
   *
   * @throws {IpvsError} ENOENT if the kernel has no IPVS or there is no such
   *   network namespace, EPERM if the namespace may not be entered.
   * @throws {Error} ERR_IPVS_ADDON if the addon does not load, and
   *   ERR_IPVS_PLATFORM where this is not Linux.
   */
  static async open(options: OpenOptions = {}): Promise<Ipvs> {
    const transport = await connect(options)
    if ('errno' in transport) throw refusal(transport, 'open')
    return new Ipvs(transport)
  }

  /**
   * Tries what this kernel can do, in a scratch network namespace that ends
   * with the probe: no service of yours is touched. Loads the schedulers and
   * persistence engines that it tries. Needs CAP_SYS_ADMIN for the namespace.
   */
  static async probe(options: OpenOptions = {}): Promise<Capabilities> {
    const transport = await connect(options)
    if ('errno' in transport) {
      if (transport.errno === 2 && transport.syscall === undefined) return probe(undefined)
      throw refusal(transport, 'probe')
    }
    try {
      const scratch = await transport.openScratch()
      if ('errno' in scratch) throw refusal(scratch, 'probe')
      const ipvs = new Ipvs(scratch)
      try {
        return await probe(ipvs)
      } finally {
        await ipvs.close()
      }
    } finally {
      if (options.transport === undefined) await transport.close()
    }
  }

  /** Waits for what was asked for, then closes the socket. May be called again. Later calls reject with EBADF. */
  close(): Promise<void> {
    this.#closing ??= this.#queue.close().then(() => this.#transport.close())
    return this.#closing
  }

  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Version of the kernel's IPVS, and the size of its connection table. */
  async info(options: RequestOptions = {}): Promise<Info> {
    const message = await this.#ask('info', Command.GET_INFO, options)
    return decodeInfo(message.attributes())
  }

  /** How long idle connections are remembered. */
  async timeouts(options: RequestOptions = {}): Promise<Timeouts> {
    const message = await this.#ask('timeouts', Command.GET_CONFIG, options)
    return decodeTimeouts(message.attributes())
  }

  /**
   * Sets the timeouts that are named, 1 to 21474836 seconds each. Timers that
   * run are not touched.
   *
   * @throws {IpvsError} EINVAL above 2147483647 divided by the kernel's CONFIG_HZ; nothing is set then.
   */
  async setTimeouts(timeouts: Partial<Timeouts>, options: RequestOptions = {}): Promise<void> {
    const wanted = check.checkTimeouts(timeouts)
    await this.#tell('setTimeouts', Command.SET_CONFIG, options, {}, (writer) => {
      encodeTimeouts(writer, wanted)
    })
  }

  /**
   * Deletes all services of the network namespace with their real servers.
   * Connections, timeouts and sync daemons stay. Adding many real servers soon
   * after is slow: the kernel searches the deleted ones for two to three minutes.
   */
  async flush(options: RequestOptions = {}): Promise<void> {
    await this.#tell('flush', Command.FLUSH, options)
  }

  /**
   * Sets counters and rates to 0: those of one service and its real servers, or
   * without `service` those of all and the totals.
   *
   * @throws {IpvsError} ESRCH if there is no such service.
   */
  async zero(service?: ServiceKey | Service<Counter>, options: RequestOptions = {}): Promise<void> {
    if (service === undefined) {
      await this.#tell('zero', Command.ZERO, options)
      return
    }
    const key = keyOf(service)
    await this.#tell('zero', Command.ZERO, options, { service: key }, (writer) => {
      services.encodeService(writer, key)
    })
  }

  /**
   * Lists the virtual services, in the kernel's order.
   *
   * Not a snapshot: a long list arrives in pieces and the table may change
   * between them, so that an entry is missing. None is there twice.
   */
  async services(options?: ReadOptions & { readonly bigint?: false }): Promise<Service[]>
  async services(options: ReadOptions & { readonly bigint: true }): Promise<Service<bigint>[]>
  async services(options?: ReadOptions): Promise<Service<Counter>[]>
  async services(options: ReadOptions = {}): Promise<Service<Counter>[]> {
    check.checkOptions(options, READ_OPTIONS)
    this.#checkOpen('services')
    const kind = kindOf(options)
    const dump = await this.#queue.run((transport) => transport.dump(LIST_SERVICES), options.signal)
    if (dump.failure !== undefined) throw refusal(dump.failure, 'services')
    const list: Service<Counter>[] = []
    await eachMessage(dump, (message) => {
      list.push(new Service(this, services.decodeService(message.attributes(), kind).state))
    })
    return withoutRepeats(list, (service) => formatServiceKey(service.key))
  }

  /**
   * Reads one virtual service.
   *
   * @throws {IpvsError} ESRCH if there is none.
   */
  async service(
    key: ServiceKey | Service<Counter>,
    options?: ReadOptions & { readonly bigint?: false },
  ): Promise<Service>
  async service(
    key: ServiceKey | Service<Counter>,
    options: ReadOptions & { readonly bigint: true },
  ): Promise<Service<bigint>>
  async service(key: ServiceKey | Service<Counter>, options?: ReadOptions): Promise<Service<Counter>>
  async service(key: ServiceKey | Service<Counter>, options: ReadOptions = {}): Promise<Service<Counter>> {
    check.checkOptions(options, READ_OPTIONS)
    const service = keyOf(key)
    const { signal } = options
    const message = await this.#ask('service', Command.GET_SERVICE, { ...(signal && { signal }) }, { service }, (writer) => {
      services.encodeService(writer, service)
    })
    return new Service(this, services.decodeService(message.attributes(), kindOf(options)).state)
  }

  /**
   * Adds a virtual service. The result is what was added, with counters at 0.
   *
   * @throws {IpvsError} EEXIST if it is there already; ENOENT if the kernel
   *   neither has nor can load the scheduler or persistence engine.
   */
  async addService(spec: ServiceSpec, options: RequestOptions = {}): Promise<Service> {
    const key = keyOf(spec)
    const kernel = services.kernelServiceOf(check.checkServiceSpec(spec, key), check.familyOfService(key))
    await this.#tell('addService', Command.NEW_SERVICE, options, { service: key }, (writer) => {
      services.encodeService(writer, key, kernel)
    })
    return new Service(this, services.newService(key, kernel).state)
  }

  /**
   * Changes what is named of a virtual service and keeps the rest, its real
   * servers and its connections. Another scheduler starts over, and takes the
   * kernel some 20 ms. The result is the service after the edit, with the
   * counters from just before.
   *
   * @throws {IpvsError} ESRCH if there is no such service; ENOENT if the kernel
   *   neither has nor can load the scheduler or persistence engine.
   */
  async editService(
    service: ServiceKey | Service<Counter>,
    changes: ServiceChanges,
    options: RequestOptions = {},
  ): Promise<Service> {
    const key = keyOf(service)
    check.checkServiceChanges(changes, key)
    const subject = { service: key }
    const outcome = await this.#join('editService', this.#editServices, { key, changes }, options)
    return new Service(this, edited(outcome, 'editService', subject).state)
  }

  /**
   * Deletes a virtual service with its real servers. Its connections stay in
   * the kernel's table until they time out, and their packets are dropped.
   *
   * @throws {IpvsError} ESRCH if there is no such service.
   */
  async deleteService(service: ServiceKey | Service<Counter>, options: RequestOptions = {}): Promise<void> {
    const key = keyOf(service)
    await this.#tell('deleteService', Command.DEL_SERVICE, options, { service: key }, (writer) => {
      services.encodeService(writer, key)
    })
  }

  /**
   * Lists the real servers of a virtual service, in the kernel's order: newest
   * first. Not a snapshot, as with `services()`.
   *
   * @throws {IpvsError} ESRCH if there is no such service. The kernel answers
   *   that with an empty list (ip_vs_genl_dump_dests), so an empty one is asked after.
   */
  async realServers(
    service: ServiceKey | Service<Counter>,
    options?: ReadOptions & { readonly bigint?: false },
  ): Promise<RealServer[]>
  async realServers(
    service: ServiceKey | Service<Counter>,
    options: ReadOptions & { readonly bigint: true },
  ): Promise<RealServer<bigint>[]>
  async realServers(
    service: ServiceKey | Service<Counter>,
    options?: ReadOptions,
  ): Promise<RealServer<Counter>[]>
  async realServers(
    service: ServiceKey | Service<Counter>,
    options: ReadOptions = {},
  ): Promise<RealServer<Counter>[]> {
    check.checkOptions(options, READ_OPTIONS)
    return this.#realServers('realServers', keyOf(service), options)
  }

  /**
   * Reads one real server.
   *
   * @throws {IpvsError} ENOENT if the service has none of that address and port, ESRCH if there is no such service.
   */
  async realServer(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    options?: ReadOptions & { readonly bigint?: false },
  ): Promise<RealServer>
  async realServer(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    options: ReadOptions & { readonly bigint: true },
  ): Promise<RealServer<bigint>>
  async realServer(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    options?: ReadOptions,
  ): Promise<RealServer<Counter>>
  async realServer(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    options: ReadOptions = {},
  ): Promise<RealServer<Counter>> {
    check.checkOptions(options, READ_OPTIONS)
    const key = keyOf(service)
    const realServer = serverKeyOf(server, key)
    const list = await this.#realServers('realServer', key, options)
    const found = list.find(({ address, port }) => address === realServer.address && port === realServer.port)
    if (found === undefined) throw refusal({ errno: 2 }, 'realServer', { service: key, realServer })
    return found
  }

  /**
   * Adds a real server to a virtual service. The result is what was added, with
   * counters at 0; one that was deleted less than three minutes ago comes back
   * with its counters and connections, which `refresh()` shows.
   *
   * @throws {IpvsError} ESRCH if there is no such service, EEXIST if it has the
   *   server already, EINVAL if the kernel does not take the address as unicast
   *   (in a network namespace with no interface up it takes none).
   */
  async addRealServer(
    service: ServiceKey | Service<Counter>,
    spec: RealServerSpec,
    options: RequestOptions = {},
  ): Promise<RealServer> {
    const key = keyOf(service)
    const realServer = serverKeyOf(spec, key)
    const kernel = dests.kernelDestOf(check.checkServerSpec(spec, realServer, key))
    await this.#tell('addRealServer', Command.NEW_DEST, options, { service: key, realServer }, (writer) => {
      services.encodeService(writer, key)
      dests.encodeDest(writer, realServer, kernel)
    })
    return new RealServer(this, key, dests.newDest(realServer, kernel).state)
  }

  /**
   * Changes what is named of a real server and keeps the rest, its counters and
   * its connections. The result is the server after the edit, with the counters
   * from just before.
   *
   * @throws {IpvsError} ESRCH if there is no such service, ENOENT if it has no such server.
   */
  async editRealServer(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    changes: RealServerChanges,
    options: RequestOptions = {},
  ): Promise<RealServer> {
    const key = keyOf(service)
    const realServer = serverKeyOf(server, key)
    check.checkServerChanges(changes)
    const outcome = await this.#join('editRealServer', this.#editDests, { key, realServer, changes }, options)
    return new RealServer(this, key, edited(outcome, 'editRealServer', { service: key, realServer }).state)
  }

  /**
   * Deletes a real server. Packets of the connections it still has are dropped
   * without a word; {@link RealServer.drain} waits for their end first.
   *
   * @throws {IpvsError} ESRCH if there is no such service, ENOENT if it has no such server.
   */
  async deleteRealServer(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    options: RequestOptions = {},
  ): Promise<void> {
    const key = keyOf(service)
    const realServer = serverKeyOf(server, key)
    await this.#tell('deleteRealServer', Command.DEL_DEST, options, { service: key, realServer }, (writer) => {
      services.encodeService(writer, key)
      dests.encodeDest(writer, realServer)
    })
  }

  /**
   * Reads the whole table: every service with its real servers, in one native
   * call. A service that vanished in the middle is left out, and nothing is
   * there twice.
   *
   * @throws {IpvsError} EAGAIN if `stable` was asked for and no two reads agreed.
   */
  async snapshot(options?: SnapshotOptions & { readonly bigint?: false }): Promise<SnapshotEntry[]>
  async snapshot(options: SnapshotOptions & { readonly bigint: true }): Promise<SnapshotEntry<bigint>[]>
  async snapshot(options?: SnapshotOptions): Promise<SnapshotEntry<Counter>[]>
  async snapshot(options: SnapshotOptions = {}): Promise<SnapshotEntry<Counter>[]> {
    check.checkOptions(options, [...READ_OPTIONS, 'stable'])
    let table = await this.#table(options)
    if (options.stable !== true) return table
    for (let reads = 1; reads < STABLE_READS; reads++) {
      const again = await this.#table(options)
      if (await sameConfiguration(table, again)) return again
      table = again
    }
    throw refusal({ errno: 11 }, 'snapshot')
  }

  /** Lists the sync daemons that run: the master first, then the backup. */
  async syncDaemons(options: RequestOptions = {}): Promise<SyncDaemon[]> {
    check.checkOptions(options, REQUEST_OPTIONS)
    this.#checkOpen('syncDaemons')
    const dump = await this.#queue.run(
      (transport) => transport.dump({ command: Command.GET_DAEMON, attributes: NOTHING }),
      options.signal,
    )
    if (dump.failure !== undefined) throw refusal(dump.failure, 'syncDaemons')
    const list: SyncDaemon[] = []
    await eachMessage(dump, (message) => {
      list.push(decodeDaemon(message.attributes()))
    })
    return list
  }

  /**
   * Starts a sync daemon. There is no edit: stop it and start another.
   *
   * @throws {IpvsError} EEXIST if one of that state runs, ENODEV if there is no
   *   such interface, ENETUNREACH without a route to the group, EINVAL while a
   *   real server of another family than its service exists.
   */
  async startSyncDaemon(spec: SyncDaemonSpec, options: RequestOptions = {}): Promise<void> {
    const daemon = check.checkDaemonSpec(spec)
    await this.#tell('startSyncDaemon', Command.NEW_DAEMON, options, {}, (writer) => {
      encodeDaemon(writer, daemon)
    })
  }

  /**
   * Stops the sync daemon of one state.
   *
   * @throws {IpvsError} ESRCH if none of that state runs.
   */
  async stopSyncDaemon(state: SyncDaemonState, options: RequestOptions = {}): Promise<void> {
    const daemon = check.checkDaemonState(state)
    await this.#tell('stopSyncDaemon', Command.DEL_DAEMON, options, {}, (writer) => {
      encodeDaemonState(writer, daemon)
    })
  }

  /**
   * Reads a sysctl of net.ipv4.vs in this network namespace.
   *
   * @internal
   */
  sysctl(name: string): Promise<string | undefined> {
    return this.#queue.run((transport) => transport.sysctl(name))
  }

  /**
   * Which attributes the kernel sends of one service and its real servers.
   *
   * @internal
   */
  async reportedAttributes(service: ServiceKey): Promise<ReportedAttributes> {
    const key = keyOf(service)
    const request = this.#request(Command.GET_SERVICE, (writer) => {
      services.encodeService(writer, key)
    })
    const read = async (nest: number, dump: Promise<Dump>): Promise<ReadonlySet<number>> => {
      const types = new Set<number>()
      await eachMessage(await dump, (message) => {
        for (const type of memberTypes(message.attributes(), nest)) types.add(type)
      })
      return types
    }
    return {
      service: await read(CommandAttribute.SERVICE, this.#queue.run((transport) => transport.dump(LIST_SERVICES))),
      dest: await read(
        CommandAttribute.DEST,
        this.#queue.run((transport) => transport.dump({ ...request, command: Command.GET_DEST })),
      ),
    }
  }

  /** Sends a command that brings nothing back. */
  async #tell(
    command: string,
    number: number,
    options: RequestOptions,
    subject: Subject = {},
    encode?: (writer: AttributeWriter) => void,
  ): Promise<void> {
    const { failure } = await this.#send(command, number, options, encode)
    if (failure !== undefined) throw refusal(failure, command, subject)
  }

  /** Sends a command that brings one message back, and gives that. */
  async #ask(
    command: string,
    number: number,
    options: RequestOptions,
    subject: Subject = {},
    encode?: (writer: AttributeWriter) => void,
  ): Promise<MessageReader> {
    const { failure, messages } = await this.#send(command, number, options, encode)
    if (failure !== undefined) throw refusal(failure, command, subject)
    const message = new MessageReader(messages ?? NOTHING)
    if (!message.next()) throw refusal({ errno: 74 }, command, subject)
    return message
  }

  #send(
    command: string,
    number: number,
    options: RequestOptions,
    encode?: (writer: AttributeWriter) => void,
  ): Promise<Reply> {
    check.checkOptions(options, REQUEST_OPTIONS)
    this.#checkOpen(command)
    return this.#queue.request(this.#request(number, encode), options.signal)
  }

  #join<Item, Outcome>(
    command: string,
    handler: (transport: Transport, items: readonly Item[]) => Promise<readonly Outcome[]>,
    item: Item,
    options: RequestOptions,
  ): Promise<Outcome> {
    check.checkOptions(options, REQUEST_OPTIONS)
    this.#checkOpen(command)
    return this.#queue.join(handler, item, options.signal)
  }

  #request(command: number, encode?: (writer: AttributeWriter) => void): Request {
    if (encode === undefined) return { command, attributes: NOTHING }
    encode(this.#writer)
    return { command, attributes: this.#writer.take() }
  }

  #getService(key: ServiceKey): Request {
    return this.#request(Command.GET_SERVICE, (writer) => {
      services.encodeService(writer, key)
    })
  }

  #getDests(key: ServiceKey): Request {
    return { ...this.#getService(key), command: Command.GET_DEST }
  }

  #checkOpen(command: string): void {
    if (this.#queue.closed) throw refusal({ errno: 9 }, command)
  }

  async #realServers(command: string, key: ServiceKey, options: ReadOptions): Promise<RealServer<Counter>[]> {
    this.#checkOpen(command)
    const dump = await this.#queue.run((transport) => this.#dumpDests(transport, key), options.signal)
    if (dump.failure !== undefined) throw refusal(dump.failure, command, { service: key })
    const list: RealServer<Counter>[] = []
    const kind = kindOf(options)
    const family = check.familyOfService(key)
    await eachMessage(dump, (message) => {
      list.push(new RealServer(this, key, dests.decodeDest(message.attributes(), family, kind).state))
    })
    return withoutRepeats(list, endpointOf)
  }

  /** Dumps the real servers of a service, which fails if there is no such service. */
  async #dumpDests(transport: Transport, key: ServiceKey): Promise<Dump> {
    const dump = await transport.dump(this.#getDests(key))
    if (dump.failure !== undefined || dump.messages.some((block) => block.length > 0)) return dump
    const [service] = await transport.batch([this.#getService(key)])
    return service?.failure === undefined ? dump : { ...dump, failure: service.failure }
  }

  async #table(options: ReadOptions): Promise<SnapshotEntry<Counter>[]> {
    this.#checkOpen('snapshot')
    const kind = kindOf(options)
    const entries = await this.#queue.run((transport) => this.#readTable(transport, kind), options.signal)
    if ('errno' in entries) throw refusal(entries, 'snapshot')
    return entries
  }

  async #readTable(transport: Transport, kind: CounterKind<Counter>): Promise<SnapshotEntry<Counter>[] | Failure> {
    const dump = await transport.dumpOfDumps(LIST_SERVICES, Command.GET_DEST, CommandAttribute.SERVICE)
    if (dump.failure !== undefined) return dump.failure
    const entries: { readonly service: Service<Counter>; realServers: RealServer<Counter>[] }[] = []
    await eachMessage(dump, (message) => {
      if (message.command === Command.NEW_SERVICE) {
        const { state } = services.decodeService(message.attributes(), kind)
        entries.push({ service: new Service(this, state), realServers: [] })
        return
      }
      const entry = entries.at(-1)
      if (entry === undefined) return
      const { key, family } = entry.service
      const { state } = dests.decodeDest(message.attributes(), family, kind)
      entry.realServers.push(new RealServer(this, key, state))
    })
    for (const entry of entries) entry.realServers = withoutRepeats(entry.realServers, endpointOf)

    // The dump of a service that vanished meanwhile is as empty as that of one without servers.
    const empty = entries.filter((entry) => entry.realServers.length === 0)
    const replies = empty.length === 0 ? [] : await transport.batch(empty.map(({ service }) => this.#getService(service.key)))
    const gone = new Set(empty.filter((_, index) => replies[index]?.failure !== undefined))
    const there = entries.filter((entry) => !gone.has(entry))
    return withoutRepeats(there, (entry) => formatServiceKey(entry.service.key))
  }

  readonly #editServices = async (
    transport: Transport,
    items: readonly { readonly key: ServiceKey; readonly changes: ServiceChanges }[],
  ): Promise<readonly EditOutcome<services.DecodedService<number>>[]> => {
    const edits = items.map(({ key, changes }) => ({
      id: formatServiceKey(key),
      key,
      merge: (current: services.DecodedService<number>) =>
        services.withSettings(current, services.mergeService(current.kernel, changes, check.familyOfService(key))),
      encode: ({ kernel }: services.DecodedService<number>) =>
        this.#request(Command.SET_SERVICE, (writer) => {
          services.encodeService(writer, key, kernel)
        }),
    }))
    return runEdits(transport, edits, async () => {
      const keys = new Map(edits.map((edit) => [edit.id, edit.key]))
      const replies = await transport.batch([...keys.values()].map((key) => this.#getService(key)))
      const read = new Map<string, services.DecodedService<number> | Failure>()
      for (const [index, id] of [...keys.keys()].entries()) {
        const { failure, messages } = replies[index] ?? {}
        const message = new MessageReader(messages ?? NOTHING)
        if (failure !== undefined) read.set(id, failure)
        else if (message.next()) read.set(id, services.decodeService(message.attributes(), numbers))
      }
      return read
    })
  }

  readonly #editDests = async (
    transport: Transport,
    items: readonly {
      readonly key: ServiceKey
      readonly realServer: Required<RealServerKey>
      readonly changes: RealServerChanges
    }[],
  ): Promise<readonly EditOutcome<dests.DecodedDest<number>>[]> => {
    const edits = items.map(({ key, realServer, changes }) => ({
      id: `${formatServiceKey(key)} ${endpointOf(realServer)}`,
      key,
      merge: (current: dests.DecodedDest<number>) => {
        const kernel = dests.mergeDest(current.kernel, changes)
        check.checkMixedFamily(realServer, key, dests.methodOf(kernel))
        return dests.withSettings(current, kernel)
      },
      encode: ({ kernel }: dests.DecodedDest<number>) =>
        this.#request(Command.SET_DEST, (writer) => {
          services.encodeService(writer, key)
          dests.encodeDest(writer, realServer, kernel)
        }),
    }))
    return runEdits(transport, edits, async () => {
      const read = new Map<string, dests.DecodedDest<number> | Failure>()
      const keys = new Map(edits.map((edit) => [formatServiceKey(edit.key), edit.key]))
      for (const [id, key] of keys) {
        const dump = await this.#dumpDests(transport, key)
        const { failure } = dump
        if (failure !== undefined) {
          for (const edit of edits) if (edit.key === key) read.set(edit.id, failure)
          continue
        }
        const family = check.familyOfService(key)
        await eachMessage(dump, (message) => {
          const dest = dests.decodeDest(message.attributes(), family, numbers)
          read.set(`${id} ${endpointOf(dest.state)}`, dest)
        })
      }
      return read
    })
  }
}

const LIST_SERVICES: Request = { command: Command.GET_SERVICE, attributes: NOTHING }

type Subject = { readonly service?: ServiceKey; readonly realServer?: RealServerKey }

async function connect({ netns, timeoutMs, transport, ...rest }: OpenOptions): Promise<Transport | Failure> {
  check.checkOptions(rest, ['netns', 'timeoutMs', 'transport'])
  const wait = check.whole(timeoutMs ?? DEFAULT_TIMEOUT_MS, 'timeoutMs', 1, 2147483647)
  if (transport !== undefined) {
    if (netns !== undefined) throw new TypeError('netns cannot be chosen together with transport')
    return transport
  }
  if (netns === undefined) return openNative({ timeoutMs: wait })
  return openNative({ netns: check.netnsPath(netns), timeoutMs: wait })
}

/** The identity of a service that the caller named, as the kernel's bytes read back. */
function keyOf(service: ServiceKey | Service<Counter>): ServiceKey {
  if (service instanceof Service) return service.key
  return services.canonicalServiceKey(check.checkServiceKey(service))
}

function serverKeyOf(server: RealServerKey, service: ServiceKey): Required<RealServerKey> {
  return dests.canonicalServerKey(check.checkServerKey(server, service))
}

function endpointOf({ address, port }: Required<RealServerKey>): string {
  return formatEndpoint(address, port)
}

function kindOf(options: ReadOptions): CounterKind<Counter> {
  return (options.bigint === true ? bigints : numbers) as CounterKind<Counter>
}

function refusal({ errno, syscall, message }: Failure, command: string, subject: Subject = {}): IpvsError {
  return new IpvsError({
    errno,
    command,
    ...subject,
    ...(syscall !== undefined && { syscall }),
    ...(message !== undefined && { kernelMessage: message }),
  })
}

/** The object after an edit, or the error that ended it. */
function edited<Current>(outcome: EditOutcome<Current>, command: string, subject: Subject): Current {
  if ('failure' in outcome) throw refusal(outcome.failure, command, subject)
  if ('thrown' in outcome) throw outcome.thrown
  return outcome.edited
}

/** Visits every message of a dump, and lets others have the JS thread now and then. */
async function eachMessage(dump: Dump, visit: (message: MessageReader) => void): Promise<void> {
  const pace = new Pace()
  for (const block of dump.messages) {
    const message = new MessageReader(block)
    while (message.next()) {
      visit(message)
      if (pace.due()) await pace.rest()
    }
  }
}

/** A list without what a table that moved under its dump made come twice. */
function withoutRepeats<T>(list: T[], identify: (entry: T) => string): T[] {
  if (list.length <= ONE_CHUNK) return list
  const seen = new Set<string>()
  const first = list.filter((entry) => {
    const size = seen.size
    return seen.add(identify(entry)).size > size
  })
  return first
}

/** Whether two reads of the table agree on all that can be configured. */
async function sameConfiguration(
  one: readonly SnapshotEntry<Counter>[],
  other: readonly SnapshotEntry<Counter>[],
): Promise<boolean> {
  if (one.length !== other.length) return false
  const pace = new Pace()
  for (const [index, entry] of one.entries()) {
    if (JSON.stringify(entry) !== JSON.stringify(other[index])) return false
    if (pace.due()) await pace.rest()
  }
  return true
}
