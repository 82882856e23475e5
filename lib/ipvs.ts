import { apply, plan } from './apply/apply.ts'
import { type ApplyOptions, type ApplyResult } from './apply/options.ts'
import { restoreFromFile, saveToFile, type SaveToFileOptions } from './apply/files.ts'
import { reconcile, type ReconcileOptions, type Reconciler, type ReconcileSource } from './apply/reconcile.ts'
import { restore, type RestoreOptions, save, type SaveOptions } from './apply/save.ts'
import { setRealServers, type SetRealServersOptions } from './apply/set-real-servers.ts'
import { canonicalServiceKey } from './model/address.ts'
import { serviceKeyOf } from './model/keys.ts'
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
  TimeoutChanges,
  Timeouts,
  Totals,
} from './model/types.ts'
import { checkServiceKey } from './model/validate.ts'
import { readConnections } from './observe/connections.ts'
import { readTotals } from './observe/totals.ts'
import { RealServer, Service, specsOf } from './service.ts'
import type { LockOptions, TableLock } from './session/lock.ts'
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

/** The face of the library. Long for its documentation: each method is a line or two. */

/** A virtual service with its real servers. */
export interface SnapshotEntry<N extends Counter = number> {
  /** The virtual service. */
  readonly service: Service<N>
  /** In the kernel's order: newest first. */
  readonly realServers: readonly RealServer<N>[]
}

/**
 * The IPVS table of one network namespace.
 *
 * Calls run one after the other, in the order they are made. Calls of one tick
 * travel to the kernel together, each with its own outcome. All of them need the
 * capability CAP_NET_ADMIN in the initial user namespace, and reject with
 * {@link IpvsError} EPERM without it.
 *
 * Misuse rejects with a TypeError or RangeError that names the field, before
 * anything is sent. In options, specs and changes a field that is `undefined` is
 * the same as one that is absent.
 *
 * A service is named by its key, by text such as 'tcp/192.0.2.10:80' or
 * 'fwmark/5' ({@link parseServiceKey}), or by a {@link Service} that was read. A real
 * server is named by its key, by text such as '10.0.0.7:8080', or by its address
 * alone if its port is that of the service ({@link parseEndpoint}).
 */
export class Ipvs {
  readonly #session: Session

  private constructor(session: Session) {
    this.#session = session
  }

  /**
   * Opens a socket to the kernel. Kernels since 5.16 load the module `ip_vs` by
   * themselves; with an older kernel, load it first. Opening succeeds without the
   * capability: the kernel checks it at each request, and `info()` is a cheap one.
   *
   * @throws {IpvsError} ENOENT if the kernel has no IPVS or there is no such
   *   network namespace, EPERM if the process may not enter the namespace.
   * @throws {Error} ERR_IPVS_ADDON if the addon does not load,
   *   ERR_IPVS_PLATFORM if this is not Linux.
   */
  static async open(options: OpenOptions = {}): Promise<Ipvs> {
    return new Ipvs(await openSession(options))
  }

  /**
   * Finds out by trying what this kernel can do, in a scratch network namespace
   * that ends with the probe: none of your services is touched. Loads the
   * schedulers and persistence engines that it tries. Needs CAP_SYS_ADMIN for the
   * namespace.
   */
  static async probe(options: OpenOptions = {}): Promise<Capabilities> {
    return inScratch(options, 'probe', probe)
  }

