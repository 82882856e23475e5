import { checkOptions } from '../model/check.ts'
import type {
  Info,
  RequestOptions,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  TimeoutChanges,
  Timeouts,
} from '../model/types.ts'
import { checkDaemonSpec, checkDaemonState, checkTimeouts } from '../model/validate.ts'
import { readDaemons } from './reads.ts'
import { commands, queries } from './requests.ts'
import type { Session } from './session.ts'

/** Everything that belongs to a whole network namespace: version, timeouts, sync daemons, flushing the table. */

export async function readInfo(session: Session, options: RequestOptions): Promise<Info> {
  return session.ask('info', queries.info(), options)
}

export async function readTimeouts(session: Session, options: RequestOptions): Promise<Timeouts> {
  return session.ask('timeouts', queries.timeouts(), options)
}

export async function setTimeouts(
  session: Session,
  timeouts: TimeoutChanges,
  options: RequestOptions,
): Promise<void> {
  await session.tell('setTimeouts', commands.setTimeouts(checkTimeouts(timeouts)), options)
}

export async function flush(session: Session, options: RequestOptions): Promise<void> {
  await session.tell('flush', commands.flush(), options)
}

export async function listSyncDaemons(session: Session, options: RequestOptions): Promise<SyncDaemon[]> {
  checkOptions(options, ['signal'])
  return session.read('syncDaemons', readDaemons, options)
}

export async function startSyncDaemon(
  session: Session,
  spec: SyncDaemonSpec,
  options: RequestOptions,
): Promise<void> {
  const daemon = checkDaemonSpec(spec)
  const { multicastInterface } = daemon
  await session.tell('startSyncDaemon', commands.startDaemon(daemon), options, { multicastInterface })
}

export async function stopSyncDaemon(
  session: Session,
  state: SyncDaemonState,
  options: RequestOptions,
): Promise<void> {
  await session.tell('stopSyncDaemon', commands.stopDaemon(checkDaemonState(state)), options)
}
