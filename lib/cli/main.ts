import { basename } from 'node:path'
import { splitEarlyOptions } from './early-options.ts'

/**
 * The command `ipvs`, and by its other names ipvsadm. Everything is imported
 * only when it is needed: scripts start this a thousand times.
 */
async function main(file: string, args: readonly string[]): Promise<number> {
  const program = basename(file)
  if (program === 'ipvsadm' || program === 'ipvsadm-save' || program === 'ipvsadm-restore') {
    return (await import('./adm/process.ts')).runProgram(program, args)
  }
  const { early, rest: words } = splitEarlyOptions(args)
  const [command, ...rest] = helpAsOption(words)
  switch (command) {
    case 'adm':
      return (await import('./adm/process.ts')).runProgram('ipvs adm', rest, early)
    case 'guest':
      if (early.length > 0) break
      return (await import('./commands/guest.ts')).runGuest(rest)
  }
  return (await import('./program.ts')).runCommand(args)
}

/** `help adm` and `help guest` as the command's own --help: these two are not in the program that knows the others. */
function helpAsOption(args: readonly string[]): readonly string[] {
  const [first, command] = args
  return first === 'help' && (command === 'adm' || command === 'guest') ? [command, '--help'] : args
}

/** Reports what nobody has foreseen as Node would, but for characters that would change the terminal. */
async function crash(error: unknown): Promise<void> {
  const { printable } = await import('../index.ts')
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error)
  process.stderr.write(`${printable(text, '\n')}\n`)
  process.exitCode = 1
}

// Not awaited: a file that is bundled for `require` cannot await here.
void main(process.argv[1] ?? '', process.argv.slice(2)).then((status) => {
  process.exitCode = status
}, crash)
