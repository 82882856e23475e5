import { contains, familyOfAddress, isIPv4 } from '../../model/address.ts'
import { endpointName, serviceName } from '../../model/keys.ts'
import type { Family, ServiceKey } from '../../model/types.ts'
import type { Finding } from './finding.ts'
import { hasDefault, isUnread, settingOf, word } from './host.ts'
import {
  byVirtualAddress,
  finding,
  keysOf,
  type Look,
  namesOf,
  type ServerSeen,
  virtualAddresses,
} from './situation.ts'

/** Whether packets find their way through the director, and the answers their way back. */

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']

const FORWARDING = {
  ipv4: 'net.ipv4.ip_forward',
  ipv6: 'net.ipv6.conf.all.forwarding',
} as const

export const forwardingOff: Look = function* ({ services, host }) {
  for (const family of FAMILIES) {
    const name = FORWARDING[family]
    if (host.sysctls.get(name) !== '0') continue
    const broken = services.filter(({ servers }) =>
      servers.some((server) => isMasqueraded(server) && familyOfAddress(server.address) === family),
    )
    if (broken.length === 0) continue
    yield finding(
      'forwarding-off',
      'error',
      `${name} is 0: the director does not forward the answers of ${namesOf(broken)} with method masquerade`,
      'Connections time out: requests reach the real servers, but no answer comes back.',
      { services: keysOf(broken), sysctls: { [name]: '1' } },
    )
  }
}

export const redirectsSent: Look = function* ({ services, host }) {
  const concerned = byVirtualAddress(services)
  // Of IPv6 there is no such setting.
  for (const { name } of host.links) {
    const sends = ['all', name].filter((one) => host.sysctls.get(settingOf(one, 'send_redirects')) === '1')
    if (sends.length === 0) continue
    const here = host.addresses.filter(({ address, link }) => link === name && isIPv4(address))
    const beside = here.flatMap(({ address }) =>
      (concerned.get(address) ?? []).filter(({ servers }) =>
        servers.some(
          (server) =>
            isMasqueraded(server) &&
            host.routesTo.get(server.address)?.link === name &&
            host.routesTo.get(server.address)?.gateway === undefined,
        ),
      ),
    )
    if (beside.length === 0) continue
    yield finding(
      'redirects-sent',
      'warning',
      `${name} sends redirects, and virtual address and real servers of ${namesOf(beside)} are both in its network`,
      'Connections of clients in that network hang after a while: the real servers answer around the director.',
      {
        services: keysOf(beside),
        sysctls: Object.fromEntries(sends.map((one) => [settingOf(one, 'send_redirects'), '0'])),
      },
    )
  }
}

export const routesToServers: Look = function* ({ services, host }) {
  if (isUnread(host, 'ip')) return
  const seen = new Set<string>()
  for (const service of services) {
    for (const server of service.servers) {
      const { address } = server
      if (!host.asked.has(address) || seen.has(address)) continue
      seen.add(address)
      const route = host.routesTo.get(address)
      const isNear = route !== undefined && route.gateway === undefined && route.type !== 'local'
      if (route !== undefined && !(isNear && isSilent(host.neighbours, address))) continue
      const concerned = services.filter(({ servers }) => servers.some((one) => one.address === address))
      const about = { services: keysOf(concerned), servers: [{ address, port: server.port }] }
      if (route === undefined) yield noRoute(address, about)
      else {
        yield finding(
          'neighbour-silent',
          'error',
          `${address} is in the network of ${route.link}, and nobody there answers to that address: look at its cable, its address, and whether it runs`,
          'Connections that are given to this real server time out.',
          about,
        )
      }
    }
  }

  function noRoute(
    address: string,
    about: { readonly services: readonly ServiceKey[]; readonly servers: Finding['servers'] },
  ): Finding {
    // One that says that there is no way, before those that would have one.
    const barrier = host.routes.find(
      ({ type, destination }) => !['unicast', 'local'].includes(type) && contains(destination, address),
    )
    const family = familyOfAddress(address) === 'ipv6' ? '-6 ' : ''
    const table = barrier?.table === 'main' ? '' : ` table ${barrier?.table ?? ''}`
    return finding(
      'no-route',
      'error',
      barrier === undefined
        ? `there is no route to real server ${address}: add one, such as ip ${family}route add ${address} via GATEWAY`
        : `the route ${barrier.type} ${barrier.destination} keeps packets from real server ${address}`,
      'Connections that are given to this real server are refused.',
      barrier === undefined
        ? about
        : {
            ...about,
            commands: [`ip ${family}route delete ${barrier.type} ${barrier.destination}${table}`],
          },
    )
  }
}

