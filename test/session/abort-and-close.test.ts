import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'
import {
  destMessage,
  ESRCH,
  forbidUnhandledRejections,
  messages,
  open,
  SERVER,
  serviceMessage,
  WEB,
} from './replies.ts'

forbidUnhandledRejections()

type Call = (ipvs: Ipvs, signal?: AbortSignal) => Promise<unknown>

/** Options with a signal only where there is one. */
function options(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal }
}

/** Every method that asks the kernel. */
const CALLS: readonly [string, Call][] = [
  ['info', (ipvs, signal) => ipvs.info(options(signal))],
  ['timeouts', (ipvs, signal) => ipvs.timeouts(options(signal))],
  ['setTimeouts', (ipvs, signal) => ipvs.setTimeouts({ udpSeconds: 1 }, options(signal))],
  ['flush', (ipvs, signal) => ipvs.flush(options(signal))],
  ['zero', (ipvs, signal) => ipvs.zero(undefined, options(signal))],
  ['services', (ipvs, signal) => ipvs.services(options(signal))],
  ['service', (ipvs, signal) => ipvs.service(WEB, options(signal))],
  ['addService', (ipvs, signal) => ipvs.addService(WEB, options(signal))],
  ['editService', (ipvs, signal) => ipvs.editService(WEB, {}, options(signal))],
  ['deleteService', (ipvs, signal) => ipvs.deleteService(WEB, options(signal))],
  ['realServers', (ipvs, signal) => ipvs.realServers(WEB, options(signal))],
  ['realServer', (ipvs, signal) => ipvs.realServer(WEB, SERVER, options(signal))],
  ['addRealServer', (ipvs, signal) => ipvs.addRealServer(WEB, SERVER, options(signal))],
  ['editRealServer', (ipvs, signal) => ipvs.editRealServer(WEB, SERVER, {}, options(signal))],
  ['deleteRealServer', (ipvs, signal) => ipvs.deleteRealServer(WEB, SERVER, options(signal))],
  ['snapshot', (ipvs, signal) => ipvs.snapshot(options(signal))],
  ['syncDaemons', (ipvs, signal) => ipvs.syncDaemons(options(signal))],
  [
    'startSyncDaemon',
    (ipvs, signal) => ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'lo' }, options(signal)),
  ],
  ['stopSyncDaemon', (ipvs, signal) => ipvs.stopSyncDaemon('master', options(signal))],
]

const reason = new Error('changed my mind')

describe('an aborted signal', () => {
  test.each(CALLS)('%s: before the call, nothing is sent', async (_, call) => {
    const { ipvs, transport } = await open()
    await expect(call(ipvs, AbortSignal.abort(reason))).rejects.toBe(reason)
    expect(transport.log).toEqual([])
  })

  test.each(CALLS)('%s: while it is queued, it is dropped and its neighbours are not', async (_, call) => {
    const { ipvs, transport } = await open()
    transport.hold()
    const controller = new AbortController()
    const first = ipvs.flush()
    await transport.crossed(1)
    const before = ipvs.zero()
    const dropped = call(ipvs, controller.signal)
    const after = ipvs.zero()
    controller.abort(reason)
    // It does not wait for the call in flight.
    await expect(dropped).rejects.toBe(reason)
    transport.release()
    await Promise.all([first, before, after])
    expect(transport.log.join(' ').replaceAll('batch ', '')).toBe('17 16 16')
  })

  test.each(CALLS)('%s: after it was sent, its outcome is waited for', async (_, call) => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage()))
    transport.always(COMMANDS.getDest, messages(destMessage()))
    transport.always(COMMANDS.getInfo, messages(serviceMessage()))
    transport.always(COMMANDS.getConfig, messages(serviceMessage()))
    transport.hold()
    const controller = new AbortController()
    const sent = call(ipvs, controller.signal)
    await transport.crossed(1)
    controller.abort(reason)
    let settled = false
    void sent.then(() => (settled = true))
    await new Promise((resolve) => setImmediate(resolve))
    expect(settled).toBe(false)
    transport.release()
    await sent
  })

  test('in the same tick as the call, nothing is sent', async () => {
    const { ipvs, transport } = await open()
    const controller = new AbortController()
    const dropped = ipvs.flush({ signal: controller.signal })
    controller.abort(reason)
    await expect(dropped).rejects.toBe(reason)
    expect(transport.log).toEqual([])
    await ipvs.zero()
    expect(transport.log).toEqual(['batch 16'])
  })

  test('shared by many calls drops them all, and only them', async () => {
    const { ipvs, transport } = await open()
    const controller = new AbortController()
    const { signal } = controller
    const mine = Array.from({ length: 50 }, () => ipvs.flush({ signal }))
    const others = [ipvs.zero(), ipvs.zero()]
    controller.abort(reason)
    for (const one of await Promise.allSettled(mine)) expect(one).toEqual({ status: 'rejected', reason })
    await Promise.all(others)
    expect(transport.log).toEqual(['batch 16 16'])
  })

  test('with its default reason is an AbortError', async () => {
    const { ipvs } = await open()
    await expect(ipvs.flush({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' })
  })

  test('is let go of when the call is sent, or dropped', async () => {
    const { ipvs } = await open()
    const controller = new AbortController()
    let listeners = 0
    let most = 0
    const { signal } = controller
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...values: Parameters<typeof add>) => {
      listeners += 1
      most = Math.max(most, listeners)
      add(...values)
    }
    signal.removeEventListener = (...values: Parameters<typeof remove>) => {
      listeners -= 1
      remove(...values)
    }
    await Promise.all(Array.from({ length: 100 }, () => ipvs.flush({ signal })))
    await ipvs.services({ signal })
    expect(listeners).toBe(0)
    const dropped = Promise.allSettled(Array.from({ length: 100 }, () => ipvs.flush({ signal })))
    controller.abort(reason)
    expect(await dropped).toEqual(Array(100).fill({ status: 'rejected', reason }))
    expect(listeners).toBe(0)
    // Node warns of a leak from eleven on.
    expect(most).toBe(1)
  })

  test('drops what is still queued of it, and not what was sent', async () => {
    const { ipvs, transport } = await open()
    transport.hold()
    const controller = new AbortController()
    const { signal } = controller
    const sent = [ipvs.flush({ signal }), ipvs.zero(undefined, { signal })]
    await transport.crossed(1)
    const queued = Promise.allSettled([ipvs.flush({ signal }), ipvs.services({ signal })])
    controller.abort(reason)
    expect(await queued).toEqual(Array(2).fill({ status: 'rejected', reason }))
    transport.release()
    await Promise.all(sent)
    expect(transport.log).toEqual(['batch 17 16'])
  })
})

