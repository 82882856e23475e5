import { Errno, errnoName } from '../model/errno.ts'
import { IpvsError, type IpvsErrorDetails } from '../model/errors.ts'
import type { ServiceChanges } from '../model/types.ts'
import type { CheckedStep } from '../state/steps.ts'
import type { Failure } from '../transport/transport.ts'
import type { EditOutcome } from './edits.ts'

/**
 * Turns a kernel's refusals into errors that name the method and what it was
 * about. A Failure knows neither.
 */

/** What a refusal is about. */
export type Subject = Pick<
  IpvsErrorDetails,
  'service' | 'realServer' | 'scheduler' | 'persistenceEngine' | 'multicastInterface'
>

/** The error that the caller gets for a failure. */
export function refusal(
  { errno, syscall, noFamily, noNamespace, message }: Failure,
  command: string,
  subject: Subject & { readonly netns?: string } = {},
): IpvsError {
  return new IpvsError({
    errno,
    command,
    ...subject,
    ...(syscall !== undefined && { syscall }),
    ...(noFamily !== undefined && { noFamily }),
    ...(noNamespace !== undefined && { noNamespace }),
    ...(message !== undefined && { kernelMessage: message }),
  })
}

const STEP_COMMANDS = {
  'add-service': 'addService',
  'edit-service': 'editService',
  'delete-service': 'deleteService',
  'add-server': 'addRealServer',
  'edit-server': 'editRealServer',
  'delete-server': 'deleteRealServer',
  'set-timeouts': 'setTimeouts',
  'start-daemon': 'startSyncDaemon',
  'stop-daemon': 'stopSyncDaemon',
} as const

export function stepRefusal(failure: Failure, step: CheckedStep): IpvsError {
  if (step.kind === 'set-sysctl') return sysctlRefusal(failure, step.name, step.after)
  return refusal(failure, STEP_COMMANDS[step.kind], {
    ...('service' in step && { service: step.service }),
    ...('server' in step && { realServer: step.server }),
    ...((step.kind === 'add-service' || step.kind === 'edit-service') && modulesOf(step.after)),
    ...(step.kind === 'start-daemon' && { multicastInterface: step.after.multicastInterface }),
  })
}

/** The settings of a service that may need a kernel module. */
export function modulesOf({ scheduler, persistenceEngine }: ServiceChanges): Subject {
  return { scheduler, persistenceEngine: persistenceEngine ?? undefined }
}

export function sysctlRefusal(failure: Failure, name: string, value: string): IpvsError {
  const { errno, syscall } = failure
  // It failed before reaching the sysctl.
  if (syscall !== 'open' && syscall !== 'write') return refusal(failure, 'setSysctl')
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'this kernel has no such sysctl; sysctls() lists those that a kernel has.',
    EINVAL:
      name === 'est_cpulist'
        ? 'the kernel refuses the value: it is not a list of CPUs such as 0-3,5.'
        : 'the kernel refuses the value: it is not a number, or out of range.',
    // Only for a list of CPUs.
    ERANGE: 'the kernel refuses the value: this machine does not have all of these CPUs.',
    EACCES:
      'permission denied: only root in the user namespace that owns the network namespace may write it.',
    EROFS: '/proc/sys is read-only here, as it is in most containers: set it outside.',
  }
  const code = errnoName(errno)
  const reason = reasons[code] ?? 'it could not be written.'
  const message = `${code}: setSysctl net.ipv4.vs.${name} to ${JSON.stringify(value)}: ${reason}`
  return new IpvsError({ errno, command: 'setSysctl', syscall, message })
}

/** The object after an edit, or the error that ended it. */
export function edited<Current>(outcome: EditOutcome<Current>, command: string, subject: Subject): Current {
  if ('failure' in outcome) throw refusal(outcome.failure, command, subject)
  if ('thrown' in outcome) {
    // It was created where the edits of many callers are merged. Now its stack shows this caller.
    if (outcome.thrown instanceof Error) Error.captureStackTrace(outcome.thrown)
    throw outcome.thrown
  }
  return outcome.edited
}

/** Adds the command to an error of the codec, which does not know it. Returns any other error as it is. */
export function forCommand(error: unknown, command: string, subject: Subject = {}): unknown {
  if (!(error instanceof IpvsError) || error.command !== 'decode') return error
  return new IpvsError({ errno: -error.errno, command, ...subject, message: error.message })
}

/** Whether a kernel has no IPVS at all. */
export function isAbsent({ errno, noFamily }: Failure): boolean {
  return errno === Errno.ENOENT && noFamily === true
}
