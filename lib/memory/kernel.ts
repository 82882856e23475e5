import { flag, known, object, oneOf, show, whole } from '../model/check.ts'
import type { ServiceKey } from '../model/types.ts'
import type { Dump, Failure, OpenFile, Reply, Request, Transport } from '../transport/transport.ts'
import type { KernelCommand } from './wire/command-names.ts'
import { type Fault, Faults, type Hook } from './wire/faults.ts'
import { type Machine } from './machine/machine.ts'
import { Namespace } from './machine/namespace.ts'
import { machineOf, type MemoryKernelOptions } from './options.ts'
import { type ClientOptions, Clients, type MemoryConnection, type TrafficOptions } from './traffic.ts'
import { Conversation } from './wire/conversation.ts'
import type { LogEntry } from './wire/log.ts'

/**
 * An in-memory kernel for tests: `Ipvs.open({ transport: kernel })`. It answers
 * with the bytes that Linux would send, and keeps the same table by the same
 * rules, in any JavaScript environment and without privileges.
 *
 * Any number of Ipvs may be opened on one kernel, at the same time or one after
 * the other; closing one leaves the kernel as it is. Each sees the changes of the
 * others, like several programs on one machine.
 */
export class MemoryKernel implements Transport {
  readonly #machine: Machine
  readonly #faults = new Faults()
  readonly #log: LogEntry[] = []
  #namespace: Namespace
  readonly #conversation: Conversation
  #clients: Clients

