import type { CommandDefinition } from '../command.ts'
import { Refused } from '../exit-status.ts'
import { describeEntry, isOfNamespace } from '../history.ts'
import { withHistory } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { line } from '../terminal/line.ts'
import { type ApplyCommandOptions, applyTarget } from './apply.ts'
import { readEntry } from './history.ts'

export const undo: CommandDefinition = {
  name: 'undo',
  description:
    'Bring back the table from before a command; see "ipvs history". A second undo takes the first one back.',
  examples: ['ipvs undo', 'ipvs undo --dry-run', 'ipvs undo 3 --yes'],
  define: (command) =>
    withHistory(command.argument('[number]', 'the entry of the history; 1 is the newest (default: 1)'))
      .option('--dry-run', 'only print what would be done')
      .option('--yes', 'do not ask before removing anything')
      .option('--force', 'allow a service to be left without real servers, if it was like that'),
  async act(run: Run, options: CommonOptions & ApplyCommandOptions, number = '1') {
    const { entry, history } = await readEntry(run, number)
    const name = `entry ${number} of the history`
    if (!isOfNamespace(entry, history.place)) {
      throw new Refused(
        `${name} is of another network namespace, which had this one's name before; nothing was changed. ` +
          `To use it in spite of that: ipvs history ${number} > FILE, then ipvs restore FILE.`,
      )
    }
    if (!run.json) run.note(line`back to the table from before: ${describeEntry(entry)}`)
    // The person sees what is deleted, and says yes to that.
    const how = { ...options, maxDeletions: Infinity }
    return applyTarget(run, how, () => Promise.resolve({ state: entry.state, file: name }))
  },
}
