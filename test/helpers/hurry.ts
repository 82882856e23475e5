import { vi } from 'vitest'

/**
 * Makes every look at the clock find that it is late, so that all that is paced
 * rests often, however fast the machine is. vi.restoreAllMocks() ends that.
 */
export function hurry(): void {
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 3))
}
