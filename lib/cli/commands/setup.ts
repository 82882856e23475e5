import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Argument, Option } from 'commander'
import { formatServiceKey, type ServiceKey, type Tunnel } from '../../index.ts'
import { setUpDirector } from '../../setup/director.ts'
import type { Firewall } from '../../setup/firewall.ts'
import { commandOf, type ServiceToSetUp, type SetupPart, sysctlsOf } from '../../setup/part.ts'
import { setUpRealServer } from '../../setup/real-server.ts'
import { type SetupRole, setupScript } from '../../setup/script.ts'
import type { CommandDefinition } from '../command.ts'
import { checked, NotFound, Refused, STATUS, UsageError } from '../exit-status.ts'
import { readFields } from '../fields.ts'
import { inNetns } from '../netns-command.ts'
import { listOf, SERVICE, serviceOf, several, STATE_FILE } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { runScript, type ScriptEnd } from '../shell-script.ts'
import { readStateOf } from '../state-file.ts'
import { memoryFileOf } from '../table.ts'
import { ask } from '../terminal/ask.ts'
import { line } from '../terminal/line.ts'
import { counted } from '../words.ts'

const METHODS = ['masquerade', 'direct', 'tunnel'] as const

interface SetupCommandOptions extends CommonOptions {
  readonly service?: readonly string[]
  readonly method?: (typeof METHODS)[number]
  readonly tunnel?: string
  readonly director?: string
  readonly interface?: string
  readonly clients?: string
  readonly snat?: boolean
  readonly address?: string
  readonly ports?: readonly string[]
  readonly firewall?: Firewall
  readonly print?: boolean
  readonly apply?: boolean
  readonly undo?: boolean
  readonly yes?: boolean
}

export const setup: CommandDefinition = {
  name: 'setup',
  description:
    'Set up this machine as a director or a real server: sysctls, addresses, routes, tunnels, firewall rules.',
  examples: [
    'ipvs setup director',
    'ipvs setup director web.yaml --interface eth0 >director.sh',
    'ipvs setup director --snat --apply',
    'ipvs setup director --service fwmark/7 --address 192.0.2.10 --ports 80,443 --apply',
    'ipvs setup real-server --service tcp/192.0.2.10:80 --method direct --apply',
    'ipvs setup real-server --service tcp/192.0.2.10:80 --method tunnel --tunnel gue:6080 --director 192.0.2.1',
    'ipvs setup real-server --undo',
  ],
  define: (command) =>
    command
      .addArgument(new Argument('<role>', 'what this machine is to be').choices(['director', 'real-server']))
      .argument('[file]', `of a director: ${STATE_FILE}, in place of the table`)
      .option('--service <service>', `only this service; may be repeated: ${SERVICE}`, several)
      .addOption(
        new Option(
          '--method <method>',
          'how the director reaches this real server (default: direct); of a director: that of a --service which is not in the table',
        ).choices(METHODS),
      )
      .option(
        '--tunnel <tunnel>',
        'of a real server with method tunnel: ipip, gue:PORT or gre (default: ipip)',
      )
      .option(
        '--director <address>',
        "of a real server: the director's address in its network; needed with method masquerade, and a tunnel then takes packets from there alone",
      )
      .option(
        '--interface <name>',
        'of a director: the interface that gets the virtual addresses; of a real server with --clients: that to the director (default: the one that a route leads to)',
      )
      .option(
        '--clients <network>',
        'with method masquerade: a network in which both clients and real servers are',
      )
      .option(
        '--snat',
        'of a director with method masquerade: the real servers see it instead of the clients (full NAT)',
      )
      .option(
        '--address <address>',
        'the address of a service that is a firewall mark; a director marks packets to it',
      )
      .option(
        '--ports <ports>',
        'with --address: only these ports are marked, such as 80,443,5000-5010,53/udp',
        listOf(),
      )
      .addOption(
        new Option('--firewall <program>', 'what makes rules (default: nft if it is there)').choices([
          'nft',
          'iptables',
        ]),
      )
      .addOption(
        new Option('--print', 'print a script that does it, and can take it back (default)').conflicts([
          'apply',
          'undo',
        ]),
      )
      .addOption(new Option('--apply', 'do it, after asking').conflicts('undo'))
      .option(
        '--undo',
        'take back what --apply or the script did since the machine was started, after asking',
      )
      .option('--yes', 'do not ask'),
  act(run: Run, options: SetupCommandOptions, role: SetupRole, file?: string) {
    checkOptions(run, options, role, file)
    return run.interruptible(async (signal) => {
      if (options.undo === true) return change(run, options, setupScript([], { role, title: '' }), signal)
      const [parts, services] =
        role === 'director' ? await director(run, options, file) : await realServer(options)
      const names =
        services.length > 3 ? counted(services.length, 'service') : services.map(formatServiceKey).join(', ')
      const title = `What this machine needs as a ${role.replace('-', ' ')} of ${names}.`
      const script = setupScript(parts, { role, title })
      if (options.apply === true) return change(run, options, script, signal)
      if (run.json) run.printJson(toJson(parts, script))
      else run.out.document(script)
      return STATUS.done
    })
  },
}

