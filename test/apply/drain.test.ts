import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { DrainOptions, DrainProgress, DrainResult } from '../../lib/apply/drain.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { IpvsError } from '../../lib/model/errors.ts'
import type { ServiceSpec, Timeouts } from '../../lib/model/types.ts'
import type { RealServer } from '../../lib/service.ts'
import { createMemoryKernel, type MemoryConnection, type MemoryKernel } from '../../lib/testing.ts'
import { forbidUnhandledRejections, SERVER, WEB } from '../session/replies.ts'
import { writes } from './setup.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})
forbidUnhandledRejections()

/** Lets what waits for the kernel go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate()
}

/** A server of weight 5, and clients of it. */
interface Setup {
  /** Connections that are open, those that both sides have closed, and clients that persistence remembers. */
  readonly active?: number
  readonly inactive?: number
  readonly remembered?: number
  readonly service?: ServiceSpec
  readonly timeouts?: Timeouts
  readonly expireQuiescent?: string
}

interface Before {
  readonly kernel: MemoryKernel
  readonly ipvs: Ipvs
  /** Another program. */
  readonly other: Ipvs
  readonly server: RealServer
  /** The open connections. */
  readonly clients: readonly MemoryConnection[]
  /** The weight that the table has, `undefined` if the server is not in it. */
  readonly weight: () => Promise<number | undefined>
}

async function setUp(setup: Setup = {}): Promise<Before> {
  const { active = 0, inactive = 0, remembered = 0, service = WEB } = setup
  const kernel = createMemoryKernel()
  const [ipvs, other] = [await Ipvs.open({ transport: kernel }), await Ipvs.open({ transport: kernel })]
  const web = await ipvs.addService(service)
  const server = await web.addRealServer({ ...SERVER, method: 'masquerade', weight: 5 })
  if (setup.timeouts !== undefined) await ipvs.setTimeouts(setup.timeouts)
  if (setup.expireQuiescent !== undefined)
    await ipvs.setSysctl('expire_quiescent_template', setup.expireQuiescent)
  for (const client of kernel.traffic(service, { connections: remembered })) client.reset()
  // So long the kernel remembers what was reset.
  if (remembered > 0) kernel.advance(10)
  kernel.traffic(service, { connections: inactive, close: true })
  const clients = kernel.traffic(service, { connections: active })
  expect(await server.refresh()).toMatchObject({ activeConnections: active, inactiveConnections: inactive })
  kernel.clearLog()
  const weight = async (): Promise<number | undefined> => {
    const table = await other.snapshot()
    return table[0]?.realServers[0]?.weight
  }
  return { kernel, ipvs, other, server, clients, weight }
}

interface Drain extends Before {
  readonly progress: DrainProgress[]
  /** How it ended, once it has. */
  readonly end: Promise<DrainResult>
  ended: boolean
  /** Lets time pass. */
  pass(ms: number): Promise<void>
}

async function drain(setup: Setup = {}, options: DrainOptions = {}): Promise<Drain> {
  return drainOf(await setUp(setup), options)
}

