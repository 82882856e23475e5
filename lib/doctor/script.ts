/** The shell script that reads a machine. */

const SYSCTL_FOLDERS = [
  'net/ipv4/conf',
  'net/ipv6/conf',
  'net/ipv4/vs',
  'net/ipv4/ip_forward',
  'net/netfilter',
]

/** Which modules read protocols such as FTP. */
export const HELPERS = '/proc/net/ip_vs_app'

/** A part of what the script prints. */
export type Part = 'ip' | 'files' | 'nft' | 'iptables' | 'ip6tables'

/**
 * What is read, by the name of its part in what the script prints. As few processes as can be: to start them takes
 * longer than what they do.
 */
const PROGRAMS: Readonly<Record<Part, string>> = {
  // Reads standard input; each line prints a list, or fails, and it goes on.
  ip: 'ip -j -details -force -batch -',
  // Fails for a folder that is not there, after it has printed the others.
  files: `grep -rs '' /proc/modules ${HELPERS} ${SYSCTL_FOLDERS.map((folder) => `/proc/sys/${folder}`).join(' ')}`,
  nft: 'nft -j list ruleset',
  iptables: 'iptables-save',
  ip6tables: 'ip6tables-save',
}

/** Between the parts: a character that none of the programs print. */
export const MARK = '\u001E'

/** Before what each program prints its name, and behind it its status and what it complained of. */
export const SCRIPT: string = [
  'exec 3>&1',
  `part() { printf '\\036%s\\n' "$1"; shift; why=$("$@" 2>&1 >&3); printf '\\036%s %s' "$?" "$why"; }`,
  ...Object.entries(PROGRAMS).map(([name, program]) => `part ${name} ${program}`),
].join('\n')

/** What ip(8) is asked. Without its module fou ends it all, so that is the last. */
export function inputOf(routesTo: readonly string[]): string {
  const lines = ['address show', 'route show table all', 'neighbour show']
  return [...lines, ...routesTo.map((address) => `route get ${address}`), 'fou show', ''].join('\n')
}
