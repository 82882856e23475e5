import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Netns } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'

export type TrafficProtocol = 'tcp' | 'udp' | 'sctp'

/** Where a client talks to, and from where. */
export interface Target {
  /** Default: tcp. */
  readonly protocol?: TrafficProtocol
  readonly address: string
  readonly port: number
  /** The client's own address. Default: the kernel chooses. */
  readonly source?: string
  /** How long to wait for each answer. Default: long; short where none is expected. */
  readonly withinMs?: number
  /** What is said: one line. */
  readonly text?: string
}

/** What a server answered. */
export interface Answer {
  /** Its name. */
  readonly server: string
  /** The client, as the server sees it. */
  readonly address: string
  readonly port: number
  /** The first 100 characters of what it got, and how many bytes it got. */
  readonly said: string
  readonly bytes: number
  /** How many bytes it added, because it was asked with `want N`. */
  readonly more: number
}

/** A packet of IPv4 or IPv6. */
export interface CapturedPacket {
  /** Its number, such as 17 for UDP. */
  readonly protocol: number
  /** The hop limit of IPv6. */
  readonly ttl: number
  readonly source: string
  readonly destination: string
  /** That of the destination; 0 where there is none. */
  readonly port: number
}

/** A packet, as someone sees it who looks at a cable. */
export interface Packet {
  readonly protocol: TrafficProtocol
  /** Address and port: `192.0.2.10:80`, `[2001:db8::10]:80`. */
  readonly source: string
  readonly destination: string
  /** The header around it, if it is in a tunnel: addresses without ports. */
  readonly outer?: Outer
}

export interface Outer {
  /** GUE is known by its port, 6080. */
  readonly tunnel: 'ipip' | 'gue' | 'gre'
  readonly source: string
  readonly destination: string
}

/** Nothing came back: `code` is an errno's name, ETIMEDOUT if nothing came at all. */
export class NoAnswer extends Error {
  readonly code: string
  constructor(code: string, what: string) {
    super(`${what}: ${code}`)
    this.code = code
  }
}

/** How long a client waits that should get no answer. */
export const IN_VAIN_MS = 1000

/** Servers and clients in all network namespaces: one process, so that hundreds of connections cost little. */
export class Agent {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #next = 0

