import {
  type AttributeReader,
  AttributeWriter,
  malformed,
  memberTypes,
  MessageReader,
} from '../codec/attributes.ts'
import { decodeInfo, decodeTimeouts, encodeTimeouts } from '../codec/config.ts'
import { decodeDaemon, encodeDaemon, encodeDaemonState } from '../codec/daemon.ts'
import * as dests from '../codec/real-server.ts'
import * as services from '../codec/service.ts'
import { type CounterKind, numbers } from '../codec/stats.ts'
import { familyOfService } from '../model/address.ts'
import { Command, CommandAttribute } from '../model/constants.ts'
import { Errno } from '../model/errno.ts'
import { endpointName, serviceName } from '../model/keys.ts'
import {
  type CompleteSettings,
  completeSettings,
  mergeSettings,
  newDest,
  specOfServer,
  withServerSettings,
} from '../model/server-settings.ts'
import {
  type DecodedService,
  type KernelService,
  kernelServiceOf,
  mergeService,
  newService,
  specOfService,
  withServiceSettings,
} from '../model/service-settings.ts'
import type {
  Counter,
  Info,
  RealServerChanges,
  RealServerKey,
  RealServerSettings,
  RealServerState,
  ServiceChanges,
  ServiceKey,
  ServiceSettings,
  ServiceState,
  SyncDaemon,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
} from '../model/types.ts'
import { checkMixedFamily } from '../model/validate.ts'
import type { Write } from '../state/steps.ts'
import type { Table } from '../state/table.ts'
import type { Dump, Failure, Reply, Request, Transport } from '../transport/transport.ts'
import { Pace } from '../util/pace.ts'
import { type EditOutcome, runEdits } from './edits.ts'

/**
 * What can be said to the kernel, and what its answers say: the one file that
 * holds both the codec and a transport. Everything it is given has been checked
 * (validate.ts); a refusal comes back as a Failure.
 */

/** A request that brings one message back, and how to read that. */
export interface Query<T> {
  readonly request: Request
  readonly decode: (message: AttributeReader) => T
}

export const queries = {
  info: (): Query<Info> => ({ request: encode(Command.GET_INFO), decode: decodeInfo }),
  timeouts: (): Query<Timeouts> => ({ request: encode(Command.GET_CONFIG), decode: decodeTimeouts }),
  service: <N extends Counter>(key: ServiceKey, kind: CounterKind<N>): Query<ServiceState<N>> => ({
    request: encodeService(Command.GET_SERVICE, key),
    decode: (message) => services.decodeService(message, kind).state,
  }),
}

/** Requests that bring nothing back but success. */
export const commands = {
  setTimeouts: (timeouts: Partial<Timeouts>): Request =>
    encode(Command.SET_CONFIG, (writer) => {
      encodeTimeouts(writer, timeouts)
    }),
  flush: (): Request => encode(Command.FLUSH),
  zero: (key: ServiceKey | undefined): Request =>
    key === undefined ? encode(Command.ZERO) : encodeService(Command.ZERO, key),
  deleteService: (key: ServiceKey): Request => encodeService(Command.DEL_SERVICE, key),
  deleteDest: (key: ServiceKey, server: Required<RealServerKey>): Request =>
    encodeDest(Command.DEL_DEST, key, server),
  startDaemon: (spec: SyncDaemonSpec): Request =>
    encode(Command.NEW_DAEMON, (writer) => {
      encodeDaemon(writer, spec)
    }),
  stopDaemon: (state: SyncDaemonState): Request =>
    encode(Command.DEL_DAEMON, (writer) => {
      encodeDaemonState(writer, state)
    }),
}

/** A request to add something, and the state that it then has. */
export interface Addition<State> {
  readonly request: Request
  readonly state: State
}

export function addService(key: ServiceKey, settings: ServiceSettings): Addition<ServiceState> {
  const kernel = kernelServiceOf(settings, familyOfService(key))
  return {
    request: encodeService(Command.NEW_SERVICE, key, kernel),
    state: newService(key, kernel).state,
  }
}

