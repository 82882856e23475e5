import type { RealServerSpec, Service, ServiceSettings } from '../../lib/index.ts'
import { PATIENCE } from '../helpers/patience.mjs'
import { type Conversation, countsOf, type Target } from './agent.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/**
 * Many clients and servers without many machines: the client has every address of some networks, and one machine
 * has several real servers, each on a port of its own.
 */

/** Networks of 25 clients each, 200 in all, one network after the other. */
export const CROWD = {
  ipv4: crowd((network, host) => `198.19.${String(network)}.${String(host)}`),
  ipv6: crowd((network, host) => `2001:db8:c:${String(network)}::${String(host)}`),
} as const

/** Addresses of which the director has every one. */
export const DESTINATIONS: readonly string[] = Array.from(
  { length: 200 },
  (_, at) => `198.18.0.${String(at + 1)}`,
)

/** A timeout for which a test waits: as short as can be, and long enough to say something in between. */
export const SHORT_SECONDS: number = Math.max(2, Math.ceil(PATIENCE * 0.4))

/** How many connections a promise is proven on. */
export const COUNT = 200

/** Real servers, by the name with which they answer. */
export const SERVERS = { a: 8001, b: 8002, c: 8003, d: 8004, e: 8005 } as const
export type ServerName = keyof typeof SERVERS

export type CrowdSite = Site<keyof typeof BEHIND_DIRECTOR.hosts>

function crowd(address: (network: number, host: number) => string): string[] {
  return Array.from({ length: 200 }, (_, at) => address(Math.floor(at / 25), 1 + (at % 25)))
}

/** A director with NAT whose real servers listen, on TCP and UDP, and no service yet. */
export function withCrowd<T>(body: (site: CrowdSite) => Promise<T>): Promise<T> {
  return withTopology(BEHIND_DIRECTOR, async (site) => {
    const { agent, hosts, sh } = site
    await sh(
      'client',
      'sysctl -qw net.ipv6.ip_nonlocal_bind=1',
      'ip route add local 198.19.0.0/16 dev lo',
      'ip route add local 2001:db8:c::/48 dev lo',
    )
    await sh(
      'router',
      'ip route add 198.19.0.0/16 via 198.51.100.100',
      'ip route add 2001:db8:c::/48 via 2001:db8:100::100',
      'ip route add 198.18.0.0/24 via 192.0.2.1',
    )
    await sh(
      'director',
      'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
      `ip address add ${VIRTUAL.ipv4}/32 dev eth0`,
      `ip address add ${VIRTUAL.ipv6}/128 dev eth0 nodad`,
      'ip route add local 198.18.0.0/24 dev lo',
    )
    for (const [name, port] of Object.entries(SERVERS))
      for (const protocol of ['tcp', 'udp'] as const) await agent.serve(hosts.web1, { protocol, port, name })
    return body(site)
  })
}

/** One of the real servers, as a service takes it. */
export function server(name: ServerName, settings: Partial<RealServerSpec> = {}): RealServerSpec {
  return { address: '10.0.0.11', port: SERVERS[name], method: 'masquerade', ...settings }
}

let lastPort = 1000

/** One that no service had: a kernel remembers connections to a service, and its servers, after it is gone. */
export function freePort(): number {
  return ++lastPort
}

/** A service on a port that none had, with these real servers, the first added first. */
export async function serve(
  { hosts: { director } }: CrowdSite,
  settings: ServiceSettings,
  servers: Partial<Record<ServerName, Partial<RealServerSpec>>>,
  { family = 'ipv4', protocol = 'tcp' }: { family?: 'ipv4' | 'ipv6'; protocol?: 'tcp' | 'udp' } = {},
): Promise<Service> {
  const key = { protocol, address: VIRTUAL[family], port: freePort() } as const
  const service = await director.ipvs.addService({ ...key, ...settings })
  const address = family === 'ipv6' ? { address: 'fd00::11' } : {}
  for (const [name, more] of Object.entries(servers) as [ServerName, object][])
    await service.addRealServer(server(name, { ...address, ...more }))
  return service
}

/** All with the same settings. */
export function each(
  names: readonly ServerName[],
  settings: Partial<RealServerSpec> = {},
): Record<string, Partial<RealServerSpec>> {
  return Object.fromEntries(names.map((name) => [name, settings]))
}

/** Asks once from each address, and gives who answered; an errno for no answer. */
export async function ask(
  { agent, hosts }: CrowdSite,
  service: Service,
  sources: readonly string[] = [],
  count = COUNT,
): Promise<string[]> {
  const answers = await agent.askMany(hosts.client, targetOf(service), count, sources)
  return answers.map((answer) => ('error' in answer ? answer.error : answer.server))
}

export function targetOf({ key }: Service): Target {
  if (key.protocol !== 'tcp' && key.protocol !== 'udp') throw new Error('nobody asks there')
  return { protocol: key.protocol, address: key.address, port: key.port }
}

/** Opens connections, one after the other, that stay open. */
export async function hold(
  { agent, hosts }: CrowdSite,
  service: Service,
  count = COUNT,
): Promise<Conversation[]> {
  const held: Conversation[] = []
  for (let at = 0; at < count; at++) held.push(await agent.connect(hosts.client, targetOf(service)))
  return held
}

export async function closeAll(held: readonly Conversation[]): Promise<void> {
  await Promise.all(held.map((conversation) => conversation.close()))
}

export function namesOf(held: readonly Conversation[]): string[] {
  return held.map((conversation) => conversation.server)
}

/** How many of each name there are. */
export function counts(names: readonly string[]): Record<string, number> {
  return countsOf(names.map((name) => ({ server: name })))
}
