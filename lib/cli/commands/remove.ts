import { changeTable, type VerbOptions, withVerb, withForce } from '../change.ts'
import type { CommandDefinition } from '../command.ts'
import { removeServers, removeService } from '../edits.ts'
import { seconds } from '../options.ts'
import type { Run } from '../run.ts'
import { serviceIn, targetOf, withEverywhere, withoutFields, withWords } from '../targets.ts'

export const remove: CommandDefinition = {
  name: 'remove',
  description: 'Remove a virtual service with its real servers, or real servers alone.',
  examples: [
    'ipvs remove tcp/192.0.2.10:80',
    'ipvs remove tcp/192.0.2.10:80 10.0.0.7:8080 10.0.0.8:8080',
    'ipvs remove --everywhere 10.0.0.7 --drain 60',
  ],
  define: (command) =>
    withForce(withVerb(withEverywhere(withWords(command)))).option(
      '--drain <seconds>',
      'wait up to this long for the connections of the real servers to end',
      seconds,
    ),
  act(run: Run, options: VerbOptions, ...words: readonly string[]) {
    const target = targetOf(withoutFields('remove', words), options.everywhere)
    return changeTable(run, options, target.service, (services) =>
      target.servers.length === 0
        ? removeService(services, serviceIn(target))
        : removeServers(services, target),
    )
  },
}
