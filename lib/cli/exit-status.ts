import { IpvsError, StateSyntaxError } from '../index.ts'
import type { EndSignal } from './terminal/surroundings.ts'
import { inCommandWords } from './words.ts'

/** Exit statuses of our own commands; docs/command.md has them for readers. */
export const STATUS = {
  done: 0,
  /** What was compared differs; or something is wrong with the machine; or a drained server is still there. */
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
  0    done; no differences
  1    differences: plan, diff and --dry-run found something to do; or doctor found
       errors or warnings; or the time of drain was up, or something else set the
       server's weight
  2    the command line is wrong
  3    refused, nothing was changed: by a guard or by your answer, because nobody
       could be asked, or because the table has changed meanwhile
  4    there is no such service, real server, network namespace or entry of the
       history
  5    permission denied
  6    IPVS is not available: no module, no addon, or not Linux
  7    a file cannot be read or written, or is not a state
  8    the kernel refused, or something else failed; what was done has been undone,
       or is reported
  128+ ended by a signal: 130 is Ctrl-C, 141 a closed pipe`

/** The command line asks for something that does not exist or cannot be done. */
export class UsageError extends Error {}

/** Nothing was done, for a reason that is not a failure. */
export class Refused extends Error {}

/** What the command line names is not there. */
export class NotFound extends Error {}

/** A file could not be read or written, or its contents are of no use. */
export class FileError extends Error {}

/** A signal ended the command, which has put everything back as it was. */
export class Interrupted extends Error {
  readonly status: number
  readonly signal: EndSignal

  constructor(signal: EndSignal) {
    super(`ended by ${signal}`)
    this.signal = signal
    this.status = 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal]
  }
}

/** How an error is reported, and the status that the command ends with. */
export interface Report {
  readonly status: number
  /** One line. */
  readonly message: string
  /** Name for programs, where the error has one. */
  readonly code?: string
  /** Where an error that nobody has foreseen comes from, a line each. */
  readonly stack?: readonly string[]
}

export function reportOf(error: unknown): Report {
  const report = libraryReportOf(error)
  return { ...report, message: inCommandWords(report.message) }
}

/** The report in the words that the library has for its callers. */
function libraryReportOf(error: unknown): Report {
  if (!(error instanceof Error)) return { status: STATUS.failed, message: String(error) }
  const { message } = error
  if (error instanceof UsageError) return { status: STATUS.usage, message }
  if (error instanceof Refused) return { status: STATUS.refused, message }
  if (error instanceof NotFound) return { status: STATUS.notFound, message }
  if (error instanceof Interrupted) return { status: error.status, message }
  const code = (error as NodeJS.ErrnoException).code
  const named = typeof code === 'string' ? { code, message } : { message }
  if (error instanceof FileError || error instanceof StateSyntaxError)
    return { status: STATUS.file, ...named }
  if (error instanceof IpvsError) return { status: statusOfRefusal(error), ...named }
  switch (code) {
    case 'ERR_IPVS_GUARD':
    case 'ERR_IPVS_LOCKED':
    case 'ERR_IPVS_STALE_PLAN':
    case 'ERR_IPVS_EMPTY':
      return { status: STATUS.refused, ...named }
    case 'ERR_IPVS_APPLY': {
      // Where everything was undone, the status is that of the step that failed.
      const { cause } = error
      return { status: cause instanceof IpvsError ? statusOfRefusal(cause) : STATUS.failed, ...named }
    }
    case 'ERR_IPVS_PLATFORM':
    case 'ERR_IPVS_ADDON':
      return {
        status: STATUS.noKernel,
        code,
        message: `${message} To try a command without a kernel, use --memory FILE.`,
      }
    default:
      return { status: STATUS.failed, ...unforeseen(error) }
  }
}

/** An error that nobody has foreseen: where it comes from is worth knowing. */
function unforeseen(error: Error): Pick<Report, 'message' | 'stack'> {
  const { message, stack = '' } = error
  // The stack begins with the message, which may have any number of lines.
  const [, after = stack] = message === '' ? [] : stack.split(message, 2)
  const [, ...lines] = after.split('\n')
  return { message: String(error), stack: lines }
}

function statusOfRefusal({ code, noFamily, syscall, command }: IpvsError): number {
  if (code === 'EPERM' || code === 'EACCES') return STATUS.permission
  if (noFamily === true) return STATUS.noKernel
  if (code === 'ESRCH') return STATUS.notFound
  // ENOENT of a service that is added or edited is about its scheduler.
  const missing = syscall === 'open' || /RealServer$|^realServer$/.test(command)
  return code === 'ENOENT' && missing ? STATUS.notFound : STATUS.failed
}

/** Runs a check of a part of the command line: misuse that it finds is a usage error. */
export function checked<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    throw asUsage(error)
  }
}

/** The same for work that takes time. */
export async function checkedLater<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw asUsage(error)
  }
}

/** Misuse of the library as a usage error; any other error as it is. */
export function asUsage(error: unknown): unknown {
  return error instanceof TypeError || error instanceof RangeError ? new UsageError(error.message) : error
}
