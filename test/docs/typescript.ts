import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { buildLibrary } from '../helpers/built-library.ts'
import { type Example, isModule, ROOT } from './markdown.ts'

/**
 * What an example without an import of its own starts with: all that the
 * package exports, and the objects that the pages say are there. On one line,
 * so that the numbers of the lines stay.
 */
function preamble(): string {
  const index = readFileSync(join(ROOT, 'lib/index.ts'), 'utf8')
  const names = new Set(index.match(/\b[A-Z]\w+\b/g))
  const objects = {
    ipvs: 'Ipvs',
    web: 'Service',
    service: 'Service',
    server: 'RealServer',
    key: 'ServiceKey',
    serverKey: 'RealServerKey',
  }
  const declared = Object.entries(objects).map(([name, type]) => `declare const ${name}: ${type};`)
  return `import { ${[...names].join(', ')} } from 'ipvs'; ${declared.join(' ')}`
}

/** As users get them. */
const types = join(buildLibrary().folder, 'dist')

/** Files that every program reads: TypeScript's own, Node's and ours. To parse them takes longer than all the rest. */
const parsed = new Map<string, ts.SourceFile | undefined>()

/** Checks examples as modules of one program, each by itself. Gives what the compiler says. */
export function typeErrors(examples: readonly Example[]): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: unknown
  }
  const options: ts.CompilerOptions = {
    ...ts.parseJsonConfigFileContent(config, ts.sys, ROOT).options,
    paths: {
      ipvs: [join(types, 'index.d.ts')],
      'ipvs/testing': [join(types, 'testing.d.ts')],
      'ipvs/text': [join(types, 'text.d.ts')],
    },
    // An example shows what a value is called, and imports everything.
    noUnusedLocals: false,
    verbatimModuleSyntax: false,
    declaration: false,
    isolatedDeclarations: false,
  }
  const before = preamble()
  const files = new Map(
    examples.map((example, index) => {
      const { place, code, setUp = before } = example
      // The lines in front of the example's own.
      const front = isModule(example) ? '' : `${setUp}\n;{`
      const name = join(ROOT, 'docs', `example-${String(index)}.ts`)
      return [name, { place, text: `${front}\n${code}${front && '\n}'}`, front: front.split('\n').length }]
    }),
  )

  const disk = ts.createCompilerHost(options)
  const host = { ...disk }
  host.fileExists = (path) => files.has(path) || disk.fileExists(path)
  host.getSourceFile = (path, ...rest) => {
    const file = files.get(path)
    if (file === undefined) {
      if (!parsed.has(path)) parsed.set(path, disk.getSourceFile(path, ...rest))
      return parsed.get(path)
    }
    return ts.createSourceFile(path, file.text, {
      languageVersion: ts.ScriptTarget.ES2022,
      impliedNodeFormat: ts.ModuleKind.ESNext,
    })
  }
  const program = ts.createProgram([...files.keys()], options, host)
  // Not those of what the examples use: `npm run types` finds them.
  const found = [...files.keys()].flatMap((name) => {
    const file = program.getSourceFile(name)
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
  })
  return [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics(), ...found].map(
    (diagnostic) => {
      const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')
      const { file, start = 0 } = diagnostic
      if (file === undefined) return text
      const { place, front } = files.get(file.fileName) ?? { place: file.fileName, front: 1 }
      const line = file.getLineAndCharacterOfPosition(start).line + 1 - front
      return `${place}, line ${String(line)} of the example: ${text}`
    },
  )
}
