/**
 * The library's data: keys, specs, changes, states. One file, because the types
 * refer to one another, and a reader looks all of them up in one place.
 */

/** Address family of a virtual service or a real server. */
export type Family = 'ipv4' | 'ipv6'

/**
 * Protocol of a virtual service that is an address and a port. A number is the
 * IP protocol number, 0 to 65535: the kernel stores any, and balances only
 * TCP (6), UDP (17) and SCTP (132), which always read back as their names.
 */
export type Protocol = 'tcp' | 'udp' | 'sctp' | number

/** Identity of a virtual service that is an address and a port. */
export interface AddressServiceKey {
  /** 'tcp', 'udp', 'sctp', or the number of another IP protocol. */
  readonly protocol: Protocol
  /** IPv4 or IPv6 address, without brackets and without a zone. Reads back as inet_ntop(3) writes it. */
  readonly address: string
  /**
   * 0 to 65535. 0 takes the packets of every port that has no service of its own,
   * and needs `persistence`: without, the service does nothing, which only a
   * state may say.
   */
  readonly port: number
}

/** Identity of a virtual service that is a firewall mark: it gets the packets that the packet filter marked. */
export interface FwmarkServiceKey {
  /** Says that the service is a firewall mark. */
  readonly protocol: 'fwmark'
  /** 1 to 4294967295. */
  readonly fwmark: number
  /** Marks of IPv4 and of IPv6 packets are two services. Default 'ipv4'. */
  readonly family?: Family | undefined
}

/** Identity of a virtual service within a network namespace. */
export type ServiceKey = AddressServiceKey | FwmarkServiceKey

/**
 * Scheduler of a virtual service. The kernel loads module `ip_vs_<name>` when it
 * is first used. At most 15 bytes. With 'none' the service schedules nothing.
 */
export type Scheduler =
  | 'rr'
  | 'wrr'
  | 'lc'
  | 'wlc'
  | 'lblc'
  | 'lblcr'
  | 'dh'
  | 'sh'
  | 'sed'
  | 'nq'
  | 'fo'
  | 'ovf'
  | 'mh'
  | 'twos'
  | 'none'
  | (string & {})

/**
 * A scheduler's own flag (IP_VS_SVC_F_SCHED1 to 3). 'sh-fallback' and
 * 'sh-port' are flags 1 and 2 of scheduler sh, 'mh-fallback' and 'mh-port'
 * those of mh; every other scheduler, and flag 3, has the plain names.
 *
 * A number holds all flags without a name: a multiple of 64 up to 4294967232.
 * Reads return it, and only a state may write it.
 */
export type SchedulerFlag =
  'flag-1' | 'flag-2' | 'flag-3' | 'sh-fallback' | 'sh-port' | 'mh-fallback' | 'mh-port' | number

/** Persistence of a virtual service as it is read: all connections of a client, or network, go to one real server. */
export interface Persistence {
  /** How long a client is remembered after its last connection ended. */
  readonly timeoutSeconds: number
  /**
   * Which clients count as one. IPv4: a mask such as '255.255.255.0'; IPv6: a
   * prefix length, 1 to 128. (IPVS_SVC_ATTR_NETMASK)
   */
  readonly netmask: string | number
}

/** Persistence to set for a virtual service. */
export interface PersistenceSpec {
  /**
   * 0 to 4294967 seconds, default 300. The kernel keeps seconds times HZ in 32
   * bits and wraps silently; up to this limit no kernel wraps. A state may say
   * up to 42949672, which a kernel with HZ 100 can hold.
   */
  readonly timeoutSeconds?: number | undefined
  /**
   * IPv4: a mask such as '255.255.255.0' (any mask is allowed, as in the kernel),
   * or a prefix length 0 to 32, which reads back as a mask; default
   * '255.255.255.255'. IPv6: a prefix length, 1 to 128, default 128.
   */
  readonly netmask?: string | number | undefined
}

