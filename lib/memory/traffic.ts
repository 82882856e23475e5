import { familyNumber } from '../codec/address.ts'
import { familyOfAddress, familyOfService, parseAddress } from '../model/address.ts'
import { address, type Complete, definedOf, flag, known, object, oneOf, whole } from '../model/check.ts'
import { AddressFamily, IpProtocol } from '../model/constants.ts'
import { serviceKeyOf } from '../model/keys.ts'
import { PROTOCOL_NAMES, protocolName, protocolNumber } from '../model/protocols.ts'
import type { Endpoint, Family, Protocol, ServiceKey } from '../model/types.ts'
import { addressText } from './machine/addresses.ts'
import type { Connection, Flow } from './machine/connections.ts'
import type { Namespace } from './machine/namespace.ts'
import type { ConnectionState, Event } from './machine/states.ts'

/** Clients that a test makes: their packets pass through the in-memory kernel as through a director. */

/** Packets and bytes to pass, each 0 by default. */
export interface Traffic {
  /** From the client. */
  readonly packetsIn?: number | undefined
  /** From the client. */
  readonly bytesIn?: number | undefined
  /** Counted only if the answers pass through the director: for masquerade. */
  readonly packetsOut?: number | undefined
  /** Counted likewise. */
  readonly bytesOut?: number | undefined
}

/** A client of {@link MemoryKernel.connect}. */
export interface ClientOptions {
  /** Default: another one for each connection, from 198.18.0.0/15 or 2001:2::/48. */
  readonly clientAddress?: string | undefined
  /** 1 to 65535. Default: another one for each connection, from 32768 on. */
  readonly clientPort?: number | undefined
  /**
   * False leaves a TCP connection half open: the client's SYN has arrived and
   * nothing else. Default true.
   */
  readonly established?: boolean | undefined
  /** For a firewall mark: the protocol of the packets that have it. Default 'tcp'. */
  readonly protocol?: 'tcp' | 'udp' | 'sctp' | undefined
  /** For a firewall mark: the address that these packets go to. Default 192.0.2.1 or 2001:db8::1. */
  readonly virtualAddress?: string | undefined
  /** For a firewall mark, and for a service of port 0: the port they go to, 1 to 65535. Default 80. */
  readonly virtualPort?: number | undefined
}

/** Traffic of many clients: see {@link MemoryKernel.traffic}. */
export interface TrafficOptions extends Traffic, ClientOptions {
  /** How many connections, default 1. */
  readonly connections?: number | undefined
  /** Whether each is closed afterwards. Default false. */
  readonly close?: boolean | undefined
}

/** A connection of a client to a virtual service. */
export class MemoryConnection {
  readonly #namespace: Namespace
  readonly #connection: Connection | undefined

  /** @internal */
  constructor(namespace: Namespace, connection: Connection | undefined) {
    this.#namespace = namespace
    this.#connection = connection
  }

