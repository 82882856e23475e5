import { describe, expect, test } from 'vitest'
import { decodeDaemon, encodeDaemon, encodeDaemonState } from '../../lib/codec/daemon.ts'
import type { SyncDaemonSpec } from '../../lib/model/types.ts'
import { hex, number, type Order, ORDERS, writer } from '../helpers/bytes.ts'
import { byType, encoded, membersOf, readerOf } from './helpers.ts'

const DAEMON = 3

function host(order: Order, value: number, size: number): string {
  return Buffer.from(number(value, size, order)).toString('hex')
}

describe.each(ORDERS)('encode sync daemon, %s endian', (order) => {
  const members = (spec: SyncDaemonSpec) =>
    byType(
      membersOf(order, DAEMON, (w) => {
        encodeDaemon(w, spec)
      }),
    )

  test('writes what the kernel demands, and leaves the rest to it', () => {
    expect(members({ state: 'master', multicastInterface: 'eth0' })).toEqual({
      1: host(order, 1, 4),
      2: '6574683000',
      3: host(order, 0, 4),
    })
  })

  test('writes every setting, the port of UDP in host order', () => {
    const spec = {
      state: 'backup',
      multicastInterface: 'lo',
      syncId: 255,
      maxLengthBytes: 65507,
      multicastPort: 8848,
      multicastTtl: 255,
    } as const
    const rest = {
      1: host(order, 2, 4),
      2: '6c6f00',
      3: host(order, 255, 4),
      4: host(order, 65507, 2),
      7: host(order, 8848, 2),
      8: 'ff',
    }
    expect(members({ ...spec, multicastGroup: '239.1.2.3' })).toEqual({ ...rest, 5: 'ef010203' })
    expect(members({ ...spec, multicastGroup: 'FF02::5' })).toEqual({
      ...rest,
      6: 'ff020000000000000000000000000005',
    })
  })

  test.each([
    ['master', 1],
    ['backup', 2],
  ] as const)('to stop the %s the state is all', (state, value) => {
    const bytes = encoded(order, (w) => {
      encodeDaemonState(w, state)
    })
    expect(bytes).toEqual(writer(order).nest(DAEMON, writer(order).u32(1, value)))
  })
})

describe.each(ORDERS)('decode sync daemon, %s endian', (order) => {
  const w = writer(order)
  const decode = (...members: Uint8Array[]) => decodeDaemon(readerOf(w.nest(DAEMON, ...members), order))

  test('reads every member, in any order', () => {
    const all = [
      w.u32(1, 2),
      w.text(2, 'eth0'),
      w.u32(3, 0xffffffff),
      w.u16(4, 1500),
      w.u16(7, 8849),
      w.u8(8, 3),
      w.attr(6, hex('ff020000000000000000000000000001')),
    ]
    const expected = {
      state: 'backup',
      multicastInterface: 'eth0',
      syncId: 0xffffffff,
      maxLengthBytes: 1500,
      multicastGroup: 'ff02::1',
      multicastPort: 8849,
      multicastTtl: 3,
    }
    expect(decode(...all)).toEqual(expected)
    expect(decode(w.attr(55), ...[...all].reverse())).toEqual(expected)
  })

  test('kernels before 4.3 tell three things', () => {
    expect(decode(w.u32(1, 1), w.text(2, 'lo'), w.u32(3, 5))).toEqual({
      state: 'master',
      multicastInterface: 'lo',
      syncId: 5,
    })
  })

  test('reads an IPv4 group', () => {
    expect(decode(w.u32(1, 1), w.attr(5, hex('e0000051'))).multicastGroup).toBe('224.0.0.81')
  })

  test.each<[string, (order: Order) => Uint8Array]>([
    ['nothing', () => new Uint8Array()],
    ['another nest', (o) => writer(o).nest(1, writer(o).u32(1, 1))],
    ['no state', (o) => writer(o).nest(DAEMON, writer(o).text(2, 'lo'))],
    ['state 3', (o) => writer(o).nest(DAEMON, writer(o).u32(1, 3))],
    [
      'a group of 3 bytes',
      (o) => writer(o).nest(DAEMON, writer(o).u32(1, 1), writer(o).attr(5, hex('e00000'))),
    ],
    [
      'an IPv6 group of 4 bytes',
      (o) => writer(o).nest(DAEMON, writer(o).u32(1, 1), writer(o).attr(6, hex('ff020000'))),
    ],
  ])('refuses %s', (_, bytes) => {
    expect(() => decodeDaemon(readerOf(bytes(order), order))).toThrow(
      expect.objectContaining({ name: 'IpvsError', code: 'EBADMSG' }),
    )
  })
})
