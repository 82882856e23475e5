import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { DrainOptions, DrainProgress, DrainResult } from '../../lib/apply/drain.ts'
import { IpvsError } from '../../lib/model/errors.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import type { RealServer } from '../../lib/service.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { reply, type ScriptedTransport } from '../helpers/scripted-transport.ts'
import {
  destMessage,
  type DestReply,
  ENOENT,
  ESRCH,
  failure,
  forbidUnhandledRejections,
  member,
  members,
  messages,
  open,
  SERVER,
  serviceMessage,
  WEB,
} from '../session/replies.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})
forbidUnhandledRejections()

/** Lets what waits for the transport go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate()
}

interface Drain {
  readonly transport: ScriptedTransport
  readonly server: RealServer
  readonly progress: DrainProgress[]
  /** How it ended, once it has. */
  readonly end: Promise<DrainResult>
  ended: boolean
  /** Lets time pass. */
  pass(ms: number): Promise<void>
}

interface Setup {
  /** What each look at the server sees; the last holds on. The first is before the weight is taken. */
  readonly looks: readonly (DestReply | 'gone' | 'service gone')[]
  readonly persistent?: number
  readonly timeouts?: readonly [number, number, number]
  readonly expireQuiescent?: string
  readonly key?:
    typeof WEB | { readonly protocol: 'udp' | 'sctp'; readonly address: string; readonly port: number }
}

async function drain(setup: Setup, options: DrainOptions = {}): Promise<Drain> {
  const { ipvs, transport } = await open()
  const web = await ipvs.addService({ ...(setup.key ?? WEB) })
  const server = await web.addRealServer(SERVER)
  transport.calls.length = 0
  const service = serviceMessage(
    setup.persistent === undefined ? {} : { flags: 1, timeoutSeconds: setup.persistent },
  )
  transport.answer(COMMANDS.getService, messages(service))
  const [tcp, fin, udp] = setup.timeouts ?? [900, 120, 300]
  transport.answer(
    COMMANDS.getConfig,
    messages(reply.message({ command: 12 }, reply.u32(4, tcp), reply.u32(5, fin), reply.u32(6, udp))),
  )
  if (setup.expireQuiescent !== undefined)
    transport.values.set('expire_quiescent_template', setup.expireQuiescent)
  // The edit to weight 0 looks as well, right after the first.
  const [first, ...rest] = setup.looks
  for (const look of [first!, first!, ...rest]) transport.answer(COMMANDS.getDest, answerOf(look))
  const last = setup.looks.at(-1)!
  transport.always(COMMANDS.getDest, answerOf(last))
  if (setup.looks.includes('service gone')) transport.always(COMMANDS.getService, ESRCH)
  const progress: DrainProgress[] = []
  const { onProgress } = options
  const end = server.drain({
    ...options,
    onProgress: (step) => {
      progress.push(step)
      return onProgress?.(step)
    },
  })
  const drained: Drain = {
    transport,
    server,
    progress,
    end,
    ended: false,
    async pass(ms) {
      // In steps, so that each look has its turn before the next is due.
      for (let left = ms; left > 0; left -= 500) {
        await vi.advanceTimersByTimeAsync(Math.min(left, 500))
        await settle()
      }
    },
  }
  end.then(
    () => (drained.ended = true),
    () => (drained.ended = true),
  )
  await settle()
  return drained
}

function answerOf(look: DestReply | 'gone' | 'service gone') {
  if (look === 'service gone') return {}
  return messages(look === 'gone' ? destMessage({ host: 99 }) : destMessage(look))
}

/** The weights that were written, in order. */
function weights(transport: ScriptedTransport): number[] {
  return transport.sent
    .filter(({ command }) => command === COMMANDS.setDest)
    .map((request) => member(members(request, 2), 4))
}

const deletes = (transport: ScriptedTransport) =>
  transport.sent.filter(({ command }) => command === COMMANDS.deleteDest).length
const BUSY = { weight: 0, active: 3 }
const IDLE = { weight: 0 }
const reason = new Error('changed my mind')

