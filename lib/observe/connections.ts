import { canonicalAddress, formatIPv4 } from '../model/address.ts'
import { checkOptions } from '../model/check.ts'
import type { Connection, Protocol, RequestOptions } from '../model/types.ts'
import type { Session } from '../session/session.ts'
import { Pace } from '../util/pace.ts'

/** Lists the connections that the kernel remembers. See Ipvs.connections(). */
export async function* readConnections(
  session: Session,
  options: RequestOptions,
): AsyncGenerator<Connection, void, undefined> {
  checkOptions(options, ['signal'])
  const text = await session.read('connections', (transport) => transport.connections(), options)
  const pace = new Pace()
  for (const connection of parseConnections(text)) {
    yield connection
    if (pace.due()) await pace.rest()
  }
}

/**
 * The lines of /proc/net/ip_vs_conn after the first, which names the columns.
 * Skips lines that do not look as ip_vs_conn_seq_show() writes them: a future
 * kernel may add to them, and the last line may be cut off.
 */
export function* parseConnections(text: Uint8Array): Generator<Connection> {
  const decoder = new TextDecoder()
  let start = text.indexOf(NEWLINE) + 1
  while (start > 0) {
    const end = text.indexOf(NEWLINE, start)
    if (end < 0) return
    const connection = parseLine(decoder.decode(text.subarray(start, end)))
    if (connection !== undefined) yield connection
    start = end + 1
  }
}

const NEWLINE = 10

/** Protocol, three times address and port, state, seconds; then the engine and its data, which may contain spaces. */
const LINE =
  /^(\S+) +([\da-fA-F:]+) ([\dA-F]{4}) ([\da-fA-F:]+) ([\dA-F]{4}) ([\da-fA-F:]+) ([\dA-F]{4}) (\S+) +(\d+)(?: (\S+) (.*))?$/

function parseLine(line: string): Connection | undefined {
  const [
    whole,
    protocol,
    client,
    clientPort,
    virtual,
    virtualPort,
    server,
    serverPort,
    state,
    seconds,
    engine,
    data,
  ] = LINE.exec(line) ?? []
  if (whole === undefined) return undefined
  const number = protocolOf(protocol as string)
  if (number === undefined) return undefined
  const port = parseInt(clientPort as string, 16)
  return {
    protocol: number,
    clientAddress: addressOf(client as string),
    clientPort: port,
    virtualAddress: addressOf(virtual as string),
    virtualPort: parseInt(virtualPort as string, 16),
    serverAddress: addressOf(server as string),
    serverPort: parseInt(serverPort as string, 16),
    state: state as string,
    expiresSeconds: Number(seconds),
    template: port === 0 && (state === 'NONE' || state === 'ASSURED'),
    ...(engine !== undefined && { persistenceEngine: engine, persistenceData: data as string }),
  }
}

/** ip_vs_proto_name(). */
const PROTOCOLS: Readonly<Record<string, Protocol>> = {
  TCP: 'tcp',
  UDP: 'udp',
  SCTP: 'sctp',
  IP: 0,
  ICMP: 1,
  ICMPv6: 58,
}

function protocolOf(word: string): Protocol | undefined {
  const number = /^IP_(\d+)$/.exec(word)?.[1]
  return number === undefined ? PROTOCOLS[word] : Number(number)
}

/** Eight digits are IPv4, eight groups IPv6. */
function addressOf(text: string): string {
  return text.includes(':') ? canonicalAddress(text) : formatIPv4(parseInt(text, 16))
}
