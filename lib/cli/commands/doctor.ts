import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Option } from 'commander'
import { diagnose, type DiagnoseOptions, type Finding, type State, type Tunnel } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { FileError, Refused, STATUS, UsageError } from '../exit-status.ts'
import { readFields } from '../fields.ts'
import { inNetns } from '../netns-command.ts'
import { SERVICE, serviceOf, several, STATE_FILE } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { readStateOf } from '../state-file.ts'
import { memoryFileOf } from '../table.ts'
import { ask } from '../terminal/ask.ts'
import { type Line, line } from '../terminal/line.ts'
import { hang } from '../terminal/wrap.ts'
import { counted } from '../words.ts'

interface DoctorCommandOptions extends CommonOptions {
  readonly role?: 'director' | 'real-server'
  readonly service?: readonly string[]
  readonly method?: 'masquerade' | 'direct' | 'tunnel'
  readonly tunnel?: string
  readonly director?: string
  readonly peer?: string
  readonly fix?: boolean
  readonly yes?: boolean
}

export const doctor: CommandDefinition = {
  name: 'doctor',
  description:
    'Find out why packets do not arrive: look at the table, sysctls, addresses, routes and firewall.',
  examples: [
    'ipvs doctor',
    'ipvs doctor --service tcp/192.0.2.10:80',
    'ipvs doctor web.yaml',
    'ipvs doctor --role real-server --service tcp/192.0.2.10:80 --method direct',
    'ipvs doctor --fix',
  ],
  table: false,
  define: (command) =>
    command
      .argument('[file]', `${STATE_FILE}: look at its services instead of those of the table`)
      .addOption(
        new Option('--role <role>', 'what this machine is for (default: director)').choices([
          'director',
          'real-server',
        ]),
      )
      .option('--service <service>', `only this service; can be repeated: ${SERVICE}`, several)
      .addOption(
        new Option(
          '--method <method>',
          'of a real server: how the director reaches it (default: direct)',
        ).choices(['masquerade', 'direct', 'tunnel']),
      )
      .option(
        '--tunnel <tunnel>',
        'of a real server with method tunnel: ipip, gue:PORT or gre (default: ipip)',
      )
      .option(
        '--director <address>',
        'of a real server with method masquerade: address of the director in its network',
      )
      .option('--peer <file>', 'what ipvs save printed on the other director, to compare the sync daemons')
      .option('--fix', 'set the sysctls that are wrong, after asking; nothing else is changed')
      .option('--yes', 'do not ask')
      .option('--json', 'print JSON for programs, errors too')
      .option('--netns <netns>', 'look at a network namespace: a name under /run/netns, or a path'),
  async act(run: Run, options: DoctorCommandOptions, file?: string) {
    if (memoryFileOf({}, run.surroundings.env) !== undefined) {
      throw new UsageError('doctor looks at a machine, and an in-memory kernel has none: unset IPVS_MEMORY')
    }
    const how = await optionsOf(run, options, file)
    return run.interruptible(async (signal) => {
      const findings = await diagnose({ ...how, signal })
      if (run.json) run.printJson(findings)
      else print(run, findings)
      const status = statusOf(findings)
      if (options.fix !== true) return status
      if (!(await fix(run, findings, options, signal))) return status
      const left = await diagnose({ ...how, signal })
      if (left.length > 0) run.note(line`still ${countsOf(left)}`)
      return statusOf(left)
    })
  },
}

async function optionsOf(
  run: Run,
  { role, service, method, tunnel, director, peer, netns }: DoctorCommandOptions,
  file: string | undefined,
): Promise<DiagnoseOptions> {
  if (role === 'real-server') {
    if (service === undefined)
      throw new UsageError(
        'a real server has no table: name its services, such as --service tcp/192.0.2.10:80',
      )
    for (const [name, value] of Object.entries({ file, '--peer': peer })) {
      if (value !== undefined) throw new UsageError(`${name === 'file' ? 'a file' : name} is for a director`)
    }
  } else {
    for (const [name, value] of Object.entries({ method, tunnel, director })) {
      if (value !== undefined) throw new UsageError(`--${name} is for a real server: give --role real-server`)
    }
  }
  if (tunnel !== undefined && method !== 'tunnel') throw new UsageError('--tunnel goes with --method tunnel')
  const read = (name: string): Promise<State> => readStateOf(name, run.surroundings)
  return {
    ...(role !== undefined && { role }),
    ...(netns !== undefined && { netns }),
    ...(service !== undefined && { services: service.map(serviceOf) }),
    ...(method !== undefined && { method }),
    ...(tunnel !== undefined && { tunnel: readFields([`tunnel=${tunnel}`], 'server').tunnel as Tunnel }),
    ...(director !== undefined && { director }),
    ...(file !== undefined && { state: await read(file) }),
    ...(peer !== undefined && { peer: await read(peer) }),
  }
}

