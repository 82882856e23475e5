import { familyOfService } from '../../model/address.ts'
import { endpointName, serviceName } from '../../model/keys.ts'
import { markOf } from '../firewall/ruleset.ts'
import { rulesetOf } from '../firewall/read.ts'
import { packetOf } from './firewall.ts'
import { kernelSince } from './host.ts'
import { finding, type Look } from './situation.ts'

/** What is in the table that cannot work, or works otherwise than it looks. */

export const noServers: Look = function* ({ services, host }) {
  for (const { key, servers } of services) {
    if (servers.length > 0) continue
    // Packets of a mark may go on to where they were sent.
    if (key.protocol === 'fwmark' && ![undefined, '0'].includes(host.sysctls.get('net.ipv4.vs.cache_bypass')))
      continue
    const name = serviceName(key)
    yield finding(
      'no-servers',
      'error',
      `${name} has no real server: add one, such as ipvs add ${name} 10.0.0.11`,
      'Connections are refused.',
      { services: [key] },
    )
  }
}

export const allQuiescent: Look = function* ({ services }) {
  for (const { key, servers } of services) {
    if (servers.length === 0 || servers.some(({ weight }) => weight > 0)) continue
    const name = serviceName(key)
    yield finding(
      'all-quiescent',
      'error',
      servers.length === 1
        ? `the only real server of ${name} has weight 0`
        : `all ${String(servers.length)} real servers of ${name} have weight 0`,
      'New connections are refused.',
      {
        services: [key],
        servers: servers.map(({ address, port }) => ({ address, port })),
        commands: servers.map(({ address, port }) => `ipvs weight ${name} ${endpointName(address, port)} 1`),
      },
    )
  }
}

export const persistenceOfOne: Look = function* ({ services }) {
  for (const { key, persistence, servers } of services) {
    const [only] = servers
    // With port 0 it is persistence that makes a service of all ports.
    const needsIt = key.protocol !== 'fwmark' && key.port === 0
    if (persistence === undefined || only === undefined || servers.length > 1 || needsIt) continue
    const name = serviceName(key)
    yield finding(
      'persistence-of-one',
      'note',
      `${name} is persistent and has one real server, ${endpointName(only.address, only.port)}`,
      `Clients that it served come back to it for ${String(persistence.timeoutSeconds)} s after their last connection, also once there are others.`,
      {
        services: [key],
        servers: [{ address: only.address, port: only.port }],
        commands: [`ipvs set ${name} persistence=none`],
      },
    )
  }
}

/** A service by mark gets the packets before one by address does. (ip_vs_service_find) */
export const shadowed: Look = function* ({ services, table, host }) {
  const all = [...(table?.services ?? []), ...services]
  const marks = new Map(
    all.flatMap(({ key }) =>
      key.protocol === 'fwmark' ? [[`${familyOfService(key)} ${String(key.fwmark)}`, key] as const] : [],
    ),
  )
  if (marks.size === 0) return
  const ruleset = rulesetOf(host.firewall)
  for (const { key } of services) {
    if (key.protocol === 'fwmark') continue
    yield undefined
    const packet = packetOf(key)
    const mark = packet === undefined ? undefined : markOf(ruleset, packet)
    if (mark === undefined || mark === 0) continue
    const by = marks.get(`${familyOfService(key)} ${String(mark)}`)
    if (by === undefined) continue
    const name = serviceName(key)
    yield finding(
      'service-shadowed',
      'warning',
      `a rule gives packets to ${name} the mark ${String(mark)}, so ${serviceName(by)} gets them all`,
      `Clients are sent to the real servers of ${serviceName(by)}; those of ${name} get no new connection.`,
      { services: [key, by], commands: [`ipvs remove ${name}`] },
    )
  }
}

/** One client, two persistent services of one address: each chooses a server of its own for it. */
export const persistenceOverlaps: Look = function* ({ services }) {
  const persistent = services.filter(({ persistence }) => persistence !== undefined)
  for (const whole of persistent) {
    const { key } = whole
    if (key.protocol === 'fwmark' || key.port !== 0) continue
    const addresses = new Set(whole.servers.map(({ address }) => address))
    for (const part of persistent) {
      const other = part.key
      if (other.protocol === 'fwmark' || other.protocol !== key.protocol) continue
      if (other.address !== key.address || other.port === 0 || addresses.size < 2) continue
      const [wholeName, name] = [serviceName(key), serviceName(other)]
      // Without it the other one serves its port, if that is the port of its servers too.
      const isPart = part.servers.every(
        ({ address, port, method }) =>
          addresses.has(address) && (port === other.port || port === 0 || method !== 'masquerade'),
      )
      yield finding(
        'persistence-overlaps',
        'note',
        isPart
          ? `${wholeName} is persistent for all ports, and ${name} is persistent by itself`
          : `${wholeName} is persistent for all ports, and ${name} is persistent by itself: where clients need one real server for all their ports, give both one firewall mark`,
        'A client may get two real servers, one for that port and one for all others.',
        { services: [key, other], commands: isPart ? [`ipvs remove ${name}`] : [] },
      )
    }
  }
}

/** A wanted state changes the scheduler of a service that has traffic. */
export const schedulerChanges: Look = function* ({ services, table, host }) {
  if (table === undefined || kernelSince(host, 7, 2)) return
  const now = new Map(table.services.map((service) => [serviceName(service.key), service]))
  for (const { key, scheduler } of services) {
    const name = serviceName(key)
    const service = now.get(name)
    if (service === undefined || service.scheduler === scheduler) continue
    if (!service.servers.some((one) => one.activeConnections + one.inactiveConnections > 0)) continue
    yield finding(
      'scheduler-change',
      'note',
      `${name} has connections, and its scheduler is to change from ${service.scheduler} to ${scheduler}: Linux ${host.kernelRelease} may crash if new ones come in that moment, so choose a quiet one`,
      'None, or all: a crash of the director ends every connection.',
      { services: [key] },
    )
  }
}

export const ftpUnaided: Look = function* ({ services, host }) {
  for (const { key, servers } of services) {
    if (key.protocol !== 'tcp' || key.port !== 21) continue
    if (host.helpers === undefined || host.helpers.includes('ftp')) continue
    const masqueraded = servers.filter(({ method }) => method === 'masquerade')
    if (masqueraded.length === 0) continue
    const name = serviceName(key)
    yield finding(
      'ftp-unaided',
      'warning',
      `${name} is FTP with method masquerade, and module ip_vs_ftp is not loaded`,
      'Clients log in, but lists and files time out: they are told addresses of the real servers.',
      {
        services: [key],
        servers: masqueraded.map(({ address, port }) => ({ address, port })),
        commands: ['modprobe ip_vs_ftp'],
      },
    )
  }
}
