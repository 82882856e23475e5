import { IpvsError, StateSyntaxError } from '../index.ts'
import type { EndSignal } from './terminal/surroundings.ts'

/** Exit statuses of our own commands; docs/command.md has them for readers. */
export const STATUS = {
  done: 0,
  /** What was compared differs; or a drained server is still there. */
  differs: 1,
  usage: 2,
  /** Nothing was changed: a guard, or a person, said no. */
  refused: 3,
  notFound: 4,
  permission: 5,
  /** There is no IPVS to talk to. */
  noKernel: 6,
  file: 7,
  failed: 8,
  /** As a shell reports what SIGPIPE ended. */
  brokenPipe: 141,
} as const

/** The table in `ipvs --help`. */
export const STATUS_HELP = `Exit status:
  0    done; nothing differs
  1    differs: plan, diff and --dry-run found something to do; or drain left the
       server there
  2    the command line is wrong
  3    refused, nothing was changed: a guard, the answer to a question, nobody
       to ask, or a table that has changed since
  4    there is no such service, real server or network namespace
  5    permission denied
  6    there is no IPVS here: no module, no addon, or not Linux
  7    a file cannot be read or written, or is no state
  8    the kernel refused, or anything else failed; what was done has been undone,
       or is told
  128+ ended by a signal: 130 is Ctrl-C, 141 a closed pipe`

/** The command line asks for something that is not there or cannot be. */
export class UsageError extends Error {}

/** Nothing was done, for a reason that is no failure. */
export class Refused extends Error {}

/** A file could not be read or written, or what it says is no use. */
export class FileError extends Error {}

/** A signal ended the command; what it was about is as it was. */
export class Interrupted extends Error {
  readonly status: number

  constructor(signal: EndSignal) {
    super(`ended by ${signal}`)
    this.status = 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal]
  }
}

/** What is said of an error, and with which status the command ends. */
export interface Report {
  readonly status: number
  readonly message: string
  /** Name for machines, where the error has one. */
  readonly code?: string
}

export function reportOf(error: unknown): Report {
  if (!(error instanceof Error)) return { status: STATUS.failed, message: String(error) }
  const { message } = error
  if (error instanceof UsageError) return { status: STATUS.usage, message }
  if (error instanceof Refused) return { status: STATUS.refused, message }
  if (error instanceof Interrupted) return { status: error.status, message }
  const code = (error as NodeJS.ErrnoException).code
  const named = typeof code === 'string' ? { code, message } : { message }
  if (error instanceof FileError || error instanceof StateSyntaxError)
    return { status: STATUS.file, ...named }
  if (error instanceof IpvsError) return { status: statusOfRefusal(error), ...named }
  switch (code) {
    case 'ERR_IPVS_GUARD':
      return { status: STATUS.refused, code, message: withFlags(message) }
    case 'ERR_IPVS_STALE_PLAN':
      return { status: STATUS.refused, ...named }
    case 'ERR_IPVS_APPLY': {
      // A roll-back that left nothing behind is told by what it was that failed.
      const { cause } = error
      return { status: cause instanceof IpvsError ? statusOfRefusal(cause) : STATUS.failed, ...named }
    }
    case 'ERR_IPVS_PLATFORM':
    case 'ERR_IPVS_ADDON':
      return {
        status: STATUS.noKernel,
        code,
        message: `${message} To try a command without a kernel, give it --memory FILE.`,
      }
    default:
      // Nobody has foreseen it, so where it comes from is worth knowing.
      return { status: STATUS.failed, message: error.stack ?? message }
  }
}

/** The library's options by their names here. */
function withFlags(message: string): string {
  return message.replace(
    /`(\w+)`/g,
    (_, name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
  )
}

function statusOfRefusal({ code, noFamily, syscall, command }: IpvsError): number {
  if (code === 'EPERM' || code === 'EACCES') return STATUS.permission
  if (noFamily === true) return STATUS.noKernel
  if (code === 'ESRCH') return STATUS.notFound
  // Of a service that is added or edited ENOENT is about its scheduler.
  const missing = syscall === 'open' || /RealServer$|^realServer$/.test(command)
  return code === 'ENOENT' && missing ? STATUS.notFound : STATUS.failed
}

/** Runs what checks a part of the command line: its misuse is the caller's of the command. */
export function checked<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    throw asUsage(error)
  }
}

/** The same error as one of the command line, where the library found misuse. */
export function asUsage(error: unknown): unknown {
  return error instanceof TypeError || error instanceof RangeError ? new UsageError(error.message) : error
}
