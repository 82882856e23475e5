import { AttributeReader } from '../../codec/attributes.ts'
import { Errno } from '../../model/errno.ts'
import type { Dump, Failure, OpenFile, Reply, Request, Transport } from '../../transport/transport.ts'
import { commandName } from './command-names.ts'
import type { Faults } from './faults.ts'
import type { Namespace } from '../machine/namespace.ts'
import { PROC_NET } from '../machine/proc.ts'
import { Refusal } from '../machine/refusal.ts'
import { writtenSysctl } from '../machine/sysctls.ts'
import { type Context, execute, startDump } from './commands.ts'
import { type LogEntry, logEntry } from './log.ts'
import { policiesOf } from './policies.ts'
import { ReplyWriter } from './replies.ts'

/** How a test listens and interferes. */
interface Supervision {
  readonly faults: Faults
  readonly log: LogEntry[]
}

/** Bytes of the first piece of a dump, and of those after it: between two, others may change the table. */
const FIRST_CHUNK_BYTES = 3776
const CHUNK_BYTES = 32448

/** The headers in front of a message's attributes. */
const HEADERS = 20

const NO_FAMILY: Failure = { errno: Errno.ENOENT, noFamily: true }

/**
 * The conversations of a transport with one namespace. Several may go on at the
 * same time: each request takes effect at once, and anything may happen between
 * two requests, as with several sockets to a real kernel.
 */
export class Conversation implements Transport {
  #context: Context
  readonly #supervision: Supervision | undefined
  readonly #scratch: () => Transport
  #calls = 0

  constructor(namespace: Namespace, scratch: () => Transport, supervision?: Supervision) {
    const { features } = namespace.machine
    this.#context = { namespace, policies: policiesOf(features), writer: new ReplyWriter(features) }
    this.#supervision = supervision
    this.#scratch = scratch
  }

  /** From now on talks to another namespace of the same kernel. */
  enter(namespace: Namespace): void {
    this.#context = { ...this.#context, namespace }
  }

  async batch(requests: readonly Request[]): Promise<readonly Reply[]> {
    const call = this.#calls++
    const replies: Reply[] = []
    for (const request of requests) {
      await this.#wait(request)
      const reply = this.#do(request)
      this.#note(request, call, reply.failure)
      replies.push(reply)
    }
    return replies
  }

  async dump(request: Request): Promise<Dump> {
    const messages: Uint8Array[] = []
    const { failure, interrupted } = await this.#dump(request, this.#calls++, messages)
    return { ...(failure !== undefined && { failure }), messages, interrupted }
  }

  async dumpOfDumps(outer: Request, innerCommand: number, attribute: number): Promise<Dump> {
    const call = this.#calls++
    const heads: Uint8Array[] = []
    let { failure, interrupted } = await this.#dump(outer, call, heads)
    const messages: Uint8Array[] = []
    for (const head of heads) {
      if (failure !== undefined) break
      messages.push(head)
      const inner = { command: innerCommand, attributes: echo(head, attribute) }
      const end = await this.#dump(inner, call, messages)
      failure = end.failure
      interrupted ||= end.interrupted
    }
    if (failure !== undefined) return { failure, messages: [], interrupted }
    return { messages, interrupted }
  }

  sysctls(names: readonly string[]): Promise<readonly (string | undefined)[]> {
    const { sysctls, machine } = this.#context.namespace
    return Promise.resolve(names.map((name) => (machine.loaded ? sysctls.get(name) : undefined)))
  }

  setSysctl(name: string, value: string): Promise<Failure | undefined> {
    const { sysctls, machine } = this.#context.namespace
    const current = machine.loaded ? sysctls.get(name) : undefined
    if (current === undefined) return Promise.resolve({ errno: Errno.ENOENT, syscall: 'open' })
    // The file belongs to root; the capability is not checked.
    if (!machine.privileged) return Promise.resolve({ errno: Errno.EACCES, syscall: 'open' })
    const written = writtenSysctl(name, value, current)
    if (typeof written === 'number') return Promise.resolve({ errno: written, syscall: 'write' })
    sysctls.set(name, written)
    return Promise.resolve(undefined)
  }

