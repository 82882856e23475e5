import { join, relative } from 'node:path'
import ts from 'typescript'
import { buildLibrary } from '../helpers/built-library.ts'

/** The library's types as users see them: the declarations of a build, and what the doors export. */

export const DIST = join(buildLibrary().folder, 'dist')
export const DOORS = ['index', 'testing', 'text'].map((name) => join(DIST, `${name}.d.ts`))

export const program = ts.createProgram(DOORS, {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  // As the strictest users have it: an optional property that takes `undefined` says so.
  strict: true,
  exactOptionalPropertyTypes: true,
  types: [],
})
export const checker = program.getTypeChecker()

/** What the doors export, each once. */
export function publicSymbols(): ts.Symbol[] {
  const all = DOORS.flatMap((door) => {
    const source = program.getSourceFile(door) as ts.SourceFile
    return checker.getExportsOfModule(checker.getSymbolAtLocation(source) as ts.Symbol)
  })
  return [...new Set(all.map(targetOf))]
}

/** What a re-export stands for. */
export function targetOf(symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}

/** Whether something is declared by the library, and not by TypeScript or Node. */
export function isOurs(symbol: ts.Symbol): boolean {
  return (symbol.declarations ?? []).some((one) => one.getSourceFile().fileName.startsWith(DIST))
}

/** The file of a declaration below dist/. */
export function fileOf(declaration: ts.Declaration): string {
  return relative(DIST, declaration.getSourceFile().fileName)
}

/** An object that a user passes in: a property of it that may be left out. */
export interface OptionalInput {
  /** The interface or alias that declares it, such as 'RealServerSettings'. */
  readonly owner: string
  readonly name: string
  /** Whether its type has `undefined`. */
  readonly takesUndefined: boolean
}

/** A parameter of a public function or method, or a property of an object that is passed to one. */
interface InputPosition {
  /** Such as `Ipvs.realServer(service)` or `Scope.services`. */
  readonly where: string
  readonly type: ts.Type
}

