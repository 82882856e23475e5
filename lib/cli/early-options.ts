/** Options of all commands that work on a table; each may come before the command too, for `alias ipvs='ipvs --netns blue'`. */
const WITH_VALUE = /^--(netns|memory)$/
const WHOLE = /^--(json$|(netns|memory)=)/

/**
 * The same command line with those options behind its command, which then checks them. Where there is none, and before
 * help, they have nothing to choose and are left out.
 */
export function withEarlyOptions(args: readonly string[]): readonly string[] {
  let end = 0
  for (;;) {
    const word = args[end] ?? ''
    if (WITH_VALUE.test(word) && end + 1 < args.length) end += 2
    else if (WHOLE.test(word)) end += 1
    else break
  }
  const [early, rest] = [args.slice(0, end), args.slice(end)]
  const [command = '-', ...more] = rest
  return command.startsWith('-') || command === 'help' ? rest : [command, ...early, ...more]
}
