import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { checker, DIST, fileOf, program, publicSymbols, targetOf } from './published-types.ts'

/** What users see of the library's types: the doors, and all that these name. */

/** The declarations that users can come to, each as `file: name`. */
function reachable(): Set<string> {
  const found = new Set<string>()
  const seen = new Set<ts.Node>()
  const waiting = publicSymbols()
  for (let symbol = waiting.pop(); symbol !== undefined; symbol = waiting.pop()) {
    const target = targetOf(symbol)
    for (const declaration of target.declarations ?? []) {
      if (!declaration.getSourceFile().fileName.startsWith(DIST) || seen.has(declaration)) continue
      seen.add(declaration)
      found.add(`${fileOf(declaration)}: ${target.name}`)
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
    expect(filesOf(/^session\/(?!(lock|open|run-steps|snapshot)\.d\.ts)/)).toEqual([])
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
      if (!file.fileName.startsWith(DIST)) continue
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
