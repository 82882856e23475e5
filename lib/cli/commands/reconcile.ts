import type { CommandDefinition } from '../command.ts'
import { asUsage, Refused, reportOf, UsageError } from '../exit-status.ts'
import { type ChangeOptions, guardsOf, interval, milliseconds, planOptions, withGuards } from '../options.ts'
import { printPlan } from '../print-plan.ts'
import type { CommonOptions, Run } from '../run.ts'
import { parseOptions, readError, STDIN } from '../state-file.ts'

interface ReconcileCommandOptions extends CommonOptions, ChangeOptions {
  readonly yes?: boolean
  /** Seconds. */
  readonly interval?: number
}

export const reconcile: CommandDefinition = {
  name: 'reconcile',
  description: 'Keep the table equal to the state in a file, until a signal ends it.',
  examples: [
    'ipvs reconcile /etc/ipvs.yaml --yes',
    'ipvs reconcile web.yaml --no-prune --scope 192.0.2.0/24 --interval 60',
  ],
  define: (command) =>
    withGuards(
      command.argument(
        '<file>',
        'a state: JSON, YAML or lines of ipvsadm; it is watched, and read before each run',
      ),
    )
      .option('--yes', 'delete what the file does not name')
      .option('--interval <seconds>', 'how often to compare (default: 10)', interval),
  act(run: Run, options: ReconcileCommandOptions, file: string) {
    if (file === STDIN)
      throw new UsageError('reconcile reads its file again and again, so it cannot be standard input')
    if (options.yes !== true && options.prune !== false) {
      throw new Refused(
        'reconcile deletes whatever the file does not name, without asking: give --yes if that is intended, or --no-prune',
      )
    }
    return keep(run, options, file)
  },
}

function keep(run: Run, options: ReconcileCommandOptions, file: string): Promise<never> {
  const { interval } = options
  return run.withTable(async (ipvs) => {
    // An error that waiting cannot mend, such as missing privileges, ends the command at once.
    await ipvs.info()
    return run.interruptible(async (signal) => {
      // One plan after the other, in the order of the runs.
      let printed: Promise<void> = Promise.resolve()
      const reconciler = ipvs.reconcile(
        { file, ...parseOptions(options, run.surroundings.names) },
        {
          ...planOptions(options),
          ...guardsOf(options),
          signal,
          ...(interval !== undefined && { intervalMs: milliseconds(interval) }),
          onRun: (result) => {
            if (result.steps.length > 0)
              printed = printed.then(() => printPlan(run, result, { applied: true }))
            return printed
          },
          onError: (error) => {
            run.complain(reportOf(asUsage(readError(file, error))))
          },
        },
      )
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve, { once: true })
      })
      await reconciler.stop()
      await printed
      throw signal.reason
    })
  })
}
