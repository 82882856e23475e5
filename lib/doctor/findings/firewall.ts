import { familyOfAddress } from '../../model/address.ts'
import { endpointName, serviceName } from '../../model/keys.ts'
import type { Endpoint, ServiceKey } from '../../model/types.ts'
import {
  changesSource,
  type Drop,
  dropOf,
  type Hook,
  type Packet,
  type Ruleset,
} from '../firewall/ruleset.ts'
import { rulesetOf } from '../firewall/read.ts'
import type { Finding } from './finding.ts'
import type { Host } from './host.ts'
import { finding, type Look, type ServerSeen } from './situation.ts'

/** Whether a firewall on this machine lets packets through, as far as it can be told for every client. */

/** The first packet of a client; `undefined` where addresses or protocol are not known. */
export function packetOf(key: ServiceKey): Packet | undefined {
  const { protocol } = key
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') return undefined
  return {
    ...{ family: familyOfAddress(key.address), protocol, destination: key.address, state: 'new' },
    // Port 0: any.
    ...(key.port !== 0 && { destinationPort: key.port }),
  }
}

export const firewallDrops: Look = function* ({ services, host }) {
  const ruleset = rulesetOf(host.firewall)
  if (ruleset.chains.length === 0) return
  for (const { key, servers } of services) {
    const packet = packetOf(key)
    if (packet === undefined || key.protocol === 'fwmark') continue
    const name = serviceName(key)
    const drop = dropOf(ruleset, packet, ['prerouting', 'input'])
    if (drop !== undefined) {
      yield dropped(`packets to ${name}`, drop, packet, 'New connections time out, or are refused.', key)
      continue
    }
    for (const server of servers) {
      const target = endpointName(server.address, server.port)
      for (const [what, way, hooks] of waysOf(host, packet, server)) {
        const onWay = dropOf(ruleset, way, hooks)
        if (onWay === undefined) continue
        const effect = 'Connections that are given to this real server time out.'
        yield dropped(`${what} ${target} for ${name}`, onWay, way, effect, key, server)
        break
      }
    }
  }
}

/** Other packets of a connection, and the hooks that they pass: of IPVS's own (ip_vs_xmit.c), and the answers. */
function waysOf(
  host: Host,
  packet: Packet,
  { address, port, method }: ServerSeen,
): readonly (readonly [string, Packet, readonly Hook[]])[] {
  const { protocol } = packet
  const family = familyOfAddress(address)
  const outgoing = host.routesTo.get(address)?.link
  const there = outgoing === undefined ? {} : { outgoing }
  if (method === 'direct') return [['packets to', { ...stateless(packet), ...there }, ['output']]]
  if (method !== 'masquerade') return []
  const ports = port === 0 ? packet.destinationPort : port
  const to: Packet = {
    ...{ family, protocol, destination: address, ...there },
    ...(ports !== undefined && { destinationPort: ports }),
  }
  const state = stateOfAnswer(host, protocol)
  const from: Packet = {
    ...{ family, protocol, source: address },
    ...(ports !== undefined && { sourcePort: ports }),
    ...(outgoing !== undefined && { incoming: outgoing }),
    ...(state !== undefined && { state }),
  }
  return [
    ['packets to', to, ['output']],
    ['answers of', from, ['prerouting', 'forward']],
  ]
}

/** What IPVS sends has no state that is the same on all kernels. */
function stateless({ state: _, ...packet }: Packet): Packet {
  return packet
}

/** Connection tracking does not see requests, unless it is told to. */
function stateOfAnswer({ sysctls }: Host, protocol: Packet['protocol']): string | undefined {
  if (sysctls.get('net.ipv4.vs.conntrack') !== '0') return undefined
  return { tcp: 'invalid', udp: 'new', sctp: undefined }[protocol]
}

