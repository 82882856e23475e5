import { basename } from 'node:path'

/**
 * The command `ipvs`, and by its other names ipvsadm. Everything is imported
 * when it is needed and no sooner: scripts start this a thousand times.
 */
async function main(file: string, args: readonly string[]): Promise<number> {
  const program = basename(file)
  if (program === 'ipvsadm' || program === 'ipvsadm-save' || program === 'ipvsadm-restore') {
    return (await import('./adm/process.ts')).runProgram(program, args)
  }
  const [command, ...rest] = args
  switch (command) {
    case 'adm':
      return (await import('./adm/process.ts')).runProgram('ipvs adm', rest)
    case 'guest':
      return (await import('./commands/guest.ts')).runGuest(rest)
    default:
      return (await import('./program.ts')).runCommand(args)
  }
}

// Not awaited: what is bundled for `require` knows no await out here. Whatever
// fails without having been foreseen ends the process as Node does it.
void main(process.argv[1] ?? '', process.argv.slice(2)).then((status) => {
  process.exitCode = status
})
