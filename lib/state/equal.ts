import type { RealServerSettings, ServiceSpec, SyncDaemonSpec, Tunnel } from '../model/types.ts'
import { cpuList } from '../model/validate.ts'
import { completeDaemon, completeSysctl } from './complete.ts'

/** What counts as equal: no step leads from one to the other. */

export function sameService(one: ServiceSpec, other: ServiceSpec): boolean {
  return (
    one.scheduler === other.scheduler &&
    String(one.schedulerFlags ?? '') === String(other.schedulerFlags ?? '') &&
    (one.onePacket ?? false) === (other.onePacket ?? false) &&
    one.persistence?.timeoutSeconds === other.persistence?.timeoutSeconds &&
    one.persistence?.netmask === other.persistence?.netmask &&
    one.persistenceEngine === other.persistenceEngine
  )
}

export function sameServer(one: RealServerSettings, other: RealServerSettings): boolean {
  return (
    one.weight === other.weight &&
    one.method === other.method &&
    (one.upperThreshold ?? 0) === (other.upperThreshold ?? 0) &&
    (one.lowerThreshold ?? 0) === (other.lowerThreshold ?? 0) &&
    sameTunnel(one.tunnel, other.tunnel)
  )
}

/** A kernel before 5.2 reports none, and tunnels by IP-in-IP. */
const IPIP: Tunnel = { type: 'ipip' }

function sameTunnel(one: Tunnel = IPIP, other: Tunnel = IPIP): boolean {
  return one.type === other.type && one.port === other.port && one.checksum === other.checksum
}

/** Whether a daemon that runs is the one that is wanted. What an old kernel does not report cannot differ. */
export function sameDaemon(running: SyncDaemonSpec, wanted: SyncDaemonSpec): boolean {
  const complete = completeDaemon(running)
  return (
    complete.multicastInterface === wanted.multicastInterface &&
    complete.syncId === wanted.syncId &&
    (['maxLengthBytes', 'multicastGroup', 'multicastPort', 'multicastTtl'] as const).every(
      (name) => running[name] === undefined || wanted[name] === undefined || complete[name] === wanted[name],
    )
  )
}

/** Sysctls of which 1 and 2 are one wish: the kernel switches between the two as memory becomes short. */
const AUTOMATIC: readonly string[] = ['drop_entry', 'drop_packet', 'secure_tcp']

/** Whether a sysctl's values are the same to the kernel, which reads numbers in decimal, octal (010) and hexadecimal (0x8). */
export function sameSysctl(name: string, one: string, other: string): boolean {
  if (name === 'est_cpulist') return cpuList(one) === cpuList(other)
  const [a, b] = [one, other].map((value) => completeSysctl(value).split(' ').map(decimal).join(' '))
  if (a === b) return true
  return AUTOMATIC.includes(name) && [a, b].every((value) => value === '1' || value === '2')
}

/** A number as the kernel writes it; any other word as it is. */
function decimal(word: string): string {
  const [, sign = '', digits] = /^(-?)(0x[\da-f]+|0[0-7]*|[1-9]\d*)$/i.exec(word) ?? []
  if (digits === undefined) return word
  const number = /^0[0-7]/.test(digits) ? parseInt(digits, 8) : Number(digits)
  return number === 0 ? '0' : `${sign}${String(number)}`
}