function dropped(
  what: string,
  { chain, rule, base }: Drop,
  packet: Packet,
  effect: string,
  key: ServiceKey,
  server?: Endpoint,
): Finding {
  const by =
    rule === undefined
      ? `the policy of chain ${chain.name}`
      : `${rule.text}${rule.text.startsWith('-A') ? '' : ` of chain ${chain.name}`}`
  return finding(
    'firewall-drops',
    'error',
    `${chain.program} drops ${what}: ${by} in table ${chain.table}`,
    effect,
    {
      services: [key],
      servers: server === undefined ? [] : [{ address: server.address, port: server.port }],
      commands: [acceptance(base, packet)],
    },
  )
}

/** A rule before all others of a chain that accepts a packet. */
function acceptance(
  { program, table, name }: Drop['base'],
  { family, protocol, source, destination, sourcePort, destinationPort }: Packet,
): string {
  if (program === 'nft') {
    const ip = family === 'ipv4' ? 'ip' : 'ip6'
    const words = [
      ...(source === undefined ? [] : [`${ip} saddr ${source}`]),
      ...(destination === undefined ? [] : [`${ip} daddr ${destination}`]),
      ...(sourcePort === undefined ? [] : [`${protocol} sport ${String(sourcePort)}`]),
      ...(destinationPort === undefined ? [] : [`${protocol} dport ${String(destinationPort)}`]),
      ...(sourcePort === undefined && destinationPort === undefined ? [`meta l4proto ${protocol}`] : []),
    ]
    return `nft insert rule ${table} ${name} ${words.join(' ')} accept`
  }
  const words = [
    ...(table === 'filter' ? [] : [`-t ${table}`]),
    `-I ${name}`,
    ...(source === undefined ? [] : [`-s ${source}`]),
    ...(destination === undefined ? [] : [`-d ${destination}`]),
    `-p ${protocol}`,
    ...(sourcePort === undefined ? [] : [`--sport ${String(sourcePort)}`]),
    ...(destinationPort === undefined ? [] : [`--dport ${String(destinationPort)}`]),
  ]
  return `${program} ${words.join(' ')} -j ACCEPT`
}

/** A backup that hears nothing, or a master that is not heard. */
export function syncDropped(
  ruleset: Ruleset,
  way: 'sends' | 'hears',
  { group, port, link }: { readonly group: string; readonly port: number; readonly link: string },
): Finding | undefined {
  const packet: Packet = {
    ...{ family: familyOfAddress(group), protocol: 'udp', destination: group, destinationPort: port },
    ...(way === 'sends' ? { outgoing: link } : { incoming: link, state: 'new' }),
  }
  const drop = dropOf(ruleset, packet, way === 'sends' ? ['output'] : ['prerouting', 'input'])
  if (drop === undefined) return undefined
  const found = dropped(
    `packets of the sync daemons to ${endpointName(group, port)}`,
    ...([drop, packet, 'Connections break when the other director takes over.'] as const),
    { protocol: 'udp', address: group, port },
  )
  return { ...found, severity: 'warning', services: [] }
}

/** A rule that gives packets to real servers another source address, and IPVS does not let it. */
export const sourceUnchanged: Look = function* ({ services, host }) {
  const name = 'net.ipv4.vs.conntrack'
  if (host.sysctls.get(name) !== '0') return
  const ruleset = rulesetOf(host.firewall)
  for (const { key, servers } of services) {
    const packet = packetOf(key)
    if (packet === undefined || key.protocol === 'fwmark') continue
    const concerned = servers.filter(({ address, port, method }) => {
      const outgoing = host.routesTo.get(address)?.link
      return (
        method === 'masquerade' &&
        changesSource(ruleset, {
          ...{ family: familyOfAddress(address), protocol: packet.protocol, destination: address },
          destinationPort: port,
          ...(outgoing !== undefined && { outgoing }),
          virtual: { address: key.address, port: key.port },
        })
      )
    })
    if (concerned.length === 0) continue
    yield finding(
      'conntrack-off',
      'warning',
      `a rule gives packets to the real servers of ${serviceName(key)} another source address, and ${name} is 0, so they keep that of the client`,
      'Connections time out, unless the real servers answer through the director anyway.',
      {
        services: [key],
        servers: concerned.map(({ address, port }) => ({ address, port })),
        sysctls: { [name]: '1' },
      },
    )
  }
}