  /**
   * Waits for calls in progress, then closes the socket. May be called again.
   * Later calls reject with EBADF. A drain, or an apply that drains, stops waiting
   * for connections and rejects with EBADF: a drain restores the weight, an apply
   * undoes everything it did.
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
   * Sets the timeouts that are named. Running timers
   * keep their time.
   *
   * @throws {IpvsError} EINVAL above 2147483647 divided by the kernel's CONFIG_HZ; then nothing is set.
   */
  async setTimeouts(timeouts: TimeoutChanges, options: RequestOptions = {}): Promise<void> {
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
   * without `service` those of all services, and the totals. Traffic of the last
   * two seconds may not be counted yet; then it is counted afterwards.
   *
   * @throws {IpvsError} ESRCH if there is no such service.
   */
  async zero(service?: ServiceKey | Service<Counter> | string, options: RequestOptions = {}): Promise<void> {
    return zero(this.#session, service === undefined ? undefined : keyOf(service), options)
  }

  /**
   * Lists the virtual services, in the kernel's order.
   *
   * Not a snapshot: a long list arrives in pieces and the table may change
   * between them, so an entry can be missing. None appears twice.
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
    service: ServiceKey | Service<Counter> | string,
    options: ReadOptions<B> = {},
  ): Promise<Service<CounterOf<B>>> {
    return Service.of(this.#session, await readService(this.#session, keyOf(service), options))
  }

  /**
   * Adds a virtual service. The result is the new service, with counters at 0.
   *
   * @throws {IpvsError} EEXIST if it already exists; ENOENT if the kernel
   *   neither has nor can load the scheduler or persistence engine.
   */
  async addService(spec: ServiceSpec, options: RequestOptions = {}): Promise<Service> {
    const key = canonicalServiceKey(checkServiceKey(spec))
    return Service.of(this.#session, await addService(this.#session, key, spec, options))
  }

  /**
   * Changes the fields that are named. The service keeps its other settings, its
   * real servers and its connections. A new scheduler starts from scratch, and the
   * change takes the kernel some 20 ms during which the service has none and
   * refuses new connections (ip_vs_edit_service() waits for synchronize_rcu()).
   * The result is the service after the edit, with the counters from just before.
   *
   * @throws {IpvsError} ESRCH if there is no such service; ENOENT if the kernel
   *   neither has nor can load the scheduler or persistence engine.
   */
  async editService(
    service: ServiceKey | Service<Counter> | string,
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
  async deleteService(
    service: ServiceKey | Service<Counter> | string,
    options: RequestOptions = {},
  ): Promise<void> {
    return deleteService(this.#session, keyOf(service), options)
  }

  /**
   * Lists the real servers of a virtual service, in the kernel's order: newest
   * first. Not a snapshot, as with `services()`.
   *
   * @throws {IpvsError} ESRCH if there is no such service. The kernel itself gives
   *   an empty list then (ip_vs_genl_dump_dests), so an empty list costs a second request.
   */
  async realServers<B extends boolean = false>(
    service: ServiceKey | Service<Counter> | string,
    options: ReadOptions<B> = {},
  ): Promise<RealServer<CounterOf<B>>[]> {
    const session = this.#session
    const key = keyOf(service)
    return listRealServersAs(session, key, options, (state) => RealServer.of(session, key, state))
  }

  /**
   * Reads one real server.
   *
   * @throws {IpvsError} ENOENT if the service has no server with that address and port, ESRCH if there is no such service.
   */
  async realServer<B extends boolean = false>(
    service: ServiceKey | Service<Counter> | string,
    server: RealServerKey | string,
    options: ReadOptions<B> = {},
  ): Promise<RealServer<CounterOf<B>>> {
    const key = keyOf(service)
    return RealServer.of(this.#session, key, await readRealServer(this.#session, key, server, options))
  }

  /**
   * Adds a real server to a virtual service. The spec may be a {@link RealServer}
   * that was read, from another service too. The result is the new server, with
   * counters at 0. A server that was deleted less than three minutes ago comes
   * back with its counters and connections, which `refresh()` shows.
   *
   * @throws {IpvsError} ESRCH if there is no such service, EEXIST if it already
   *   has the server, EINVAL if the kernel does not accept the address as unicast
   *   (in a network namespace with no interface up it accepts none).
   */
  async addRealServer(
    service: ServiceKey | Service<Counter> | string,
    spec: RealServerSpec,
    options: RequestOptions = {},
  ): Promise<RealServer> {
    const key = keyOf(service)
    // A RealServer has more fields than a spec.
    const given = spec instanceof RealServer ? spec.toJSON() : spec
    return RealServer.of(this.#session, key, await addRealServer(this.#session, key, given, options))
  }

  /**
   * Changes the fields that are named. The real server keeps its other settings,
   * its counters and its connections. The result is the server after the edit,
   * with the counters from just before.
   *
   * @throws {IpvsError} ESRCH if there is no such service, ENOENT if it has no such server.
   */
  async editRealServer(
    service: ServiceKey | Service<Counter> | string,
    server: RealServerKey | string,
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
   * Deletes a real server. The kernel silently drops packets of the connections it
   * still has; {@link RealServer.drain} waits for those to end first.
   *
   * @throws {IpvsError} ESRCH if there is no such service, ENOENT if it has no such server.
   */
  async deleteRealServer(
    service: ServiceKey | Service<Counter> | string,
    server: RealServerKey | string,
    options: RequestOptions = {},
  ): Promise<void> {
    return deleteRealServer(this.#session, keyOf(service), server, options)
  }

  /**
   * Makes the real servers of one service equal to a list, as `apply()` does: those
   * that are missing are added, those that differ edited, the others deleted, with
   * `drain` once their connections have ended. Every other service, and the
   * settings of this one, stay as they are. The result speaks of this service
   * alone.
   *
   * @throws {TypeError | RangeError} naming the field: `realServers[3].weight`. Nothing was sent.
   * @throws {IpvsError} ESRCH if there is no such service: it is not added.
   * @throws {ApplyError} ERR_IPVS_GUARD if it has a real server with a weight above 0,
   *   and the list none, without `force`; the rest as `apply()`.
   */
  async setRealServers(
    service: ServiceKey | string | Service<Counter>,
    list: readonly RealServerSpec[],
    options: SetRealServersOptions = {},
  ): Promise<ApplyResult> {
    return setRealServers(this.#session, keyOf(service), specsOf(list), options)
  }

  /**
   * Reads the whole table: every service with its real servers, in one native
   * call. A service that vanishes during the read is left out, and nothing appears
   * twice.
   *
   * @throws {IpvsError} EAGAIN with `stable`, if no two reads agreed.
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
   * Saves the table as plain data, which `restore()`, `plan()` and `apply()` take
   * and `formatState()` turns into text. Reads until two reads agree, so that a
   * change which someone makes meanwhile is in the result completely or not at all.
   *
   * @throws {IpvsError} EAGAIN if eight reads did not agree.
   * @throws {RangeError} if the kernel does not have a sysctl that `sysctls` names.
   */
  async save(options: SaveOptions = {}): Promise<SavedState> {
    return save(this.#session, options)
  }

  /**
   * Makes the table equal to a saved state, given as data or as text in JSON, YAML
   * or ipvsadm lines. Text is read to its end and checked before anything is sent.
   * The rest is `apply()`: entries that are equal are not touched, so their
   * connections and counters stay. In an empty table the result is exact,
   * including the order of real servers.
   *
   * @throws {StateSyntaxError} with line, column and reason if the text is not a state.
   * @throws as `apply()` does.
   */
  async restore(saved: State | string | Uint8Array, options: RestoreOptions = {}): Promise<ApplyResult> {
    return restore(this.#session, saved, options)
  }

  /**
   * Saves to a file and returns the saved state. The file is written completely or
   * not at all: to a temporary file in the same folder, which then replaces it.
   * Only its owner may read it (mode 0600), or nobody if that was so before. The
   * version before, if it differs, is kept as FILE~.
   *
   * @throws {Error} ERR_IPVS_EMPTY if the table has no services and the file that is
   *   there has any, unless `allowEmpty`; the file stays.
   * @throws {Error} ELOOP if the path, or that of a version to keep, is a symbolic
   *   link, which is neither followed nor replaced; EINVAL if it is not a regular file; errors of the file system.
   * @throws {TypeError} if neither the extension nor `format` says the format, or
   *   ipvsadm lines cannot express something and there is no `onLoss`.
   * @throws {IpvsError} as `save()` does.
   */
  async saveToFile(path: string, options: SaveToFileOptions = {}): Promise<SavedState> {
    return saveToFile(this.#session, path, options)
  }

  /**
   * Restores from a file. The format follows its extension, or else is guessed
   * from its contents.
   *
   * @throws {StateSyntaxError} with the file's name, line, column and reason if it is not a state, or seems to be cut off.
   * @throws as `restore()` does; errors of the file system.
   */
  async restoreFromFile(path: string, options: RestoreOptions = {}): Promise<ApplyResult> {
    return restoreFromFile(this.#session, path, options)
  }

  /**
   * Keeps the table equal to a state: applies it now, then every `intervalMs`,
   * when its file changes and when `runNow()` is called. Each run compares with
   * the kernel and never with memory, so an entry that someone else deleted comes
   * back. Runs never overlap; after failures the waits between them grow. Ends
   * when this is closed.
   *
   * @throws {TypeError | RangeError} at once, if an option is wrong.
   * @throws {IpvsError} EBADF at once, if this is closed.
   */
  reconcile(source: ReconcileSource, options: ReconcileOptions): Reconciler {
    return reconcile(this.#session, source, options)
  }

  /**
   * Compares the table with a state, and returns what `apply()` would do. Changes nothing.
   *
   * @throws {TypeError | RangeError} naming the field if it is not a state: `services[3].realServers[0].weight`.
   * @throws {StateSyntaxError} with the place in the text, if the state was read from one and does not fit this kernel.
   */
  async plan(wanted: State, options: PlanOptions & RequestOptions = {}): Promise<Plan> {
    return plan(this.#session, wanted, options)
  }

  /**
   * Makes the table equal to a state, or carries out a plan. Existing entries are
   * edited in place, and equal ones are not touched. New services and real servers
   * come first, then edits, and deletions only when everything else has succeeded.
   * If a step fails, the steps that were done are undone in reverse; a real server
   * that was deleted comes back in front of the others. `keepGoing` changes that.
   *
   * Other calls of this object wait meanwhile, except during a `drain`.
   *
   * @throws {TypeError | RangeError} naming the field if it is not a state. Nothing was sent.
   * @throws {StateSyntaxError} as `plan()` does. Nothing was sent.
   * @throws {ApplyError} ERR_IPVS_GUARD if a guard refuses the plan, and
   *   ERR_IPVS_STALE_PLAN if the table has changed since it was made; nothing was
   *   changed. ERR_IPVS_APPLY if a step failed; it says what was undone. So does
   *   ERR_IPVS_STALE_PLAN after a `drain` during which others changed what was to be deleted.
   * @throws the reason of `signal`, or {@link IpvsError} EBADF if this is closed
   *   during a `drain`; both after the steps that were done are undone.
   */
  async apply(wanted: State | Plan, options: ApplyOptions = {}): Promise<ApplyResult> {
    return apply(this.#session, wanted, options)
  }

  /**
   * Takes the lock of this table, which holds out other processes of this library
   * and of the command: they wait with `apply()`, `restore()` and their own `lock()`
   * until it is released, or this process ends. `apply()` takes it by itself, for as
   * long as it changes the table. With the lock in hand, more can be done in one go:
   *
   * ```ts
   * await using lock = await ipvs.lock()
   * const before = await ipvs.save()
   * await ipvs.apply(next(before))
   * ```
   *
   * One at a time: another `lock()` of this process waits too, and so does an `apply()` of
   * another `Ipvs`. What this `Ipvs` does meanwhile is under the lock, and one that it has
   * begun keeps it until that has ended.
   *
   * A lock for those who ask: the kernel knows nothing of it, and single calls, such as
   * `addService()`, do not ask. It is a file in /run/ipvs, a folder of root's; the
   * in-memory kernel has none, and needs none.
   *
   * @throws {LockedError} ERR_IPVS_LOCKED with `wait: false` if it is taken.
   * @throws {IpvsError} with the errno of the file system if /run/ipvs cannot be made or
   *   written, for example EACCES or EROFS, and EPERM if others may write to it. `apply()` then does without the lock.
   */
  async lock(options: LockOptions = {}): Promise<TableLock> {
    return this.#session.lock(options)
  }

  /**
   * Runs steps in order, such as those of a plan, and returns an outcome for each.
   * A step that fails does not stop those after it. Nothing is read first and
   * nothing is rolled back: `apply()` does that. An edit writes every field: a
   * setting that its `after` leaves out gets its default.
   *
   * @throws {TypeError | RangeError} naming the step and the field if one is not a step. Nothing was sent.
   */
  async runSteps<S extends RunnableStep>(
    steps: readonly S[],
    options: RequestOptions = {},
  ): Promise<StepOutcome<S>[]> {
    return runSteps(this.#session, steps, options)
  }

  /** Lists the running sync daemons: the master first, then the backup. */
  async syncDaemons(options: RequestOptions = {}): Promise<SyncDaemon[]> {
    return listSyncDaemons(this.#session, options)
  }

  /**
   * Starts a sync daemon. A running one cannot be edited: stop it and start another.
   *
   * @throws {IpvsError} EEXIST if one in that role is running, ENODEV if there is
   *   no such interface, ENETUNREACH without a route to the group, EINVAL while a
   *   real server has another family than its service.
   */
  async startSyncDaemon(spec: SyncDaemonSpec, options: RequestOptions = {}): Promise<void> {
    return startSyncDaemon(this.#session, spec, options)
  }

  /**
   * Stops the sync daemon in one role.
   *
   * @throws {IpvsError} ESRCH if none in that role is running.
   */
  async stopSyncDaemon(state: SyncDaemonState, options: RequestOptions = {}): Promise<void> {
    return stopSyncDaemon(this.#session, state, options)
  }

  /**
   * Reads the sysctls of net.ipv4.vs in this network namespace, by name: those of
   * a fixed list that this kernel has. Needs no capability. Before Linux 6.11 a
   * network namespace that belongs to another user namespace shows none.
   */
  async sysctls(options: RequestOptions = {}): Promise<Record<string, string>> {
    return readSysctls(this.#session, options)
  }

  /**
   * Reads one sysctl of net.ipv4.vs in this network namespace; `undefined` if this kernel does not have it.
   */
  async sysctl(name: string, options: RequestOptions = {}): Promise<string | undefined> {
    return readSysctl(this.#session, name, options)
  }

  /**
   * Sets a sysctl of net.ipv4.vs in this network namespace; the kernel uses it for
   * new work. The value is a string as in the file: one whole number for most,
   * two for sync_threshold.
   *
   * @throws {IpvsError} ENOENT if this kernel has no sysctl of that name, EINVAL
   *   if it refuses the value, EACCES without the right to write it.
   */
  async setSysctl(name: string, value: string | number, options: RequestOptions = {}): Promise<void> {
    return setSysctl(this.#session, name, value, options)
  }

  /**
   * Lists the connections that the kernel remembers, including the templates of
   * persistence, in the kernel's order. Reads them while the loop runs, about a
   * thousand at a time, so a list of any length needs little memory. Not a snapshot:
   * connections come and go meanwhile. Other calls are not held up. Leaving the loop
   * frees what it holds; `close()` ends it with EBADF. Needs no capability.
   *
   * Before Linux 6.14 the kernel walks through its whole table for each 4 KB of the
   * list: the time grows with the square of the number of connections. It goes on by
   * position, so connections that end or begin meanwhile make it skip others or list
   * them twice.
   */
  connections(options: RequestOptions = {}): AsyncGenerator<Connection, void, undefined> {
    return readConnections(this.#session, options)
  }

  /**
   * Reads the totals of this director from /proc/net/ip_vs_stats. The kernel
   * updates them together with the counters of services. Needs no capability.
   *
   * @throws {IpvsError} ENOENT if the module ip_vs is not loaded.
   */
  async totals<B extends boolean = false>(options: ReadOptions<B> = {}): Promise<Totals<CounterOf<B>>> {
    return readTotals(this.#session, options)
  }
}

/** The identity of a service that the caller named, in the form in which it reads back from the kernel. */
function keyOf(service: ServiceKey | Service<Counter> | string): ServiceKey {
  if (service instanceof Service) return service.key
  return serviceKeyOf(service)
}
