import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { buildLibrary } from '../helpers/built-library.ts'

/** What users see of the library's types: the doors, and all that these name. */

const dist = join(buildLibrary().folder, 'dist')
const doors = ['index', 'testing', 'text'].map((name) => join(dist, `${name}.d.ts`))
const program = ts.createProgram(doors, {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  types: [],
})
const checker = program.getTypeChecker()

/** The declarations that users can come to, each as `file: name`. */
function reachable(): Set<string> {
  const found = new Set<string>()
  const seen = new Set<ts.Node>()
  const waiting: ts.Symbol[] = doors.flatMap((door) => {
    const source = program.getSourceFile(door) as ts.SourceFile
    return checker.getExportsOfModule(checker.getSymbolAtLocation(source) as ts.Symbol)
  })
  for (let symbol = waiting.pop(); symbol !== undefined; symbol = waiting.pop()) {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    for (const declaration of target.declarations ?? []) {
      const { fileName } = declaration.getSourceFile()
      if (!fileName.startsWith(dist) || seen.has(declaration)) continue
      seen.add(declaration)
      found.add(`${relative(dist, fileName)}: ${target.name}`)
      const visit = (node: ts.Node): void => {
        if (ts.isIdentifier(node)) {
          const named = checker.getSymbolAtLocation(node)
          if (named !== undefined) waiting.push(named)
        }
        ts.forEachChild(node, visit)
      }
      visit(declaration)
    }
  }
  return found
}

describe('the published types', () => {
  const found = reachable()
  const filesOf = (pattern: RegExp): string[] => [...found].filter((one) => pattern.test(one)).sort()

  test('have what users call', () => {
    expect(found).toContain('ipvs.d.ts: Ipvs')
    expect(found).toContain('service.d.ts: RealServer')
    expect(found).toContain('apply/options.d.ts: ApplyOptions')
    expect(found.size).toBeGreaterThan(300)
  })

  test('name nothing of the rooms behind them', () => {
    expect(filesOf(/^(codec|observe|util)\//)).toEqual([])
    expect(filesOf(/^transport\/(?!transport\.d\.ts)/)).toEqual([])
    // Of a conversation only the options of calls, and what they give.
    expect(filesOf(/^session\/(?!(open|run-steps|snapshot)\.d\.ts)/)).toEqual([])
    expect(
      filesOf(
        /^memory\/wire\/(?!(log|faults|command-names)\.d\.ts)|^memory\/machine\/(?!(machine|states|versions))/,
      ),
    ).toEqual([])
    expect(found).not.toContain('memory/machine/machine.d.ts: Machine')
    expect(filesOf(/^apply\/(transaction|roll-back|removals|guards)\.d\.ts/)).toEqual([])
  })

  test('have no member that is marked internal', () => {
    for (const file of program.getSourceFiles()) {
      if (!file.fileName.startsWith(dist)) continue
      expect(readFileSync(file.fileName, 'utf8'), file.fileName).not.toContain('@internal')
    }
    expect(filesOf(/hashSeed/)).toEqual([])
    const names = [...found].map((one) => one.replace(/^.*: /, ''))
    for (const name of [
      'unit',
      'lasting',
      'onClose',
      'reportedAttributes',
      'exclusive',
      'background',
      'hashSeed',
    ])
      expect(names).not.toContain(name)
  })
})
