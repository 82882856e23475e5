import { describe, expect, test } from 'vitest'
import {
  AttributeReader,
  AttributeWriter,
  littleEndianMachine,
  memberTypes,
  MessageReader,
} from '../../lib/codec/attributes.ts'
import { concat, hex, MACHINE, type Order, ORDERS, toHex, writer } from '../helpers/bytes.ts'

function readerOf(bytes: Uint8Array, order: Order): AttributeReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return new AttributeReader(view, order === 'little').seek(0, bytes.byteLength)
}

/** A reader that stands on the only attribute. */
function on(bytes: Uint8Array, order: Order): AttributeReader {
  const reader = readerOf(bytes, order)
  expect(reader.next()).toBe(true)
  return reader
}

describe('attribute writer', () => {
  test('knows the byte order of this machine', () => {
    expect(littleEndianMachine).toBe(MACHINE === 'little')
  })

  test.each([
    [
      'u8',
      (w: AttributeWriter) => {
        w.u8(13, 0xfe)
      },
      '05000d00 fe000000',
      '0005000d fe000000',
    ],
    [
      'u16',
      (w: AttributeWriter) => {
        w.u16(1, 0x0102)
      },
      '06000100 02010000',
      '00060001 01020000',
    ],
    [
      'u16be',
      (w: AttributeWriter) => {
        w.u16be(4, 0x0102)
      },
      '06000400 01020000',
      '00060004 01020000',
    ],
    [
      'u32',
      (w: AttributeWriter) => {
        w.u32(8, 0xfefdfcfb)
      },
      '08000800 fbfcfdfe',
      '00080008 fefdfcfb',
    ],
    [
      'u32be',
      (w: AttributeWriter) => {
        w.u32be(9, 0xffffff00)
      },
      '08000900 ffffff00',
      '00080009 ffffff00',
    ],
    [
      'u32pair',
      (w: AttributeWriter) => {
        w.u32pair(7, 1, 0xffffffff)
      },
      '0c000700 01000000 ffffffff',
      '000c0007 00000001 ffffffff',
    ],
    [
      'bytes',
      (w: AttributeWriter) => {
        w.bytes(3, hex('0a00000101'))
      },
      '09000300 0a000001 01000000',
      '00090003 0a000001 01000000',
    ],
    [
      'string',
      (w: AttributeWriter) => {
        w.string(6, 'rr')
      },
      '07000600 72720000',
      '00070006 72720000',
    ],
    [
      'string without a letter',
      (w: AttributeWriter) => {
        w.string(6, '')
      },
      '05000600 00000000',
      '00050006 00000000',
    ],
    [
      'string that fills its room',
      (w: AttributeWriter) => {
        w.string(6, 'wlc')
      },
      '08000600 776c6300',
      '00080006 776c6300',
    ],
    [
      'string of UTF-8',
      (w: AttributeWriter) => {
        w.string(6, 'é')
      },
      '07000600 c3a90000',
      '00070006 c3a90000',
    ],
    [
      'nest',
      (w: AttributeWriter) => {
        w.nest(1, () => {
          w.u16(1, 2)
        })
      },
      '0c000100 06000100 02000000',
      '000c0001 00060001 00020000',
    ],
    [
      'empty nest',
      (w: AttributeWriter) => {
        w.nest(1, () => undefined)
      },
      '04000100',
      '00040001',
    ],
  ])('writes a %s in both byte orders', (_, write, little, big) => {
    for (const [order, expected] of [
      ['little', little],
      ['big', big],
    ] as const) {
      const attributes = new AttributeWriter(order === 'little')
      write(attributes)
      expect(toHex(attributes.take())).toBe(toHex(hex(expected)))
    }
  })

  test.each(ORDERS)('takes as many attributes as come, %s endian', (order) => {
    const attributes = new AttributeWriter(order === 'little')
    const expected = writer(order)
    const parts: Uint8Array[] = []
    attributes.nest(1, () => {
      for (let index = 0; index < 1000; index++) {
        attributes.string(6, 'x'.repeat(index % 40))
        parts.push(expected.text(6, 'x'.repeat(index % 40)))
      }
    })
    expect(toHex(attributes.take())).toBe(toHex(expected.nest(1, ...parts)))
  })

  test('takes one attribute that is larger than a piece of its memory', () => {
    const attributes = new AttributeWriter(true)
    const large = new Uint8Array(65000).fill(7)
    for (let index = 0; index < 3; index++) {
      attributes.bytes(1, large)
      expect(toHex(attributes.take())).toBe(toHex(writer('little').attr(1, large)))
    }
  })

  test.each(ORDERS)(
    'keeps every request to itself when memory runs out in the middle, %s endian',
    (order) => {
      // Steps of every length, so that each kind of attribute meets the end of a piece of memory.
      const expected = writer(order)
      const steps: readonly [(w: AttributeWriter) => void, Uint8Array][] = [
        [
          (w) => {
            w.u8(1, 0xa1)
          },
          expected.u8(1, 0xa1),
        ],
        [
          (w) => {
            w.u16(2, 0xa2a3)
          },
          expected.u16(2, 0xa2a3),
        ],
        [
          (w) => {
            w.u16be(3, 0xa4a5)
          },
          expected.u16be(3, 0xa4a5),
        ],
        [
          (w) => {
            w.u32(4, 0xa6a7a8a9)
          },
          expected.u32(4, 0xa6a7a8a9),
        ],
        [
          (w) => {
            w.u32be(5, 0xaaabacad)
          },
          expected.u32be(5, 0xaaabacad),
        ],
        [
          (w) => {
            w.u32pair(6, 0xb0b1b2b3, 0xb4b5b6b7)
          },
          concat(
            expected.attr(
              6,
              concat(expected.u32(0, 0xb0b1b2b3).subarray(4), expected.u32(0, 0xb4b5b6b7).subarray(4)),
            ),
          ),
        ],
        [
          (w) => {
            w.bytes(7, hex('c0c1c2c3c4c5c6c7c8'))
          },
          expected.attr(7, hex('c0c1c2c3c4c5c6c7c8')),
        ],
        [
          (w) => {
            w.string(8, 'scheduler')
          },
          expected.text(8, 'scheduler'),
        ],
      ]
      for (const [title, [write, bytes]] of steps.entries()) {
        const attributes = new AttributeWriter(order === 'little')
        const taken: Uint8Array[] = []
        const wanted: string[] = []
        for (let index = 0; index < 4000; index++) {
          attributes.nest(9, () => {
            // An odd number of words before it, so that it does not always end with the piece.
            for (let more = 0; more <= index % 3; more++) write(attributes)
          })
          taken.push(attributes.take())
          wanted.push(toHex(expected.nest(9, ...Array.from({ length: (index % 3) + 1 }, () => bytes))))
        }
        expect(taken.map(toHex), `step ${title}`).toEqual(wanted)
      }
    },
  )
})

