import { Option } from 'commander'
import {
  type DrainProgress,
  type DrainResult,
  formatEndpoint,
  formatServiceKey,
  type Endpoint,
  type ServiceKey,
} from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { STATUS } from '../exit-status.ts'
import { commandFor } from '../history.ts'
import { makeChange } from '../make-change.ts'
import { interval, milliseconds, seconds, SERVICE, serverOf, serviceOf, withChange } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { line } from '../terminal/line.ts'
import { withUnit } from '../terminal/units.ts'
import { drainName, undoDrain } from '../undo-drain.ts'

interface DrainCommandOptions extends CommonOptions {
  /** Seconds. */
  readonly timeout?: number
  readonly atTimeout?: 'keep' | 'delete'
  readonly waitFor?: 'all' | 'active'
  /** Seconds. */
  readonly interval?: number
  readonly keep?: boolean
  readonly force?: boolean
  readonly undo?: boolean
}

export const drain: CommandDefinition = {
  name: 'drain',
  description: 'Take a real server out of service once its connections have ended.',
  examples: [
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7:8080',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --timeout 60 --at-timeout delete',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --wait-for active',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --keep',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --undo',
  ],
  define: (command) =>
    withChange(command)
      .argument('<service>', SERVICE)
      .argument(
        '<server>',
        '10.0.0.7:8080, [2001:db8::7]:8080, or an address alone, whose port is that of the service',
      )
      .option('--timeout <seconds>', 'how long to wait (default: 300)', seconds)
      .addOption(
        new Option(
          '--at-timeout <action>',
          'what to do when the time is up: keep the server with weight 0, or delete it anyway (default: keep)',
        ).choices(['keep', 'delete']),
      )
      .addOption(
        new Option(
          '--wait-for <connections>',
          'connections to wait for; active leaves out those that one side has closed (default: all)',
        ).choices(['all', 'active']),
      )
      .option('--interval <seconds>', 'how often to check (default: 1)', interval)
      .addOption(
        new Option(
          '--keep',
          'keep the server with weight 0 instead of deleting it, for maintenance',
        ).conflicts('atTimeout'),
      )
      .option('--force', 'drain the last real server of the service whose weight is above 0')
      .addOption(
        new Option(
          '--undo',
          'bring the server back as it was before its newest drain: its weight, or all of it',
        ).conflicts(['timeout', 'atTimeout', 'waitFor', 'interval', 'keep', 'force']),
      ),
  async act(run: Run, options: DrainCommandOptions, serviceText: string, serverText: string) {
    const key = serviceOf(serviceText)
    const server = serverOf(serverText, key)
    if (options.undo === true) return undoDrain(run, options, key, server)
    const { result, weight, kept } = await drainServer(run, options, key, server)
    const { outcome } = result
    if (run.json) {
      run.printJson({ service: formatServiceKey(key), server: formatEndpoint(server), ...result })
    } else {
      run.out.line(line`${drainName(key, server)}: ${outcomeText(result)}`)
      if (run.history && (outcome === 'kept' || outcome === 'drained')) {
        const place = [formatServiceKey(key), formatEndpoint(server)]
        const undo = kept
          ? commandFor(run, 'drain', '--undo', ...place)
          : commandFor(run, 'weight', ...place, String(weight))
        run.note(line`to bring it back: ${undo}`)
      }
    }
    return outcome === 'kept' || outcome === 'overruled' ? STATUS.differs : STATUS.done
  },
}

interface Drained {
  readonly result: DrainResult
  /** From before. */
  readonly weight: number
  /** Whether the history has the state from before. */
  readonly kept: boolean
}

function drainServer(
  run: Run,
  { timeout, atTimeout, waitFor, interval, keep, force }: DrainCommandOptions,
  key: ServiceKey,
  server: Endpoint,
): Promise<Drained> {
  const name = drainName(key, server)
  const progress = run.progress({ firstAfterMs: 0 })
  return run.withTable((ipvs) =>
    run
      .interruptible(async (signal) => {
        const realServer = await ipvs.realServer(key, server)
        let kept = false
        const work = (wasKept: boolean): Promise<DrainResult> => {
          kept = wasKept
          return realServer.drain({
            signal,
            ...(timeout !== undefined && { timeoutMs: milliseconds(timeout) }),
            ...(interval !== undefined && { intervalMs: milliseconds(interval) }),
            ...(atTimeout !== undefined && { atTimeout }),
            ...(waitFor !== undefined && { waitFor }),
            ...(keep !== undefined && { keep }),
            ...(force !== undefined && { force }),
            onProgress: (now) => {
              progress.line(line`${progressText(now)}: ${name}`)
            },
          })
        }
        const changed = ({ outcome }: DrainResult): boolean => outcome !== 'gone' && outcome !== 'overruled'
        const result = await makeChange(run, ipvs, work, { changed, signal, drained: name })
        return { result, weight: realServer.weight, kept }
      })
      .finally(() => {
        progress.clear()
      }),
  )
}

/** How a drain ended, in words. */
function outcomeText({ outcome, last, reason = '' }: DrainResult): string {
  switch (outcome) {
    case 'deleted':
      return 'deleted'
    case 'drained':
      return 'drained, and kept with weight 0'
    case 'gone':
      return 'already deleted by something else'
    case 'kept':
      return `kept with weight 0, because the time was up and ${reason}${mostText(last)}`
    case 'overruled':
      return `kept, because ${reason}`
  }
}

/** How long the kernel keeps what is left. */
function mostText({ atMostSeconds = 0 }: DrainProgress): string {
  return atMostSeconds === 0 ? '' : `, at most ${String(atMostSeconds)} s more if idle`
}

/** What is waited for, in few words: the line is cut where the terminal ends. */
function progressText(now: DrainProgress): string {
  const { activeConnections, inactiveConnections, persistentConnections, elapsedMs } = now
  const counts = [
    `${withUnit(activeConnections)} active`,
    `${withUnit(inactiveConnections)} inactive`,
    ...(persistentConnections > 0 ? [`${withUnit(persistentConnections)} persistent`] : []),
  ]
  return `${String(Math.floor(elapsedMs / 1000))} s: ${counts.join(', ')}${mostText(now)}; Ctrl-C undoes it`
}
