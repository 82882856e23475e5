import { type AttributeReader, AttributeWriter, malformed, MessageReader } from '../codec/attributes.ts'
import { decodeInfo, decodeTimeouts, encodeTimeouts } from '../codec/config.ts'
import { encodeDaemon, encodeDaemonState } from '../codec/daemon.ts'
import * as dests from '../codec/real-server.ts'
import * as services from '../codec/service.ts'
import { type CounterKind } from '../codec/stats.ts'
import { Command } from '../model/constants.ts'
import { type CompleteSettings } from '../model/server-settings.ts'
import { type KernelService } from '../model/service-settings.ts'
import type {
  Counter,
  Endpoint,
  Info,
  ServiceKey,
  ServiceState,
  SyncDaemonSpec,
  SyncDaemonState,
  TimeoutChanges,
  Timeouts,
} from '../model/types.ts'
import type { Reply, Request } from '../transport/transport.ts'

/**
 * The requests that IPVS understands, and how their answers are read. Their
 * arguments have already been checked (validate.ts).
 */

/** A request that is answered with one message, and how to read that message. */
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

/** Requests that are answered with success only. */
export const commands = {
  setTimeouts: (timeouts: TimeoutChanges): Request =>
    encode(Command.SET_CONFIG, (writer) => {
      encodeTimeouts(writer, timeouts)
    }),
  flush: (): Request => encode(Command.FLUSH),
  zero: (key: ServiceKey | undefined): Request =>
    key === undefined ? encode(Command.ZERO) : encodeService(Command.ZERO, key),
  deleteService: (key: ServiceKey): Request => encodeService(Command.DEL_SERVICE, key),
  deleteDest: (key: ServiceKey, server: Endpoint): Request => encodeDest(Command.DEL_DEST, key, server),
  startDaemon: (spec: SyncDaemonSpec): Request =>
    encode(Command.NEW_DAEMON, (writer) => {
      encodeDaemon(writer, spec)
    }),
  stopDaemon: (state: SyncDaemonState): Request =>
    encode(Command.DEL_DAEMON, (writer) => {
      encodeDaemonState(writer, state)
    }),
}

/** Reads the message that answered a query. Throws EBADMSG if there is none. */
export function answer<T>(query: Query<T>, reply: Reply): T {
  const message = new MessageReader(reply.messages ?? NOTHING)
  if (!message.next()) throw malformed('it is empty')
  return query.decode(message.attributes())
}

const NOTHING = new Uint8Array(0)

/** Each request is written and taken in one go, so one writer serves all. */
const writer = new AttributeWriter()

function encode(command: number, write?: (writer: AttributeWriter) => void): Request {
  if (write === undefined) return { command, attributes: NOTHING }
  // Discards a request that was never finished because a getter of the caller threw.
  writer.take()
  write(writer)
  return { command, attributes: writer.take() }
}

export function encodeService(command: number, key: ServiceKey, kernel?: KernelService): Request {
  return encode(command, (writer) => {
    services.encodeService(writer, key, kernel)
  })
}

export function encodeDest(
  command: number,
  key: ServiceKey,
  server: Endpoint,
  settings?: CompleteSettings,
): Request {
  return encode(command, (writer) => {
    services.encodeService(writer, key)
    dests.encodeDest(writer, server, settings)
  })
}
