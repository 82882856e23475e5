import { likely } from '../model/check.ts'
import { SCHEDULERS } from '../model/schedulers.ts'

/** Where the library's messages tell callers what to do, and what that is in a shell. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/`(allow|force|maxDeletions|whole)`/g, '--$1'],
  [/--maxDeletions/g, '--max-deletions'],
  [/`allowEmpty`/g, '--allow-empty'],
  [/name the format/g, 'give --format'],
  [/(?<=give --format )'(\w+)'/g, '$1'],
  [/Choose format 'json' or 'yaml', or give onLoss/g, 'Give --format json or --format yaml, or --lossy'],
  [/scope\.(?:addresses|fwmarks|services)\[\d+\]/g, '--scope'],
  [/outside the scope/g, 'outside --scope'],
  [/combined with a scope/g, 'combined with --scope'],
  [/^netns(?= )/, '--netns'],
  [/^sysctls?(?=: this kernel has no| must be)/, '--sysctl'],
  [/sysctls\(\) lists those that a kernel has/g, '`ipvs save --sysctls` shows those that this kernel has'],
  [/ Ipvs\.probe\(\) lists those that load\./g, ''],
  [/; change it with edit(?:Service|RealServer)\(\)/g, '; change it with `ipvs set`'],
  [/: restore\(\) and parseState\(\) read text/g, ''],
  [/, or pass the in-memory kernel of ipvs\/testing to Ipvs\.open\(\) as `transport`/g, ''],
  [/no reply within timeoutMs/g, 'no reply in time'],
  [/read the table/g, 'see `ipvs list`'],
  [/Read the table/g, 'See `ipvs list`'],
  [/Make a new plan\./g, 'Run the command again.'],
]

/** Methods of the library, which begin what it says of the kernel, in the words that plans and --allow have. */
const METHODS: Readonly<Record<string, string>> = {
  addService: 'add-service',
  editService: 'edit-service',
  deleteService: 'delete-service',
  addRealServer: 'add-server',
  editRealServer: 'edit-server',
  deleteRealServer: 'delete-server',
  setTimeouts: 'set-timeouts',
  startSyncDaemon: 'start-daemon',
  stopSyncDaemon: 'stop-daemon',
  setSysctl: 'set-sysctl',
  flush: 'flush',
  zero: 'zero',
  realServer: 'real server',
  realServers: 'real servers',
  syncDaemons: 'sync daemons',
}

/** Methods that several commands call, and whose names nobody has typed: what follows is enough. */
const UNNAMED: readonly string[] = ['apply', 'info', 'plan', 'restore', 'save', 'services', 'snapshot']

/** A message about the file of an in-memory table, which keeps its format. */
export function aboutTableFile(message: string): string {
  return message.replace(/Choose format .*$/, 'Keep this table in a .json or .yaml file.')
}

/** A message of the library, in the words of the command line. */
export function inCommandWords(message: string): string {
  const named = message
    .replaceAll(/\b(E[A-Z\d]+: )(\w+): /g, (whole, code: string, method: string) =>
      UNNAMED.includes(method) ? code : whole,
    )
    .replaceAll(/\b(E[A-Z\d]+: )(\w+)(?=[: ])/g, (whole, code: string, method: string) =>
      Object.hasOwn(METHODS, method) ? code + String(METHODS[method]) : whole,
    )
    // Both the library's apply() and the kernel's refusal name the step.
    .replace(
      /apply failed at ([\w-]+ .*?): (E[A-Z\d]+: )(?:\1: )?/,
      (_, step: string, code: string) => `${step} failed: ${code}`,
    )
  return WORDS.reduce((text, [words, ours]) => text.replace(words, ours), withSchedulers(named))
}

/** After a scheduler that was not found come those that could be meant. */
function withSchedulers(message: string): string {
  return message.replace(
    /(scheduler '([^']*)' \(.*? could be loaded)\. Ipvs\.probe\(\) lists those that load\./,
    (_, before: string, name: string) => {
      if (SCHEDULERS.includes(name)) return `${before}.`
      const meant = likely(name, SCHEDULERS)
      return `${before}.${meant === undefined ? '' : ` Did you mean '${meant}'?`} Linux has ${SCHEDULERS.join(', ')}.`
    },
  )
}

/** '1 service', '2 services'. */
export function counted(number: number, thing: string): string {
  return `${String(number)} ${thing}${number === 1 ? '' : 's'}`
}
