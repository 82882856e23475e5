import { formatServiceKey } from '../../index.ts'
import { changeTable, type VerbOptions, withVerb } from '../change.ts'
import type { CommandDefinition } from '../command.ts'
import { addServers, addService } from '../edits.ts'
import { fieldsHelp, isField, readFields } from '../fields.ts'
import { commandFor } from '../history.ts'
import type { Run } from '../run.ts'
import { serviceIn, targetOf, withWords } from '../targets.ts'

export const add: CommandDefinition = {
  name: 'add',
  description: 'Add a virtual service, or real servers to one.',
  examples: [
    'ipvs add tcp/192.0.2.10:80 scheduler=wrr persistence=300',
    'ipvs add tcp/192.0.2.10:80 10.0.0.7:8080 10.0.0.8:8080 method=masquerade',
    'ipvs add fwmark/5 10.0.0.7 method=tunnel tunnel=gue:6080',
  ],
  define: (command) =>
    withVerb(withWords(command, 'field=value')).addHelpText('after', fieldsHelp('service', 'server')),
  act(run: Run, options: VerbOptions, ...words: readonly string[]) {
    const target = targetOf(words)
    const service = serviceIn(target)
    const subject = target.servers.length === 0 ? 'service' : 'server'
    const fields = readFields(words.filter(isField), subject)
    return changeTable(run, options, service, (services) =>
      subject === 'service'
        ? addService(services, service, fields)
        : addServers(
            services,
            service,
            target.servers,
            fields,
            commandFor(run, 'add', formatServiceKey(service)),
          ),
    )
  },
}
