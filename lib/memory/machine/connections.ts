import { ForwardMethod, IpProtocol, ServiceFlag } from '../../model/constants.ts'
import { addressKey, maskAddress } from './addresses.ts'
import type { Counts } from './counters.ts'
import type { Machine } from './machine.ts'
import type { OverloadRules } from './overload.ts'
import { type ConnectionState, type Event, isActive, nextState, secondsIn } from './states.ts'
import { type Dest, type ServiceIdentity, type ServiceTable, type VirtualService } from './table.ts'
import type { ConnectionTimeouts } from './timeouts.ts'

/** Source and destination of a client's packets. */
export interface Flow {
  readonly family: number
  readonly protocol: number
  readonly clientAddress: Uint8Array
  readonly clientPort: number
  readonly virtualAddress: Uint8Array
  readonly virtualPort: number
  /** The firewall mark that the packets have. 0: none. */
  readonly fwmark: number
}

/** An entry that the kernel remembers (struct ip_vs_conn): a connection, or a template of persistence. */
class Entry {
  readonly dest: Dest
  readonly template: boolean
  /** The template that chose the server of this connection. The connection keeps it alive. */
  readonly control: Entry | undefined
  controlled = 0
  expires = 0
  /** Whether it is still in the table. */
  alive = true

  constructor(dest: Dest, template: boolean, control?: Entry) {
    this.dest = dest
    this.template = template
    this.control = control
  }
}

/** Whom a template is for: clients of a network, and the destination that they connect to. */
interface TemplateClient {
  readonly family: number
  /** IP (0) for a firewall mark. */
  readonly protocol: number
  readonly network: Uint8Array
  /** A firewall mark in its first word. */
  readonly virtualAddress: Uint8Array
  /** 0: every port. */
  readonly virtualPort: number
}

/** A template of persistence. */
export class Template extends Entry {
  declare readonly template: true
  readonly client: TemplateClient
  /** How long it lives after its last new connection. */
  seconds: number
  /** Whether clients still find it. The template of a deleted server lives on until its time is over. */
  found = true
  /** IP_VS_CTPL_S_ASSURED. */
  assured = false

  constructor(dest: Dest, client: TemplateClient, seconds: number) {
    super(dest, true)
    this.client = client
    this.seconds = seconds
  }

  get family(): number {
    return this.client.family
  }
}

/** A connection that a server got. */
export class Connection extends Entry {
  declare readonly template: false
  readonly flow: Flow
  /** The method of the server when the connection began: an edit does not change it. */
  readonly method: number
  state: ConnectionState
  /** Whether it ends with its first packet, and no table has it. */
  onePacket = false
  /** Whether it counts among the server's active ones: the kernel begins with inactive. */
  active = false

  constructor(flow: Flow, dest: Dest, control: Entry | undefined) {
    super(dest, false, control)
    this.flow = flow
    this.method = dest.settings.method
    this.state = flow.protocol === IpProtocol.UDP ? 'UDP' : 'SYN_RECV'
  }

  get family(): number {
    return this.flow.family
  }

  /** Whether the answers pass the director. */
  get bothWays(): boolean {
    return this.method === ForwardMethod.MASQ
  }
}

const FTP_PORT = 21
/** How long a template lives on whose time is over while connections depend on it (ip_vs_conn_expire()). */
const CONTROLLING_SECONDS = 60
/** IPPROTO_IP: the protocol of a template of a firewall mark. */
const IP_PROTOCOL = 0

/** The part of a network namespace that connections need. */
interface NetnsState {
  readonly machine: Machine
  readonly services: ServiceTable
  readonly overload: OverloadRules
  readonly sysctls: ReadonlyMap<string, string>
  readonly timeouts: ConnectionTimeouts
  /** Seconds since the kernel began. */
  readonly now: number
  /** Counts traffic to or from a real server. */
  count(dest: Dest, more: Partial<Counts>): void
}

/** The connections and templates of one namespace. */
export class Connections {
  readonly #namespace: NetnsState
  readonly #connections = new Map<string, Connection>()
  readonly #templates = new Map<string, Template>()
  /** Everything that will time out. A template that is no longer valid is only here. */
  readonly #entries = new Set<Connection | Template>()

