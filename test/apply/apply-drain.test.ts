import { describe, expect, test } from 'vitest'
import type { ApplyProgress, State } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { until } from '../helpers/until.ts'
import { ALL, BEFORE, DNS, MARK, server, start, unordered, WANTED, WEB } from './setup.ts'

/** apply({ drain }): what others may do meanwhile, and what becomes of the weights. */

describe('drain', () => {
  test('gives servers that leave a weight of 0, and deletes them when their connections have ended', async () => {
    const { ipvs, kernel } = await start()
    const connections = kernel.traffic(WEB, { connections: 4 })
    const wanted: State = { services: [{ ...WEB, realServers: [server(3), server(9)] }] }
    const seen: ApplyProgress[] = []
    const done = ipvs.apply(wanted, {
      drain: { intervalMs: 10, waitFor: 'active' },
      onProgress: (progress) => seen.push(progress),
    })
    // The new one is there at once, and those that leave are quiescent while they still have clients.
    await until('they are quiescent', async () => {
      const list = await ipvs.realServers(WEB)
      return list.filter(({ weight }) => weight === 0).length === 3 && list.length === 5
    })
    for (const connection of connections) connection.close()
    await done
    expect((await ipvs.realServers(WEB)).map(({ address }) => address)).toEqual(['10.1.0.9', '10.1.0.3'])
    expect((await ipvs.services()).length).toBe(1)
    expect(seen.filter(({ phase }) => phase === 'drain').at(-1)).toMatchObject({ done: 5, total: 5 })
  })

  test('does not keep a weight that becomes 0 waiting', async () => {
    const { ipvs, kernel } = await start()
    const connections = kernel.traffic(WEB, { connections: 4 })
    const wanted: State = { services: [{ ...WEB, realServers: [server(2, { weight: 0 }), server(9)] }] }
    const done = ipvs.apply(wanted, { drain: { intervalMs: 10, waitFor: 'active' } })
    const list = await until('its weight is 0', async () => {
      const list = await ipvs.realServers(WEB)
      return list.find(({ address }) => address === '10.1.0.2')?.weight === 0 && list
    })
    expect(list).toHaveLength(5)
    for (const connection of connections) connection.close()
    await done
    expect((await ipvs.realServers(WEB)).map(({ address }) => address)).toEqual(['10.1.0.9', '10.1.0.2'])
  })

  test('of many servers counts them all, and warns of no leak', async () => {
    const many: State = {
      services: [{ ...WEB, realServers: Array.from({ length: 40 }, (_, index) => server(index + 1)) }],
    }
    const { ipvs } = await start(many)
    const warnings: Error[] = []
    const listener = (warning: Error): void => void warnings.push(warning)
    process.on('warning', listener)
    const seen: ApplyProgress[] = []
    await ipvs.apply(
      { services: [{ ...WEB, realServers: [server(1)] }] },
      {
        drain: { intervalMs: 10 },
        signal: new AbortController().signal,
        onProgress: (one) => seen.push(one),
      },
    )
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', listener)
    expect(warnings).toEqual([])
    expect(seen.filter(({ phase }) => phase === 'drain')).toHaveLength(39)
    expect(seen.at(-1)).toEqual({ phase: 'apply', done: 39, total: 39 })
  })

  test('deletes them all the same when the time is over', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    await ipvs.apply({ services: [] }, { maxDeletions: Infinity, drain: { timeoutMs: 30, intervalMs: 10 } })
    expect(await ipvs.services()).toEqual([])
  })

  test('that is aborted leaves everything as it was', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    const before = unordered(await ipvs.save(ALL))
    const controller = new AbortController()
    const done = ipvs.apply(WANTED, { drain: { intervalMs: 10 }, signal: controller.signal })
    await until('one is quiescent', async () => (await ipvs.realServer(WEB, server(1))).weight === 0)
    controller.abort(new Error('stop it'))
    await expect(done).rejects.toThrow('stop it')
    expect(unordered(await ipvs.save(ALL))).toEqual(before)
  })

  test('that is aborted leaves a new service that somebody else has a real server in by now', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    const other = await Ipvs.open({ transport: kernel })
    const controller = new AbortController()
    const wanted = {
      services: [
        { ...WEB, realServers: [server(3)] },
        { ...MARK, realServers: [server(8)] },
      ],
    }
    const done = ipvs.apply(wanted, { drain: { intervalMs: 10 }, signal: controller.signal })
    done.catch(() => undefined)
    await until('one is quiescent', async () =>
      (await ipvs.realServers(WEB)).some(({ weight }) => weight === 0),
    )
    await other.addRealServer(MARK, server(9))
    controller.abort(new Error('stop it'))
    await expect(done).rejects.toMatchObject({
      code: 'ERR_IPVS_APPLY',
      notUndone: [{ step: { kind: 'add-service', service: MARK } }],
    })
    expect((await ipvs.realServers(MARK)).map(({ address }) => address)).toEqual(['10.1.0.9'])
  })

  test('that somebody else overrules fails, and undoes the rest', async () => {
    const { ipvs, kernel } = await start()
    kernel.traffic(WEB, { connections: 4 })
    const other = await Ipvs.open({ transport: kernel })
    const done = ipvs.apply(
      { services: [{ ...WEB, realServers: [server(3)] }] },
      { drain: { intervalMs: 10 } },
    )
    done.catch(() => undefined)
    await until('those that leave are quiescent', async () => {
      return (await ipvs.realServers(WEB)).filter(({ weight }) => weight === 0).length === 3
    })
    await other.editRealServer(WEB, server(1), { weight: 3 })
    await expect(done).rejects.toMatchObject({ code: 'ERR_IPVS_STALE_PLAN' })
    const weights = Object.fromEntries(
      (await ipvs.realServers(WEB)).map(({ address, weight }) => [address, weight]),
    )
    expect(weights).toEqual({ '10.1.0.1': 3, '10.1.0.2': 5, '10.1.0.3': 1, '10.1.0.4': 1 })
  })

  /** An apply that waits for the clients of the servers 1, 2 and 4 of WEB before it takes these and DNS, and somebody else. */
  async function draining(wanted: State, options: Parameters<Ipvs['apply']>[1] = {}) {
    const { ipvs, kernel } = await start()
    const other = await Ipvs.open({ transport: kernel })
    const before = unordered(await other.save(ALL))
    const clients = kernel.traffic(WEB, { connections: 8 })
    const done = ipvs.apply(wanted, { drain: { intervalMs: 10, waitFor: 'active' }, ...options })
    done.catch(() => undefined)
    const quiescent = async (): Promise<number> =>
      (await other.snapshot()).flatMap(({ realServers }) => realServers).filter(({ weight }) => weight === 0)
        .length
    await until('all are quiescent', async () => (await quiescent()) >= 5)
    const end = (): void => {
      for (const client of clients) client.close()
    }
    return { ipvs, other, kernel, done, before, end }
  }
  const LEFT: State = { services: [{ ...WEB, realServers: [server(3)] }] }
  const weightsOf = async (ipvs: Ipvs, service: typeof WEB | typeof DNS) =>
    Object.fromEntries((await ipvs.realServers(service)).map(({ address, weight }) => [address, weight]))

  test('does not delete a service that somebody gave a server meanwhile, and gives the weights back', async () => {
    const { other, done, end } = await draining(LEFT)
    await other.addRealServer(DNS, server(77))
    end()
    await expect(done).rejects.toMatchObject({
      code: 'ERR_IPVS_STALE_PLAN',
      message:
        'the table has changed since the plan was made: udp/10.0.0.1:53 -> 10.1.0.77:8080 was added during the drain of its service. ' +
        'Make a new plan. Undid 5 steps.',
      undone: expect.objectContaining({ length: 5 }) as unknown,
      notUndone: [],
    })
    expect(await weightsOf(other, DNS)).toEqual({ '10.1.0.1': 1, '10.1.0.2': 1, '10.1.0.77': 1 })
    expect(await weightsOf(other, WEB)).toEqual({
      '10.1.0.1': 1,
      '10.1.0.2': 5,
      '10.1.0.3': 1,
      '10.1.0.4': 1,
    })
  })

  test('does not leave a service without a live server, where somebody takes the others away meanwhile', async () => {
    for (const take of [
      (other: Ipvs) => other.deleteRealServer(WEB, server(3)),
      (other: Ipvs) => other.editRealServer(WEB, server(3), { weight: 0 }),
    ]) {
      const { other, done, end } = await draining(LEFT)
      await take(other)
      end()
      await expect(done).rejects.toMatchObject({
        code: 'ERR_IPVS_STALE_PLAN',
        message: expect.stringContaining('tcp/10.0.0.1:80 would now be left without') as string,
      })
      expect(await weightsOf(other, WEB)).toMatchObject({ '10.1.0.1': 1, '10.1.0.2': 5, '10.1.0.4': 1 })
      expect(await weightsOf(other, DNS)).toEqual({ '10.1.0.1': 1, '10.1.0.2': 1 })
    }
    const forced = await draining(LEFT, { force: true })
    await forced.other.deleteRealServer(WEB, server(3))
    forced.end()
    await forced.done
    expect(await weightsOf(forced.other, WEB)).toEqual({})
  })

  test('does not delete what somebody changes meanwhile, and leaves the change', async () => {
    const { other, done, end } = await draining(LEFT)
    await other.editRealServer(WEB, server(1), { upperThreshold: 5 })
    end()
    await expect(done).rejects.toMatchObject({
      code: 'ERR_IPVS_STALE_PLAN',
      message: expect.stringContaining('tcp/10.0.0.1:80 -> 10.1.0.1:8080 changed') as string,
    })
    expect(await other.realServer(WEB, server(1))).toMatchObject({ weight: 1, upperThreshold: 5 })
    const service = await draining(LEFT)
    await service.other.editService(DNS, { scheduler: 'sh' })
    service.end()
    await expect(service.done).rejects.toMatchObject({ code: 'ERR_IPVS_STALE_PLAN' })
    expect(await weightsOf(service.other, DNS)).toEqual({ '10.1.0.1': 1, '10.1.0.2': 1 })
  })

  test('does not mind what somebody deletes meanwhile, nor what has nothing to do with it', async () => {
    const { other, done, end } = await draining(LEFT)
    await other.deleteRealServer(WEB, server(1))
    await other.deleteRealServer(DNS, server(1))
    await other.addService({ ...MARK, scheduler: 'rr' })
    await other.addRealServer(WEB, server(50))
    await other.editService(WEB, { scheduler: 'rr' })
    await other.setSysctl('conntrack', 1)
    end()
    await done
    expect(await weightsOf(other, WEB)).toEqual({ '10.1.0.3': 1, '10.1.0.50': 1 })
    expect((await other.services()).map(({ protocol }) => protocol).sort()).toEqual(['fwmark', 'tcp'])
    const gone = await draining(LEFT)
    await gone.other.flush()
    await gone.done
    expect(await gone.other.services()).toEqual([])
  })

  test('whose deletions fail gives everything back, the weights too', async () => {
    const { other, kernel, done, end, before } = await draining(LEFT)
    kernel.failNext({ command: 'deleteService', errno: 'ENOMEM' })
    end()
    await expect(done).rejects.toMatchObject({ code: 'ERR_IPVS_APPLY', notUndone: [] })
    expect(unordered(await other.save(ALL))).toEqual(before)
  })

  test('whose weights cannot be taken gives everything back', async () => {
    const { ipvs, kernel } = await start()
    const before = unordered(await ipvs.save(ALL))
    kernel.failNext({ command: 'editRealServer', errno: 'ENOMEM' })
    await expect(ipvs.apply(LEFT, { drain: { intervalMs: 10 } })).rejects.toMatchObject({
      code: 'ERR_IPVS_APPLY',
    })
    expect(unordered(await ipvs.save(ALL))).toEqual(before)
  })

  test('ends by close(), which gives everything back before it closes', async () => {
    const { ipvs, other, done, before } = await draining(WANTED)
    await ipvs.close()
    expect(unordered(await other.save(ALL))).toEqual(before)
    await expect(done).rejects.toMatchObject({ code: 'EBADF', command: 'apply' })
    await expect(ipvs.apply(BEFORE)).rejects.toMatchObject({ code: 'EBADF' })
  })

  test('close() waits for an apply that has just been called', async () => {
    const { ipvs, kernel } = await start()
    const done = ipvs.apply(WANTED)
    await ipvs.close()
    await done
    const other = await Ipvs.open({ transport: kernel })
    expect((await other.plan(WANTED)).steps).toEqual([])
  })

  test('of a service with many servers reads it once for all of them', async () => {
    const many = Array.from({ length: 300 }, (_, index) =>
      server(0, { address: `10.2.${String(index >> 8)}.${String(index & 255)}` }),
    )
    const { ipvs, kernel } = await start({ services: [{ ...WEB, scheduler: 'rr', realServers: many }] })
    const reads = (): number => kernel.log.filter(({ command }) => command === 'getRealServers').length
    const clients = kernel.traffic(WEB, { connections: 300 })
    kernel.clearLog()
    const looks = new Set<number>()
    await ipvs.apply(
      { services: [] },
      {
        maxDeletions: Infinity,
        drain: { intervalMs: 20, timeoutMs: 60_000, waitFor: 'active' },
        onProgress: ({ phase }) => {
          if (phase === 'drain') looks.add(reads())
          for (const client of clients) client.close()
        },
      },
    )
    // One with the table, one for each look, one with the table again.
    expect(reads()).toBeLessThanOrEqual(5)
    expect(looks.size).toBe(1)
    expect(kernel.log.filter(({ command }) => command === 'editRealServer')).toHaveLength(300)
  })
})
