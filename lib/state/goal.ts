import * as check from '../model/check.ts'
import type { State } from '../model/types.ts'
import { slices } from '../util/pace.ts'
import { originOf } from './origin.ts'
import type { Refuse } from './path.ts'
import { inScope, type Scope, scopeTest, type ScopeTest } from './scope.ts'
import { CheckedState, type Parts, tableOf, type Wanted } from './table.ts'

/** Options of a comparison, and of the steps that it leads to. */
export interface PlanOptions {
  /**
   * Whether services, real servers of the state's services and, where it lists
   * sync daemons, daemons are deleted that the state does not have. Default true.
   */
  readonly prune?: boolean | undefined
  /**
   * Leaves the weights of real servers that exist, where something else decides
   * them, such as health checks; a server that is replaced for its port keeps its
   * weight too. New ones get theirs from the state. Default false.
   */
  readonly keepWeights?: boolean | undefined
  /**
   * Which services the state speaks of. Default: all. Services outside are
   * neither compared nor touched, and may not be in the state.
   */
  readonly scope?: Scope | undefined
}

export const PLAN_OPTIONS = ['prune', 'keepWeights', 'scope'] as const

/** Checked options. */
export interface Comparison {
  readonly prune: boolean
  readonly keepWeights: boolean
  readonly scope: ScopeTest
}

/** A state that is wanted: checked, complete and inside of its scope. */
export interface Goal {
  readonly wanted: Wanted
  readonly comparison: Comparison
  /** Makes an error of a refusal, with its place in the text that the state was read from. */
  readonly refuse: Refuse
  /** The parts of a director that are read to compare it with this. */
  readonly parts: Parts
}

/**
 * Checks a state that is wanted, and what it is wanted with.
 *
 * @throws {TypeError | RangeError} naming the field, or the service that is outside the scope.
 */
export async function goalOf(state: State | CheckedState, options: PlanOptions): Promise<Goal> {
  const comparison = comparisonOf(options)
  const wanted = state instanceof CheckedState ? state.wanted : await tableOf(state)
  if (comparison.scope !== undefined) await checkWithin(wanted, comparison.scope)
  return { wanted, comparison, refuse: originOf(state), parts: partsOf(wanted) }
}

/** Checks the options of a comparison, and completes them. */
export function comparisonOf({ prune, keepWeights, scope }: PlanOptions): Comparison {
  return {
    prune: check.flag(prune ?? true, 'prune'),
    keepWeights: check.flag(keepWeights ?? false, 'keepWeights'),
    scope: scopeTest(scope),
  }
}

/** Refuses a wanted table that has anything outside of a scope. */
async function checkWithin({ services = [], ...others }: Wanted, scope: ScopeTest): Promise<void> {
  let index = 0
  for await (const some of slices(services)) {
    for (const { id, key } of some) {
      if (!inScope(scope, key)) {
        throw new RangeError(`services[${String(index)}]: ${id} is outside the scope`)
      }
      index += 1
    }
  }
  for (const part of ['timeouts', 'syncDaemons', 'sysctls'] as const) {
    if (others[part] === undefined) continue
    throw new TypeError(
      `${part} belong to the whole director and cannot be combined with a scope: leave out one of the two`,
    )
  }
}

function partsOf({ timeouts, syncDaemons, sysctls }: Wanted): Parts {
  return {
    timeouts: timeouts !== undefined,
    syncDaemons: syncDaemons !== undefined,
    ...(sysctls !== undefined && { sysctls: Object.keys(sysctls) }),
  }
}
