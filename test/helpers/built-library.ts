import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ADDON, buildOnce } from '../../scripts/build-once.mjs'

export { ADDON }

/**
 * The library as JavaScript, for child processes: they run Nodes that know no
 * TypeScript. Others use the same folder at the same time, so nothing is written there.
 */
export interface BuiltLibrary {
  /** Of its index.js. */
  readonly url: string
  /** The package's folder, in which it looks for its addon. */
  readonly folder: string
}

/** lib/ as an installation has it, inside the repository, where its dependencies are found. */
export function buildLibrary({ addon = true } = {}): BuiltLibrary {
  const built = buildOnce('package')
  const folder = addon ? built : join(built, 'without-addon')
  return {
    url: pathToFileURL(join(folder, 'dist/index.js')).href,
    folder,
  }
}

/** Makes a folder a project that has the package: modules in it import it as 'ipvs'. */
export function installInto(project: string, { folder }: BuiltLibrary): void {
  mkdirSync(join(project, 'node_modules'))
  symlinkSync(folder, join(project, 'node_modules/ipvs'))
}
