import { once } from 'node:events'
import type { CommandDefinition } from '../command.ts'
import { asUsage, type Interrupted, Refused, reportOf, UsageError } from '../exit-status.ts'
import { type ChangeOptions, guardsOf, interval, milliseconds, planOptions, withGuards } from '../options.ts'
import { ReconcileReport } from '../reconcile-report.ts'
import type { CommonOptions, Run } from '../run.ts'
import { parseOptions, readError, STDIN } from '../state-file.ts'

interface ReconcileCommandOptions extends CommonOptions, ChangeOptions {
  readonly yes?: boolean
  /** Seconds. */
  readonly interval?: number
}

export const reconcile: CommandDefinition = {
  name: 'reconcile',
  description:
    'Keep the table equal to the state in a file, until SIGTERM or Ctrl-C ends it. SIGHUP reads the file again.',
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

/** That of the library. */
const DEFAULT_INTERVAL_SECONDS = 10

function keep(run: Run, options: ReconcileCommandOptions, file: string): Promise<number> {
  const { interval: intervalSeconds = DEFAULT_INTERVAL_SECONDS, netns, scope, prune = true } = options
  return run.withTable(async (ipvs) => {
    // An error that waiting cannot mend, such as missing privileges, ends the command at once.
    await ipvs.info()
    let reload = (): void => undefined
    return run.interruptible(
      async (signal) => {
        const report = new ReconcileReport(run, ipvs, {
          file,
          ...(netns !== undefined && { netns }),
          ...(scope !== undefined && { scope }),
          prune,
          intervalSeconds,
        })
        const reconciler = ipvs.reconcile(
          { file, ...parseOptions(options, run.surroundings.names) },
          {
            ...planOptions(options),
            ...guardsOf(options),
            signal,
            intervalMs: milliseconds(intervalSeconds),
            onRun: (result) => report.succeeded(result),
            onError: (error) => {
              report.failed(reportOf(asUsage(readError(file, error))))
            },
          },
        )
        reload = () => {
          void report.reload(() => reconciler.runNow())
        }
        if (!signal.aborted) await once(signal, 'abort')
        report.ending()
        await reconciler.stop()
        return report.ended(signal.reason as Interrupted)
      },
      () => {
        reload()
      },
    )
  })
}
