import { constants } from 'node:os'
import {
  type Connection,
  type Counter,
  type Ipvs,
  IpvsError,
  type RunnableStep,
  type ServiceKey,
  type SnapshotEntry,
} from '../../index.ts'
import {
  type Action,
  hasModuleNames,
  type LineOptions,
  readLine,
  LineRefusal,
} from '../../ipvsadm/command-line.ts'
import type { CommandName, Key } from '../../ipvsadm/options.ts'
import { HostWanted, type Names } from '../names.ts'
import * as list from './listing.ts'
import { messageOf } from './messages.ts'
import { sortRealServers, sortServices } from './sort.ts'

/** The environment of a command line. */
export interface ProgramSession extends LineOptions {
  readonly names: Names
  readonly ipvs: Ipvs
  readonly out: (text: string) => void
  readonly err: (text: string) => void
}

/** Reads a command line, after it has looked up the hosts that the line names. */
export async function readWithHosts(
  words: readonly string[],
  options: LineOptions & { readonly names: Names },
): Promise<Action> {
  for (;;) {
    try {
      return readLine(words, options)
    } catch (error) {
      if (!(error instanceof HostWanted)) throw error
      await options.names.findAddress(error.host)
    }
  }
}

/** An action that returns nothing. */
type Change = Exclude<Action, { readonly command: Other }>

type Other = 'list' | 'save' | 'restore' | 'help' | 'version'

export function isChange(action: Action): action is Change {
  return !['list', 'save', 'restore', 'help', 'version'].includes(action.command)
}

/** Sends a change before it returns, so that the changes of many calls in a row travel together. */
export async function change(ipvs: Ipvs, action: Change): Promise<void> {
  const write = writeOf(action)
  if (write !== undefined) {
    const [outcome] = await ipvs.runSteps([write])
    if (outcome?.error !== undefined) throw outcome.error
    return
  }
  switch (action.command) {
    case 'add-service':
    case 'edit-service':
      return refuseModule(ipvs, action)
    case 'add-server':
    case 'edit-server':
      return refuseThresholds(ipvs, action.key)
    case 'flush':
      await ipvs.flush()
      return
    case 'zero':
      await ipvs.zero(action.key)
      return
    case 'set':
      await ipvs.setTimeouts(action.timeouts)
      return
    case 'start-daemon':
      try {
        await ipvs.startSyncDaemon(action.daemon)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        // No interface can have such a name.
        throw new IpvsError({ errno: constants.errno.ENODEV, command: 'startSyncDaemon' })
      }
      return
    case 'stop-daemon':
      await ipvs.stopSyncDaemon(action.state)
  }
}

/**
 * What is written to the table, where that is all that a line does. It is
 * complete: of what an edit does not name nothing is kept, so nothing is read.
 * `undefined` too for thresholds and names of modules that cannot be.
 */
export function writeOf(action: Action): RunnableStep | undefined {
  switch (action.command) {
    case 'add-service':
    case 'edit-service':
      if (!hasModuleNames(action.service)) return undefined
      return { kind: action.command, service: action.key, after: { ...action.key, ...action.service } }
    case 'delete-service':
      return { kind: action.command, service: action.key }
    case 'add-server':
    case 'edit-server': {
      const { command, key, server } = action
      const { lowerThreshold = 0, upperThreshold = 0 } = server
      return lowerThreshold > upperThreshold
        ? undefined
        : { kind: command, service: key, server, after: server }
    }
    case 'delete-server':
      return { kind: action.command, service: action.key, server: action.server }
    default:
      return undefined
  }
}

/** The library does not send such names. The kernel looks for the service first, then for the module. */
async function refuseModule(
  ipvs: Ipvs,
  {
    command,
    key,
    service: { scheduler },
  }: Extract<Change, { readonly command: 'add-service' | 'edit-service' }>,
): Promise<never> {
  const refusal = (errno: number): IpvsError =>
    new IpvsError({
      errno,
      command: command === 'add-service' ? 'addService' : 'editService',
      service: key,
      scheduler,
    })
  await ipvs.service(key).then(
    () => {
      if (command === 'add-service') throw refusal(constants.errno.EEXIST)
    },
    (error: unknown) => {
      const missing = error instanceof IpvsError && error.code === 'ESRCH'
      if (!missing || command === 'edit-service') throw error
    },
  )
  throw refusal(constants.errno.ENOENT)
}

