import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { forgetAbort, heard, onAbort, whileAnyOf } from '../../lib/util/signals.ts'

/** Several signals as one. */

const reason = new Error('enough')
const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

describe('whileAnyOf', () => {
  test.each([0, 1])(
    'is raised by signal %i, for its reason, and leaves no listener behind',
    async (which) => {
      const controllers = [new AbortController(), new AbortController()]
      const signals = controllers.map(({ signal }) => signal)
      await whileAnyOf([...signals, undefined], ({ signal }) => {
        expect(signals.map(listeners)).toEqual([1, 1])
        controllers[which]?.abort(reason)
        expect(signal.reason).toBe(reason)
        return Promise.resolve()
      })
      expect(signals.map(listeners)).toEqual([0, 0])
    },
  )

  test('gives what the work does, and leaves no listener behind where that fails', async () => {
    const { signal } = new AbortController()
    expect(await whileAnyOf([signal], () => Promise.resolve(7))).toBe(7)
    await expect(whileAnyOf([signal], () => Promise.reject(reason))).rejects.toBe(reason)
    expect(listeners(signal)).toBe(0)
  })

  test('is raised at once where one was', async () => {
    const raised = AbortSignal.abort(reason)
    expect(await whileAnyOf([raised], ({ signal }) => Promise.resolve(signal.reason as Error))).toBe(reason)
  })

  test('listens once to a signal that much work shares: Node warns of eleven', async () => {
    const controller = new AbortController()
    const work = Array.from({ length: 20 }, () =>
      whileAnyOf(
        [controller.signal],
        ({ signal }) =>
          new Promise<unknown>((resolve) => {
            signal.addEventListener('abort', () => {
              resolve(signal.reason)
            })
          }),
      ),
    )
    expect(listeners(controller.signal)).toBe(1)
    controller.abort(reason)
    expect(new Set(await Promise.all(work))).toEqual(new Set([reason]))
    expect(listeners(controller.signal)).toBe(0)
  })
})

test('forgetAbort() takes back one callback, and the listener with the last', () => {
  const controller = new AbortController()
  const called: string[] = []
  const [one, other] = ['one', 'other'].map((name) => () => void called.push(name)) as [
    () => void,
    () => void,
  ]
  onAbort(controller.signal, one)
  onAbort(controller.signal, other)
  forgetAbort(controller.signal, one)
  forgetAbort(controller.signal, one)
  controller.abort()
  expect(called).toEqual(['other'])
  onAbort(new AbortController().signal, one)
  forgetAbort(new AbortController().signal, one)
})

describe('heard', () => {
  test('lets through what a callback throws', () => {
    const throwing = (): void => {
      throw reason
    }
    expect(() => {
      heard(throwing, new AbortController())(1)
    }).toThrow(reason)
  })

  test('aborts with what it rejects with, and waits for nothing', async () => {
    const controller = new AbortController()
    heard(() => Promise.reject(reason), controller)(1)
    expect(controller.signal.aborted).toBe(false)
    await new Promise(setImmediate)
    expect(controller.signal.reason).toBe(reason)
  })
})