export function addDest(
  key: ServiceKey,
  server: Required<RealServerKey>,
  settings: RealServerSettings,
): Addition<RealServerState> {
  const complete = completeSettings(settings)
  return {
    request: encodeDest(Command.NEW_DEST, key, server, complete),
    state: newDest(server, complete),
  }
}

/** Addresses, and with them identities, as they are read back. */
export { bigints, type CounterKind, numbers } from '../codec/stats.ts'
export { canonicalAddress, canonicalServerKey, canonicalServiceKey, parseAddress } from '../model/address.ts'

/** Reads the message that answered a query. Throws EBADMSG if there is none. */
export function answer<T>(query: Query<T>, reply: Reply): T {
  const message = new MessageReader(reply.messages ?? NOTHING)
  if (!message.next()) throw malformed('it is empty')
  return query.decode(message.attributes())
}

/** Reads all services, each as `make` has it. */
export async function readServices<N extends Counter, S extends { readonly key: ServiceKey }>(
  transport: Transport,
  kind: CounterKind<N>,
  make: (state: ServiceState<N>) => S,
): Promise<S[] | Failure> {
  const dump = await settled(() => transport.dump(LIST_SERVICES))
  if (dump.failure !== undefined) return dump.failure
  const list: S[] = []
  await eachMessage(dump, (message) => {
    list.push(make(services.decodeService(message.attributes(), kind).state))
  })
  return withoutRepeats(list, (service) => serviceName(service.key), new Pace())
}

/** Reads the real servers of one service, each as `make` has it. A service that is not there is ESRCH. */
export async function readDests<N extends Counter, S extends Required<RealServerKey>>(
  transport: Transport,
  key: ServiceKey,
  kind: CounterKind<N>,
  make: (state: RealServerState<N>) => S,
): Promise<S[] | Failure> {
  const request = encodeService(Command.GET_DEST, key)
  const dump = await settled(() => transport.dump(request))
  if (dump.failure !== undefined) return dump.failure
  if (dump.messages.every((block) => block.length === 0)) {
    // The kernel lists nothing for a service that is not there (ip_vs_genl_dump_dests).
    const [service] = await transport.batch([{ ...request, command: Command.GET_SERVICE }])
    return service?.failure ?? []
  }
  const list: S[] = []
  const family = familyOfService(key)
  await eachMessage(dump, (message) => {
    list.push(make(dests.decodeDest(message.attributes(), family, kind)))
  })
  return withoutRepeatedServers(list, new Pace())
}

/**
 * Reads all services, each with its real servers, as `makeService` and
 * `makeServer` have them. `idOf` is for those that keep serviceName(key).
 */
export async function readTable<
  N extends Counter,
  Service extends { readonly key: ServiceKey },
  Server extends Required<RealServerKey>,
>(
  transport: Transport,
  kind: CounterKind<N>,
  makeService: (state: ServiceState<N>, kernel: KernelService) => Service,
  makeServer: (key: ServiceKey, state: RealServerState<N>) => Server,
  idOf: (service: Service) => string = ({ key }) => serviceName(key),
): Promise<{ readonly service: Service; readonly realServers: Server[] }[] | Failure> {
  const dump = await settled(() => dumpTable(transport))
  if (dump.failure !== undefined) return dump.failure
  const table: { readonly service: Service; realServers: Server[] }[] = []
  await eachMessage(dump, (message) => {
    if (message.command === Command.NEW_SERVICE) {
      const { state, kernel } = services.decodeService(message.attributes(), kind)
      table.push({ service: makeService(state, kernel), realServers: [] })
      return
    }
    const entry = table.at(-1)
    if (entry === undefined) return
    const { key } = entry.service
    const state = dests.decodeDest(message.attributes(), familyOfService(key), kind)
    entry.realServers.push(makeServer(key, state))
  })
  const pace = new Pace()
  for (const entry of table) {
    if (entry.realServers.length > ONE_PIECE)
      entry.realServers = await withoutRepeatedServers(entry.realServers, pace)
    if (pace.due()) await pace.rest()
  }
  const once = await withoutRepeats(table, (entry) => idOf(entry.service), pace)

  // The dump of a service that vanished meanwhile is as empty as that of one without servers.
  const empty = once.filter((entry) => entry.realServers.length === 0)
  const gone = new Set<(typeof table)[number]>()
  for (let from = 0; from < empty.length; from += ASKED_AT_ONCE) {
    const some = empty.slice(from, from + ASKED_AT_ONCE)
    const replies = await transport.batch(
      some.map((entry) => encodeService(Command.GET_SERVICE, entry.service.key)),
    )
    for (const [index, entry] of some.entries()) {
      const failure = replies[index]?.failure
      if (failure === undefined) continue
      if (failure.errno !== Errno.ESRCH) return failure
      gone.add(entry)
    }
  }
  return gone.size === 0 ? once : once.filter((entry) => !gone.has(entry))
}

