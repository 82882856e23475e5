import { contains, familyOfAddress } from '../../model/address.ts'
import type { Family } from '../../model/types.ts'
import { addAddress, greaterOf, type Host, isUnread, linkOfAddress, word } from './host.ts'
import { byVirtualAddress, finding, keysOf, type Look } from './situation.ts'
import { tunnelDevices } from './tunnels.ts'

/** Whether virtual addresses are where they must be, and nowhere else. */

export const addressOnDirector: Look = function* (situation) {
  const { services, host } = situation
  if (isUnread(host, 'ip')) return
  const here = new Set(host.addresses.map((one) => one.address))
  for (const [address, concerned] of byVirtualAddress(services)) {
    if (here.has(address) || isRoutedHere(host, address)) continue
    const link = linkFor(host, address)
    yield finding(
      'address-missing',
      'error',
      `virtual address ${address} is not on this director${link === undefined ? `: add it to the interface by which clients come, such as ${addAddress(address, 'eth0')}` : ''}`,
      'Connections time out, or find no host: nobody answers for the address.',
      {
        services: keysOf(concerned),
        commands: link === undefined ? [] : [addAddress(address, link)],
      },
    )
  }
}

export const addressOnRealServer: Look = function* (situation) {
  const { services, host, told } = situation
  if ((told.method !== 'direct' && told.method !== 'tunnel') || isUnread(host, 'ip')) return
  for (const [address, concerned] of byVirtualAddress(services)) {
    if (isHere(host, address)) continue
    const devices = tunnelDevices(situation, familyOfAddress(address))
    // Without a device that is said, and mended, with the address.
    if (told.method === 'tunnel' && devices.length === 0) continue
    const link = told.method === 'tunnel' ? devices[0]?.name : undefined
    yield finding(
      'address-missing',
      'error',
      `virtual address ${address} is not on this real server`,
      'Connections that are given to this real server time out: it takes their packets for those of another host.',
      {
        services: keysOf(concerned),
        commands: [addAddress(address, link ?? 'lo')],
      },
    )
  }
}

/** On a real server: only the director may answer ARP. (arp_ignore and arp_announce of Documentation/networking/ip-sysctl) */
export const addressAnnounced: Look = function* ({ services, host, told }) {
  if ((told.method !== 'direct' && told.method !== 'tunnel') || isUnread(host, '/proc/sys/net')) return
  for (const [address, concerned] of byVirtualAddress(services)) {
    if (familyOfAddress(address) !== 'ipv4') continue
    const about = { services: keysOf(concerned) }
    const effect =
      'Clients reach this real server without the director: it gets all connections, or they break when others answer too.'
    const at = host.addresses.find((one) => one.address === address)
    if (at === undefined) continue
    // At the end of a tunnel, only clients in its own networks would ask for the address.
    if (told.method === 'tunnel' && !isInOwnNetwork(host, address)) continue
    const link = host.links.find(({ name }) => name === at.link)
    const loud = host.links.filter(
      ({ name, up, loopback, arp }) => up && !loopback && arp && name !== link?.name,
    )
    if (link !== undefined && !link.loopback && link.arp && link.kind !== 'dummy') {
      yield finding(
        'address-announced',
        'error',
        `virtual address ${address} is on ${link.name}, which answers ARP for it`,
        effect,
        {
          ...about,
          commands: [
            `ip address delete ${address}/${String(at.prefix)} dev ${word(link.name)}`,
            `ip address add ${address}/32 dev lo`,
          ],
        },
      )
      continue
    }
    for (const { name } of loud) {
      const sysctls = {
        ...(greaterOf(host, name, 'arp_ignore') < 1 && { 'net.ipv4.conf.all.arp_ignore': '1' }),
        ...(greaterOf(host, name, 'arp_announce') < 2 && { 'net.ipv4.conf.all.arp_announce': '2' }),
      }
      if (Object.keys(sysctls).length === 0) continue
      const settings = Object.keys(sysctls).map((one) => one.replace(/.*\./, ''))
      yield finding(
        'address-announced',
        'error',
        `${name} answers ARP for virtual address ${address}, or announces it: ${settings.join(' and ')} ${settings.length === 1 ? 'is' : 'are'} too low`,
        effect,
        { ...about, sysctls },
      )
      break
    }
  }
}

function isHere(host: Host, address: string): boolean {
  return linkOfAddress(host, address) !== undefined || isRoutedHere(host, address)
}

/** An address by a route, as for a whole network: ip route add local 192.0.2.0/24 dev lo */
function isRoutedHere({ routes }: Host, address: string): boolean {
  return routes.some(({ type, destination }) => type === 'local' && contains(destination, address))
}

/** Whether machines in a network of this one may ask for an address that is in there. */
function isInOwnNetwork({ links, routes }: Host, address: string): boolean {
  return routes.some(
    ({ destination, gateway, link, type, table }) =>
      type === 'unicast' &&
      table === 'main' &&
      gateway === undefined &&
      links.some(({ name, arp }) => arp && name === link) &&
      contains(destination, address),
  )
}

/** Where an address belongs: the link whose network has it, or else to which the default route leads. */
function linkFor(host: Host, address: string): string | undefined {
  const family: Family = familyOfAddress(address)
  const near = host.routes.find(
    ({ type, destination, gateway, link }) =>
      type === 'unicast' && gateway === undefined && link !== undefined && contains(destination, address),
  )
  const far = host.routes.find(
    ({ destination }) => destination === (family === 'ipv4' ? '0.0.0.0/0' : '::/0'),
  )
  return near?.link ?? far?.link
}