  constructor(namespace: NetnsState) {
    this.#namespace = namespace
  }

  /** When the next of them times out. */
  get due(): number {
    let due = Infinity
    for (const { expires } of this.#entries) due = Math.min(due, expires)
    return due
  }

  /** Connections and templates, oldest first. */
  get entries(): readonly (Connection | Template)[] {
    return [...this.#entries]
  }

  get list(): readonly Connection[] {
    return [...this.#connections.values()]
  }

  /** Handles a packet that opens a connection. Returns undefined if no service or no server takes it. */
  open(flow: Flow): Connection | undefined {
    const key = flowKey(flow)
    const existing = this.#connections.get(key)
    if (existing !== undefined) {
      if (existing.state === 'UDP' || isActive(existing.state)) return existing
      // A client that uses its port again after the end of a connection (conn_reuse_mode).
      this.#remove(existing)
    }
    const service = this.#serviceFor(flow)
    if (service === undefined) return undefined
    const chosen = service.persistent ? this.#schedulePersistent(service, flow) : schedule(service, flow)
    if (chosen === undefined) return undefined
    const { dest, template } = chosen
    const connection = new Connection(flow, dest, template)
    this.#bind(connection)
    this.#namespace.count(dest, { connections: 1 })
    if ((service.settings.flags & ServiceFlag.ONEPACKET) !== 0 && flow.protocol === IpProtocol.UDP) {
      connection.onePacket = true
      return connection
    }
    if (template !== undefined) {
      template.controlled += 1
      template.expires = this.#namespace.now + template.seconds
    }
    this.#connections.set(key, connection)
    this.#entries.add(connection)
    this.#enter(connection, connection.state)
    return connection
  }

  /** Ends all, as unloading the module does. */
  forget(): void {
    for (const entry of [...this.#entries]) this.#remove(entry)
  }

  /** Handles packets of a connection. Returns whether they got through. */
  pass(connection: Connection, event: Event, counts: Partial<Counts>): boolean {
    const { dest } = connection
    if (!dest.available) {
      const expire = this.#namespace.sysctls.get('expire_nodest_conn')
      if (connection.alive && expire !== '0') this.#remove(connection)
      return false
    }
    if (!connection.alive) return false
    const outside = connection.bothWays ? counts : { ...counts, packetsOut: 0, bytesOut: 0 }
    this.#namespace.count(dest, outside)
    if (connection.onePacket) {
      // One-packet scheduling remembers nothing.
      connection.alive = false
      this.#unbind(connection)
      return true
    }
    if (connection.state === 'UDP' && (outside.packetsOut ?? 0) > 0) assureTemplate(connection)
    const state = nextState(connection.flow.protocol, connection.state, event, connection.bothWays)
    this.#enter(connection, state)
    return true
  }

  /** Ends what is due now. */
  expire(): void {
    const { now } = this.#namespace
    for (const entry of [...this.#entries]) {
      if (entry.expires > now) continue
      if (entry.template && entry.controlled > 0) {
        entry.seconds = CONTROLLING_SECONDS
        entry.expires = now + entry.seconds
      } else {
        this.#remove(entry)
      }
    }
  }

  #bind(entry: Entry): void {
    if (entry.template) entry.dest.persistent += 1
    else entry.dest.inactive += 1
    this.#namespace.overload.bound(entry.dest)
  }

  #unbind(entry: Entry): void {
    const { dest } = entry
    if (entry.template) dest.persistent -= 1
    else if (entry instanceof Connection && entry.active) dest.active -= 1
    else dest.inactive -= 1
    this.#namespace.overload.unbound(dest)
  }

  /** Puts a connection in a state, and restarts its timeout. */
  #enter(connection: Connection, state: ConnectionState): void {
    const { dest, flow } = connection
    const active = isActive(state)
    if (active !== connection.active) {
      dest.active += active ? 1 : -1
      dest.inactive += active ? -1 : 1
      connection.active = active
    }
    connection.state = state
    if (state === 'ESTABLISHED') assureTemplate(connection)
    connection.expires = this.#namespace.now + secondsIn(flow.protocol, state, this.#namespace.timeouts)
  }

  #remove(entry: Connection | Template): void {
    entry.alive = false
    this.#entries.delete(entry)
    if (entry instanceof Connection) {
      this.#connections.delete(flowKey(entry.flow))
      if (entry.control !== undefined) entry.control.controlled -= 1
    } else {
      const key = templateKey(entry.client)
      if (this.#templates.get(key) === entry) this.#templates.delete(key)
    }
    this.#unbind(entry)
  }

  /** The service for a packet: by mark, by address and port, or the one of port 0 (ip_vs_service_find()). */
  #serviceFor({ family, protocol, virtualAddress, virtualPort, fwmark }: Flow): VirtualService | undefined {
    const { services } = this.#namespace
    const none = new Uint8Array(16)
    const at = (port: number): ServiceIdentity => ({
      family,
      protocol,
      address: virtualAddress,
      port,
      fwmark: 0,
    })
    return (
      (fwmark === 0
        ? undefined
        : services.find({ family, protocol: IpProtocol.TCP, address: none, port: 0, fwmark })) ??
      services.find(at(virtualPort)) ??
      services.find(at(0))
    )
  }

  /** ip_vs_sched_persist(): by the client's template, or by the scheduler, which makes a template. */
  #schedulePersistent(service: VirtualService, flow: Flow): Chosen | undefined {
    const { identity, settings } = service
    const byMark = identity.fwmark !== 0 && flow.virtualPort !== identity.port
    const client: TemplateClient = {
      family: flow.family,
      protocol: byMark ? IP_PROTOCOL : flow.protocol,
      network: maskAddress(flow.family, flow.clientAddress, settings.netmask),
      virtualAddress: byMark ? markAddress(identity) : flow.virtualAddress,
      virtualPort: flow.virtualPort === identity.port && identity.port !== FTP_PORT ? identity.port : 0,
    }
    const key = templateKey(client)
    const existing = this.#templates.get(key)
    if (existing !== undefined) {
      if (this.#isValid(existing)) return { dest: existing.dest, template: existing }
      this.#templates.delete(key)
      existing.found = false
    }
    const dest = schedule(service, flow)?.dest
    if (dest === undefined) return undefined
    const template = new Template(
      dest,
      client,
      Math.floor(settings.timeoutTicks / this.#namespace.machine.hz),
    )
    this.#templates.set(key, template)
    this.#entries.add(template)
    this.#bind(template)
    return { dest, template }
  }

  /** ip_vs_check_template() */
  #isValid({ dest }: Template): boolean {
    if (!dest.available) return false
    const expires = this.#namespace.sysctls.get('expire_quiescent_template') !== '0'
    return !(expires && dest.settings.weight === 0)
  }
}

/** ip_vs_control_assure_ct(): by a handshake, or by an answer that passes through the director. */
function assureTemplate({ control }: Connection): void {
  if (control instanceof Template) control.assured = true
}

interface Chosen {
  readonly dest: Dest
  readonly template?: Template
}

/** The scheduler's choice. Without persistence a service of port 0 has none. */
function schedule(service: VirtualService, flow: Flow): Chosen | undefined {
  const { identity } = service
  if (!service.persistent && identity.fwmark === 0 && flow.virtualPort !== identity.port) return undefined
  const dest = service.schedulerState?.schedule({
    address: flow.clientAddress,
    port: flow.clientPort,
    virtualAddress: flow.virtualAddress,
  })
  return dest && { dest }
}

/** A firewall mark in place of an address, in its first word (ip_vs_sched_persist()). */
function markAddress({ fwmark }: ServiceIdentity): Uint8Array {
  const address = new Uint8Array(16)
  new DataView(address.buffer).setUint32(0, fwmark, false)
  return address
}

function templateKey({ family, protocol, network, virtualAddress, virtualPort }: TemplateClient): string {
  return `${family} ${protocol} ${virtualPort} ${addressKey(network)} ${addressKey(virtualAddress)}`
}

function flowKey(flow: Flow): string {
  const { family, protocol, clientAddress, clientPort, virtualAddress, virtualPort } = flow
  return `${family} ${protocol} ${clientPort} ${virtualPort} ${addressKey(clientAddress)} ${addressKey(virtualAddress)}`
}