function statusOf(findings: readonly Finding[]): number {
  if (findings.some(({ code }) => code === 'no-permission')) return STATUS.permission
  if (findings.some(({ code }) => code === 'no-module')) return STATUS.noKernel
  return findings.some(({ severity }) => severity !== 'note') ? STATUS.differs : STATUS.done
}

const PLACES = {
  here: '',
  'real-server': ' on the real server',
  director: ' on the director',
} as const

function print(run: Run, findings: readonly Finding[]): void {
  const { style, width } = run.out
  const colors = { error: style.red, warning: style.yellow, note: style.cyan }
  const paragraph = (start: string, text: string): Line[] =>
    hang(start, text, width).map((one) => line`${one}`)
  for (const { code, severity, message, effect, commands, where, guide } of findings) {
    run.out.line(line`${colors[severity](severity)}: ${code}`)
    run.out.lines([
      ...paragraph('  ', message),
      ...paragraph('  ', effect),
      ...commands.map((command, index) =>
        index === 0
          ? line`  mend it${PLACES[where]}: ${style.bold(command)}`
          : line`      ${style.bold(command)}`,
      ),
      ...paragraph('  ', `${guide.sentence} (${guide.page})`),
      line``,
    ])
  }
  run.out.line(findings.length === 0 ? 'no findings' : line`found: ${countsOf(findings)}`)
}

function countsOf(findings: readonly Finding[]): string {
  return (['error', 'warning', 'note'] as const)
    .flatMap((wanted) => {
      const number = findings.filter(({ severity }) => severity === wanted).length
      return number === 0 ? [] : [counted(number, wanted)]
    })
    .join(', ')
}

/** Sets the sysctls that findings name, once a person has agreed. Gives whether it set any. */
async function fix(
  run: Run,
  findings: readonly Finding[],
  { yes, netns }: DoctorCommandOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const here = findings.filter(({ where }) => where === 'here')
  const settings = new Map(
    here.flatMap(({ sysctls, commands }) =>
      Object.entries(sysctls).map(([name, value]) => {
        // Some belong to the whole machine: then the command names no namespace.
        const everywhere = commands.includes(`sysctl -w ${name}=${value}`)
        return [name, { value, netns: everywhere ? undefined : netns }] as const
      }),
    ),
  )
  if (settings.size === 0) {
    run.note('no sysctl is to be set')
    return false
  }
  if (yes !== true) {
    const { stdin } = run.surroundings
    if (stdin.isTTY !== true || !run.err.isTerminal || run.json)
      throw new Refused('there is nobody to ask whether to set sysctls: give --yes; nothing was changed')
    const what = [...settings].map(([name, { value }]) => `${name}=${value}`).join(', ')
    run.err.line(line`This sets ${what}.`)
    const answer = await ask('Go on? [y/N] ', stdin, run.err, signal)
    signal.throwIfAborted()
    if (answer !== 'yes') throw new Refused('nothing was changed')
  }
  for (const [name, { value, netns }] of settings) {
    await setSysctl(name, value, netns)
    run.note(line`set ${name}=${value}`)
  }
  run.note('to keep this over a reboot, put these lines into /etc/sysctl.d/50-ipvs.conf:')
  run.err.lines([...settings].map(([name, { value }]) => line`  ${name} = ${value}`))
  return true
}

/** Sets one, and reads it back: the kernel may take another value for it, and not say so. */
async function setSysctl(name: string, value: string, netns: string | undefined): Promise<void> {
  // A slash in the name of a sysctl is a dot in that of an interface.
  const path = `/proc/sys/${name
    .split('.')
    .map((word) => word.replaceAll('/', '.'))
    .join('/')}`
  const argv = inNetns(netns, ['sh', '-c', 'printf %s "$1" >"$2" && cat "$2"', 'sh', value, path])
  const { stdout } = await promisify(execFile)('env', argv).catch((error: unknown) => {
    const { stderr } = error as { readonly stderr: string }
    throw new FileError(`cannot set ${name}=${value}: ${stderr.trim() || (error as Error).message}`)
  })
  if (stdout.trim() !== value) throw new FileError(`cannot set ${name}=${value}: it is ${stdout.trim()} now`)
}
