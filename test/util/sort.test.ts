import { describe, expect, test } from 'vitest'
import { sorted } from '../../lib/util/sort.ts'

describe('sorted', () => {
  test.each([0, 1, 127, 128, 129, 1000, 5000])(
    'sorts %i things as sort() does, equal ones in their order',
    async (length) => {
      const list = Array.from({ length }, (_, index) => ({ key: (index * 7919) % 97, index }))
      const compare = (one: { key: number }, other: { key: number }): number => one.key - other.key
      expect(await sorted(list, compare)).toEqual([...list].sort(compare))
    },
  )
})
