import { definedOf, object } from '../../model/check.ts'
import { Errno, errnoName } from '../../model/errno.ts'
import { checkSysctlValue, readCpuList, SCHEDULER_SYSCTLS } from '../../model/sysctls.ts'
import { atLeast, type LinuxVersion } from './versions.ts'

/** The sysctls of net.ipv4.vs with their values in a new namespace. */
const SYSCTL_DEFAULTS: Readonly<Record<string, string>> = {
  am_droprate: '10',
  amemthresh: '1024',
  backup_only: '0',
  cache_bypass: '0',
  conn_lfactor: '-4',
  conn_reuse_mode: '1',
  conntrack: '0',
  drop_entry: '0',
  drop_packet: '0',
  est_cpulist: '',
  est_nice: '0',
  expire_nodest_conn: '0',
  expire_quiescent_template: '0',
  ignore_tunneled: '0',
  nat_icmp_send: '0',
  pmtu_disc: '1',
  run_estimation: '1',
  schedule_icmp: '0',
  secure_tcp: '0',
  sloppy_sctp: '0',
  sloppy_tcp: '0',
  snat_reroute: '1',
  svc_lfactor: '-3',
  sync_persist_mode: '0',
  sync_ports: '1',
  sync_qlen_max: '16384',
  sync_refresh_period: '0',
  sync_retries: '0',
  sync_sock_size: '0',
  sync_threshold: '3\t50',
  sync_version: '1',
}

/** Sysctls that came with a later version; all versions have the others. */
const SINCE: Readonly<Record<string, string>> = {
  sloppy_sctp: '3.11',
  sloppy_tcp: '3.11',
  sync_persist_mode: '3.11',
  conn_reuse_mode: '4.1',
  ignore_tunneled: '4.4',
  schedule_icmp: '4.4',
  run_estimation: '5.16',
  est_cpulist: '6.2',
  est_nice: '6.2',
  conn_lfactor: '7.1',
  svc_lfactor: '7.1',
}

export function sysctlsOf(
  version: LinuxVersion,
  given: Readonly<Record<string, string | number | undefined>> = {},
): Map<string, string> {
  const known = new Map(
    Object.entries(SYSCTL_DEFAULTS).filter(([name]) => atLeast(version, SINCE[name] ?? '0.0')),
  )
  for (const [name, value] of Object.entries(definedOf(object(given, 'sysctls')))) {
    const current = known.get(name)
    if (current === undefined) {
      throw new RangeError(`there is no sysctl net.ipv4.vs.${name} in Linux ${version}`)
    }
    const text = checkSysctlValue(name, value)
    const written = writtenSysctl(name, text, current)
    if (typeof written === 'number')
      throw new RangeError(`sysctl ${name} cannot be set to '${text}': Linux answers ${errnoName(written)}`)
    known.set(name, written)
  }
  return known
}

/** A scheduler's module adds its sysctl, which stays as long as the module does. */
export function loadSysctls(scheduler: string, sysctls: Map<string, string>): void {
  for (const [name, module] of SCHEDULER_SYSCTLS) {
    if (module.scheduler === scheduler && !sysctls.has(name)) sysctls.set(name, module.value)
  }
}

/** Least and greatest values. Sysctls that are not listed take any 32-bit number. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  conn_lfactor: [-8, 8],
  drop_entry: [0, 3],
  drop_packet: [0, 3],
  est_nice: [-20, 19],
  secure_tcp: [0, 3],
  svc_lfactor: [-8, 8],
  sync_retries: [0, 3],
  sync_version: [0, 1],
}

/** The value of a sysctl after `text` was written to it, or the errno with which the kernel refuses it. */
export function writtenSysctl(name: string, text: string, current: string): string | number {
  if (name === 'est_cpulist') {
    const { errno, printed } = readCpuList(text)
    return errno ?? printed ?? text.trim()
  }
  const numbers = text.trim().split(/\s+/).map(numberOf)
  if (name === 'sync_threshold') {
    const [threshold, period] = [...numbers, ...current.split('\t').slice(numbers.length).map(Number)]
    if (threshold === undefined || period === undefined || threshold < 0 || period < 0) return Errno.EINVAL
    return threshold < period || period === 0 ? `${String(threshold)}\t${String(period)}` : Errno.EINVAL
  }
  const [value] = numbers
  const [least, most] = RANGES[name] ?? [-2147483648, 2147483647]
  if (value === undefined || value < least || value > most) return Errno.EINVAL
  if (name === 'sync_ports' && (value < 1 || (value & (value - 1)) !== 0)) return Errno.EINVAL
  // The automatic modes read as standby while there is enough memory.
  if ((name === 'drop_entry' || name === 'drop_packet') && value === 2) return '1'
  return String(value)
}

/** proc_get_long(): decimal, octal (010) or hexadecimal (0x8), with a minus or none. */
function numberOf(word: string): number | undefined {
  if (!/^-?(0x[\da-f]+|0[0-7]*|[1-9]\d*)$/i.test(word)) return undefined
  const digits = word.replace('-', '')
  const number = /^0[0-7]/.test(digits) ? parseInt(digits, 8) : Number(digits)
  return word.startsWith('-') ? 0 - number : number
}
