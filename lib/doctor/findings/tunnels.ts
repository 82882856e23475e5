import { familyOfAddress, familyOfService, isIPv4 } from '../../model/address.ts'
import { IPIP } from '../../model/server-settings.ts'
import type { Family, Tunnel } from '../../model/types.ts'
import { rulesetOf } from '../firewall/read.ts'
import { dropOf, reasonOf } from '../firewall/ruleset.ts'
import {
  addAddress,
  greaterOf,
  hasDefault,
  isUnread,
  type Host,
  type Link,
  linkOfAddress,
  settingOf,
  word,
} from './host.ts'
import {
  finding,
  keysOf,
  type Look,
  namesOf,
  type Situation,
  type Told,
  virtualAddresses,
} from './situation.ts'

/** Whether packets come through tunnels, and out of them. */

/** Kinds of devices that take packets of a tunnel, by the families of the packet and of what is around it. */
const IP_IN_IP = {
  ipv4: { ipv4: ['ipip'], ipv6: ['sit'] },
  ipv6: { ipv4: ['ip6tnl'], ipv6: ['ip6tnl'] },
} as const
const GRE = { ipv4: ['gre'], ipv6: ['ip6gre'] } as const

function kindsFor({ type }: Tunnel, outer: Family, inner: Family): readonly string[] {
  return type === 'gre' ? GRE[outer] : IP_IN_IP[outer][inner]
}

/** The family of what is around the packets: without the director's address that of nearly all networks. */
function outerFamily({ director }: Told): Family {
  return director === undefined ? 'ipv4' : familyOfAddress(director)
}

/**
 * Devices of a real server that take packets of a family out of the told tunnel. First one for the director, then one that
 * is up: with its module comes a device of the kernel's own, which is down.
 */
export function tunnelDevices({ host, told }: Situation, inner: Family): readonly Link[] {
  const kinds = kindsFor(told.tunnel ?? IPIP, outerFamily(told), inner)
  const rank = ({ remote, up }: Link): number =>
    (remote !== '' && remote === told.director ? 0 : 2) + (up ? 0 : 1)
  return host.links.filter(({ kind }) => kinds.includes(kind)).sort((one, other) => rank(one) - rank(other))
}

/** On a real server: a device for what the director sends. */
export const tunnelMissing: Look = function* (situation) {
  const { services, host, told } = situation
  if (told.method !== 'tunnel' || isUnread(host, 'ip')) return
  const { tunnel = IPIP } = told
  const outer = outerFamily(told)
  for (const inner of ['ipv4', 'ipv6'] as const) {
    const concerned = services.filter(({ key }) => familyOfService(key) === inner)
    if (concerned.length === 0) continue
    const devices = tunnelDevices(situation, inner)
    const about = { services: keysOf(concerned) }
    const effect =
      'Connections that are given to this real server time out: nothing takes their packets out of the tunnel.'
    const [kind = ''] = kindsFor(tunnel, outer, inner)
    if (devices.length === 0) {
      yield finding('tunnel-missing', 'error', `there is no tunnel device of kind ${kind}`, effect, {
        ...about,
        commands: [
          `ip link add ipvs0 type ${kind}${endsOf(situation, kind)}`,
          'ip link set ipvs0 up',
          ...(inner === 'ipv4' ? ['sysctl -w net.ipv4.conf.ipvs0.rp_filter=2'] : []),
          ...virtualAddresses(concerned).map((address) => addAddress(address, 'ipvs0')),
        ],
      })
    } else if (!devices.some(({ up }) => up)) {
      const name = devices[0]?.name ?? ''
      yield finding('tunnel-missing', 'error', `tunnel device ${name} is down`, effect, {
        ...about,
        commands: [`ip link set ${word(name)} up`],
      })
    }
    if (tunnel.type === 'gue' && tunnel.port !== undefined && !host.guePorts.includes(tunnel.port)) {
      const port = String(tunnel.port)
      yield finding('tunnel-missing', 'error', `nothing takes packets of GUE at UDP port ${port}`, effect, {
        ...about,
        commands: [
          `modprobe ${outer === 'ipv6' ? 'fou6' : 'fou'}`,
          `ip ${outer === 'ipv6' ? '-6 ' : ''}fou add port ${port} gue`,
        ],
      })
    }
  }
}

/** What a new device is told: its ends, and what the packets have that it takes. */
function endsOf({ host, told: { tunnel, director } }: Situation, kind: string): string {
  const source = director === undefined ? undefined : host.routesTo.get(director)?.source
  return [
    kind === 'ip6tnl' ? ' mode any' : '',
    source === undefined ? '' : ` local ${source}`,
    director === undefined ? '' : ` remote ${director}`,
    // Without it, a device drops what has a checksum. (ip_tunnel_rcv)
    kind.endsWith('gre') && tunnel?.checksum === 'csum' ? ' icsum' : '',
  ].join('')
}

/**
 * On a real server: packets of clients arrive where the answers to them would not leave. (fib_validate_source():
 * a device without an address lets none of them through, unless rp_filter is 0)
 */
