import { canonicalAddress, formatIPv4 } from '../model/address.ts'
import { checkOptions } from '../model/check.ts'
import type { Connection, Protocol, RequestOptions } from '../model/types.ts'
import { readProcNet } from '../session/proc-net.ts'
import type { Session } from '../session/session.ts'
import { Pace } from '../util/pace.ts'

/** Lists the connections that the kernel remembers. See Ipvs.connections(). */
export async function* readConnections(
  session: Session,
  options: RequestOptions,
): AsyncGenerator<Connection, void, undefined> {
  checkOptions(options, ['signal'])
  const parser = new ConnectionParser()
  const pace = new Pace()
  for await (const piece of readProcNet(session, 'connections', 'ip_vs_conn', options)) {
    for (const connection of parser.parse(piece)) {
      yield connection
      if (pace.due()) await pace.rest()
    }
  }
}

/** Reads the text of /proc/net/ip_vs_conn in pieces, which may end inside a line. */
export class ConnectionParser {
  readonly #decoder = new TextDecoder()
  /** The line that the last piece has not ended. */
  #rest = ''

  /**
   * The connections of the lines that end in this piece. Skips lines that do not look
   * as ip_vs_conn_seq_show() writes them: the first, which names the columns, and those
   * to which a future kernel adds.
   */
  parse(piece: Uint8Array): Connection[] {
    const lines = (this.#rest + this.#decoder.decode(piece, { stream: true })).split('\n')
    this.#rest = lines.pop() as string
    return lines.map(parseLine).filter((connection) => connection !== undefined)
  }
}

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
