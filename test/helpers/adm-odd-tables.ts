import { concat } from './bytes.ts'
import { COMMANDS } from './commands.ts'
import { attribute, nest, text, u16, u16be, u32, u8 } from './kernel-bytes.ts'

/**
 * Tables that other programs can make and ipvsadm cannot: the kernel stores
 * what it has no use for. Requests are made here byte by byte, since the
 * library refuses them.
 */

export interface RawRequest {
  readonly command: number
  readonly attributes: Uint8Array
}

type Members = readonly Uint8Array[]

const v4 = (...bytes: readonly number[]): Uint8Array =>
  Uint8Array.from({ length: 16 }, (_, at) => bytes[at] ?? 0)
const v6 = (last: number): Uint8Array =>
  Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last)

interface Settings {
  readonly scheduler?: string
  readonly flags?: number
  readonly timeout?: number
  readonly netmask?: number
  readonly engine?: string
}

function settings({ scheduler = 'rr', flags = 0, timeout = 0, netmask = 128, engine }: Settings): Members {
  return [
    text(6, scheduler),
    u32(7, flags, 0xffffffff),
    u32(8, timeout),
    u32(9, netmask),
    ...(engine === undefined ? [] : [text(11, engine)]),
  ]
}

const at = (protocol: number, last: number, port: number): Members => [
  u16(1, 2),
  u16(2, protocol),
  attribute(3, v4(10, 0, 0, last)),
  u16be(4, port),
]
const at6 = (protocol: number, last: number, port: number): Members => [
  u16(1, 10),
  u16(2, protocol),
  attribute(3, v6(last)),
  u16be(4, port),
]
const mark = (fwmark: number, family = 2): Members => [u16(1, family), u32(5, fwmark)]

const service = (key: Members, own: Settings = {}): RawRequest => ({
  command: COMMANDS.newService,
  attributes: nest(1, ...key, ...settings(own)),
})

interface Server {
  readonly method?: number
  readonly port?: number
  readonly weight?: number
  readonly upper?: number
  readonly lower?: number
  readonly tunnel?: readonly [type: number, port: number, flags: number]
}

const server = (
  key: Members,
  address: Uint8Array,
  { method = 3, port = 80, weight = 1, upper = 0, lower = 0, tunnel }: Server,
  family = 2,
): RawRequest => ({
  command: COMMANDS.newDest,
  attributes: concat(
    nest(1, ...key),
    nest(
      2,
      attribute(1, address),
      u16be(2, port),
      u32(3, method),
      u32(4, weight),
      u32(5, upper),
      u32(6, lower),
      u16(11, family),
      ...(tunnel === undefined ? [] : [u8(13, tunnel[0]), u16be(14, tunnel[1]), u16(15, tunnel[2])]),
    ),
  ),
})

const PERSISTENT = 1
const ONE_PACKET = 4
const SCHED3 = 0x20
const TCP = at(6, 1, 80)

export interface OddTable {
  readonly title: string
  readonly requests: readonly RawRequest[]
  /** How many of the requests the kernel refuses. Default none. */
  readonly refused?: number
  /** Listings in which ipvsadm does not crash. Default all. */
  readonly views?: readonly string[]
}

