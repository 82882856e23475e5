import type { Command } from 'commander'
import type { CommonOptions, Run } from './run.ts'

/** One of our own commands. */
export interface CommandDefinition {
  readonly name: string
  readonly description: string
  readonly examples: readonly string[]
  /** Whether it works on a table, and takes the options that choose one. Default true. */
  readonly table?: boolean
  /** Adds its arguments and options. */
  define(command: Command): Command
  /** Does it, with what the command line has, each of its words alone. Gives the exit status. */
  act(run: Run, options: CommonOptions, ...words: readonly (string | undefined)[]): number | Promise<number>
}