describe.each(ORDERS)('attribute reader, %s endian', (order) => {
  const w = writer(order)

  test('reads every kind of number', () => {
    expect(on(w.u8(1, 0xfe), order).u8()).toBe(0xfe)
    expect(on(w.u16(1, 0xfedc), order).u16()).toBe(0xfedc)
    expect(on(w.u16be(1, 0xfedc), order).u16be()).toBe(0xfedc)
    expect(on(w.u32(1, 0xfedcba98), order).u32()).toBe(0xfedcba98)
    expect(on(w.u64(1, 0x1f_edcb_a987_6543), order).u64()).toBe(0x1f_edcb_a987_6543)
    expect(on(w.u64(1, 0xfedc_ba98_7654_3210n), order).u64big()).toBe(0xfedc_ba98_7654_3210n)
  })

  test('reads a number whose payload is longer than it must be', () => {
    expect(on(w.attr(1, concat(w.u32(0, 7).subarray(4), new Uint8Array(4))), order).u32()).toBe(7)
  })

  test('refuses a number whose payload is too short', () => {
    for (const length of [0, 1, 2, 3]) {
      expect(() => on(w.attr(5, new Uint8Array(length)), order).u32()).toThrow(
        expect.objectContaining({ code: 'EBADMSG', errno: -74 }),
      )
    }
    expect(() => on(w.attr(5), order).u8()).toThrow('attribute 5 has 0 bytes, not 1')
    expect(() => on(w.attr(5, new Uint8Array(1)), order).u16()).toThrow(/could not be read/)
    expect(() => on(w.attr(5, new Uint8Array(1)), order).u16be()).toThrow(/could not be read/)
    expect(() => on(w.attr(5, new Uint8Array(7)), order).u64()).toThrow(/could not be read/)
    expect(() => on(w.attr(5, new Uint8Array(7)), order).u64big()).toThrow(/could not be read/)
  })

  test('reads 64 bits that do not start at a multiple of 8', () => {
    const bytes = concat(w.u32(1, 1), w.u64(2, 0x0102030405060708n))
    const reader = readerOf(bytes, order)
    reader.next()
    reader.next()
    expect(reader.start % 8).toBe(4)
    expect(reader.u64big()).toBe(0x0102030405060708n)
  })

  test('reads text to its NUL, to the end where there is none, and as UTF-8 where it is', () => {
    expect(on(w.text(6, 'wlc'), order).string()).toBe('wlc')
    expect(on(w.attr(6, hex('776c63')), order).string()).toBe('wlc')
    expect(on(w.attr(6, hex('776c6300ff')), order).string()).toBe('wlc')
    expect(on(w.attr(6), order).string()).toBe('')
    expect(on(w.text(6, 'é⇒'), order).string()).toBe('é⇒')
    expect(on(w.attr(6, hex('61ff')), order).string()).toBe('a\udcff')
  })

  test('reads UTF-8 out of the middle of a buffer', () => {
    const all = concat(hex('ffffffff'), w.text(6, 'né'), hex('ffffffff'))
    expect(on(all.subarray(4, all.length - 4), order).string()).toBe('né')
  })

  test('masks the flag bits off a type', () => {
    expect(on(w.attr(0x8001), order).type).toBe(1)
    expect(on(w.attr(0x4002), order).type).toBe(2)
    expect(on(w.attr(0xc00c), order).type).toBe(12)
    expect(on(w.attr(0x3fff), order).type).toBe(0x3fff)
  })

  test('steps over what nobody asks for, and over padding', () => {
    const reader = readerOf(concat(w.attr(99, new Uint8Array(5)), w.attr(0), w.u8(13, 1)), order)
    const types: number[] = []
    while (reader.next()) types.push(reader.type)
    expect(types).toEqual([99, 0, 13])
    expect(reader.next()).toBe(false)
  })

  test('takes one to three bytes after the last attribute for padding', () => {
    for (const rest of ['00', 'ffff', '050001']) {
      const reader = readerOf(concat(w.u8(1, 1), hex(rest)), order)
      expect([reader.next(), reader.next()]).toEqual([true, false])
    }
  })

  test('takes a last attribute without its padding', () => {
    const reader = readerOf(w.u8(1, 9).subarray(0, 5), order)
    expect([reader.next(), reader.u8(), reader.next()]).toEqual([true, 9, false])
  })

  test.each([0, 1, 2, 3])('refuses an attribute whose length is %i', (length) => {
    const bytes = w.u32(1, 1)
    bytes.set(w.u16(0, length).subarray(4, 6), 0)
    expect(() => readerOf(bytes, order).next()).toThrow(expect.objectContaining({ code: 'EBADMSG' }))
  })

  test('refuses an attribute that is longer than what is left', () => {
    const bytes = w.u32(1, 1)
    bytes.set(w.u16(0, 9).subarray(4, 6), 0)
    expect(() => readerOf(bytes, order).next()).toThrow('an attribute of 9 bytes where 8 are left')
  })

  test('keeps a nest within its own bytes', () => {
    // The inner attribute says 12 bytes, its nest has 8, and the buffer has more.
    const inner = w.u32(1, 1)
    inner.set(w.u16(0, 12).subarray(4, 6), 0)
    const reader = readerOf(concat(w.attr(1, inner), w.u32(2, 2)), order)
    expect(reader.enter(1)).toBe(true)
    expect(() => reader.next()).toThrow('an attribute of 12 bytes where 8 are left')
  })

  test('enters the first nest of a type, and says where there is none', () => {
    const bytes = concat(w.u32(7, 1), w.nest(2, w.u8(9, 1)), w.nest(2, w.u8(3, 1)))
    const reader = readerOf(bytes, order)
    expect([reader.enter(2), reader.next(), reader.type, reader.next()]).toEqual([true, true, 9, false])
    expect(readerOf(bytes, order).enter(1)).toBe(false)
    expect(readerOf(new Uint8Array(), order).enter(1)).toBe(false)
  })

  test('lists the members of a nest', () => {
    const body = concat(w.nest(2, w.u8(9, 1)), w.nest(1, w.u8(3, 1), w.u32(77, 1)))
    expect(memberTypes(readerOf(body, order), 1)).toEqual([3, 77])
    expect(memberTypes(readerOf(body, order), 3)).toEqual([])
  })
})

