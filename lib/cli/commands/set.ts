import { changeTable, type VerbOptions, withVerb, withForce } from '../change.ts'
import type { CommandDefinition } from '../command.ts'
import { editServers, editService } from '../edits.ts'
import { UsageError } from '../exit-status.ts'
import { fieldNames, fieldsHelp, isField, readFields } from '../fields.ts'
import type { Run } from '../run.ts'
import { serviceIn, targetOf, withEverywhere, withWords } from '../targets.ts'

export const set: CommandDefinition = {
  name: 'set',
  description: 'Change fields of a virtual service or of real servers. All others stay as they are.',
  examples: [
    'ipvs set tcp/192.0.2.10:80 scheduler=wlc',
    'ipvs set tcp/192.0.2.10:80 persistence=none',
    'ipvs set tcp/192.0.2.10:80 10.0.0.7:8080 weight=5 upperThreshold=1000',
    'ipvs set --everywhere 10.0.0.7 weight=0',
  ],
  define: (command) =>
    withForce(withVerb(withEverywhere(withWords(command, 'field=value')))).addHelpText(
      'after',
      fieldsHelp('service', 'server'),
    ),
  act(run: Run, options: VerbOptions, ...words: readonly string[]) {
    const target = targetOf(words, options.everywhere)
    const subject = target.servers.length === 0 ? 'service' : 'server'
    const given = words.filter(isField)
    if (given.length === 0) {
      throw new UsageError(
        `give at least one field, such as ${subject === 'service' ? 'scheduler=wrr' : 'weight=5'}; ` +
          `expected one of ${fieldNames(subject).join(', ')}`,
      )
    }
    const fields = readFields(given, subject, options.everywhere)
    return changeTable(run, options, target.service, (services) =>
      subject === 'service'
        ? editService(services, serviceIn(target), fields)
        : editServers(services, target, fields),
    )
  },
}
