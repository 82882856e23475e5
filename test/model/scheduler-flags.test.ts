import { describe, expect, test } from 'vitest'
import { FLAG_NAMES, flagBits, flagFits, flagsOf, isFlagName } from '../../lib/model/scheduler-flags.ts'

describe('flags of a scheduler', () => {
  test.each([
    ['rr', ['flag-1', 'flag-2', 'flag-3']],
    ['sh', ['flag-1', 'flag-2', 'flag-3', 'sh-fallback', 'sh-port']],
    ['mh', ['flag-1', 'flag-2', 'flag-3', 'mh-fallback', 'mh-port']],
    ['s', ['flag-1', 'flag-2', 'flag-3']],
  ])('that %s has', (scheduler, flags) => {
    expect(FLAG_NAMES.filter((flag) => flagFits(flag, scheduler))).toEqual(flags)
    expect(flagFits(64, scheduler)).toBe(true)
  })

  test.each(['toString', '__proto__', 'flag-4', 'sh', 1, undefined])('%s is not the name of one', (name) => {
    expect(isFlagName(name)).toBe(false)
  })

  test.each([
    ['rr', 0x08, ['flag-1']],
    ['sh', 0x08, ['sh-fallback']],
    ['mh', 0x10, ['mh-port']],
    ['sh', 0x38, ['sh-fallback', 'sh-port', 'flag-3']],
    ['mh', 0xffffffff, ['mh-fallback', 'mh-port', 'flag-3', 0xffffffc0]],
    ['rr', 0x07, []],
  ] as const)('of %s: bits %i', (scheduler, bits, flags) => {
    expect(flagsOf(bits, scheduler)).toEqual(flags)
    expect(flagBits(flags) >>> 0).toBe((bits & ~0x07) >>> 0)
  })
})