async function drainOf(before: Before, options: DrainOptions = {}): Promise<Drain> {
  const progress: DrainProgress[] = []
  const { onProgress } = options
  const end = before.server.drain({
    // Most tests have this server alone.
    force: true,
    ...options,
    onProgress: (step) => {
      progress.push(step)
      return onProgress?.(step)
    },
  })
  const drained: Drain = {
    ...before,
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

/** The server had weight 0, and has its own again. */
async function expectWeightRestored({ kernel, weight }: Before): Promise<void> {
  expect(writes(kernel)).toEqual(['editRealServer', 'editRealServer'])
  expect(await weight()).toBe(5)
}

const reason = new Error('changed my mind')

describe('drain', () => {
  test('of a server without connections deletes it at once', async () => {
    const { kernel, other, end, progress } = await drain()
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
    expect(await other.snapshot()).toMatchObject([{ service: WEB, realServers: [] }])
    // A client that came between the two would have been cut off.
    expect(writes(kernel)).toEqual(['editRealServer', 'deleteRealServer'])
    expect(progress).toHaveLength(1)
  })

  test('waits for the connections to end, looking once a second', async () => {
    const it = await drain({ active: 3 })
    const [first, second, third] = it.clients
    expect(it.progress).toHaveLength(1)
    await it.pass(999)
    expect(it.progress).toHaveLength(1)
    for (const client of [first, second]) client?.close()
    await it.pass(1)
    expect(it.progress).toHaveLength(2)
    it.kernel.advance(120)
    third?.close()
    await it.pass(1000)
    expect(await it.weight()).toBe(0)
    it.kernel.advance(120)
    await it.pass(1000)
    expect(await it.end).toMatchObject({ outcome: 'deleted', last: { elapsedMs: 3000 } })
    expect(it.progress.map(({ waitsFor }) => waitsFor)).toEqual([
      ['active'],
      ['active', 'inactive'],
      ['inactive'],
      [],
    ])
    // What is bound is known only once nothing is active.
    expect(it.progress.map(({ atMostSeconds }) => atMostSeconds)).toEqual([undefined, undefined, 120, 0])
    expect(await it.weight()).toBeUndefined()
  })

  test('at the end of its time leaves the server at weight 0', async () => {
    const it = await drain({ active: 3 }, { timeoutMs: 2500 })
    await it.pass(2499)
    expect(it.ended).toBe(false)
    await it.pass(1)
    expect(await it.end).toMatchObject({ outcome: 'kept', last: { activeConnections: 3, elapsedMs: 2500 } })
    expect(it.progress.map(({ elapsedMs }) => elapsedMs)).toEqual([0, 1000, 2000, 2500])
    expect(await it.weight()).toBe(0)
  })

  test('at the end of its time deletes the server where told', async () => {
    const it = await drain({ active: 3 }, { timeoutMs: 1000, atTimeout: 'delete' })
    expect(await it.weight()).toBe(0)
    await it.pass(1000)
    expect(await it.end).toMatchObject({ outcome: 'deleted', last: { activeConnections: 3 } })
    expect(await it.weight()).toBeUndefined()
  })

  test('with no time looks once', async () => {
    const kept = await drain({ active: 3 }, { timeoutMs: 0 })
    expect(await kept.end).toMatchObject({ outcome: 'kept' })
    const gone = await drain({}, { timeoutMs: 0 })
    expect(await gone.end).toMatchObject({ outcome: 'deleted' })
  })

  test('has five minutes by default', async () => {
    const it = await drain({ active: 3 }, { intervalMs: 60_000 })
    await it.pass(299_999)
    expect(it.ended).toBe(false)
    await it.pass(1)
    expect(await it.end).toMatchObject({ outcome: 'kept', last: { elapsedMs: 300_000 } })
  })

  test('does not wait for inactive connections where told', async () => {
    const it = await drain({ inactive: 5 }, { waitFor: 'active' })
    expect(await it.end).toMatchObject({ outcome: 'deleted', last: { inactiveConnections: 5, waitsFor: [] } })
  })

  test('waits for clients that persistence remembers, unless the kernel lets go of them', async () => {
    const setup = { remembered: 2, service: { ...WEB, persistence: { timeoutSeconds: 600 } } }
    const it = await drain({ ...setup, expireQuiescent: '0' }, { timeoutMs: 5000 })
    expect(it.progress).toMatchObject([{ waitsFor: ['persistent'], atMostSeconds: 600 }])
    expect(it.ended).toBe(false)
    await it.pass(5000)
    expect(await it.end).toMatchObject({ outcome: 'kept' })
    const expires = await drain({ ...setup, expireQuiescent: '1' })
    expect(await expires.end).toMatchObject({
      outcome: 'deleted',
      last: { persistentConnections: 2, waitsFor: [] },
    })
  })

  test('takes a kernel that does not tell whether it lets go of them at its default: it does not', async () => {
    const setup = { remembered: 2, service: { ...WEB, persistence: { timeoutSeconds: 600 } } }
    const before = await setUp({ ...setup, expireQuiescent: '1' })
    vi.spyOn(before.kernel, 'sysctls').mockResolvedValue([undefined])
    const unknown = await drainOf(before, { timeoutMs: 0 })
    expect(await unknown.end).toMatchObject({ outcome: 'kept' })
  })

  test.each([
    [30, 0, 60],
    [30, 1, 180],
    [600, 1, 600],
  ])(
    'clients of persistence of %i s with %i inactive connections are remembered %i s at most',
    async (timeoutSeconds, inactive, seconds) => {
      // What they left behind gives them another minute each time.
      const it = await drain(
        { remembered: 1, inactive, service: { ...WEB, persistence: { timeoutSeconds } } },
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
    async (protocol, [tcpSeconds, tcpFinSeconds, udpSeconds], seconds) => {
      const it = await drain(
        {
          inactive: 1,
          timeouts: { tcpSeconds, tcpFinSeconds, udpSeconds },
          service: { ...WEB, protocol },
        },
        { timeoutMs: 0 },
      )
      expect((await it.end).last.atMostSeconds).toBe(seconds)
    },
  )

  test('ends where someone else deletes the server, or its service', async () => {
    for (const left of [[{ service: WEB, realServers: [] }], []]) {
      const it = await drain({ active: 3 })
      await (left.length === 0 ? it.other.deleteService(WEB) : it.other.deleteRealServer(WEB, SERVER))
      await it.pass(1000)
      expect(await it.end).toMatchObject({ outcome: 'gone', last: { activeConnections: 3 } })
      expect(await it.other.snapshot()).toMatchObject(left)
      expect(writes(it.kernel)).toHaveLength(2)
    }
  })

  test('does not take a kernel without IPVS for a server that is gone', async () => {
    const it = await drain({ active: 3 })
    it.kernel.loaded = false
    await it.pass(1000)
    await expect(it.end).rejects.toMatchObject({ code: 'ENOENT', noFamily: true })
  })

  test('whose weight of 0 was not answered for gives the weight back', async () => {
    const it = await setUp()
    it.kernel.failNext({ command: 'editRealServer', errno: 'ETIMEDOUT' })
    await expect(it.server.drain({ force: true })).rejects.toMatchObject({ code: 'ETIMEDOUT' })
    await expectWeightRestored(it)
  })

  test('ends where the server vanishes under the delete', async () => {
    const { kernel, other, server } = await setUp()
    kernel.beforeNext('deleteRealServer', () => other.deleteRealServer(WEB, SERVER))
    expect(await server.drain({ force: true })).toMatchObject({ outcome: 'gone' })
  })

  test('ends where someone else gives the server a weight, which stays', async () => {
    const it = await drain({ active: 1 })
    await it.other.editRealServer(WEB, SERVER, { weight: 2 })
    await it.pass(1000)
    expect(await it.end).toMatchObject({
      outcome: 'overruled',
      last: { activeConnections: 1 },
      reason: 'something else has set its weight to 2',
    })
    expect(await it.weight()).toBe(2)
  })

  test('of a server that is not there, or whose service is not, rejects', async () => {
    const { kernel, other, server } = await setUp()
    await other.deleteRealServer(WEB, SERVER)
    kernel.clearLog()
    await expect(server.drain({ force: true })).rejects.toMatchObject({ code: 'ENOENT', realServer: SERVER })
    expect(writes(kernel)).toEqual([])
    await other.deleteService(WEB)
    await expect(server.drain({ force: true })).rejects.toMatchObject({ code: 'ESRCH' })
  })
})

describe('the last live real server', () => {
  const refusal =
    'refused, nothing was changed: tcp/192.0.2.1:80 would be left without a real server whose weight is above 0. ' +
    'To allow this, give `force`.'

  test('is not drained without force, in the words of apply()', async () => {
    const { kernel, ipvs, server, weight } = await setUp({ active: 1 })
    await ipvs.addRealServer(WEB, { address: '10.9.9.9', weight: 0 })
    kernel.clearLog()
    await expect(server.drain()).rejects.toMatchObject({
      name: 'ApplyError',
      code: 'ERR_IPVS_GUARD',
      message: refusal,
    })
    expect(writes(kernel)).toEqual([])
    await expect(ipvs.apply({ services: [{ ...WEB, realServers: [] }] })).rejects.toMatchObject({
      message: refusal,
    })
    await ipvs.deleteRealServer(WEB, { address: '10.9.9.9' })
    expect(await weight()).toBe(5)
  })

  test('is drained with force, and so is one of several', async () => {
    const alone = await setUp()
    expect(await alone.server.drain({ force: true })).toMatchObject({ outcome: 'deleted' })
    const { ipvs, server } = await setUp()
    await ipvs.addRealServer(WEB, { address: '10.9.9.9' })
    expect(await server.drain()).toMatchObject({ outcome: 'deleted' })
  })

  test('is not one that has weight 0 already', async () => {
    const { server } = await setUp()
    const quiet = await server.edit({ weight: 0 })
    expect(await quiet.drain()).toMatchObject({ outcome: 'deleted' })
  })

  test('is left where all are drained at the same time', async () => {
    const { ipvs, server } = await setUp({ active: 1 })
    const second = await ipvs.addRealServer(WEB, { address: '10.9.9.9' })
    const ends = await Promise.allSettled([
      server.drain({ timeoutMs: 0 }),
      second.drain({ timeoutMs: 0, atTimeout: 'delete' }),
    ])
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(ends[1]).toMatchObject({ reason: { message: refusal } })
  })
})

describe('a drain that keeps the server', () => {
  test('waits for its connections, and leaves it at weight 0', async () => {
    const it = await drain({ active: 1 }, { keep: true })
    it.clients[0]?.reset()
    it.kernel.advance(10)
    await it.pass(1000)
    expect(await it.end).toMatchObject({ outcome: 'drained', last: { waitsFor: [], elapsedMs: 1000 } })
    expect(await it.weight()).toBe(0)
    expect(writes(it.kernel)).toEqual(['editRealServer'])
  })

  test('has kept it too when the time is up', async () => {
    const it = await drain({ active: 1 }, { keep: true, timeoutMs: 0 })
    expect(await it.end).toMatchObject({ outcome: 'kept' })
    expect(await it.weight()).toBe(0)
  })

  test('does not delete it at the end of its time', async () => {
    const { server } = await setUp()
    await expect(server.drain({ keep: true, atTimeout: 'delete' })).rejects.toThrow(
      "keep and atTimeout 'delete' contradict each other: leave out one of the two",
    )
  })
})

test.each([
  [{ active: 1 }, 'it still has 1 open connection'],
  [
    { active: 2, inactive: 3 },
    "it still has 2 open connections; 3 inactive connections until the kernel's timeouts end",
  ],
  [
    { remembered: 2, service: { ...WEB, persistence: {} } },
    'it still has 2 clients that persistence remembers, because expire_quiescent_template=0 keeps sending them here',
  ],
])('a drain whose time is up says why: %o', async (setup, reason) => {
  const it = await drain(setup, { timeoutMs: 0 })
  expect(await it.end).toMatchObject({ outcome: 'kept', reason })
})

describe('a drain that is given up', () => {
  test('before it began sends nothing', async () => {
    const { kernel, end, weight } = await drain({}, { signal: AbortSignal.abort(reason) })
    await expect(end).rejects.toBe(reason)
    expect(kernel.log).toEqual([])
    expect(await weight()).toBe(5)
  })

  test('while it sleeps gives the weight back, and rejects with the reason', async () => {
    const controller = new AbortController()
    const it = await drain({ active: 3 }, { signal: controller.signal })
    await it.pass(500)
    expect(await it.weight()).toBe(0)
    controller.abort(reason)
    await settle()
    await expect(it.end).rejects.toBe(reason)
    await expectWeightRestored(it)
  })

  test('in the last look gives the weight back too', async () => {
    const controller = new AbortController()
    const it = await drain(
      { active: 3 },
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
    await expectWeightRestored(it)
  })

  test('for the reason that another server has gone is not taken for its own end', async () => {
    const gone = new IpvsError({ errno: 2, command: 'realServer' })
    const controller = new AbortController()
    const it = await drain({ active: 3 }, { signal: controller.signal })
    await it.pass(500)
    controller.abort(gone)
    await settle()
    await expect(it.end).rejects.toBe(gone)
    await expectWeightRestored(it)
  })

  test('by close() gives the weight back before the transport is closed, and rejects with EBADF', async () => {
    const { kernel, ipvs, server, weight } = await setUp({ active: 3 })
    const weights: (number | undefined)[] = []
    const end = server.drain({ force: true }).catch((error: unknown) => error)
    await settle()
    weights.push(await weight())
    vi.spyOn(kernel, 'close').mockImplementation(async () => {
      weights.push(await weight())
    })
    await ipvs.close()
    expect(weights).toEqual([0, 5])
    expect(await end).toMatchObject({ code: 'EBADF', command: 'drain' })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('during the last look does not delete', async () => {
    const controller = new AbortController()
    const it = await drain(
      {},
      { signal: controller.signal, onProgress: () => { controller.abort(reason) } }, // prettier-ignore
    )
    await expect(it.end).rejects.toBe(reason)
    await expectWeightRestored(it)
  })

  test('leaves a weight that someone else gave meanwhile', async () => {
    const controller = new AbortController()
    const it = await drain({ active: 3 }, { signal: controller.signal })
    await it.other.editRealServer(WEB, SERVER, { weight: 8 })
    controller.abort(reason)
    await settle()
    await expect(it.end).rejects.toBe(reason)
    expect(await it.weight()).toBe(8)
  })

  test('of a server that is gone meanwhile still rejects with the reason', async () => {
    for (const left of [[{ service: WEB, realServers: [] }], []]) {
      const controller = new AbortController()
      const it = await drain({ active: 3 }, { signal: controller.signal })
      await (left.length === 0 ? it.other.deleteService(WEB) : it.other.deleteRealServer(WEB, SERVER))
      controller.abort(reason)
      await settle()
      await expect(it.end).rejects.toBe(reason)
      expect(await it.other.snapshot()).toMatchObject(left)
    }
  })

  test('by what onProgress throws gives the weight back', async () => {
    const it = await drain(
      { active: 3 },
      { onProgress: () => { throw reason } }, // prettier-ignore
    )
    await expect(it.end).rejects.toBe(reason)
    await expectWeightRestored(it)
  })

  test('by what an async onProgress rejects with gives the weight back', async () => {
    const it = await drain({ active: 3 }, { onProgress: () => Promise.reject(reason) })
    await expect(it.end).rejects.toBe(reason)
    await expectWeightRestored(it)
  })

  test('is too late once the server is deleted, and no rejection is left over', async () => {
    const it = await drain({}, { onProgress: () => settle().then(() => Promise.reject(reason)) })
    expect(await it.end).toMatchObject({ outcome: 'deleted' })
    expect(await it.weight()).toBeUndefined()
  })

  test('by a failure of the kernel gives the weight back', async () => {
    const it = await drain({ active: 3 })
    it.kernel.failNext({ command: 'getRealServers', errno: 'ENOBUFS' })
    await it.pass(1000)
    await expect(it.end).rejects.toMatchObject({ code: 'ENOBUFS' })
    await expectWeightRestored(it)
  })

  test('leaves no timer and no listener behind', async () => {
    const controller = new AbortController()
    const it = await drain({ active: 3 }, { signal: controller.signal })
    controller.abort(reason)
    await settle()
    await expect(it.end).rejects.toBe(reason)
    expect(vi.getTimerCount()).toBe(0)
  })
})