/** Settings of a virtual service: everything but its identity. */
export interface ServiceSettings {
  /** Default 'wlc'. */
  readonly scheduler?: Scheduler | undefined
  /** Default none. */
  readonly schedulerFlags?: readonly SchedulerFlag[] | undefined
  /** One-packet scheduling: each UDP packet is scheduled on its own. Default false. */
  readonly onePacket?: boolean | undefined
  /** Default: not persistent. `{}` is persistent with the defaults. */
  readonly persistence?: PersistenceSpec | undefined
  /**
   * Persistence engine, at most 16 bytes: 'sip' is the kernel's only one, from
   * module `ip_vs_pe_sip`. Default none.
   */
  readonly persistenceEngine?: string | undefined
}

/** A virtual service to add. */
export type ServiceSpec = ServiceKey & ServiceSettings

/**
 * Changes of a virtual service. A field that is absent stays as it is, inside
 * `persistence` too; `null` removes persistence or its engine.
 */
export interface ServiceChanges {
  /** It starts from scratch. */
  readonly scheduler?: Scheduler | undefined
  /** All that are to be set; others are cleared. */
  readonly schedulerFlags?: readonly SchedulerFlag[] | undefined
  /** Whether each UDP packet is scheduled on its own. */
  readonly onePacket?: boolean | undefined
  /** `{}` makes a service persistent with the defaults; `null` ends it. */
  readonly persistence?: PersistenceSpec | null | undefined
  /** `null` removes it. */
  readonly persistenceEngine?: string | null | undefined
}

/** Identity of a real server within its virtual service. */
export interface RealServerKey {
  /** IPv4 or IPv6 address, without brackets and without a zone. */
  readonly address: string
  /** 0 to 65535. Default: the port of the virtual service; 0 for a firewall mark. */
  readonly port?: number | undefined
}

/** Identity of a real server with its port. */
export interface Endpoint {
  /** IPv4 or IPv6 address, as inet_ntop(3) writes it. */
  readonly address: string
  /** 0 to 65535. */
  readonly port: number
}

/**
 * How packets reach a real server. 'masquerade' rewrites them (NAT), 'direct'
 * sends them on unchanged in the same network, 'tunnel' wraps them; 'local' is
 * this host, 'bypass' the packet's own destination. 5, 6 and 7 mean nothing,
 * but the kernel stores and reports them.
 */
export type ForwardingMethod = 'masquerade' | 'tunnel' | 'direct' | 'local' | 'bypass' | 5 | 6 | 7

/**
 * How a real server with method 'tunnel' is reached. The kernel keeps it for
 * every method and uses it only for that one. Since Linux 5.2 (GRE: 5.3); an
 * older kernel ignores it and tunnels by IP-in-IP.
 */
export interface Tunnel {
  /** A number is a type without a name, 0 to 255: the kernel stores any. */
  readonly type: 'ipip' | 'gue' | 'gre' | number
  /** UDP port of the GUE receiver, 1 to 65535: GUE needs one. Absent: 0. */
  readonly port?: number | undefined
  /**
   * Checksum of the outer header: 'csum' (GUE, GRE) or 'remcsum', remote
   * checksum offload (GUE). A number is any other combination of TUN_FLAGS, 0
   * to 65535. Absent: 'none'.
   */
  readonly checksum?: 'none' | 'csum' | 'remcsum' | number | undefined
}

/** Settings of a real server: everything but its identity. */
export interface RealServerSettings {
  /** Default 'direct'. */
  readonly method?: ForwardingMethod | undefined
  /**
   * Share of new connections, relative to the other real servers of the virtual
   * service. 0 makes the server quiescent: it keeps its connections and gets no
   * new ones. 0 to 2147483647, default 1.
   */
  readonly weight?: number | undefined
  /**
   * New connections stop when there are this many. 0 to 2147483647, at least
   * `lowerThreshold`. Default 0: no limit. A state may say up to 4294967295,
   * which kernels before 6.12 take.
   */
  readonly upperThreshold?: number | undefined
  /**
   * After `upperThreshold` was reached, the server gets new connections again when
   * it has fewer than this. Default 0: three quarters of `upperThreshold`.
   */
  readonly lowerThreshold?: number | undefined
  /** Default IP-in-IP. */
  readonly tunnel?: Tunnel | undefined
}

