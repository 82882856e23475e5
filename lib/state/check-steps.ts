import { about, fieldOf, object, oneOf } from '../model/check.ts'
import { serviceName } from '../model/keys.ts'
import { STATE_LIMITS } from '../model/ranges.ts'
import { checkSysctlName, checkSysctlValue } from '../model/sysctls.ts'
import {
  checkDaemonSpec,
  checkDaemonState,
  checkInterfaceName,
  checkForeignScheduler,
  checkModuleName,
  checkServerKey,
  checkServerSpec,
  checkServiceKey,
  checkServiceSpec,
  checkTimeouts,
} from '../model/validate.ts'
import { slices } from '../util/pace.ts'
import { pathOf, StateRefusal, type StatePath } from './path.ts'
import { type RunnableStep, type Step, STEP_KINDS } from './steps.ts'
import type { Wanted } from './table.ts'

/**
 * Checks steps that a caller made, and copies each in the instant in which it is
 * checked: the caller may go on with the objects. `before` is left out.
 *
 * @throws {TypeError | RangeError} naming the step and the field: `steps[3].after.weight`.
 */
export async function checkedSteps(steps: readonly RunnableStep[]): Promise<readonly RunnableStep[]> {
  const checked: RunnableStep[] = []
  for await (const some of slices(steps)) {
    for (const step of some) {
      try {
        const one = checkedStep(step)
        inAfter(() => {
          checkNames(one)
        })
        checked.push(one)
      } catch (error) {
        throw at(checked.length, error as Error)
      }
    }
  }
  return checked
}

function checkedStep(step: RunnableStep): RunnableStep {
  object(step, 'a step')
  oneOf(step.kind, 'kind', STEP_KINDS)
  switch (step.kind) {
    case 'add-service':
    case 'edit-service': {
      const { kind, after } = step
      const service = checkServiceKey(step.service)
      const { schedulerFlags, persistence } = inAfter(() => checkServiceSpec(after, service, STATE_LIMITS))
      return {
        kind,
        service,
        after: {
          ...after,
          ...(schedulerFlags !== undefined && { schedulerFlags: [...schedulerFlags] }),
          ...(persistence !== undefined && { persistence: { ...persistence } }),
        },
      }
    }
    case 'delete-service':
      return { kind: step.kind, service: checkServiceKey(step.service) }
    case 'add-server':
    case 'edit-server': {
      const { kind, after } = step
      const service = checkServiceKey(step.service)
      const server = checkServerKey(step.server, service)
      const { tunnel } = inAfter(() => checkServerSpec(after, server, service, STATE_LIMITS))
      return {
        kind,
        service,
        server,
        after: tunnel === undefined ? { ...after } : { ...after, tunnel: { ...tunnel } },
      }
    }
    case 'delete-server': {
      const service = checkServiceKey(step.service)
      return { kind: step.kind, service, server: checkServerKey(step.server, service) }
    }
    case 'set-timeouts':
      return { kind: step.kind, after: { ...inAfter(() => checkTimeouts(step.after)) } }
    case 'start-daemon': {
      const after = { ...inAfter(() => checkDaemonSpec(step.after, STATE_LIMITS)) }
      return { kind: step.kind, state: after.state, after }
    }
    case 'stop-daemon':
      return { kind: step.kind, state: checkDaemonState(step.state) }
    case 'set-sysctl':
      checkSysctlName(step.name)
      return { kind: step.kind, name: step.name, after: checkSysctlValue(step.name, step.after) }
  }
}

/** Names fields as those of `after`. */
function inAfter<T>(check: () => T): T {
  try {
    return check()
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

/**
 * Names that a step writes must be ones that the kernel's own could be: it loads
 * modules by them. A name that is there already may be anything.
 */
function checkNames(step: RunnableStep | Step): void {
  switch (step.kind) {
    case 'add-service':
    case 'edit-service': {
      const before = 'before' in step ? step.before : undefined
      const { scheduler, persistenceEngine } = step.after
      if (scheduler !== undefined && scheduler !== before?.scheduler) checkModuleName(scheduler, 'scheduler')
      if (persistenceEngine !== undefined && persistenceEngine !== before?.persistenceEngine) {
        checkModuleName(persistenceEngine, 'persistenceEngine')
      }
      return
    }
    case 'start-daemon':
      checkInterfaceName(step.after.multicastInterface)
  }
}

/**
 * Refuses a plan that would write a name which cannot be one of the kernel's.
 *
 * @throws {StateRefusal} with the place of the name in the state that the plan leads to.
 */
export async function checkNamesOf(steps: readonly Step[], wanted: Wanted): Promise<void> {
  for await (const some of slices(steps)) {
    for (const step of some) {
      try {
        checkNames(step)
        checkScheduler(step)
      } catch (error) {
        throw new StateRefusal(error as Error, pathOf(error as Error, placeOf(step, wanted)))
      }
    }
  }
}

/** A scheduler that a person has written, under a name that the kernel does not have. */
function checkScheduler(step: Step): void {
  if (step.kind !== 'add-service' && step.kind !== 'edit-service') return
  const { scheduler } = step.after
  if (step.kind === 'add-service' || scheduler !== step.before.scheduler) checkForeignScheduler(scheduler)
}

/** Where a state has what a step adds or edits. */
function placeOf(step: Step, { services = [], syncDaemons = [] }: Wanted): StatePath {
  if (step.kind === 'start-daemon')
    return ['syncDaemons', syncDaemons.findIndex(({ state }) => state === step.state)]
  if (!('service' in step)) return []
  const name = serviceName(step.service)
  return ['services', services.findIndex(({ id }) => id === name)]
}
