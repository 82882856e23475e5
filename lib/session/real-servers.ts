import { numbers } from '../codec/stats.ts'
import { canonicalServerKey } from '../model/address.ts'
import { Command } from '../model/constants.ts'
import { Errno } from '../model/errno.ts'
import { endpointId, serviceName } from '../model/keys.ts'
import { completeSettings, mergeSettings, newDest, withServerSettings } from '../model/server-settings.ts'
import type {
  CounterOf,
  ReadOptions,
  RealServerChanges,
  RealServerKey,
  RealServerSpec,
  RealServerState,
  RequestOptions,
  ServiceKey,
} from '../model/types.ts'
import { checkMixedFamily, checkServerChanges, checkServerKey, checkServerSpec } from '../model/validate.ts'
import type { Failure, Transport } from '../transport/transport.ts'
import { type EditOutcome, runEdits } from './edits.ts'
import { checkReadOptions, kindOf, readDests } from './reads.ts'
import { edited, refusal } from './refusals.ts'
import { commands, encodeDest } from './requests.ts'
import type { Session } from './session.ts'

/** Reads, adds, edits and deletes the real servers of a virtual service, as services.ts does services. */

/** Lists the real servers of a service, each turned into a result by `make`. */
export async function listRealServersAs<S extends Required<RealServerKey>, B extends boolean = false>(
  session: Session,
  service: ServiceKey,
  options: ReadOptions<B>,
  make: (state: RealServerState<CounterOf<B>>) => S,
  command = 'realServers',
): Promise<S[]> {
  checkReadOptions(options)
  const kind = kindOf(options)
  return session.read(command, (transport) => readDests(transport, service, kind, make), options, { service })
}

export async function readRealServer<B extends boolean = false>(
  session: Session,
  service: ServiceKey,
  server: RealServerKey,
  options: ReadOptions<B>,
): Promise<RealServerState<CounterOf<B>>> {
  checkReadOptions(options)
  const realServer = serverKeyOf(server, service)
  // The kernel cannot read a single real server.
  const list = await listRealServersAs(session, service, options, (state) => state, 'realServer')
  const found = list.find(({ address, port }) => address === realServer.address && port === realServer.port)
  if (found === undefined) throw refusal({ errno: Errno.ENOENT }, 'realServer', { service, realServer })
  return found
}

export async function addRealServer(
  session: Session,
  service: ServiceKey,
  spec: RealServerSpec,
  options: RequestOptions,
): Promise<RealServerState> {
  const realServer = serverKeyOf(spec, service)
  const settings = completeSettings(checkServerSpec(spec, realServer, service))
  const request = encodeDest(Command.NEW_DEST, service, realServer, settings)
  await session.tell('addRealServer', request, options, { service, realServer })
  return newDest(realServer, settings)
}

export async function editRealServer(
  session: Session,
  service: ServiceKey,
  server: RealServerKey,
  changes: RealServerChanges,
  options: RequestOptions,
): Promise<RealServerState> {
  const realServer = serverKeyOf(server, service)
  const item = { key: service, server: realServer, changes: checkServerChanges(changes) }
  const subject = { service, realServer }
  const outcome = await session.join('editRealServer', editDests, item, options, subject)
  return edited(outcome, 'editRealServer', subject)
}

/**
 * Sets the weight of a real server to 0. Nothing of this `Ipvs` comes between the
 * look at the service's real servers and the edit.
 *
 * @param look Gets the server and all of its service as they are. What it throws ends this before anything is sent.
 */
export async function quiesceRealServer(
  session: Session,
  service: ServiceKey,
  server: Required<RealServerKey>,
  look: (now: RealServerState, all: readonly RealServerState[]) => void,
  command: string,
): Promise<void> {
  const subject = { service, realServer: server }
  const quiesce = async (transport: Transport): Promise<object | Failure> => {
    const all = await readDests(transport, service, numbers, (state) => state)
    if ('errno' in all) return all
    const id = endpointId(server)
    const now = all.find((one) => endpointId(one) === id)
    if (now === undefined) return { errno: Errno.ENOENT }
    look(now, all)
    const settings = mergeSettings(now, { weight: 0 })
    const [reply] = await transport.batch([encodeDest(Command.SET_DEST, service, server, settings)])
    return reply?.failure ?? {}
  }
  await session.read(command, quiesce, {}, subject)
}

export async function deleteRealServer(
  session: Session,
  service: ServiceKey,
  server: RealServerKey,
  options: RequestOptions,
): Promise<void> {
  const realServer = serverKeyOf(server, service)
  const request = commands.deleteDest(service, realServer)
  await session.tell('deleteRealServer', request, options, { service, realServer })
}

function serverKeyOf(server: RealServerKey, service: ServiceKey): Required<RealServerKey> {
  return canonicalServerKey(checkServerKey(server, service))
}

interface DestEdit {
  readonly key: ServiceKey
  readonly server: Required<RealServerKey>
  readonly changes: RealServerChanges
}

/** Edits real servers, in order: the servers of each service are read once, and all are written in one batch. */
async function editDests(
  transport: Transport,
  items: readonly DestEdit[],
): Promise<readonly EditOutcome<RealServerState>[]> {
  const byService = new Map<string, { readonly key: ServiceKey; readonly ids: string[] }>()
  const edits = items.map(({ key, server, changes }) => {
    const service = serviceName(key)
    const id = `${service} ${endpointId(server)}`
    const known = byService.get(service)
    if (known === undefined) byService.set(service, { key, ids: [id] })
    else known.ids.push(id)
    return {
      id,
      merge: (current: RealServerState) => {
        const settings = mergeSettings(current, changes)
        checkMixedFamily(server, key, settings.method)
        return withServerSettings(current, settings)
      },
      encode: (edited: RealServerState) => encodeDest(Command.SET_DEST, key, server, edited),
    }
  })
  const read = new Map<string, RealServerState | Failure>()
  for (const [service, { key, ids }] of byService) {
    const list = await readDests(transport, key, numbers, (state) => state)
    if ('errno' in list) {
      for (const id of ids) read.set(id, list)
    } else {
      for (const state of list) read.set(`${service} ${endpointId(state)}`, state)
    }
  }
  return runEdits(transport, edits, read)
}
