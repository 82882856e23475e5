import { Option } from 'commander'
import {
  type DrainProgress,
  type DrainResult,
  formatEndpoint,
  formatServiceKey,
  type RealServerKey,
  type ServiceKey,
} from '../../index.ts'
import type { CommandDefinition } from '../command.ts'
import { STATUS } from '../exit-status.ts'
import { quoted } from '../history.ts'
import { makeChange } from '../make-change.ts'
import { interval, milliseconds, seconds, SERVICE, serverOf, serviceOf, withChange } from '../options.ts'
import type { CommonOptions, Run } from '../run.ts'
import { line } from '../terminal/line.ts'
import { drainName, undoDrain } from '../undo-drain.ts'
import { counted } from '../words.ts'

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

const OUTCOMES = {
  deleted: 'deleted',
  gone: 'already deleted by something else',
  drained: 'drained, and kept with weight 0',
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
    const { outcome, last } = await drainServer(run, options, key, server)
    if (run.json) {
      run.printJson({ service: formatServiceKey(key), server: formatEndpoint(server), outcome, last })
    } else {
      run.out.line(line`${drainName(key, server)}: ${OUTCOMES[outcome]}`)
      if (outcome === 'kept') run.out.lines(reasons(last).map((reason) => line`  ${reason}`))
      if (outcome === 'kept' || outcome === 'drained') {
        const place = [formatServiceKey(key), formatEndpoint(server)].map(quoted).join(' ')
        run.note(line`to bring it back: ipvs drain --undo ${place}`)
      }
    }
    return outcome === 'kept' || outcome === 'overruled' ? STATUS.differs : STATUS.done
  },
}

function drainServer(
  run: Run,
  { timeout, atTimeout, waitFor, interval, keep, force }: DrainCommandOptions,
  key: ServiceKey,
  server: Required<RealServerKey>,
): Promise<DrainResult> {
  const name = drainName(key, server)
  const progress = run.progress({ firstAfterMs: 0 })
  return run.withTable((ipvs) =>
    run
      .interruptible(async (signal) => {
        const realServer = await ipvs.realServer(key, server)
        const work = (): Promise<DrainResult> =>
          realServer.drain({
            signal,
            ...(timeout !== undefined && { timeoutMs: milliseconds(timeout) }),
            ...(interval !== undefined && { intervalMs: milliseconds(interval) }),
            ...(atTimeout !== undefined && { atTimeout }),
            ...(waitFor !== undefined && { waitFor }),
            ...(keep !== undefined && { keep }),
            ...(force !== undefined && { force }),
            onProgress: (now) => {
              progress.line(line`${name}: ${progressText(now)}`)
            },
          })
        const changed = ({ outcome }: DrainResult): boolean => outcome !== 'gone' && outcome !== 'overruled'
        return makeChange(run, ipvs, work, { changed, signal, drained: name })
      })
      .finally(() => {
        progress.clear()
      }),
  )
}

/** What a drain still waited for when its time was up, and why that had not ended, a line each. */
function reasons(last: DrainProgress): string[] {
  const { activeConnections, inactiveConnections, persistentConnections, waitsFor, atMostSeconds } = last
  const most = atMostSeconds === undefined ? '' : `; at most ${String(atMostSeconds)} s more if idle`
  const texts = {
    active: `${counted(activeConnections, 'active connection')}: open until the client or the server closes it`,
    inactive: `${counted(inactiveConnections, 'inactive connection')}: closed, or without a packet, and still remembered by the kernel${most}`,
    persistent:
      `${counted(persistentConnections, 'persistent client')}: persistence sends them here in spite of weight 0, because the sysctl ` +
      `expire_quiescent_template is 0${most}`,
  } as const
  return waitsFor.map((kind) => texts[kind])
}

function progressText(now: DrainProgress): string {
  const { activeConnections, inactiveConnections, persistentConnections, elapsedMs, atMostSeconds } = now
  const counts = `${String(activeConnections)} active, ${String(inactiveConnections)} inactive, ${String(persistentConnections)} persistent`
  const left =
    atMostSeconds === undefined || atMostSeconds === 0
      ? ''
      : `, at most ${String(atMostSeconds)} s more if idle`
  return `${counts} after ${String(Math.floor(elapsedMs / 1000))} s${left} (Ctrl-C restores the weight)`
}
