import { expect, test } from 'vitest'
import { withUnit } from '../../lib/cli/terminal/units.ts'

test.each([
  [0, '0'],
  [99_999, '99999'],
  [100_000, '100k'],
  [123_999, '123k'],
  [999_999, '999k'],
  [1_000_000, '1.00M'],
  [1_999_999, '1.99M'],
  [99_999_999, '99.9M'],
  [5_600_000_000, '5.60G'],
  [999_999_999_999, '999G'],
  [1e12, '1.00T'],
  [1e15, '1.00P'],
  [2 ** 64 - 1, '18.4E'],
  // The sum of many.
  [2 ** 64 * 100, '1.84Z'],
])('%s is shown as %s', (value, text) => {
  expect(withUnit(value)).toBe(text)
})

test('a number with a unit is never wider than five columns', () => {
  for (let value = 1; value < 2 ** 70; value *= 1.37)
    expect(withUnit(Math.floor(value)).length).toBeLessThanOrEqual(5)
})