describe('close', () => {
  test('waits for all that was asked for, then closes the transport once', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.deleteService, ESRCH)
    transport.hold()
    const sent = ipvs.flush()
    await transport.crossed(1)
    const queued = Promise.allSettled([ipvs.zero(), ipvs.deleteService(WEB), ipvs.services()])
    let closed = false
    const closing = ipvs.close().then(() => (closed = true))
    await new Promise((resolve) => setImmediate(resolve))
    expect(closed).toBe(false)
    transport.release()
    await closing
    await sent
    expect((await queued).map((one) => one.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(transport.log.indexOf('close')).toBe(transport.log.length - 1)
  })

  test('may be called again, and at any time', async () => {
    const { ipvs, transport } = await open()
    await Promise.all([ipvs.close(), ipvs.close()])
    await ipvs.close()
    await ipvs[Symbol.asyncDispose]()
    expect(transport.log).toEqual(['close'])
  })

  test.each(CALLS)('%s: afterwards rejects with EBADF, and names what to do', async (name, call) => {
    const { ipvs, transport } = await open()
    const closing = ipvs.close()
    const error: unknown = await call(ipvs).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ name: 'IpvsError', code: 'EBADF', errno: -9, command: name })
    expect(String(error)).toContain('Ipvs.open()')
    await closing
    await expect(call(ipvs)).rejects.toMatchObject({ code: 'EBADF' })
    expect(transport.log).toEqual(['close'])
  })

  test('leaves what was read readable, and its verbs rejecting', async () => {
    const { ipvs } = await open()
    const web = await ipvs.addService(WEB)
    const server = await web.addRealServer(SERVER)
    await ipvs.close()
    expect(web.scheduler).toBe('wlc')
    for (const call of [
      web.realServers(),
      web.edit({}),
      web.delete(),
      web.zero(),
      web.refresh(),
      server.edit({}),
      server.delete(),
      server.refresh(),
      server.drain(),
    ]) {
      await expect(call).rejects.toMatchObject({ code: 'EBADF' })
    }
  })

  test('await using closes at the end of the block, whatever happens in it', async () => {
    const transport = new ScriptedTransport()
    const work = async (): Promise<void> => {
      await using ipvs = await Ipvs.open({ transport })
      await ipvs.flush()
      throw reason
    }
    await expect(work()).rejects.toBe(reason)
    expect(transport.log.indexOf('close')).toBe(transport.log.length - 1)
  })

  test('rejects as the transport does', async () => {
    const { ipvs, transport } = await open()
    transport.close = () => Promise.reject(reason)
    await expect(ipvs.close()).rejects.toBe(reason)
    await expect(ipvs.close()).rejects.toBe(reason)
  })

  test('a call that was aborted does not keep it waiting', async () => {
    const { ipvs, transport } = await open()
    const controller = new AbortController()
    const dropped = ipvs.flush({ signal: controller.signal })
    controller.abort(reason)
    await expect(dropped).rejects.toBe(reason)
    await ipvs.close()
    expect(transport.log).toEqual(['close'])
  })
})
