import { afterEach, describe, expect, test, vi } from 'vitest'
import { Ipvs, LockedError, type LockHolder, type State } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { FakeLock, LockingTransport } from '../helpers/locking-transport.ts'
import { until } from '../helpers/until.ts'

/** The lock of a table: here two objects share one as two processes would. test/transport has its file. */

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const OTHER: LockHolder = { pid: 4711, command: 'ipvs apply web.yaml' }

interface Director {
  readonly ipvs: Ipvs
  readonly transport: LockingTransport
}

const opened: Ipvs[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((ipvs) => ipvs.close()))
})

async function directors(): Promise<{
  kernel: MemoryKernel
  lock: FakeLock
  one: Director
  other: Director
}> {
  const kernel = createMemoryKernel()
  const lock = new FakeLock()
  const open = async (): Promise<Director> => {
    const transport = new LockingTransport(kernel, lock)
    const ipvs = await Ipvs.open({ transport })
    opened.push(ipvs)
    return { ipvs, transport }
  }
  return { kernel, lock, one: await open(), other: await open() }
}

const state = (weight: number): State => ({
  services: [{ ...WEB, realServers: [{ address: '10.0.0.7', weight }] }],
})

describe('lock()', () => {
  test('holds out another until it is released, and names who has it once', async () => {
    const { lock, one, other } = await directors()
    const first = await one.ipvs.lock()
    lock.holder = OTHER
    const onWait = vi.fn()
    const second = other.ipvs.lock({ onWait })
    await until('it was asked for', () => lock.tries >= 4)
    await first.release()
    await (await second).release()
    expect(onWait.mock.calls).toEqual([[OTHER]])
    expect(lock.holder).toBeUndefined()
  })

  test('rejects at once with `wait: false`, and names who has it', async () => {
    const { lock, one } = await directors()
    lock.holder = OTHER
    await expect(one.ipvs.lock({ wait: false })).rejects.toMatchObject({
      code: 'ERR_IPVS_LOCKED',
      holder: OTHER,
      message:
        'ipvs apply web.yaml (process 4711) is changing this table: wait until it has ended; nothing was changed',
    })
    lock.holder = {}
    await expect(one.ipvs.lock({ wait: false })).rejects.toThrow(/^another process is changing/)
    expect(lock.tries).toBe(2)
  })

  test('stops waiting when its signal is raised, and does not begin after that', async () => {
    const { lock, one } = await directors()
    lock.holder = OTHER
    const controller = new AbortController()
    const waiting = one.ipvs.lock({ signal: controller.signal })
    await until('it was asked for', () => lock.tries >= 2)
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    const tries = lock.tries
    await expect(one.ipvs.lock({ signal: controller.signal })).rejects.toThrow('enough')
    expect(lock.tries).toBe(tries)
  })

  test('is released once, however often that is asked for', async () => {
    const { lock, one, other } = await directors()
    const first = await one.ipvs.lock()
    await Promise.all([first.release(), first.release()])
    const second = await other.ipvs.lock()
    await first[Symbol.asyncDispose]()
    expect(lock.holder).toBeDefined()
    await second.release()
  })

  test('says why there is none', async () => {
    const { lock, one } = await directors()
    lock.failure = { errno: 13, syscall: 'mkdir' }
    await expect(one.ipvs.lock()).rejects.toThrow(
      /^EACCES: lock: the lock of this table is a file in \/run\/ipvs/,
    )
  })

  test('is there at once where no other process has the table', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    opened.push(ipvs)
    const lock = await ipvs.lock({ wait: false })
    await lock.release()
  })

  test('refuses options that it does not know, and an Ipvs that is closed', async () => {
    const { one } = await directors()
    await expect(one.ipvs.lock({ wait: 1 as unknown as boolean })).rejects.toThrow(TypeError)
    await expect(one.ipvs.lock({ onWait: 1 as unknown as () => void })).rejects.toThrow(TypeError)
    await one.ipvs.close()
    await expect(one.ipvs.lock()).rejects.toMatchObject({ code: 'EBADF' })
  })
})

describe('apply()', () => {
  test('has the lock at each of its writes, and at none of its dry run', async () => {
    const { lock, one } = await directors()
    const held: boolean[] = []
    one.transport.beforeWrite = () => {
      held.push(lock.holder !== undefined)
    }
    await one.ipvs.apply(state(1), { dryRun: true })
    expect(lock.tries).toBe(0)
    await one.ipvs.apply(state(1))
    await one.ipvs.apply({ services: [] }, { drain: { timeoutMs: 0, intervalMs: 10 }, force: true })
    expect(held.length).toBeGreaterThan(3)
    expect(held).not.toContain(false)
    expect(lock.holder).toBeUndefined()
  })

  test('begins only when the other has ended, so the table is never half of each', async () => {
    const { one, other } = await directors()
    await one.ipvs.apply(state(1))
    const first = await one.ipvs.lock()
    const second = other.ipvs.apply(state(2))
    await one.ipvs.apply(state(3))
    expect((await one.ipvs.realServers(WEB))[0]?.weight).toBe(3)
    await first.release()
    expect((await second).steps).toMatchObject([{ kind: 'edit-server', before: { weight: 3 } }])
  })

  test('does without a lock that cannot be had', async () => {
    const { lock, one } = await directors()
    lock.failure = { errno: 30, syscall: 'mkdir' }
    expect((await one.ipvs.apply(state(1))).applied).toBe(true)
  })

  test('writes nothing if its signal is raised, or its Ipvs closed, while another has the lock', async () => {
    const { lock, one, other } = await directors()
    lock.holder = OTHER
    const controller = new AbortController()
    const aborted = one.ipvs.apply(state(1), { signal: controller.signal })
    const closed = other.ipvs.apply(state(1))
    closed.catch(() => undefined)
    await until('it was asked for', () => lock.tries >= 4)
    controller.abort(new Error('enough'))
    await expect(aborted).rejects.toThrow('enough')
    await other.ipvs.close()
    await expect(closed).rejects.toMatchObject({ code: 'EBADF' })
    expect([one.transport.writes, other.transport.writes]).toEqual([0, 0])
  })

  test('undoes a drain without the lock if another has it when the signal is raised', async () => {
    const { kernel, lock, one } = await directors()
    await one.ipvs.apply(state(5))
    kernel.traffic(WEB, { connections: 1 })
    const controller = new AbortController()
    const drained = one.ipvs.apply(
      { services: [] },
      { drain: { intervalMs: 10 }, force: true, signal: controller.signal },
    )
    drained.catch(() => undefined)
    const weight = async (): Promise<number | undefined> => (await one.ipvs.realServers(WEB))[0]?.weight
    await until('it drains', async () => (await weight()) === 0 && lock.holder === undefined)
    lock.holder = OTHER
    controller.abort(new Error('enough'))
    await expect(drained).rejects.toThrow('enough')
    expect(await weight()).toBe(5)
    expect(lock.holder).toBe(OTHER)
  })

  test('gives the lock back when a step fails, after everything is undone', async () => {
    const { lock, one } = await directors()
    one.transport.fault = { at: 1, failure: { errno: 12 } }
    await expect(one.ipvs.apply(state(1))).rejects.toMatchObject({ code: 'ERR_IPVS_APPLY', notUndone: [] })
    expect(lock.holder).toBeUndefined()
    expect(await one.ipvs.services()).toEqual([])
    expect(new LockedError({}).code).toBe('ERR_IPVS_LOCKED')
  })
})
