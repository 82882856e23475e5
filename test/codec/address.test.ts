import fc from 'fast-check'
import { SocketAddress } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { familyName, familyNumber, formatAddress } from '../../lib/codec/address.ts'
import { planStates, type State } from '../../lib/index.ts'
import {
  canonicalAddress,
  canonicalServerKey,
  canonicalServiceKey,
  formatIPv4,
  isIPv4,
  parseAddress,
  parseIPv4Number,
} from '../../lib/model/address.ts'
import { concat, hex, toHex } from '../helpers/bytes.ts'
import { cases } from '../helpers/depth.ts'
import { holds } from '../helpers/random.ts'

const AF_INET = 2
const AF_INET6 = 10

function format(bytes: Uint8Array, family: number): string {
  return formatAddress(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, family)
}

/** inet_ntop(3) of libuv, which shares nothing with ours. */
function inetNtop(text: string): string {
  return new SocketAddress({ address: text, family: text.includes(':') ? 'ipv6' : 'ipv4' }).address
}

/** All eight groups of an address, four digits each. */
function longForm(bytes: Uint8Array): string {
  return toHex(bytes).match(/.{4}/g)!.join(':')
}

const NAMED: readonly [text: string, bytes: string][] = [
  ['::', '00000000000000000000000000000000'],
  ['::1', '00000000000000000000000000000001'],
  ['1::', '00010000000000000000000000000000'],
  ['2001:db8::1', '20010db8000000000000000000000001'],
  ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
  // One zero group is no run.
  ['1:0:2:3:4:5:6:7', '00010000000200030004000500060007'],
  // The longest run wins, and of equal ones the left.
  ['1:0:0:2::3', '00010000000000020000000000000003'],
  ['1::2:0:0:3:4', '00010000000000020000000000030004'],
  ['::2:0:0:0:3', '00000000000000020000000000000003'],
  ['1::2:3:4:0:0', '00010000000000020003000400000000'],
  ['::2:3:4:5:6:7', '00000000000200030004000500060007'],
  ['1:2:3:4:5:6::', '00010002000300040005000600000000'],
  // Dotted after '::' and '::ffff:', as inet_ntop(3) has it.
  ['::ffff:1.2.3.4', '00000000000000000000ffff01020304'],
  ['::1.2.3.4', '00000000000000000000000001020304'],
  ['::0.1.0.2', '00000000000000000000000000010002'],
  ['64:ff9b::102:304', '0064ff9b000000000000000001020304'],
  ['::ffff:0:1.2.3.4'.replace('1.2.3.4', '102:304'), '0000000000000000ffff000001020304'],
  ['ff02::1', 'ff020000000000000000000000000001'],
  ['fe80::abcd:ef', 'fe80000000000000000000000abcd0ef'.replace('0abcd0ef', 'abcd00ef')],
]

describe('IPv6 text', () => {
  test.each(NAMED)('%s', (text, bytes) => {
    expect(format(hex(bytes), AF_INET6)).toBe(text)
    expect(toHex(parseAddress(text))).toBe(bytes)
    expect(inetNtop(text)).toBe(text)
  })

  test.each([
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['0001:0002:0003:0004:0005:0006:0007:0008', '1:2:3:4:5:6:7:8'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0::0', '::'],
    ['::FFFF:1.2.3.4', '::ffff:1.2.3.4'],
    ['::ffff:102:304', '::ffff:1.2.3.4'],
    ['0:0:0:0:0:ffff:1.2.3.4', '::ffff:1.2.3.4'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['::1:2', '::0.1.0.2'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ])('%s reads back as %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical)
    expect(inetNtop(text)).toBe(canonical)
  })

  test('agrees with inet_ntop(3) for random addresses, many zeros among them', () => {
    const group = fc.oneof(fc.constant(0), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff }))
    holds(
      'IPv6 against inet_ntop',
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const bytes = Uint8Array.from(groups.flatMap((value) => [value >> 8, value & 255]))
        const canonical = inetNtop(longForm(bytes))
        expect(format(bytes, AF_INET6)).toBe(canonical)
        expect(toHex(parseAddress(canonical))).toBe(toHex(bytes))
        expect(canonicalAddress(longForm(bytes))).toBe(canonical)
      }),
      cases(500, 5_000),
    )
  })

  test('reads every way to write an address', () => {
    holds(
      'IPv6 spellings',
      fc.property(
        fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
          minLength: 8,
          maxLength: 8,
        }),
        fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
        fc.boolean(),
        fc.boolean(),
        fc.nat(7),
        (groups, padded, upper, dotted, gapAt) => {
          const bytes = Uint8Array.from(groups.flatMap((value) => [value >> 8, value & 255]))
          const pieces = groups.map((value, index) => {
            const digits = padded[index] === true ? value.toString(16).padStart(4, '0') : value.toString(16)
            return upper ? digits.toUpperCase() : digits
          })
          if (dotted) pieces.splice(6, 2, bytes.subarray(12).join('.'))
          // Any run of zero groups may be the gap, not only the longest.
          const last = dotted ? 6 : 8
          let gapEnd = gapAt
          while (gapEnd < last && groups[gapEnd] === 0) gapEnd += 1
          const text =
            gapEnd > gapAt
              ? `${pieces.slice(0, gapAt).join(':')}::${pieces.slice(gapEnd).join(':')}`
              : pieces.join(':')
          expect(toHex(parseAddress(text))).toBe(toHex(bytes))
          expect(canonicalAddress(text)).toBe(inetNtop(text))
        },
      ),
      cases(500, 5_000),
    )
  })
})

