import { Readable } from 'node:stream'
import { runNamed, type ProgramSurroundings } from '../../lib/cli/adm/program.ts'
import { type NameSources, systemNames } from '../../lib/cli/names.ts'
import { Ipvs, type Transport } from '../../lib/index.ts'
import type { CommandResult } from './shell.ts'

interface RunOptions {
  readonly program?: string
  /** Bytes of the input that come at a time. */
  readonly piece?: number
  readonly posix?: boolean
  /** Default: those of the system. */
  readonly names?: NameSources
}

/** Runs ours, in this process, in a network namespace or on the in-memory kernel. The input comes in pieces. */
export async function runOurs(
  where: { readonly name: string } | Transport,
  words: readonly string[],
  stdin = '',
  { program = 'ipvsadm', piece = 65536, posix = false, names = systemNames }: RunOptions = {},
): Promise<CommandResult> {
  let stdout = ''
  let stderr = ''
  const bytes = Buffer.from(stdin)
  const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, index) =>
    bytes.subarray(index * piece, (index + 1) * piece),
  )
  const surroundings: ProgramSurroundings = {
    program,
    posix,
    input: () => Readable.from(pieces),
    out: (text) => {
      stdout += text
    },
    err: (text) => {
      stderr += text
    },
    open: () => Ipvs.open('name' in where ? { netns: where.name } : { transport: where }),
    names,
  }
  const status = await runNamed(words, surroundings)
  return { status, stdout, stderr }
}

/** Words of a line: blanks part them, single quotes hold them together. */
export function wordsOf(line: string): string[] {
  const words: string[] = []
  for (const [part] of line.matchAll(/(?:'[^']*'|[^ '])+/g)) words.push(part.replaceAll("'", ''))
  return words
}