/** On a real server with method masquerade: answers must go through the director. */
export const answersAroundDirector: Look = function* ({ services, host, told }) {
  const { method, director } = told
  if (method !== 'masquerade' || director === undefined || isUnread(host, 'ip')) return
  const family = familyOfAddress(director)
  const ip = family === 'ipv6' ? 'ip -6' : 'ip'
  const about = { services: keysOf(services) }
  const defaults = host.routes.filter((route) => hasDefault(route, family))
  const through = host.routes.filter(({ gateway }) => gateway === director)
  // One that leads to some clients alone may be enough.
  if (through.length === 0) {
    const [first] = defaults
    yield finding(
      'other-gateway',
      'error',
      first === undefined
        ? `there is no default route: it must be the director, ${director}`
        : `the default route is ${first.gateway ?? first.link ?? '?'}, not the director, ${director}`,
      'Connections time out: the answers come from an address that the client did not ask, or get lost.',
      { ...about, commands: [`${ip} route replace default via ${director}`] },
    )
  }
  for (const address of virtualAddresses(services)) {
    const direct = host.routes.find(
      ({ destination, gateway, link, type, table }) =>
        type === 'unicast' &&
        table === 'main' &&
        gateway === undefined &&
        !/^(0\.0\.0\.0|::)\/0$|\/(32|128)$/.test(destination) &&
        link !== 'lo' &&
        contains(destination, address),
    )
    if (direct === undefined) continue
    // Clients there that have a route of their own.
    if (through.some(({ destination }) => contains(direct.destination, destination.replace(/\/.*/, ''))))
      continue
    const link = word(direct.link ?? '')
    yield finding(
      'server-beside-clients',
      'warning',
      `this real server is in network ${direct.destination} of the virtual address ${address}, and answers clients there directly`,
      'Clients in that network get answers from an address that they did not ask, and their connections time out.',
      {
        ...about,
        commands: [
          // The way to the director must not lead through the director.
          `${ip} route replace ${director} dev ${link}`,
          // That of IPv6 has a metric, without which the command would add a second route.
          `${ip} route replace ${direct.destination} via ${director} dev ${link}${family === 'ipv6' ? ' metric 256' : ''}`,
        ],
      },
    )
  }
}

export const portsIgnored: Look = ({ warnings, services }) =>
  warnings
    .filter(({ code }) => code === 'port-ignored')
    .map(({ service, server, message }) => {
      const name = serviceName(service)
      const seen = services.find(({ key }) => serviceName(key) === name)
      const target = server === undefined ? '' : endpointName(server.address, server.port)
      return finding(
        'port-ignored',
        'error',
        message,
        'Connections that are given to this real server arrive at another port than is meant, and are refused there.',
        {
          services: [service],
          servers: server === undefined ? [] : [server],
          commands:
            seen === undefined || !message.includes('Use method masquerade')
              ? []
              : [`ipvs set ${name} ${target} method=masquerade`],
        },
      )
    })

function isMasqueraded({ method }: ServerSeen): boolean {
  return method === 'masquerade'
}

function isSilent(
  neighbours: readonly { readonly address: string; readonly states: readonly string[] }[],
  address: string,
): boolean {
  const known = neighbours.filter((one) => one.address === address)
  return known.length > 0 && known.every(({ states }) => states.includes('FAILED'))
}
