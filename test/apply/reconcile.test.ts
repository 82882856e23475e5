import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ApplyResult, Reconciler, ReconcileOptions, ReconcileSource, State } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { until } from '../helpers/until.ts'

/** reconcile() over the in-memory kernel. */

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const state = (weight: number): State => ({
  services: [{ ...WEB, realServers: [{ address: '10.1.0.1', weight }, { address: '10.1.0.2' }] }],
})
/** Longer than any test: only what is asked for runs. */
const NEVER = 1_000_000

const open: Reconciler[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.stop().catch(() => undefined)))
  vi.restoreAllMocks()
})

async function begin(
  source: ReconcileSource,
  options: Partial<ReconcileOptions> = {},
): Promise<{
  readonly ipvs: Ipvs
  readonly other: Ipvs
  readonly kernel: ReturnType<typeof createMemoryKernel>
  readonly reconciler: Reconciler
  readonly runs: ApplyResult[]
  readonly errors: unknown[]
}> {
  const kernel = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport: kernel })
  const other = await Ipvs.open({ transport: kernel })
  const runs: ApplyResult[] = []
  const errors: unknown[] = []
  const reconciler = ipvs.reconcile(source, {
    intervalMs: NEVER,
    onRun: (result) => runs.push(result),
    onError: (error) => errors.push(error),
    ...options,
  })
  open.push(reconciler)
  return { ipvs, other, kernel, reconciler, runs, errors }
}

