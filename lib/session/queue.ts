import type { Reply, Request, Transport } from '../transport/transport.ts'
import { forgetAbort, onAbort } from '../util/signals.ts'

/**
 * Queues the work of one transport, in order and one call at a time. Calls of
 * one tick, and those made while another is in flight, travel together: a handler
 * gets all its neighbouring items at once.
 */
export class RequestQueue {
  readonly #transport: Transport
  readonly #waiting: Group[] = []
  #working: Promise<void> | undefined

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Sends one request, in one batch with its neighbours. */
  request(request: Request, signal?: AbortSignal): Promise<Reply> {
    return this.join(sendBatch, request, signal)
  }

  /** Runs a task that needs more than one request. It has the transport to itself. */
  run<T>(task: (transport: Transport) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.join(async (transport) => [await task(transport)], undefined, signal)
  }

  /**
   * Hands an item to `handler`, together with the neighbours that have the same
   * one; resolves with the item's own outcome. Rejects as the handler does, or
   * with the reason of the signal if that is raised while the item waits.
   */
  join<Item, Outcome>(handler: Handler<Item, Outcome>, item: Item, signal?: AbortSignal): Promise<Outcome> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
    return new Promise((resolve, reject) => {
      const member: Member<Item, Outcome> = { item, resolve, reject }
      let group = this.#waiting.at(-1) as Group<Item, Outcome> | undefined
      if (group?.handler !== handler || group.members.length >= LARGEST_GROUP) {
        group = { handler, members: [] }
        this.#waiting.push(group as unknown as Group)
      }
      const { members } = group
      members.push(member)
      if (signal !== undefined) {
        const drop = (): void => {
          members.splice(members.indexOf(member), 1)
          reject(signal.reason as Error)
        }
        onAbort(signal, drop)
        member.begin = (): void => {
          forgetAbort(signal, drop)
        }
      }
      this.#working ??= this.#work()
    })
  }

  /** Resolves when everything in the queue has its outcome. */
  async idle(): Promise<void> {
    await this.#working
  }

  async #work(): Promise<void> {
    // The other calls of this tick join before anything is sent.
    await Promise.resolve()
    for (let group = this.#waiting.shift(); group !== undefined; group = this.#waiting.shift()) {
      await this.#handle(group)
    }
    this.#working = undefined
  }

  async #handle({ handler, members }: Group): Promise<void> {
    for (const member of members) member.begin?.()
    if (members.length === 0) return
    try {
      const outcomes = await handler(
        this.#transport,
        members.map((member) => member.item),
      )
      for (const [index, member] of members.entries()) member.resolve(outcomes[index])
    } catch (error) {
      for (const member of members) member.reject(error)
    }
  }
}

/** Handles several items and returns an outcome for each, in order. */
export type Handler<Item, Outcome> = (
  transport: Transport,
  items: readonly Item[],
) => Promise<readonly Outcome[]>

interface Member<Item, Outcome> {
  readonly item: Item
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (reason: unknown) => void
  /** From now on the signal no longer counts. */
  begin?: () => void
}

interface Group<Item = unknown, Outcome = unknown> {
  readonly handler: Handler<Item, Outcome>
  readonly members: Member<Item, Outcome>[]
}

/**
 * More items than this go in several calls, so that handing out the outcomes of
 * one call keeps the JS thread busy for only a few milliseconds.
 */
const LARGEST_GROUP = 4096

const sendBatch: Handler<Request, Reply> = (transport, requests) => transport.batch(requests)
