import { AddressFamily, IpProtocol, ServiceFlag } from '../../model/constants.ts'
import { addressKey, fold } from './addresses.ts'
import { Counters } from './counters.ts'
import { textHash } from './hash.ts'

/** Virtual services and real servers as the kernel keeps them (struct ip_vs_service, struct ip_vs_dest). */

/** Identity of a service within a namespace. A firewall mark has protocol TCP, and neither address nor port. */
export interface ServiceIdentity {
  readonly family: number
  readonly protocol: number
  readonly address: Uint8Array
  readonly port: number
  /** 0: none. */
  readonly fwmark: number
}

export interface VirtualServiceSettings {
  scheduler: string
  flags: number
  /** Seconds times HZ, in 32 bits. */
  timeoutTicks: number
  /** IPv4: the mask, high byte first. IPv6: the prefix length. */
  netmask: number
  /** '' for none. */
  persistenceEngine: string
}

export class VirtualService {
  readonly identity: ServiceIdentity
  readonly settings: VirtualServiceSettings
  readonly counters: Counters = new Counters()
  /** Newest first. */
  readonly dests: Dest[] = []
  /** Undefined for 'none'. */
  schedulerState: SchedulerState | undefined
  readonly #byKey = new Map<string, Dest>()

  constructor(identity: ServiceIdentity, settings: VirtualServiceSettings) {
    this.identity = identity
    this.settings = settings
  }

  get persistent(): boolean {
    return (this.settings.flags & ServiceFlag.PERSISTENT) !== 0
  }

  dest(identity: DestIdentity): Dest | undefined {
    return this.#byKey.get(destKey(identity))
  }

  add(dest: Dest): void {
    this.dests.unshift(dest)
    this.#byKey.set(destKey(dest.identity), dest)
  }

  remove(dest: Dest): void {
    this.dests.splice(this.dests.indexOf(dest), 1)
    this.#byKey.delete(destKey(dest.identity))
  }
}

/** Identity of a real server within its service. */
export interface DestIdentity {
  readonly family: number
  readonly address: Uint8Array
  readonly port: number
}

export interface DestSettings {
  method: number
  weight: number
  upperThreshold: number
  lowerThreshold: number
  tunnelType: number
  tunnelPort: number
  tunnelFlags: number
}

export class Dest {
  readonly identity: DestIdentity
  /** The identity of the service it was made for, by which the trash finds it. */
  readonly virtual: ServiceIdentity
  /** The service it belongs to, or belonged to before it was deleted. */
  service: VirtualService
  settings: DestSettings
  /** The last weight that was not 0, by which mh keeps its table (last_weight). */
  lastWeight = 0
  readonly counters: Counters = new Counters()
  active = 0
  inactive = 0
  persistent = 0
  /** It has too many connections to get new ones (IP_VS_DEST_F_OVERLOAD). */
  overloaded = false
  /** Whether its service has it: not deleted (IP_VS_DEST_F_AVAILABLE). */
  available = false

  constructor(identity: DestIdentity, service: VirtualService, settings: DestSettings) {
    this.identity = identity
    this.virtual = service.identity
    this.service = service
    this.settings = settings
  }
}

const TABLE_BITS = 8
const BUCKETS = 1 << TABLE_BITS
const LEAST_BUCKETS = 16

/**
 * The services of one namespace: in 256 buckets for addresses and 256 for
 * firewall marks; from Linux 7.1 on in one table that grows with them. Its order
 * is arbitrary here as in Linux, but not the same.
 */
export class ServiceTable {
  readonly #seed: number
  readonly #grows: boolean
  #buckets: VirtualService[][]
  readonly #byKey = new Map<string, VirtualService>()

  /** `seed`: a number that the kernel mixes into its hash (ip_vs_svc_hashkey()). */
  constructor(seed: number, grows: boolean) {
    this.#seed = seed
    this.#grows = grows
    this.#buckets = emptyBuckets(grows ? LEAST_BUCKETS : 2 * BUCKETS)
  }

  get size(): number {
    return this.#byKey.size
  }

  find(identity: ServiceIdentity): VirtualService | undefined {
    return this.#byKey.get(serviceKey(identity))
  }

  add(service: VirtualService): void {
    this.#byKey.set(serviceKey(service.identity), service)
    if (this.#grows && this.#byKey.size > this.#buckets.length) this.#grow()
    else this.#bucketOf(service.identity).unshift(service)
  }

  remove(service: VirtualService): void {
    const bucket = this.#bucketOf(service.identity)
    bucket.splice(bucket.indexOf(service), 1)
    this.#byKey.delete(serviceKey(service.identity))
  }

  /** In the kernel's order: by bucket, newest first. */
  *[Symbol.iterator](): Iterator<VirtualService> {
    for (const bucket of this.#buckets) yield* bucket
  }

  #grow(): void {
    this.#buckets = emptyBuckets(2 * this.#buckets.length)
    for (const service of this.#byKey.values()) this.#bucketOf(service.identity).unshift(service)
  }

  #bucketOf(identity: ServiceIdentity): VirtualService[] {
    const index = this.#grows
      ? textHash(serviceKey(identity), this.#seed) % this.#buckets.length
      : this.#fixedBucket(identity)
    return this.#buckets[index] as VirtualService[]
  }

  #fixedBucket({ fwmark, protocol, address, port }: ServiceIdentity): number {
    const mixed = fwmark === 0 ? protocol ^ fold(address) ^ (port >> TABLE_BITS) ^ port : fwmark
    const bucket = (mixed ^ this.#seed) & (BUCKETS - 1)
    return fwmark === 0 ? bucket : BUCKETS + bucket
  }
}

function emptyBuckets(count: number): VirtualService[][] {
  return Array.from({ length: count }, () => [])
}

export function fwmarkIdentity(family: number, fwmark: number): ServiceIdentity {
  return { family, protocol: IpProtocol.TCP, address: new Uint8Array(16), port: 0, fwmark }
}

/** A string that is the same for the same service. */
export function serviceKey({ family, protocol, address, port, fwmark }: ServiceIdentity): string {
  const af = family === AddressFamily.INET6 ? 6 : 4
  return fwmark === 0 ? `${af} ${protocol} ${port} ${addressKey(address)}` : `${af} ${fwmark}`
}

export function destKey({ family, address, port }: DestIdentity): string {
  return `${family} ${port} ${addressKey(address)}`
}

/** The schedulers of ip_vs (net/netfilter/ipvs/ip_vs_<name>.c) choose the server for a new connection. */

/** What a scheduler knows about a new connection. */
export interface Client {
  /** 16 bytes, of which IPv4 has the first four. */
  readonly address: Uint8Array
  readonly port: number
  /** The destination of the connection, which dh looks at. */
  readonly virtualAddress: Uint8Array
}

/** A scheduler bound to a service (struct ip_vs_scheduler and sched_data). */
export interface SchedulerState {
  /** A server was added or edited, or was deleted from a position in the list. */
  changed?(deleted?: { readonly dest: Dest; readonly place: number }): void
  /** The server for a new connection, or undefined if none may get it. */
  schedule(client: Client): Dest | undefined
}
