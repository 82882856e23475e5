import { Errno } from '../model/errno.ts'
import { specOfServer } from '../model/server-settings.ts'
import { specOfService } from '../model/service-settings.ts'
import type {
  Counter,
  CounterOf,
  ReadOptions,
  RealServerState,
  ServiceKey,
  ServiceState,
} from '../model/types.ts'
import { slices } from '../util/pace.ts'
import { checkReadOptions, kindOf, readTable } from './reads.ts'
import { refusal } from './refusals.ts'
import type { Session } from './session.ts'

/** Options of `snapshot()`. */
export interface SnapshotOptions<B extends boolean = boolean> extends ReadOptions<B> {
  /**
   * Read until two reads in a row agree on everything but counters, at most eight
   * times. Default false: one read, which may see part of a change that someone
   * makes meanwhile.
   */
  readonly stable?: boolean | undefined
}

/** A service and its real servers, as results of `makeService` and `makeServer`. */
interface Entry<Service, Server> {
  readonly service: Service
  readonly realServers: readonly Server[]
}

const STABLE_READS = 8

/** Reads the whole table, with each service and real server turned into a result. */
export async function readSnapshot<
  B extends boolean,
  Service extends ServiceState<Counter>,
  Server extends RealServerState<Counter>,
>(
  session: Session,
  options: SnapshotOptions<B>,
  makeService: (state: ServiceState<CounterOf<B>>) => Service,
  makeServer: (key: ServiceKey, state: RealServerState<CounterOf<B>>) => Server,
): Promise<Entry<Service, Server>[]> {
  checkReadOptions(options, ['stable'])
  const kind = kindOf(options)
  const read = (): Promise<Entry<Service, Server>[]> =>
    session.read('snapshot', (transport) => readTable(transport, kind, makeService, makeServer), options)
  let table = await read()
  if (options.stable !== true) return table
  for (let reads = 1; reads < STABLE_READS; reads++) {
    const again = await read()
    if (await sameConfiguration(table, again)) return again
    table = again
  }
  throw refusal({ errno: Errno.EAGAIN }, 'snapshot')
}

type Plain = Entry<ServiceState<Counter>, RealServerState<Counter>>

/** Whether two reads of the table agree on everything that can be configured. */
async function sameConfiguration(one: readonly Plain[], other: readonly Plain[]): Promise<boolean> {
  if (one.length !== other.length) return false
  let index = 0
  for await (const some of slices(one)) {
    for (const { service, realServers } of some) {
      const again = other[index] as Plain
      index += 1
      if (!isSame(specOfService(service), specOfService(again.service))) return false
      if (realServers.length !== again.realServers.length) return false
      let at = 0
      for await (const servers of slices(realServers)) {
        for (const server of servers) {
          const otherServer = again.realServers[at] as RealServerState<Counter>
          at += 1
          if (!isSame(specOfServer(server, server), specOfServer(otherServer, otherServer))) return false
        }
      }
    }
  }
  return true
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}
