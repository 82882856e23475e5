import { SYSCTL_MAX_LENGTH, SYSCTL_NAME, SYSCTL_VALUE } from './ranges.ts'
import { about, likely, show, whole, wrong } from './check.ts'
import { Errno } from './errno.ts'

/**
 * The sysctls of net.ipv4.vs that belong to a network namespace, up to Linux
 * 7.2 (vs_vars of ip_vs_ctl.c, and one each of the schedulers lblc and lblcr
 * while their modules are loaded). No kernel has them all. `debug_level`, which is
 * the machine's, is not among them.
 */
export const SYSCTLS: readonly string[] = [
  'am_droprate',
  'amemthresh',
  'backup_only',
  'cache_bypass',
  'conn_lfactor',
  'conn_max',
  'conn_reuse_mode',
  'conntrack',
  'drop_entry',
  'drop_packet',
  'est_cpulist',
  'est_nice',
  'expire_nodest_conn',
  'expire_quiescent_template',
  'ignore_tunneled',
  'lblc_expiration',
  'lblcr_expiration',
  'nat_icmp_send',
  'pmtu_disc',
  'run_estimation',
  'schedule_icmp',
  'secure_tcp',
  'sloppy_sctp',
  'sloppy_tcp',
  'snat_reroute',
  'svc_lfactor',
  'sync_persist_mode',
  'sync_ports',
  'sync_qlen_max',
  'sync_refresh_period',
  'sync_retries',
  'sync_sock_size',
  'sync_threshold',
  'sync_version',
]

/**
 * Those of a scheduler's module, by name: there from the time that it is
 * loaded, in every network namespace, with this value.
 */
export const SCHEDULER_SYSCTLS: ReadonlyMap<string, { readonly scheduler: string; readonly value: string }> =
  new Map([
    ['lblc_expiration', { scheduler: 'lblc', value: '86400' }],
    ['lblcr_expiration', { scheduler: 'lblcr', value: '86400' }],
  ])

/** How a sysctl that is absent may be had. */
export function remedyOfSysctl(name: string): string {
  const module = SCHEDULER_SYSCTLS.get(name)
  if (module !== undefined) {
    const { scheduler } = module
    return (
      `it belongs to the module ip_vs_${scheduler}, which is loaded by a service with the scheduler '${scheduler}' ` +
      `or by \`modprobe ip_vs_${scheduler}\``
    )
  }
  const meant = meantSysctl(name)
  return meant === undefined ? 'sysctls() lists those that a kernel has' : `did you mean '${meant}'?`
}

/** The sysctl that a name seems to misspell. */
export function meantSysctl(name: string): string | undefined {
  return SYSCTLS.includes(name) ? undefined : likely(name, SYSCTLS)
}

const NAME = new RegExp(SYSCTL_NAME)
const VALUE = new RegExp(SYSCTL_VALUE)

/** Name of a file below /proc/sys/net/ipv4/vs. */
export function checkSysctlName(name: unknown, what = 'sysctl'): void {
  if (typeof name !== 'string') throw wrong(what, name, 'a name below net.ipv4.vs')
  if (!NAME.test(name)) {
    throw new RangeError(`${what} must be a name below net.ipv4.vs, such as 'conntrack', got ${show(name)}`)
  }
}

/** Checks what is written to a sysctl, a number or the text of several, and gives its text. */
export function checkSysctlValue(name: string, value: unknown, field = `sysctl ${name}`): string {
  if (typeof value === 'number') {
    return String(whole(value, field, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER))
  }
  if (typeof value !== 'string') throw wrong(field, value, 'a number or a string')
  if (value.length > SYSCTL_MAX_LENGTH) {
    throw about(
      field,
      new RangeError(
        `${field} must have at most ${String(SYSCTL_MAX_LENGTH)} characters, got ${String(value.length)}`,
      ),
    )
  }
  if (!VALUE.test(value)) {
    throw about(field, new RangeError(`${field} must be one line of plain text, got ${show(value)}`))
  }
  return value
}

/** More CPUs than any kernel has. */
const MOST_CPUS = 65536

/** How the kernel takes a list of CPUs. With neither field that depends on the machine (`all`, `N`). */
interface CpuList {
  /** As it is read back. */
  readonly printed?: string
  /** The errno that refuses it. */
  readonly errno?: number
}

/** CPUs from `from` to `to`: the first `used` of each `group`. */
interface CpuRange {
  readonly from: number
  readonly to: number
  readonly used: number
  readonly group: number
}

/** Reads a list of CPUs (est_cpulist) as bitmap_parselist() does. */
export function readCpuList(text: string): CpuList {
  const ranges: CpuRange[] = []
  let known = true
  for (const part of text.split(/[\s,]+/)) {
    if (part === '') continue
    if (/^all/i.test(part) || part.includes('N')) {
      known = false
      continue
    }
    // A number, a range, or the first few of each group of a range.
    const [, first, last = first, some = '1', many = some] =
      /^(\d+)(?:-(\d+)(?::(\d+)\/(\d+))?)?$/.exec(part) ?? []
    const [from, to, used, group] = [Number(first), Number(last), Number(some), Number(many)]
    if (first === undefined || from > to || used > group || group === 0) return { errno: Errno.EINVAL }
    if (to >= MOST_CPUS) return { errno: Errno.ERANGE }
    ranges.push({ from, to, used, group })
  }
  return known ? { printed: printCpus(ranges) } : {}
}

/**
 * Each range costs a step for each of its groups, and those that overlap are
 * counted once: a text may name all CPUs a thousand times.
 */
function printCpus(ranges: readonly CpuRange[]): string {
  /** How many more groups cover a CPU than the one before it. */
  const changes = new Int32Array(MOST_CPUS + 1)
  const add = (first: number, last: number): void => {
    changes[first] = (changes[first] ?? 0) + 1
    changes[last + 1] = (changes[last + 1] ?? 0) - 1
  }
  /** Ranges whose groups begin at the same CPUs and are as long. */
  const alike = new Map<string, CpuRange[]>()
  for (const range of ranges) {
    const { from, to, used, group } = range
    if (used === group) {
      add(from, to)
    } else if (used > 0) {
      const key = `${String(used)}/${String(group)} ${String(from % group)}`
      const those = alike.get(key)
      if (those === undefined) alike.set(key, [range])
      else those.push(range)
    }
  }
  for (const those of alike.values()) {
    let next = 0
    for (const { from, to, used, group } of those.sort((one, other) => one.from - other.from)) {
      let first = Math.max(from, next)
      for (; first <= to; first += group) add(first, Math.min(first + used - 1, to))
      // The end of the range may have cut the last group.
      next = Math.max(next, first - group)
    }
  }
  const printed: string[] = []
  let start = -1
  for (let cpu = 0, covering = 0; cpu <= MOST_CPUS; cpu++) {
    covering += changes[cpu] ?? 0
    if (covering > 0 && start < 0) start = cpu
    if (covering > 0 || start < 0) continue
    printed.push(start === cpu - 1 ? String(start) : `${String(start)}-${String(cpu - 1)}`)
    start = -1
  }
  return printed.join(',')
}

/** A list of CPUs as the kernel prints it: `0,2,1` reads `0-2`. A list that it refuses, or that depends on the machine, stays as it is. */
function cpuList(text: string): string {
  return readCpuList(text).printed ?? text
}

/** A sysctl's value as it is compared, and saved: its numbers are separated by one space, where a kernel has tabs. */
export function completeSysctl(value: string): string {
  return value.trim().replace(/\s+/g, ' ')
}

export function completeSysctls(sysctls: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(sysctls).map(([name, value]) => [name, completeSysctl(value)]))
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
