import type { CommandDefinition } from '../command.ts'
import { withVerb } from '../change.ts'
import type { CommonOptions, Run } from '../run.ts'
import { type ApplyCommandOptions, applyTarget } from './apply.ts'

export const flush: CommandDefinition = {
  name: 'flush',
  description: 'Remove all virtual services and real servers.',
  examples: ['ipvs flush', 'ipvs flush --yes --netns blue'],
  define: (command) => withVerb(command).option('--yes', 'do not ask'),
  act(run: Run, options: CommonOptions & Pick<ApplyCommandOptions, 'yes' | 'dryRun'>) {
    // Whoever flushes has said it: the guards are for accidents.
    const all = { ...options, force: true, maxDeletions: Infinity }
    return applyTarget(run, all, () => Promise.resolve({ state: { services: [] }, file: 'an empty table' }))
  },
}
