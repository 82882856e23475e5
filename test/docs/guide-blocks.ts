import { formatEndpoint, formatServiceKey, formatState, formatTunnel } from '../../lib/text.ts'
import type { Family, PersistenceSpec, RealServerSpec, ServiceSpec, StateService } from '../../lib/index.ts'
import { commandsOf, type SetupPart } from '../../lib/setup/part.ts'
import type { Guide } from '../traffic/guides.ts'
import type { Hop, Mode } from '../traffic/modes.ts'
import type { Interface } from '../traffic/topology.ts'

/** The parts of a guide that are written from data: pictures, tables and code. */

/** A sequence diagram of Mermaid: the machines with their addresses, and an arrow for each hop. */
export function way({ topology, family, way: { request, reply } }: Mode): string {
  const hops = [...request, ...reply]
  const machines = Object.keys(topology.hosts).filter((name) =>
    hops.some(({ from, to }) => name === from || name === to),
  )
  return fenced('mermaid', [
    'sequenceDiagram',
    ...machines.map((machine) => {
      const all = Object.values(topology.hosts[machine]?.interfaces ?? {})
      const own = all.flatMap((one) => addressesOf(one, family)).map((address) => address.replace(/\/.*/, ''))
      return `  participant ${machine} as ${[machine, ...own].join('<br/>')}`
    }),
    ...request.map((hop) => `  ${hop.from}->>${hop.to}: ${label(hop)}`),
    ...reply.map((hop) => `  ${hop.from}-->>${hop.to}: ${label(hop)}`),
  ])
}

const TUNNELS = { ipip: 'IP-in-IP', gue: 'GUE', gre: 'GRE' } as const

/** The addresses of a packet, those of what is around it first. */
function label({ source, destination, outer }: Hop): string {
  const around =
    outer === undefined ? '' : `${TUNNELS[outer.tunnel]} ${outer.source} → ${outer.destination}<br/>`
  return `${around}${source} → ${destination}`
}

function addressesOf({ addresses: all }: Interface, family: Family): string[] {
  return all.filter((address) => address.includes(':') === (family === 'ipv6'))
}

/** A table with a row for each interface of each machine. */
export function addresses({ topology, family }: Mode): string {
  return [
    '| Machine | Interface | Address | Network |',
    '|---|---|---|---|',
    ...Object.entries(topology.hosts).flatMap(([machine, { interfaces }]) =>
      Object.entries(interfaces).map(([name, one]) => {
        const { title = one.network } = topology.networks[one.network] ?? {}
        return `| ${machine} | \`${name}\` | ${addressesOf(one, family).join(', ')} | ${title} |`
      }),
    ),
  ].join('\n')
}

/** The services of a guide without what is so by default, which only makes a reader wonder. */
export function servicesOf({ services }: Guide): StateService[] {
  return services.map(({ realServers = [], ...service }) => ({
    ...withoutFamily(service),
    realServers: realServers.map(({ port, tunnel, ...server }) => ({
      ...server,
      ...(port === undefined || port === ('port' in service ? service.port : 0) ? {} : { port }),
      ...(tunnel === undefined || tunnel.type === 'ipip' ? {} : { tunnel }),
    })),
  }))
}

function withoutFamily(service: ServiceSpec): ServiceSpec {
  if (service.protocol !== 'fwmark' || service.family !== 'ipv4') return service
  const { family, ...rest } = service
  return rest
}

/** Which commands of a set-up are meant: those of a program that makes rules, or all others. */
type Which = 'nft' | 'iptables' | 'others'

/** Commands as one types them, each with its reason in front. */
export function setUp(parts: readonly SetupPart[], which: Which): string[] {
  const isMeant = (command: string): boolean =>
    (['nft', 'iptables'].find((program) => command.startsWith(`${program} `)) ?? 'others') === which
  return parts.flatMap((part) => {
    const commands = commandsOf([part]).filter(isMeant)
    return commands.length === 0 ? [] : [...comment(part.why), ...commands]
  })
}

