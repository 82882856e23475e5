import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../helpers/commands.ts'
import {
  destMessage,
  EEXIST,
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
} from './replies.ts'

forbidUnhandledRejections()

/** The codes that calls ended with. */
async function outcomes(calls: readonly Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(calls)
  return settled.map((one) => (one.status === 'fulfilled' ? 'done' : (one.reason as { code: string }).code))
}

const port = (request: { attributes: Uint8Array }): number => member(members(request, 1), 4, 'big')

describe('calls of one tick', () => {
  test('travel as one batch, in order, each with its own outcome', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.deleteService, {}, ESRCH, {}, failure(1))
    const ports = [80, 81, 82, 83]
    expect(await outcomes(ports.map((number) => ipvs.deleteService({ ...WEB, port: number })))).toEqual([
      'done',
      'ESRCH',
      'done',
      'EPERM',
    ])
    expect(transport.log).toEqual(['batch 3 3 3 3'])
    expect(transport.sent.map(port)).toEqual(ports)
  })

  test('of different commands travel together too', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.newService, EEXIST)
    transport.answer(COMMANDS.getService, messages(serviceMessage({ scheduler: 'rr' })))
    const [added, server, read] = await Promise.allSettled([
      ipvs.addService(WEB),
      ipvs.addRealServer(WEB, SERVER),
      ipvs.service(WEB),
      ipvs.zero(),
      ipvs.flush(),
    ])
    expect(transport.log).toEqual(['batch 1 5 4 16 17'])
    expect(added).toMatchObject({ status: 'rejected', reason: { code: 'EEXIST', command: 'addService' } })
    expect(server).toMatchObject({ status: 'fulfilled', value: SERVER })
    expect(read).toMatchObject({ status: 'fulfilled', value: { scheduler: 'rr' } })
  })

  test('a call alone waits for nothing', async () => {
    const { ipvs, transport } = await open()
    const call = ipvs.flush()
    await Promise.resolve()
    await Promise.resolve()
    expect(transport.log).toEqual(['batch 17'])
    await call
  })

  test('keep their order around a dump', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage()))
    await Promise.all([
      ipvs.flush(),
      ipvs.addService(WEB),
      ipvs.services(),
      ipvs.zero(),
      ipvs.deleteService(WEB),
    ])
    expect(transport.log).toEqual(['batch 17 1', 'dump 4', 'batch 16 3'])
  })

  test('keep their order around edits, which travel together', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage()))
    await Promise.all([
      ipvs.flush(),
      ipvs.editService(WEB, { scheduler: 'rr' }),
      ipvs.editService({ ...WEB, port: 81 }, { scheduler: 'rr' }),
      ipvs.zero(),
    ])
    expect(transport.log).toEqual(['batch 17', 'batch 4 4', 'batch 2 2', 'batch 16'])
  })

  test('split where there are more than 4096', async () => {
    const { ipvs, transport } = await open()
    const calls = Array.from({ length: 10_000 }, (_, index) => ipvs.deleteService({ ...WEB, port: index }))
    transport.answer(
      COMMANDS.deleteService,
      ...Array.from({ length: 10_000 }, (_, index) => (index % 3 === 0 ? ESRCH : {})),
    )
    const codes = await outcomes(calls)
    expect(transport.log.map((entry) => entry.split(' ').length - 1)).toEqual([4096, 4096, 1808])
    expect(transport.sent.map(port)).toEqual(Array.from({ length: 10_000 }, (_, index) => index))
    expect(codes).toEqual(Array.from({ length: 10_000 }, (_, index) => (index % 3 === 0 ? 'ESRCH' : 'done')))
  })
})

describe('one call of the transport', () => {
  test('reads each list, empty or not', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, messages(serviceMessage(), serviceMessage({ port: 81 })))
    transport.answer(COMMANDS.getDest, messages(destMessage(), destMessage({ host: 2 })))
    await ipvs.services()
    await ipvs.services()
    await ipvs.realServers(WEB)
    await ipvs.syncDaemons()
    expect(transport.log).toEqual(['dump 4', 'dump 4', 'dump 8', 'dump 11'])
  })

  test('reads a whole table', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getService,
      messages(serviceMessage(), destMessage(), serviceMessage({ port: 81 }), destMessage()),
    )
    await ipvs.snapshot()
    expect(transport.log).toEqual(['dumpOfDumps 4 8 1'])
  })

  test('more asks whether services without servers are there, all of them together', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getService,
      messages(serviceMessage(), destMessage(), ...[2, 3, 4].map((port) => serviceMessage({ port }))),
    )
    transport.always(COMMANDS.getService, messages(serviceMessage()))
    await ipvs.snapshot()
    expect(transport.log).toEqual(['dumpOfDumps 4 8 1', 'batch 4 4 4'])
    transport.calls.length = 0
    await ipvs.realServers(WEB)
    expect(transport.log).toEqual(['dump 8', 'batch 4'])
  })

  test('reads version, timeouts and a service', async () => {
    const { ipvs, transport } = await open()
    const answers = await Promise.allSettled([ipvs.info(), ipvs.timeouts(), ipvs.service(WEB)])
    expect(answers).toHaveLength(3)
    expect(transport.log).toEqual(['batch 15 13 4'])
  })
})