describe('IPv4 text', () => {
  test('lies in the first four of 16 bytes', () => {
    expect(toHex(parseAddress('10.0.0.1'))).toBe('0a000001000000000000000000000000')
    expect(format(hex('c0a80102ffffffffffffffffffffffff'), AF_INET)).toBe('192.168.1.2')
  })

  test('comes back the same, for random addresses', () => {
    holds(
      'IPv4',
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (four) => {
        const text = four.join('.')
        expect(toHex(parseAddress(text))).toBe(toHex(concat(four, new Uint8Array(12))))
        expect(format(concat(four, new Uint8Array(12)), AF_INET)).toBe(text)
        expect(canonicalAddress(text)).toBe(text)
        expect(inetNtop(text)).toBe(text)
      }),
    )
  })

  test.each([
    ['0.0.0.0', 0],
    ['255.255.255.0', 0xffffff00],
    ['255.255.255.255', 0xffffffff],
    ['128.0.0.1', 0x80000001],
    ['1.2.3.4', 0x01020304],
  ])('%s as a number, its first byte high', (text, value) => {
    expect(parseIPv4Number(text)).toBe(value)
    expect(formatIPv4(value)).toBe(text)
  })
})

describe('address families', () => {
  test('have the numbers of Linux', () => {
    expect([familyNumber('ipv4'), familyNumber('ipv6')]).toEqual([AF_INET, AF_INET6])
    expect([familyName(AF_INET), familyName(AF_INET6)]).toEqual(['ipv4', 'ipv6'])
  })

  test.each([0, 1, 3, 30, 65535])('%i is none', (family) => {
    expect(() => familyName(family)).toThrow(expect.objectContaining({ code: 'EBADMSG' }))
  })
})

test('an identity is written as it reads back', () => {
  const key = { address: '2001:DB8:0::1', port: 1 }
  const same = { address: '2001:db8::1', port: 1 }
  expect(canonicalServerKey(key)).toEqual(same)
  expect(canonicalServiceKey({ protocol: 'tcp', ...key })).toEqual({ protocol: 'tcp', ...same })
  const mark = { protocol: 'fwmark', fwmark: 1, family: 'ipv6' } as const
  expect(canonicalServiceKey(mark)).toEqual(mark)
})

test('IPv4 addresses are checked, read and written without an expression, which takes milliseconds to compile', async () => {
  const used: string[] = []
  const names = [
    'exec',
    'test',
    Symbol.match,
    Symbol.matchAll,
    Symbol.replace,
    Symbol.search,
    Symbol.split,
  ] as const
  for (const name of names) {
    const real = Reflect.get(RegExp.prototype, name) as (...given: unknown[]) => null
    vi.spyOn(RegExp.prototype, name as 'exec').mockImplementation(function (this: RegExp, ...given) {
      used.push(this.source)
      return real.apply(this, given)
    })
  }
  // Nothing of it waits, so nobody else has a turn meanwhile.
  const valid = ['192.0.2.1', '192.0.2.01', '192.0.2'].map(isIPv4)
  const same = formatIPv4(parseIPv4Number(canonicalAddress('192.0.2.1')))
  const state: State = {
    services: [
      {
        protocol: 'tcp',
        address: '192.0.2.1',
        port: 80,
        scheduler: 'wrr',
        persistence: { netmask: '255.255.255.0' },
        realServers: [{ address: '10.0.0.1', method: 'tunnel', tunnel: { type: 'gue', port: 5 } }],
      },
    ],
  }
  const { steps } = await planStates({ services: [] }, state).finally(() => {
    vi.restoreAllMocks()
  })
  expect(used).toEqual([])
  expect([valid, same, steps.length]).toEqual([[true, false, false], '192.0.2.1', 2])
})
