import { errnoName } from '../../lib/model/errno.ts'
import type { Request, Transport } from '../../lib/transport/transport.ts'
import { concat } from './bytes.ts'
import { COMMANDS } from './commands.ts'
import { membersOfMessage, nest, readU32, serviceSettings, u16, u32 } from './kernel-bytes.ts'

/**
 * What a kernel answers, in a form that two kernels can be compared by: the
 * bytes of every message without what differs from kernel to kernel (the
 * family's number, sequence, port and padding in front of 64-bit numbers).
 */

/** Nests of statistics, and the attribute inside that is mere padding. */
const STATISTICS = new Set([10, 12])
const PAD = 11
const HEADERS = 20

/**
 * Numbers and hexadecimal payloads of attributes, nests in braces. `nests` says
 * which are nests, at this level and those inside.
 */
function show(bytes: Uint8Array, ...nests: readonly ((type: number) => boolean)[]): string {
  const [isNest, ...inside] = nests
  const parts: string[] = []
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true)
    if (length < 4 || at + length > bytes.length) throw new Error(`an attribute of ${String(length)} bytes`)
    const type = view.getUint16(at + 2, true)
    const payload = bytes.subarray(at + 4, at + length)
    at += (length + 3) & ~3
    // Only statistics, the innermost, are padded.
    if (isNest === undefined && type === PAD && length === 4) continue
    const text =
      isNest?.(type) === true ? `{ ${show(payload, ...inside)} }` : Buffer.from(payload).toString('hex')
    parts.push(`${String(type)}:${text}`)
  }
  return parts.join(' ')
}

/** One message: flags, command, version, and attributes with their numbers. */
export function showMessage(message: Uint8Array): string {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  const [command = 0, version = 0] = message.subarray(16)
  const body = message.subarray(HEADERS, view.getUint32(0, true))
  // GET_INFO and GET_CONFIG answer without nests.
  const nested = command !== COMMANDS.setInfo && command !== COMMANDS.setConfig
  const isStatistics = (type: number): boolean => command !== COMMANDS.newDaemon && STATISTICS.has(type)
  const attributes = nested ? show(body, () => true, isStatistics) : show(body)
  return `flags ${String(view.getUint16(6, true))} command ${String(command)} version ${String(version)}: ${attributes}`
}

/** Every message of a block, in text. */
export function showMessages(block: Uint8Array): string[] {
  const list: string[] = []
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  for (let at = 0; at < block.length; at += (view.getUint32(at, true) + 3) & ~3) {
    list.push(showMessage(block.subarray(at, at + view.getUint32(at, true))))
  }
  return list
}

/** What became of one request: 'ok', the messages, or the errno and the kernel's words. */
export async function ask(
  transport: Transport,
  command: number,
  ...attributes: readonly Uint8Array[]
): Promise<string> {
  const [reply] = await transport.batch([{ command, attributes: concat(...attributes) }])
  if (reply?.failure !== undefined) return refusal(reply.failure)
  return reply?.messages === undefined ? 'ok' : showMessages(reply.messages).join('\n')
}

/** What a dump brought: a line for each message, or the one of the errno. */
export async function list(
  transport: Transport,
  command: number,
  ...attributes: readonly Uint8Array[]
): Promise<string[]> {
  const dump = await transport.dump({ command, attributes: concat(...attributes) })
  return dump.failure === undefined ? dump.messages.flatMap(showMessages) : [refusal(dump.failure)]
}

/** The whole state that can be read: services with their real servers, sync daemons, timeouts. */
export async function wholeTable(transport: Transport): Promise<string[]> {
  const outer: Request = { command: COMMANDS.getService, attributes: new Uint8Array(0) }
  const table = await transport.dumpOfDumps(outer, COMMANDS.getDest, 1)
  if (table.failure !== undefined) throw new Error(`the table cannot be read: ${refusal(table.failure)}`)
  return [
    ...table.messages.flatMap(showMessages),
    ...(await list(transport, COMMANDS.getDaemon)),
    await ask(transport, COMMANDS.getConfig),
  ]
}

/**
 * The number that a kernel mixes into the order of its services: with one
 * service in each bucket, the first that it lists tells. The namespace must be
 * empty, and is left so.
 */
export async function hashSeedOf(transport: Transport): Promise<number> {
  const marks = Array.from({ length: 256 }, (_, index) => index + 256)
  await transport.batch(
    marks.map((mark) => ({
      command: COMMANDS.newService,
      attributes: nest(1, u16(1, 2), u32(5, mark), ...serviceSettings(0, 'none')),
    })),
  )
  const { messages } = await transport.dump({ command: COMMANDS.getService, attributes: new Uint8Array(0) })
  await transport.batch([{ command: COMMANDS.flush, attributes: new Uint8Array(0) }])
  if (messages[0] === undefined) throw new Error('the kernel lists no services')
  return readU32(membersOfMessage(messages[0], 1).get(5)) & 255
}

function refusal({
  errno,
  message,
}: {
  readonly errno: number
  readonly message?: string | undefined
}): string {
  return `${errnoName(errno)}${message === undefined ? '' : ` (${message})`}`
}
