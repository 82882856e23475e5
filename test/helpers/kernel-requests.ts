import fc from 'fast-check'
import { COMMANDS } from './commands.ts'
import { attribute, nest, text, u16, u16be, u32, u8 } from './kernel-bytes.ts'

/**
 * Random requests over a small world: few services, few real servers, so that
 * they meet; every setting, also those that are refused; members that are
 * missing, too short or too long.
 */

export interface RandomRequest {
  readonly command: number
  readonly dump: boolean
  readonly attributes: readonly Uint8Array[]
}

type Member = readonly [type: number, bytes: Uint8Array]

const v4 = (...bytes: readonly number[]): Uint8Array =>
  Uint8Array.from({ length: 16 }, (_, at) => bytes[at] ?? 0)
const v6 = (...groups: readonly number[]): Uint8Array =>
  Uint8Array.from(
    Array.from({ length: 8 }, (_, at) => groups[at] ?? 0).flatMap((group) => [group >> 8, group & 255]),
  )

/** The payload of an attribute that was made with its header. */
const bare = (made: Uint8Array): Uint8Array =>
  made.subarray(4, new DataView(made.buffer, made.byteOffset).getUint16(0, true))
const member = (type: number, made: Uint8Array): Member => [type, bare(made)]

const address = (family: number, protocol: number, bytes: Uint8Array, port: number): Member[] => [
  member(1, u16(1, family)),
  member(2, u16(2, protocol)),
  [3, bytes],
  member(4, u16be(4, port)),
]

const IPV4_SERVICES: readonly Member[][] = [
  address(2, 6, v4(10, 0, 0, 1), 80),
  address(2, 17, v4(10, 0, 0, 1), 80),
  address(2, 6, v4(10, 0, 0, 1), 81),
  address(2, 132, v4(0, 0, 0, 0), 0),
  [member(1, u16(1, 2)), member(5, u32(5, 7))],
]
const IPV6_SERVICES: readonly Member[][] = [
  address(10, 6, v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 80),
  [member(1, u16(1, 10)), member(5, u32(5, 7))],
]
const ODD_SERVICES: readonly Member[][] = [
  address(3, 6, v4(10, 0, 0, 1), 80),
  [member(1, u16(1, 2)), member(5, u32(5, 0))],
  // The same service as the first of all: the last four bytes count for nothing.
  address(2, 6, v4(10, 0, 0, 1, 9, 9, 9, 9), 80),
  [...address(2, 6, v4(10, 0, 0, 1), 80), member(5, u32(5, 7))],
]

const often = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>, weight = 12): fc.Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: odd })

const number32 = fc.oneof(
  fc.constantFrom(0, 1, 2, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0xffffff00, 8589934, 21474836),
  fc.nat({ max: 1000 }),
  fc.integer({ min: 0, max: 0xffffffff }),
)
const small = often(fc.nat({ max: 20 }), number32, 4)

/** Names that the kernel knows; each of the others costs a run of modprobe. */
const scheduler = often(
  fc.constantFrom(
    'rr',
    'wrr',
    'lc',
    'wlc',
    'sh',
    'mh',
    'dh',
    'lblc',
    'lblcr',
    'sed',
    'nq',
    'fo',
    'ovf',
    'none',
  ),
  fc.constantFrom('nosuch', ''),
  150,
)
const engine = often(fc.constantFrom(undefined, '', 'sip'), fc.constant('nosuch'), 150)

/** Sometimes without one of the members, or with one that is cut or longer. */
function spoilt(members: fc.Arbitrary<Member[]>): fc.Arbitrary<Uint8Array[]> {
  return fc
    .tuple(
      members,
      often(
        fc.constant(undefined),
        fc.record({
          at: fc.nat({ max: 20 }),
          kind: fc.constantFrom('leave', 'cut', 'grow', 'twice', 'unknown'),
        }),
        8,
      ),
    )
    .map(([list, spoil]) => {
      const made = list.map(([type, bytes]) => attribute(type, bytes))
      if (spoil === undefined || list.length === 0) return made
      const at = spoil.at % list.length
      const [type, bytes] = list[at] as Member
      switch (spoil.kind) {
        case 'leave':
          made.splice(at, 1)
          break
        case 'cut':
          made[at] = attribute(type, bytes.subarray(0, -1))
          break
        case 'grow':
          made[at] = attribute(type, Uint8Array.of(...bytes, 1))
          break
        case 'twice':
          made.splice(0, 0, attribute(type, new Uint8Array(bytes.length)))
          break
        default:
          made.splice(at, 0, u32(77, 1), u16(0, 1))
      }
      return made
    })
}

