import { DEFAULT_SCHEDULER } from '../model/defaults.ts'
import type { Protocol, RealServerSettings, SchedulerFlag, ServiceSettings, Tunnel } from '../model/types.ts'
import { SCHEDULER_FLAGS } from './options.ts'

/**
 * The lines that add a virtual service and a real server, as `ipvsadm -S`
 * writes them. The settings are as they are read back from the kernel. Some of
 * them have no option: ipvsadm then writes NO_OPTION, or nothing.
 */

/** A string that is not there, as the C library writes it. `ipvsadm -R` refuses it. */
export const NO_OPTION = '(null)'

/** The option that names a virtual service of a protocol. */
export const PROTOCOL_OPTIONS: Readonly<Partial<Record<Protocol, string>>> = {
  tcp: '-t',
  udp: '-u',
  sctp: '--sctp-service',
  6: '-t',
  17: '-u',
  132: '--sctp-service',
}

/** The options that name a firewall mark. */
export function markWords(fwmark: number, family: string | undefined): string {
  return `-f ${String(fwmark)}${family === 'ipv6' ? ' -6' : ''}`
}

/** The -A line; `name` names the virtual service, as `-t 192.0.2.1:80`. */
export function serviceLine(name: string, service: ServiceSettings): string {
  const {
    scheduler = DEFAULT_SCHEDULER,
    schedulerFlags = [],
    persistence,
    persistenceEngine,
    onePacket,
  } = service
  let line = `-A ${name} -s ${scheduler}`
  if (persistence !== undefined) {
    const { timeoutSeconds, netmask } = persistence
    line += ` -p ${String(timeoutSeconds)}`
    if (!isHostMask(netmask)) line += ` -M ${String(netmask)}`
  }
  if (persistenceEngine !== undefined) line += ` --pe ${persistenceEngine}`
  if (onePacket === true) line += ' -o'
  const flags = namedFlags(schedulerFlags)
  return flags.length === 0 ? line : `${line} -b ${flags.join(',')}`
}

/** The flags that -b has names for: ipvsadm looks at no other bits. */
export function namedFlags(flags: readonly SchedulerFlag[]): readonly SchedulerFlag[] {
  return flags.filter((flag) => SCHEDULER_FLAGS.has(flag))
}

/** Whether each client counts by itself, which is the default. */
export function isHostMask(netmask: string | number | undefined): boolean {
  return netmask === undefined || netmask === '255.255.255.255' || netmask === 128
}

const METHOD_OPTIONS: Readonly<Partial<Record<string, string>>> = {
  masquerade: '-m',
  local: '-g',
  tunnel: '-i',
  direct: '-g',
}

/** The option for a forwarding method. */
export function methodOption(method: RealServerSettings['method'] = 'direct'): string {
  return METHOD_OPTIONS[method] ?? NO_OPTION
}

/** The -a line of a real server; `ipvsadm -S` itself leaves thresholds out. */
export function serverLine(name: string, endpoint: string, server: RealServerSettings): string {
  const { method = 'direct', weight = 1, upperThreshold = 0, lowerThreshold = 0, tunnel } = server
  let line = `-a ${name} -r ${endpoint} ${methodOption(method)} -w ${String(weight)}`
  if (method === 'tunnel') line += tunnelWords(tunnel ?? { type: 'ipip' })
  if (upperThreshold !== 0) line += ` -x ${String(upperThreshold)}`
  if (lowerThreshold !== 0) line += ` -y ${String(lowerThreshold)}`
  return line
}

const CHECKSUM_OPTIONS: Readonly<Partial<Record<string, string>>> = {
  none: '--tun-nocsum',
  csum: '--tun-csum',
  remcsum: '--tun-remcsum',
}

function tunnelWords({ type, port = 0, checksum = 'none' }: Tunnel): string {
  const sum = CHECKSUM_OPTIONS[checksum] ?? NO_OPTION
  if (type === 'gue') return ` --tun-type gue --tun-port ${String(port)} ${sum}`
  if (type === 'gre') return ` --tun-type gre ${sum}`
  return type === 'ipip' ? ' --tun-type ipip' : ''
}
