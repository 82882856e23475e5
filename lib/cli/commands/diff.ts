import { planStates, restrictState, type Scope, type State } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { checkedLater, STATUS, UsageError } from '../exit-status.ts'
import { type CompareOptions, listOf, planOptions, SCOPE, scopeOf, withFormat } from '../options.ts'
import { printPlan } from '../print-plan.ts'
import type { CommonOptions, Run } from '../run.ts'
import { readStateOf, STDIN } from '../state-file.ts'
import { line } from '../terminal/line.ts'

/** The name of the table. */
const LIVE = 'live'

export const diff: CommandDefinition = {
  name: 'diff',
  description: 'Print the differences between two states. Exit status 1 if there are any.',
  examples: [
    'ipvs diff monday.json tuesday.json',
    'ipvs diff web.yaml live',
    'ipvs save | ssh other ipvs diff live -',
  ],
  define: (command) =>
    withFormat(
      command
        .argument(
          '<a>',
          `a file, - for standard input, or '${LIVE}' for the current table (a file of that name is ./${LIVE})`,
        )
        .argument('<b>', 'the same'),
    )
      .option('--keep-weights', 'do not compare the weights of real servers')
      .option('--scope <scope>', `only services inside ${SCOPE}`, listOf()),
  async act(run: Run, options: CommonOptions & CompareOptions, a: string, b: string) {
    if (a === b && (a === LIVE || a === STDIN))
      throw new UsageError(`only one of the two can be '${a}'; the other must be a file`)
    const { before, after } = await readBoth(run, options, a, b)
    const { one, other, left } = inCommon(before, after)
    if (Object.keys(one).length === 0)
      throw new UsageError(`'${a}' and '${b}' have no part in common to compare`)
    // What only the table has was read along with the rest, and tells nothing about the file.
    if (a !== LIVE && b !== LIVE)
      for (const part of left) run.note(line`only one of the two has ${part}: not compared`)
    const found = await checkedLater(planStates(one, other, planOptions(options)))
    if (run.json || found.steps.length > 0) await printPlan(run, found)
    return found.steps.length === 0 ? STATUS.done : STATUS.differs
  },
}

async function readBoth(
  run: Run,
  options: CompareOptions,
  a: string,
  b: string,
): Promise<{ readonly before: State; readonly after: State }> {
  const scope = options.scope === undefined ? undefined : scopeOf(options.scope)
  const beyond = new Set<string>()
  const read = async (file: string): Promise<State> => {
    const state = await readStateOf(file, run.surroundings, options)
    if (scope === undefined) return state
    for (const part of ['timeouts', 'syncDaemons', 'sysctls'] as const)
      if (state[part] !== undefined) beyond.add(part)
    return checkedLater(restrictState(state, scope))
  }
  let before: State
  let after: State
  if (a === LIVE) {
    after = await read(b)
    before = await readTable(run, after, scope)
  } else {
    before = await read(a)
    after = b === LIVE ? await readTable(run, before, scope) : await read(b)
  }
  for (const part of beyond)
    run.note(line`${part} belong to the whole director, not to a scope: not compared`)
  return { before, after }
}

/** The table, as far as another state has something to compare it with. */
function readTable(run: Run, other: State, scope: Scope | undefined): Promise<State> {
  return run.withTable(async (ipvs) => {
    const sysctls: string[] = []
    for (const name of Object.keys(other.sysctls ?? {})) {
      if ((await ipvs.sysctl(name)) !== undefined) sysctls.push(name)
      else run.note(line`this kernel has no sysctl '${name}': not compared`)
    }
    return ipvs.save({
      timeouts: other.timeouts !== undefined,
      syncDaemons: other.syncDaemons !== undefined,
      ...(other.sysctls !== undefined && { sysctls }),
      ...(scope !== undefined && { scope }),
    })
  })
}

/** The parts that two states both have, and the names of those that only one has. */
function inCommon(
  one: State,
  other: State,
): { readonly one: State; readonly other: State; readonly left: string[] } {
  const left: string[] = []
  const both = <T extends object>(part: string, a: T | undefined, b: T | undefined): [T?, T?] => {
    if (a === undefined && b === undefined) return []
    if (a === undefined || b === undefined) {
      left.push(part)
      return []
    }
    const keep = (from: T, by: T): T =>
      Object.fromEntries(
        Object.entries(from).filter(([name]) => {
          const known = name in by
          if (!known) left.push(`${part}.${name}`)
          return known
        }),
      ) as T
    return [keep(a, b), keep(b, a)]
  }
  const timeouts = both('timeouts', one.timeouts, other.timeouts)
  const sysctls = both('sysctls', one.sysctls, other.sysctls)
  const daemons = [one.syncDaemons, other.syncDaemons]
  if ((daemons[0] === undefined) !== (daemons[1] === undefined)) left.push('syncDaemons')
  const compared = daemons[0] !== undefined && daemons[1] !== undefined
  if ((one.services === undefined) !== (other.services === undefined)) left.push('services')
  const bothHaveServices = one.services !== undefined && other.services !== undefined
  const restrict = ({ services, syncDaemons }: State, at: 0 | 1): State => ({
    ...(bothHaveServices && services !== undefined && { services }),
    ...(timeouts[at] !== undefined && { timeouts: timeouts[at] }),
    ...(sysctls[at] !== undefined && { sysctls: sysctls[at] }),
    ...(compared && syncDaemons !== undefined && { syncDaemons }),
  })
  return { one: restrict(one, 0), other: restrict(other, 1), left }
}
