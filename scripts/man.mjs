// node scripts/man.mjs DIST: writes the man page of the command, DIST/man/ipvs.1, from what `--help` is made from: the command
// line as commander knows it, in a DIST that scripts/bundle.mjs has filled. The same sources give the same page.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = path.resolve(process.argv[2] ?? path.join(root, 'dist'))
const require = createRequire(import.meta.url)
const { COMMANDS, createProgram, ENVIRONMENT_HELP } = require(path.join(dist, 'cli/commands.cjs'))
const { STATUS_HELP } = require(path.join(dist, 'cli/errors.cjs'))
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

/** A text that roff prints as it is. @param {string} text */
function plain(text) {
  const escaped = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('"', '\\(dq')
  return escaped.replaceAll(/^\./gm, '\\&.')
}

/** @param {string} text */
const bold = (text) => `\\fB${plain(text)}\\fR`

/** An entry of a list. @param {string} name @param {string} text */
const entry = (name, text) => `.TP\n${name}\n${plain(text)}\n`

/** A table of a help text: a title, then names, each with its description, which may have several lines. @param {string} help */
function table(help) {
  const [, ...lines] = help.split('\n')
  const width = /^ {2}\S+ +/.exec(lines[0] ?? '')?.[0].length ?? 0
  /** @type {string[][]} */
  const entries = []
  for (const line of lines) {
    const name = line.slice(0, width).trim()
    const text = line.slice(width).trim()
    if (name === '') entries.at(-1)?.push(text)
    else entries.push([name, text])
  }
  return entries.map(([name = '', ...text]) => entry(bold(name), text.join(' '))).join('')
}

const program = createProgram()

/** @typedef {import('commander').Option} Option */
/** @type {readonly (readonly Option[])[]} */
const optionsOfTables = COMMANDS.filter(
  (/** @type {{ table?: boolean }} */ { table: works = true }) => works,
).map((/** @type {{ name: string }} */ { name }) => {
  const command = program.commands.find(
    (/** @type {import('commander').Command} */ one) => one.name() === name,
  )
  return command.options
})
/** Those of all commands that work on a table. They are described once. */
const common = (optionsOfTables[0] ?? []).filter(({ flags, description }) =>
  optionsOfTables.every((options) =>
    options.some((one) => one.flags === flags && one.description === description),
  ),
)

/** @param {readonly Option[]} options */
function optionEntries(options) {
  const help = program.createHelp()
  return options
    .map((option) => entry(bold(help.optionTerm(option)), help.optionDescription(option)))
    .join('')
}

/** @param {import('commander').Command} command @param {readonly string[]} examples */
function section(command, examples) {
  const help = command.createHelp()
  const args = help.visibleArguments(command)
  const names = args.map((one) => {
    const name = `\\fI${plain(one.name())}\\fR${one.variadic ? '...' : ''}`
    return one.required ? name : `[${name}]`
  })
  const options = command.options.length > 0 ? ['[\\fIoption\\fR...]'] : []
  const shown = examples.map((example) => plain(example)).join('\n')
  return [
    `.SS ${[bold(`ipvs ${command.name()}`), ...options, ...names].join(' ')}\n`,
    `${plain(command.description())}\n`,
    ...args
      .filter((one) => one.description !== '')
      .map((one) => entry(`\\fI${plain(one.name())}\\fR`, help.argumentDescription(one))),
    optionEntries(command.options.filter(({ flags }) => !common.some((one) => one.flags === flags))),
    ...(examples.length > 0 ? [`.PP\nExamples:\n.PP\n.RS 4\n.nf\n${shown}\n.fi\n.RE\n`] : []),
  ].join('')
}

const sections = program.commands.map((/** @type {import('commander').Command} */ command) => {
  const own = COMMANDS.find((/** @type {{ name: string }} */ { name }) => name === command.name())
  return section(command, own?.examples ?? [])
})

const page = `.\\" Made by scripts/man.mjs.
.TH IPVS 1 "" "ipvs ${version}" "User Commands"
.SH NAME
ipvs \\- run the kernel\\(aqs load balancer, IPVS
.SH SYNOPSIS
.B ipvs
.I command
.RI [ option ...]
.RI [ argument ...]
.SH DESCRIPTION
${plain(`ipvs shows the table of a director, saves it, compares it with a state and makes it equal to one. Reading takes the same
privileges as writing: root, or CAP_NET_ADMIN.`)}
.PP
A
.I service
${plain(`is written tcp/192.0.2.10:80, udp/[2001:db8::1]:53, sctp/..., NUMBER/... for any other IP protocol, fwmark/5, or fwmark6/5 for
the mark of IPv6 packets. A`)}
.I server
${plain(`is 10.0.0.7:8080, [2001:db8::7]:8080, or an address alone: its port is then that of the service. A shell treats brackets as a
pattern, so quote them.`)}
.PP
${plain(`On a terminal, tables are never wider than the terminal, and numbers above 99999 have a unit of 1000: k, M, G, T, P or E. In a pipe
there are plain columns with exact numbers.`)}
.SH OPTIONS
${plain('All commands that work on a table take these, before the command too; all other options go after it:')}
${optionEntries(common)}.SH COMMANDS
${sections.join('')}.SH EXIT STATUS
${table(STATUS_HELP)}.SH ENVIRONMENT
${table(ENVIRONMENT_HELP)}.SH FILES
${entry(bold('/run/netns/NAME'), 'The network namespace NAME, for --netns.')}${entry(
  bold('/var/lib/ipvs/history'),
  'The states from before changes, for ipvs history and ipvs undo, of root. See STATE_DIRECTORY and XDG_STATE_HOME for where else they are kept.',
)}${entry(
  bold('/run/ipvs'),
  'The lock of each table, which a program holds while it changes the table.',
)}${entry(
  bold('docs/command.md, state.schema.json'),
  'In the folder of the package: the documentation, and the JSON Schema of states. "npm root --global" prints the folder that the package is in.',
)}.SH SEE ALSO
.BR ipvsadm (8),
.BR ip\\-netns (8)
`

mkdirSync(path.join(dist, 'man'), { recursive: true })
writeFileSync(path.join(dist, 'man/ipvs.1'), page)
