/**
 * The seam between the library and a kernel: commands and attribute bytes go
 * in, whole netlink messages come out. native.ts puts the addon behind it.
 * No answer of a kernel makes these throw: a refusal is a `failure`.
 */
export interface Transport {
  /**
   * Sends all requests in order, also after one has failed. Resolves with a reply
   * for each, in the same order.
   */
  batch(requests: readonly Request[]): Promise<readonly Reply[]>
  /** One request, many messages. */
  dump(request: Request): Promise<Dump>
  /**
   * The dump `outer`; then, for each of its messages, a dump with
   * `innerCommand` whose only attribute is the top-level `attribute` of that
   * message. Each outer message is followed by its inner ones.
   */
  dumpOfDumps(outer: Request, innerCommand: number, attribute: number): Promise<Dump>
  /**
   * Reads sysctls of net.ipv4.vs as they are in the network namespace of this
   * transport, in one call: the value of each, in the same order. `undefined`
   * only if the kernel does not have it.
   */
  sysctls(names: readonly string[]): Promise<readonly (string | undefined | Failure)[]>
  /** Sets a sysctl of net.ipv4.vs there. Resolves with why it could not. */
  setSysctl(name: string, value: string): Promise<Failure | undefined>
  /** Opens a file of /proc/net as it is there, such as 'ip_vs_conn'. */
  openProcNet(name: string): Promise<OpenFile | Failure>
  /**
   * A transport to the same kernel in a new, empty network namespace, which
   * ends when that transport is closed.
   */
  openScratch(): Promise<Transport | Failure>
  /**
   * Tries to take the lock of the network namespace, which holds out other processes.
   * Resolves with who has it, or why it cannot be had. Absent: no other process has this table.
   */
  readonly lock?: (() => Promise<TransportLock | { readonly holder: LockHolder } | Failure>) | undefined
  /** Frees its resources. Called once, with nothing in flight. */
  close(): Promise<void>
}

/** A lock that was taken. */
export interface TransportLock {
  /** Gives it back. Called once. */
  release(): Promise<void>
}

/** The process that has a lock, as far as it is known. */
export interface LockHolder {
  /** Its number, as it sees itself: in another PID namespace it has another. */
  readonly pid?: number | undefined
  /** Its command line, cut after 200 characters. */
  readonly command?: string | undefined
}

/**
 * An open file, independent of the transport that opened it: it is read while other
 * calls are in flight, and may outlive the transport.
 */
export interface OpenFile {
  /** The next piece, some thousand lines; empty at the end. One call at a time. */
  read(): Promise<Uint8Array | Failure>
  /** Frees the file. May be called again, and while it is read. */
  close(): void
}

/** A generic netlink request: the IPVS_CMD_* number and its attributes. */
export interface Request {
  /** The number of an IPVS_CMD_*. */
  readonly command: number
  /** The attributes as netlink has them. */
  readonly attributes: Uint8Array
}

/** Why a request, or a whole call, failed. */
export interface Failure {
  /** Linux errno, positive. */
  readonly errno: number
  /** System call that failed; absent where the kernel answered with the errno. */
  readonly syscall?: string | undefined
  /** The errno comes from looking up the IPVS family: ENOENT says that the kernel has no IPVS. */
  readonly noFamily?: boolean | undefined
  /** The errno comes from opening the file of the network namespace. */
  readonly noNamespace?: boolean | undefined
  /** The kernel's own words, where it sent any. */
  readonly message?: string | undefined
}

/** The outcome of one request. */
export interface Reply {
  /** Why it was not done. Absent: it was done. */
  readonly failure?: Failure | undefined
  /** The messages that answered, each whole (nlmsghdr, genlmsghdr, attributes) at a multiple of 4. */
  readonly messages?: Uint8Array | undefined
}

/** The result of a dump. */
export interface Dump {
  /** Why there is no list. Absent: there is one. */
  readonly failure?: Failure | undefined
  /** The messages, each whole at a multiple of 4 of one of the arrays. */
  readonly messages: readonly Uint8Array[]
  /** Gives the memory of the messages back once they have been read: they are empty from then on. */
  readonly release?: (() => void) | undefined
  /**
   * The kernel says that the entries changed during the dump (NLM_F_DUMP_INTR), so
   * some may be missing; reads.ts reads it again. Up to Linux 7.1 IPVS never says so.
   */
  readonly interrupted: boolean
}