describe('reconcile', () => {
  test('applies at once, and then brings back what someone else deleted or changed', async () => {
    const { ipvs, other, runs } = await begin(state(5), { intervalMs: 10 })
    await until('it ran', () => runs.length > 0)
    expect(runs[0]?.steps.map(({ kind }) => kind)).toEqual(['add-service', 'add-server', 'add-server'])
    await other.deleteRealServer(WEB, { address: '10.1.0.2' })
    await until('it is back', async () => (await ipvs.realServers(WEB)).length === 2)
    await other.editRealServer(WEB, { address: '10.1.0.1' }, { weight: 0 })
    await until(
      'it is as it was',
      async () => (await ipvs.realServer(WEB, { address: '10.1.0.1' })).weight === 5,
    )
    await other.flush()
    await until('all is back', async () => (await ipvs.services()).length === 1)
  })

  test('writes nothing where nothing differs, however often it runs', async () => {
    const { kernel, reconciler, runs } = await begin(state(5))
    await reconciler.runNow()
    kernel.clearLog()
    for (let i = 0; i < 5; i++) await reconciler.runNow()
    expect(runs.slice(-5).every(({ steps }) => steps.length === 0)).toBe(true)
    expect(kernel.log.filter(({ command }) => !String(command).startsWith('get'))).toEqual([])
  })

  test('asks a function before each run, for a state or its text', async () => {
    const answers: (State | string)[] = [
      state(1),
      '-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -w 3\n',
    ]
    const { ipvs, reconciler, errors } = await begin(() => Promise.resolve(answers.shift() ?? state(9)))
    await reconciler.runNow()
    await reconciler.runNow()
    await reconciler.runNow()
    expect(errors).toEqual([])
    expect((await ipvs.realServer(WEB, { address: '10.1.0.1' })).weight).toBe(9)
  })

  test('makes one run at a time', async () => {
    let running = 0
    const { reconciler } = await begin(async () => {
      expect(++running).toBe(1)
      await turn()
      running -= 1
      return state(1)
    })
    await Promise.all(Array.from({ length: 20 }, () => reconciler.runNow()))
  })

  /** How long it is to wait from now on, each time; it does not. */
  function waitsOf(): number[] {
    const waits: number[] = []
    const wait = globalThis.setTimeout
    vi.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, ms: number) => {
      waits.push(ms)
      return wait(callback, 0)
    }) as typeof wait)
    return waits
  }

  test('backs off while runs fail, by chance too, and comes back to its interval', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5)
    const waits = waitsOf()
    const { kernel, runs, errors } = await begin(state(1), { intervalMs: 20, maxIntervalMs: 80 })
    await until('it ran', () => runs.length > 0)
    kernel.privileged = false
    await until('it failed five times', () => errors.length >= 5)
    expect(errors[0]).toMatchObject({ code: 'EPERM' })
    kernel.privileged = true
    const before = runs.length
    await until('it ran twice more', () => runs.length >= before + 2)
    // 20 doubled, less a quarter; then 80, which is the most, less a quarter.
    expect(waits.filter((ms, index) => ms !== waits[index - 1])).toEqual([20, 30, 60, 20])
    expect(waits.filter((ms) => ms === 30)).toHaveLength(1)
  })

  test('never comes sooner after a failure than after none', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.99)
    const waits = waitsOf()
    const { errors } = await begin(() => Promise.reject(new Error('no state')), {
      intervalMs: 100,
      maxIntervalMs: 10,
    })
    await until('it failed three times', () => errors.length >= 3)
    expect(new Set(waits)).toEqual(new Set([100]))
  })

  test('obeys guards: what they refuse is an error, and touches nothing', async () => {
    let wanted = state(1)
    const { ipvs, reconciler, errors } = await begin(() => wanted, { maxDeletions: 0 })
    await reconciler.runNow()
    wanted = { services: [] }
    await reconciler.runNow()
    expect(errors).toMatchObject([{ code: 'ERR_IPVS_GUARD' }])
    expect(await ipvs.services()).toHaveLength(1)
  })

  test('stops when its signal is raised, in the middle of a run too, which is undone', async () => {
    const controller = new AbortController()
    const many: State = {
      services: Array.from({ length: 2000 }, (_, index) => ({ protocol: 'fwmark', fwmark: index + 1 })),
    }
    const { ipvs, kernel, reconciler, runs, errors } = await begin(many, { signal: controller.signal })
    kernel.beforeNext('addService', () => {
      controller.abort()
    })
    await reconciler.stop()
    expect([runs.length, errors]).toEqual([0, []])
    expect(await ipvs.services()).toEqual([])
    await reconciler.runNow()
    await reconciler.stop()
  })

  test('stops though its source never answers, and says nothing of it', async () => {
    const asked: AbortSignal[] = []
    const { kernel, reconciler, errors } = await begin((signal) => {
      asked.push(signal)
      return new Promise<State>(() => undefined)
    })
    await until('it asks', () => asked.length > 0)
    kernel.clearLog()
    await reconciler.stop()
    expect(asked.map(({ aborted }) => aborted)).toEqual([true])
    expect([kernel.log, errors]).toEqual([[], []])
  })

  test('leaves no timers, and no listeners on the signal, behind', async () => {
    const controller = new AbortController()
    const remove = vi.spyOn(controller.signal, 'removeEventListener')
    const { reconciler, runs } = await begin(state(1), { signal: controller.signal })
    await until('it ran', () => runs.length > 0)
    await reconciler.stop()
    expect(remove).toHaveBeenCalledWith('abort', expect.anything())
    const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout')
    const { reconciler: second } = await begin(state(1))
    await second.runNow()
    await second.stop()
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length).toBeLessThanOrEqual(
      timers.length,
    )
  })

  test('ends with what onError throws, which stop() tells', async () => {
    const thrown = new Error('that is enough')
    let told = false
    const { reconciler } = await begin(() => Promise.reject(new Error('no state')), {
      onError: () => {
        told = true
        throw thrown
      },
    })
    await until('it is told', () => told)
    await expect(reconciler.stop()).rejects.toBe(thrown)
  })

  test('tells runNow() too what onError throws, in the run that it asked for and after the end', async () => {
    const thrown = new Error('that is enough')
    const { reconciler } = await begin(() => Promise.reject(new Error('no state')), {
      onError: () => {
        throw thrown
      },
    })
    // The first waits for the run that fails; the second for one that never comes.
    const calls = [reconciler.runNow(), turn().then(() => reconciler.runNow())]
    expect(await Promise.allSettled(calls)).toEqual(calls.map(() => ({ status: 'rejected', reason: thrown })))
    await expect(reconciler.runNow()).rejects.toBe(thrown)
  })

  test('takes a run for done though onRun throws, which onError hears', async () => {
    const thrown = new Error('no disk')
    const { runs, errors, reconciler } = await begin(state(1), {
      intervalMs: 10,
      maxIntervalMs: NEVER,
      onRun: () => {
        throw thrown
      },
    })
    // Sixteen failures in a row would take minutes.
    await until('it ran sixteen times', () => errors.length >= 16)
    expect(errors.every((error) => error === thrown)).toBe(true)
    expect(runs).toEqual([])
    await reconciler.stop()
  })

  test('tells onError what an async onRun rejects with, and goes on', async () => {
    const rejected = new Error('no disk')
    const { errors, reconciler } = await begin(state(1), { onRun: () => Promise.reject(rejected) })
    await reconciler.runNow()
    await reconciler.runNow()
    await until('both are told', () => errors.length >= 2)
    expect(errors.every((error) => error === rejected)).toBe(true)
    await reconciler.stop()
  })

  test.each<[string, Partial<ReconcileOptions>]>([
    ['of a run', {}],
    ['of an async onRun', { onRun: () => Promise.reject(new Error('no disk')) }],
  ])('ends with what an async onError rejects with, told %s', async (_, options) => {
    const rejected = new Error('that is enough')
    const source = options.onRun === undefined ? () => Promise.reject(new Error('no state')) : state(1)
    let told = 0
    const { reconciler } = await begin(source, {
      intervalMs: 10,
      ...options,
      onError: () => {
        told += 1
        return Promise.reject(rejected)
      },
    })
    await until('it is told', () => told > 0)
    await expect(reconciler.stop()).rejects.toBe(rejected)
    await expect(reconciler.runNow()).rejects.toBe(rejected)
    expect(told).toBe(1)
  })

  test.each<[string, ReconcileSource]>([
    ['onRun', state(1)],
    ['onError', () => Promise.reject(new Error('no state'))],
  ])('can be stopped by an async %s, which waits for the end', async (_, source) => {
    let stopped = false
    const stop = async (): Promise<void> => {
      await reconciler.stop()
      stopped = true
    }
    const { reconciler } = await begin(source, { onRun: stop, onError: stop })
    await until('it has stopped', () => stopped)
  })

  test.each<[string, ReconcileSource]>([
    ['between two runs', state(1)],
    ['while it waits for its source', () => new Promise<State>(() => undefined)],
  ])('ends when its Ipvs is closed, %s, and says so', async (_, source) => {
    const { ipvs, reconciler, errors, runs } = await begin(source)
    await until('it waits', () => typeof source === 'function' || runs.length > 0)
    const asked = typeof source === 'function' ? reconciler.runNow() : undefined
    asked?.catch(() => undefined)
    await ipvs.close()
    await reconciler.stop()
    expect(errors).toMatchObject([{ code: 'EBADF', command: 'reconcile' }])
    if (asked !== undefined) await expect(asked).rejects.toBe(errors[0])
    await expect(reconciler.runNow()).rejects.toBe(errors[0])
    expect(() => ipvs.reconcile(state(1), { onError: () => undefined })).toThrow(
      'EBADF: reconcile: this Ipvs is closed',
    )
  })

  test('says nothing of a close that comes after stop()', async () => {
    const { ipvs, reconciler, errors } = await begin(state(1))
    await reconciler.runNow()
    const stopped = reconciler.stop()
    await ipvs.close()
    await stopped
    await reconciler.runNow()
    expect(errors).toEqual([])
  })

  test('reads a file with names, which it looks up for each run', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ipvs-reconcile-'))
    const file = join(folder, 'table.rules')
    writeFileSync(file, '-A -t web:http -s rr\n')
    const addresses = ['10.0.0.1', '10.0.0.2']
    const source = {
      file,
      lookupService: (name: string) => (name === 'http' ? 80 : undefined),
      lookupHost: () => addresses.shift() ?? '10.0.0.3',
    }
    // Each time all services are others.
    const { ipvs, reconciler, errors } = await begin(source, { maxDeletions: 1 })
    for (let run = 0; run < 3; run++) await reconciler.runNow()
    expect(errors).toEqual([])
    expect(await ipvs.services()).toMatchObject([{ address: '10.0.0.3', port: 80 }])
    rmSync(folder, { recursive: true })
  })

  test.each<[unknown, object, string]>([
    [state(1), { onError: undefined }, 'onError must be a function'],
    [state(1), { intervalMs: 1 }, 'intervalMs must be a whole number 10 to'],
    [state(1), { dryRun: true }, 'dryRun does not work'],
    [state(1), { prunes: true }, "options have no field 'prunes'"],
    [state(1), { scope: { addresses: ['nowhere'] } }, 'scope.addresses[0] must be an IPv4 or IPv6 address'],
    [state(1), { intervalMS: 100 }, "options have no field 'intervalMS': did you mean 'intervalMs'?"],
    [state(1), { frequency: 1 }, "only 'intervalMs', 'maxIntervalMs', 'onRun', 'onError', 'prune'"],
    [{ file: 'a', format: 'xml' }, {}, "format must be one of 'json'"],
    [{ file: 'a', lookupHost: 'dns' }, {}, "lookupHost must be a function, got 'dns'"],
    [{ file: '' }, {}, 'file must be a path'],
    [{ file: 'a', encoding: 'x' }, {}, "has no field 'encoding'"],
    ['table.json', {}, 'the source of reconcile() must be an object'],
  ])('refuses at once: %j, %j', async (source, options, message) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    expect(() => ipvs.reconcile(source as State, { onError: () => undefined, ...options })).toThrow(message)
  })
})

