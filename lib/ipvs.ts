import { canonicalServerKey, canonicalServiceKey } from './model/address.ts'
import { apply, type ApplyOptions, type ApplyResult, plan } from './apply/apply.ts'
import { restoreFromFile, saveToFile, type SaveToFileOptions } from './apply/files.ts'
import { reconcile, type ReconcileOptions, type Reconciler, type ReconcileSource } from './apply/reconcile.ts'
import { restore, type RestoreOptions, save, type SaveOptions } from './apply/save.ts'
import type { Unit } from './apply/transaction.ts'
import * as check from './model/check.ts'
import { Errno } from './model/errno.ts'
import { SYSCTLS } from './model/sysctls.ts'
import type {
  Capabilities,
  Connection,
  Counter,
  Info,
  RealServerChanges,
  RealServerKey,
  RealServerSpec,
  RealServerState,
  RequestOptions,
  ServiceChanges,
  ServiceKey,
  ServiceSpec,
  State,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
  Totals,
} from './model/types.ts'
import {
  checkDaemonSpec,
  checkDaemonState,
  checkServerChanges,
  checkServerKey,
  checkServerSpec,
  checkServiceChanges,
  checkServiceKey,
  checkServiceSpec,
  checkSysctlName,
  checkSysctlValue,
  checkTimeouts,
  netnsPath,
} from './model/validate.ts'
import { parseConnections } from './observe/connections.ts'
import { parseTotals } from './observe/totals.ts'
import { RealServer, Service } from './service.ts'
import { probe } from './session/probe.ts'
import { type Handler, RequestQueue } from './session/queue.ts'
import {
  edited,
  forCommand,
  isAbsent,
  modulesOf,
  refusal,
  type Subject,
  sysctlRefusal,
  unitOf,
} from './session/refusals.ts'
import * as kernel from './session/requests.ts'
import type { Plan, PlanOptions } from './state/plan.ts'
import { openNative } from './transport/native.ts'
import type { Failure, Reply, Request, Transport } from './transport/transport.ts'
import { Pace } from './util/pace.ts'

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
  #closed = false
  #closing: Promise<void> | undefined
  readonly #onClose = new Set<() => void>()
  /** What waits in between of its requests, and what close() waits for. */
  readonly #lasting = new Set<Promise<unknown>>()

  private constructor(transport: Transport, queue = new RequestQueue(transport)) {
    this.#transport = transport
    this.#queue = queue
  }

  /**
   * Opens a socket to the kernel. Kernels since 5.16 load the module `ip_vs` by
   * themselves; before that it must have been loaded. Succeeds without the
   * capability too: the kernel checks at each request, and `info()` is a cheap one.
   *
   * @throws {IpvsError} ENOENT if the kernel has no IPVS or there is no such
   *   network namespace, EPERM if the namespace may not be entered.
   * @throws {Error} ERR_IPVS_ADDON if the addon does not load, and
   *   ERR_IPVS_PLATFORM where this is not Linux.
   */
  static async open(options: OpenOptions = {}): Promise<Ipvs> {
    const transport = await connect(options)
    if ('errno' in transport) throw refusal(transport, 'open', placeOf(options))
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
      if (isAbsent(transport)) return probe(undefined)
      throw refusal(transport, 'probe', placeOf(options))
    }
    try {
      const scratch = await transport.openScratch()
      if ('errno' in scratch) {
        if (isAbsent(scratch)) return await probe(undefined)
        throw refusal(scratch, 'probe')
      }
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

  /**
   * Waits for what was asked for, then closes the socket. May be called again.
   * Later calls reject with EBADF. A drain, or an apply that drains, does not
   * wait for connections any longer: it gives the weights back, an apply undoes
   * all it did, and it rejects with EBADF.
   */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#closed = true
      this.#closing = this.#end()
      for (const callback of this.#onClose) callback()
    }
    return this.#closing
  }

  async #end(): Promise<void> {
    await Promise.allSettled(this.#lasting)
    await this.#queue.idle()
    await this.#transport.close()
  }

  /**
   * Calls back when this is closed. What it gives takes that back.
   *
   * @internal
   */
  onClose(callback: () => void): () => void {
    this.#onClose.add(callback)
    return () => this.#onClose.delete(callback)
  }

  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Version of the kernel's IPVS, and the size of its connection table. */
  async info(options: RequestOptions = {}): Promise<Info> {
    check.checkOptions(options, REQUEST_OPTIONS)
    return this.#ask('info', kernel.queries.info(), options)
  }

  /** How long idle connections are remembered. */
  async timeouts(options: RequestOptions = {}): Promise<Timeouts> {
    check.checkOptions(options, REQUEST_OPTIONS)
    return this.#ask('timeouts', kernel.queries.timeouts(), options)
  }

  /**
   * Sets the timeouts that are named, 1 to 21474836 seconds each. Timers that
   * run are not touched.
   *
   * @throws {IpvsError} EINVAL above 2147483647 divided by the kernel's CONFIG_HZ; nothing is set then.
   */
  async setTimeouts(timeouts: Partial<Timeouts>, options: RequestOptions = {}): Promise<void> {
    await this.#tell('setTimeouts', kernel.commands.setTimeouts(checkTimeouts(timeouts)), options)
  }

  /**
   * Deletes all services of the network namespace with their real servers.
   * Connections, timeouts and sync daemons stay. Adding many real servers soon
   * after is slow: the kernel searches the deleted ones for two to three minutes.
   */
  async flush(options: RequestOptions = {}): Promise<void> {
    await this.#tell('flush', kernel.commands.flush(), options)
  }

  /**
   * Sets counters and rates to 0: those of one service and its real servers, or
   * without `service` those of all and the totals. What passed in the last two
   * seconds may not be counted yet, and is then counted afterwards.
   *
   * @throws {IpvsError} ESRCH if there is no such service.
   */
  async zero(service?: ServiceKey | Service<Counter>, options: RequestOptions = {}): Promise<void> {
    const key = service === undefined ? undefined : keyOf(service)
    await this.#tell('zero', kernel.commands.zero(key), options, key && { service: key })
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
    return this.#list('services', options, (transport) =>
      kernel.readServices(transport, kindOf(options), (state) => new Service(this, state)),
    )
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
    return new Service(
      this,
      await this.#ask('service', kernel.queries.service(service, kindOf(options)), options, { service }),
    )
  }

  /**
   * Adds a virtual service. The result is what was added, with counters at 0.
   *
   * @throws {IpvsError} EEXIST if it is there already; ENOENT if the kernel
   *   neither has nor can load the scheduler or persistence engine.
   */
  async addService(spec: ServiceSpec, options: RequestOptions = {}): Promise<Service> {
    const key = keyOf(spec)
    const { request, state } = kernel.addService(key, checkServiceSpec(spec, key))
    await this.#tell('addService', request, options, { service: key, ...modulesOf(state) })
    return new Service(this, state)
  }

  /**
   * Changes what is named of a virtual service and keeps the rest, its real
   * servers and its connections. Another scheduler starts over, and takes the
   * kernel some 20 ms in which the service has none: new connections are refused
   * meanwhile (ip_vs_edit_service() waits for synchronize_rcu()). The result is the service after the edit, with the
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
    const item = { key, changes: checkServiceChanges(changes, key) }
    const subject = { service: key, ...modulesOf(item.changes) }
    const outcome = await this.#join('editService', kernel.editServices, item, options, subject)
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
    await this.#tell('deleteService', kernel.commands.deleteService(key), options, { service: key })
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
    if (found === undefined)
      throw refusal({ errno: Errno.ENOENT }, 'realServer', { service: key, realServer })
    return found
  }

  /**
   * Adds a real server to a virtual service; a {@link RealServer} that was read,
   * from another service too, does for a spec. The result is what was added, with counters at 0; one that was deleted less than three minutes ago comes back
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
    // One that was read has more in it than adds it.
    const given = spec instanceof RealServer ? spec.toJSON() : spec
    const realServer = serverKeyOf(given, key)
    const settings = checkServerSpec(given, realServer, key)
    const { request, state } = kernel.addDest(key, realServer, settings)
    await this.#tell('addRealServer', request, options, { service: key, realServer })
    return new RealServer(this, key, state)
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
    const item = { key, server: realServer, changes: checkServerChanges(changes) }
    const subject = { service: key, realServer }
    const outcome = await this.#join('editRealServer', kernel.editDests, item, options, subject)
    return new RealServer(this, key, edited(outcome, 'editRealServer', subject))
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
    const request = kernel.commands.deleteDest(key, realServer)
    await this.#tell('deleteRealServer', request, options, { service: key, realServer })
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
    throw refusal({ errno: Errno.EAGAIN }, 'snapshot')
  }

  /**
   * Saves the table as plain data: what `restore()`, `plan()` and `apply()`
   * take, and `formatState()` makes text of. Reads until two reads agree, so
   * that a change which someone makes meanwhile shows whole or not at all.
   *
   * @throws {IpvsError} EAGAIN if eight reads did not agree.
   * @throws {RangeError} if the kernel does not have a sysctl that `sysctls` names.
   */
  save(options: SaveOptions = {}): Promise<State> {
    return save(this, options)
  }

  /**
   * Makes the table equal to a saved state, or to what its text says: JSON, YAML
   * or lines of ipvsadm. A text is read to its end and checked before anything
   * is sent. Then this is `apply()`: what is equal is not touched, so that its
   * connections and counters stay. Into an empty table it is exact, the order of
   * real servers included.
   *
   * @throws {StateSyntaxError} with line, column and reason if the text is none of a state.
   * @throws as `apply()` does.
   */
  restore(saved: State | string, options: RestoreOptions = {}): Promise<ApplyResult> {
    return restore(this, saved, options)
  }

  /**
   * Saves to a file, and gives what it saved. The file is written whole or not
   * at all: to a temporary one in the same folder, which then takes its place.
   * Only its owner may read it (mode 0600), or nobody if that was so before.
   *
   * @throws {Error} ELOOP if the path is a symbolic link, which is neither
   *   followed nor replaced; EINVAL if it is no regular file; those of the file system.
   * @throws {TypeError} if the name does not tell the format and none is given,
   *   or lines of ipvsadm cannot say something and there is no `onLoss`.
   * @throws {IpvsError} as `save()` does.
   */
  saveToFile(path: string, options: SaveToFileOptions = {}): Promise<State> {
    return saveToFile(this, path, options)
  }

  /**
   * Restores from a file, in the format that its name tells or, where it tells
   * none, that it looks like.
   *
   * @throws {StateSyntaxError} with the file's name, line, column and reason if it is no state, or seems to be cut off.
   * @throws as `restore()` does; errors of the file system.
   */
  restoreFromFile(path: string, options: RestoreOptions = {}): Promise<ApplyResult> {
    return restoreFromFile(this, path, options)
  }

  /**
   * Keeps the table as a state wants it: applies it now, then every
   * `intervalMs`, when its file changes and when it is told to. Each run compares
   * with the kernel and never with memory, so what someone else deleted comes
   * back. One run at a time; those that fail come further and further apart.
   * Ends when this is closed.
   *
   * @throws {TypeError | RangeError} at once, if an option is wrong.
   * @throws {IpvsError} EBADF at once, if this is closed.
   */
  reconcile(source: ReconcileSource, options: ReconcileOptions): Reconciler {
    this.#checkOpen('reconcile')
    return reconcile(this, source, options)
  }

  /**
   * Compares the table with a state, and says what `apply()` would do. Changes nothing.
   *
   * @throws {TypeError | RangeError} naming the field if it is no state: `services[3].realServers[0].weight`.
   */
  plan(wanted: State, options: PlanOptions & RequestOptions = {}): Promise<Plan> {
    return plan(this, wanted, options)
  }

  /**
   * Makes the table equal to a state, or does what a plan says. What exists is
   * edited in place and what is equal is not touched. New services and real
   * servers come first, then edits, and deletions only when all else has
   * succeeded. Where a step fails, what was done is undone in reverse; a real
   * server that was deleted comes back in front of the others.
   *
   * Other calls of this object wait meanwhile, but for the time of a `drain`.
   *
   * @throws {TypeError | RangeError} naming the field if it is no state. Nothing was sent.
   * @throws {ApplyError} ERR_IPVS_GUARD if a guard refuses the plan, and
   *   ERR_IPVS_STALE_PLAN if the table has changed since it was made; nothing was
   *   changed. ERR_IPVS_APPLY if a step failed; it says what was undone. After a
   *   `drain` ERR_IPVS_STALE_PLAN too says that, if others changed what was about to be deleted.
   * @throws the reason of `signal`, or {@link IpvsError} EBADF if this is closed
   *   during a `drain`, once what was done is undone.
   */
  apply(wanted: State | Plan, options: ApplyOptions = {}): Promise<ApplyResult> {
    return apply(this, wanted, options)
  }

  /** Lists the sync daemons that run: the master first, then the backup. */
  async syncDaemons(options: RequestOptions = {}): Promise<SyncDaemon[]> {
    check.checkOptions(options, REQUEST_OPTIONS)
    return this.#list('syncDaemons', options, kernel.readDaemons)
  }

  /**
   * Starts a sync daemon. There is no edit: stop it and start another.
   *
   * @throws {IpvsError} EEXIST if one of that state runs, ENODEV if there is no
   *   such interface, ENETUNREACH without a route to the group, EINVAL while a
   *   real server of another family than its service exists.
   */
  async startSyncDaemon(spec: SyncDaemonSpec, options: RequestOptions = {}): Promise<void> {
    const daemon = checkDaemonSpec(spec)
    const { multicastInterface } = daemon
    await this.#tell('startSyncDaemon', kernel.commands.startDaemon(daemon), options, { multicastInterface })
  }

  /**
   * Stops the sync daemon of one state.
   *
   * @throws {IpvsError} ESRCH if none of that state runs.
   */
  async stopSyncDaemon(state: SyncDaemonState, options: RequestOptions = {}): Promise<void> {
    await this.#tell('stopSyncDaemon', kernel.commands.stopDaemon(checkDaemonState(state)), options)
  }

  /**
   * Reads the sysctls of net.ipv4.vs in this network namespace, by name: those
   * of a fixed list that this kernel has. Needs no capability. In a namespace of
   * another user namespace Linux before 6.11 shows none.
   */
  async sysctls(options: RequestOptions = {}): Promise<Record<string, string>> {
    check.checkOptions(options, REQUEST_OPTIONS)
    this.#checkOpen('sysctls')
    return this.#queue.run(async (transport) => {
      const found: Record<string, string> = {}
      for (const name of SYSCTLS) {
        const value = await transport.sysctl(name)
        if (typeof value === 'object') throw refusal(value, 'sysctls')
        if (value !== undefined) found[name] = value
      }
      return found
    }, options.signal)
  }

  /**
   * Reads one sysctl of net.ipv4.vs in this network namespace; `undefined` where this kernel has none of that name.
   */
  async sysctl(name: string, options: RequestOptions = {}): Promise<string | undefined> {
    check.checkOptions(options, REQUEST_OPTIONS)
    checkSysctlName(name)
    this.#checkOpen('sysctl')
    const value = await this.#queue.run((transport) => transport.sysctl(name), options.signal)
    if (typeof value === 'object') throw refusal(value, 'sysctl')
    return value
  }

  /**
   * Sets a sysctl of net.ipv4.vs in this network namespace, for new work of the
   * kernel. The value is text as in the file: most are a whole number,
   * sync_threshold is two.
   *
   * @throws {IpvsError} ENOENT if this kernel has no sysctl of that name, EINVAL
   *   if it refuses the value, EACCES without the right to write it.
   */
  async setSysctl(name: string, value: string | number, options: RequestOptions = {}): Promise<void> {
    check.checkOptions(options, REQUEST_OPTIONS)
    checkSysctlName(name)
    const text = checkSysctlValue(name, value)
    this.#checkOpen('setSysctl')
    const failure = await this.#queue.run((transport) => transport.setSysctl(name, text), options.signal)
    if (failure !== undefined) throw sysctlRefusal(failure, name, text)
  }

  /**
   * Lists the connections that the kernel remembers, templates of persistence
   * among them, in its own order. Read when the loop begins, up to 256 MiB of
   * text (about two and a half million connections), and not a snapshot: the
   * kernel goes on meanwhile. Needs no capability.
   *
   * @throws {IpvsError} EFBIG if there are more connections than that.
   */
  async *connections(options: RequestOptions = {}): AsyncGenerator<Connection, void, undefined> {
    check.checkOptions(options, REQUEST_OPTIONS)
    this.#checkOpen('connections')
    const text = await this.#queue.run((transport) => transport.connections(), options.signal)
    if ('errno' in text) throw refusal(text, 'connections')
    const pace = new Pace()
    for (const connection of parseConnections(text)) {
      yield connection
      if (pace.due()) await pace.rest()
    }
  }

  /**
   * Reads what passed this director in all, from /proc/net/ip_vs_stats. The
   * kernel brings it up to date when it does the counters of services. Needs no
   * capability.
   *
   * @throws {IpvsError} ENOENT if the module ip_vs is not loaded.
   */
  async totals(options?: ReadOptions & { readonly bigint?: false }): Promise<Totals>
  async totals(options: ReadOptions & { readonly bigint: true }): Promise<Totals<bigint>>
  async totals(options?: ReadOptions): Promise<Totals<Counter>>
  async totals(options: ReadOptions = {}): Promise<Totals<Counter>> {
    check.checkOptions(options, READ_OPTIONS)
    this.#checkOpen('totals')
    const file = await this.#queue.run((transport) => transport.totals(), options.signal)
    if ('errno' in file) throw refusal(file, 'totals')
    const text = new TextDecoder().decode(file)
    const totals = parseTotals(text, (digits) =>
      options.bigint === true ? BigInt(`0x${digits}`) : parseInt(digits, 16),
    )
    if (totals === undefined) throw refusal({ errno: Errno.EBADMSG }, 'totals')
    return totals
  }

  /**
   * Which attributes the kernel sends of the services and real servers that there are.
   *
   * @internal
   */
  async reportedAttributes(): Promise<kernel.ReportedAttributes> {
    const reported = await this.#queue.run(kernel.reportedAttributes)
    if ('errno' in reported) throw refusal(reported, 'probe')
    return reported
  }

  /**
   * Runs a task that has the kernel for itself: no other call of this object comes between its own.
   *
   * @internal
   */
  async unit<T>(command: string, task: (unit: Unit) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#checkOpen(command)
    return this.#queue.run((transport) => task(unitOf(new kernel.StateAccess(transport), command)), signal)
  }

  /**
   * Runs a task that waits in between of its requests. close() raises the
   * signal that it is given and lets it undo what it did: the Ipvs that it is
   * given is open so long.
   *
   * @internal
   */
  async lasting<T>(command: string, task: (ipvs: Ipvs, ending: AbortSignal) => Promise<T>): Promise<T> {
    this.#checkOpen(command)
    const ending = new AbortController()
    const forget = this.onClose(() => {
      ending.abort(refusal({ errno: Errno.EBADF }, command))
    })
    const running = task(new Ipvs(this.#transport, this.#queue), ending.signal)
    this.#lasting.add(running)
    try {
      return await running
    } finally {
      this.#lasting.delete(running)
      forget()
    }
  }

  /** Sends a command that brings nothing back. */
  async #tell(command: string, request: Request, options: RequestOptions, subject?: Subject): Promise<void> {
    check.checkOptions(options, REQUEST_OPTIONS)
    const { failure } = await this.#send(command, request, options)
    if (failure !== undefined) throw refusal(failure, command, subject)
  }

  /** Sends a command that brings one message back, and reads that. */
  async #ask<T>(
    command: string,
    query: kernel.Query<T>,
    options: RequestOptions,
    subject?: Subject,
  ): Promise<T> {
    const reply = await this.#send(command, query.request, options)
    if (reply.failure !== undefined) throw refusal(reply.failure, command, subject)
    try {
      return kernel.answer(query, reply)
    } catch (error) {
      throw forCommand(error, command, subject)
    }
  }

  /** Reads a list, which takes more than one request. */
  async #list<T>(
    command: string,
    { signal }: RequestOptions,
    read: (transport: Transport) => Promise<T[] | Failure>,
    subject?: Subject,
  ): Promise<T[]> {
    this.#checkOpen(command)
    try {
      const list = await this.#queue.run(read, signal)
      if ('errno' in list) throw refusal(list, command, subject)
      return list
    } catch (error) {
      throw forCommand(error, command, subject)
    }
  }

  #send(command: string, request: Request, { signal }: RequestOptions): Promise<Reply> {
    this.#checkOpen(command)
    return this.#queue.request(request, signal)
  }

  async #join<Item, Outcome>(
    command: string,
    handler: Handler<Item, Outcome>,
    item: Item,
    options: RequestOptions,
    subject: Subject,
  ): Promise<Outcome> {
    check.checkOptions(options, REQUEST_OPTIONS)
    this.#checkOpen(command)
    try {
      return await this.#queue.join(handler, item, options.signal)
    } catch (error) {
      throw forCommand(error, command, subject)
    }
  }

  #checkOpen(command: string): void {
    if (this.#closed) throw refusal({ errno: Errno.EBADF }, command)
  }

  #realServers(command: string, key: ServiceKey, options: ReadOptions): Promise<RealServer<Counter>[]> {
    const make = (state: RealServerState<Counter>): RealServer<Counter> => new RealServer(this, key, state)
    return this.#list(
      command,
      options,
      (transport) => kernel.readDests(transport, key, kindOf(options), make),
      { service: key },
    )
  }

  #table(options: ReadOptions): Promise<SnapshotEntry<Counter>[]> {
    return this.#list('snapshot', options, (transport) =>
      kernel.readTable(
        transport,
        kindOf(options),
        (state) => new Service(this, state),
        (key, state) => new RealServer(this, key, state),
      ),
    )
  }
}