export const sourceCheck: Look = function* (situation) {
  const { services, host, told } = situation
  if (told.method !== 'direct' && told.method !== 'tunnel') return
  const concerned = services.filter(({ key }) => familyOfService(key) === 'ipv4')
  if (concerned.length === 0) return
  const about = { services: keysOf(concerned) }
  const effect = 'Connections that are given to this real server time out.'
  for (const { name } of told.method === 'tunnel' ? tunnelDevices(situation, 'ipv4') : arrivals(host, told)) {
    const check = greaterOf(host, name, 'rp_filter')
    // Where no virtual address is on this machine, that is said, and mended, by itself.
    const given = virtualAddresses(concerned).some((one) => linkOfAddress(host, one) !== undefined)
    const bare = given && !host.addresses.some(({ link, address }) => link === name && isIPv4(address))
    if (check === 0 || !isUp(host, name)) continue
    if (bare) {
      yield finding(
        'source-check',
        'error',
        `${name} has no address, and rp_filter of ${name} is ${String(check)}: packets that come by ${name} are dropped`,
        effect,
        { ...about, commands: virtualAddresses(concerned).map((address) => addAddress(address, name)) },
      )
    }
    if (check === 1) {
      yield finding(
        'source-check',
        'error',
        `rp_filter of ${name} is 1, and answers to clients leave by another interface: packets that come by ${name} are dropped`,
        effect,
        // The kernel takes the greater of this and that of all.
        { ...about, sysctls: { [settingOf(name, 'rp_filter')]: '2' } },
      )
    }
  }
}

function isUp({ links }: Host, link: string): boolean {
  return links.some(({ name, up }) => up && name === link)
}

/** With method direct: the link to the director, if answers leave by another. */
function arrivals(host: Host, { director }: Told): readonly Link[] {
  const from = director === undefined ? undefined : host.routesTo.get(director)?.link
  const out = host.routes.find((route) => hasDefault(route, 'ipv4'))?.link
  return from === undefined || out === undefined || from === out
    ? []
    : host.links.filter(({ name }) => name === from)
}

/** What stands before a packet in a tunnel, without the outer IP header: GRE, or UDP and GUE; each with its checksum. */
function headerBytes({ type, checksum }: Tunnel): number {
  if (type === 'gre') return checksum === 'csum' ? 8 : 4
  // UDP, GUE, and what GUE needs to say where a checksum is.
  if (type === 'gue') return 8 + 4 + (checksum === 'remcsum' ? 8 : 0)
  return 0
}

const DISCOVERY = 'net.ipv4.vs.pmtu_disc'

/** Packets of the Internet are this long at most. */
const USUAL_MTU = 1500

/**
 * On a director: the largest packets of clients, and a header, leave by a link that is too narrow for both. Those of IPv4
 * are sent in pieces if pmtu_disc is 0. (ensure_mtu_is_adequate)
 */
export const tunnelTooNarrow: Look = function* ({ services, host }) {
  const discovers = host.sysctls.get(DISCOVERY) !== '0'
  const narrow = new Map<
    string,
    { readonly mtu: number; need: number; inPieces: boolean; readonly services: (typeof services)[number][] }
  >()
  const links = new Map(host.links.map((link) => [link.name, link]))
  const places = new Map(host.addresses.map(({ address, link }) => [address, link]))
  for (const service of services) {
    const { key } = service
    const inPieces = familyOfService(key) === 'ipv4'
    if (inPieces && !discovers) continue
    const at = key.protocol === 'fwmark' ? undefined : places.get(key.address)
    const incoming = links.get(at ?? '')?.mtu ?? USUAL_MTU
    for (const { address, method, tunnel = IPIP } of service.servers) {
      const link = links.get(host.routesTo.get(address)?.link ?? '')
      if (method !== 'tunnel' || link === undefined || link.loopback) continue
      const header = (familyOfAddress(address) === 'ipv6' ? 40 : 20) + headerBytes(tunnel)
      const need = Math.min(incoming, USUAL_MTU) + header
      if (link.mtu >= need) continue
      const known = narrow.get(link.name) ?? { mtu: link.mtu, need, inPieces, services: [] }
      known.inPieces &&= inPieces
      known.need = Math.max(known.need, need)
      if (known.services.at(-1) !== service) known.services.push(service)
      narrow.set(link.name, known)
    }
  }
  for (const [name, { mtu, need, inPieces, services: concerned }] of narrow) {
    const families = new Set(concerned.map(({ key }) => familyOfService(key)))
    const [untold] = [...families].flatMap((family) => tooLongUntold(host, family) ?? [])
    yield finding(
      'tunnel-too-narrow',
      untold === undefined ? 'note' : 'error',
      `${name} takes packets of ${String(mtu)} bytes, and the largest of clients need ${String(need)} in the tunnels of ${namesOf(concerned)}${untold === undefined ? '' : `; ${untold}`}`,
      untold === undefined
        ? 'Clients are told to send smaller packets by ICMP. Where ICMP is filtered, connections open, and uploads hang.'
        : 'Connections open, and uploads hang: clients are not told to send smaller packets.',
      {
        services: keysOf(concerned),
        // Not among the sysctls that --fix sets: pieces cost time, and many clients need none.
        commands: [
          inPieces ? `sysctl -w ${DISCOVERY}=0` : `ip link set dev ${word(name)} mtu ${String(need)}`,
        ],
      },
    )
  }
}

/** Why no client hears that its packets are too long. */
function tooLongUntold({ firewall }: Host, family: Family): string | undefined {
  const message = { family, protocol: family === 'ipv4' ? 'icmp' : 'ipv6-icmp' } as const
  const drop = dropOf(rulesetOf(firewall), message, ['output', 'postrouting'])
  return drop && `${drop.chain.program} drops ICMP: ${reasonOf(drop)}`
}