/** A real server to add. */
export type RealServerSpec = RealServerKey & RealServerSettings

/**
 * Changes of a real server. A field that is absent stays as it is, inside
 * `tunnel` too as long as its `type` stays the same.
 */
export type RealServerChanges = RealServerSettings

/** Type of a counter: `number`, or `bigint` if a read asked for it. */
export type Counter = number | bigint

/**
 * Traffic since the service or server was added, the director began, or zero() was
 * called. The kernel updates these every two seconds, while the numbers of
 * connections beside them (`activeConnections` ...) are current. On kernels without
 * 64-bit statistics (before 4.1) all but the bytes wrap at 2^32.
 */
export interface Stats<N extends Counter = number> {
  /** Connections scheduled. */
  readonly connections: N
  /** Packets from clients. */
  readonly packetsIn: N
  /** 0 for direct routing and tunnels, whose answers bypass the director. */
  readonly packetsOut: N
  /** Bytes from clients. */
  readonly bytesIn: N
  /** Bytes to clients. 0 likewise. */
  readonly bytesOut: N
}

/** The kernel's moving averages, updated every two seconds. */
export interface Rates {
  /** New connections. */
  readonly connectionsPerSecond: number
  /** Packets from clients. */
  readonly packetsInPerSecond: number
  /** Packets to clients. 0 for direct routing and tunnels. */
  readonly packetsOutPerSecond: number
  /** Bytes from clients. */
  readonly bytesInPerSecond: number
  /** Bytes to clients. 0 for direct routing and tunnels. */
  readonly bytesOutPerSecond: number
}

/**
 * Traffic of a director: all connections of a network namespace together,
 * including those of services that have been deleted. Counted since the namespace
 * began, the module ip_vs was loaded, or zero() of everything, whichever was last.
 */
export interface Totals<N extends Counter = number> {
  /** Since the beginning, as above. */
  readonly stats: Stats<N>
  /** Moving averages. */
  readonly rates: Rates
}

/** A virtual service as it was read, without methods. */
export interface ServiceState<N extends Counter = number> {
  /** Its identity; narrow it by `protocol` for the address or the mark. */
  readonly key: ServiceKey
  /** That of its address, or of the packets of its mark. */
  readonly family: Family
  /** How connections are spread over its real servers. */
  readonly scheduler: Scheduler
  /** Those that are set. */
  readonly schedulerFlags: readonly SchedulerFlag[]
  /** Whether each UDP packet is scheduled on its own. */
  readonly onePacket: boolean
  /** Absent: not persistent. */
  readonly persistence?: Persistence
  /** Absent: none. */
  readonly persistenceEngine?: string
  /** Traffic since it was added, or zero() was called. */
  readonly stats: Stats<N>
  /** Moving averages of its traffic. */
  readonly rates: Rates
}

/** A real server as it was read, without methods. */
export interface RealServerState<N extends Counter = number> {
  /** IPv4 or IPv6 address, as inet_ntop(3) writes it. */
  readonly address: string
  /** 0 to 65535. */
  readonly port: number
  /** That of its address, which may differ from that of its virtual service. */
  readonly family: Family
  /** How packets reach it. */
  readonly method: ForwardingMethod
  /** 0: quiescent, it gets no new connections. */
  readonly weight: number
  /** New connections stop when there are this many. 0: no limit. */
  readonly upperThreshold: number
  /** After that, there must be fewer than this for new ones. 0: three quarters of `upperThreshold`. */
  readonly lowerThreshold: number
  /**
   * Present for method 'tunnel', and whenever it is not plain IP-in-IP. Absent on
   * kernels that do not report it.
   */
  readonly tunnel?: Tunnel
  /** TCP connections that are established or being established, SCTP ones that are established. */
  readonly activeConnections: number
  /** All other connections: closing ones, and all of UDP. */
  readonly inactiveConnections: number
  /** Clients that persistence remembers for this server. */
  readonly persistentConnections: number
  /** Traffic since it was added, or zero() was called. */
  readonly stats: Stats<N>
  /** Moving averages of its traffic. */
  readonly rates: Rates
}