const key = often(
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...IPV4_SERVICES) },
    { weight: 2, arbitrary: fc.constantFrom(...IPV6_SERVICES) },
  ),
  fc.constantFrom(...ODD_SERVICES),
)

const fullService = fc
  .record({
    key,
    scheduler,
    engine,
    flags: fc.tuple(
      fc.constantFrom(0, 1, 2, 4, 5, 8, 16, 32, 0xffffffff),
      fc.constantFrom(0, 1, 4, 0x3c, 0xffffffff),
    ),
    timeout: small,
    mask: often(fc.constantFrom(1, 32, 64, 128), number32, 6),
  })
  .map(({ key, scheduler, engine, flags, timeout, mask }) => [
    ...key,
    member(6, text(6, scheduler)),
    member(7, u32(7, ...flags)),
    member(8, u32(8, timeout)),
    member(9, u32(9, mask)),
    ...(engine === undefined ? [] : [member(11, text(11, engine))]),
  ])

const ADDRESSES: readonly (readonly [family: number, bytes: Uint8Array])[] = [
  [2, v4(10, 1, 0, 1)],
  [2, v4(10, 1, 0, 2)],
  [2, v4(127, 0, 0, 1)],
  [10, v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)],
  [10, v6(0xfd00, 0, 0, 0, 0, 0, 0, 9)],
]
const ODD_ADDRESSES: readonly (readonly [family: number, bytes: Uint8Array])[] = [
  [2, v4(224, 0, 0, 1)],
  [2, v4(10, 9, 9, 255)],
  [2, v4()],
  [10, v6(0xfe80, 0, 0, 0, 0, 0, 0, 1)],
  [10, v6()],
  [3, v4(10, 1, 0, 1)],
]

const destKey = fc
  .record({
    at: often(fc.constantFrom(...ADDRESSES), fc.constantFrom(...ODD_ADDRESSES)),
    port: fc.constantFrom(0, 80, 81),
    family: often(fc.constantFrom('own', 'absent'), fc.constantFrom('zero', 'other'), 15),
  })
  .map(({ at: [number, bytes], port, family }) => {
    const said = family === 'own' ? number : family === 'zero' ? 0 : number === 2 ? 10 : 2
    return [
      [1, bytes],
      member(2, u16be(2, port)),
      ...(family === 'absent' ? [] : [member(11, u16(11, said))]),
    ] as Member[]
  })

const fullDest = fc
  .record({
    key: destKey,
    method: fc.oneof(fc.constant(2), fc.nat({ max: 9 })),
    weight: small,
    upper: small,
    lower: often(fc.constant(0), small, 3),
    tunnel: often(
      fc.constant(undefined),
      fc.tuple(fc.nat({ max: 3 }), fc.constantFrom(0, 6080), fc.nat({ max: 3 })),
      2,
    ),
  })
  .map(({ key, method, weight, upper, lower, tunnel }) => [
    ...key,
    member(3, u32(3, method)),
    member(4, u32(4, weight)),
    member(5, u32(5, upper)),
    member(6, u32(6, lower)),
    ...(tunnel === undefined
      ? []
      : [member(13, u8(13, tunnel[0])), member(14, u16be(14, tunnel[1])), member(15, u16(15, tunnel[2]))]),
  ])

