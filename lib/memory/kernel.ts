import { flag, known, object, oneOf, show, whole } from '../model/check.ts'
import type { ServiceKey } from '../model/types.ts'
import type { Dump, Failure, Reply, Request, Transport } from '../transport/transport.ts'
import type { KernelCommand } from './command-names.ts'
import { type Fault, Faults, type Hook } from './faults.ts'
import { type Machine } from './machine/machine.ts'
import { Namespace } from './machine/namespace.ts'
import { machineOf, type MemoryKernelOptions } from './options.ts'
import { type ClientOptions, Clients, type MemoryConnection, type TrafficOptions } from './traffic.ts'
import { Conversation } from './wire/conversation.ts'
import type { LogEntry } from './wire/log.ts'

/**
 * A kernel in memory for tests: `Ipvs.open({ transport: kernel })`. It answers
 * the bytes that Linux would, and keeps the same table by the same rules, in any
 * JavaScript environment and without privileges.
 *
 * Any number of Ipvs may be opened on one kernel, at the same time or one after
 * the other: closing one leaves the kernel as it is. Each sees what the others
 * do, as several programs on one machine do.
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

  /** Every request that arrived, oldest first, with what became of it. Those of `Ipvs.probe()` are not among them. */
  get log(): readonly LogEntry[] {
    return this.#log
  }

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
   * ENOENT, as on a kernel that has no IPVS. What there was is gone after it.
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

  /** Seconds since the kernel began. Its clock stands still but for `advance()`. */
  get seconds(): number {
    return this.#namespace.now
  }

  /**
   * Lets time pass: connections and clients that persistence remembers time
   * out, deleted real servers are forgotten, and every two seconds the counters
   * that are read catch up with what has passed, as those of Linux do.
   */
  advance(seconds: number): void {
    if (!Number.isFinite(seconds) || seconds < 0) {
      throw new RangeError(`seconds must be a number, 0 or more, got ${show(seconds)}`)
    }
    this.#namespace.advance(seconds)
  }

  /**
   * A client connects to a virtual service. Its scheduler chooses the server by
   * the rules of Linux: rr, wrr, lc, wlc, sed, nq, fo, ovf, dh, sh and mh choose
   * what the real ones would; lblc, lblcr, twos and any other name choose as wlc does.
   * Persistence (without engines), weight 0 and thresholds count, and of the
   * sysctls `expire_quiescent_template`, `expire_nodest_conn` and `run_estimation`.
   *
   * What a connection begins and ends with is counted as headers without data.
   * `activeConnections` and the like show at once, counters after `advance(2)`.
   */
  connect(service: ServiceKey, options: ClientOptions = {}): MemoryConnection {
    return this.#clients.connect(service, options)
  }

  /** Connections of many clients, each of which sends and gets so much. */
  traffic(service: ServiceKey, options: TrafficOptions = {}): MemoryConnection[] {
    return this.#clients.traffic(service, options)
  }

  /**
   * Fails the next request, or the next of a command. The kernel does not do
   * it, unless the errno says that only the answer is lost. Several faults come
   * in the order they were asked for.
   */
  failNext(fault: Fault): void {
    this.#faults.fail(fault)
  }

  /**
   * Runs something just before the next request of a command is done: another
   * program's change through another Ipvs on this kernel, for example. What it
   * gives is awaited. In a `snapshot()`, 'getRealServers' comes between the dump
   * of the services and that of the first one's real servers.
   */
  beforeNext(command: KernelCommand, run: Hook): void {
    this.#faults.before(command, run)
  }

  /**
   * Runs something in the middle of the next dump of a command, once a first
   * piece was read: about eleven services, or ten real servers. A list that is
   * shorter does not come to that point. The kernel only counts how far it is,
   * so a change in between makes it miss entries, or list some twice.
   */
  duringNextDump(command: 'getService' | 'getRealServers', run: Hook): void {
    oneOf(command, 'command', ['getService', 'getRealServers'])
    this.#faults.during(command, run)
  }

  /**
   * Marks the next dump as interrupted by a change (NLM_F_DUMP_INTR), which Linux
   * does not do for IPVS up to 7.1. The list is read again, and is EAGAIN where
   * eight reads in a row were interrupted: call this as often for that.
   */
  interruptNextDump(command?: 'getService' | 'getRealServers' | 'getSyncDaemons'): void {
    if (command !== undefined) oneOf(command, 'command', DUMPS)
    this.#faults.interrupt(command)
  }

  /** Makes the next request, or the next of a command, take so long. */
  delayNext(delay: { readonly ms: number; readonly command?: KernelCommand }): void {
    known(object(delay, 'a delay'), ['ms', 'command'], [], 'a delay')
    const { command } = delay
    const ms = whole(delay.ms, 'ms', 0, 2147483647)
    this.#faults.before(command, () => new Promise((resolve) => setTimeout(resolve, ms)))
  }

  /** Answers nothing more, like a kernel that is busy, until the function that it gives is called. */
  hold(): () => void {
    return this.#faults.hold()
  }

  /** Forgets the faults that did not come yet. */
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
  connections(): Promise<Uint8Array | Failure> {
    return this.#conversation.connections()
  }

  /** @hidden */
  totals(): Promise<Uint8Array | Failure> {
    return this.#conversation.totals()
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
 * Makes a kernel in memory, with an empty table.
 *
 * @throws {TypeError} if there is no such option.
 * @throws {RangeError} if a value is out of its range.
 */
export function createMemoryKernel(options: MemoryKernelOptions = {}): MemoryKernel {
  return new MemoryKernel(options)
}
