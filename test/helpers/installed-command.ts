import { delimiter, join } from 'node:path'
import { buildLibrary } from './built-library.ts'

/** The command as an installation has it. */
export interface InstalledCommand {
  /** Of the files of the command. */
  readonly folder: string
  /** This process's environment, with `ipvs`, `ipvsadm`, `ipvsadm-save` and `ipvsadm-restore` first in its PATH. */
  readonly env: NodeJS.ProcessEnv
}

export function installCommand(): InstalledCommand {
  const { folder } = buildLibrary()
  return {
    folder: join(folder, 'dist/cli'),
    env: {
      ...process.env,
      PATH: `${join(folder, 'bin')}${delimiter}${process.env.PATH ?? ''}`,
      LANG: 'C.UTF-8',
      NODE_DEBUG: '',
      NO_COLOR: '1',
      // Nothing may be written into the home of whoever runs the tests.
      IPVS_HISTORY: 'off',
      FORCE_COLOR: undefined,
    },
  }
}