const newDaemon = fc
  .record({
    state: often(fc.constantFrom(1, 2), fc.constantFrom(0, 3)),
    name: often(fc.constantFrom('d0', 'lo'), fc.constant('nosuch')),
    id: small,
    length: fc.constantFrom(undefined, 0, 1, 500, 1024, 1400, 65535),
    group: fc.constantFrom(
      undefined,
      [5, Uint8Array.of(239, 1, 2, 3)] as const,
      [5, Uint8Array.of(10, 0, 0, 1)] as const,
      [6, v6(0xff02, 0, 0, 0, 0, 0, 0, 0x51)] as const,
      [6, v6(0x2001)] as const,
    ),
    port: fc.constantFrom(undefined, 0, 9000),
    ttl: fc.constantFrom(undefined, 0, 7),
  })
  .map(({ state, name, id, length, group, port, ttl }) => [
    member(1, u32(1, state)),
    member(2, text(2, name)),
    member(3, u32(3, id)),
    ...(length === undefined ? [] : [member(4, u16(4, length))]),
    ...(group === undefined ? [] : [group]),
    ...(port === undefined ? [] : [member(7, u16(7, port))]),
    ...(ttl === undefined ? [] : [member(8, u8(8, ttl))]),
  ])

const service = spoilt(key).map((members) => nest(1, ...members))

const request = (
  command: number | readonly number[],
  ...nests: readonly fc.Arbitrary<Uint8Array | undefined>[]
): fc.Arbitrary<RandomRequest> =>
  fc
    .tuple(fc.constantFrom(...(typeof command === 'number' ? [command] : command)), ...nests)
    .map(([command, ...parts]) => ({
      command,
      dump: false,
      attributes: parts.filter((part) => part !== undefined),
    }))

const timeout = (type: number): fc.Arbitrary<Uint8Array | undefined> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    { weight: 4, arbitrary: small.map((seconds) => u32(type, seconds)) },
    { weight: 1, arbitrary: fc.nat({ max: 3 }).map((length) => attribute(type, new Uint8Array(length))) },
  )

const { newService, setService, newDest, setDest } = COMMANDS

/** One request, of any kind. */
export const anyRequest: fc.Arbitrary<RandomRequest> = fc.oneof(
  {
    weight: 40,
    arbitrary: request(
      [newService, newService, setService],
      spoilt(fullService).map((all) => nest(1, ...all)),
    ),
  },
  {
    weight: 80,
    arbitrary: request(
      [newDest, newDest, setDest],
      service,
      spoilt(fullDest).map((all) => nest(2, ...all)),
    ),
  },
  {
    weight: 20,
    arbitrary: request(
      COMMANDS.deleteDest,
      service,
      spoilt(destKey).map((all) => nest(2, ...all)),
    ),
  },
  { weight: 8, arbitrary: request([COMMANDS.deleteService, COMMANDS.getService, COMMANDS.zero], service) },
  { weight: 2, arbitrary: request([COMMANDS.flush, COMMANDS.zero, COMMANDS.getInfo]) },
  {
    weight: 8,
    arbitrary: request([COMMANDS.setConfig, COMMANDS.getConfig], timeout(4), timeout(5), timeout(6)),
  },
  {
    weight: 3,
    arbitrary: request(
      COMMANDS.newDaemon,
      spoilt(newDaemon).map((all) => nest(3, ...all)),
    ),
  },
  {
    weight: 2,
    arbitrary: request(
      COMMANDS.deleteDaemon,
      fc.nat({ max: 3 }).map((state) => nest(3, u32(1, state))),
    ),
  },
  {
    weight: 4,
    arbitrary: request([COMMANDS.getDest, COMMANDS.getService, newDest, COMMANDS.getDaemon], service).map(
      (one) => ({
        ...one,
        dump: true,
      }),
    ),
  },
  // Whatever: bytes that are no attributes at all.
  {
    weight: 2,
    arbitrary: fc
      .record({
        command: fc.integer({ min: 0, max: 20 }).filter((command) => command !== COMMANDS.flush),
        bytes: fc.uint8Array({ maxLength: 24 }),
      })
      .map(({ command, bytes }) => ({ command, dump: false, attributes: [bytes] })),
  },
)

/** Requests that add the usual services, so that a sequence finds some. */
export const usualServices: readonly RandomRequest[] = [...IPV4_SERVICES, ...IPV6_SERVICES].map((key) => ({
  command: newService,
  dump: false,
  attributes: [
    nest(
      1,
      ...key.map(([type, bytes]) => attribute(type, bytes)),
      text(6, 'wlc'),
      u32(7, 0, 0),
      u32(8, 0),
      u32(9, 32),
    ),
  ],
}))