/** Everything that users pass in: parameters, what is in them, and what their callbacks return. */
export function inputs(): { readonly optional: OptionalInput[]; readonly positions: InputPosition[] } {
  const optional = new Map<string, OptionalInput>()
  const positions: InputPosition[] = []
  const seenInputs = new Set<ts.Type>()
  const seenOutputs = new Set<ts.Type>()

  const typeOf = (symbol: ts.Symbol): ts.Type => {
    const [declaration] = symbol.declarations ?? []
    return declaration === undefined
      ? checker.getTypeOfSymbol(symbol)
      : checker.getTypeOfSymbolAtLocation(symbol, declaration)
  }

  const goIn = (type: ts.Type, where: string): void => {
    positions.push({ where, type })
    if (seenInputs.has(type)) return
    seenInputs.add(type)
    if (type.isUnionOrIntersection()) {
      for (const one of type.types) goIn(one, where)
      if (type.isUnion()) return
    }
    if ((type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) === 0) {
      const constraint =
        type.flags & ts.TypeFlags.TypeParameter ? checker.getBaseConstraintOfType(type) : undefined
      if (constraint !== undefined) goIn(constraint, where)
      return
    }
    if (checker.isArrayType(type) || checker.isTupleType(type)) {
      for (const one of checker.getTypeArguments(type as ts.TypeReference)) goIn(one, `${where}[]`)
      return
    }
    if ((type.symbol as ts.Symbol | undefined)?.name === 'Promise') {
      for (const one of checker.getTypeArguments(type as ts.TypeReference)) goIn(one, where)
      return
    }
    // What the library made is as it made it.
    if (type.isClass() || ((type.symbol as ts.Symbol | undefined)?.flags ?? 0) & ts.SymbolFlags.Class) return
    for (const signature of type.getCallSignatures()) {
      goIn(signature.getReturnType(), `${where}()`)
      for (const parameter of signature.getParameters()) goOut(typeOf(parameter))
    }
    const index = checker.getIndexInfoOfType(type, ts.IndexKind.String)
    if (index !== undefined) goIn(index.type, `${where}.*`)
    for (const property of type.getProperties()) {
      if (!isOurs(property)) continue
      const [declaration] = property.declarations ?? []
      const owner = ownerOf(declaration) ?? where
      const value = typeOf(property)
      if (property.flags & ts.SymbolFlags.Optional) {
        const parts = value.isUnion() ? value.types : [value]
        optional.set(`${owner}.${property.name}`, {
          owner,
          name: property.name,
          takesUndefined: declares(declaration, parts),
        })
      }
      goIn(value, `${owner}.${property.name}`)
    }
  }

  const goOut = (type: ts.Type): void => {
    if (seenOutputs.has(type)) return
    seenOutputs.add(type)
    if (type.isUnionOrIntersection()) for (const one of type.types) goOut(one)
    if ((type.flags & ts.TypeFlags.Object) === 0) return
    if (checker.isArrayType(type) || checker.isTupleType(type)) {
      for (const one of checker.getTypeArguments(type as ts.TypeReference)) goOut(one)
      return
    }
    for (const one of checker.getTypeArguments(type as ts.TypeReference)) goOut(one)
    for (const signature of type.getCallSignatures()) call(signature, type.symbol.name)
    for (const property of type.getProperties()) if (isOurs(property)) member(property, type.symbol.name)
  }

  const call = (signature: ts.Signature, where: string): void => {
    for (const parameter of signature.getParameters()) goIn(typeOf(parameter), `${where}(${parameter.name})`)
    goOut(signature.getReturnType())
  }

  const member = (property: ts.Symbol, owner: string): void => {
    const type = typeOf(property)
    const signatures = type.getCallSignatures()
    for (const signature of signatures) call(signature, `${owner}.${property.name}`)
    if (signatures.length === 0) goOut(type)
    if (property.flags & ts.SymbolFlags.SetAccessor) goIn(type, `${owner}.${property.name}`)
  }

  for (const symbol of publicSymbols()) {
    if ((symbol.flags & ts.SymbolFlags.Value) === 0) continue
    const type = checker.getTypeOfSymbolAtLocation(symbol, symbol.valueDeclaration as ts.Declaration)
    for (const signature of type.getCallSignatures()) call(signature, symbol.name)
    if ((symbol.flags & ts.SymbolFlags.Class) === 0) continue
    for (const signature of type.getConstructSignatures()) {
      const hidden = signature.getJsDocTags().some(({ name }) => name === 'hidden')
      const { declaration } = signature
      const modifiers = declaration === undefined ? 0 : ts.getCombinedModifierFlags(declaration)
      if (!hidden && (modifiers & ts.ModifierFlags.Private) === 0) call(signature, `new ${symbol.name}`)
    }
    for (const property of type.getProperties()) if (isOurs(property)) member(property, symbol.name)
    for (const property of checker.getDeclaredTypeOfSymbol(symbol).getProperties()) {
      if (isOurs(property)) member(property, symbol.name)
    }
  }
  return { optional: [...optional.values()], positions }
}

/** The interface or the alias in which a property is written. */
function ownerOf(declaration: ts.Declaration | undefined): string | undefined {
  for (let node: ts.Node | undefined = declaration; node !== undefined; node = node.parent) {
    if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return node.name.text
  }
  return undefined
}

/** The checker adds `undefined` to every optional property, so what counts is what is written. */
function declares(declaration: ts.Declaration | undefined, parts: readonly ts.Type[]): boolean {
  if (declaration !== undefined && ts.isPropertySignature(declaration) && declaration.type !== undefined) {
    const written = checker.getTypeFromTypeNode(declaration.type)
    const all = written.isUnion() ? written.types : [written]
    return all.some((one) => (one.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Unknown)) !== 0)
  }
  return parts.some((one) => (one.flags & ts.TypeFlags.Undefined) !== 0)
}
