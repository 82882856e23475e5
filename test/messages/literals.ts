import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { ROOT } from '../docs/markdown.ts'

/** The texts of lib/ that people read. */

export interface Literal {
  /** 'lib/model/check.ts:39' */
  readonly place: string
  /** With `...` for what is filled in. */
  readonly text: string
  /** What every message has that it is part of. */
  readonly pattern: RegExp
}

/** Texts that are written as they are, in another house's words or layout: no test can read them better than a person. */
export const NO_MESSAGES: Readonly<Record<string, string>> = {
  'lib/cli/adm/help.ts': "the help of ipvsadm's options, which `ipvs adm -h` prints whole",
  'lib/cli/adm/listing.ts': "ipvsadm's tables, which are compared with those of the real program",
  'lib/cli/commands/completion.ts': 'scripts of shells, and lines that a shell reads',
  'lib/doctor/script.ts': 'lines of a shell',
  'lib/ipvsadm/lines.ts': 'lines of ipvsadm, as they are written',
  'lib/model/foreign-names.ts': 'names of other programs, which are looked up',
  'lib/memory/machine/proc.ts': "the kernel's own files below /proc",
  'lib/setup/firewall.ts': 'commands of a shell, which test/setup compares',
  'lib/setup/part.ts': 'the same',
  'lib/setup/script.ts': 'a script of the shell, which the guest runs',
  'lib/setup/steps.ts': 'commands of a shell, which test/setup compares',
  'lib/setup/tunnel-steps.ts': 'the same',
  'lib/text/format-document.ts': 'pieces of JSON and YAML',
}

/** Whether a text is prose: two words at least, options of ipvsadm apart. */
function isProse(text: string): boolean {
  return /[a-z]{2}[^a-z]* | [a-z]{2}/i.test(text.replaceAll(/(?<= |^)--?[a-z-]+/g, '').trim())
}

/** Whether somebody reads it: not what NODE_DEBUG shows. */
function isRead(node: ts.Node): boolean {
  const { parent } = node
  if (!ts.isCallExpression(parent)) return true
  return !['debug', 'RegExp'].includes(parent.expression.getText())
}

function partsOf(node: ts.Node): readonly string[] | undefined {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return [node.text]
  if (!ts.isTemplateExpression(node)) return undefined
  return [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)]
}

export function literalsOf(name: string, code: string): Literal[] {
  const source = ts.createSourceFile(name, code, ts.ScriptTarget.Latest, true)
  const found: Literal[] = []
  const values = new Set<string>()
  const noteValues = (node: ts.Node): void => {
    if (ts.isLiteralTypeNode(node) && ts.isStringLiteral(node.literal)) values.add(node.literal.text)
    ts.forEachChild(node, noteValues)
  }
  noteValues(source)
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node) || ts.isTypeNode(node)) return
    const parts = partsOf(node)
    const text = parts?.join('...') ?? ''
    if (parts !== undefined && isProse(text) && isRead(node) && !values.has(text)) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart())
      found.push({
        place: `${name}:${String(line + 1)}`,
        text,
        // The command says more behind some sentences, and leaves out their full stop.
        pattern: new RegExp(
          parts
            .map((part) => escaped(blanks(part)))
            .join('.*?')
            .replace(/^(\.\*\?)+/, '')
            .replace(/\\\.$/, ''),
        ),
      })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** The same text where lines are broken anywhere. */
export function blanks(text: string): string {
  return text.replaceAll(/\s+/g, ' ')
}

export function allLiterals(): Literal[] {
  const files = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => `lib/${file}`)
    .sort()
  return files
    .filter((file) => !(file in NO_MESSAGES))
    .flatMap((file) => literalsOf(file, readFileSync(join(ROOT, file), 'utf8')))
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}
