import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import type { CommandDefinition } from './command.ts'
import { add } from './commands/add.ts'
import { apply } from './commands/apply.ts'
import { check } from './commands/check.ts'
import { COMPLETE, complete, completion } from './commands/completion.ts'
import { diff } from './commands/diff.ts'
import { doctor } from './commands/doctor.ts'
import { drain } from './commands/drain.ts'
import { flush } from './commands/flush.ts'
import { history } from './commands/history.ts'
import { info } from './commands/info.ts'
import { list } from './commands/list.ts'
import { plan } from './commands/plan.ts'
import { reconcile } from './commands/reconcile.ts'
import { remove } from './commands/remove.ts'
import { restore } from './commands/restore.ts'
import { save } from './commands/save.ts'
import { set } from './commands/set.ts'
import { setup } from './commands/setup.ts'
import { show } from './commands/show.ts'
import { undo } from './commands/undo.ts'
import { weight } from './commands/weight.ts'
import { zero } from './commands/zero.ts'
import { documentation } from './documentation.ts'
import { withEarlyOptions } from './early-options.ts'
import { type Report, reportOf, STATUS, STATUS_HELP } from './exit-status.ts'
import { fieldOfOption } from './fields.ts'
import { filled } from './options.ts'
import { type CommonOptions, complain, Run } from './run.ts'
import { nameOfOption, NO_SERVER } from './targets.ts'
import { withTable } from './table.ts'
import { line } from './terminal/line.ts'
import { Printer } from './terminal/printer.ts'
import { styled } from './terminal/style.ts'
import { processSurroundings, type Surroundings } from './terminal/surroundings.ts'

/** In the order of the help. */
export const COMMANDS: readonly CommandDefinition[] = [
  list,
  show,
  info,
  add,
  set,
  weight,
  remove,
  zero,
  flush,
  save,
  restore,
  check,
  plan,
  apply,
  reconcile,
  diff,
  drain,
  history,
  undo,
  doctor,
  setup,
  completion,
]

/** Runs one of our own commands. Gives the exit status. */
export async function runCommand(
  words: readonly string[],
  surroundings: Surroundings = processSurroundings(),
): Promise<number> {
  const args = withEarlyOptions(words)
  const { stdout, stderr, env } = surroundings
  const err = new Printer(stderr, env)
  let failure: NodeJS.ErrnoException | undefined
  stdout.on('error', (error) => {
    failure ??= error
  })
  // An error of standard error can be told to nobody.
  stderr.on('error', () => undefined)

  let status: number = STATUS.done
  const end = (ended: number): void => {
    status = ended
  }
  const program = createProgram(surroundings, end, args)
  try {
    if (args[0] === COMPLETE)
      await printCandidates(program, args.slice(args[1] === '--' ? 2 : 1), surroundings)
    else await program.parseAsync(unknownCommand(program, args) ?? args, { from: 'user' })
  } catch (error) {
    const report = error instanceof CommanderError ? reportOfUsage(error, args) : reportOf(error)
    if (report.message !== '') complain(report, words.includes('--json'), err)
    status = report.status
  }
  // The last of what was written may still fail.
  await new Promise<void>((resolve) => {
    stdout.write('', () => {
      resolve()
    })
  })
  if (failure === undefined) return status
  if (failure.code === 'EPIPE') return STATUS.brokenPipe
  err.line(line`ipvs: cannot write the output: ${failure.message}`)
  return STATUS.file
}

/** The words that a line of ipvsadm begins with, but for those that ipvs itself knows: -h and --version. */
const IPVSADM_COMMAND =
  /^(-[ACDELRSZadel]|-v$|--(add|edit|delete)-(service|server)|--(clear|list|restore|save|set|zero|start-daemon|stop-daemon)\b)/

function reportOfUsage(error: CommanderError, args: readonly string[]): Report {
  // Help and version end this way too.
  if (error.exitCode === 0) return { status: STATUS.done, message: '' }
  if (error.code === 'commander.help') return { status: STATUS.usage, message: '' }
  const [command = '', ...more] = args
  const early = command.startsWith('-')
  if (IPVSADM_COMMAND.test(command)) {
    const line = `ipvs adm ${command}${more.length > 0 ? ' ...' : ''}`
    const message = `'${command}' is a command of ipvsadm: use "${line}"; for ipvs's own commands see "ipvs --help"`
    return { status: STATUS.usage, message }
  }
  const help = error.code === 'commander.unknownCommand' || early ? 'ipvs' : `ipvs ${command}`
  // With --everywhere the first argument of a verb is not the service that commander knows it by.
  const lacksServer = error.code === 'commander.missingArgument' && args.includes('--everywhere')
  const what = (lacksServer ? NO_SERVER : error.message)
    .replace(/^error: /, '')
    // Commander puts its suggestion on a line of its own.
    .replace(/\n(?=\(Did you mean )/, ' ')
    .replace(/\.$/, '')
  const where = early
    ? '; options go after the command, and only --netns, --memory and --json before it as well'
    : optionHint(error, command)
  return { status: STATUS.usage, message: `${what}${where}; see "${help} --help"` }
}

/** What an option of ipvsadm is where services are written `tcp/192.0.2.10:80`, and fields `weight=5`. */
function optionHint({ code, message }: CommanderError, command: string): string {
  if (code !== 'commander.unknownOption') return ''
  const [, option = ''] = /'(-[^']*)'/.exec(message) ?? []
  const name = WITH_SERVICES.includes(command) ? nameOfOption(option) : undefined
  if (name !== undefined) return `; ${name}`
  const field = WITH_FIELDS.includes(command) ? fieldOfOption(option) : undefined
  return field === undefined ? '' : `; a field is written ${field}`
}

