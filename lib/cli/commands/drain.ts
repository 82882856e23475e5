import { type DrainProgress, formatEndpoint, formatServiceKey } from '../../index.ts'
import { STATUS } from '../exit-status.ts'
import { serverOf, serviceOf, type Session } from '../run.ts'
import { Progress } from '../terminal/surroundings.ts'

/** Options of `ipvs drain`. */
export interface DrainCommandOptions {
  /** Seconds. */
  readonly timeout?: number
  readonly atTimeout?: 'keep' | 'delete'
  readonly waitFor?: 'all' | 'active'
  /** Seconds. */
  readonly interval?: number
}

const OUTCOMES = {
  deleted: 'it is deleted.',
  gone: 'someone else has deleted it.',
  kept: 'its connections have not ended in time; it stands at weight 0, and is not deleted.',
  overruled: 'someone else gave it a weight again, which stands.',
} as const

/** `ipvs drain SERVICE SERVER` */
export async function drain(
  session: Session,
  serviceText: string,
  serverText: string,
  { timeout, atTimeout, waitFor, interval }: DrainCommandOptions,
): Promise<number> {
  const key = serviceOf(serviceText)
  const server = serverOf(serverText, key)
  const name = `${formatServiceKey(key)} -> ${formatEndpoint(server)}`
  const progress = new Progress(session.surroundings, { firstAfterMs: 0 })
  const { outcome, last } = await session.withTable((ipvs) =>
    session
      .interruptible(async (signal) => {
        const realServer = await ipvs.realServer(key, server)
        return realServer.drain({
          signal,
          ...(timeout !== undefined && { timeoutMs: Math.round(timeout * 1000) }),
          ...(interval !== undefined && { intervalMs: Math.round(interval * 1000) }),
          ...(atTimeout !== undefined && { atTimeout }),
          ...(waitFor !== undefined && { waitFor }),
          onProgress: (now) => {
            progress.line(`${name}: ${progressText(now)}`)
          },
        })
      })
      .finally(() => {
        progress.clear()
      }),
  )
  if (session.json)
    session.printJson({ service: formatServiceKey(key), server: formatEndpoint(server), outcome, last })
  else session.print(`${name}: ${OUTCOMES[outcome]}\n`)
  return outcome === 'deleted' || outcome === 'gone' ? STATUS.done : STATUS.differs
}

function progressText(now: DrainProgress): string {
  const { activeConnections, inactiveConnections, persistentConnections, elapsedMs, atMostSeconds } = now
  const counts = `${String(activeConnections)} active, ${String(inactiveConnections)} inactive, ${String(persistentConnections)} persistent`
  const left =
    atMostSeconds === undefined || atMostSeconds === 0
      ? ''
      : `, at most ${String(atMostSeconds)} s more if idle`
  return `${counts} after ${String(Math.floor(elapsedMs / 1000))} s${left} (Ctrl-C gives the weight back)`
}
