import { describe, expect, test } from 'vitest'
import { decodeInfo, decodeTimeouts, encodeTimeouts } from '../../lib/codec/config.ts'
import { concat, ORDERS, writer } from '../helpers/bytes.ts'
import { encoded, readerOf } from './helpers.ts'

describe.each(ORDERS)('timeouts, %s endian', (order) => {
  const w = writer(order)

  test.each([
    [{}, []],
    [{ tcpSeconds: 900 }, [w.u32(4, 900)]],
    [{ tcpFinSeconds: 21474836 }, [w.u32(5, 21474836)]],
    [{ udpSeconds: 1 }, [w.u32(6, 1)]],
    [{ udpSeconds: 300, tcpSeconds: 900, tcpFinSeconds: 120 }, [w.u32(4, 900), w.u32(5, 120), w.u32(6, 300)]],
  ])('%o: writes what is named', (timeouts, expected) => {
    const bytes = encoded(order, (encoder) => {
      encodeTimeouts(encoder, timeouts)
    })
    expect(bytes).toEqual(concat(...expected))
  })

  test('reads all three, in any order, and steps over others', () => {
    const bytes = concat(w.u32(6, 0xffffffff), w.attr(9), w.u32(4, 1), w.nest(1, w.u32(4, 7)), w.u32(5, 2))
    expect(decodeTimeouts(readerOf(bytes, order))).toEqual({
      tcpSeconds: 1,
      tcpFinSeconds: 2,
      udpSeconds: 0xffffffff,
    })
  })

  test('refuses a timeout of two bytes', () => {
    expect(() => decodeTimeouts(readerOf(w.u16(4, 1), order))).toThrow(
      expect.objectContaining({ code: 'EBADMSG' }),
    )
  })
})

describe.each(ORDERS)('info, %s endian', (order) => {
  const w = writer(order)

  test.each([
    [0x010201, '1.2.1'],
    [0x010000, '1.0.0'],
    [0xffffff, '255.255.255'],
    [0, '0.0.0'],
  ])('version 0x%x is %s', (value, version) => {
    const bytes = concat(w.u32(1, value), w.u32(2, 0), w.attr(3))
    expect(decodeInfo(readerOf(bytes, order))).toEqual({ version, connectionTableSize: 0 })
  })

  test('reads the largest table there can be', () => {
    const bytes = concat(w.u32(2, 2 ** 27), w.u32(1, 0x010201))
    expect(decodeInfo(readerOf(bytes, order))).toEqual({ version: '1.2.1', connectionTableSize: 2 ** 27 })
  })
})