  /** The real server that got it. `undefined`: it was refused, because no service or no server takes it. */
  get realServer(): Endpoint | undefined {
    if (this.#connection === undefined) return undefined
    const { family, address, port } = this.#connection.dest.identity
    return { address: addressText(family, address), port }
  }

  /** As /proc/net/ip_vs_conn writes it; 'REFUSED', or 'FORGOTTEN' once the kernel has forgotten it. */
  get state(): ConnectionState | 'REFUSED' | 'FORGOTTEN' {
    if (this.#connection === undefined) return 'REFUSED'
    return this.#connection.alive ? this.#connection.state : 'FORGOTTEN'
  }

  /** Seconds until the kernel forgets it, if there is no more traffic. 0 once it has. */
  get expiresInSeconds(): number {
    return this.#connection?.alive === true ? this.#connection.expires - this.#namespace.now : 0
  }

  /**
   * Sends data and gets answers, which restarts its timeout. Returns whether it
   * got through: not after the real server was deleted, nor once the connection is
   * forgotten.
   */
  send(traffic: Traffic = { packetsIn: 1 }): boolean {
    known(object(traffic, 'traffic'), TRAFFIC, [], 'traffic')
    const counts = definedOf(traffic as Readonly<Record<string, number | undefined>>)
    for (const [name, value] of Object.entries(counts)) whole(value, name, 0, Number.MAX_SAFE_INTEGER)
    return this.#pass('data', counts)
  }

  /** Closes it from the client's side only: answers may still come. */
  closeHalf(): boolean {
    return this.#pass('clientCloses', this.#packets(1, 1))
  }

  /**
   * Closes it. The kernel remembers it for two more minutes. UDP connections end
   * only by timeout, so nothing happens to them.
   */
  close(): boolean {
    if (this.#connection?.state === 'UDP') return this.#connection.alive
    return this.#pass('bothClose', this.#packets(2, 2))
  }

  /** Breaks it off (a TCP RST of the client). */
  reset(): boolean {
    return this.#pass('reset', this.#packets(1, 0))
  }

  /**
   * The client's first packets, and the answers to them.
   *
   * @internal
   */
  begin(established: boolean): this {
    if (this.#connection === undefined) return this
    const { protocol } = this.#connection.flow
    if (protocol === IpProtocol.UDP) this.#pass('data', this.#packets(1, 0))
    else if (established) this.#pass('open', this.#packets(2, protocol === IpProtocol.SCTP ? 2 : 1))
    else this.#count()
    return this
  }

  #count(): void {
    const { dest } = this.#connection as Connection
    this.#namespace.count(dest, this.#packets(1, 0))
  }

  #pass(event: Event, traffic: Partial<Complete<Traffic>>): boolean {
    if (this.#connection === undefined) return false
    return this.#namespace.connections.pass(this.#connection, event, traffic)
  }

  /** Packets that have only headers. */
  #packets(packetsIn: number, packetsOut: number): Complete<Traffic> {
    const { family, protocol } = this.#connection?.flow ?? NO_FLOW
    const bytes = (family === AddressFamily.INET6 ? 40 : 20) + (protocol === IpProtocol.TCP ? 20 : 8)
    return { packetsIn, bytesIn: packetsIn * bytes, packetsOut, bytesOut: packetsOut * bytes }
  }
}

const NO_FLOW = { family: AddressFamily.INET, protocol: IpProtocol.TCP }

const TRAFFIC: readonly (keyof Traffic)[] = ['packetsIn', 'bytesIn', 'packetsOut', 'bytesOut']
const CLIENT: readonly (keyof ClientOptions)[] = ['clientAddress', 'clientPort', 'established']
/** Options that a service with an address and port does not need. */
const TARGET: readonly (keyof ClientOptions)[] = ['protocol', 'virtualAddress', 'virtualPort']

const FIRST_PORT = 32768
const USUAL_PORT = 80

/** Opens connections of clients that it makes up. */
export class Clients {
  readonly #namespace: Namespace
  #count = 0

  constructor(namespace: Namespace) {
    this.#namespace = namespace
  }

  connect(service: ServiceKey | string, options: ClientOptions = {}): MemoryConnection {
    known(object(options, 'the options of a client'), CLIENT, TARGET, 'a client')
    const key = serviceKeyOf(service)
    const family = familyOfService(key)
    const number = this.#count++
    const from = options.clientAddress ?? clientAddress(family, number)
    const port = options.clientPort ?? FIRST_PORT + (number % (65536 - FIRST_PORT))
    const established = flag(options.established ?? true, 'established')
    const flow: Flow = {
      family: familyNumber(family),
      clientAddress: addressIn(family, from, 'clientAddress'),
      clientPort: whole(port, 'clientPort', 1, 65535),
      ...targetOf(key, family, options),
    }
    const connection = this.#namespace.connections.open(flow)
    return new MemoryConnection(this.#namespace, connection).begin(established)
  }

  traffic(service: ServiceKey | string, options: TrafficOptions): MemoryConnection[] {
    const names = [...CLIENT, ...TARGET]
    known(object(options, 'traffic'), ['connections', 'close', ...TRAFFIC], names, 'traffic')
    const { connections = 1, close = false, packetsIn, bytesIn, packetsOut, bytesOut, ...client } = options
    whole(connections, 'connections', 0, 1_000_000)
    flag(close, 'close')
    const traffic = { packetsIn, bytesIn, packetsOut, bytesOut }
    const named = Object.entries(traffic).filter(([, value]) => value !== undefined)
    return Array.from({ length: connections }, () => {
      const connection = this.connect(service, client)
      if (named.length > 0) connection.send(Object.fromEntries(named))
      if (close) connection.close()
      return connection
    })
  }
}

/** Where the packets of a client go. */
function targetOf(
  key: ServiceKey,
  family: Family,
  options: ClientOptions,
): Pick<Flow, 'protocol' | 'virtualAddress' | 'virtualPort' | 'fwmark'> {
  if (key.protocol === 'fwmark') {
    const { protocol = 'tcp', virtualAddress = family === 'ipv6' ? '2001:db8::1' : '192.0.2.1' } = options
    return {
      protocol: protocolNumber(oneOf(protocol, 'protocol', PROTOCOL_NAMES)),
      virtualAddress: addressIn(family, virtualAddress, 'virtualAddress'),
      virtualPort: whole(options.virtualPort ?? USUAL_PORT, 'virtualPort', 1, 65535),
      fwmark: key.fwmark,
    }
  }
  for (const name of TARGET) {
    if (options[name] === undefined || (name === 'virtualPort' && key.port === 0)) continue
    throw new TypeError(`${name} is only for services without one: this service has its own`)
  }
  return {
    protocol: forwarded(key.protocol),
    virtualAddress: parseAddress(key.address),
    virtualPort: key.port || whole(options.virtualPort ?? USUAL_PORT, 'virtualPort', 1, 65535),
    fwmark: 0,
  }
}

function addressIn(family: Family, value: string, field: string): Uint8Array {
  if (familyOfAddress(address(value, field)) !== family) {
    throw new RangeError(`${field} must have the address family of the service, ${family}, got '${value}'`)
  }
  return parseAddress(value)
}

/** The director forwards no other protocol. */
function forwarded(protocol: Protocol): number {
  if (!PROTOCOL_NAMES.some((name) => name === protocolName(protocol))) {
    throw new RangeError(`connections must have protocol tcp, udp or sctp, got ${String(protocol)}`)
  }
  return protocolNumber(protocol)
}

function clientAddress(family: Family, number: number): string {
  const [high, middle, low] = [(number >> 16) & 1, (number >> 8) & 255, number & 255]
  if (family === 'ipv4') return `198.${18 + high}.${middle}.${low}`
  return `2001:2::${high}:${(number & 0xffff).toString(16)}`
}
