import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'

const root: string = fileURLToPath(new URL('../..', import.meta.url))

/** The addon that `npm run build:native` made, or the one of another build. */
export const ADDON: string = process.env.IPVS_ADDON ?? join(root, 'build/Release/ipvs.node')

/** The library as JavaScript, for child processes: they run Nodes that know no TypeScript. */
export interface BuiltLibrary {
  /** Of its index.js. */
  readonly url: string
  /** The folder in which it looks for its addon. Modules below it import it as 'ipvs'. */
  readonly folder: string
  remove(): void
}

/** Builds lib/ as an installation has it, in a folder of its own inside the repository, where its dependencies are found. */
export function buildLibrary({ addon = true } = {}): BuiltLibrary {
  mkdirSync(join(root, '.cache'), { recursive: true })
  const folder = mkdtempSync(join(root, '.cache/test-library-'))
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: unknown }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'ipvs', type: 'module', exports }))
  const lib = join(root, 'lib')
  for (const file of readdirSync(lib, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    const { outputText } = ts.transpileModule(readFileSync(join(lib, file), 'utf8'), {
      fileName: file,
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        rewriteRelativeImportExtensions: true,
        verbatimModuleSyntax: true,
      },
    })
    const built = join(folder, 'dist', file.replace(/\.ts$/, '.js'))
    mkdirSync(dirname(built), { recursive: true })
    writeFileSync(built, outputText)
  }
  if (addon) {
    mkdirSync(join(folder, 'build/Release'), { recursive: true })
    symlinkSync(ADDON, join(folder, 'build/Release/ipvs.node'))
  }
  return {
    url: pathToFileURL(join(folder, 'dist/index.js')).href,
    folder,
    remove() {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
