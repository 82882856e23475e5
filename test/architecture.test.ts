import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
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
const native = filesUnder('native', /\.(cc|h)$/).filter((file) => !file.startsWith('native/test/'))

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
const targets = (list: readonly Import[]): string[] => [...new Set(list.map(({ target }) => target))].sort()
/** What breaks a rule, as a reader wants to see it. */
const lines = (list: readonly Import[]): string[] => list.map(({ file, target }) => `${file} -> ${target}`)

const CODEC = /^lib\/codec\//
const TRANSPORT = /^lib\/transport\//
const MEMORY = /^lib\/memory\//
/** Text of addresses: the one part of the codec that says nothing of messages. */
const ADDRESS = 'lib/codec/address.ts'
const DATA = /^lib\/(types|errors|validate)\.ts$/

describe('lib', () => {
  test('has the rooms that these rules are about', () => {
    for (const file of [
      'lib/index.ts',
      'lib/ipvs.ts',
      'lib/kernel.ts',
      'lib/codec/attributes.ts',
      'lib/transport/native.ts',
    ]) {
      expect(lib).toContain(file)
    }
    expect(imports.length).toBeGreaterThan(50)
  })

  test('codec knows bytes, types and the numbers of ip_vs.h, nothing else', () => {
    const broken = from(CODEC).filter(({ target }) => !target.startsWith('lib/codec/') && !DATA.test(target))
    expect(lines(broken)).toEqual([])
  })

  test('types, errors and validate know each other', () => {
    expect(lines(from(DATA).filter(({ target }) => !DATA.test(target)))).toEqual([])
  })

  test('transport knows no IPVS', () => {
    const broken = from(TRANSPORT).filter(
      ({ target }) =>
        !target.startsWith('lib/transport/') &&
        !DATA.test(target) &&
        target !== 'lib/signals.ts' &&
        !target.startsWith('node:') &&
        target !== 'node-gyp-build',
    )
    expect(lines(broken)).toEqual([])
    expect(targets(from(/^lib\/transport\/transport\.ts$/))).toEqual([])
    expect(targets(from(/^lib\/transport\/queue\.ts$/))).toEqual([
      'lib/signals.ts',
      'lib/transport/transport.ts',
    ])
  })

  test('the in-memory kernel knows the codec, data, and of transports only their types', () => {
    const known = from(MEMORY)
    expect(known.length).toBeGreaterThan(20)
    const broken = known.filter(
      ({ target, typeOnly }) =>
        !target.startsWith('lib/memory/') &&
        !target.startsWith('lib/codec/') &&
        !DATA.test(target) &&
        !(target === 'lib/transport/transport.ts' && typeOnly),
    )
    expect(lines(broken)).toEqual([])
    expect(
      lines(
        imports.filter(
          ({ file, target }) => target.startsWith('lib/memory/') && !file.startsWith('lib/memory/'),
        ),
      ),
    ).toEqual(targets(from(/^lib\/testing\.ts$/)).map((target) => `lib/testing.ts -> ${target}`))
  })

  test('kernel.ts is the one file that holds both the codec and a transport', () => {
    const rooms = new Map<string, Set<string>>()
    for (const { file, target } of imports) {
      const room = target.startsWith('lib/codec/')
        ? 'codec'
        : target.startsWith('lib/transport/')
          ? 'transport'
          : undefined
      if (room === undefined || file.startsWith('lib/codec/') || file.startsWith('lib/transport/')) continue
      // The in-memory kernel is the other end of the conversation.
      if (file.startsWith('lib/memory/')) continue
      rooms.set(file, (rooms.get(file) ?? new Set<string>()).add(room))
    }
    const both = [...rooms].filter(([, known]) => known.size === 2).map(([file]) => file)
    expect(both).toEqual(['lib/kernel.ts'])
  })

  test('kernel.ts knows of transports only their types', () => {
    const known = from(/^lib\/kernel\.ts$/).filter(({ target }) => target.startsWith('lib/transport/'))
    expect(known.map(({ target, typeOnly }) => [target, typeOnly])).toEqual([
      ['lib/transport/transport.ts', true],
    ])
  })

  test('kernel.ts reads tables and writes steps, and knows nothing of those who compare them', () => {
    const known = from(/^lib\/kernel\.ts$/)
    expect(lines(known.filter(({ target }) => target.startsWith('lib/apply/')))).toEqual([])
    expect(targets(from(/^lib\/(table|steps)\.ts$/))).toEqual([
      'lib/errors.ts',
      'lib/specs.ts',
      'lib/types.ts',
    ])
  })

  test('ipvs.ts knows no bytes', () => {
    const known = from(/^lib\/ipvs\.ts$/)
    expect(lines(known.filter(({ target }) => target.startsWith('lib/codec/')))).toEqual([])
    expect(targets(known.filter(({ target }) => target.startsWith('lib/transport/')))).toEqual([
      'lib/transport/native.ts',
      'lib/transport/queue.ts',
      'lib/transport/transport.ts',
    ])
    expect(
      known.filter(({ target }) => target.endsWith('/transport.ts')).every(({ typeOnly }) => typeOnly),
    ).toBe(true)
  })

  test('edits.ts knows of transports only their types, and no bytes', () => {
    expect(from(/^lib\/edits\.ts$/).map(({ target, typeOnly }) => [target, typeOnly])).toEqual([
      ['lib/errors.ts', false],
      ['lib/pace.ts', false],
      ['lib/transport/transport.ts', true],
    ])
  })

  test('refusals.ts makes errors of failures, and asks the kernel nothing', () => {
    const loaded = from(/^lib\/refusals\.ts$/).filter(({ typeOnly }) => !typeOnly)
    expect(targets(loaded)).toEqual(['lib/errors.ts'])
  })

  test('probe.ts knows of the codec only its numbers', () => {
    expect(targets(from(/^lib\/probe\.ts$/).filter(({ target }) => target.startsWith('lib/codec/')))).toEqual(
      ['lib/codec/constants.ts'],
    )
  })

  test('only kernel.ts, probe.ts and the in-memory kernel know the codec at all', () => {
    const known = imports.filter(
      ({ file, target }) => target.startsWith('lib/codec/') && !file.startsWith('lib/codec/'),
    )
    const allowed = /^lib\/(kernel|probe)\.ts$|^lib\/memory\//
    const broken = known.filter(({ file, target }) => !allowed.test(file) && target !== ADDRESS)
    expect(lines(broken)).toEqual([])
  })

  test('service.ts and drain.ts reach the kernel through Ipvs alone', () => {
    for (const file of [/^lib\/service\.ts$/, /^lib\/drain\.ts$/]) {
      const ways = from(file).filter(
        ({ target, typeOnly }) =>
          !typeOnly && (target.startsWith('lib/transport/') || target.startsWith('lib/codec/')),
      )
      expect(lines(ways)).toEqual([])
    }
  })

  test('text and apply know no kernel and no Node', () => {
    const broken = from(/^lib\/(text|apply)\//).filter(
      ({ target, typeOnly }) =>
        (target.startsWith('lib/codec/') && target !== ADDRESS) ||
        (target.startsWith('lib/transport/') && !typeOnly) ||
        target.startsWith('node:') ||
        (target === 'lib/ipvs.ts' && !typeOnly),
    )
    expect(lines(broken)).toEqual([])
  })

  test('proc reads files, and knows types', () => {
    const broken = from(/^lib\/proc\//).filter(
      ({ target }) => target !== ADDRESS && /^lib\/(codec|transport|text|apply|cli)\//.test(target),
    )
    expect(lines(broken)).toEqual([])
  })

  test('cli imports index.ts and testing.ts alone', () => {
    const broken = from(/^lib\/cli\//).filter(
      ({ target }) => target.startsWith('lib/') && !/^lib\/((index|testing)\.ts|cli\/)/.test(target),
    )
    expect(lines(broken)).toEqual([])
  })

  test('cli is a customer like any other, but that ipvsadm/ has Ipvs.unit()', () => {
    const calls = filesUnder('lib/cli', /\.ts$/).flatMap((file) =>
      [
        ...readFileSync(join(root, file), 'utf8').matchAll(/\.(unit|lasting|onClose|reportedAttributes)\(/g),
      ].map(([, name]) => `${dirname(file)} -> ${name as string}`),
    )
    expect([...new Set(calls)]).toEqual(['lib/cli/ipvsadm -> unit'])
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

  test('the .node file is named by native.ts alone, through node-gyp-build', () => {
    for (const file of lib) {
      const text = readFileSync(join(root, file), 'utf8')
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
      expect(/['"`][^'"`\n]*\.node['"`]|process\.dlopen/.test(code), file).toBe(false)
      expect(code.includes('node-gyp-build'), file).toBe(file === 'lib/transport/native.ts')
    }
  })

  test('debug output goes through util.debuglog alone', () => {
    for (const file of lib) {
      if (file.startsWith('lib/cli/')) continue
      expect(readFileSync(join(root, file), 'utf8'), file).not.toMatch(/\bconsole\.|process\.std(out|err)/)
    }
  })

  test('node modules are few, and in few files', () => {
    const known = imports.filter(({ target }) => target.startsWith('node:'))
    const allowed: Readonly<Record<string, RegExp>> = {
      'node:module': /^lib\/transport\/native\.ts$/,
      'node:path': /^lib\/(transport\/native|files|reconcile)\.ts$/,
      'node:url': /^lib\/transport\/native\.ts$/,
      'node:util': /^lib\/transport\/native\.ts$/,
      'node:crypto': /^lib\/files\.ts$/,
      'node:fs': /^lib\/(files|reconcile)\.ts$/,
      'node:fs/promises': /^lib\/files\.ts$/,
    }
    const rooms = /^lib\/(proc|cli|testing)\//
    expect(
      lines(known.filter(({ file, target }) => !rooms.test(file) && !(allowed[target]?.test(file) ?? false))),
    ).toEqual([])
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