export async function readDaemons(transport: Transport): Promise<SyncDaemon[] | Failure> {
  const dump = await settled(() => transport.dump(LIST_DAEMONS))
  if (dump.failure !== undefined) return dump.failure
  const list: SyncDaemon[] = []
  await eachMessage(dump, (message) => {
    list.push(decodeDaemon(message.attributes()))
  })
  return list
}

export interface ServiceEdit {
  readonly key: ServiceKey
  readonly changes: ServiceChanges
}

/** Edits services, in order: each is read once, and all are written in one batch. */
export async function editServices(
  transport: Transport,
  items: readonly ServiceEdit[],
): Promise<readonly EditOutcome<DecodedService<number>>[]> {
  const edits = items.map(({ key, changes }) => ({
    id: serviceName(key),
    key,
    merge: (current: DecodedService<number>) =>
      withServiceSettings(current, mergeService(current.kernel, changes, familyOfService(key))),
    encode: ({ kernel }: DecodedService<number>) => encodeService(Command.SET_SERVICE, key, kernel),
  }))
  const keys = [...new Map(edits.map((edit) => [edit.id, edit.key]))]
  const replies = await transport.batch(keys.map(([, key]) => encodeService(Command.GET_SERVICE, key)))
  const read = new Map<string, DecodedService<number> | Failure>()
  const pace = new Pace()
  for (const [index, [id]] of keys.entries()) {
    const reply = replies[index] ?? {}
    read.set(id, reply.failure ?? answer({ request: LIST_SERVICES, decode: decodeForEdit }, reply))
    if (pace.due()) await pace.rest()
  }
  return runEdits(transport, edits, read)
}

export interface DestEdit {
  readonly key: ServiceKey
  readonly server: Required<RealServerKey>
  readonly changes: RealServerChanges
}

/** Edits real servers, in order: the servers of each service are read once, and all are written in one batch. */
export async function editDests(
  transport: Transport,
  items: readonly DestEdit[],
): Promise<readonly EditOutcome<RealServerState>[]> {
  const byService = new Map<string, { readonly key: ServiceKey; readonly ids: string[] }>()
  const edits = items.map(({ key, server, changes }) => {
    const service = serviceName(key)
    const id = `${service} ${endpointOf(server)}`
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
      for (const state of list) read.set(`${service} ${endpointOf(state)}`, state)
    }
  }
  return runEdits(transport, edits, read)
}

/** What else than services a table is read with. */
export interface Parts {
  readonly timeouts?: boolean
  readonly syncDaemons?: boolean
  /** Names; those that the kernel does not have are left out. */
  readonly sysctls?: readonly string[]
}

/** Reads and writes what a state is made of, in the time that a task has the transport for itself. */
export class StateAccess {
  readonly #transport: Transport
  /**
   * What the kernel keeps of services that are not persistent, and a SET would
   * take away: timeout and netmask of a persistence that they once had.
   */
  readonly #hidden = new Map<string, KernelService>()

  constructor(transport: Transport) {
    this.#transport = transport
  }

