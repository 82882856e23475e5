import type { Endpoint, ServiceKey } from '../../model/types.ts'

/**
 * How bad a {@link Finding} is.
 *
 * - `error`: clients are not served
 * - `warning`: some are not, or will not be soon
 * - `note`: worth knowing; nothing has to be done
 */
export type Severity = 'error' | 'warning' | 'note'

/** What a machine is for: the director balances, a real server answers. */
export type Role = 'director' | 'real-server'

/**
 * The kind of a {@link Finding}.
 *
 * - `cannot-look`: something could not be read, so whatever depends on it was not looked at
 * - `no-permission`: this process may not read the table
 * - `no-module`: the kernel has no IPVS
 * - `scheduler-missing`: a service has no scheduler, or one that the kernel does not have
 * - `engine-missing`: a service has a persistence engine that the kernel does not have
 * - `forwarding-off`: the director does not forward packets, and a method is `masquerade`
 * - `redirects-sent`: the director tells clients and real servers of one network to go around it
 * - `server-beside-clients`: a real server with method `masquerade` answers neighbours directly
 * - `other-gateway`: answers of this real server do not go through the director
 * - `port-ignored`: a port that the method cannot change to
 * - `no-route`: there is no route to a real server
 * - `neighbour-silent`: a real server in a network of the director does not answer ARP or neighbour discovery
 * - `address-missing`: a virtual address is not on the machine that needs it
 * - `address-announced`: a real server answers ARP for a virtual address
 * - `source-check`: `rp_filter` drops what arrives through a tunnel, or from a virtual address
 * - `tunnel-missing`: nothing takes packets out of a tunnel on this real server
 * - `tunnel-too-narrow`: packets of full size do not fit into a tunnel
 * - `conntrack-off`: packets to real servers are to get another source address, and `conntrack` is 0
 * - `conntrack-full`: the firewall's table of connections is nearly full
 * - `hash-small`: there are many more connections than lists to find them in
 * - `connections-near-limit`: `conn_max` is nearly reached
 * - `no-servers`: a service has no real server
 * - `all-quiescent`: all real servers of a service have weight 0
 * - `persistence-of-one`: a persistent service has one real server
 * - `deleted-hold-clients`: connections of deleted real servers keep their clients
 * - `quiescent-hold-clients`: persistence keeps bringing clients to a quiescent real server
 * - `reuse-holds-clients`: clients that reuse a port come back to a quiescent real server
 * - `service-shadowed`: a firewall mark takes all packets of another service
 * - `persistence-overlaps`: two persistent services may send one client to two real servers
 * - `scheduler-change`: a change of scheduler that may crash this kernel under traffic
 * - `ftp-unaided`: FTP with method `masquerade`, without its helper
 * - `sync-interface`: a sync daemon cannot send or hear anything on its interface
 * - `sync-mismatch`: the sync daemons of two directors do not hear each other
 * - `firewall-drops`: a firewall on this machine drops packets of a service
 * - `beside-kube-proxy`: kube-proxy manages this table, or rules of the same addresses, too
 * - `beside-ebpf`: a program in the network card's path may take packets before IPVS does
 */
export type FindingCode =
  | 'cannot-look'
  | 'no-permission'
  | 'no-module'
  | 'scheduler-missing'
  | 'engine-missing'
  | 'forwarding-off'
  | 'redirects-sent'
  | 'server-beside-clients'
  | 'other-gateway'
  | 'port-ignored'
  | 'no-route'
  | 'neighbour-silent'
  | 'address-missing'
  | 'address-announced'
  | 'source-check'
  | 'tunnel-missing'
  | 'tunnel-too-narrow'
  | 'conntrack-off'
  | 'conntrack-full'
  | 'hash-small'
  | 'connections-near-limit'
  | 'no-servers'
  | 'all-quiescent'
  | 'persistence-of-one'
  | 'deleted-hold-clients'
  | 'quiescent-hold-clients'
  | 'reuse-holds-clients'
  | 'service-shadowed'
  | 'persistence-overlaps'
  | 'scheduler-change'
  | 'ftp-unaided'
  | 'sync-interface'
  | 'sync-mismatch'
  | 'firewall-drops'
  | 'beside-kube-proxy'
  | 'beside-ebpf'

/** Something that is wrong, or will be. */
export interface Finding {
  /** What kind it is. */
  readonly code: FindingCode
  /** How bad it is. */
  readonly severity: Severity
  /** One line: what is seen, with names and values. */
  readonly message: string
  /** One line: how that looks to a client. */
  readonly effect: string
  /** The services that it breaks. Empty: all, or none in particular. */
  readonly services: readonly ServiceKey[]
  /** The real servers that it is about. Empty: none in particular. */
  readonly servers: readonly Endpoint[]
  /** Commands for a shell of root that mend it, in order. Empty: no command can, and the message says what to do. */
  readonly commands: readonly string[]
  /** Where they are to be run: on this machine, on the real servers, or on a director. */
  readonly where: 'here' | 'real-server' | 'director'
  /** The sysctls that the commands set, by name: all that `ipvs doctor --fix` changes. */
  readonly sysctls: Readonly<Record<string, string>>
  /** Where it is explained. */
  readonly guide: Explanation
}

/** What explains a {@link Finding}. */
export interface Explanation {
  /** A page of the documentation: `docs/nat.md`. */
  readonly page: string
  /** A sentence that stands there. */
  readonly sentence: string
}
