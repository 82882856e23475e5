import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type Netns, withNamespaces } from './kernel.ts'
import { patient } from './patience.mjs'
import { until } from './until.ts'

/** A client, a director and a host with servers, joined by cables of their own: veth. */
export interface Network {
  readonly client: Netns
  readonly director: Netns
  readonly host: Netns
}

/** The director's address for clients, of each family. */
export const VIRTUAL = { ipv4: '10.1.0.100', ipv6: 'fd01::100' } as const
/** The host's address, and another. */
export const REAL = { ipv4: '10.2.0.2', ipv6: 'fd02::2', second: '10.2.0.3' } as const

export function withNetwork<T>(body: (network: Network) => Promise<T>): Promise<T> {
  const setUp = ([, director = '', host = '']: readonly string[]): string[][] => [
    [
      `link add eth0 type veth peer name clients netns ${director}`,
      'link set eth0 up',
      'addr add 10.1.0.2/24 dev eth0',
      'addr add fd01::2/64 dev eth0 nodad',
    ],
    [
      `link add servers type veth peer name eth0 netns ${host}`,
      'link set clients up',
      'link set servers up',
      'addr add 10.1.0.1/24 dev clients',
      `addr add ${VIRTUAL.ipv4}/32 dev clients`,
      'addr add fd01::1/64 dev clients nodad',
      `addr add ${VIRTUAL.ipv6}/128 dev clients nodad`,
      'addr add 10.2.0.1/24 dev servers',
      'addr add fd02::1/64 dev servers nodad',
    ],
    [
      'link set eth0 up',
      `addr add ${REAL.ipv4}/24 dev eth0`,
      `addr add ${REAL.second}/24 dev eth0`,
      `addr add ${REAL.ipv6}/64 dev eth0 nodad`,
      'route add default via 10.2.0.1',
      'route add default via fd02::1',
    ],
  ]
  return withNamespaces(
    3,
    async (client, director, host) => {
      await director.run([
        ...['sh', '-c'],
        'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding',
      ])
      return body({ client, director, host })
    },
    { setUp },
  )
}

/** Starts a server that answers with what it gets, and waits until it listens. */
export async function startEcho(host: Netns, protocol: 'tcp' | 'udp', port: number): Promise<void> {
  const address =
    protocol === 'tcp'
      ? `TCP6-LISTEN:${String(port)},fork,reuseaddr,ipv6only=0`
      : `UDP6-RECVFROM:${String(port)},fork,ipv6only=0`
  const server = host.start(['socat', address, 'PIPE'])
  const listens = new RegExp(
    `:${port.toString(16).toUpperCase().padStart(4, '0')} \\S+ ${protocol === 'tcp' ? '0A' : '07'}`,
  )
  await until(`a server listens on ${protocol} ${String(port)}`, async () => {
    if (server.exitCode !== null) throw new Error(`socat ended with ${String(server.exitCode)}`)
    return listens.test(
      await readFile(`/proc/${String(server.pid)}/net/${protocol}6`, 'utf8').catch(() => ''),
    )
  })
}

/** A TCP connection that is held open. */
export class Connection {
  readonly #child: ChildProcessWithoutNullStreams
  #answer = ''

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#answer += text
    })
  }

  /** Connects, and waits for an answer. */
  static async open(client: Netns, address: string, port: number): Promise<Connection> {
    const host = address.includes(':') ? `[${address}]` : address
    const connection = new Connection(client.start(['socat', '-', `TCP:${host}:${String(port)}`]))
    await connection.echo('hello')
    return connection
  }

  /** Says something, and waits until it comes back. */
  async echo(text: string): Promise<void> {
    this.#answer = ''
    this.#child.stdin.write(`${text}\n`)
    await until(`the answer '${text}'`, () => {
      if (this.#child.exitCode !== null)
        throw new Error(`the connection has ended: ${String(this.#child.exitCode)}`)
      return this.#answer === `${text}\n`
    })
  }

  /** Ends it from the client's side. */
  async close(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined
    this.#child.stdin.end()
    await ended
  }
}

/** Sends a datagram, and waits for its answer if there is to be one. */
export async function sendDatagram(
  client: Netns,
  address: string,
  port: number,
  answer = true,
): Promise<void> {
  // The source port is the same each time, so that these are one connection to IPVS.
  const child = client.start([
    'socat',
    `-T${Math.ceil(patient(5000) / 1000)}`,
    '-',
    `UDP:${address}:${String(port)},sourceport=5555,reuseaddr`,
  ])
  let answered = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    answered += text
  })
  const ended = once(child, 'exit')
  child.stdin.write('hello\n')
  if (answer) await until('the answer to a datagram', () => answered === 'hello\n')
  child.stdin.end()
  await ended
}
