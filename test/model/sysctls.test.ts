import { describe, expect, test } from 'vitest'
import { checkSysctlValue, readCpuList } from '../../lib/model/sysctls.ts'

describe('a list of CPUs', () => {
  test('takes little longer to name all CPUs a thousand times than once', () => {
    const shortest = (text: string): number => {
      let least = Infinity
      for (let round = 0; round < 5; round++) {
        const start = performance.now()
        expect(readCpuList(text).printed).toBe('0-65535')
        least = Math.min(least, performance.now() - start)
      }
      return least
    }
    const all = '0-65535:2/2,'
    // Each on its own would take it a thousand times as long.
    expect(shortest(all.repeat(1000))).toBeLessThan(100 * Math.max(shortest(all), 0.5))
    const halves = '0-65535:1/2,1-65535:1/2,'
    expect(shortest(halves.repeat(1000))).toBeLessThan(100 * Math.max(shortest(halves), 0.5))
  })

  test('may overlap in any way', () => {
    const expected = (text: string): string => {
      const cpus = new Set<number>()
      for (const part of text.split(',')) {
        const [from = 0, to = 0, used = 0, group = 0] = part.split(/[-:/]/).map(Number)
        for (let cpu = from; cpu <= to; cpu++) if ((cpu - from) % group < used) cpus.add(cpu)
      }
      return [...cpus].sort((a, b) => a - b).join()
    }
    // A printed list with strides taken apart again.
    const single = (printed: string): string =>
      printed
        .split(',')
        .flatMap((range) => {
          const [from = 0, to = from] = range.split('-').map(Number)
          return Array.from({ length: to - from + 1 }, (_, index) => from + index)
        })
        .join()
    for (let seed = 1; seed <= 500; seed++) {
      const draw = (step: number, most: number): number => (seed * 7919 * step + seed * step * step) % most
      const text = [1, 2, 3, 4]
        .map((part) => {
          const from = draw(part, 30)
          const group = 1 + draw(part + 4, 5)
          return `${String(from)}-${String(from + draw(part + 8, 25))}:${String(1 + draw(part + 12, group))}/${String(group)}`
        })
        .join()
      expect(single(readCpuList(text).printed ?? ''), text).toBe(expected(text))
    }
  })
})

test('a value is no longer than what Linux takes', () => {
  expect(checkSysctlValue('est_cpulist', '1'.repeat(2 ** 22 - 1))).toHaveLength(2 ** 22 - 1)
  expect(() => checkSysctlValue('est_cpulist', '1'.repeat(2 ** 22))).toThrow(
    'sysctl est_cpulist must have at most 4194303 characters, got 4194304',
  )
})
