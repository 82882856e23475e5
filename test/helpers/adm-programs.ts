import { Readable } from 'node:stream'
import { ipvsadm, ipvsadmRestore, ipvsadmSave, type Surroundings } from '../../lib/cli/adm/program.ts'
import { Ipvs } from '../../lib/index.ts'
import type { Netns } from './kernel.ts'
import type { CommandResult } from './shell.ts'

/** Runs ours, in this process. The input comes in pieces. */
export async function runOurs(
  netns: Netns,
  words: readonly string[],
  stdin = '',
  { program = 'ipvsadm', piece = 65536, posix = false } = {},
): Promise<CommandResult> {
  let stdout = ''
  let stderr = ''
  const bytes = Buffer.from(stdin)
  const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, index) =>
    bytes.subarray(index * piece, (index + 1) * piece),
  )
  const surroundings: Surroundings = {
    program,
    posix,
    input: () => Readable.from(pieces),
    out: (text) => {
      stdout += text
    },
    err: (text) => {
      stderr += text
    },
    open: () => Ipvs.open({ netns: netns.name }),
  }
  const status =
    program === 'ipvsadm-save'
      ? await ipvsadmSave(words, surroundings)
      : program === 'ipvsadm-restore'
        ? await ipvsadmRestore(surroundings)
        : await ipvsadm(words, surroundings)
  return { status, stdout, stderr }
}

/** Words of a line: blanks part them, single quotes hold them together. */
export function wordsOf(line: string): string[] {
  const words: string[] = []
  for (const [part] of line.matchAll(/(?:'[^']*'|[^ '])+/g)) words.push(part.replaceAll("'", ''))
  return words
}
