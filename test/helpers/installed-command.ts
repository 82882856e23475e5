import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ADDON } from './built-library.ts'

const root: string = fileURLToPath(new URL('../..', import.meta.url))

/** The command as an installation has it, in a package of the test's own: others build the repository's meanwhile. */
export interface InstalledCommand {
  /** Of the files of the command. */
  readonly folder: string
  /** This process's environment, with `ipvs`, `ipvsadm`, `ipvsadm-save` and `ipvsadm-restore` first in its PATH. */
  readonly env: NodeJS.ProcessEnv
  remove(): void
}

export function installCommand(): InstalledCommand {
  mkdirSync(join(root, '.cache'), { recursive: true })
  const built = mkdtempSync(join(root, '.cache/test-command-'))
  const folder = join(built, 'dist/cli')
  symlinkSync(join(root, 'package.json'), join(built, 'package.json'))
  execFileSync(process.execPath, [join(root, 'scripts/bundle.mjs'), folder])
  mkdirSync(join(built, 'build/Release'), { recursive: true })
  symlinkSync(ADDON, join(built, 'build/Release/ipvs.node'))
  mkdirSync(join(built, 'bin'))
  for (const name of ['ipvs', 'ipvsadm', 'ipvsadm-save', 'ipvsadm-restore']) {
    symlinkSync(join(folder, 'ipvs.cjs'), join(built, 'bin', name))
  }
  return {
    folder,
    env: {
      ...process.env,
      PATH: `${join(built, 'bin')}${delimiter}${process.env.PATH ?? ''}`,
      LANG: 'C.UTF-8',
      NODE_DEBUG: '',
      NO_COLOR: '1',
      FORCE_COLOR: undefined,
    },
    remove() {
      rmSync(built, { recursive: true })
    },
  }
}
