import { familyOfAddress } from '../../model/address.ts'
import { endpointName, serviceName } from '../../model/keys.ts'
import { IPIP } from '../../model/server-settings.ts'
import type { Endpoint, Family, ServiceKey, Tunnel } from '../../model/types.ts'
import {
  changesSource,
  type Drop,
  dropOf,
  type Hook,
  type Packet,
  protocolWord,
  reasonOf,
  type Ruleset,
} from '../firewall/ruleset.ts'
import { rulesetOf } from '../firewall/read.ts'
import type { Finding } from './finding.ts'
import type { Host } from './host.ts'
import { finding, type Look, type ServerSeen } from './situation.ts'
import { tunnelDevices } from './tunnels.ts'

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

/** What a machine sends: chains of both hooks see it. */
const SENDING = ['output', 'postrouting'] as const satisfies Hook[]
const ARRIVING = ['prerouting', 'input'] as const satisfies Hook[]

const NEW_CONNECTIONS = 'New connections time out, or are refused.'
const THIS_SERVER = 'Connections that are given to this real server time out.'

export const firewallDrops: Look = function* ({ services, host }) {
  const ruleset = rulesetOf(host.firewall)
  if (ruleset.chains.length === 0) return
  for (const { key, servers } of services) {
    const packet = packetOf(key)
    if (packet === undefined || key.protocol === 'fwmark') continue
    const name = serviceName(key)
    const drop = dropOf(ruleset, packet, ARRIVING)
    if (drop !== undefined) {
      yield dropped(`packets to ${name}`, drop, packet, NEW_CONNECTIONS, { services: [key] })
      continue
    }
    for (const server of servers) {
      yield undefined
      const { address, port } = server
      for (const [what, way, hooks] of waysOf(host, packet, server)) {
        const onWay = dropOf(ruleset, way, hooks)
        if (onWay === undefined) continue
        const about = { services: [key], servers: [{ address, port }] }
        yield dropped(`${what} ${endpointName(address, port)} for ${name}`, onWay, way, THIS_SERVER, about)
        break
      }
    }
  }
}

/** On a real server: what comes by direct routing or a tunnel, and the answers. With `masquerade` the port is not known. */
export const firewallDropsOnRealServer: Look = function* (situation) {
  const { services, host, told } = situation
  const { method, tunnel = IPIP, director } = told
  const ruleset = rulesetOf(host.firewall)
  if (ruleset.chains.length === 0 || (method !== 'direct' && method !== 'tunnel')) return
  const route = director === undefined ? undefined : host.routesTo.get(director)
  const known = services.flatMap(({ key }) => {
    const packet = packetOf(key)
    return packet === undefined ? [] : [{ key, packet }]
  })
  for (const family of method === 'tunnel' ? (['ipv4', 'ipv6'] as const) : []) {
    const concerned = known.filter(({ packet }) => packet.family === family).map(({ key }) => key)
    const outer: Packet = {
      ...outside(family, { tunnel, family: director === undefined ? 'ipv4' : familyOfAddress(director) }),
      ...(director !== undefined && { source: director }),
      ...(route?.source !== undefined && { destination: route.source }),
      ...(route !== undefined && { incoming: route.link }),
      state: 'new',
    }
    const drop = concerned.length === 0 ? undefined : dropOf(ruleset, outer, ARRIVING)
    if (drop !== undefined)
      yield dropped('packets of the tunnel', drop, outer, THIS_SERVER, { services: concerned })
  }
  for (const { key, packet } of known) {
    const device = method === 'tunnel' ? tunnelDevices(situation, packet.family)[0]?.name : route?.link
    const request = device === undefined ? packet : { ...packet, incoming: device }
    const { family, protocol, destination: source, destinationPort: sourcePort } = packet
    const answer: Packet = {
      ...{ family, protocol, state: 'established' },
      ...(source !== undefined && { source }),
      ...(sourcePort !== undefined && { sourcePort }),
    }
    const about = { services: [key] }
    const [into, out] = [dropOf(ruleset, request, ARRIVING), dropOf(ruleset, answer, SENDING)]
    if (into !== undefined) yield dropped(`packets to ${serviceName(key)}`, into, request, THIS_SERVER, about)
    if (out !== undefined) yield dropped(`answers of ${serviceName(key)}`, out, answer, THIS_SERVER, about)
  }
}