  async read({ timeouts, syncDaemons, sysctls }: Parts): Promise<Table | Failure> {
    const transport = this.#transport
    const read = await readTable(
      transport,
      numbers,
      ({ key, ...state }, kernel) => {
        const id = serviceName(key)
        const spec = specOfService({ key, ...state })
        const plain = PLAIN[state.family]
        if (
          spec.persistence === undefined &&
          (kernel.timeoutSeconds !== plain.timeoutSeconds || kernel.netmask !== plain.netmask)
        ) {
          this.#hidden.set(id, kernel)
        }
        return { id, key, spec }
      },
      (_, state) => specOfServer(state, state),
      ({ id }) => id,
    )
    if ('errno' in read) return read
    const services = await new Pace().map(read, ({ service: { id, key, spec }, realServers }) => ({
      id,
      key,
      spec,
      servers: realServers,
    }))
    const daemons = syncDaemons === true ? await readDaemons(transport) : undefined
    if (daemons !== undefined && 'errno' in daemons) return daemons
    const query = queries.timeouts()
    const [reply] = timeouts === true ? await transport.batch([query.request]) : []
    if (reply?.failure !== undefined) return reply.failure
    const values: Record<string, string> = {}
    for (const name of sysctls ?? []) {
      const value = await transport.sysctl(name)
      if (typeof value === 'object') return value
      if (value !== undefined) values[name] = value
    }
    return {
      services,
      ...(reply !== undefined && { timeouts: answer(query, reply) }),
      ...(daemons !== undefined && { syncDaemons: daemons }),
      ...(sysctls !== undefined && { sysctls: values }),
    }
  }

