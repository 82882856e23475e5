import { changeTable, type VerbOptions, withVerb, withForce } from '../change.ts'
import type { CommandDefinition } from '../command.ts'
import { editServers } from '../edits.ts'
import { UsageError } from '../exit-status.ts'
import type { Run } from '../run.ts'
import { targetOf, withEverywhere, withoutFields, withWords } from '../targets.ts'

export const weight: CommandDefinition = {
  name: 'weight',
  description: 'Change the weight of real servers. 0: they keep their connections and get no new ones.',
  examples: [
    'ipvs weight tcp/192.0.2.10:80 10.0.0.7:8080 5',
    'ipvs weight tcp/192.0.2.10:80 10.0.0.7:8080 10.0.0.8:8080 1',
    'ipvs weight --everywhere 10.0.0.7 0',
  ],
  define: (command) => withForce(withVerb(withEverywhere(withWords(command, 'weight')))),
  act(run: Run, options: VerbOptions, ...words: readonly string[]) {
    const number = words.at(-1) ?? ''
    if (!/^-?\d+$/.test(number)) {
      throw new UsageError(`the last word must be the weight, a whole number; got '${number}'`)
    }
    const target = targetOf(withoutFields('weight', words.slice(0, -1)), options.everywhere)
    if (target.servers.length === 0) {
      throw new UsageError(`name at least one real server before the weight, such as 10.0.0.7:8080`)
    }
    return changeTable(run, options, target.service, (services) =>
      editServers(services, target, { weight: Number(number) }),
    )
  },
}