describe('a file that is watched', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-reconcile-'))
  afterEach(() => {
    for (const name of ['table.json', 'new']) rmSync(join(folder, name), { force: true })
  })
  const file = join(folder, 'table.json')
  const write = (path: string, weight: number): void => {
    writeFileSync(path, JSON.stringify(state(weight)))
  }
  const weight = async (ipvs: Ipvs): Promise<number | undefined> =>
    (await ipvs.snapshot())[0]?.realServers.find(({ address }) => address === '10.1.0.1')?.weight

  test('is applied when it changes, when it is replaced, and when it comes back', async () => {
    write(file, 1)
    const { ipvs, errors } = await begin({ file })
    await until('it is applied', async () => (await weight(ipvs)) === 1)
    write(file, 2)
    await until('the change is', async () => (await weight(ipvs)) === 2)
    for (const value of [3, 4]) {
      write(join(folder, 'new'), value)
      renameSync(join(folder, 'new'), file)
      await until('the replacement is', async () => (await weight(ipvs)) === value)
    }
    unlinkSync(file)
    await until('its absence is told', () =>
      errors.some((error) => (error as NodeJS.ErrnoException).code === 'ENOENT'),
    )
    expect(await weight(ipvs)).toBe(4)
    write(file, 5)
    await until('it is applied again', async () => (await weight(ipvs)) === 5)
  })

  const line = (port: number): string => `-A -t 10.0.0.1:${String(port)} -s rr\n`

  describe('while somebody writes to it', () => {
    // Time goes on when the test says so, and a line is as old as it should be on a machine that has much to do.
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
    })
    afterEach(() => {
      vi.useRealTimers()
    })

    /** Waits until the reconciler does nothing but wait, so that it has not looked at the file before the next change. */
    const waiting = (): Promise<unknown> => until('it waits', () => vi.getTimerCount() > 0)

    function append(text: string): void {
      appendFileSync(file, text)
      utimesSync(file, Date.now() / 1000, Date.now() / 1000)
    }

    /** Writes 20 services, a line each 10 ms, as a slow program does. */
    async function writeSlowly(meanwhile: (port: number) => Promise<unknown> = waiting): Promise<void> {
      writeFileSync(file, '')
      for (let port = 1; port <= 20; port++) {
        append(line(port))
        await meanwhile(port)
        await vi.advanceTimersByTimeAsync(10)
        await meanwhile(port)
      }
    }

    /** Lets time go on until all 20 are applied. */
    async function untilApplied(ipvs: Ipvs): Promise<void> {
      await until('it is applied', async () => {
        await vi.advanceTimersByTimeAsync(10)
        return (await ipvs.services()).length === 20
      })
    }

    const sizes = (runs: readonly ApplyResult[]): number[] =>
      runs.map(({ steps }) => steps.length).filter((count) => count > 0)

    test.each([
      ['that it changed', NEVER, (): string => file],
      ['that it is time', 10, (): string => file],
      [
        'that it is time, behind a link',
        10,
        (): string => {
          symlinkSync(file, join(folder, 'new'))
          return join(folder, 'new')
        },
      ],
    ])('is read once nobody writes to it any more, where the reason is %s', async (_, intervalMs, named) => {
      append(line(1))
      await vi.advanceTimersByTimeAsync(100)
      const { ipvs, reconciler, runs } = await begin({ file: named(), format: 'ipvsadm' }, { intervalMs })
      await reconciler.runNow()
      await writeSlowly()
      await untilApplied(ipvs)
      await reconciler.stop()
      expect(sizes(runs)).toEqual([1, 19])
    })

    test('is read once nobody writes to it any more, where it changed while a run was under way', async () => {
      append(line(1))
      await vi.advanceTimersByTimeAsync(100)
      const { ipvs, kernel, reconciler, runs } = await begin({ file, format: 'ipvsadm' })
      await reconciler.runNow()
      let release = (): void => undefined
      const held = new Promise<void>((resolve) => {
        release = resolve
      })
      const read = new Promise<void>((resolve) => {
        kernel.beforeNext('getService', () => {
          resolve()
          return held
        })
      })
      const run = reconciler.runNow()
      await read
      await writeSlowly(async (port) => {
        if (port === 6) release()
        if (port >= 6) await waiting()
      })
      await run
      await untilApplied(ipvs)
      await reconciler.stop()
      expect(sizes(runs)).toEqual([1, 19])
    })

    test('is read once nobody writes to it any more, from the beginning', async () => {
      const kernel = createMemoryKernel()
      const ipvs = await Ipvs.open({ transport: kernel })
      await ipvs.restore(line(1))
      const runs: ApplyResult[] = []
      let reconciler: Reconciler | undefined
      await writeSlowly(async (port) => {
        if (port < 6) return
        reconciler ??= ipvs.reconcile(
          { file, format: 'ipvsadm' },
          { intervalMs: NEVER, onRun: (result) => runs.push(result), onError: () => undefined },
        )
        await waiting()
      })
      await untilApplied(ipvs)
      await reconciler?.stop()
      expect(sizes(runs)).toEqual([19])
    })

    test('for ever is read all the same, and holds up no stop()', async () => {
      append(line(1))
      const { reconciler, runs } = await begin({ file, format: 'ipvsadm' })
      const start = performance.now()
      while (runs.length === 0) {
        append('#\n')
        await waiting()
        await vi.advanceTimersByTimeAsync(40)
        await waiting()
      }
      expect(performance.now() - start).toBeGreaterThanOrEqual(2000)
      append('#\n')
      await waiting()
      // The clock stands still: a stop that waits for the writer does not come.
      await reconciler.stop()
    })
  })

  test('is read again where it changed meanwhile', async () => {
    writeFileSync(file, '-A -t web:80 -s rr\n')
    const { ipvs, reconciler, runs } = await begin({
      file,
      format: 'ipvsadm',
      lookupHost: () => {
        if (runs.length === 0) writeFileSync(file, line(1) + line(2))
        return '10.0.0.9'
      },
    })
    await until('it is applied', () => runs.length > 0)
    await reconciler.stop()
    expect(runs[0]?.steps).toHaveLength(2)
    expect(await ipvs.services()).toMatchObject([{ address: '10.0.0.1' }, { address: '10.0.0.1' }])
  })

  test('is watched again in a folder that was replaced', async () => {
    const inner = join(folder, 'inner')
    const there = join(inner, 'table.json')
    mkdirSync(inner)
    write(there, 1)
    const { ipvs, reconciler } = await begin({ file: there })
    await reconciler.runNow()
    rmSync(inner, { recursive: true })
    mkdirSync(inner)
    write(there, 2)
    await reconciler.runNow()
    write(there, 3)
    await until('the change is applied', async () => (await weight(ipvs)) === 3)
    rmSync(inner, { recursive: true })
  })

  test('that is broken is told, and touches nothing', async () => {
    write(file, 1)
    const { ipvs, errors, reconciler } = await begin({ file })
    await reconciler.runNow()
    writeFileSync(file, '{ "services": [')
    await until('it is told', () => errors.length > 0)
    expect(errors[0]).toMatchObject({ name: 'StateSyntaxError', line: 1 })
    expect(await weight(ipvs)).toBe(1)
  })
})