  /** Runs steps in order, whatever becomes of those before. Gives what became of each. */
  async write(steps: readonly Write[]): Promise<(Failure | undefined)[]> {
    const outcomes: (Failure | undefined)[] = []
    const pace = new Pace()
    for (let next = 0; next < steps.length;) {
      const step = steps[next] as Write
      if (step.kind === 'set-sysctl') {
        outcomes.push(await this.#transport.setSysctl(step.name, step.after))
        next += 1
        continue
      }
      const requests: Request[] = []
      for (let one = steps[next]; one !== undefined && one.kind !== 'set-sysctl'; one = steps[next]) {
        requests.push(this.#encode(one))
        next += 1
        if (pace.due()) await pace.rest()
      }
      for (const { failure } of await this.#transport.batch(requests)) outcomes.push(failure)
    }
    return outcomes
  }

  #encode(step: Exclude<Write, { readonly kind: 'set-sysctl' }>): Request {
    switch (step.kind) {
      case 'add-service':
        return encodeService(Command.NEW_SERVICE, step.service, this.#settings(step.service, step.after))
      case 'edit-service':
        return encodeService(Command.SET_SERVICE, step.service, this.#settings(step.service, step.after))
      case 'delete-service':
        return commands.deleteService(step.service)
      case 'add-server':
        return encodeDest(Command.NEW_DEST, step.service, step.server, completeSettings(step.after))
      case 'edit-server':
        return encodeDest(Command.SET_DEST, step.service, step.server, completeSettings(step.after))
      case 'delete-server':
        return commands.deleteDest(step.service, step.server)
      case 'set-timeouts':
        return commands.setTimeouts(step.after)
      case 'start-daemon':
        return commands.startDaemon(step.after)
      case 'stop-daemon':
        return commands.stopDaemon(step.state)
    }
  }

  #settings(key: ServiceKey, spec: ServiceSettings): KernelService {
    const kernel = kernelServiceOf(spec, familyOfService(key))
    if (spec.persistence !== undefined || this.#hidden.size === 0) return kernel
    const { timeoutSeconds, netmask } = this.#hidden.get(serviceName(key)) ?? kernel
    return { ...kernel, timeoutSeconds, netmask }
  }
}

/** Numbers of the attributes that the kernel sends: IPVS_SVC_ATTR_* and IPVS_DEST_ATTR_*. */
export interface ReportedAttributes {
  readonly service: ReadonlySet<number>
  readonly dest: ReadonlySet<number>
}

/** Which attributes the kernel sends of the services and real servers that there are. */
export async function reportedAttributes(transport: Transport): Promise<ReportedAttributes | Failure> {
  const dump = await settled(() => dumpTable(transport))
  if (dump.failure !== undefined) return dump.failure
  const service = new Set<number>()
  const dest = new Set<number>()
  await eachMessage(dump, (message) => {
    for (const type of memberTypes(message.attributes(), CommandAttribute.SERVICE)) service.add(type)
    for (const type of memberTypes(message.attributes(), CommandAttribute.DEST)) dest.add(type)
  })
  return { service, dest }
}

/** What the kernel gets for a service of which nothing is named. */
const PLAIN = { ipv4: kernelServiceOf({}, 'ipv4'), ipv6: kernelServiceOf({}, 'ipv6') }

/** So many services are asked for in one batch: no more keep the JS thread at a time. */
const ASKED_AT_ONCE = 512

const NOTHING = new Uint8Array(0)

/** Every request is written at once and taken, so one writer serves all. */
const writer = new AttributeWriter()

const LIST_SERVICES: Request = { command: Command.GET_SERVICE, attributes: NOTHING }
const LIST_DAEMONS: Request = { command: Command.GET_DAEMON, attributes: NOTHING }

/** Every service, followed by its real servers. */
function dumpTable(transport: Transport): Promise<Dump> {
  return transport.dumpOfDumps(LIST_SERVICES, Command.GET_DEST, CommandAttribute.SERVICE)
}

function decodeForEdit(message: AttributeReader): DecodedService<number> {
  return services.decodeService(message, numbers)
}

function encode(command: number, write?: (writer: AttributeWriter) => void): Request {
  if (write === undefined) return { command, attributes: NOTHING }
  // What a request left that was never finished, because a getter of the caller's threw.
  writer.take()
  write(writer)
  return { command, attributes: writer.take() }
}

function encodeService(command: number, key: ServiceKey, kernel?: KernelService): Request {
  return encode(command, (writer) => {
    services.encodeService(writer, key, kernel)
  })
}

function encodeDest(
  command: number,
  key: ServiceKey,
  server: Required<RealServerKey>,
  settings?: CompleteSettings,
): Request {
  return encode(command, (writer) => {
    services.encodeService(writer, key)
    dests.encodeDest(writer, server, settings)
  })
}

function endpointOf({ address, port }: Required<RealServerKey>): string {
  return endpointName(address, port)
}

/** How often a dump is read at most that the kernel calls interrupted each time. */
const DUMP_READS = 8

/** Reads a dump again where the kernel says that its entries moved meanwhile: any of them may be missing. */
async function settled(read: () => Promise<Dump>): Promise<Dump> {
  for (let reads = 0; reads < DUMP_READS; reads++) {
    const dump = await read()
    if (dump.failure !== undefined || !dump.interrupted) return dump
    dump.release?.()
  }
  return { failure: { errno: Errno.EAGAIN }, messages: [], interrupted: true }
}

/** Visits every message of a dump, and lets others have the JS thread now and then. */
async function eachMessage(dump: Dump, visit: (message: MessageReader) => void): Promise<void> {
  const pace = new Pace()
  for (const block of dump.messages) {
    const message = new MessageReader(block)
    while (message.next()) {
      visit(message)
      if (pace.due()) await pace.rest()
    }
  }
  dump.release?.()
}

/** So many entries always come in one piece of a dump, which the kernel makes at once: 3.7 kB, 400 bytes each at most. */
const ONE_PIECE = 9

/** A list, as long as it was dumped, without what comes twice when a table moves under its dump. */
async function withoutRepeats<T>(list: T[], identify: (entry: T) => string, pace: Pace): Promise<T[]> {
  if (list.length <= ONE_PIECE) return list
  const seen = new Set<string>()
  const once: T[] = []
  for (const entry of list) {
    const before = seen.size
    if (seen.add(identify(entry)).size > before) once.push(entry)
    if (pace.due()) await pace.rest()
  }
  return once.length === list.length ? list : once
}

async function withoutRepeatedServers<S extends Required<RealServerKey>>(
  list: S[],
  pace: Pace,
): Promise<S[]> {
  if (list.length <= ONE_PIECE) return list
  // Most often each has an address of its own, and then no text need be made for any.
  const addresses = new Set<string>()
  for (const { address } of list) {
    addresses.add(address)
    if (pace.due()) await pace.rest()
  }
  return addresses.size === list.length ? list : withoutRepeats(list, endpointOf, pace)
}
