import type { CommandDefinition } from '../command.ts'
import { withDryRun } from '../change.ts'
import type { CommonOptions, Run } from '../run.ts'
import { type ApplyCommandOptions, applyState } from './apply.ts'

export const flush: CommandDefinition = {
  name: 'flush',
  description: 'Remove all virtual services and real servers.',
  examples: ['ipvs flush', 'ipvs flush --yes --netns blue'],
  define: (command) => withDryRun(command).option('--yes', 'do not ask'),
  async act(run: Run, options: CommonOptions & Pick<ApplyCommandOptions, 'yes' | 'dryRun'>) {
    // Whoever flushes has said it: the guards are for accidents.
    const all = { ...options, force: true, maxDeletions: Number.MAX_SAFE_INTEGER }
    const { status, say } = await run.withTable((ipvs) =>
      run.interruptible((signal) => applyState(run, ipvs, { services: [] }, 'an empty table', all, signal)),
    )
    await say?.()
    return status
  },
}
