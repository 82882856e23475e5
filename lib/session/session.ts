import { checkOptions } from '../model/check.ts'
import { Errno } from '../model/errno.ts'
import type { RequestOptions } from '../model/types.ts'
import type { Failure, Reply, Request, Transport } from '../transport/transport.ts'
import { type Access, accessOf } from './access.ts'
import { type Handler, RequestQueue } from './queue.ts'
import { forCommand, refusal, type Subject } from './refusals.ts'
import { Locks, type LockOptions, type TableLock } from './lock.ts'
import { answer, type Query } from './requests.ts'

const REQUEST_OPTIONS = ['signal']

/**
 * One conversation with a kernel: requests in the order they are made, tasks that
 * have the kernel to themselves, work that pauses between requests, and closing.
 * Turns failures into errors that name the method.
 */
export class Session {
  readonly #queue: RequestQueue
  readonly #transport: Transport
  readonly #locks: Locks
  #closed = false
  #closing: Promise<void> | undefined
  readonly #onClose = new Set<() => void>()
  /** Work outside the queue: operations that pause between requests, and reads of files. close() waits for it. */
  readonly #background = new Set<Promise<unknown>>()

  constructor(
    transport: Transport,
    queue: RequestQueue = new RequestQueue(transport),
    locks: Locks = new Locks(transport),
  ) {
    this.#transport = transport
    this.#queue = queue
    this.#locks = locks
  }

  /** Sends a command that is answered with success only. */
  async tell(command: string, request: Request, options: RequestOptions, subject?: Subject): Promise<void> {
    const { failure } = await this.#send(command, request, options)
    if (failure !== undefined) throw refusal(failure, command, subject)
  }

  /** Sends a command that is answered with one message, and reads that message. */
  async ask<T>(command: string, query: Query<T>, options: RequestOptions, subject?: Subject): Promise<T> {
    const reply = await this.#send(command, query.request, options)
    if (reply.failure !== undefined) throw refusal(reply.failure, command, subject)
    try {
      return answer(query, reply)
    } catch (error) {
      throw forCommand(error, command, subject)
    }
  }

  /** Runs a read that takes more than one request. It has the kernel to itself. */
  async read<T extends object>(
    command: string,
    read: (transport: Transport) => Promise<T | Failure>,
    { signal }: RequestOptions,
    subject?: Subject,
  ): Promise<T> {
    this.checkOpen(command)
    try {
      const found = await this.#queue.run(read, signal)
      if ('errno' in found) throw refusal(found, command, subject)
      return found
    } catch (error) {
      throw forCommand(error, command, subject)
    }
  }

  /** Hands an item to `handler` together with its neighbours in the queue. */
  async join<Item, Outcome>(
    command: string,
    handler: Handler<Item, Outcome>,
    item: Item,
    options: RequestOptions,
    subject: Subject,
  ): Promise<Outcome> {
    checkOptions(options, REQUEST_OPTIONS)
    this.checkOpen(command)
    try {
      return await this.#queue.join(handler, item, options.signal)
    } catch (error) {
      throw forCommand(error, command, subject)
    }
  }

  /** Runs a task that has the kernel to itself and reads and writes the parts of a state. */
  async exclusive<T>(
    command: string,
    task: (access: Access) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    this.checkOpen(command)
    return this.#queue.run((transport) => task(accessOf(transport, command)), signal)
  }

  /** Runs a task with the lock of the table. Rejects if `signal` is raised while another process has it. */
  async locked<T>(task: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.#locks.during(signal, task)
  }

  /** See Ipvs.lock(). */
  async lock(options: LockOptions): Promise<TableLock> {
    this.checkOpen('lock')
    return this.#locks.take(options)
  }

  /**
   * Runs work that pauses between its requests. close() raises the signal that is
   * passed to the work, and waits until the work has undone what it did. Until
   * then the session that is passed to the work stays open.
   */
  async background<T>(
    command: string,
    work: (session: Session, ending: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.checkOpen(command)
    const ending = new AbortController()
    const forget = this.onClose(() => {
      ending.abort(refusal({ errno: Errno.EBADF }, command))
    })
    try {
      const session = new Session(this.#transport, this.#queue, this.#locks)
      return await this.inProgress(work(session, ending.signal))
    } finally {
      forget()
    }
  }

  /** Waits for work that is not in the queue, as close() then does too. */
  async inProgress<T>(work: Promise<T>): Promise<T> {
    this.#background.add(work)
    try {
      return await work
    } finally {
      this.#background.delete(work)
    }
  }

  /** Throws EBADF once this is closed. */
  checkOpen(command: string): void {
    if (this.#closed) throw refusal({ errno: Errno.EBADF }, command)
  }

  /** Calls back when this is closed. The result cancels that. */
  onClose(callback: () => void): () => void {
    this.#onClose.add(callback)
    return () => this.#onClose.delete(callback)
  }

  /** Ends background work, waits for calls in progress, and closes the transport. May be called again. */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#closed = true
      this.#closing = this.#end()
      for (const callback of this.#onClose) callback()
    }
    return this.#closing
  }

  async #end(): Promise<void> {
    await Promise.allSettled(this.#background)
    await this.#queue.idle()
    await this.#transport.close()
  }

  #send(command: string, request: Request, options: RequestOptions): Promise<Reply> {
    checkOptions(options, REQUEST_OPTIONS)
    this.checkOpen(command)
    return this.#queue.request(request, options.signal)
  }
}
