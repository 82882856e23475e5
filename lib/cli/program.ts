import { readFileSync } from 'node:fs'
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { STEP_KINDS } from '../index.ts'
import * as changes from './commands/apply.ts'
import { COMPLETE, complete, completionScript, type Shell, SHELLS } from './commands/completion.ts'
import { drain, type DrainCommandOptions } from './commands/drain.ts'
import { type Report, reportOf, STATUS, STATUS_HELP } from './exit-status.ts'
import { info } from './commands/info.ts'
import { list, type ListOptions, show } from './commands/list.ts'
import { withTable } from './table.ts'
import { type CommonOptions, complain, Session } from './run.ts'
import { hasColor, type Output, processSurroundings, type Surroundings } from './terminal/surroundings.ts'

/** Our own commands. Gives the exit status. */
export async function runCommand(
  args: readonly string[],
  surroundings: Surroundings = processSurroundings(),
): Promise<number> {
  const { stdout, stderr } = surroundings
  let failure: NodeJS.ErrnoException | undefined
  stdout.on('error', (error) => {
    failure ??= error
  })
  // Where even this cannot be said there is nobody to say it to.
  stderr.on('error', () => undefined)

  let status: number = STATUS.done
  const program = createProgram(surroundings, (ended) => {
    status = ended
  })
  try {
    if (args[0] === COMPLETE)
      await printCandidates(program, args.slice(args[1] === '--' ? 2 : 1), surroundings)
    else await program.parseAsync(unknownCommand(program, args) ?? args, { from: 'user' })
  } catch (error) {
    status = report(error, args, surroundings)
  }
  // The last of what was written may still fail.
  await new Promise<void>((resolve) => {
    stdout.write('', () => {
      resolve()
    })
  })
  if (failure === undefined) return status
  if (failure.code === 'EPIPE') return STATUS.brokenPipe
  stderr.write(`ipvs: cannot write the output: ${failure.message}\n`)
  return STATUS.file
}

/** Says what went wrong. Gives the exit status. */
function report(error: unknown, args: readonly string[], surroundings: Surroundings): number {
  const found = error instanceof CommanderError ? reportOfUsage(error, args) : reportOf(error)
  if (found.message !== '') complain(found, args.includes('--json'), surroundings)
  return found.status
}

function reportOfUsage(error: CommanderError, args: readonly string[]): Report {
  // Help and version end this way too.
  if (error.exitCode === 0) return { status: STATUS.done, message: '' }
  if (error.code === 'commander.help') return { status: STATUS.usage, message: '' }
  const [command = ''] = args
  const early = command.startsWith('-')
  const help = error.code === 'commander.unknownCommand' || early ? 'ipvs' : `ipvs ${command}`
  const what = error.message
    .replace(/^error: /, '')
    .replaceAll('\n', ' ')
    .replace(/\.$/, '')
  const where = early ? '; options stand behind the command' : ''
  return { status: STATUS.usage, message: `${what}${where}; "${help} --help" says more` }
}

/** What asks for the help of a command that is not there: commander would print that of all, and call it done. */
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
  const lines = await complete(program, words, (options, body) =>
    withTable(options, surroundings, body, { quiet: true }),
  )
  surroundings.stdout.write(lines.map((line) => `${line}\n`).join(''))
}

const SERVICE = 'tcp/192.0.2.10:80, tcp/[2001:db8::1]:443, fwmark/5, or fwmark6/5 for IPv6'
const SCOPE = 'an address, a network such as 192.0.2.0/24, or fwmark/5; may come again'
const STATE_FILE = 'a state: JSON, YAML or lines of ipvsadm; - is standard input'
const FORMATS = ['json', 'yaml', 'ipvsadm']

