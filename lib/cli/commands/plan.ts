import type { CommandDefinition } from '../command.ts'
import { checkedLater, STATUS } from '../exit-status.ts'
import { type CompareOptions, planOptions, STATE_FILE, withComparison } from '../options.ts'
import { isSame, printPlan } from '../print-plan.ts'
import type { CommonOptions, Run } from '../run.ts'
import { ofFile, readStateOf } from '../state-file.ts'

export const plan: CommandDefinition = {
  name: 'plan',
  description: 'Print what apply would do. Exit status 1 if there is anything to do.',
  examples: [
    'ipvs plan web.yaml',
    'ipvs plan web.yaml --no-prune --keep-weights',
    "ipvs plan web.yaml --json | jq '.steps[].kind'",
  ],
  define: (command) => withComparison(command.argument('<file>', STATE_FILE)),
  async act(run: Run, options: CommonOptions & CompareOptions, file: string) {
    const state = await readStateOf(file, run.surroundings, options)
    const found = await run.withTable((ipvs) =>
      checkedLater(ofFile(file, ipvs.plan(state, planOptions(options)))),
    )
    await printPlan(run, found)
    return isSame(found) ? STATUS.done : STATUS.differs
  },
}