const WITH_SERVICES: readonly string[] = [add, set, weight, remove, zero, show, drain].map(({ name }) => name)
const WITH_FIELDS: readonly string[] = [add.name, set.name]

/** Arguments that ask for the help of a command that does not exist: commander would print its general help, with status 0. */
function unknownCommand(program: Command, args: readonly string[]): readonly [string] | undefined {
  const [first, second] = args
  const name = first === 'help' ? second : first
  if (name === undefined || name === 'help' || name.startsWith('-')) return undefined
  return program.commands.some((command) => command.name() === name) ? undefined : [name]
}

async function printCandidates(
  program: Command,
  words: readonly string[],
  surroundings: Surroundings,
): Promise<void> {
  const candidates = await complete(program, words, (options, body) => withTable(options, surroundings, body))
  new Printer(surroundings.stdout, surroundings.env).fields(
    candidates.map(([word, description]) => (description === undefined ? [word] : [word, description])),
  )
}

/** The command line, as commander knows it: what help, completion and the man page are made from. */
export function createProgram(
  surroundings: Surroundings = processSurroundings(),
  end: (status: number) => void = () => undefined,
  args: readonly string[] = [],
): Command {
  const [out, err] = [surroundings.stdout, surroundings.stderr].map(
    (output) => new Printer(output, surroundings.env),
  ) as [Printer, Printer]
  const program = new Command('ipvs')
    .description("Runs the kernel's load balancer, IPVS.")
    .usage('<command> [argument...]')
    .version(packageVersion(), '-V, --version', 'print the version of this package')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        out.formatted(text)
      },
      writeErr: (text) => {
        err.formatted(text)
      },
      // Errors are reported by runCommand().
      outputError: () => undefined,
      getOutHelpWidth: () => out.width,
      getErrHelpWidth: () => err.width,
      getOutHasColors: () => out.color,
      getErrHasColors: () => err.color,
    })
    .configureHelp({
      // Commander takes the codes out again where there are no colours.
      styleTitle: (text) => styled('bold', text),
      styleCommandText: (text) => styled('bold', text),
      subcommandTerm: (command) =>
        `${command.name()} ${command.usage().replace(/^\[options\] ?/, '')}`.trimEnd(),
    })
    .addHelpText('after', `\n${STATUS_HELP}\n\n${ENVIRONMENT_HELP}\n\n${PROGRAM_HELP}\n\n${documentation()}`)
  for (const definition of COMMANDS)
    addCommand(program, definition, (given) => new Run(surroundings, given, args), end)

  // These two never come here: main.ts tells them apart before any of this is loaded.
  for (const [name, description] of [
    ['adm', 'Do what ipvsadm does with these arguments; see "ipvs adm -h".'],
    [
      'guest',
      'Run a command on a Linux kernel of its own that has IPVS, for tests; see "ipvs guest --help".',
    ],
  ] as const) {
    program.command(name).argument('[arguments...]').description(description)
  }
  return program
}

function addCommand(
  program: Command,
  definition: CommandDefinition,
  start: (given: CommonOptions) => Run,
  end: (status: number) => void,
): void {
  const { name, description, examples, table = true } = definition
  const command = program.command(name).description(description).helpOption('-h, --help', 'print this help')
  if (table) {
    command
      .option('--json', 'print JSON for programs, errors too')
      .option('--netns <netns>', 'use the table of a network namespace: a name under /run/netns, or a path')
      .addOption(
        new Option(
          '--memory <file>',
          'use the table in a file, on an in-memory kernel: no real one is touched; the environment variable IPVS_MEMORY does the same',
        ).conflicts('netns'),
      )
  }
  const { options, registeredArguments } = definition
    .define(command)
    // Behind what it adds itself: the documentation is the end of each help.
    .addHelpText(
      'after',
      `\nExamples:\n${examples.map((example) => `  $ ${example}\n`).join('')}\n${documentation()}`,
    )
  // A variable of a script that is not set.
  for (const one of options) if (one.required && one.parseArg === undefined) one.argParser(filled)
  for (const one of registeredArguments) if (one.parseArg === undefined) one.argParser(filled)
  command.action(async (...all: readonly unknown[]) => {
    // Arguments, then options, then the command.
    const words = all.slice(0, registeredArguments.length).flat() as (string | undefined)[]
    const given = all[registeredArguments.length] as CommonOptions
    end(await definition.act(start(given), given, ...words))
  })
}

/** The table in `ipvs --help`. */
export const ENVIRONMENT_HELP = `Environment:
  IPVS_MEMORY      a file: use the table in it on an in-memory kernel, as --memory
                   does
  IPVS_HISTORY     off: keep nothing for ipvs undo, as --no-history does
  STATE_DIRECTORY  a folder: keep the history in the folder history in it; systemd
                   sets this for a service
  XDG_STATE_HOME   a folder: users other than root keep the history in ipvs/history
                   in it (default: ~/.local/state)
  IPVS_ADDON       a file: load it as the addon, in place of the package's own
  NO_COLOR         1 turns colours off; they are for terminals only
  FORCE_COLOR      1 turns colours on, in a pipe too`

const PROGRAM_HELP = `--netns, --memory and --json may come before the command too, as in
  alias ipvs='ipvs --netns blue'

Each command has examples in its help: ipvs apply --help
Called by the name ipvsadm, ipvsadm-save or ipvsadm-restore, through a symbolic
link, this program does what the program of that name does.`

/** The package's folder is two folders above this file, and above the file that it is built to. */
function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}
