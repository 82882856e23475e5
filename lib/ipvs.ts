import { apply, plan } from './apply/apply.ts'
import { type ApplyOptions, type ApplyResult } from './apply/options.ts'
import { restoreFromFile, saveToFile, type SaveToFileOptions } from './apply/files.ts'
import { reconcile, type ReconcileOptions, type Reconciler, type ReconcileSource } from './apply/reconcile.ts'
import { restore, type RestoreOptions, save, type SaveOptions } from './apply/save.ts'
import { canonicalServiceKey } from './model/address.ts'
import type {
  Capabilities,
  Connection,
  Counter,
  CounterOf,
  Info,
  ReadOptions,
  RealServerChanges,
  RealServerKey,
  RealServerSpec,
  RequestOptions,
  ServiceChanges,
  ServiceKey,
  ServiceSpec,
  SavedState,
  State,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
  Totals,
} from './model/types.ts'
import { checkServiceKey } from './model/validate.ts'
import { readConnections } from './observe/connections.ts'
import { readTotals } from './observe/totals.ts'
import { RealServer, Service } from './service.ts'
import { inScratch, type OpenOptions, openSession } from './session/open.ts'
import { probe } from './session/probe.ts'
import {
  addRealServer,
  deleteRealServer,
  editRealServer,
  listRealServersAs,
  readRealServer,
} from './session/real-servers.ts'
import { runSteps, type StepOutcome } from './session/run-steps.ts'
import {
  addService,
  deleteService,
  editService,
  listServicesAs,
  readService,
  zero,
} from './session/services.ts'
import type { Session } from './session/session.ts'
import {
  flush,
  listSyncDaemons,
  readInfo,
  readTimeouts,
  setTimeouts,
  startSyncDaemon,
  stopSyncDaemon,
} from './session/settings.ts'
import { readSnapshot, type SnapshotOptions } from './session/snapshot.ts'
import { readSysctl, readSysctls, setSysctl } from './session/sysctls.ts'
import type { PlanOptions } from './state/goal.ts'
import type { Plan } from './state/plan.ts'
import type { RunnableStep } from './state/steps.ts'

