import { DEFAULT_METHOD, DEFAULT_NETMASK, DEFAULT_SCHEDULER, DEFAULT_WEIGHT } from '../model/defaults.ts'
import { protocolName } from '../model/protocols.ts'
import { hasOwnNames } from '../model/scheduler-flags.ts'
import { IPIP } from '../model/server-settings.ts'
import type {
  ForwardingMethod,
  Protocol,
  RealServerSettings,
  SchedulerFlag,
  ServiceSettings,
  Tunnel,
} from '../model/types.ts'
import { isTunnelType, optionFor, tunnelTakes } from './options.ts'

/**
 * The lines that add a virtual service and a real server, as `ipvsadm -S`
 * writes them. The settings are as they are read back from the kernel. Some of
 * them have no option: ipvsadm then writes NO_OPTION, or nothing.
 */

/** A string that is not there, as the C library writes it. `ipvsadm -R` refuses it. */
export const NO_OPTION = '(null)'

/** The option that says this, as `ipvsadm -S` writes it: its letter if it has one. */
function wordFor(...meaning: Parameters<typeof optionFor>): string | undefined {
  const option = optionFor(...meaning)
  if (option === undefined) return undefined
  return option.letter === undefined ? `--${option.long}` : `-${option.letter}`
}

/** The option that names a virtual service of a protocol. */
export function protocolOption(protocol: Protocol): string | undefined {
  return wordFor('protocol', protocolName(protocol))
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
  return flags.filter((flag) => typeof flag !== 'number')
}

/** The flags as ipvsadm lists them: it does not know the third of a scheduler with names of its own. */
export function listedFlags(flags: readonly SchedulerFlag[], scheduler: string): readonly SchedulerFlag[] {
  const named = namedFlags(flags)
  return hasOwnNames(scheduler) ? named.filter((flag) => flag !== 'flag-3') : named
}

/** Whether each client counts by itself, which is the default. */
export function isHostMask(netmask: string | number | undefined): boolean {
  return netmask === undefined || netmask === DEFAULT_NETMASK.ipv4 || netmask === DEFAULT_NETMASK.ipv6
}

/** The option for a forwarding method. ipvsadm writes a server on this host as a direct one. */
export function methodOption(method: ForwardingMethod): string {
  return wordFor('method', method === 'local' ? 'direct' : method) ?? NO_OPTION
}

/** The -a line of a real server; `ipvsadm -S` itself leaves thresholds out. */
export function serverLine(name: string, endpoint: string, server: RealServerSettings): string {
  const {
    method = DEFAULT_METHOD,
    weight = DEFAULT_WEIGHT,
    upperThreshold = 0,
    lowerThreshold = 0,
    tunnel,
  } = server
  let line = `-a ${name} -r ${endpoint} ${methodOption(method)} -w ${String(weight)}`
  if (method === 'tunnel') line += tunnelWords(tunnel ?? IPIP)
  if (upperThreshold !== 0) line += ` -x ${String(upperThreshold)}`
  if (lowerThreshold !== 0) line += ` -y ${String(lowerThreshold)}`
  return line
}

function tunnelWords({ type, port = 0, checksum = 'none' }: Tunnel): string {
  if (!isTunnelType(type)) return ''
  let words = ` --tun-type ${type}`
  if (tunnelTakes(type, 'tun-port')) words += ` --tun-port ${String(port)}`
  if (tunnelTakes(type, 'tun-nocsum')) words += ` ${wordFor('checksum', checksum) ?? NO_OPTION}`
  return words
}