describe.each(ORDERS)('message reader, %s endian', (order) => {
  const w = writer(order)
  const little = order === 'little'

  test('walks over messages, whatever their attributes', () => {
    const bytes = concat(
      w.message({ command: 1 }, w.u8(1, 5), w.u32(2, 6)),
      w.message({ command: 5 }),
      w.message({ command: 255 }, w.u16(3, 7)),
    )
    const messages = new MessageReader(bytes, little)
    const found: [number, number[]][] = []
    while (messages.next()) {
      const types: number[] = []
      const reader = messages.attributes()
      while (reader.next()) types.push(reader.type)
      found.push([messages.command, types])
    }
    expect(found).toEqual([
      [1, [1, 2]],
      [5, []],
      [255, [3]],
    ])
  })

  test('reads a message in the middle of a buffer', () => {
    const bytes = concat(hex('ffffffffffffff'), w.message({ command: 3 }, w.u32(1, 9)))
    const messages = new MessageReader(bytes.subarray(7), little)
    expect(messages.next()).toBe(true)
    const reader = messages.attributes()
    expect([reader.next(), reader.u32(), messages.next()]).toEqual([true, 9, false])
  })

  test('has nothing in no bytes', () => {
    expect(new MessageReader(new Uint8Array(), little).next()).toBe(false)
  })

  test('takes a message whose length is no multiple of 4 for padded', () => {
    const odd = w.message({ command: 1 }, hex('ff'))
    const messages = new MessageReader(concat(odd, hex('000000'), w.message({ command: 2 })), little)
    expect([messages.next(), messages.next(), messages.command, messages.next()]).toEqual([
      true,
      true,
      2,
      false,
    ])
  })

  test.each([0, 1, 15, 16, 19])('refuses a message whose length is %i', (length) => {
    const bytes = w.message({ command: 1 }, w.u32(1, 1))
    bytes.set(w.u32(0, length).subarray(4), 0)
    expect(() => new MessageReader(bytes, little).next()).toThrow(
      expect.objectContaining({ code: 'EBADMSG' }),
    )
  })

  test.each([29, 0x7fffffff, 0xffffffff])('refuses a message that claims %i bytes', (length) => {
    const bytes = w.message({ command: 1 }, w.u32(1, 1))
    bytes.set(w.u32(0, length).subarray(4), 0)
    expect(() => new MessageReader(bytes, little).next()).toThrow(
      `a message of ${length} bytes where 28 are left`,
    )
  })

  test('refuses a rest that is shorter than a header', () => {
    const messages = new MessageReader(concat(w.message({ command: 1 }), new Uint8Array(8)), little)
    messages.next()
    expect(() => messages.next()).toThrow('8 bytes where a message should start')
  })
})
