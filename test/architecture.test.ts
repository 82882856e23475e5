import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

/** Which room knows which: what a file must never import, read from its imports and includes. */

const root = fileURLToPath(new URL('..', import.meta.url))

function filesUnder(folder: string, extension: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extension.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort()
}

interface Import {
  readonly file: string
  /** A file below the root, or a package as it is named. */
  readonly target: string
  /** Gone when the types are: it loads nothing. */
  readonly typeOnly: boolean
}

const lib = filesUnder('lib', /\.ts$/)
const native = filesUnder('native', /\.(cc|h)$/).filter((file) => /^native\/[^/]+$/.test(file))

/** Imports, re-exports and import() of a TypeScript file. */
function importsOf(file: string): Import[] {
  const source = ts.createSourceFile(
    file,
    readFileSync(join(root, file), 'utf8'),
    ts.ScriptTarget.ES2022,
    true,
  )
  const found: Import[] = []
  const add = (specifier: ts.Expression | undefined, typeOnly: boolean): void => {
    if (specifier === undefined) return
    expect(ts.isStringLiteral(specifier), `${file}: a computed import`).toBe(true)
    const { text } = specifier as ts.StringLiteral
    found.push({ file, target: text.startsWith('.') ? normalize(join(dirname(file), text)) : text, typeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const { importClause } = node
      const bindings = importClause?.namedBindings
      const allTypes =
        bindings !== undefined &&
        ts.isNamedImports(bindings) &&
        bindings.elements.every((one) => one.isTypeOnly)
      add(node.moduleSpecifier, importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword || allTypes)
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly)
    } else if (ts.isImportTypeNode(node)) {
      if (ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    } else if (ts.isCallExpression(node)) {
      const called = node.expression
      if (
        called.kind === ts.SyntaxKind.ImportKeyword ||
        (ts.isIdentifier(called) && called.text === 'require')
      ) {
        add(node.arguments[0], false)
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const imports = lib.flatMap(importsOf)

const from = (pattern: RegExp): Import[] => imports.filter(({ file }) => pattern.test(file))
/** Imports as a reader wants to see them. */
const lines = (list: readonly Import[]): string[] => list.map(({ file, target }) => `${file} -> ${target}`)

const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8')

/** What a room may import: a row of the table of docs/architecture.md. Types count too. */
interface Row {
  readonly may: readonly string[]
  /** Files of which it may import types alone. */
  readonly types: readonly string[]
  readonly packages: readonly string[]
}

/** The table by the room, which is a folder, or a file beside the folders. */
function tableOf(text: string): Readonly<Record<string, Row>> {
  const [, rows = ''] = /^\| Room \|.*\n\|[-|]+\|\n((?:\|.*\n)+)/m.exec(text) ?? []
  const names = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string)
  const files = (cell?: string): string[] => names(cell).map((name) => `lib/${name.replace(/\/$/, '')}`)
  return Object.fromEntries(
    rows
      .trimEnd()
      .split('\n')
      .map((row) => {
        const [, room, may, types, packages] = row.split('|')
        return [files(room)[0] ?? '', { may: files(may), types: files(types), packages: names(packages) }]
      }),
  )
}

const TABLE = tableOf(page)

/** The files that the page names, by their rooms. */
function roomsOf(text: string): Readonly<Record<string, readonly string[]>> {
  const [, block = ''] = /^lib\/ .*\n((?: {2}.*\n)+)/m.exec(text) ?? []
  const entries = [...block.matchAll(/^ {2}([\w/-]+)\/ +(.*\n(?: {10,}.*\n)*)/gm)]
  return Object.fromEntries(
    entries.map(([, room = '', words = '']) => {
      const plain = words.replaceAll(/\([^)]*\)/g, '').replace(/^[^:]*:/, '')
      const names = plain.split(/,|\sand\s/).map((name) => name.trim())
      return [`lib/${room}`, names.sort()]
    }),
  )
}

/** The row of a file: the longest that it is in. */
function rowOf(file: string): string {
  const rows = Object.keys(TABLE).filter((row) => file === row || file.startsWith(`${row}/`))
  return rows.sort((one, other) => other.length - one.length)[0] ?? ''
}

/** Whether the table allows an import. */
function isAllowed({ file, target, typeOnly }: Import): boolean {
  const row = rowOf(file)
  const { may, types, packages } = TABLE[row] ?? { may: [], types: [], packages: [] }
  if (!target.startsWith('lib/')) {
    return packages.includes(target) || (packages.includes('node:*') && target.startsWith('node:'))
  }
  return (
    rowOf(target) === row ||
    may.some((room) => target === room || target.startsWith(`${room}/`)) ||
    (typeOnly && types.includes(target))
  )
}

/** What a table allows although it is no row before that of the room. */
function upward(table: Readonly<Record<string, Row>>): string[] {
  const rows = Object.keys(table)
  const before = (target: string, end: number): boolean =>
    rows.slice(0, end).some((row) => target === row || target.startsWith(`${row}/`))
  return rows.flatMap((row, index) => {
    const { may, types } = table[row] as Row
    const targets = [...may, ...types].filter((target) => !before(target, index))
    return targets.map((target) => `${row} -> ${target}`)
  })
}

/** Files that import one another in a circle, each circle as one line. */
function circles(list: readonly Import[]): string[] {
  const targets = new Map<string, string[]>()
  for (const { file, target } of list) {
    if (target.startsWith('lib/')) targets.set(file, [...(targets.get(file) ?? []), target])
  }
  const reaches = (start: string): Set<string> => {
    const seen = new Set<string>()
    const waiting = [...(targets.get(start) ?? [])]
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      if (seen.has(file)) continue
      seen.add(file)
      waiting.push(...(targets.get(file) ?? []))
    }
    return seen
  }
  const reached = new Map([...targets.keys()].map((file) => [file, reaches(file)]))
  const found = new Set<string>()
  for (const [file, seen] of reached) {
    if (!seen.has(file)) continue
    found.add(
      [...seen]
        .filter((other) => reached.get(other)?.has(file) === true)
        .sort()
        .join(' <-> '),
    )
  }
  return [...found].sort()
}

describe('lib', () => {
  test('every file is in a room', () => {
    expect(lib.filter((file) => rowOf(file) === '')).toEqual([])
    expect(imports.length).toBeGreaterThan(400)
    expect(Object.keys(TABLE).length).toBeGreaterThan(18)
  })

  test('every file is named in docs/architecture.md under its room, and no other', () => {
    const rooms: Record<string, string[]> = {}
    for (const file of lib.filter((file) => dirname(file) !== 'lib')) {
      const room = (rooms[dirname(file)] ??= [])
      room.push(basename(file).replace(/(\.d)?\.ts$/, ''))
    }
    for (const names of Object.values(rooms)) names.sort()
    expect(roomsOf(page)).toEqual(rooms)
    const beside = [...page.matchAll(/^ {2}(\w+\.ts) /gm)].map(([, name]) => `lib/${name as string}`)
    expect(beside.sort()).toEqual(lib.filter((file) => dirname(file) === 'lib'))
  })

  test('a name that the page lacks, and a row of its table, would be noticed', () => {
    const less = page.replace('sleep, sort, ', 'sleep, ').replace('| `codec/` | `model/` |', '| `codec/` | |')
    expect(roomsOf(less)['lib/util']).not.toContain('sort')
    expect(tableOf(less)['lib/codec']).toEqual({ may: [], types: [], packages: [] })
    expect(TABLE['lib/codec']).toEqual({ may: ['lib/model'], types: [], packages: [] })
  })

  test('imports run as the table says', () => {
    expect([...new Set(lines(imports.filter((one) => !isAllowed(one))))].sort()).toEqual([])
  })

  test('rooms import only what comes before them in the table', () => {
    expect(upward(TABLE)).toEqual([])
  })

  test('a row that points at a later one would fail', () => {
    expect(
      upward(tableOf(page.replace('| `codec/` | `model/` |', '| `codec/` | `model/`, `state/` |'))),
    ).toEqual(['lib/codec -> lib/state'])
    expect(
      upward(tableOf(page.replace('| `util/` | |', '| `util/` | `util/sleep.ts`, `ipvs.ts` |'))),
    ).toEqual(['lib/util -> lib/util/sleep.ts', 'lib/util -> lib/ipvs.ts'])
  })

  test('no files import one another in a circle', () => {
    expect(circles(imports)).toEqual([])
  })

  test.each(Object.keys(TABLE))('the row of %s would fail', (row) => {
    const file = row.endsWith('.ts') ? row : `${row}/some.ts`
    const others = Object.keys(TABLE).filter((other) => {
      const { may } = TABLE[row] as Row
      return other !== row && !may.some((room) => other === room || other.startsWith(`${room}/`))
    })
    expect(others.length).toBeGreaterThan(3)
    for (const other of others) {
      const target = other.endsWith('.ts') ? other : `${other}/other.ts`
      expect(isAllowed({ file, target, typeOnly: true }), `${file} -> ${target}`).toBe(false)
    }
    expect(isAllowed({ file, target: 'some-package', typeOnly: false })).toBe(false)
  })

  test('a circle would fail', () => {
    const arrow = (file: string, target: string): Import => ({ file, target, typeOnly: true })
    expect(circles([arrow('lib/a.ts', 'lib/b.ts'), arrow('lib/b.ts', 'lib/c.ts')])).toEqual([])
    expect(
      circles([arrow('lib/a.ts', 'lib/b.ts'), arrow('lib/b.ts', 'lib/c.ts'), arrow('lib/c.ts', 'lib/a.ts')]),
    ).toEqual(['lib/a.ts <-> lib/b.ts <-> lib/c.ts'])
  })

  test('files are read and written by three files alone', () => {
    const users = from(/^lib\/(?!cli\/|transport\/)/).filter(({ target }) => target.startsWith('node:fs'))
    expect([...new Set(users.map(({ file }) => file))].sort()).toEqual([
      'lib/apply/reconcile.ts',
      'lib/util/read-file.ts',
      'lib/util/replace-file.ts',
    ])
  })

  test.each(['index.ts', 'testing.ts', 'text.ts'])('%s is named re-exports and nothing else', (door) => {
    const text = readFileSync(join(root, 'lib', door), 'utf8')
    const source = ts.createSourceFile(door, text, ts.ScriptTarget.ES2022, true)
    for (const statement of source.statements) {
      expect(ts.isExportDeclaration(statement)).toBe(true)
      const clause = (statement as ts.ExportDeclaration).exportClause
      expect(clause !== undefined && ts.isNamedExports(clause)).toBe(true)
    }
  })

  test('only what is erasable, and no default export', () => {
    for (const file of lib) {
      const text = readFileSync(join(root, file), 'utf8')
      expect(text, file).not.toMatch(/^export default/m)
      expect(text, file).not.toMatch(/^\s*(export )?(const )?enum /m)
      expect(text, file).not.toMatch(/^\s*(export )?(declare )?namespace /m)
    }
  })

  test('the .node file is named and loaded by load-addon.ts alone', () => {
    for (const file of lib) {
      const text = readFileSync(join(root, file), 'utf8')
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
      const names = /['"`][^'"`\n]*\.node['"`]|process\.dlopen/.test(code)
      expect(names, file).toBe(file === 'lib/transport/load-addon.ts')
    }
  })

  test('debug output goes through util.debuglog alone', () => {
    for (const file of lib) {
      if (file.startsWith('lib/cli/')) continue
      expect(readFileSync(join(root, file), 'utf8'), file).not.toMatch(/\bconsole\.|process\.std(out|err)/)
    }
  })
})

describe('native', () => {
  const includes = native.flatMap((file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/^\s*#\s*include\s+([<"])([^>"]+)[>"]/gm)].map(
      ([, quote, target]): Import => ({
        file,
        target: `${quote === '<' ? '' : './'}${target as string}`,
        typeOnly: false,
      }),
    ),
  )
  const JS = /^(\.\/)?(napi|node_api|js_native_api|node_api_types|uv|v8|node)(-inl)?\.h$/

  test('is there', () => {
    expect(native).toContain('native/addon.cc')
    expect(includes.length).toBeGreaterThan(40)
  })

  test('JavaScript is known to addon.cc alone', () => {
    expect(
      lines(includes.filter(({ file, target }) => JS.test(target) && file !== 'native/addon.cc')),
    ).toEqual([])
    expect(lines(includes.filter(({ file }) => file === 'native/addon.cc'))).toContain(
      'native/addon.cc -> napi.h',
    )
    expect(lines(includes.filter(({ target }) => target.endsWith('uv.h')))).toEqual([])
  })

  test('nobody includes addon.cc', () => {
    expect(lines(includes.filter(({ target }) => target.includes('addon')))).toEqual([])
  })

  test('addon.cc makes no system calls', () => {
    // What is left is the C++ library, whose headers have no suffix.
    const known = includes.filter(({ file }) => file === 'native/addon.cc').map(({ target }) => target)
    expect(
      known.filter((target) => target !== 'napi.h' && !target.startsWith('./') && target.includes('.')),
    ).toEqual([])
    expect(known.filter((target) => target.startsWith('./')).sort()).toEqual([
      './genl_socket.h',
      './header_constants.h',
      './host.h',
      './netns.h',
    ])
  })

  test('ip_vs is known to header_constants.cc alone', () => {
    expect(lines(includes.filter(({ target }) => target.includes('ip_vs')))).toEqual([
      'native/header_constants.cc -> linux/ip_vs.h',
    ])
    for (const file of native) {
      if (file === 'native/header_constants.cc') continue
      expect(readFileSync(join(root, file), 'utf8'), file).not.toMatch(
        /\bIPVS_(CMD|SVC|DEST|STATS|DAEMON|INFO)_|\bIP_VS_/,
      )
    }
  })

  test('the default event loop and mutable statics are not used', () => {
    for (const file of native) {
      const text = readFileSync(join(root, file), 'utf8')
      expect(text, file).not.toMatch(/uv_default_loop/)
      expect(text, file).not.toMatch(
        /^\s*static (?!const|constexpr|inline|bool|void|std::optional<\w+> From|Napi::Function|Result<)\w[\w:<>]* \w+( =|;)/m,
      )
    }
  })
})
