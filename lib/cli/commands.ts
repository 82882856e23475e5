import { readFileSync } from 'node:fs'

const HELP = `Usage: ipvs COMMAND [ARGUMENT...]

Commands:
  adm ARGUMENT...  what ipvsadm does with these arguments; "ipvs adm -h" has them all
  guest -- COMMAND [ARGUMENT...]
                   runs a command on a Linux kernel of its own that has ip_vs, for tests; "ipvs guest --help"

Options:
  -h, --help       this text
  -V, --version    the version of this package

A symbolic link to this program under the name ipvsadm, ipvsadm-save or ipvsadm-restore does what those programs do.
`

/** Our own commands. Gives the exit status. */
export function runCommand(args: readonly string[]): Promise<number> {
  const [command] = args
  switch (command) {
    case '-h':
    case '--help':
      process.stdout.write(HELP)
      return Promise.resolve(0)
    case '-V':
    case '--version':
      process.stdout.write(`${packageVersion()}\n`)
      return Promise.resolve(0)
    default:
      process.stderr.write(
        command === undefined ? HELP : `ipvs: there is no command '${command}'; "ipvs --help" lists them\n`,
      )
      return Promise.resolve(2)
  }
}

/** The package's folder lies two above this file, and above what this file is built to. */
function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}
