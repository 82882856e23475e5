import { familyOfAddress } from '../../model/address.ts'
import { serviceName } from '../../model/keys.ts'
import { finding, type Look } from './situation.ts'

/** Whether packets find their way through the director. */

const FORWARDING = {
  ipv4: 'net.ipv4.ip_forward',
  ipv6: 'net.ipv6.conf.all.forwarding',
} as const

export const forwardingOff: Look = function* ({ services, host }) {
  for (const family of ['ipv4', 'ipv6'] as const) {
    const name = FORWARDING[family]
    if (host.sysctls.get(name) !== '0') continue
    const broken = services.filter(({ servers }) =>
      servers.some(({ address, method }) => method === 'masquerade' && familyOfAddress(address) === family),
    )
    if (broken.length === 0) continue
    yield finding(
      'forwarding-off',
      'error',
      `${name} is 0, so this director forwards no packets: ${broken.map(({ key }) => serviceName(key)).join(', ')} with method masquerade needs it`,
      'Connections time out: requests reach the real servers, but no answer comes back.',
      { services: broken.map(({ key }) => key), sysctls: { [name]: '1' } },
    )
  }
}