  constructor() {
    // Not what a version manager has put before it.
    this.#child = spawn('/usr/bin/python3', [fileURLToPath(new URL('agent.py', import.meta.url))], {
      stdio: 'pipe',
    })
    this.#child.stderr.pipe(process.stderr)
    this.#child.stdin.on('error', () => undefined) // one that is gone
    this.#child.on('exit', () => {
      for (const settle of this.#waiting.values()) settle({ id: 0, error: 'the agent has ended' })
    })
    createInterface({ input: this.#child.stdout }).on('line', (text) => {
      const reply = JSON.parse(text) as Reply
      this.#waiting.get(reply.id)?.(reply)
      this.#waiting.delete(reply.id)
    })
  }

  /**
   * Starts a server, and resolves once it listens. Without an address it has all of its host; a server of UDP
   * behind a director that does not change the packets needs the virtual one, or it answers from another.
   *
   * @returns its port, which the kernel chooses for 0.
   */
  async serve(
    host: Netns,
    { protocol = 'tcp', address = '::', port, name }: Omit<Target, 'address'> & Server,
  ): Promise<number> {
    return this.#do<{ port: number }>('serve', { netns: host.name, protocol, address, port, name }).then(
      (reply) => reply.port,
    )
  }

  /** Ends the servers of that name on a host; connections that they have stay. */
  async stop(host: Netns, name: string): Promise<void> {
    await this.#do('stop', { netns: host.name, name })
  }

  /** Opens a conversation that lasts, says something, and waits for the answer. */
  async connect(
    client: Netns,
    { sourcePort = 0, ...target }: Target & { readonly sourcePort?: number },
  ): Promise<Conversation> {
    const id = this.#next
    const request = { ...requestOf(client, target), source: target.source, source_port: sourcePort }
    const reply = await this.#do<{ answer: Answer; source_port: number }>('connect', request)
    return new Conversation((deed, more) => this.#do(deed, { conversation: id, ...more }), reply)
  }

  /** Asks once: a conversation with a line and its answer. */
  async ask(client: Netns, target: Target): Promise<Answer> {
    const [first] = await this.askMany(client, target, 1)
    if (first === undefined || 'error' in first) throw new NoAnswer(first?.error ?? '?', 'ask')
    return first
  }

  /** Asks many times, one after the other, each in a new connection. From several addresses: in turn. */
  async askMany(
    client: Netns,
    target: Target,
    count: number,
    sources: readonly string[] = target.source === undefined ? [] : [target.source],
  ): Promise<(Answer | { readonly error: string })[]> {
    const request = { ...requestOf(client, target), count, sources }
    return (await this.#do<{ answers: Answer[] }>('ask', request)).answers
  }

  /** The body of the answer to GET: the server's name, and the client as it sees it. */
  async get(client: Netns, { address, port, source, withinMs }: Target): Promise<string> {
    const request = { netns: client.name, address, port, source, within: seconds(withinMs) }
    return (await this.#do<{ body: string }>('get', request)).body
  }

  /** Keeps what an interface sends and gets from now on; gives what there is of it. */
  async capture(host: Netns, name: string): Promise<() => Promise<CapturedPacket[]>> {
    const id = this.#next
    await this.#do('capture', { netns: host.name, interface: name })
    return async () => (await this.#do<{ packets: CapturedPacket[] }>('captured', { capture: id })).packets
  }

  /** Notes from now on which packets of the protocols reach a host by its interfaces `eth...`. */
  async watch(host: Netns): Promise<void> {
    await this.#do('watch', { netns: host.name })
  }

  /** What was noted: packets that differ, in the order in which the first of each came. */
  async seen(host: Netns): Promise<Packet[]> {
    return (await this.#do<{ packets: Packet[] }>('seen', { netns: host.name })).packets
  }

  async end(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined
    this.#child.kill('SIGKILL')
    await ended
  }

  async #do<T>(deed: string, request: object): Promise<T> {
    const id = this.#next++
    const answered = new Promise<Reply>((resolve) => this.#waiting.set(id, resolve))
    this.#child.stdin.write(`${JSON.stringify({ id, do: deed, ...request })}\n`)
    const reply = await answered
    if (reply.error !== undefined) throw new NoAnswer(reply.error, `${deed} ${JSON.stringify(request)}`)
    return reply as T
  }
}

/** A conversation of a client with a server. */
export class Conversation {
  /** The first answer. */
  readonly answer: Answer
  /** The client's own port. */
  readonly sourcePort: number
  readonly #do: (deed: string, more?: object) => Promise<unknown>

  constructor(
    deed: (deed: string, more?: object) => Promise<unknown>,
    reply: { readonly answer: Answer; readonly source_port: number },
  ) {
    this.#do = deed
    this.answer = reply.answer
    this.sourcePort = reply.source_port
  }

  /** The name of the server that has it. */
  get server(): string {
    return this.answer.server
  }

  /** Says one more line, and waits for the answer. */
  async say(text: string, withinMs?: number): Promise<Answer> {
    const reply = (await this.#do('say', { text, within: seconds(withinMs) })) as { answer: Answer }
    return reply.answer
  }

  /** Ends it from the client's side. */
  async close(): Promise<void> {
    await this.#do('close')
  }
}

interface Server {
  /** Default: all of its host, of both families. */
  readonly address?: string
  readonly name: string
}

interface Reply {
  readonly id: number
  readonly error?: string
}

function requestOf(
  client: Netns,
  { protocol = 'tcp', address, port, withinMs, text = 'hello' }: Target,
): object {
  return { netns: client.name, protocol, address, port, within: seconds(withinMs), text }
}

function seconds(ms = patient(10_000)): number {
  return ms / 1000
}

/** How many of these each server gave; failures by the name of their errno. */
export function countsOf(
  answers: readonly (Pick<Answer, 'server'> | { readonly error: string })[],
): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const answer of answers) {
    const name = 'error' in answer ? answer.error : answer.server
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}
