import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { type Example, ROOT } from './markdown.ts'

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

/** Checks examples as modules of one program, each by itself. Gives what the compiler says. */
export function typeErrors(examples: readonly Example[]): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: unknown
  }
  const options: ts.CompilerOptions = {
    ...ts.parseJsonConfigFileContent(config, ts.sys, ROOT).options,
    paths: { ipvs: [join(ROOT, 'lib/index.ts')], 'ipvs/testing': [join(ROOT, 'lib/testing.ts')] },
    // An example shows what a value is called, and imports everything.
    noUnusedLocals: false,
    verbatimModuleSyntax: false,
    declaration: false,
    isolatedDeclarations: false,
  }
  const before = preamble()
  const files = new Map(
    examples.map(({ place, code }, index) => [
      join(ROOT, 'docs', `example-${String(index)}.ts`),
      { place, text: /^import /m.test(code) ? `\n${code}` : `${before} {\n${code}\n}` },
    ]),
  )

  const disk = ts.createCompilerHost(options)
  const host = { ...disk }
  host.fileExists = (path) => files.has(path) || disk.fileExists(path)
  host.getSourceFile = (path, ...rest) => {
    const file = files.get(path)
    return file === undefined
      ? disk.getSourceFile(path, ...rest)
      : ts.createSourceFile(path, file.text, {
          languageVersion: ts.ScriptTarget.ES2022,
          impliedNodeFormat: ts.ModuleKind.ESNext,
        })
  }
  const program = ts.createProgram([...files.keys()], options, host)
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')
    const { file, start = 0 } = diagnostic
    if (file === undefined) return text
    const line = file.getLineAndCharacterOfPosition(start).line
    const place = files.get(file.fileName)?.place ?? file.fileName
    return `${place}, line ${String(line)} of the example: ${text}`
  })
}
