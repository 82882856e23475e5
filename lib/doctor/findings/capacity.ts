import { endpointName, serviceName } from '../../model/keys.ts'
import type { Connection } from '../../model/types.ts'
import { kernelSince } from './host.ts'
import { finding, type Look, type ServiceSeen, type TableSeen } from './situation.ts'

/** Limits that are near, and connections that hold clients where they are not served. */

/** From this part of a limit on it is near. */
const NEAR = 0.9

export const trackingFull: Look = function* ({ host }) {
  const [count, most] = ['nf_conntrack_count', 'nf_conntrack_max'].map((name) =>
    Number(host.sysctls.get(`net.netfilter.${name}`) ?? 0),
  ) as [number, number]
  // 0: no limit.
  if (most === 0 || count < most * NEAR) return
  yield finding(
    'conntrack-full',
    'error',
    `the firewall tracks ${String(count)} connections of at most ${String(most)}`,
    'New connections time out at random.',
    { sysctls: { 'net.netfilter.nf_conntrack_max': String(2 * most) } },
  )
}

export const connectionsNearLimit: Look = function* ({ host, table }) {
  const name = 'net.ipv4.vs.conn_max'
  const most = Number(host.sysctls.get(name) ?? 0)
  const count = connectionsOf(table)
  if (most === 0 || count < most * NEAR) return
  yield finding(
    'connections-near-limit',
    'warning',
    `there are ${String(count)} connections of at most ${String(most)} (${name})`,
    'At the limit, new connections time out.',
    { sysctls: { [name]: String(2 * most) } },
  )
}

/** Connections for each list of the table from which on looking for one takes noticeably longer. */
const LONG_LIST = 8

export const hashSmall: Look = function* ({ host, table }) {
  // Since then it grows by itself.
  if (table === undefined || kernelSince(host, 7, 1)) return
  const size = table.info.connectionTableSize
  const count = connectionsOf(table)
  if (size === 0 || count < size * LONG_LIST) return
  // More than 20 only since Linux 6.5.
  const bits = Math.min(20, Math.ceil(Math.log2(count)))
  if (2 ** bits <= size) return
  yield finding(
    'hash-small',
    'note',
    `${String(count)} connections are in a table of ${String(size)} lists; another size takes effect when ip_vs is loaded again, such as at the next boot`,
    'Every packet costs the director more time than it needs.',
    {
      // Others may have written there. Of two numbers the kernel takes the later one.
      commands: [`echo options ip_vs conn_tab_bits=${String(bits)} >> /etc/modprobe.d/ip_vs.conf`],
    },
  )
}

function connectionsOf(table: TableSeen | undefined): number {
  let count = 0
  for (const { servers } of table?.services ?? []) {
    for (const { activeConnections, inactiveConnections, persistentConnections } of servers)
      count += activeConnections + inactiveConnections + persistentConnections
  }
  return count
}

/** Connections in use whose real server is not in their service any more. (ip_vs_in_hook) */
export const deletedHoldClients: Look = function* ({ host, table }) {
  const name = 'net.ipv4.vs.expire_nodest_conn'
  if (table === undefined || host.sysctls.get(name) !== '0') return
  // Their connections do not tell their mark.
  if (table.services.some(({ key }) => key.protocol === 'fwmark')) return
  const services = new Map(table.services.map((service) => [serviceName(service.key), service]))
  const lost = new Map<ServiceSeen, Connection[]>()
  for (const connection of table.connections) {
    if (connection.template || !['ESTABLISHED', 'UDP'].includes(connection.state)) continue
    const { protocol, virtualAddress: address, virtualPort, serverAddress, serverPort } = connection
    const service =
      services.get(serviceName({ protocol, address, port: virtualPort })) ??
      services.get(serviceName({ protocol, address, port: 0 }))
    if (service === undefined) continue
    const isThere = service.servers.some(
      (server) => server.address === serverAddress && (server.port === serverPort || server.port === 0),
    )
    if (!isThere) lost.set(service, [...(lost.get(service) ?? []), connection])
  }
  for (const [{ key }, connections] of lost) {
    const deleted = [
      ...new Map(
        connections.map(({ serverAddress: address, serverPort: port }) => [
          endpointName(address, port),
          { address, port },
        ]),
      ),
    ]
    yield finding(
      'deleted-hold-clients',
      'warning',
      `${connections.length === 1 ? 'a connection' : `${String(connections.length)} connections`} of ${serviceName(key)} ${connections.length === 1 ? 'belongs' : 'belong'} to real servers that were deleted: ${deleted.map(([server]) => server).join(', ')}`,
      'Their packets are dropped, so these clients hang, and time out.',
      { services: [key], servers: deleted.map(([, server]) => server), sysctls: { [name]: '1' } },
    )
  }
}

export const quiescentHoldClients: Look = function* ({ services, host }) {
  const name = 'net.ipv4.vs.expire_quiescent_template'
  if (host.sysctls.get(name) !== '0') return
  for (const { key, persistence, servers } of services) {
    const held = servers.filter(
      ({ weight, persistentConnections }) => weight === 0 && persistentConnections > 0,
    )
    // Where there is no other, new clients are refused, which another finding says.
    if (persistence === undefined || held.length === 0 || held.length === servers.length) continue
    yield finding(
      'quiescent-hold-clients',
      'note',
      `${serviceName(key)} is persistent, and keeps bringing clients to ${held.map(({ address, port }) => endpointName(address, port)).join(', ')} with weight 0`,
      `Clients that are known come back to it until they were away for ${String(persistence.timeoutSeconds)} s, even if it does not answer.`,
      {
        services: [key],
        servers: held.map(({ address, port }) => ({ address, port })),
        sysctls: { [name]: '1' },
      },
    )
  }
}

export const reuseHoldsClients: Look = function* ({ services, host }) {
  const name = 'net.ipv4.vs.conn_reuse_mode'
  if (host.sysctls.get(name) !== '0') return
  for (const { key, servers, onePacket } of services) {
    const held = servers.filter(
      ({ weight, activeConnections, inactiveConnections }) =>
        weight === 0 && activeConnections + inactiveConnections > 0,
    )
    if (key.protocol === 'udp' || onePacket || held.length === 0 || held.length === servers.length) continue
    yield finding(
      'reuse-holds-clients',
      'note',
      `${name} is 0, and ${held.map(({ address, port }) => endpointName(address, port)).join(', ')} of ${serviceName(key)} with weight 0 has connections`,
      'A client that connects from a port that it used lately comes back to it, even if it does not answer.',
      {
        services: [key],
        servers: held.map(({ address, port }) => ({ address, port })),
        sysctls: { [name]: '1' },
      },
    )
  }
}
