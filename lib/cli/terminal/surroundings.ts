import { isatty } from 'node:tty'
import { getSystemErrorName } from 'node:util'
import { Ipvs, type OpenOptions } from '../../index.ts'
import { loadAddon } from '../../transport/load-addon.ts'
import { type NameSources, systemNames } from '../names.ts'

/** What a command reads from. */
export interface Input extends NodeJS.ReadableStream {
  readonly isTTY?: boolean
}

/** What a command writes to, through a Printer alone. */
export interface Output {
  /** Whether it is a terminal. */
  readonly isTTY?: boolean
  /** Width of the terminal. */
  readonly columns?: number
  /** Whether the terminal has colours; absent where there is no terminal. */
  hasColors?(env: object): boolean
  write(text: string, done?: () => void): unknown
  on(event: 'error', listener: (error: NodeJS.ErrnoException) => void): unknown
}

export type Environment = Readonly<Record<string, string | undefined>>

/** The surroundings of a command: those of the process, or of a test. */
export interface Surroundings {
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Environment
  /** Names of hosts and services in lines of ipvsadm. */
  readonly names: NameSources
  /** Opens the kernel's table. */
  readonly open: (options: OpenOptions) => Promise<Ipvs>
  /** Milliseconds, from any start. */
  readonly now: () => number
  /** Calls back at each signal that ends programs, until the function that it returns is called. */
  readonly onSignal: (listener: (signal: EndSignal) => void) => () => void
  /** Whether the terminal is gone that standard error was. */
  readonly hungUp: () => boolean
  /** Sends a datagram to the socket in NOTIFY_SOCKET. Returns why it could not. */
  readonly sendNotification: (socket: string, text: string) => string | undefined
}

export type EndSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The surroundings of this process. */
export function processSurroundings(): Surroundings {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    names: systemNames,
    open: (options) => Ipvs.open(options),
    now: () => performance.now(),
    onSignal(listener) {
      for (const signal of END_SIGNALS) process.on(signal, listener)
      return () => {
        for (const signal of END_SIGNALS) process.off(signal, listener)
      }
    },
    hungUp: () => process.stderr.isTTY && !isatty(process.stderr.fd),
    // Node has no sockets for datagrams of this kind.
    sendNotification(socket, text) {
      const failure = loadAddon().notify(socket, text)
      return failure && `${getSystemErrorName(-failure.errno)} (${failure.operation})`
    },
  }
}

/** Whether an environment variable has a value; an empty one has none. */
export function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== ''
}
