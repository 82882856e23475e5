import type { CommandDefinition } from '../command.ts'
import { FORCE, maxDeletionsOption, STATE_FILE, withFormat, withHistory } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { type ApplyCommandOptions, applyFile, withKeepGoing } from './apply.ts'

export const restore: CommandDefinition = {
  name: 'restore',
  description: 'Make the table equal to a saved state, with as few changes as possible.',
  examples: [
    'ipvs restore /etc/ipvs.json --yes',
    'ipvsadm -Sn | ipvs restore - --yes --netns blue',
    'ipvs restore table.yaml --dry-run',
    'ipvs restore /etc/ipvs.json --yes --max-deletions 100',
    'ipvs restore /etc/ipvs.json --yes --keep-going',
  ],
  define: (command) =>
    withHistory(withKeepGoing(withFormat(command.argument('<file>', STATE_FILE))))
      .addOption(maxDeletionsOption())
      .option('--force', FORCE)
      .option('--dry-run', 'only print what would be done')
      .option('--yes', 'do not ask before removing anything'),
  act: (run: Run, options: CommonOptions & ApplyCommandOptions, file: string) =>
    applyFile(run, options, file),
}
