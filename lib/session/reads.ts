import { MessageReader } from '../codec/attributes.ts'
import { decodeDaemon } from '../codec/daemon.ts'
import * as dests from '../codec/real-server.ts'
import * as services from '../codec/service.ts'
import { bigints, type CounterKind, numbers } from '../codec/stats.ts'
import { familyOfService } from '../model/address.ts'
import { checkOptions } from '../model/check.ts'
import { Command, CommandAttribute } from '../model/constants.ts'
import { Errno } from '../model/errno.ts'
import { endpointId, serviceName } from '../model/keys.ts'
import { type KernelService } from '../model/service-settings.ts'
import type {
  Counter,
  CounterOf,
  Endpoint,
  ReadOptions,
  RealServerState,
  ServiceKey,
  ServiceState,
  SyncDaemon,
} from '../model/types.ts'
import type { Dump, Failure, Request, Transport } from '../transport/transport.ts'
import { Pace, slices } from '../util/pace.ts'
import { encodeService } from './requests.ts'

/**
 * Lists from dumps: an interrupted dump is read again, nothing appears twice, and
 * others get the JS thread now and then. A refusal comes back as a Failure.
 */

/** Services to ask for in one batch. Limits how long the JS thread is kept. */
const ASKED_AT_ONCE = 512

/** Reads all services, each turned into a result by `make`. */
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
  return withoutRepeats(list, (service) => serviceName(service.key))
}

/** Reads the real servers of one service, each turned into a result by `make`. A service that does not exist is ESRCH. */
export async function readDests<N extends Counter, S extends Endpoint>(
  transport: Transport,
  key: ServiceKey,
  kind: CounterKind<N>,
  make: (state: RealServerState<N>) => S,
): Promise<S[] | Failure> {
  const request = encodeService(Command.GET_DEST, key)
  const dump = await settled(() => transport.dump(request))
  if (dump.failure !== undefined) return dump.failure
  if (dump.messages.every((block) => block.length === 0)) {
    // The kernel lists nothing for a service that does not exist (ip_vs_genl_dump_dests).
    const [service] = await transport.batch([{ ...request, command: Command.GET_SERVICE }])
    return service?.failure ?? []
  }
  const list: S[] = []
  const family = familyOfService(key)
  await eachMessage(dump, (message) => {
    list.push(make(dests.decodeDest(message.attributes(), family, kind)))
  })
  return withoutRepeatedServers(list)
}

/**
 * Reads all services, each with its real servers, as results of `makeService` and
 * `makeServer`. `idOf` is for results that already have serviceName(key).
 */
export async function readTable<
  N extends Counter,
  Service extends { readonly key: ServiceKey },
  Server extends Endpoint,
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
  for await (const some of slices(table)) {
    for (const entry of some) {
      if (entry.realServers.length > ONE_PIECE)
        entry.realServers = await withoutRepeatedServers(entry.realServers)
    }
  }
  const once = await withoutRepeats(table, (entry) => idOf(entry.service))

  // The dump of a service that has vanished is empty, like that of one without servers.
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

export const LIST_SERVICES: Request = { command: Command.GET_SERVICE, attributes: new Uint8Array(0) }
const LIST_DAEMONS: Request = { command: Command.GET_DAEMON, attributes: new Uint8Array(0) }

/** Every service, followed by its real servers. */
export function dumpTable(transport: Transport): Promise<Dump> {
  return transport.dumpOfDumps(LIST_SERVICES, Command.GET_DEST, CommandAttribute.SERVICE)
}

/** How often to read a dump at most if the kernel reports it as interrupted each time. */
const DUMP_READS = 8

/** Reads a dump again if the kernel says that its entries moved meanwhile: any of them may be missing. */
export async function settled(read: () => Promise<Dump>): Promise<Dump> {
  for (let reads = 0; reads < DUMP_READS; reads++) {
    const dump = await read()
    if (dump.failure !== undefined || !dump.interrupted) return dump
    dump.release?.()
  }
  return { failure: { errno: Errno.EAGAIN }, messages: [], interrupted: true }
}

/** Visits every message of a dump, and gives others the JS thread now and then. */
export async function eachMessage(dump: Dump, visit: (message: MessageReader) => void): Promise<void> {
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

/** This many entries always fit in one piece of a dump, which the kernel makes at once: 3.7 kB, at most 400 bytes each. */
const ONE_PIECE = 9

/** The list of a dump, without entries that come twice because the table changed during the dump. */
async function withoutRepeats<T>(list: T[], identify: (entry: T) => string): Promise<T[]> {
  if (list.length <= ONE_PIECE) return list
  const seen = new Set<string>()
  const once: T[] = []
  for await (const some of slices(list)) {
    for (const entry of some) {
      const before = seen.size
      if (seen.add(identify(entry)).size > before) once.push(entry)
    }
  }
  return once.length === list.length ? list : once
}

async function withoutRepeatedServers<S extends Endpoint>(list: S[]): Promise<S[]> {
  if (list.length <= ONE_PIECE) return list
  // Usually each has a different address, and then no identifying string has to be made.
  const addresses = new Set<string>()
  for await (const some of slices(list)) {
    for (const { address } of some) {
      addresses.add(address)
    }
  }
  return addresses.size === list.length ? list : withoutRepeats(list, endpointId)
}

const READ_OPTIONS = ['signal', 'bigint']

/** Checks the options of a read, which may include `more` names. */
export function checkReadOptions(options: ReadOptions, more: readonly string[] = []): void {
  checkOptions(options, [...READ_OPTIONS, ...more])
}

/** The type of counters that a read returns. */
export function kindOf<B extends boolean>({ bigint }: ReadOptions<B>): CounterKind<CounterOf<B>> {
  return (bigint === true ? bigints : numbers) as CounterKind<Counter> as CounterKind<CounterOf<B>>
}

/** The values of the sysctls that the kernel has, by name. */
export async function valuesOf(
  transport: Transport,
  names: readonly string[],
): Promise<{ readonly values: Record<string, string> } | Failure> {
  const given = await transport.sysctls(names)
  const found: Record<string, string> = {}
  for (const [index, name] of names.entries()) {
    const value = given[index]
    if (typeof value === 'object') return value
    if (value !== undefined) found[name] = value
  }
  return { values: found }
}