function checkOptions(
  run: Run,
  options: SetupCommandOptions,
  role: SetupRole,
  file: string | undefined,
): void {
  const { service, method, address, ports, apply, undo, yes } = options
  if (yes === true && apply !== true && undo !== true)
    throw new UsageError('--yes goes with --apply or --undo')
  if ((apply === true || undo === true) && memoryFileOf(run.table, run.surroundings.env) !== undefined)
    throw new UsageError('an in-memory kernel has no machine to set up: only --print works with it')
  const given = (...names: readonly (keyof SetupCommandOptions)[]): string | undefined =>
    names.find((name) => options[name] !== undefined)
  if (undo === true) {
    const other = given(...WHAT)
    if (other !== undefined || file !== undefined) {
      throw new UsageError(
        `--undo takes back everything that was set up here for this role: leave out ${other === undefined ? 'the file' : `--${other}`}`,
      )
    }
    return
  }
  if (ports !== undefined && address === undefined) throw new UsageError('--ports goes with --address')
  if (role === 'director') {
    const other = given('tunnel', 'director')
    if (other !== undefined) throw new UsageError(`--${other} is for a real server`)
    if (method === undefined) return
    if (file !== undefined)
      throw new UsageError('--method cannot be combined with a file: its real servers have methods')
    if (service === undefined)
      throw new UsageError('--method needs --service: the real servers of the table have methods')
    return
  }
  const other = given('snat', 'ports', 'firewall')
  if (other !== undefined) throw new UsageError(`--${other} is for a director`)
  if (file !== undefined) throw new UsageError('a file is for a director')
  if (service === undefined)
    throw new UsageError('a real server has no table: name its services, such as --service tcp/192.0.2.10:80')
  if (options.tunnel !== undefined && method !== 'tunnel')
    throw new UsageError('--tunnel goes with --method tunnel')
  const nat = given('clients', 'interface')
  if (nat !== undefined && method !== 'masquerade')
    throw new UsageError(`--${nat} of a real server goes with --method masquerade`)
  if (options.interface !== undefined && options.clients === undefined)
    throw new UsageError('--interface of a real server goes with --clients')
}

/** Options that say what there is to do. */
const WHAT = [
  ...([
    'service',
    'method',
    'tunnel',
    'director',
    'interface',
    'clients',
    'snat',
    'address',
    'ports',
  ] as const),
  'firewall',
] as const

type Found = readonly [parts: readonly SetupPart[], services: readonly ServiceKey[]]

async function director(run: Run, options: SetupCommandOptions, file: string | undefined): Promise<Found> {
  const { method, snat, clients, address, ports, netns } = options
  const services = await servicesOf(run, options, file)
  const virtual = address ?? services.flatMap((one) => (one.protocol === 'fwmark' ? [] : [one.address]))[0]
  const name = options.interface ?? (virtual === undefined ? undefined : await interfaceTo(virtual, netns))
  const rules = snat === true || address !== undefined
  const firewall = options.firewall ?? (rules ? await firewallHere() : undefined)
  const parts = checked(() =>
    setUpDirector(services, {
      ...{ interface: name, method, snat, firewall, oneNetwork: clients !== undefined },
      ...(address !== undefined && { marked: { address, ports } }),
    }),
  )
  return [parts, services]
}

/** Services with their real servers: of the table, or a file, or as they are named. */
async function servicesOf(
  run: Run,
  { service, method }: SetupCommandOptions,
  file: string | undefined,
): Promise<readonly ServiceToSetUp[]> {
  const keys = service?.map(serviceOf)
  if (keys !== undefined && method !== undefined) return keys
  const { services = [] } =
    file === undefined
      ? await run.withTable((ipvs) => ipvs.save())
      : await readStateOf(file, run.surroundings)
  const where = file ?? 'the table'
  if (services.length === 0)
    throw new NotFound(`${where} has no service: give --service and --method for one that is to be added`)
  if (keys === undefined) return services
  return keys.map((key) => {
    const name = formatServiceKey(key)
    const found = services.find((one) => formatServiceKey(one) === name)
    if (found !== undefined) return found
    throw new NotFound(`${name} is not in ${where}: give --method if it is to be added`)
  })
}

