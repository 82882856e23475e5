import type { ServiceKey, State, StateService } from '../model/types.ts'
import { Pace } from '../util/pace.ts'
import { checkState } from './check.ts'
import { inScope, type Scope, scopeTest } from './scope.ts'

/**
 * The part of a state that lies inside a scope, as `save({ scope })` would give
 * it: the services there. Timeouts, sync daemons and sysctls belong to the whole
 * director, and are left out.
 */
export async function restrictState(state: State, scope: Scope): Promise<State> {
  const test = scopeTest(scope)
  const pace = new Pace()
  const keys: ServiceKey[] = []
  const { services } = await checkState(state, {
    pace,
    onService(key) {
      keys.push(key)
    },
  })
  const inside: StateService[] = []
  for (const [index, service] of services.entries()) {
    if (inScope(test, keys[index] as ServiceKey)) inside.push(service)
    if (pace.due()) await pace.rest()
  }
  return { services: inside }
}
