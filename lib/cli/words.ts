/** Where the library's messages tell callers what to do, and what that is in a shell. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/`(allow|force|maxDeletions|whole)`/g, '--$1'],
  [/--maxDeletions/g, '--max-deletions'],
  [/`allowEmpty`/g, '--allow-empty'],
  [/name the format/g, 'give --format'],
  [/Choose format 'json' or 'yaml', or give onLoss/g, 'Give --format json or --format yaml, or --lossy'],
  [/scope\.(?:addresses|fwmarks|services)\[\d+\]/g, '--scope'],
  [/outside the scope/g, 'outside --scope'],
  [/combined with a scope/g, 'combined with --scope'],
  [/^netns(?= )/, '--netns'],
  [/^sysctls?(?=: this kernel has no| must be)/, '--sysctl'],
  [/sysctls\(\) lists those that a kernel has/g, '`ipvs save --sysctls` shows those that this kernel has'],
  [/ Ipvs\.probe\(\) lists those that load\./g, ''],
  [/; change it with edit(?:Service|RealServer)\(\)/g, ''],
  [/: restore\(\) and parseState\(\) read text/g, ''],
  [/, or pass the in-memory kernel of ipvs\/testing to Ipvs\.open\(\) as `transport`/g, ''],
  [/no reply within timeoutMs/g, 'no reply in time'],
  [/read the table/g, 'see `ipvs list`'],
  [/Read the table/g, 'See `ipvs list`'],
  [/Make a new plan\./g, 'Run the command again.'],
]

/** A message about the file of an in-memory table, which keeps its format. */
export function aboutTableFile(message: string): string {
  return message.replace(/Choose format .*$/, 'Keep this table in a .json or .yaml file.')
}

/** A message of the library, in the words of the command line. */
export function inCommandWords(message: string): string {
  return WORDS.reduce((text, [words, ours]) => text.replace(words, ours), message)
}

/** '1 service', '2 services'. */
export function counted(number: number, thing: string): string {
  return `${String(number)} ${thing}${number === 1 ? '' : 's'}`
}
