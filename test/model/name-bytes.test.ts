import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatState, parseState, type State } from '../../lib/index.ts'
import { bytesOfName, nameOfBytes } from '../../lib/model/name-bytes.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed } from '../helpers/random.ts'

/** Names of the kernel, whose bytes may be any. */

describe('a name of bytes', () => {
  test.each<[string, number[], string]>([
    ['ASCII', [0x65, 0x74, 0x68, 0x30], 'eth0'],
    ['UTF-8', [0xc3, 0xbc], 'ü'],
    ['a pair of surrogates', [0xf0, 0x90, 0x82, 0x80], '\u{10080}'],
    ['a mark of byte order', [0xef, 0xbb, 0xbf, 0x61], '\uFEFFa'],
    ['what is not UTF-8', [0x61, 0xff, 0x80], 'a\uDCFF\uDC80'],
    ['UTF-8 that is cut', [0xc3], '\uDCC3'],
    ['UTF-8 beside what is not', [0xc3, 0xbc, 0xff], '\uDCC3\uDCBC\uDCFF'],
    ['the bytes of a surrogate', [0xed, 0xb3, 0xbf], '\uDCED\uDCB3\uDCBF'],
  ])('%s is text', (_, bytes, name) => {
    expect(nameOfBytes(Uint8Array.from(bytes))).toBe(name)
    expect([...bytesOfName(name)]).toEqual(bytes)
  })

  test('reads back as the same bytes, also from JSON and YAML', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 15 }).map((bytes) => bytes.map((byte) => byte || 1)),
        async (bytes) => {
          const multicastInterface = nameOfBytes(bytes)
          expect(bytesOfName(multicastInterface)).toEqual(bytes)
          const state: State = { syncDaemons: [{ state: 'master', multicastInterface }] }
          for (const format of ['json', 'yaml'] as const) {
            const text = await formatState(state, { format })
            // As it is in a file.
            const read = await parseState(Buffer.from(text).toString(), { format })
            expect(read.syncDaemons).toEqual(state.syncDaemons)
          }
        },
      ),
      { seed: chooseSeed('names of bytes'), numRuns: cases(200, 5_000) },
    )
  })

  test('is nothing that lines of ipvsadm can say where it is not UTF-8', async () => {
    const state: State = {
      services: [],
      syncDaemons: [{ state: 'master', multicastInterface: 'eth\uDCFF' }],
    }
    await expect(formatState(state, { format: 'ipvsadm' })).rejects.toThrow(
      'ipvsadm lines cannot express syncDaemons[0].multicastInterface: ',
    )
  })
})
