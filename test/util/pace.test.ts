import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Pace, slices } from '../../lib/util/pace.ts'

/** How long work keeps the JS thread, by a clock that only this test moves. */

let now = 0
let looks = 0

beforeEach(() => {
  now = 1000
  looks = 0
  vi.spyOn(performance, 'now').mockImplementation(() => {
    looks += 1
    return now
  })
})
afterEach(() => {
  vi.restoreAllMocks()
})

/** Works off steps of so many milliseconds each. Gives how long each slice was. */
async function slicesOf(pace: Pace, steps: readonly number[]): Promise<number[]> {
  const lengths: number[] = []
  let start = now
  for (const ms of steps) {
    now += ms
    if (!pace.due()) continue
    lengths.push(now - start)
    await pace.rest()
    start = now
  }
  return lengths
}

const steps = (count: number, ms: number): number[] => Array<number>(count).fill(ms)

describe('a slice', () => {
  test('is some two milliseconds, whatever a step costs', async () => {
    for (const ms of [0.002, 0.01, 0.1, 0.5, 1]) {
      const lengths = await slicesOf(new Pace(), steps(Math.ceil(400 / ms), ms))
      expect(lengths.length, `${String(ms)} ms`).toBeGreaterThan(50)
      // What a step costs is learnt in the first few.
      expect(Math.max(...lengths.slice(8)), `${String(ms)} ms`).toBeLessThanOrEqual(3.5)
      expect(Math.max(...lengths), `${String(ms)} ms`).toBeLessThanOrEqual(48 * ms + 3.5)
    }
  })

  test('becomes short again where steps become dear, and the other way round', async () => {
    const pace = new Pace()
    await slicesOf(pace, steps(10_000, 0.002))
    const dear = await slicesOf(pace, steps(600, 0.5))
    expect(dear.length).toBeGreaterThan(50)
    expect(Math.max(...dear.slice(8))).toBeLessThanOrEqual(3.5)
    looks = 0
    await slicesOf(pace, steps(10_000, 0.002))
    expect(looks).toBeLessThan(200)
  })

  test('of cheap steps has few looks at the clock, and of a short work none', async () => {
    await slicesOf(new Pace(), steps(15, 0.002))
    expect(looks).toBe(0)
    // One in 128 steps, but for the first.
    await slicesOf(new Pace(), steps(100_000, 0.0001))
    expect(looks).toBeLessThan(800)
  })
})

test('a rest lets timers and sockets have their turn', async () => {
  let turn = false
  setImmediate(() => {
    turn = true
  })
  await new Pace().rest()
  expect(turn).toBe(true)
})

test('map() makes something of each in order, in slices', async () => {
  let turns = 0
  const count = (): void => {
    turns += 1
    next = setImmediate(count)
  }
  let next = setImmediate(count)
  const made = await new Pace().map([...Array(500).keys()], (index) => {
    now += 0.5
    return index * 2
  })
  clearImmediate(next)
  expect(made).toEqual(Array.from({ length: 500 }, (_, index) => index * 2))
  expect(turns).toBeGreaterThan(50)
})

describe('a list in slices', () => {
  /** Works off a list whose entries take so many milliseconds each. Gives how often others had their turn. */
  async function workOff(
    count: number,
    ms: number,
  ): Promise<{ seen: number[]; turns: number; longest: number }> {
    const seen: number[] = []
    let turns = 0
    let began = now
    let longest = 0
    const count1 = (): void => {
      turns += 1
      longest = Math.max(longest, now - began)
      began = now
      if (seen.length < count) setImmediate(count1)
    }
    setImmediate(count1)
    for await (const some of slices(Array.from({ length: count }, (_, at) => at))) {
      for (const one of some) {
        now += ms
        seen.push(one)
      }
    }
    return { seen, turns, longest }
  }

  test('is the list, in its order', async () => {
    for (const count of [0, 1, 16, 17, 1000]) {
      const { seen } = await workOff(count, 0.01)
      expect(seen).toEqual(Array.from({ length: count }, (_, at) => at))
    }
  })

  test('lets others have their turn every few milliseconds, whatever an entry costs', async () => {
    for (const ms of [0.01, 0.1, 0.5, 1]) {
      const { turns, longest } = await workOff(Math.ceil(400 / ms), ms)
      expect(turns, `${String(ms)} ms`).toBeGreaterThan(50)
      expect(longest, `${String(ms)} ms`).toBeLessThanOrEqual(48 * ms + 3.5)
    }
  })

  test('ends with the reason of a signal that was aborted', async () => {
    const reason = new Error('enough')
    let seen = 0
    const work = async (): Promise<void> => {
      for await (const some of slices(Array<number>(1000).fill(0), AbortSignal.abort(reason))) {
        seen += some.length
        now += 3
      }
    }
    await expect(work()).rejects.toBe(reason)
    expect(seen).toBe(16)
  })

  test('of a few cheap entries is one slice without a look at the clock', async () => {
    const { turns } = await workOff(16, 0.01)
    expect(turns).toBe(0)
    expect(looks).toBe(0)
  })
})