/** A virtual service with its real servers. */
export interface SnapshotEntry<N extends Counter = number> {
  readonly service: Service<N>
  /** In the kernel's order: newest first. */
  readonly realServers: readonly RealServer<N>[]
}

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
  readonly #session: Session

  private constructor(session: Session) {
    this.#session = session
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
    return new Ipvs(await openSession(options))
  }

  /**
   * Tries what this kernel can do, in a scratch network namespace that ends
   * with the probe: no service of yours is touched. Loads the schedulers and
   * persistence engines that it tries. Needs CAP_SYS_ADMIN for the namespace.
   */
  static async probe(options: OpenOptions = {}): Promise<Capabilities> {
    return inScratch(options, 'probe', probe)
  }

  /**
   * Waits for what was asked for, then closes the socket. May be called again.
   * Later calls reject with EBADF. A drain, or an apply that drains, does not
   * wait for connections any longer: it gives the weights back, an apply undoes
   * all it did, and it rejects with EBADF.
   */
  close(): Promise<void> {
    return this.#session.close()
  }

  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Version of the kernel's IPVS, and the size of its connection table. */
  async info(options: RequestOptions = {}): Promise<Info> {
    return readInfo(this.#session, options)
  }

  /** How long idle connections are remembered. */
  async timeouts(options: RequestOptions = {}): Promise<Timeouts> {
    return readTimeouts(this.#session, options)
  }

  /**
   * Sets the timeouts that are named, 1 to 21474836 seconds each. Timers that
   * run are not touched.
   *
   * @throws {IpvsError} EINVAL above 2147483647 divided by the kernel's CONFIG_HZ; nothing is set then.
   */
  async setTimeouts(timeouts: Partial<Timeouts>, options: RequestOptions = {}): Promise<void> {
    return setTimeouts(this.#session, timeouts, options)
  }

  /**
   * Deletes all services of the network namespace with their real servers.
   * Connections, timeouts and sync daemons stay. Adding many real servers soon
   * after is slow: the kernel searches the deleted ones for two to three minutes.
   */
  async flush(options: RequestOptions = {}): Promise<void> {
    return flush(this.#session, options)
  }

  /**
   * Sets counters and rates to 0: those of one service and its real servers, or
   * without `service` those of all and the totals. What passed in the last two
   * seconds may not be counted yet, and is then counted afterwards.
   *
   * @throws {IpvsError} ESRCH if there is no such service.
   */
  async zero(service?: ServiceKey | Service<Counter>, options: RequestOptions = {}): Promise<void> {
    return zero(this.#session, service && keyOf(service), options)
  }

  /**
   * Lists the virtual services, in the kernel's order.
   *
   * Not a snapshot: a long list arrives in pieces and the table may change
   * between them, so that an entry is missing. None is there twice.
   */
  async services<B extends boolean = false>(options: ReadOptions<B> = {}): Promise<Service<CounterOf<B>>[]> {
    const session = this.#session
    return listServicesAs(session, options, (state) => Service.of(session, state))
  }

  /**
   * Reads one virtual service.
   *
   * @throws {IpvsError} ESRCH if there is none.
   */
  async service<B extends boolean = false>(
    service: ServiceKey | Service<Counter>,
    options: ReadOptions<B> = {},
  ): Promise<Service<CounterOf<B>>> {
    return Service.of(this.#session, await readService(this.#session, keyOf(service), options))
  }

  /**
   * Adds a virtual service. The result is what was added, with counters at 0.
   *
   * @throws {IpvsError} EEXIST if it is there already; ENOENT if the kernel
   *   neither has nor can load the scheduler or persistence engine.
   */
  async addService(spec: ServiceSpec, options: RequestOptions = {}): Promise<Service> {
    return Service.of(this.#session, await addService(this.#session, keyOf(spec), spec, options))
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
    return Service.of(this.#session, await editService(this.#session, keyOf(service), changes, options))
  }

  /**
   * Deletes a virtual service with its real servers. Its connections stay in
   * the kernel's table until they time out, and their packets are dropped.
   *
   * @throws {IpvsError} ESRCH if there is no such service.
   */
  async deleteService(service: ServiceKey | Service<Counter>, options: RequestOptions = {}): Promise<void> {
    return deleteService(this.#session, keyOf(service), options)
  }

  /**
   * Lists the real servers of a virtual service, in the kernel's order: newest
   * first. Not a snapshot, as with `services()`.
   *
   * @throws {IpvsError} ESRCH if there is no such service. The kernel answers
   *   that with an empty list (ip_vs_genl_dump_dests), so an empty one is asked after.
   */
  async realServers<B extends boolean = false>(
    service: ServiceKey | Service<Counter>,
    options: ReadOptions<B> = {},
  ): Promise<RealServer<CounterOf<B>>[]> {
    const session = this.#session
    const key = keyOf(service)
    return listRealServersAs(session, key, options, (state) => RealServer.of(session, key, state))
  }

  /**
   * Reads one real server.
   *
   * @throws {IpvsError} ENOENT if the service has none of that address and port, ESRCH if there is no such service.
   */
  async realServer<B extends boolean = false>(
    service: ServiceKey | Service<Counter>,
    server: RealServerKey,
    options: ReadOptions<B> = {},
  ): Promise<RealServer<CounterOf<B>>> {
    const key = keyOf(service)
    return RealServer.of(this.#session, key, await readRealServer(this.#session, key, server, options))
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
    return RealServer.of(this.#session, key, await addRealServer(this.#session, key, given, options))
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
    return RealServer.of(
      this.#session,
      key,
      await editRealServer(this.#session, key, server, changes, options),
    )
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
    return deleteRealServer(this.#session, keyOf(service), server, options)
  }

  /**
   * Reads the whole table: every service with its real servers, in one native
   * call. A service that vanished in the middle is left out, and nothing is
   * there twice.
   *
   * @throws {IpvsError} EAGAIN if `stable` was asked for and no two reads agreed.
   */
  async snapshot<B extends boolean = false>(
    options: SnapshotOptions<B> = {},
  ): Promise<SnapshotEntry<CounterOf<B>>[]> {
    const session = this.#session
    return readSnapshot(
      session,
      options,
      (state) => Service.of(session, state),
      (key, state) => RealServer.of(session, key, state),
    )
  }

  /**
   * Saves the table as plain data: what `restore()`, `plan()` and `apply()`
   * take, and `formatState()` makes text of. Reads until two reads agree, so
   * that a change which someone makes meanwhile shows whole or not at all.
   *
   * @throws {IpvsError} EAGAIN if eight reads did not agree.
   * @throws {RangeError} if the kernel does not have a sysctl that `sysctls` names.
   */
  async save(options: SaveOptions = {}): Promise<SavedState> {
    return save(this.#session, options)
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
  async restore(saved: State | string, options: RestoreOptions = {}): Promise<ApplyResult> {
    return restore(this.#session, saved, options)
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
  async saveToFile(path: string, options: SaveToFileOptions = {}): Promise<State> {
    return saveToFile(this.#session, path, options)
  }

  /**
   * Restores from a file, in the format that its name tells or, where it tells
   * none, that it looks like.
   *
   * @throws {StateSyntaxError} with the file's name, line, column and reason if it is no state, or seems to be cut off.
   * @throws as `restore()` does; errors of the file system.
   */
  async restoreFromFile(path: string, options: RestoreOptions = {}): Promise<ApplyResult> {
    return restoreFromFile(this.#session, path, options)
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
    return reconcile(this.#session, source, options)
  }

  /**
   * Compares the table with a state, and says what `apply()` would do. Changes nothing.
   *
   * @throws {TypeError | RangeError} naming the field if it is no state: `services[3].realServers[0].weight`.
   */
  async plan(wanted: State, options: PlanOptions & RequestOptions = {}): Promise<Plan> {
    return plan(this.#session, wanted, options)
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
  async apply(wanted: State | Plan, options: ApplyOptions = {}): Promise<ApplyResult> {
    return apply(this.#session, wanted, options)
  }

  /**
   * Runs steps in order, such as those of a plan, and gives an outcome for each.
   * A step that fails does not stop those behind it. Nothing is read first and
   * nothing is rolled back: `apply()` does that. An edit writes every field, and
   * a setting that its `after` leaves out gets its default.
   *
   * @throws {TypeError | RangeError} naming the step and the field if one is not a step. Nothing was sent.
   */
  async runSteps<S extends RunnableStep>(
    steps: readonly S[],
    options: RequestOptions = {},
  ): Promise<StepOutcome<S>[]> {
    return runSteps(this.#session, steps, options)
  }

  /** Lists the sync daemons that run: the master first, then the backup. */
  async syncDaemons(options: RequestOptions = {}): Promise<SyncDaemon[]> {
    return listSyncDaemons(this.#session, options)
  }

  /**
   * Starts a sync daemon. There is no edit: stop it and start another.
   *
   * @throws {IpvsError} EEXIST if one of that state runs, ENODEV if there is no
   *   such interface, ENETUNREACH without a route to the group, EINVAL while a
   *   real server of another family than its service exists.
   */
  async startSyncDaemon(spec: SyncDaemonSpec, options: RequestOptions = {}): Promise<void> {
    return startSyncDaemon(this.#session, spec, options)
  }

  /**
   * Stops the sync daemon of one state.
   *
   * @throws {IpvsError} ESRCH if none of that state runs.
   */
  async stopSyncDaemon(state: SyncDaemonState, options: RequestOptions = {}): Promise<void> {
    return stopSyncDaemon(this.#session, state, options)
  }

  /**
   * Reads the sysctls of net.ipv4.vs in this network namespace, by name: those
   * of a fixed list that this kernel has. Needs no capability. In a namespace of
   * another user namespace Linux before 6.11 shows none.
   */
  async sysctls(options: RequestOptions = {}): Promise<Record<string, string>> {
    return readSysctls(this.#session, options)
  }

  /**
   * Reads one sysctl of net.ipv4.vs in this network namespace; `undefined` where this kernel has none of that name.
   */
  async sysctl(name: string, options: RequestOptions = {}): Promise<string | undefined> {
    return readSysctl(this.#session, name, options)
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
    return setSysctl(this.#session, name, value, options)
  }

  /**
   * Lists the connections that the kernel remembers, templates of persistence
   * among them, in its own order. Read when the loop begins, up to 256 MiB of
   * text (about two and a half million connections), and not a snapshot: the
   * kernel goes on meanwhile. Needs no capability.
   *
   * @throws {IpvsError} EFBIG if there are more connections than that.
   */
  connections(options: RequestOptions = {}): AsyncGenerator<Connection, void, undefined> {
    return readConnections(this.#session, options)
  }

  /**
   * Reads what passed this director in all, from /proc/net/ip_vs_stats. The
   * kernel brings it up to date when it does the counters of services. Needs no
   * capability.
   *
   * @throws {IpvsError} ENOENT if the module ip_vs is not loaded.
   */
  async totals<B extends boolean = false>(options: ReadOptions<B> = {}): Promise<Totals<CounterOf<B>>> {
    return readTotals(this.#session, options)
  }
}

/** The identity of a service that the caller named, as the kernel's bytes read back. */
function keyOf(service: ServiceKey | Service<Counter>): ServiceKey {
  if (service instanceof Service) return service.key
  return canonicalServiceKey(checkServiceKey(service))
}