/** The command that sets up a director or a real server of a guide, without what to do with it: --apply or --print. */
export function setupCommand(role: 'director' | 'real-server', guide: Guide): string {
  const { director, realServer } = guide
  const words = guide.mode.state.services
    .slice(0, guide.services.length)
    .map((service) => `--service ${quoted(formatServiceKey(service))}`)
  const { tunnel } = realServer
  const ofDirector = [
    `--interface ${director.interface}`,
    ...(realServer.clients !== undefined ? [`--clients ${realServer.clients}`] : []),
    ...(director.snat === true ? ['--snat'] : []),
    ...(director.marked !== undefined
      ? [`--address ${director.marked.address} --ports ${(director.marked.ports ?? []).join(',')}`]
      : []),
  ]
  const ofServer = [
    ...(tunnel !== undefined && tunnel.type !== 'ipip' ? [`--tunnel ${formatTunnel(tunnel)}`] : []),
    ...(realServer.director !== undefined ? [`--director ${realServer.director}`] : []),
    ...(realServer.clients !== undefined ? [`--clients ${realServer.clients} --interface eth0`] : []),
  ]
  return [
    ...['ipvs', 'setup', role, ...words, '--method', realServer.method],
    ...(role === 'director' ? ofDirector : ofServer),
  ].join(' ')
}

/** A sentence in lines of shell that do nothing. */
function comment(text: string): string[] {
  const lines = ['#']
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1) ?? ''} ${word}`
    if (line.length > WIDTH) lines.push(`# ${word}`)
    else lines[lines.length - 1] = line
  }
  return lines
}

const WIDTH = 110

/** The commands that add services and their real servers, those that have the same settings in one. */
export function commands(services: readonly StateService[]): string[] {
  return services.flatMap(({ realServers = [], ...service }) => {
    const key = quoted(formatServiceKey(service))
    const groups = new Map<string, string[]>()
    for (const server of realServers) {
      const fields = serverFields(server).join(' ')
      groups.set(fields, [...(groups.get(fields) ?? []), quoted(formatEndpoint(server))])
    }
    return [
      ['ipvs', 'add', key, ...serviceFields(service)].join(' '),
      ...[...groups].map(([fields, servers]) => ['ipvs', 'add', key, ...servers, fields].join(' ')),
    ]
  })
}

function serviceFields({ scheduler, schedulerFlags, onePacket, persistence }: StateService): string[] {
  return [
    ...(scheduler === undefined ? [] : [`scheduler=${scheduler}`]),
    ...(schedulerFlags === undefined ? [] : [`schedulerFlags=${schedulerFlags.join(',')}`]),
    ...(onePacket === true ? ['onePacket=yes'] : []),
    ...persistenceFields(persistence ?? undefined),
  ]
}

function persistenceFields(persistence: PersistenceSpec | undefined): string[] {
  if (persistence === undefined) return []
  const { timeoutSeconds = 300, netmask } = persistence
  return [
    `persistence=${String(timeoutSeconds)}`,
    ...(netmask === undefined ? [] : [`persistence.netmask=${String(netmask)}`]),
  ]
}

function serverFields({ method, weight, tunnel }: RealServerSpec): string[] {
  return [
    ...(method === undefined ? [] : [`method=${String(method)}`]),
    ...(weight === undefined ? [] : [`weight=${String(weight)}`]),
    ...(tunnel === undefined ? [] : [`tunnel=${formatTunnel(tunnel)}`]),
  ]
}

/** A word as a shell needs it. */
function quoted(word: string): string {
  return /[[\]]/.test(word) ? `'${word}'` : word
}

/** The file for `ipvs apply`. */
export async function file(services: readonly StateService[]): Promise<string> {
  const text = await formatState({ services }, { format: 'yaml' })
  return text.replace('version: 1\n', '').trimEnd()
}

/** The lines of a program with an open `ipvs`. */
export function program(services: readonly StateService[]): string[] {
  return services.flatMap(({ realServers = [], ...service }, index) => {
    const name = index === 0 ? 'web' : `web${String(index + 1)}`
    return [
      `const ${name} = await ipvs.addService(${literal(service)})`,
      ...realServers.map((server) => `await ${name}.addRealServer(${literal(server)})`),
    ]
  })
}

function literal(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  const fields = Object.entries(value).map(([name, field]) => `${name}: ${literal(field)}`)
  return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
}

export function fenced(info: string, lines: readonly string[]): string {
  return [`\`\`\`${info}`, ...lines, '```'].join('\n')
}