async function connect(options: OpenOptions): Promise<Transport | Failure> {
  if (typeof (options as Partial<Transport> | null)?.batch === 'function') {
    throw new TypeError('a transport, such as the kernel in memory, is an option: Ipvs.open({ transport })')
  }
  check.checkOptions(options, ['netns', 'timeoutMs', 'transport'])
  const { netns, timeoutMs, transport } = options
  const wait = check.whole(timeoutMs ?? DEFAULT_TIMEOUT_MS, 'timeoutMs', 1, 2147483647)
  if (transport !== undefined) {
    check.object(transport, 'transport')
    if (netns !== undefined) throw new TypeError('netns cannot be chosen together with transport')
    return transport
  }
  if (netns === undefined) return openNative({ timeoutMs: wait })
  return openNative({ netns: netnsPath(netns), timeoutMs: wait })
}

function placeOf({ netns }: OpenOptions): { readonly netns?: string } {
  return netns === undefined ? {} : { netns }
}

/** The identity of a service that the caller named, as the kernel's bytes read back. */
function keyOf(service: ServiceKey | Service<Counter>): ServiceKey {
  if (service instanceof Service) return service.key
  return canonicalServiceKey(checkServiceKey(service))
}

function serverKeyOf(server: RealServerKey, service: ServiceKey): Required<RealServerKey> {
  return canonicalServerKey(checkServerKey(server, service))
}

function kindOf(options: ReadOptions): kernel.CounterKind<Counter> {
  return options.bigint === true ? kernel.bigints : kernel.numbers
}

/** Whether two reads of the table agree on all that can be configured. */
async function sameConfiguration(
  one: readonly SnapshotEntry<Counter>[],
  other: readonly SnapshotEntry<Counter>[],
): Promise<boolean> {
  if (one.length !== other.length) return false
  const pace = new Pace()
  for (const [index, { service, realServers }] of one.entries()) {
    const again = other[index] as SnapshotEntry<Counter>
    if (!isSame(service, again.service) || realServers.length !== again.realServers.length) return false
    for (const [at, server] of realServers.entries()) {
      if (!isSame(server, again.realServers[at])) return false
      if (pace.due()) await pace.rest()
    }
    if (pace.due()) await pace.rest()
  }
  return true
}

/** Without counters: toJSON() gives what can be configured. */
function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}