function createProgram(surroundings: Surroundings, end: (status: number) => void): Command {
  const { stdout, stderr, env } = surroundings
  const program = new Command('ipvs')
    .description("Runs the kernel's load balancer, IPVS.")
    .usage('<command> [argument...]')
    .version(packageVersion(), '-V, --version', 'print the version of this package')
    .helpOption('-h, --help', 'print this')
    .helpCommand('help [command]', 'print the help of a command')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      // It is said where all errors are.
      outputError: () => undefined,
      getOutHelpWidth: () => widthOf(stdout),
      getErrHelpWidth: () => widthOf(stderr),
      getOutHasColors: () => hasColor(stdout, env),
      getErrHasColors: () => hasColor(stderr, env),
    })
    .configureHelp({
      styleTitle: (text) => bold(text),
      styleCommandText: (text) => bold(text),
      subcommandTerm: (command) =>
        [command.name(), ...command.registeredArguments.map((one) => argumentTerm(one))].join(' '),
    })
    .addHelpText('after', `\n${STATUS_HELP}\n\n${PROGRAM_HELP}`)

  /** A command with the options of all, whose action gives the exit status. */
  const command = (
    name: string,
    description: string,
    examples: readonly string[],
    { table = true } = {},
  ): Command => {
    const made = program
      .command(name)
      .description(description)
      .helpOption('-h, --help', 'print this')
      .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}\n`).join('')}`)
    if (!table) return made
    return made
      .option('--json', 'for machines: print JSON, errors too')
      .option('--netns <netns>', 'the table of a network namespace: its name under /run/netns, or a path')
      .addOption(
        new Option(
          '--memory <file>',
          'the table of a file, on a kernel in memory: no real one is touched; the environment variable IPVS_MEMORY does the same',
        ).conflicts('netns'),
      )
  }
  const session = (options: CommonOptions): Session => new Session(surroundings, options)

  command('list', 'List services and their real servers.', [
    'ipvs list',
    "ipvs list --json | jq '.services[].realServers[] | select(.weight == 0) | .server'",
    'ipvs list --stats --netns blue',
  ])
    .option('--stats', 'what has passed so far: connections, packets, bytes')
    .addOption(new Option('--rates', 'what passes in a second').conflicts('stats'))
    .action(async (options: CommonOptions & ListOptions) => {
      end(await list(session(options), options))
    })

  command('show', 'Show one service with all there is to know of it.', [
    'ipvs show tcp/192.0.2.10:80',
    "ipvs show 'tcp/[2001:db8::1]:443' --json",
    'ipvs show fwmark/5',
  ])
    .argument('<service>', SERVICE)
    .action(async (service: string, options: CommonOptions) => {
      end(await show(session(options), service))
    })

  command('info', 'Show the version of IPVS, what passed in all, timeouts and sync daemons.', [
    'ipvs info',
    'ipvs info --json',
  ]).action(async (options: CommonOptions) => {
    end(await info(session(options)))
  })

  command('save', 'Save the table as a state, to a file or to standard output.', [
    'ipvs save /etc/ipvs.json',
    'ipvs save --format yaml',
    'ipvs save --sysctl conntrack,expire_nodest_conn table.json',
    'ipvs save --scope 192.0.2.0/24 --scope fwmark/5 mine.yaml',
  ])
    .argument('[file]', 'written whole or not at all; default standard output')
    .addOption(
      new Option(
        '--format <format>',
        "default: what the file's name ends in; json on standard output",
      ).choices(FORMATS),
    )
    .option('--no-timeouts', 'leave out the timeouts')
    .option('--no-sync-daemons', 'leave out the sync daemons')
    .option('--sysctls', 'with all sysctls of net.ipv4.vs')
    .option('--sysctl <names>', 'with those of these names; may come again', listOf())
    .option('--scope <scope>', `only services inside ${SCOPE}`, listOf())
    .option('--lossy', 'let --format ipvsadm leave out what its lines cannot say, and tell what that is')
    .action(async (file: string | undefined, options: CommonOptions & changes.SaveCommandOptions) => {
      end(await changes.save(session(options), file, options))
    })

  command('restore', 'Make the table equal to a saved state, by the smallest change.', [
    'ipvs restore /etc/ipvs.json --yes',
    'ipvsadm -Sn | ipvs restore - --yes --netns blue',
    'ipvs restore table.yaml --dry-run',
  ])
    .argument('<file>', STATE_FILE)
    .addOption(formatOption())
    .option('--dry-run', 'print what would be done, and do nothing')
    .option('--yes', 'do not ask before something is removed')
    .option('--force', 'leave a service without a real server, if that is in the state')
    .action(async (file: string, options: CommonOptions & changes.ChangeOptions) => {
      end(await changes.apply(session(options), file, options))
    })

  withComparison(
    command('plan', 'Print what apply would do. Exit status 1: something.', [
      'ipvs plan web.yaml',
      'ipvs plan web.yaml --no-prune --keep-weights',
      "ipvs plan web.yaml --json | jq '.steps[].kind'",
    ]).argument('<file>', STATE_FILE),
  ).action(async (file: string, options: CommonOptions & changes.CompareOptions) => {
    end(await changes.plan(session(options), file, options))
  })

  withGuards(
    command('apply', 'Make the table equal to a state. What fails part-way is undone.', [
      'ipvs apply web.yaml',
      'ipvs apply web.yaml --yes --max-deletions 2',
      'ipvs apply web.yaml --drain 60 --yes',
      'ipvs apply web.yaml --scope 192.0.2.0/24 --keep-weights --allow add-server,edit-server',
    ]).argument('<file>', STATE_FILE),
  )
    .option('--dry-run', 'print what would be done, and do nothing')
    .option('--yes', 'do not ask before something is removed')
    .action(async (file: string, options: CommonOptions & changes.ChangeOptions) => {
      end(await changes.apply(session(options), file, options))
    })

  withGuards(
    command('reconcile', 'Keep the table as a file wants it, until a signal ends this.', [
      'ipvs reconcile /etc/ipvs.yaml --yes',
      'ipvs reconcile web.yaml --no-prune --scope 192.0.2.0/24 --interval 60',
    ]).argument('<file>', 'a state: JSON, YAML or lines of ipvsadm; read before each run, and watched'),
  )
    .option('--yes', 'delete what the file does not name')
    .option('--interval <seconds>', 'how often to compare (default: 10)', interval)
    .action(async (file: string, options: CommonOptions & changes.ReconcileCommandOptions) => {
      end(await changes.reconcile(session(options), file, options))
    })

  command('diff', 'Print what leads from one state to another. Exit status 1: something.', [
    'ipvs diff monday.json tuesday.json',
    'ipvs diff web.yaml live',
    'ipvs save | ssh other ipvs diff live -',
  ])
    .argument(
      '<a>',
      `a file, - for standard input, or 'live', the table as it is (a file of that name is ./live)`,
    )
    .argument('<b>', 'the same')
    .addOption(formatOption())
    .option('--keep-weights', 'do not compare the weights of real servers')
    .option('--scope <scope>', `only services inside ${SCOPE}`, listOf())
    .action(async (a: string, b: string, options: CommonOptions & changes.CompareOptions) => {
      end(await changes.diff(session(options), a, b, options))
    })

  command('drain', 'Take a real server out of service once its connections have ended.', [
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7:8080',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --timeout 60 --at-timeout delete',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --wait-for active',
  ])
    .argument('<service>', SERVICE)
    .argument(
      '<server>',
      '10.0.0.7:8080, [2001:db8::7]:8080, or an address alone, with the port of the service',
    )
    .option('--timeout <seconds>', 'how long to wait (default: 300)', seconds)
    .addOption(
      new Option(
        '--at-timeout <what>',
        'then leave it at weight 0, or delete it all the same (default: keep)',
      ).choices(['keep', 'delete']),
    )
    .addOption(
      new Option(
        '--wait-for <connections>',
        'active: not for those that one side has closed (default: all)',
      ).choices(['all', 'active']),
    )
    .option('--interval <seconds>', 'how often to look (default: 1)', interval)
    .action(async (service: string, server: string, options: CommonOptions & DrainCommandOptions) => {
      end(await drain(session(options), service, server, options))
    })

  command(
    'completion',
    'Print what makes a shell complete this command.',
    [
      'ipvs completion bash > ~/.local/share/bash-completion/completions/ipvs',
      'eval "$(ipvs completion bash)"',
    ],
    { table: false },
  )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell) => {
      stdout.write(completionScript(shell))
    })

  // A variable of a script that is not set.
  for (const { options, registeredArguments } of program.commands) {
    for (const one of options) if (one.required && one.parseArg === undefined) one.argParser(filled)
    for (const one of registeredArguments) if (one.parseArg === undefined) one.argParser(filled)
  }

  // These two never come here: they are told apart before any of this is loaded.
  for (const [name, description] of [
    ['adm', 'Do what ipvsadm does with these arguments; "ipvs adm -h" has them all.'],
    [
      'guest',
      'Run a command on a Linux kernel of its own that has IPVS, for tests; see "ipvs guest --help".',
    ],
  ] as const) {
    program.command(name).argument('[arguments...]').description(description)
  }
  return program

  function bold(text: string): string {
    // Commander takes the codes away again where there are no colours.
    return `\u001B[1m${text}\u001B[22m`
  }
}

