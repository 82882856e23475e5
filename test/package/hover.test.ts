import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { DIST, DOORS, isOurs, publicSymbols } from './published-types.ts'

/**
 * What an editor shows where a user points at a public name: the type in one look, and its documentation. hover.txt has all of
 * them; after a change: npx vitest run test/package/hover.test.ts -u
 */

interface Hover {
  /** Such as `Ipvs.addService`. */
  readonly name: string
  readonly signature: string
  readonly documentation: string
  readonly tags: readonly string[]
}

/** A program of a user. It is nowhere but here. */
const PROGRAM = join(DIST, 'program.ts')
const PROGRAM_TEXT = `import { Ipvs, IpvsError } from './index.js'
const ipvs = await Ipvs.open()
const services = await ipvs.services()
const exact = await ipvs.services({ bigint: true })
const table = await ipvs.snapshot({ bigint: true })
const [server] = await ipvs.realServers('tcp/192.0.2.1:80')
const totals = await ipvs.totals()
const { code } = new IpvsError({ errno: 3, command: 'flush' })
`

const host: ts.LanguageServiceHost = {
  getScriptFileNames: () => [...DOORS, PROGRAM],
  getScriptVersion: () => '1',
  getScriptSnapshot: (file) => {
    const text = file === PROGRAM ? PROGRAM_TEXT : ts.sys.readFile(file)
    return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
  },
  getCurrentDirectory: () => DIST,
  getCompilationSettings: () => ({
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    strict: true,
    exactOptionalPropertyTypes: true,
    types: [],
  }),
  getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
  fileExists: (file) => file === PROGRAM || ts.sys.fileExists(file),
  readFile: (file) => ts.sys.readFile(file),
}
const service = ts.createLanguageService(host)

function hoverOf(name: string, symbol: ts.Symbol): Hover | undefined {
  const declaration = symbol.declarations?.find((one) => one.getSourceFile().fileName.startsWith(DIST))
  const named = declaration === undefined ? undefined : ts.getNameOfDeclaration(declaration)
  if (declaration === undefined || named === undefined || ts.isTypeParameterDeclaration(declaration))
    return undefined
  const info = service.getQuickInfoAtPosition(named.getSourceFile().fileName, named.getStart())
  if (info === undefined) throw new Error(`an editor shows nothing for ${name}`)
  return {
    name,
    signature: ts.displayPartsToString(info.displayParts),
    documentation: ts.displayPartsToString(info.documentation),
    tags: (info.tags ?? []).map((tag) => `@${tag.name} ${ts.displayPartsToString(tag.text)}`.trim()),
  }
}

/** All public names, and the members of those that have any. */
function hovers(): Hover[] {
  const all: Hover[] = []
  const add = (name: string, symbol: ts.Symbol): void => {
    const hover = hoverOf(name, symbol)
    if (hover !== undefined && !hover.tags.includes('@hidden')) all.push(hover)
  }
  for (const symbol of publicSymbols().sort((one, other) => (one.name < other.name ? -1 : 1))) {
    add(symbol.name, symbol)
    const members = [...(symbol.members?.values() ?? []), ...(symbol.exports?.values() ?? [])]
    for (const member of members) {
      if (isOurs(member) && !/^(__|#|prototype$)/.test(member.name))
        add(`${symbol.name}.${shownName(member)}`, member)
    }
  }
  return all.filter(({ name }) => !/\.#|\.__/.test(name))
}

function shownName(symbol: ts.Symbol): string {
  return symbol.name.startsWith('__@') ? `[Symbol.${symbol.name.slice(3).replace(/@.*/, '')}]` : symbol.name
}

const all = hovers()

/** The most that one takes in at a glance: lines, and characters in one of them. */
const LINES = 40
const LONGEST = 800

describe('a public name in an editor', () => {
  test('shows what is expected', async () => {
    const text = all
      .map(({ signature, documentation }) => `${signature}\n    ${documentation.split('\n')[0] ?? ''}\n`)
      .join('\n')
    await expect(text).toMatchFileSnapshot('./hover.txt')
  })

  test('is one of hundreds', () => {
    expect(all.length).toBeGreaterThan(400)
    expect(all.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['Ipvs.addService', 'Step', 'parseState']),
    )
  })

  test('shows no path of a file, no name of another room, and no overloads', () => {
    const odd =
      /import\(|\boverload|\b(Session|Wanted|CheckedState|CheckedStep|Goal|Complete|__\w+)\b|\bany\b/
    expect(all.filter(({ signature }) => odd.test(signature)).map(({ signature }) => signature)).toEqual([])
  })

  test('fits an eye', () => {
    const long = all.filter(({ signature }) => {
      const lines = signature.split('\n')
      return lines.length > LINES || lines.some((line) => line.length > LONGEST)
    })
    expect(long.map(({ signature }) => signature)).toEqual([])
  })

  test('has documentation', () => {
    const bare = all.filter(({ documentation }) => documentation.trim() === '')
    expect(bare.map(({ name }) => name)).toEqual([])
  })
})

describe('a result in an editor', () => {
  test.each([
    ['services =', 'const services: Service<number>[]'],
    ['exact =', 'const exact: Service<bigint>[]'],
    ['table =', 'const table: SnapshotEntry<bigint>[]'],
    ['server]', 'const server: RealServer<number>'],
    ['totals =', 'const totals: Totals<number>'],
    ['code }', 'const code: IpvsErrorCode'],
    [
      'services()',
      '(method) Ipvs.services<false>(options?: ReadOptions<false> | undefined): Promise<Service<number>[]>',
    ],
    [
      'services({',
      '(method) Ipvs.services<true>(options?: ReadOptions<true> | undefined): Promise<Service<bigint>[]>',
    ],
  ])('%s is %s', (text, shown) => {
    const info = service.getQuickInfoAtPosition(PROGRAM, PROGRAM_TEXT.indexOf(text))
    expect(ts.displayPartsToString(info?.displayParts)).toBe(shown)
  })
})