/** Other packets of a connection, and the hooks that they pass: of IPVS's own (ip_vs_xmit.c), and the answers. */
function waysOf(
  host: Host,
  packet: Packet,
  { address, port, method, tunnel = IPIP }: ServerSeen,
): readonly (readonly [string, Packet, readonly Hook[]])[] {
  const { protocol, destination: virtual, destinationPort: virtualPort } = packet
  const family = familyOfAddress(address)
  const outgoing = host.routesTo.get(address)?.link
  const there = outgoing === undefined ? {} : { outgoing }
  if (method === 'direct') return [['packets to', { ...stateless(packet), ...there }, SENDING]]
  if (method === 'tunnel') {
    const outer = { ...outside(packet.family, { tunnel, family }), destination: address, ...there }
    return [['packets of the tunnel to', outer, SENDING]]
  }
  if (method !== 'masquerade') return []
  const ports = port === 0 ? virtualPort : port
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
  const back: Packet = {
    ...{ family, protocol },
    ...(virtual !== undefined && { source: virtual }),
    ...(virtualPort !== undefined && { sourcePort: virtualPort }),
  }
  return [
    ['packets to', to, SENDING],
    ['answers of', from, ['prerouting', 'forward']],
    ['answers of', back, ['postrouting']],
  ]
}

/** The packet around those of a family in a tunnel. */
function outside(
  inner: Family,
  { tunnel: { type, port }, family }: { readonly tunnel: Tunnel; readonly family: Family },
): Packet {
  if (type === 'gre') return { family, protocol: 'gre' }
  if (type === 'gue') return { family, protocol: 'udp', ...(port !== undefined && { destinationPort: port }) }
  return { family, protocol: inner === 'ipv4' ? 'ipencap' : 'ipv6' }
}

/** What IPVS sends has no state that is the same on all kernels. */
function stateless({ state: _, ...packet }: Packet): Packet {
  return packet
}

/** Connection tracking does not see requests, unless it is told to. */
function stateOfAnswer({ sysctls }: Host, protocol: Packet['protocol']): string | undefined {
  if (sysctls.get('net.ipv4.vs.conntrack') !== '0') return undefined
  return protocol === 'tcp' ? 'invalid' : protocol === 'udp' ? 'new' : undefined
}

function dropped(
  what: string,
  drop: Drop,
  packet: Packet,
  effect: string,
  about: { readonly services: readonly ServiceKey[]; readonly servers?: readonly Endpoint[] },
): Finding {
  return finding(
    'firewall-drops',
    'error',
    `${drop.chain.program} drops ${what}: ${reasonOf(drop)}`,
    effect,
    { ...about, commands: [acceptance(drop.base, packet)] },
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
      ...(sourcePort === undefined && destinationPort === undefined
        ? [`meta l4proto ${protocolWord(protocol)}`]
        : []),
    ]
    return `nft insert rule ${table} ${name} ${words.join(' ')} accept`
  }
  const words = [
    ...(table === 'filter' ? [] : [`-t ${table}`]),
    `-I ${name}`,
    ...(source === undefined ? [] : [`-s ${source}`]),
    ...(destination === undefined ? [] : [`-d ${destination}`]),
    `-p ${protocolWord(protocol)}`,
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
  const drop = dropOf(ruleset, packet, way === 'sends' ? SENDING : ARRIVING)
  if (drop === undefined) return undefined
  const found = dropped(
    ...([`packets of the sync daemons to ${endpointName(group, port)}`, drop, packet] as const),
    ...(['Connections break when the other director takes over.', { services: [] }] as const),
  )
  return { ...found, severity: 'warning' }
}

/** A rule that gives packets to real servers another source address, and IPVS does not let it. */
export const sourceUnchanged: Look = function* ({ services, host }) {
  const name = 'net.ipv4.vs.conntrack'
  if (host.sysctls.get(name) !== '0') return
  const ruleset = rulesetOf(host.firewall)
  for (const { key, servers } of services) {
    const packet = packetOf(key)
    if (packet === undefined || key.protocol === 'fwmark') continue
    yield undefined
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
