import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import type { Failure, Reply } from '../../lib/transport/transport.ts'
import { type Attribute, attributes, concat, hex, MACHINE, payload, toNumber } from '../helpers/bytes.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { reply, ScriptedTransport } from '../helpers/scripted-transport.ts'

/** What the tests of the API have the transport answer: messages by the second writer, in the machine's order. */

export const WEB = { protocol: 'tcp', address: '192.0.2.1', port: 80 } as const
export const SERVER = { address: '10.0.0.1', port: 80 } as const

export interface ServiceReply {
  readonly port?: number
  readonly scheduler?: string
  readonly flags?: number
  readonly timeoutSeconds?: number
  readonly engine?: string
  readonly connections?: number | bigint
}

/** A message of GET_SERVICE: TCP 192.0.2.1. */
export function serviceMessage(service: ServiceReply = {}): Uint8Array {
  return reply.message(
    { command: COMMANDS.newService },
    reply.nest(
      1,
      reply.u16(1, 2),
      reply.u16(2, 6),
      reply.attr(3, hex('c0000201 00000000 00000000 00000000')),
      reply.u16be(4, service.port ?? 80),
      reply.text(6, service.scheduler ?? 'wlc'),
      ...(service.engine === undefined ? [] : [reply.text(11, service.engine)]),
      reply.u32(7, (service.flags ?? 0) | 2, 0xffffffff),
      reply.u32(8, service.timeoutSeconds ?? 0),
      reply.u32be(9, 0xffffffff),
      reply.nest(12, reply.u64(1, service.connections ?? 0)),
    ),
  )
}

export interface DestReply {
  /** Last byte of 10.0.0.x. */
  readonly host?: number
  readonly port?: number
  readonly method?: number
  readonly weight?: number
  readonly upper?: number
  readonly lower?: number
  readonly active?: number
  readonly inactive?: number
  readonly persistent?: number
  readonly connections?: number | bigint
}

/** A message of GET_DEST: 10.0.0.x. */
export function destMessage(dest: DestReply = {}): Uint8Array {
  return reply.message(
    { command: COMMANDS.newDest, flags: 2 },
    reply.nest(
      2,
      reply.attr(1, Uint8Array.from([10, 0, 0, dest.host ?? 1, ...new Uint8Array(12)])),
      reply.u16be(2, dest.port ?? 80),
      reply.u32(3, dest.method ?? 3),
      reply.u32(4, dest.weight ?? 1),
      reply.u8(13, 0),
      reply.u16be(14, 0),
      reply.u16(15, 0),
      reply.u32(5, dest.upper ?? 0),
      reply.u32(6, dest.lower ?? 0),
      reply.u32(7, dest.active ?? 0),
      reply.u32(8, dest.inactive ?? 0),
      reply.u32(9, dest.persistent ?? 0),
      reply.u16(11, 2),
      reply.nest(12, reply.u64(1, dest.connections ?? 0)),
    ),
  )
}

/** The answer that is these messages. */
export function messages(...list: readonly Uint8Array[]): Reply {
  return { messages: concat(...list) }
}

export const ESRCH: Reply = { failure: { errno: 3 } }
export const ENOENT: Reply = { failure: { errno: 2 } }
export const EEXIST: Reply = { failure: { errno: 17 } }

export function failure(errno: number, more: Omit<Failure, 'errno'> = {}): Reply {
  return { failure: { errno, ...more } }
}

/** Members of one of the nests that a request has. */
export function members(request: { readonly attributes: Uint8Array }, nest: number): Attribute[] {
  const bytes = payload(attributes(request.attributes, MACHINE), nest)
  if (bytes === undefined) throw new Error(`the request has no nest ${nest}`)
  return attributes(bytes, MACHINE)
}

/** A number among them; ports are in network order. */
export function member(list: readonly Attribute[], type: number, order: typeof MACHINE = MACHINE): number {
  const bytes = payload(list, type)
  if (bytes === undefined) throw new Error(`attribute ${type} is not there`)
  return toNumber(bytes, order)
}

export async function open(): Promise<{ ipvs: Ipvs; transport: ScriptedTransport }> {
  const transport = new ScriptedTransport()
  return { ipvs: await Ipvs.open({ transport }), transport }
}

/** Fails a test of this file that leaves a rejection behind which nobody handles. */
export function forbidUnhandledRejections(): void {
  const unhandled: unknown[] = []
  const note = (reason: unknown): void => {
    unhandled.push(reason)
  }
  beforeEach(() => {
    process.on('unhandledRejection', note)
  })
  afterEach(async () => {
    await setImmediate()
    await setImmediate()
    process.off('unhandledRejection', note)
    expect(unhandled.splice(0)).toEqual([])
  })
}
