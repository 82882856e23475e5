import { AddressFamily } from '../../model/constants.ts'
import type { Connection, Template } from './connections.ts'
import type { Counts } from './counters.ts'
import type { Namespace } from './namespace.ts'

/** The files of /proc/net, and how each is written. */
export const PROC_NET: ReadonlyMap<string, (namespace: Namespace) => string> = new Map([
  ['ip_vs_conn', connectionsText],
  ['ip_vs_stats', totalsText],
])

/** /proc/net/ip_vs_conn as ip_vs_conn_seq_show() writes it, except that the kernel's order is that of a hash. */
function connectionsText({ connections, now }: Namespace): string {
  const lines = [HEADER]
  for (const entry of connections.entries) {
    const { protocol, client, clientPort, virtual, virtualPort, serverPort, state } = lineOf(entry)
    const { family } = entry
    const { identity } = entry.dest
    lines.push(
      [
        (PROTOCOLS[protocol] ?? `IP_${String(protocol)}`).padEnd(3),
        hexAddress(family, client),
        hexPort(clientPort),
        hexAddress(family, virtual),
        hexPort(virtualPort),
        hexAddress(identity.family, identity.address),
        hexPort(serverPort),
        state.padEnd(11),
        String(Math.max(0, Math.ceil(entry.expires - now))).padStart(7),
      ].join(' '),
    )
  }
  return `${lines.join('\n')}\n`
}

/** /proc/net/ip_vs_stats as ip_vs_stats_show() writes it. */
function totalsText({ totals, machine }: Namespace): string {
  // Older kernels have 32 bits for all but bytes.
  const wide = machine.features.has('counters64')
  const line = (numbers: Readonly<Counts>): string =>
    COLUMNS.map(([name, width]) => {
      const number = wide || width > 8 ? numbers[name] : numbers[name] % 2 ** 32
      return number.toString(16).toUpperCase().padStart(width)
    }).join(' ')
  return [
    '   Total Incoming Outgoing         Incoming         Outgoing',
    '   Conns  Packets  Packets            Bytes            Bytes',
    line(totals.counts),
    '',
    ' Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s',
    line(totals.rates),
    '',
  ].join('\n')
}

const COLUMNS = [
  ['connections', 8],
  ['packetsIn', 8],
  ['packetsOut', 8],
  ['bytesIn', 16],
  ['bytesOut', 16],
] as const

const HEADER = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData'

const PROTOCOLS: Readonly<Record<number, string>> = {
  0: 'IP',
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  58: 'ICMPv6',
  132: 'SCTP',
}

/** Ports of a template that ip_vs_check_template() has hidden from clients. */
const NOT_FOUND = 0xffff

interface Line {
  readonly protocol: number
  readonly client: Uint8Array
  readonly clientPort: number
  readonly virtual: Uint8Array
  readonly virtualPort: number
  readonly serverPort: number
  readonly state: string
}

function lineOf(entry: Connection | Template): Line {
  if (entry.template) {
    const { protocol, network, virtualAddress } = entry.client
    const virtualPort = entry.found ? entry.client.virtualPort : NOT_FOUND
    return {
      protocol,
      client: network,
      clientPort: 0,
      virtual: virtualAddress,
      virtualPort,
      serverPort: !entry.found || virtualPort === 0 ? virtualPort : entry.dest.identity.port,
      state: entry.assured ? 'ASSURED' : 'NONE',
    }
  }
  const { flow } = entry
  return {
    protocol: flow.protocol,
    client: flow.clientAddress,
    clientPort: flow.clientPort,
    virtual: flow.virtualAddress,
    virtualPort: flow.virtualPort,
    // A server of port 0 gets the port that the client asked for.
    serverPort: entry.dest.identity.port || flow.virtualPort,
    state: entry.state,
  }
}

function hexAddress(family: number, address: Uint8Array): string {
  const hex = (index: number): string => (address[index] as number).toString(16).padStart(2, '0')
  if (family === AddressFamily.INET) return [0, 1, 2, 3].map(hex).join('').toUpperCase()
  return Array.from({ length: 8 }, (_, group) => hex(2 * group) + hex(2 * group + 1)).join(':')
}

function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0')
}
