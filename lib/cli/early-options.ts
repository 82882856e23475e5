import type { TableOptions } from './table.ts'

/** Options of all commands that work on a table; each may come before the command too, for `alias ipvs='ipvs --netns blue'`. */
const WITH_VALUE = /^--(netns|memory)$/
const WHOLE = /^--(json$|(netns|memory)=)/

/** A command line, parted before its command. */
export function splitEarlyOptions(args: readonly string[]): {
  readonly early: readonly string[]
  readonly rest: readonly string[]
} {
  let end = 0
  for (;;) {
    const word = args[end] ?? ''
    if (WITH_VALUE.test(word) && end + 1 < args.length) end += 2
    else if (WHOLE.test(word)) end += 1
    else break
  }
  return { early: args.slice(0, end), rest: args.slice(end) }
}

/**
 * The same command line with those options behind its command, which then checks them. Where there is none, and before
 * help, they have nothing to choose and are left out.
 */
export function withEarlyOptions(args: readonly string[]): readonly string[] {
  const { early, rest } = splitEarlyOptions(args)
  const [command = '-', ...more] = rest
  return command.startsWith('-') || command === 'help' ? rest : [command, ...early, ...more]
}

/** The table that they choose, for a command that has no such options behind it: the last of each counts. */
export function tableOfEarlyOptions(early: readonly string[]): TableOptions {
  const table: { netns?: string; memory?: string } = {}
  for (let index = 0; index < early.length; index++) {
    const [, name, joined] = /^--(netns|memory)(?:=(.*))?$/s.exec(early[index] ?? '') ?? []
    if (name === undefined) continue
    if (joined === undefined) index++
    table[name as 'netns' | 'memory'] = joined ?? early[index] ?? ''
  }
  return table
}
