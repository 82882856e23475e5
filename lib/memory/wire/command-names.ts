import { oneOf } from '../../model/check.ts'
import { Command } from '../../model/constants.ts'

/**
 * The requests that reach the kernel, by the library's names. One method can need
 * more than one: `editService()` reads with 'getService' and writes with
 * 'editService'; `snapshot()` is 'getService' and a 'getRealServers' for each.
 */
export type KernelCommand =
  | 'addService'
  | 'editService'
  | 'deleteService'
  | 'getService'
  | 'addRealServer'
  | 'editRealServer'
  | 'deleteRealServer'
  | 'getRealServers'
  | 'startSyncDaemon'
  | 'stopSyncDaemon'
  | 'getSyncDaemons'
  | 'setTimeouts'
  | 'getTimeouts'
  | 'getInfo'
  | 'zero'
  | 'flush'

const NUMBERS: Readonly<Record<KernelCommand, number>> = {
  addService: Command.NEW_SERVICE,
  editService: Command.SET_SERVICE,
  deleteService: Command.DEL_SERVICE,
  getService: Command.GET_SERVICE,
  addRealServer: Command.NEW_DEST,
  editRealServer: Command.SET_DEST,
  deleteRealServer: Command.DEL_DEST,
  getRealServers: Command.GET_DEST,
  startSyncDaemon: Command.NEW_DAEMON,
  stopSyncDaemon: Command.DEL_DAEMON,
  getSyncDaemons: Command.GET_DAEMON,
  setTimeouts: Command.SET_CONFIG,
  getTimeouts: Command.GET_CONFIG,
  getInfo: Command.GET_INFO,
  zero: Command.ZERO,
  flush: Command.FLUSH,
}

const NAMES = new Map(Object.entries(NUMBERS).map(([name, number]) => [number, name as KernelCommand]))

/** The name of a command's number; the number itself if the kernel has no such command. */
export function commandName(command: number): KernelCommand | number {
  return NAMES.get(command) ?? command
}

/** Refuses a name that is not a command, for callers without types. */
export function checkCommand(name: KernelCommand | undefined): void {
  if (name !== undefined) oneOf(name, 'command', Object.keys(NUMBERS))
}
