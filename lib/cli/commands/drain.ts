import { Option } from 'commander'
import { type DrainProgress, formatEndpoint, formatServiceKey } from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { STATUS } from '../exit-status.ts'
import { interval, milliseconds, seconds, SERVICE, serverOf, serviceOf } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { line } from '../terminal/line.ts'
import { withUnit } from '../terminal/units.ts'

interface DrainCommandOptions extends CommonOptions {
  /** Seconds. */
  readonly timeout?: number
  readonly atTimeout?: 'keep' | 'delete'
  readonly waitFor?: 'all' | 'active'
  /** Seconds. */
  readonly interval?: number
}

const OUTCOMES = {
  deleted: 'deleted',
  gone: 'already deleted by something else',
  kept: 'kept with weight 0, because its connections did not end in time',
  overruled: 'kept, because something else has changed its weight',
} as const

export const drain: CommandDefinition = {
  name: 'drain',
  description: 'Take a real server out of service once its connections have ended.',
  examples: [
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7:8080',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --timeout 60 --at-timeout delete',
    'ipvs drain tcp/192.0.2.10:80 10.0.0.7 --wait-for active',
  ],
  define: (command) =>
    command
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
      .option('--interval <seconds>', 'how often to check (default: 1)', interval),
  async act(run: Run, options: DrainCommandOptions, serviceText: string, serverText: string) {
    const { timeout, atTimeout, waitFor, interval } = options
    const key = serviceOf(serviceText)
    const server = serverOf(serverText, key)
    const name = `${formatServiceKey(key)} -> ${formatEndpoint(server)}`
    const progress = run.progress({ firstAfterMs: 0 })
    const { outcome, last } = await run.withTable((ipvs) =>
      run
        .interruptible(async (signal) => {
          const realServer = await ipvs.realServer(key, server)
          return realServer.drain({
            signal,
            ...(timeout !== undefined && { timeoutMs: milliseconds(timeout) }),
            ...(interval !== undefined && { intervalMs: milliseconds(interval) }),
            ...(atTimeout !== undefined && { atTimeout }),
            ...(waitFor !== undefined && { waitFor }),
            onProgress: (now) => {
              progress.line(line`${progressText(now)}: ${name}`)
            },
          })
        })
        .finally(() => {
          progress.clear()
        }),
    )
    if (run.json)
      run.printJson({ service: formatServiceKey(key), server: formatEndpoint(server), outcome, last })
    else run.out.line(line`${name}: ${OUTCOMES[outcome]}`)
    return outcome === 'deleted' || outcome === 'gone' ? STATUS.done : STATUS.differs
  },
}

/** What is waited for, in few words: the line is cut where the terminal ends. */
function progressText(now: DrainProgress): string {
  const { activeConnections, inactiveConnections, persistentConnections, elapsedMs, atMostSeconds } = now
  const counts = [
    `${withUnit(activeConnections)} active`,
    `${withUnit(inactiveConnections)} inactive`,
    ...(persistentConnections > 0 ? [`${withUnit(persistentConnections)} persistent`] : []),
  ]
  const left =
    atMostSeconds === undefined || atMostSeconds === 0
      ? ''
      : `; at most ${String(atMostSeconds)} s more if idle`
  return `${String(Math.floor(elapsedMs / 1000))} s: ${counts.join(', ')}${left}; Ctrl-C undoes it`
}