const PROGRAM_HELP = `Every command has examples: ipvs apply --help
Colours are for terminals alone; NO_COLOR=1 turns them off, FORCE_COLOR=1 on.
A symbolic link to this program under the name ipvsadm, ipvsadm-save or ipvsadm-restore does what those programs do.`

/** A terminal that does not know its width says 0. */
function widthOf({ columns = 0 }: Output): number {
  return columns > 0 ? columns : 80
}

function argumentTerm(argument: Argument): string {
  const name = argument.name() + (argument.variadic ? '...' : '')
  return argument.required ? `<${name}>` : `[${name}]`
}

function withComparison(command: Command): Command {
  return command
    .addOption(formatOption())
    .option('--prune', 'delete what the state does not name (default)')
    .option('--no-prune', 'keep what the state does not name')
    .option('--keep-weights', 'leave the weights of real servers that are there')
    .option('--scope <scope>', `only services inside ${SCOPE}`, listOf())
}

function withGuards(command: Command): Command {
  return withComparison(command)
    .addOption(listOption('--allow <kinds>', 'refuse any step of another kind', STEP_KINDS))
    .option(
      '--max-deletions <number>',
      'refuse to delete more services and real servers than this',
      wholeNumber,
    )
    .option('--force', 'go beyond --max-deletions, and leave a service without a real server')
    .option(
      '--drain <seconds>',
      'give real servers that are removed so long for their connections to end',
      seconds,
    )
}