/** How long the kernel remembers an idle connection, by state. */
export interface Timeouts {
  /** TCP connections that are established. The kernel's default is 900. */
  readonly tcpSeconds: number
  /** TCP connections after a FIN. The kernel's default is 120. */
  readonly tcpFinSeconds: number
  /** UDP. The kernel's default is 300. */
  readonly udpSeconds: number
}

/** How long the kernel is to remember an idle connection, by state: 1 to 21474836 seconds. What is absent stays. */
export interface TimeoutChanges {
  /** TCP connections that are established. The kernel's default is 900. */
  readonly tcpSeconds?: number | undefined
  /** TCP connections after a FIN. The kernel's default is 120. */
  readonly tcpFinSeconds?: number | undefined
  /** UDP. The kernel's default is 300. */
  readonly udpSeconds?: number | undefined
}

/** Role in connection synchronisation: a master sends, a backup receives. A director may run one of each. */
export type SyncDaemonState = 'master' | 'backup'

/** A sync daemon to start. */
export interface SyncDaemonSpec {
  /** Its role: a director may run one of each. */
  readonly state: SyncDaemonState
  /**
   * Interface in the same network namespace, at most 15 bytes. Bytes that are not
   * UTF-8 are lone surrogates, U+DC80 for 0x80 to U+DCFF for 0xff.
   */
  readonly multicastInterface: string
  /**
   * Directors of one group share it. 0 to 255 (the wire has eight bits);
   * default 0, with which a backup listens to every group. A state may say all
   * 32 bits that the kernel keeps.
   */
  readonly syncId?: number | undefined
  /** Largest UDP payload, 1 to 65507 bytes. Default: what the interface takes. The kernel raises a backup's to 1024. */
  readonly maxLengthBytes?: number | undefined
  /** IPv4 or IPv6 multicast address. Default '224.0.0.81'. */
  readonly multicastGroup?: string | undefined
  /** 1 to 65535, default 8848. */
  readonly multicastPort?: number | undefined
  /** 1 to 255, default 1. */
  readonly multicastTtl?: number | undefined
}

/**
 * A running sync daemon. Kernels before 4.3 report only the first three fields.
 */
export interface SyncDaemon {
  /** Its role. */
  readonly state: SyncDaemonState
  /** The interface that it sends or listens on. */
  readonly multicastInterface: string
  /** The kernel keeps 32 bits of it, although only eight are sent. */
  readonly syncId: number
  /** Largest UDP payload. */
  readonly maxLengthBytes?: number
  /** IPv4 or IPv6 multicast address. */
  readonly multicastGroup?: string
  /** UDP port. */
  readonly multicastPort?: number
  /** How many routers its packets may pass. */
  readonly multicastTtl?: number
}

/** What the kernel reports about its IPVS. */
export interface Info {
  /** Version of IPVS, such as '1.2.1'. */
  readonly version: string
  /**
   * Buckets of the connection table. From Linux 7.1 on its current size, which is
   * 0 while the network namespace has no service.
   */
  readonly connectionTableSize: number
}

/** What this kernel can do: the result of `Ipvs.probe()`. */
export interface Capabilities {
  /** Whether the kernel has IPVS. If not, everything else is absent or empty. */
  readonly available: boolean
  /** As `info()` gives it. */
  readonly info?: Info
  /** Whether IPVS was built with IPv6. */
  readonly ipv6: boolean
  /** The known schedulers that the kernel has or can load. */
  readonly schedulers: readonly Scheduler[]
  /** The known persistence engines that the kernel has or can load. */
  readonly persistenceEngines: readonly string[]
  /** Whether counters have 64 bits (Linux 4.1). */
  readonly counters64: boolean
  /** Tunnel types that the kernel keeps: 'ipip' always, 'gue' since 5.2, 'gre' since 5.3. */
  readonly tunnelTypes: readonly ('ipip' | 'gue' | 'gre')[]
  /** Whether a real server may have another family than its virtual service (Linux 3.18). */
  readonly mixedFamilies: boolean
}

