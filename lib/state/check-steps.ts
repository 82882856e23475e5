import { about, fieldOf, object, oneOf, show } from '../model/check.ts'
import {
  checkDaemonSpec,
  checkDaemonState,
  checkServerKey,
  checkServerSpec,
  checkServiceKey,
  checkServiceSpec,
  checkSysctlName,
  checkSysctlValue,
  checkTimeouts,
  checkTunnel,
} from '../model/validate.ts'
import { type RunnableStep, STEP_KINDS } from './steps.ts'

/**
 * Checks steps that a caller made. `before` is not looked at.
 *
 * @throws {TypeError | RangeError} naming the step and the field: `steps[3].after.weight`.
 */
export function checkSteps(steps: readonly RunnableStep[]): void {
  if (!Array.isArray(steps)) throw new TypeError(`steps must be an array, got ${show(steps)}`)
  for (const [index, step] of (steps as readonly RunnableStep[]).entries()) {
    try {
      checkStep(step)
    } catch (error) {
      throw at(index, error as Error)
    }
  }
}

function checkStep(step: RunnableStep): void {
  object(step, 'a step')
  oneOf(step.kind, 'kind', STEP_KINDS)
  switch (step.kind) {
    case 'add-service':
    case 'edit-service':
      inAfter(() => checkServiceSpec(step.after, checkServiceKey(step.service)))
      return
    case 'delete-service':
      checkServiceKey(step.service)
      return
    case 'add-server':
    case 'edit-server': {
      const service = checkServiceKey(step.service)
      const server = checkServerKey(step.server, service)
      inAfter(() => {
        const { tunnel } = checkServerSpec(step.after, server, service)
        if (tunnel !== undefined) checkTunnel(tunnel)
      })
      return
    }
    case 'delete-server':
      checkServerKey(step.server, checkServiceKey(step.service))
      return
    case 'set-timeouts':
      inAfter(() => checkTimeouts(step.after))
      return
    case 'start-daemon':
      inAfter(() => checkDaemonSpec(step.after))
      return
    case 'stop-daemon':
      checkDaemonState(step.state)
      return
    case 'set-sysctl':
      checkSysctlName(step.name)
      checkSysctlValue(step.name, step.after)
  }
}

/** Names fields as those of `after`. */
function inAfter(check: () => void): void {
  try {
    check()
  } catch (error) {
    const field = fieldOf(error as Error)
    if (field === undefined) throw error
    throw renamed(error as Error, field, `after.${field}`)
  }
}

function at(index: number, error: Error): Error {
  const field = fieldOf(error)
  const place = `steps[${String(index)}]`
  return field === undefined
    ? new (kindOf(error))(`${place}: ${error.message}`, { cause: error })
    : renamed(error, field, `${place}.${field}`)
}

/** The same error of a field with a longer name. */
function renamed(error: Error, field: string, name: string): Error {
  const { message } = error
  const text = message.startsWith(field) ? `${name}${message.slice(field.length)}` : `${name}: ${message}`
  return about(name, new (kindOf(error))(text, { cause: error }))
}

function kindOf(error: Error): typeof TypeError | typeof RangeError {
  return error instanceof RangeError ? RangeError : TypeError
}
