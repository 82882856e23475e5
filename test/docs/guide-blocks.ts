import { formatEndpoint, formatServiceKey, formatState, formatTunnel } from '../../lib/text.ts'
import type { PersistenceSpec, RealServerSpec, StateService } from '../../lib/index.ts'
import type { Interface, Topology } from '../traffic/topology.ts'

/** The parts of a guide that are written from data: pictures, tables and code. */

/** A packet on its way from one machine to another, outermost addresses first. */
export interface Hop {
  readonly from: string
  readonly to: string
  /** What is drawn on the arrow, in lines: `198.51.100.100:40000 → 192.0.2.10:80`. */
  readonly packet: readonly string[]
}

/** A sequence diagram of Mermaid: the machines with their addresses, and a numbered arrow for each hop. */
export function way(topology: Topology, hops: readonly Hop[]): string {
  const machines = Object.keys(topology.hosts).filter((name) =>
    hops.some(({ from, to }) => name === from || name === to),
  )
  const ipv6 = hops[0]?.packet.at(-1)?.startsWith('[') === true
  return fenced('mermaid', [
    'sequenceDiagram',
    '  autonumber',
    ...machines.map((machine) => {
      const all = Object.values(topology.hosts[machine]?.interfaces ?? {})
      const own = all.flatMap((one) => addressesOf(one, ipv6)).map((address) => address.replace(/\/.*/, ''))
      return `  participant ${machine} as ${[machine, ...own].join('<br/>')}`
    }),
    ...hops.map(({ from, to, packet }) => `  ${from}->>${to}: ${packet.join('<br/>')}`),
  ])
}

function addressesOf({ addresses: all }: Interface, ipv6: boolean): string[] {
  return all.filter((address) => address.includes(':') === ipv6)
}

/** A row for each interface of each machine, with the addresses of one family, and rows of one's own. */
export function addresses(
  topology: Topology,
  own: readonly (readonly [machine: string, place: string, address: string, what: string])[],
  ipv6 = false,
): string {
  const rows = Object.entries(topology.hosts).flatMap(([machine, { interfaces }]) =>
    Object.entries(interfaces).map(([name, one]) => [
      machine,
      `\`${name}\``,
      addressesOf(one, ipv6).join(', '),
      topology.networks[one.network]?.title ?? one.network,
    ]),
  )
  return [
    '| Machine | Interface | Address | Network |',
    '|---|---|---|---|',
    ...[...rows, ...own].map((cells) => `| ${cells.join(' | ')} |`),
  ].join('\n')
}

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