/** An option whose value is some of these, with commas between them. */
function listOption(flags: string, description: string, choices: readonly string[]): Option {
  const option = new Option(flags, description).argParser(listOf(choices))
  // For the help, and for the completion. Option.choices() would take just one of them.
  option.argChoices = [...choices]
  return option
}

function formatOption(): Option {
  return new Option('--format <format>', 'form of the file (default: what it looks like)').choices(FORMATS)
}

/** A value with commas in it, and an option that may come again. */
function listOf(
  choices?: readonly string[],
): (value: string, before?: readonly string[]) => readonly string[] {
  return (value, before = []) => {
    const words = value.split(',').filter((word) => word !== '')
    if (words.length === 0) throw new InvalidArgumentError('It names nothing.')
    const unknown = words.find((word) => choices?.includes(word) === false)
    if (unknown !== undefined)
      throw new InvalidArgumentError(`There is no '${unknown}': it is one of ${choices?.join(', ') ?? ''}.`)
    return [...before, ...words]
  }
}

function filled(value: string): string {
  if (value === '') throw new InvalidArgumentError('It must not be empty.')
  return value
}

function wholeNumber(value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(value)
}

/** Longest that a timer of Node lasts. */
const MOST_SECONDS = 2147483

function seconds(value: string): number {
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : NaN
  if (!(number <= MOST_SECONDS))
    throw new InvalidArgumentError(`It must be a number of seconds, at most ${String(MOST_SECONDS)}.`)
  return number
}

/** Shortest that the library waits between two looks. */
const LEAST_INTERVAL_SECONDS = 0.01

function interval(value: string): number {
  const number = seconds(value)
  if (number < LEAST_INTERVAL_SECONDS)
    throw new InvalidArgumentError(`It must be at least ${String(LEAST_INTERVAL_SECONDS)} seconds.`)
  return number
}

/** The package's folder lies two above this file, and above what this file is built to. */
function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}