/** The library does not send such thresholds. The kernel looks for the service first, then at the thresholds. */
async function refuseThresholds(ipvs: Ipvs, key: ServiceKey): Promise<never> {
  await ipvs.service(key)
  throw new IpvsError({ errno: constants.errno.ERANGE, command: 'addRealServer', service: key })
}

/** Prints a listing or a save. Returns the exit status. */
export async function show(
  action: Extract<Action, { readonly command: 'list' | 'save' }>,
  session: ProgramSession,
): Promise<number> {
  try {
    if (action.command === 'save') session.out(await save(session, action.options))
    else if (action.options.has('connection')) await showConnections(session, action.options)
    else session.out(await listing(session, action.options, action.key))
    return 0
  } catch (error) {
    if (!(error instanceof IpvsError)) throw error
    // These two fail silently.
    const silent = action.options.has('timeout') || action.options.has('daemon')
    if (!silent) session.err(`${messageOf(error, 'list')}\n`)
    return 1
  }
}

async function listing(
  { ipvs, names }: ProgramSession,
  options: ReadonlySet<Key>,
  key: ServiceKey | undefined,
): Promise<string> {
  if (options.has('timeout')) return list.formatTimeouts(await ipvs.timeouts())
  if (options.has('daemon')) return list.formatDaemons(await ipvs.syncDaemons())
  // Only counters can be too large for a number.
  const bigint = options.has('stats')
  const header = key === undefined ? list.formatInfo(await ipvs.info()) : ''
  const table: SnapshotEntry<Counter>[] =
    key === undefined
      ? await ipvs.snapshot({ bigint })
      : [
          {
            service: await ipvs.service(key, { bigint }),
            realServers: await ipvs.realServers(key, { bigint }),
          },
        ]
  const known = options.has('numeric') ? undefined : names
  await known?.findHosts(addressesOf(table))
  const shown = options.has('nosort') ? table : inOrder(table)
  return header + list.formatTable(shown, { given: options, write: list.endpointWriter(known) })
}

/** There can be millions, so they are printed as they arrive; with names, after all hosts were looked up together. */
async function showConnections(
  { ipvs, names, out }: ProgramSession,
  options: ReadonlySet<Key>,
): Promise<void> {
  const engines = options.has('persistent-conn')
  const connections = ipvs.connections()
  out(list.connectionTitles(engines))
  if (options.has('numeric')) {
    const write = list.endpointWriter()
    for await (const connection of connections) out(list.connectionLine(connection, engines, write))
    return
  }
  const all: Connection[] = []
  for await (const connection of connections) all.push(connection)
  await names.findHosts(
    all.flatMap(({ clientAddress, virtualAddress, serverAddress }) => [
      clientAddress,
      virtualAddress,
      serverAddress,
    ]),
  )
  const write = list.endpointWriter(names)
  for (const connection of all) out(list.connectionLine(connection, engines, write))
}

async function save({ ipvs, names }: ProgramSession, options: ReadonlySet<Key>): Promise<string> {
  const table = await ipvs.snapshot()
  const known = options.has('numeric') ? undefined : names
  await known?.findHosts(addressesOf(table))
  return list.formatSave(inOrder(table), known)
}

function inOrder<N extends Counter>(table: readonly SnapshotEntry<N>[]): SnapshotEntry<N>[] {
  return sortServices(table).map(({ service, realServers }) => ({
    service,
    realServers: sortRealServers(realServers),
  }))
}

function addressesOf(table: readonly SnapshotEntry<Counter>[]): string[] {
  return table.flatMap(({ service, realServers }) => [
    ...(service.address === undefined ? [] : [service.address]),
    ...realServers.map(({ address }) => address),
  ])
}

/** Reports the error of a change as ipvsadm does. Returns the exit status. */
export function report(error: unknown, command: CommandName, err: (text: string) => void): number {
  if (error instanceof LineRefusal) {
    // A word of the command line may have line feeds in it. A message of ipvsadm's own ends with one.
    err(`${error.message.replace(/\n(?!$)/g, '\\n')}\n`)
    return error.status
  }
  if (!(error instanceof IpvsError)) throw error
  err(`${messageOf(error, command)}\n`)
  return 255
}