describe('calls while another is in flight', () => {
  test('wait, and travel together next', async () => {
    const { ipvs, transport } = await open()
    transport.hold()
    const first = ipvs.flush()
    await transport.crossed(1)
    const later = [ipvs.addService(WEB)]
    await Promise.resolve()
    later.push(ipvs.addService({ ...WEB, port: 81 }))
    await new Promise((resolve) => setImmediate(resolve))
    later.push(ipvs.addService({ ...WEB, port: 82 }))
    expect(transport.log).toEqual(['batch 17'])
    transport.release()
    await Promise.all([first, ...later])
    expect(transport.log).toEqual(['batch 17', 'batch 1 1 1'])
  })

  test('are made by whoever got an answer', async () => {
    const { ipvs, transport } = await open()
    await ipvs.addService(WEB).then((web) => Promise.all([web.zero(), web.addRealServer(SERVER)]))
    expect(transport.log).toEqual(['batch 1', 'batch 16 5'])
  })

  test('of a task with several steps never come between them', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, messages(serviceMessage()))
    transport.hold()
    const edit = ipvs.editService(WEB, { scheduler: 'rr' })
    await transport.crossed(1)
    const other = ipvs.flush()
    transport.release()
    await Promise.all([edit, other])
    expect(transport.log).toEqual(['batch 4', 'batch 2', 'batch 17'])
  })
})

describe('a transport that breaks its word', () => {
  test('and throws rejects every call of that batch, and the queue goes on', async () => {
    const { ipvs, transport } = await open()
    const broken = new Error('broken')
    transport.answer(COMMANDS.deleteService, broken)
    const calls = [ipvs.flush(), ipvs.deleteService(WEB), ipvs.zero()]
    const settled = await Promise.allSettled(calls)
    expect(settled).toEqual(Array(3).fill({ status: 'rejected', reason: broken }))
    await ipvs.flush()
    expect(transport.log).toEqual(['batch 17 3 16', 'batch 17'])
  })

  test('and throws at once, not by a promise, is no worse', async () => {
    const { ipvs, transport } = await open()
    const broken = new Error('broken')
    transport.batch = () => {
      throw broken
    }
    await expect(Promise.all([ipvs.flush(), ipvs.zero()])).rejects.toBe(broken)
    transport.dump = () => {
      throw broken
    }
    await expect(ipvs.services()).rejects.toBe(broken)
    expect(await ipvs.snapshot()).toEqual([])
  })

  test.each<[string, (ipvs: Awaited<ReturnType<typeof open>>['ipvs']) => Promise<unknown>]>([
    ['services', (ipvs) => ipvs.services()],
    ['realServers', (ipvs) => ipvs.realServers(WEB)],
    ['syncDaemons', (ipvs) => ipvs.syncDaemons()],
    ['snapshot', (ipvs) => ipvs.snapshot()],
    ['editService', (ipvs) => ipvs.editService(WEB, {})],
    ['editRealServer', (ipvs) => ipvs.editRealServer(WEB, SERVER, {})],
  ])('and throws during %s reaches that caller, and the queue goes on', async (_, call) => {
    const { ipvs, transport } = await open()
    const broken = new Error('broken')
    for (const command of [COMMANDS.getService, COMMANDS.getDest, COMMANDS.getDaemon])
      transport.answer(command, broken)
    const calls = await Promise.allSettled([ipvs.flush(), call(ipvs), ipvs.zero()])
    expect(calls).toEqual([
      { status: 'fulfilled', value: undefined },
      { status: 'rejected', reason: broken },
      { status: 'fulfilled', value: undefined },
    ])
  })

  test('and answers what cannot be read rejects with EBADMSG', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getInfo, {}, messages(serviceMessage().subarray(0, 30)))
    await expect(ipvs.info()).rejects.toMatchObject({ code: 'EBADMSG', errno: -74, command: 'info' })
    await expect(ipvs.info()).rejects.toMatchObject({ code: 'EBADMSG' })
    transport.answer(COMMANDS.getService, messages(serviceMessage().subarray(0, 40)))
    await expect(ipvs.services()).rejects.toMatchObject({ code: 'EBADMSG', command: 'services' })
    transport.answer(COMMANDS.getDest, messages(serviceMessage().subarray(0, 40)))
    await expect(ipvs.realServers(WEB)).rejects.toMatchObject({
      code: 'EBADMSG',
      command: 'realServers',
      service: { address: WEB.address, port: WEB.port },
    })
    transport.answer(COMMANDS.getService, messages(serviceMessage().subarray(0, 40)))
    await expect(ipvs.editService(WEB, { scheduler: 'rr' })).rejects.toMatchObject({
      code: 'EBADMSG',
      command: 'editService',
      service: { address: WEB.address, port: WEB.port },
    })
    transport.answer(COMMANDS.getDest, messages(serviceMessage().subarray(0, 40)))
    await expect(ipvs.editRealServer(WEB, SERVER, { weight: 1 })).rejects.toMatchObject({
      code: 'EBADMSG',
      command: 'editRealServer',
      service: { address: WEB.address, port: WEB.port },
      realServer: SERVER,
    })
  })
})
