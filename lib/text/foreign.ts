import { isProgram } from '../ipvsadm/parse-state.ts'

/**
 * Files that people give in place of a state. But for scripts, a text is looked at
 * only after it was refused as a state, so nothing else here can refuse a valid one.
 */

/** What a text is instead of a state and what to do, and the offset where that shows. */
interface Foreign {
  readonly reason: string
  readonly offset: number
}

/** A file of another kind shows what it is in its first lines. */
const LOOK_AT = 1 << 16

const SAVE = 'save the running table with `ipvs save`'

const SCRIPT = `this is a shell script, not a state: run it, then ${SAVE}`

const KINDS: readonly (readonly [string, (text: string) => number])[] = [
  [
    'this is what `ipvsadm -L` prints, which cannot be restored: save the table with `ipvsadm -Sn` or `ipvs save`',
    find(
      /^(?:IP Virtual Server version \d|Prot LocalAddress:Port |IPVS connection entries[ \t]*$|Timeout \(tcp tcpfin udp\): \d)|^ {2}-> \S+[ \t]+(?:Masq|Route|Tunnel|Local)[ \t]+\d/m,
    ),
  ],
  [
    `this is a keepalived configuration, not a state: let keepalived read it, then ${SAVE}`,
    find(
      /^[ \t]*(?:global_defs[ \t]*|(?:vrrp_instance|vrrp_sync_group|vrrp_script|virtual_server|virtual_server_group)[ \t][^\n{]*)(?:\n[ \t]*)?\{/m,
    ),
  ],
  [
    `this is an ldirectord configuration, not a state: let ldirectord read it, then ${SAVE}`,
    find(/^virtual6?[ \t]*=[ \t]*(?:\S*:|\d)/m),
  ],
  [
    `this is an nftables file, not a state: load it with \`nft -f\`; ${SAVE}`,
    find(
      /^(?:#![^\n]*\bnft\b|flush ruleset[ \t;]*$|(?:(?:add|create)[ \t]+)?table[ \t]+(?:(?:ip|ip6|inet|arp|bridge|netdev)[ \t]+)?[\w-]+[ \t]*\{)/m,
    ),
  ],
  [
    `this is what iptables-save prints, not a state: load it with \`iptables-restore\`; ${SAVE}`,
    find(/^(?:\*(?:filter|nat|mangle|raw|security)[ \t]*$|-[AI] [A-Z][\w-]* (?:[^\n]* )?-j [A-Z])/m),
  ],
  [SCRIPT, findScript],
]

/**
 * What to say of a text whose first line names a shell. Its lines may all be ones
 * of ipvsadm, but a script adds to a table, and a state replaces one.
 */
export function scriptOf(text: string): string | undefined {
  return SHELL.test(text) ? SCRIPT : undefined
}

/** Tells what a text is that is not a state, if it is one of the files that people mistake for one. */
export function foreign(text: string): Foreign | undefined {
  const start = text.slice(0, LOOK_AT).replaceAll('\r\n', ' \n')
  for (const [reason, findIn] of KINDS) {
    const offset = findIn(start)
    if (offset >= 0) return { reason, offset }
  }
  return undefined
}

function find(pattern: RegExp): (text: string) => number {
  return (text) => text.search(pattern)
}

const SHELL = /^#![^\n]*\b(?:ba|da|a|k|z)?sh\b/
/** What a shell reads and ipvsadm-restore does not: assignments, control structures, variables, several commands on a line. */
const SHELL_LINE =
  /^(?:export |local |readonly )?[A-Za-z_]\w*=|^(?:if|for|while|case|function|set|source|exec|exit)\b|^(?:then|else|fi|do|done|esac)\b|[$`;|&<>\\]/

/** Where a shell script that calls ipvsadm shows what it is: its first line if that says so, or else the first that only a shell reads. */
function findScript(text: string): number {
  let calls = false
  let shell = -1
  let offset = 0
  for (const whole of text.split('\n')) {
    const line = whole.trimStart()
    if (line !== '' && !line.startsWith('#')) {
      const [word = '', next = ''] = line.split(/\s+/, 2)
      if (isProgram(word) || (word === 'sudo' && isProgram(next)) || /^\$\{?IPVSADM\b/i.test(word))
        calls = true
      if (shell < 0 && SHELL_LINE.test(line)) shell = offset + whole.length - line.length
    }
    offset += whole.length + 1
  }
  if (!calls || shell < 0) return -1
  return SHELL.test(text) ? 0 : shell
}