describe('drain', () => {
  test('of a server without connections deletes it at once', async () => {
    const { transport, end, progress } = await drain({ looks: [{ weight: 5 }, IDLE] })
    expect(await end).toEqual({
      outcome: 'deleted',
      last: {
        activeConnections: 0,
        inactiveConnections: 0,
        persistentConnections: 0,
        elapsedMs: 0,
        waitsFor: [],
        atMostSeconds: 0,
      },
    })
    expect(weights(transport)).toEqual([0])
    expect(transport.log).toEqual([
      'batch 4 13',
      'sysctls expire_quiescent_template',
      'dump 8',
      'dump 8',
      'batch 6',
      'dump 8',
      'batch 7',
    ])
    expect(progress).toHaveLength(1)
  })

  test('waits for the connections to end, looking once a second', async () => {
    const it = await drain({
      looks: [
        { weight: 5, active: 3 },
        BUSY,
        { weight: 0, active: 1, inactive: 2 },
        { weight: 0, inactive: 1 },
        IDLE,
      ],
    })
    expect(it.progress).toHaveLength(1)
    await it.pass(999)
    expect(it.progress).toHaveLength(1)
    await it.pass(1)
    expect(it.progress).toHaveLength(2)
    await it.pass(2000)
    expect(await it.end).toMatchObject({ outcome: 'deleted', last: { elapsedMs: 3000 } })
    expect(it.progress.map(({ waitsFor }) => waitsFor)).toEqual([
      ['active'],
      ['active', 'inactive'],
      ['inactive'],
      [],
    ])
    // What is bound is known only once nothing is active.
    expect(it.progress.map(({ atMostSeconds }) => atMostSeconds)).toEqual([undefined, undefined, 120, 0])
    expect(deletes(it.transport)).toBe(1)
  })

  test('at the end of its time leaves the server at weight 0', async () => {
    const it = await drain({ looks: [{ weight: 5 }, BUSY] }, { timeoutMs: 2500 })
    await it.pass(2499)
    expect(it.ended).toBe(false)
    await it.pass(1)
    expect(await it.end).toMatchObject({ outcome: 'kept', last: { activeConnections: 3, elapsedMs: 2500 } })
    expect(it.progress.map(({ elapsedMs }) => elapsedMs)).toEqual([0, 1000, 2000, 2500])
    expect(weights(it.transport)).toEqual([0])
    expect(deletes(it.transport)).toBe(0)
  })

  test('at the end of its time deletes the server where told', async () => {
    const it = await drain({ looks: [{ weight: 5 }, BUSY] }, { timeoutMs: 1000, atTimeout: 'delete' })
    await it.pass(1000)
    expect(await it.end).toMatchObject({ outcome: 'deleted', last: { activeConnections: 3 } })
    expect(deletes(it.transport)).toBe(1)
  })

  test('with no time looks once', async () => {
    const kept = await drain({ looks: [BUSY] }, { timeoutMs: 0 })
    expect(await kept.end).toMatchObject({ outcome: 'kept' })
    const gone = await drain({ looks: [IDLE] }, { timeoutMs: 0 })
    expect(await gone.end).toMatchObject({ outcome: 'deleted' })
  })

  test('has five minutes by default', async () => {
    const it = await drain({ looks: [BUSY] }, { intervalMs: 60_000 })
    await it.pass(299_999)
    expect(it.ended).toBe(false)
    await it.pass(1)
    expect(await it.end).toMatchObject({ outcome: 'kept', last: { elapsedMs: 300_000 } })
  })

  test('does not wait for inactive connections where told', async () => {
    const it = await drain({ looks: [{ weight: 0, inactive: 5 }] }, { waitFor: 'active' })
    expect(await it.end).toMatchObject({ outcome: 'deleted', last: { inactiveConnections: 5, waitsFor: [] } })
  })

  test('waits for clients that persistence remembers, unless the kernel lets go of them', async () => {
    const looks = [{ weight: 0, persistent: 2 }]
    const it = await drain({ looks, persistent: 600, expireQuiescent: '0' }, { timeoutMs: 5000 })
    expect(it.progress).toMatchObject([{ waitsFor: ['persistent'], atMostSeconds: 600 }])
    expect(it.ended).toBe(false)
    await it.pass(5000)
    expect(await it.end).toMatchObject({ outcome: 'kept' })
    const expires = await drain({ looks, persistent: 600, expireQuiescent: '1' })
    expect(await expires.end).toMatchObject({
      outcome: 'deleted',
      last: { persistentConnections: 2, waitsFor: [] },
    })
    // A kernel that does not tell is taken at its default, 0.
    const unknown = await drain({ looks, persistent: 600 }, { timeoutMs: 0 })
    expect(await unknown.end).toMatchObject({ outcome: 'kept' })
  })

  test.each([
    [30, 0, 60],
    [30, 1, 180],
    [600, 1, 600],
  ])(
    'clients of persistence of %i s with %i inactive connections are remembered %i s at most',
    async (persistent, inactive, seconds) => {
      // What they left behind gives them another minute each time.
      const it = await drain(
        { looks: [{ weight: 0, persistent: 1, inactive }], persistent },
        { timeoutMs: 0 },
      )
      expect((await it.end).last.atMostSeconds).toBe(seconds)
    },
  )

  test.each([
    ['tcp', [900, 30, 300], 120],
    ['tcp', [900, 500, 300], 500],
    ['udp', [900, 120, 77], 77],
    ['sctp', [900, 120, 300], 61],
  ] as const)(
    'inactive connections of %s with timeouts %o last %i seconds at most',
    async (protocol, timeouts, seconds) => {
      const it = await drain(
        { looks: [{ weight: 0, inactive: 1 }], timeouts, key: { ...WEB, protocol } },
        { timeoutMs: 0 },
      )
      expect((await it.end).last.atMostSeconds).toBe(seconds)
    },
  )

  test('ends where someone else deletes the server, or its service', async () => {
    for (const look of ['gone', 'service gone'] as const) {
      const it = await drain({ looks: [{ weight: 5 }, BUSY, look] })
      await it.pass(1000)
      expect(await it.end).toMatchObject({ outcome: 'gone', last: { activeConnections: 3 } })
      expect(deletes(it.transport)).toBe(0)
      expect(weights(it.transport)).toEqual([0])
    }
  })

  test('does not take a kernel without IPVS for a server that is gone', async () => {
    const it = await drain({ looks: [{ weight: 5 }, BUSY] })
    it.transport.always(COMMANDS.getDest, failure(2, { noFamily: true }))
    for (let look = 0; look < 3; look++) it.transport.answer(COMMANDS.getDest, failure(2, { noFamily: true }))
    await it.pass(1000)
    await expect(it.end).rejects.toMatchObject({ code: 'ENOENT', noFamily: true })
  })

  test('whose weight of 0 was not answered for gives the weight back', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService(WEB)
    const server = await ipvs.addRealServer(WEB, { ...SERVER, weight: 5 })
    kernel.failNext({ command: 'editRealServer', errno: 'ETIMEDOUT' })
    await expect(server.drain()).rejects.toMatchObject({ code: 'ETIMEDOUT' })
    expect((await ipvs.realServer(WEB, SERVER)).weight).toBe(5)
  })

  test('ends where the server vanishes under the delete', async () => {
    const { ipvs, transport } = await open()
    const server = await ipvs.addRealServer(WEB, SERVER)
    transport.answer(COMMANDS.getService, messages(serviceMessage()))
    transport.answer(COMMANDS.getConfig, messages(reply.message({ command: 12 })))
    transport.always(COMMANDS.getDest, messages(destMessage(IDLE)))
    transport.answer(COMMANDS.deleteDest, ENOENT)
    expect(await server.drain()).toMatchObject({ outcome: 'gone' })
  })

  test('ends where someone else gives the server a weight, which stands', async () => {
    const it = await drain({ looks: [{ weight: 5 }, BUSY, { weight: 2, active: 1 }] })
    await it.pass(1000)
    expect(await it.end).toMatchObject({ outcome: 'overruled', last: { activeConnections: 1 } })
    expect(weights(it.transport)).toEqual([0])
    expect(deletes(it.transport)).toBe(0)
  })

  test('of a server that is not there, or whose service is not, rejects', async () => {
    const gone = await drain({ looks: ['gone'] })
    await expect(gone.end).rejects.toMatchObject({ code: 'ENOENT', realServer: SERVER })
    expect(weights(gone.transport)).toEqual([])
    const { ipvs, transport } = await open()
    const server = await ipvs.addRealServer(WEB, SERVER)
    transport.always(COMMANDS.getService, ESRCH)
    await expect(server.drain()).rejects.toMatchObject({ code: 'ESRCH' })
  })
})