  /** See {@link createMemoryKernel}. */
  constructor(options: MemoryKernelOptions = {}) {
    this.#machine = machineOf(options)
    this.#namespace = new Namespace(this.#machine)
    const scratch = (): Transport => new Conversation(new Namespace(this.#machine), scratch)
    const supervision = { faults: this.#faults, log: this.#log }
    this.#conversation = new Conversation(this.#namespace, scratch, supervision)
    this.#clients = new Clients(this.#namespace)
  }

  /** Every request that arrived, oldest first, with its outcome. Requests of `Ipvs.probe()` are not included. */
  get log(): readonly LogEntry[] {
    return this.#log
  }

  /** Forgets the requests that have arrived. */
  clearLog(): void {
    this.#log.length = 0
  }

  /** Whether callers have CAP_NET_ADMIN. Without it every command fails with EPERM. */
  get privileged(): boolean {
    return this.#machine.privileged
  }

  set privileged(privileged: boolean) {
    this.#machine.privileged = flag(privileged, 'privileged')
  }

  /**
   * Whether the module ip_vs is loaded. Without it every command fails with
   * ENOENT, as on a kernel that has no IPVS. Unloading deletes everything.
   */
  get loaded(): boolean {
    return this.#machine.loaded
  }

  set loaded(loaded: boolean) {
    if (this.#machine.loaded && !flag(loaded, 'loaded')) {
      this.#namespace.connections.forget()
      this.#namespace = new Namespace(this.#machine, this.#namespace.now)
      this.#conversation.enter(this.#namespace)
      this.#clients = new Clients(this.#namespace)
    }
    this.#machine.loaded = loaded
  }

  /** Seconds since the kernel began. Only `advance()` moves its clock. */
  get seconds(): number {
    return this.#namespace.now
  }

  /**
   * Lets time pass: connections, and clients that persistence remembers, time out;
   * deleted real servers are forgotten; and every two seconds the counters that
   * are read catch up with the traffic, as those of Linux do.
   */
  advance(seconds: number): void {
    if (!Number.isFinite(seconds) || seconds < 0) {
      throw new RangeError(`seconds must be a number, 0 or more, got ${show(seconds)}`)
    }
    this.#namespace.advance(seconds)
  }

  /**
   * Connects a client to a virtual service. The scheduler chooses the server by the
   * rules of Linux: rr, wrr, lc, wlc, sed, nq, fo, ovf, dh, sh and mh choose the
   * server that the real ones would; lblc, lblcr, twos and any other name choose as
   * wlc does. Persistence (without engines), weight 0 and thresholds have their
   * effect, and so do the sysctls `expire_quiescent_template`, `expire_nodest_conn`
   * and `run_estimation`.
   *
   * The packets that open and close a connection count as headers without data.
   * `activeConnections` and the like change at once, counters after `advance(2)`.
   */
  connect(service: ServiceKey | string, options: ClientOptions = {}): MemoryConnection {
    return this.#clients.connect(service, options)
  }

  /** Makes connections of many clients, each with the same traffic. */
  traffic(service: ServiceKey | string, options: TrafficOptions = {}): MemoryConnection[] {
    return this.#clients.traffic(service, options)
  }

  /**
   * Fails the next request, or the next one of a command. The kernel does not do
   * it, unless the errno says that only the answer is lost. Several faults happen
   * in the order in which they were asked for.
   */
  failNext(fault: Fault): void {
    this.#faults.fail(fault)
  }

  /**
   * Runs a function just before the next request of a command is done, for example
   * a change by another program through another Ipvs on this kernel. The function
   * is awaited. In a `snapshot()`, 'getRealServers' comes between the dump of the
   * services and that of the first service's real servers.
   */
  beforeNext(command: KernelCommand, run: Hook): void {
    this.#faults.before(command, run)
  }

  /**
   * Runs a function in the middle of the next dump of a command, after the first
   * piece was read: about eleven services, or ten real servers. A shorter list does
   * not get to that point. The kernel only counts how far it has got, so a change
   * in between makes it miss entries or list some twice.
   */
  duringNextDump(command: 'getService' | 'getRealServers', run: Hook): void {
    oneOf(command, 'command', ['getService', 'getRealServers'])
    this.#faults.during(command, run)
  }

  /**
   * Marks the next dump as interrupted by a change (NLM_F_DUMP_INTR), which Linux
   * does not do for IPVS up to 7.1. The list is read again; after eight interrupted
   * reads in a row the call fails with EAGAIN. Call this eight times for that.
   */
  interruptNextDump(command?: 'getService' | 'getRealServers' | 'getSyncDaemons'): void {
    if (command !== undefined) oneOf(command, 'command', DUMPS)
    this.#faults.interrupt(command)
  }

  /** Makes the next request, or the next one of a command, take this long. */
  delayNext(delay: { readonly ms: number; readonly command?: KernelCommand | undefined }): void {
    known(object(delay, 'a delay'), ['ms', 'command'], [], 'a delay')
    const { command } = delay
    const ms = whole(delay.ms, 'ms', 0, 2147483647)
    this.#faults.before(command, () => new Promise((resolve) => setTimeout(resolve, ms)))
  }

  /** Stops answering, like a kernel that is busy, until the returned function is called. */
  hold(): () => void {
    return this.#faults.hold()
  }

  /** Forgets the faults that have not happened yet. */
  clearFaults(): void {
    this.#faults.clear()
  }

  /** @hidden */
  batch(requests: readonly Request[]): Promise<readonly Reply[]> {
    return this.#conversation.batch(requests)
  }

  /** @hidden */
  dump(request: Request): Promise<Dump> {
    return this.#conversation.dump(request)
  }

  /** @hidden */
  dumpOfDumps(outer: Request, innerCommand: number, attribute: number): Promise<Dump> {
    return this.#conversation.dumpOfDumps(outer, innerCommand, attribute)
  }

  /** @hidden */
  sysctls(names: readonly string[]): Promise<readonly (string | undefined)[]> {
    return this.#conversation.sysctls(names)
  }

  /** @hidden */
  setSysctl(name: string, value: string): Promise<Failure | undefined> {
    return this.#conversation.setSysctl(name, value)
  }

  /** @hidden */
  openProcNet(name: string): Promise<OpenFile | Failure> {
    return this.#conversation.openProcNet(name)
  }

  /** @hidden */
  openScratch(): Promise<Transport | Failure> {
    return this.#conversation.openScratch()
  }

  /** @hidden */
  close(): Promise<void> {
    return this.#conversation.close()
  }
}

const DUMPS = ['getService', 'getRealServers', 'getSyncDaemons'] as const

/**
 * Creates an in-memory kernel with an empty table.
 *
 * @throws {TypeError} if there is no such option.
 * @throws {RangeError} if a value is out of its range.
 */
export function createMemoryKernel(options: MemoryKernelOptions = {}): MemoryKernel {
  return new MemoryKernel(options)
}
