import { debuglog } from 'node:util'
import { Errno } from '../model/errno.ts'
import type { Addon, AddonFile, AddonSocket, DumpResult, Failure as AddonFailure } from './addon.ts'
import { loadAddon } from './load-addon.ts'
import { tryLockFile } from './lock-file.ts'
import type {
  Dump,
  Failure,
  LockHolder,
  OpenFile,
  Reply,
  Request,
  Transport,
  TransportLock,
} from './transport.ts'

/** Generic netlink name of IPVS (IPVS_GENL_NAME), and the version of its messages (IPVS_GENL_VERSION). */
const FAMILY = 'IPVS'
const VERSION = 1

/** The length and genlmsghdr in front of a request's attributes: see AddonSocket. */
const REQUEST_HEADER = 8

const debug = debuglog('ipvs')

interface NativeOptions {
  /** Path of a network namespace. Default: that of the process. */
  readonly netns?: string
  /** A new network namespace, with `lo` up. */
  readonly scratch?: boolean
  readonly timeoutMs: number
}

/** Opens a socket to this machine's kernel. Loads the addon on first use. */
export async function openNative(options: NativeOptions): Promise<Transport | Failure> {
  const addon = loadAddon()
  const socket = new addon.Socket({ family: FAMILY, ...options })
  const failure = await socket.open()
  if (failure !== undefined) {
    socket.close()
    return failureOf(failure)
  }
  return new NativeTransport(addon, socket, options)
}

/** The addon over one socket. */
class NativeTransport implements Transport {
  readonly #addon: Addon
  readonly #socket: AddonSocket
  readonly #options: NativeOptions

  constructor(addon: Addon, socket: AddonSocket, options: NativeOptions) {
    this.#addon = addon
    this.#socket = socket
    this.#options = options
  }

  async batch(requests: readonly Request[]): Promise<readonly Reply[]> {
    const { outcomes } = await this.#socket.batch(pack(requests), requests.length)
    return requests.map((request, index) => {
      const outcome = outcomes[index]
      if (outcome == null) return DONE
      const reply: Reply = {
        ...(outcome.failure !== undefined && { failure: failureOf(outcome.failure) }),
        ...(outcome.data !== undefined && { messages: new Uint8Array(outcome.data) }),
      }
      if (debug.enabled)
        debug('answer to command %d: %o', request.command, reply.failure ?? hex(reply.messages))
      return reply
    })
  }

  async dump(request: Request): Promise<Dump> {
    return this.#dumpOf(await this.#socket.dump(pack([request])))
  }

  async dumpOfDumps(outer: Request, innerCommand: number, attribute: number): Promise<Dump> {
    return this.#dumpOf(await this.#socket.dumpOfDumps(pack([outer]), innerCommand, attribute))
  }

  #dumpOf({ failure, messages, interrupted }: DumpResult): Dump {
    if (debug.enabled) for (const block of messages) debug('dump: %s', hex(new Uint8Array(block)))
    return {
      ...(failure !== undefined && { failure: failureOf(failure) }),
      messages: messages.map((block) => new Uint8Array(block)),
      release: () => {
        this.#socket.release(messages)
      },
      interrupted,
    }
  }

  async sysctls(names: readonly string[]): Promise<readonly (string | undefined | Failure)[]> {
    const files = await this.#socket.readFiles(names.map(sysctlPath), SYSCTL_BYTES)
    return files.map(({ failure, bytes }) => {
      if (failure === undefined) return new TextDecoder().decode(bytes).trim()
      return failure.operation === 'open' && failure.errno === Errno.ENOENT ? undefined : failureOf(failure)
    })
  }

  async setSysctl(name: string, value: string): Promise<Failure | undefined> {
    debug('set sysctl %s: %s', name, value)
    const failure = await this.#socket.writeFile(sysctlPath(name), value)
    return failure && failureOf(failure)
  }

  async openProcNet(name: string): Promise<OpenFile | Failure> {
    const file = new this.#addon.File(this.#socket, `/proc/thread-self/net/${name}`)
    const failure = await file.open()
    return failure === undefined ? new NativeFile(file, name) : failureOf(failure)
  }

  async openScratch(): Promise<Transport | Failure> {
    return openNative({ scratch: true, timeoutMs: this.#options.timeoutMs })
  }

  async lock(): Promise<TransportLock | { readonly holder: LockHolder } | Failure> {
    const { scratch = false, netns = '/proc/self/ns/net' } = this.#options
    // Nobody else knows of a scratch namespace.
    return scratch ? { release: () => Promise.resolve() } : tryLockFile(this.#addon, netns)
  }

  close(): Promise<void> {
    this.#socket.close()
    return Promise.resolve()
  }
}

class NativeFile implements OpenFile {
  readonly #file: AddonFile
  readonly #name: string

  constructor(file: AddonFile, name: string) {
    this.#file = file
    this.#name = name
  }

  async read(): Promise<Uint8Array | Failure> {
    const { failure, bytes } = await this.#file.read(PIECE_BYTES)
    if (failure !== undefined) return failureOf(failure)
    const piece = new Uint8Array(bytes ?? new ArrayBuffer(0))
    if (debug.enabled) debug('%s: %j', this.#name, new TextDecoder().decode(piece))
    return piece
  }

  close(): void {
    this.#file.close()
  }
}

const DONE: Reply = {}

/** Longest value of a sysctl: a list of CPUs. */
const SYSCTL_BYTES = 65_536
/**
 * What is read of a file at once: about a thousand connections, whose parsing keeps the
 * JS thread some 2 ms. Before Linux 6.14 each 4 KB walk through the whole table.
 */
const PIECE_BYTES = 65_536

function sysctlPath(name: string): string {
  return `/proc/sys/net/ipv4/vs/${name}`
}

/** Joins requests in the form that AddonSocket takes. */
function pack(requests: readonly Request[]): Uint8Array {
  let size = 0
  for (const { attributes } of requests) size += (REQUEST_HEADER + attributes.length + 3) & ~3
  const bytes = new Uint8Array(size)
  const lengths = new Uint32Array(bytes.buffer)
  let at = 0
  for (const { command, attributes } of requests) {
    const length = REQUEST_HEADER + attributes.length
    lengths[at >> 2] = length
    bytes[at + 4] = command
    bytes[at + 5] = VERSION
    bytes.set(attributes, at + REQUEST_HEADER)
    if (debug.enabled) debug('send command %d: %s', command, hex(attributes))
    at += (length + 3) & ~3
  }
  return bytes
}

function failureOf({ errno, operation, message }: AddonFailure): Failure {
  return {
    errno,
    ...wayOf(operation),
    ...(message !== undefined && { message }),
  }
}

function wayOf(operation: string): Partial<Failure> {
  switch (operation) {
    case 'reply':
      return {}
    case 'family':
      return { noFamily: true }
    case 'netns':
      return { syscall: 'open', noNamespace: true }
    default:
      return { syscall: operation }
  }
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined
    ? 'done'
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