describe('a drain that is given up', () => {
  test('before it began sends nothing', async () => {
    const { transport, end } = await drain({ looks: [{ weight: 5 }] }, { signal: AbortSignal.abort(reason) })
    await expect(end).rejects.toBe(reason)
    expect(transport.log).toEqual([])
  })

  test('while it sleeps gives the weight back, and rejects with the reason', async () => {
    const controller = new AbortController()
    const it = await drain({ looks: [{ weight: 5 }, BUSY] }, { signal: controller.signal })
    await it.pass(500)
    controller.abort(reason)
    await settle()
    await expect(it.end).rejects.toBe(reason)
    expect(weights(it.transport)).toEqual([0, 5])
    expect(deletes(it.transport)).toBe(0)
  })

  test('in the last look gives the weight back too', async () => {
    const controller = new AbortController()
    const it = await drain(
      { looks: [{ weight: 5 }, BUSY] },
      {
        timeoutMs: 1000,
        signal: controller.signal,
        onProgress: ({ elapsedMs }) => {
          if (elapsedMs >= 1000) controller.abort(reason)
        },
      },
    )
    it.end.catch(() => undefined)
    await it.pass(1000)
    await expect(it.end).rejects.toBe(reason)
    expect(weights(it.transport)).toEqual([0, 5])
  })

  test('for the reason that another server has gone is not taken for its own end', async () => {
    const gone = new IpvsError({ errno: 2, command: 'realServer' })
    const controller = new AbortController()
    const it = await drain({ looks: [{ weight: 5 }, BUSY] }, { signal: controller.signal })
    await it.pass(500)
    controller.abort(gone)
    await settle()
    await expect(it.end).rejects.toBe(gone)
    expect(weights(it.transport)).toEqual([0, 5])
  })

  test('by close() gives the weight back before the transport is closed, and rejects with EBADF', async () => {
    const { ipvs, transport } = await open()
    const server = await ipvs.addRealServer(WEB, SERVER)
    transport.answer(COMMANDS.getService, messages(serviceMessage()))
    transport.answer(COMMANDS.getConfig, messages(reply.message({ command: 12 })))
    for (const look of [0, 1])
      transport.answer(COMMANDS.getDest, messages(destMessage({ weight: 5, active: look })))
    transport.always(COMMANDS.getDest, messages(destMessage(BUSY)))
    const end = server.drain().catch((error: unknown) => error)
    await settle()
    await ipvs.close()
    expect(weights(transport)).toEqual([0, 5])
    expect(transport.log.slice(-2)).toEqual(['batch 6', 'close'])
    expect(await end).toMatchObject({ code: 'EBADF', command: 'drain' })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('during the last look does not delete', async () => {
    const controller = new AbortController()
    const it = await drain(
      { looks: [{ weight: 5 }, IDLE] },
      { signal: controller.signal, onProgress: () => { controller.abort(reason) } }, // prettier-ignore
    )
    await expect(it.end).rejects.toBe(reason)
    expect(weights(it.transport)).toEqual([0, 5])
    expect(deletes(it.transport)).toBe(0)
  })

  test('leaves a weight that someone else gave meanwhile', async () => {
    const controller = new AbortController()
    const it = await drain({ looks: [{ weight: 5 }, BUSY, { weight: 8 }] }, { signal: controller.signal })
    controller.abort(reason)
    await settle()
    await expect(it.end).rejects.toBe(reason)
    expect(weights(it.transport)).toEqual([0])
  })

  test('of a server that is gone meanwhile still rejects with the reason', async () => {
    for (const look of ['gone', 'service gone'] as const) {
      const controller = new AbortController()
      const it = await drain({ looks: [{ weight: 5 }, BUSY, look] }, { signal: controller.signal })
      controller.abort(reason)
      await settle()
      await expect(it.end).rejects.toBe(reason)
      expect(weights(it.transport)).toEqual([0])
    }
  })

  test('by what onProgress throws gives the weight back', async () => {
    const it = await drain(
      { looks: [{ weight: 5 }, BUSY] },
      { onProgress: () => { throw reason } }, // prettier-ignore
    )
    await expect(it.end).rejects.toBe(reason)
    expect(weights(it.transport)).toEqual([0, 5])
  })

  test('by what an async onProgress rejects with gives the weight back', async () => {
    const it = await drain({ looks: [{ weight: 5 }, BUSY] }, { onProgress: () => Promise.reject(reason) })
    await expect(it.end).rejects.toBe(reason)
    expect(weights(it.transport)).toEqual([0, 5])
  })

  test('is too late once the server is deleted, and no rejection is left over', async () => {
    const it = await drain(
      { looks: [{ weight: 5 }, IDLE] },
      { onProgress: () => settle().then(() => Promise.reject(reason)) },
    )
    expect(await it.end).toMatchObject({ outcome: 'deleted' })
  })

  test('by a failure of the kernel gives the weight back', async () => {
    const it = await drain({ looks: [{ weight: 5 }, BUSY] })
    it.transport.answer(COMMANDS.getDest, failure(105))
    await it.pass(1000)
    await expect(it.end).rejects.toMatchObject({ code: 'ENOBUFS' })
    expect(weights(it.transport)).toEqual([0, 5])
  })

  test('leaves no timer and no listener behind', async () => {
    const controller = new AbortController()
    const it = await drain({ looks: [{ weight: 5 }, BUSY] }, { signal: controller.signal })
    controller.abort(reason)
    await settle()
    await expect(it.end).rejects.toBe(reason)
    expect(vi.getTimerCount()).toBe(0)
  })
})