async function realServer(options: SetupCommandOptions): Promise<Found> {
  const { service = [], method = 'direct', tunnel, director, clients, address, netns } = options
  const services = service.map(serviceOf)
  if (address !== undefined && !services.some(({ protocol }) => protocol === 'fwmark'))
    throw new UsageError('--address is for a service that is a firewall mark')
  const beside = clients === undefined ? undefined : director
  const name = options.interface ?? (beside === undefined ? undefined : await interfaceTo(beside, netns))
  const parts = checked(() =>
    setUpRealServer(services, {
      ...{ method, director, clients, interface: name },
      tunnel:
        tunnel === undefined ? undefined : (readFields([`tunnel=${tunnel}`], 'server').tunnel as Tunnel),
      ...(address !== undefined && { marked: { address } }),
    }),
  )
  return [parts, services]
}

/** The interface that the route to an address leads to, or that the address is on. */
async function interfaceTo(address: string, netns: string | undefined): Promise<string> {
  const ask = async (...words: readonly string[]): Promise<Readonly<Record<string, unknown>>> => {
    const [file = '', ...rest] = inNetns(netns, ['ip', '-j', ...words])
    const { stdout } = await promisify(execFile)(file, rest)
    return (JSON.parse(stdout) as readonly Readonly<Record<string, unknown>>[])[0] ?? {}
  }
  const { type, dev } = await ask('route', 'get', address).catch(() => ({ type: '', dev: undefined }))
  const found = type === 'local' ? (await ask('address', 'show', 'to', address)).ifname : dev
  if (typeof found === 'string' && found !== 'lo') return found
  throw new UsageError(
    `cannot tell the interface for ${address}, because no route leads there: give --interface`,
  )
}

async function firewallHere(): Promise<Firewall> {
  const isHere = (program: Firewall): Promise<boolean> =>
    promisify(execFile)(program, ['--version']).then(
      () => true,
      () => false,
    )
  return !(await isHere('nft')) && (await isHere('iptables')) ? 'iptables' : 'nft'
}

function toJson(parts: readonly SetupPart[], script: string): object {
  const all = parts.map(({ why, steps }) => ({ why, commands: steps.map(commandOf) }))
  return { parts: all, sysctls: sysctlsOf(parts), script }
}

/** Runs a script, or its undo, once a person has seen what it does. Gives the exit status. */
async function change(
  run: Run,
  { netns, undo, yes }: SetupCommandOptions,
  script: string,
  signal: AbortSignal,
): Promise<number> {
  if (process.geteuid?.() !== 0) {
    run.complain({ status: STATUS.permission, message: 'permission denied: only root can set up a machine' })
    return STATUS.permission
  }
  const how = { netns, signal }
  if (yes !== true) {
    const planned = await runScript(script, [undo === true ? 'plan-undo' : 'plan'], how)
    if (planned.status !== 0) return failed(run, planned)
    if (planned.lines.length > 0) await askWhether(run, planned.lines, signal)
  }
  const ended = await runScript(script, [undo === true ? 'undo' : 'run'], {
    ...how,
    onLine(command) {
      if (yes === true && !run.json) run.out.line(line`${command}`)
    },
  })
  signal.throwIfAborted()
  if (ended.status !== 0)
    return failed(run, ended, undo === true ? '' : '; what this run had done was taken back')
  if (run.json) run.printJson({ commands: ended.lines })
  else if (ended.lines.length === 0) run.out.line(undo === true ? 'nothing to take back' : 'nothing to do')
  return STATUS.done
}

/** Shows commands, and asks whether to run them, if there is somebody to ask. */
async function askWhether(run: Run, commands: readonly string[], signal: AbortSignal): Promise<void> {
  const { stdin } = run.surroundings
  if (stdin.isTTY !== true || !run.err.isTerminal || run.json)
    throw new Refused(
      'there is nobody to ask whether to change this machine: give --yes; nothing was changed',
    )
  run.out.lines(commands.map((command) => line`${command}`))
  const answer = await ask('Run these commands? [y/N] ', stdin, run.err, signal)
  signal.throwIfAborted()
  if (answer !== 'yes') throw new Refused('nothing was changed')
}

/** Reports the errors of a script, which takes back what it did before one. */
function failed(run: Run, { errors }: ScriptEnd, more = ''): number {
  run.complain({ status: STATUS.failed, message: `${errors.map((one) => one.trim()).join('; ')}${more}` })
  return STATUS.failed
}