/** A virtual service of a {@link State}, with its real servers in the order in which the kernel lists them. */
export type StateService = ServiceSpec & {
  /** Default none. */
  readonly realServers?: readonly RealServerSpec[] | undefined
}

/**
 * A table as plain data: `save()` gives one, and `restore()`, `plan()` and
 * `apply()` take one. A part that is absent is left as it is; at least one must
 * be present.
 *
 * A state may have all that a kernel can hold, because it may come from one that
 * other programs wrote to: service port 0 without persistence, persistence
 * up to 42949672 s, thresholds up to 4294967295, sync ids of 32 bits and
 * scheduler flags without a name. Timeout and netmask of a service that is not
 * persistent are not in it: the kernel keeps them, but does not use them.
 */
export interface State {
  /** Version of this format. 1 is the default and the only one. */
  readonly version?: 1 | undefined
  /** All services, or all inside the scope; an empty list means none. */
  readonly services?: readonly StateService[] | undefined
  /** How long idle connections are remembered. What is absent inside stays as it is. */
  readonly timeouts?: TimeoutChanges | undefined
  /** The running sync daemons; an empty list says that none runs. */
  readonly syncDaemons?: readonly SyncDaemonSpec[] | undefined
  /** Values of net.ipv4.vs by name, such as `{ conntrack: 1 }`. They are saved as strings. */
  readonly sysctls?: Readonly<Record<string, string | number | undefined>> | undefined
}

/** A state that was read from a director: it has services, and strings for sysctls. */
export interface SavedState extends State {
  readonly services: readonly StateService[]
  readonly sysctls?: Readonly<Record<string, string>>
}

/**
 * A connection that the kernel remembers, as in /proc/net/ip_vs_conn, or a
 * template: the entry with which persistence remembers a client.
 */
export interface Connection {
  /**
   * Protocol of the packets: 'tcp', 'udp', 'sctp', or the number of another one. 0
   * in a template of a firewall mark.
   */
  readonly protocol: Protocol
  /** In a template: the network of the client, by the service's netmask. */
  readonly clientAddress: string
  /** 0 in a template. */
  readonly clientPort: number
  /** The address that the client connected to. In a template of a firewall mark: the mark, written as an address. */
  readonly virtualAddress: string
  /** 0 in a template that holds for every port. */
  readonly virtualPort: number
  /** The real server that has it. */
  readonly serverAddress: string
  /** The port of that server. 0 in a template that holds for every port. */
  readonly serverPort: number
  /**
   * The kernel's name for it: 'ESTABLISHED', 'FIN_WAIT', ..., 'UDP'. In a template
   * 'NONE', or 'ASSURED' once a connection under it was established.
   */
  readonly state: string
  /** Time until the kernel forgets it, if there is no more traffic. */
  readonly expiresSeconds: number
  /** Whether this is a template. */
  readonly template: boolean
  /** Persistence engine of a template, if it recognises the client by data of its own. */
  readonly persistenceEngine?: string
  /** That data: for 'sip' the Call-ID. */
  readonly persistenceData?: string
}

/** Options of every call that sends requests to the kernel. */
export interface RequestOptions {
  /**
   * Cancels the call while it waits its turn: it rejects with the signal's reason.
   * Once the call is sent the kernel may have done it, so the call waits for its
   * outcome and the signal no longer counts.
   */
  readonly signal?: AbortSignal | undefined
}

/** Options of calls that read counters. */
export interface ReadOptions<B extends boolean = boolean> extends RequestOptions {
  /** Counters as `bigint`, exact beyond 2^53. Default false. */
  readonly bigint?: B | undefined
}

/** Type of the counters that a read returns: `bigint` if its options say `bigint: true`. */
export type CounterOf<B extends boolean> = B extends true ? bigint : number