export const ODD_TABLES: readonly OddTable[] = [
  {
    title: 'IP protocols that are not TCP, UDP or SCTP',
    requests: [0, 1, 4, 50, 58, 136, 255, 256, 6 + 256, 65535].flatMap((protocol) => [
      service(at(protocol, 1, 80)),
      server(at(protocol, 1, 80), v4(10, 1, 0, 1), { method: 0 }),
      service(at6(protocol, 1, 80)),
    ]),
  },
  {
    title: 'forwarding methods',
    requests: [
      service(TCP),
      ...Array.from({ length: 8 }, (_, method) =>
        server(TCP, v4(10, 1, 0, method), { method, tunnel: [1, 5, 1] }),
      ),
      ...Array.from({ length: 8 }, (_, method) => server(TCP, v4(10, 1, 1, method), { method })),
    ],
  },
  {
    title: 'tunnels',
    requests: [
      service(TCP),
      ...[0, 1, 2, 3, 255].flatMap((type) =>
        (type === 1 || type === 2 ? [0, 1, 2] : [0, 3, 65535]).map((flags, index) =>
          server(TCP, v4(10, 1, type, index), { method: 2, tunnel: [type, 65535, flags] }),
        ),
      ),
      server(TCP, v4(10, 2, 0, 1), { method: 2, tunnel: [2, 0, 0] }),
    ],
  },
  {
    title: 'tunnels with both checksums',
    requests: [
      service(TCP),
      server(TCP, v4(10, 1, 0, 1), { method: 2, tunnel: [1, 6080, 3] }),
      server(TCP, v4(10, 1, 0, 2), { method: 2, tunnel: [2, 0, 3] }),
    ],
    views: ['-Ln', '-Ln --tun-info', '-Ln --stats', '-Ln --thresholds'],
  },
  {
    title: 'weights and thresholds',
    refused: 2,
    requests: [
      service(TCP),
      ...[0x7fffffff, 0x80000000, 0xffffffff].flatMap((number, index) => [
        server(TCP, v4(10, 1, 0, index), { weight: number }),
        server(TCP, v4(10, 1, 1, index), { upper: number }),
        server(TCP, v4(10, 1, 2, index), { upper: number, lower: number }),
        server(TCP, v4(10, 1, 3, index), { upper: 0xffffffff, lower: number, method: 0, port: 9 }),
      ]),
    ],
  },
  {
    title: 'persistence, one-packet scheduling and flags',
    requests: [
      service(at(6, 1, 0)),
      service(at6(6, 1, 0)),
      service(at(6, 2, 80), { flags: PERSISTENT, timeout: 0 }),
      service(at(6, 3, 80), { flags: PERSISTENT, timeout: 2678401 }),
      service(at(6, 4, 80), { flags: PERSISTENT, timeout: 0x7fffffff }),
      service(at(6, 5, 80), { flags: PERSISTENT, timeout: 0xffffffff }),
      service(at(6, 6, 80), { flags: PERSISTENT, timeout: 9, netmask: 0 }),
      service(at(6, 7, 80), { flags: PERSISTENT, timeout: 9, netmask: 0x00ff00ff }),
      service(at6(6, 8, 80), { flags: PERSISTENT, timeout: 9, netmask: 1 }),
      service(at6(6, 9, 80), { flags: PERSISTENT, timeout: 9, netmask: 128 }),
      service(mark(5, 10), { flags: PERSISTENT, timeout: 9, netmask: 128 }),
      service(mark(6), { flags: PERSISTENT | ONE_PACKET, timeout: 9 }),
      service(at(6, 10, 80), { flags: ONE_PACKET }),
      service(at(132, 10, 80), { flags: ONE_PACKET }),
      service(at(6, 11, 80), { flags: 0xffffffff, timeout: 70 }),
      service(at(6, 12, 80), { flags: 0xffff0000 }),
      service(at(6, 13, 80), { engine: 'sip' }),
      service(at(6, 14, 80), { flags: SCHED3 }),
    ],
  },
  {
    title: 'ports and addresses',
    requests: [
      service(at(6, 0, 0), { flags: PERSISTENT, timeout: 9 }),
      service([u16(1, 2), u16(2, 6), attribute(3, v4()), u16be(4, 0)], { flags: PERSISTENT, timeout: 9 }),
      service([u16(1, 2), u16(2, 17), attribute(3, v4(255, 255, 255, 255)), u16be(4, 65535)]),
      service([u16(1, 10), u16(2, 17), attribute(3, v4()), u16be(4, 53)]),
      service(TCP),
      server(TCP, v4(10, 1, 0, 1), { method: 3, port: 8080 }),
      server(TCP, v4(10, 1, 0, 1), { method: 2, port: 0 }),
      server(TCP, v6(7), { method: 2, port: 65535 }, 10),
      service(mark(0x80000000)),
      service(mark(0xffffffff, 10)),
      server(mark(0xffffffff, 10), v6(7), { method: 0, port: 0 }, 10),
    ],
  },
]

/** A master on dummy0 with any id. */
export function daemonWithId(id: number): RawRequest {
  return { command: COMMANDS.newDaemon, attributes: nest(3, u32(1, 1), text(2, 'dummy0'), u32(3, id)) }
}
