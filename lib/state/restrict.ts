import type { State, StateService } from '../model/types.ts'
import { slices } from '../util/pace.ts'
import { inScope, type Scope, scopeTest } from './scope.ts'
import { serviceKeysOf } from './table.ts'

/**
 * The part of a state that lies inside a scope, as `save({ scope })` would give
 * it: the services there. Timeouts, sync daemons and sysctls belong to the whole
 * director, and are left out.
 *
 * @throws {TypeError} if the state has no `services`, which is not the same as none inside.
 */
export async function restrictState(state: State, scope: Scope): Promise<State> {
  const test = scopeTest(scope)
  const keys = await serviceKeysOf(state)
  const { services } = state
  if (services === undefined) throw new TypeError('a state without services cannot be restricted to a scope')
  const inside: StateService[] = []
  let index = 0
  for await (const some of slices(keys)) {
    for (const key of some) {
      const service = services[index]
      if (service !== undefined && inScope(test, key)) inside.push(service)
      index += 1
    }
  }
  return { services: inside }
}
