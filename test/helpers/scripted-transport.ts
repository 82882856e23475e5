import { setImmediate } from 'node:timers/promises'
import type { Dump, Failure, OpenFile, Reply, Request, Transport } from '../../lib/transport/transport.ts'
import { MACHINE, writer, type Writer } from './bytes.ts'

/**
 * A transport that records what crosses it and answers what a test prepared. It
 * is no kernel: it keeps no table and understands no bytes but the command.
 */

/** One call that crossed. */
export type Call =
  | { readonly kind: 'batch'; readonly requests: readonly Request[] }
  | { readonly kind: 'dump'; readonly request: Request }
  | {
      readonly kind: 'dumpOfDumps'
      readonly outer: Request
      readonly innerCommand: number
      readonly attribute: number
    }
  | { readonly kind: 'sysctls'; readonly names: readonly string[] }
  | { readonly kind: 'setSysctl'; readonly name: string; readonly value: string }
  | { readonly kind: 'openProcNet'; readonly name: string }
  | { readonly kind: 'openScratch' }
  | { readonly kind: 'close' }

/** What a request is answered: an Error is thrown, by a transport that breaks its word. */
type Answer = Reply | Dump | Error

export class ScriptedTransport implements Transport {
  readonly calls: Call[] = []
  readonly #answers = new Map<number, Answer[]>()
  readonly #standing = new Map<number, Answer>()
  readonly values: Map<string, string | Failure> = new Map<string, string | Failure>()
  scratch: Transport | Failure = { errno: 1 }
  /** The pieces of the files of /proc/net; a failure here is one of opening them. */
  pieces: readonly (Uint8Array | Failure)[] | Failure = []
  /** How many of these files were opened and are not closed. */
  openFiles = 0
  #gate: Promise<void> | undefined
  #open: (() => void) | undefined
  #inFlight = 0
  #closed = false

  /** Answers the next requests of a command, in order. */
  answer(command: number, ...answers: Answer[]): this {
    this.#answers.set(command, [...(this.#answers.get(command) ?? []), ...answers])
    return this
  }

  /** Answers every request of a command for which nothing else is prepared. Without: success. */
  always(command: number, answer: Answer): this {
    this.#standing.set(command, answer)
    return this
  }

  /** From now on calls wait, as for a slow kernel, until `release()`. */
  hold(): void {
    this.#gate = new Promise((open) => {
      this.#open = open
    })
  }

  release(): void {
    this.#open?.()
    this.#gate = undefined
  }

  /** Waits until so many calls have crossed. */
  async crossed(count: number): Promise<void> {
    for (let turns = 0; this.calls.length < count; turns++) {
      if (turns > 1000) throw new Error(`${this.calls.length} calls crossed, not ${count}`)
      await setImmediate()
    }
  }

  /** The calls in short: 'batch 1 5', 'dump 4'. */
  get log(): string[] {
    return this.calls.map((call) => {
      switch (call.kind) {
        case 'batch':
          return ['batch', ...call.requests.map((request) => request.command)].join(' ')
        case 'dump':
          return `dump ${call.request.command}`
        case 'dumpOfDumps':
          return `dumpOfDumps ${call.outer.command} ${call.innerCommand} ${call.attribute}`
        case 'sysctls':
          return ['sysctls', ...call.names].join(' ')
        case 'setSysctl':
          return `setSysctl ${call.name} ${call.value}`
        case 'openProcNet':
          return `openProcNet ${call.name}`
        default:
          return call.kind
      }
    })
  }

  /** The requests of all batches. */
  get sent(): Request[] {
    return this.calls.flatMap((call) => (call.kind === 'batch' ? call.requests : []))
  }

  batch(requests: readonly Request[]): Promise<readonly Reply[]> {
    return this.#cross({ kind: 'batch', requests }, () =>
      requests.map((request) => given(this.#next(request.command) ?? {}) as Reply),
    )
  }

  dump(request: Request): Promise<Dump> {
    return this.#cross({ kind: 'dump', request }, () => dumpOf(this.#next(request.command)))
  }

  dumpOfDumps(outer: Request, innerCommand: number, attribute: number): Promise<Dump> {
    return this.#cross({ kind: 'dumpOfDumps', outer, innerCommand, attribute }, () =>
      dumpOf(this.#next(outer.command)),
    )
  }

  sysctls(names: readonly string[]): Promise<readonly (string | undefined | Failure)[]> {
    return this.#cross({ kind: 'sysctls', names }, () => names.map((name) => this.values.get(name)))
  }

  setSysctl(name: string, value: string): Promise<Failure | undefined> {
    return this.#cross({ kind: 'setSysctl', name, value }, () => {
      this.values.set(name, value)
      return undefined
    })
  }

  openProcNet(name: string): Promise<OpenFile | Failure> {
    return this.#cross({ kind: 'openProcNet', name }, () =>
      'errno' in this.pieces ? this.pieces : this.#file([...this.pieces]),
    )
  }

  #file(pieces: (Uint8Array | Failure)[]): OpenFile {
    let open = true
    this.openFiles += 1
    return {
      read: async () => {
        if (!open) throw new Error('read after close')
        await (this.#gate ?? setImmediate())
        return pieces.shift() ?? new Uint8Array(0)
      },
      close: () => {
        if (open) this.openFiles -= 1
        open = false
      },
    }
  }

  openScratch(): Promise<Transport | Failure> {
    return this.#cross({ kind: 'openScratch' }, () => this.scratch)
  }

  async close(): Promise<void> {
    await this.#cross({ kind: 'close' }, () => undefined)
    this.#closed = true
  }

  #next(command: number): Answer | undefined {
    return this.#answers.get(command)?.shift() ?? this.#standing.get(command)
  }

  /** The contract of Transport: one call at a time, and none after close. */
  async #cross<T>(call: Call, result: () => T): Promise<T> {
    if (this.#closed) throw new Error(`${call.kind} after close`)
    if (this.#inFlight > 0) throw new Error(`${call.kind} while another call is in flight`)
    this.#inFlight += 1
    this.calls.push(call)
    try {
      await (this.#gate ?? setImmediate())
      return result()
    } finally {
      this.#inFlight -= 1
    }
  }
}

function given(answer: Answer): Reply | Dump {
  if (answer instanceof Error) throw answer
  return answer
}

function dumpOf(answer: Answer | undefined): Dump {
  const dump = given(answer ?? {})
  if ('interrupted' in dump) return dump
  const { failure, messages } = dump
  return {
    ...(failure !== undefined && { failure }),
    messages: messages === undefined ? [] : [messages],
    interrupted: false,
  }
}

/** The writer for replies: a transport speaks the byte order of its machine. */
export const reply: Writer = writer(MACHINE)