  openProcNet(name: string): Promise<OpenFile | Failure> {
    const { namespace } = this.#context
    const text = namespace.machine.loaded ? PROC_NET.get(name) : undefined
    if (text === undefined) return Promise.resolve({ errno: Errno.ENOENT, syscall: 'open' })
    return Promise.resolve(fileOf(new TextEncoder().encode(text(namespace))))
  }

  openScratch(): Promise<Transport | Failure> {
    const { machine } = this.#context.namespace
    if (!machine.privileged) return Promise.resolve({ errno: Errno.EPERM, syscall: 'unshare' })
    if (!machine.loaded) return Promise.resolve(NO_FAMILY)
    return Promise.resolve(this.#scratch())
  }

  /** The kernel outlives its users. */
  close(): Promise<void> {
    return Promise.resolve()
  }

  /** Does a request, or fails it as a test has asked. */
  #do({ command, attributes }: Request): Reply {
    const fault = this.#supervision?.faults.takeFailure(commandName(command))
    if (fault !== undefined && !fault.executed) return { failure: fault.failure }
    if (!this.#context.namespace.machine.loaded) return { failure: NO_FAMILY }
    try {
      const message = execute(this.#context, command, attributes)
      if (fault !== undefined) return { failure: fault.failure }
      return message === undefined ? {} : { messages: message }
    } catch (error) {
      return { failure: fault?.failure ?? failureOf(error) }
    }
  }

  /** Runs a dump to its end. The position in the list is just a number, as in the kernel: see FIRST_CHUNK_BYTES. */
  async #dump(
    request: Request,
    call: number,
    messages: Uint8Array[],
  ): Promise<{ failure?: Failure; interrupted: boolean }> {
    await this.#wait(request)
    const faults = this.#supervision?.faults
    const name = commandName(request.command)
    const interrupted = faults?.takeInterruption(name) ?? false
    const failure = faults?.takeFailure(name)?.failure ?? this.#refusal()
    if (failure !== undefined) {
      this.#note(request, call, failure)
      return { failure, interrupted }
    }
    try {
      const look = startDump(this.#context, request.command, request.attributes)
      let list = look()
      let room = FIRST_CHUNK_BYTES
      for (let position = 0; position < list.length;) {
        const message = (list[position] as () => Uint8Array)()
        if (message.length > room) {
          await faults?.betweenChunks(name)
          list = look()
          room = CHUNK_BYTES
          continue
        }
        room -= message.length
        messages.push(message)
        position += 1
      }
      this.#note(request, call, undefined)
      return { interrupted }
    } catch (error) {
      const failure = failureOf(error)
      this.#note(request, call, failure)
      return { failure, interrupted }
    }
  }

  #refusal(): Failure | undefined {
    return this.#context.namespace.machine.loaded ? undefined : NO_FAMILY
  }

  #wait({ command }: Request): Promise<void> | undefined {
    const faults = this.#supervision?.faults
    return faults?.waits === true ? faults.wait(commandName(command)) : undefined
  }

  #note(request: Request, call: number, failure: Failure | undefined): void {
    this.#supervision?.log.push(logEntry(request, call, failure?.errno))
  }
}

/** Bytes of a file, in pieces that end inside lines. */
function fileOf(bytes: Uint8Array): OpenFile {
  let at = 0
  return {
    read: () => Promise.resolve(bytes.slice(at, (at += PIECE_BYTES))),
    close: () => undefined,
  }
}

const PIECE_BYTES = 65_536

function failureOf(error: unknown): Failure {
  if (!(error instanceof Refusal)) throw error
  return { errno: error.errno, ...(error.text !== undefined && { message: error.text }) }
}

/** One top-level attribute of a message, with its header. A dump of dumps makes the inner requests with it. */
function echo(message: Uint8Array, type: number): Uint8Array {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  const reader = new AttributeReader(view).seek(HEADERS, message.length)
  while (reader.next()) {
    if (reader.type === type) return message.subarray(reader.start - 4, reader.start + reader.length)
  }
  return new Uint8Array(0)
}
