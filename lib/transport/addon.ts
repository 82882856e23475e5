/**
 * To raise, here and in addon.cc, with every change of what is below: an addon
 * that was built or copied for another version of the library is not loaded.
 */
export const INTERFACE_VERSION = 2

/**
 * The interface of the addon (native/addon.cc). Only native.ts uses it.
 *
 * The addon knows generic netlink and nothing about IPVS. It never throws once a
 * call has started. A promise resolves, with a `failure` if the call as a whole
 * failed. It rejects only if JavaScript cannot create the answer, for example one
 * that does not fit in memory.
 */
export interface Addon {
  /** INTERFACE_VERSION, of when it was compiled. */
  readonly interfaceVersion: number
  readonly Socket: new (options: SocketOptions) => AddonSocket
  /**
   * A file as it is inside the network namespace of the socket, which is open and has
   * no call in flight: paths under /proc/sys/net and /proc/thread-self/net differ
   * between namespaces. The file may outlive the socket.
   */
  readonly File: new (socket: AddonSocket, path: string) => AddonFile
  /**
   * Takes the exclusive flock(2) of an open file, without waiting. Returns why it
   * could not: EWOULDBLOCK if another open file has it, in this process or another.
   * It ends when the file is closed, with the process at the latest.
   */
  lockFile(fd: number): Failure | undefined
  /**
   * Sends one datagram to the service manager, without waiting, as sd_notify(3) does.
   * `socket` is the value of $NOTIFY_SOCKET: a path, or '@' and an abstract name.
   */
  notify(socket: string, text: string): Failure | undefined
  /** The numbers of <linux/ip_vs.h> that the addon was compiled with, for a test of model/constants.ts. */
  readonly constants: Readonly<Record<string, number>>
}

export interface SocketOptions {
  /** Name of the generic netlink family, at most 15 characters. */
  readonly family: string
  /** Path of the network namespace to open the socket in. Default: that of the process. */
  readonly netns?: string
  /**
   * Open the socket in a new network namespace with `lo` up. The namespace
   * ends when the socket is closed. Not together with `netns`.
   */
  readonly scratch?: boolean
  /** How long one wait for a reply may take, 1 to 2147483647 milliseconds. */
  readonly timeoutMs: number
}

/** Why a call, or one request of a batch, failed. */
export interface Failure {
  /** Linux errno, positive: 3 is ESRCH. */
  readonly errno: number
  /**
   * What failed: 'socket', 'setns', 'sendmsg', ..., 'reply' if the kernel answered
   * with the errno, 'family' if it answered so when the family was looked up, or
   * 'netns' if the file of the network namespace could not be opened.
   */
  readonly operation: string
  /** The kernel's own words (NLMSGERR_ATTR_MSG), where it sent any. */
  readonly message?: string
}

/** The outcome of one request. Neither field: done, and the kernel answered with success only. */
interface AddonOutcome {
  readonly failure?: Failure
  /** The replies, each a whole netlink message at a multiple of 4. */
  readonly data?: ArrayBuffer
}

interface BatchResult {
  /** The call ended early. Requests that were not sent have ECANCELED as outcome, those without an answer this failure. */
  readonly failure?: Failure
  /** One for each request, in order. `null`: done, nothing sent back. */
  readonly outcomes: readonly (AddonOutcome | null)[]
}

export interface DumpResult {
  readonly failure?: Failure
  /**
   * The messages the kernel sent, in order, without the closing NLMSG_DONE:
   * each a whole netlink message (nlmsghdr, genlmsghdr, attributes) at a
   * multiple of 4. No message crosses from one buffer into the next.
   */
  readonly messages: readonly ArrayBuffer[]
  /** The kernel set NLM_F_DUMP_INTR: the entries changed during the dump. */
  readonly interrupted: boolean
}

export interface FileContent {
  readonly failure?: Failure
  readonly bytes?: ArrayBuffer
}

/**
 * One generic netlink socket. One call is in flight at a time: a second one
 * throws, so the caller queues.
 *
 * A request is a `u32` with its length in bytes, these four included, then
 * genlmsghdr (command `u8`, version `u8`, reserved `u16`) and the attributes;
 * all in the machine's byte order. In a batch the next request starts at the
 * next multiple of 4.
 */
export interface AddonSocket {
  /** Opens the socket and looks up the family. Resolves with why it could not; may then be called again. */
  open(): Promise<Failure | undefined>
  /** Many requests, each with an outcome. A failed request does not stop the ones after it. */
  batch(requests: Uint8Array, count: number): Promise<BatchResult>
  /** One request, many messages. */
  dump(request: Uint8Array): Promise<DumpResult>
  /**
   * The dump `outer`; then, for each of its messages, a dump with
   * `innerCommand` whose only attribute is the top-level `attribute` of that
   * message. `messages` holds each outer message followed by the inner ones.
   */
  dumpOfDumps(outer: Uint8Array, innerCommand: number, attribute: number): Promise<DumpResult>
  /**
   * Gives back the buffers of a dump: they are empty from now on, and the next
   * dump needs no new memory. Otherwise garbage collection gives them back.
   */
  release(messages: readonly ArrayBuffer[]): void
  /**
   * Reads several whole files of at most `maxBytes` each (0 to 2^20) in one call, as
   * they are inside the socket's network namespace. If that is not the namespace of
   * the process, they are read on a thread of their own, which then ends.
   */
  readFiles(paths: readonly string[], maxBytes: number): Promise<readonly FileContent[]>
  /** Writes to a file that exists, in one write(2). Resolves with why it could not. */
  writeFile(path: string, content: string): Promise<Failure | undefined>
  /** Closes the socket, once a call in flight has ended. May be called again. */
  close(): void
}

/** A file that is read piece by piece. One call is in flight at a time: a second one throws. */
export interface AddonFile {
  /** Opens the file. Resolves with why it could not; may then be called again. */
  open(): Promise<Failure | undefined>
  /** The next `maxBytes` of the file (0 to 2^20). Fewer: it ends there. */
  read(maxBytes: number): Promise<FileContent>
  /** Closes the file, once a call in flight has ended. May be called again. */
  close(): void
}
