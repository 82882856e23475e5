import { describe, expect, test } from 'vitest'
import { payload } from '../helpers/bytes.ts'
import { COMMANDS } from '../helpers/commands.ts'
import {
  destMessage,
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
} from './replies.ts'

forbidUnhandledRejections()

const SERVICE = 1
const DEST = 2
const FLAGS = 7
const PE_NAME = 11

/** flags and mask of a request, in hexadecimal. */
function flags(request: { readonly attributes: Uint8Array }): [number, number] {
  const bytes = payload(members(request, SERVICE), FLAGS)!
  const view = new Uint32Array(Uint8Array.from(bytes).buffer)
  return [view[0]!, view[1]!]
}

const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes.subarray(0, -1)).toString()

describe('edit of a service', () => {
  test('reads once, merges, and writes every field', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getService,
      messages(
        serviceMessage({
          scheduler: 'sh',
          flags: 0x01 | 0x10 | 0x40,
          timeoutSeconds: 77,
          engine: 'sip',
          connections: 9,
        }),
      ),
    )
    const web = await ipvs.editService(WEB, { onePacket: true })
    expect(transport.log).toEqual(['batch 4', 'batch 2'])
    const request = transport.sent[1]!
    const list = members(request, SERVICE)
    expect(text(payload(list, 6))).toBe('sh')
    expect(text(payload(list, PE_NAME))).toBe('sip')
    expect(member(list, 8)).toBe(77)
    // Only the bit that was named counts, so a foreign writer's other flags stay.
    expect(flags(request)).toEqual([0x04, 0x04])
    expect(web).toMatchObject({
      scheduler: 'sh',
      schedulerFlags: ['sh-port', 0x40],
      onePacket: true,
      persistence: { timeoutSeconds: 77 },
      persistenceEngine: 'sip',
      stats: { connections: 9 },
    })
  })

  test.each([
    [{ scheduler: 'rr' }, [0, 0]],
    [{ persistence: {} }, [0x01, 0x01]],
    [{ persistence: null }, [0, 0x01]],
    [{ onePacket: false }, [0, 0x04]],
    [{ schedulerFlags: [] }, [0, 0x38]],
    [{ schedulerFlags: ['flag-3'] }, [0x20, 0x38]],
    [{ onePacket: true, persistence: null }, [0x04, 0x05]],
    [{}, [0, 0]],
  ] as const)('%o lets the flags %o count', async (changes, expected) => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, messages(serviceMessage({ flags: 0x3d })))
    await ipvs.editService(WEB, changes)
    expect(flags(transport.sent[1]!)).toEqual(expected)
  })

  test('takes the engine away only when told', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage({ engine: 'sip' })))
    expect(await ipvs.editService(WEB, { persistenceEngine: null })).not.toHaveProperty('persistenceEngine')
    expect(payload(members(transport.sent[1]!, SERVICE), PE_NAME)).toBeUndefined()
    await ipvs.editService(WEB, { persistence: null })
    expect(text(payload(members(transport.sent[3]!, SERVICE), PE_NAME))).toBe('sip')
  })

  test('of one service twice in a tick: read once, and neither undoes the other', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, messages(serviceMessage({ scheduler: 'wlc' })))
    const [first, second] = await Promise.all([
      ipvs.editService(WEB, { scheduler: 'rr' }),
      ipvs.editService({ ...WEB }, { persistence: { timeoutSeconds: 5 } }),
    ])
    expect(transport.log).toEqual(['batch 4', 'batch 2 2'])
    expect(first).toMatchObject({ scheduler: 'rr' })
    expect(first).not.toHaveProperty('persistence')
    expect(second).toMatchObject({ scheduler: 'rr', persistence: { timeoutSeconds: 5 } })
    expect(text(payload(members(transport.sent[2]!, SERVICE), 6))).toBe('rr')
  })

  test('of many services in a tick is two batches, with an outcome each', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getService,
      messages(serviceMessage({ port: 1 })),
      ESRCH,
      messages(serviceMessage({ port: 3 })),
      messages(serviceMessage({ port: 4 })),
    )
    transport.answer(COMMANDS.setService, {}, ENOENT, {})
    const settled = await Promise.allSettled(
      [1, 2, 3, 4].map((port) => ipvs.editService({ ...WEB, port }, { scheduler: 'lc' })),
    )
    expect(transport.log).toEqual(['batch 4 4 4 4', 'batch 2 2 2'])
    expect(settled).toMatchObject([
      { value: { key: { port: 1 } } },
      { reason: { code: 'ESRCH', command: 'editService', service: { port: 2 } } },
      { reason: { code: 'ENOENT', command: 'editService', service: { port: 3 } } },
      { value: { key: { port: 4 } } },
    ])
  })

  test('with flags of another scheduler fails alone, in the stack of its caller', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage({ scheduler: 'rr' })))
    const theCallerOfThis = async (): Promise<unknown> =>
      await ipvs.editService(WEB, { schedulerFlags: ['sh-port'] })
    const [refused, done] = await Promise.allSettled([
      theCallerOfThis(),
      ipvs.editService({ ...WEB, port: 81 }, {}),
    ])
    expect(done.status).toBe('fulfilled')
    expect(refused).toMatchObject({ status: 'rejected', reason: expect.any(TypeError) })
    expect(((refused as PromiseRejectedResult).reason as Error).stack).toContain('theCallerOfThis')
    expect(transport.log).toEqual(['batch 4 4', 'batch 2'])
  })

  test('where the reading fails, nothing is written', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, failure(1))
    await expect(ipvs.editService(WEB, {})).rejects.toMatchObject({ code: 'EPERM', command: 'editService' })
    expect(transport.log).toEqual(['batch 4'])
  })
})

describe('edit of a real server', () => {
  test('reads once, merges, and writes every field', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getDest,
      messages(
        destMessage({ host: 2 }),
        destMessage({ weight: 5, upper: 9, lower: 3, method: 2, active: 4, connections: 8 }),
      ),
    )
    const server = await ipvs.editRealServer(WEB, SERVER, { weight: 0 })
    expect(transport.log).toEqual(['dump 8', 'batch 6'])
    const list = members(transport.sent[0]!, DEST)
    expect([3, 4, 5, 6].map((type) => member(list, type))).toEqual([2, 0, 9, 3])
    expect(server).toMatchObject({
      ...SERVER,
      weight: 0,
      method: 'tunnel',
      upperThreshold: 9,
      lowerThreshold: 3,
      activeConnections: 4,
      stats: { connections: 8 },
    })
  })

  test('of many servers reads each service once, and writes one batch', async () => {
    const { ipvs, transport } = await open()
    transport.always(
      COMMANDS.getDest,
      messages(destMessage({ host: 1 }), destMessage({ host: 2 }), destMessage({ host: 3 })),
    )
    const other = { ...WEB, port: 81 }
    await Promise.all([
      ...[1, 2, 3].map((host) =>
        ipvs.editRealServer(WEB, { address: `10.0.0.${host}`, port: 80 }, { weight: host }),
      ),
      ...[1, 2].map((host) =>
        ipvs.editRealServer(other, { address: `10.0.0.${host}`, port: 80 }, { weight: host }),
      ),
    ])
    expect(transport.log).toEqual(['dump 8', 'dump 8', 'batch 6 6 6 6 6'])
    expect(transport.sent.map((request) => member(members(request, DEST), 4))).toEqual([1, 2, 3, 1, 2])
  })

  test('twice in a tick: neither undoes the other', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ weight: 1 })))
    const [, second] = await Promise.all([
      ipvs.editRealServer(WEB, SERVER, { weight: 7 }),
      ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }),
    ])
    expect(second).toMatchObject({ weight: 7, upperThreshold: 5 })
    expect(transport.log).toEqual(['dump 8', 'batch 6 6'])
    expect(member(members(transport.sent[1]!, DEST), 4)).toBe(7)
  })

  test('that is refused takes nothing of the next along', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ weight: 1 })))
    // The first and the third: the second is written again without the first, the fourth without both.
    transport.answer(COMMANDS.setDest, failure(12), {}, {}, {}, {}, failure(12), {})
    const [first, second, third, fourth] = await Promise.allSettled([
      ipvs.editRealServer(WEB, SERVER, { weight: 7 }),
      ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }),
      ipvs.editRealServer(WEB, SERVER, { weight: 9 }),
      ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 2 }),
    ])
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'ENOMEM' } })
    expect(second).toMatchObject({ value: { weight: 1, upperThreshold: 5, lowerThreshold: 0 } })
    expect(third).toMatchObject({ status: 'rejected', reason: { code: 'ENOMEM' } })
    expect(fourth).toMatchObject({ value: { weight: 1, upperThreshold: 5, lowerThreshold: 2 } })
    expect(transport.log).toEqual(['dump 8', 'batch 6 6 6 6', 'batch 6', 'batch 6', 'batch 6'])
    expect(member(members(transport.sent.at(-1)!, DEST), 4)).toBe(1)
  })

  test('that only a refused one made impossible is tried again', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ upper: 100 })))
    transport.answer(COMMANDS.setDest, failure(12), {})
    const [first, second] = await Promise.allSettled([
      ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }),
      ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 50 }),
    ])
    expect(first).toMatchObject({ reason: { code: 'ENOMEM' } })
    expect(second).toMatchObject({ value: { upperThreshold: 100, lowerThreshold: 50 } })
    expect(transport.log).toEqual(['dump 8', 'batch 6', 'batch 6'])
  })

  test('behind one at which the socket failed is not sent, tried again or not', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ weight: 1 })))
    transport.answer(COMMANDS.setDest, failure(12), {}, {}, failure(105, { syscall: 'sendmsg' }))
    const outcomes = await Promise.allSettled([
      ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }),
      ipvs.editRealServer(WEB, SERVER, { weight: 9 }),
      ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 0 }),
    ])
    expect(outcomes).toMatchObject([
      { reason: { code: 'ENOMEM' } },
      { reason: { code: 'ENOBUFS', syscall: 'sendmsg' } },
      { reason: { code: 'ECANCELED', syscall: 'sendmsg' } },
    ])
    expect(transport.log).toEqual(['dump 8', 'batch 6 6 6', 'batch 6'])
  })

  test('that fits only one of which nobody knows whether it was done is not sent', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ upper: 100 })))
    transport.answer(COMMANDS.setDest, failure(110, { syscall: 'recvmsg' }))
    const [first, second] = await Promise.allSettled([
      ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }),
      ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 50 }),
    ])
    expect(first).toMatchObject({ reason: { code: 'ETIMEDOUT' } })
    expect(second).toMatchObject({ reason: { code: 'ECANCELED' } })
    expect(transport.log).toEqual(['dump 8', 'batch 6'])
  })

  test('many of one server, all of them refused, are each sent twice at most', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getDest, messages(destMessage(), destMessage({ host: 2 })))
    transport.always(COMMANDS.setDest, failure(12))
    const outcomes = await Promise.allSettled(
      Array.from({ length: 300 }, (_, weight) =>
        ipvs.editRealServer(WEB, { address: `10.0.0.${String(1 + (weight % 2))}` }, { weight }),
      ),
    )
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOMEM' } })
    }
    const writes = transport.sent.filter(({ command }) => command === COMMANDS.setDest)
    expect(writes).toHaveLength(300 + 298)
    expect(transport.log).toHaveLength(1 + 1 + 149)
  })

  test('whose answer was lost is not written again by the next', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ weight: 1 })))
    transport.answer(COMMANDS.setDest, failure(110, { syscall: 'recvmsg' }), {})
    const [, second] = await Promise.allSettled([
      ipvs.editRealServer(WEB, SERVER, { weight: 7 }),
      ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }),
    ])
    expect(second).toMatchObject({ value: { weight: 7, upperThreshold: 5 } })
    expect(transport.log).toEqual(['dump 8', 'batch 6 6'])
  })

  test('that is not there is ENOENT, of a service that is not there ESRCH, and nothing is written', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage({ host: 9 })))
    await expect(ipvs.editRealServer(WEB, SERVER, {})).rejects.toMatchObject({
      code: 'ENOENT',
      errno: -2,
      command: 'editRealServer',
      service: WEB,
      realServer: SERVER,
    })
    transport.answer(COMMANDS.getService, ESRCH)
    await expect(ipvs.editRealServer(WEB, SERVER, {})).rejects.toMatchObject({ code: 'ESRCH', service: WEB })
    transport.answer(COMMANDS.getService, messages(serviceMessage()))
    await expect(ipvs.editRealServer(WEB, SERVER, {})).rejects.toMatchObject({ code: 'ENOENT' })
    expect(transport.log).toEqual(['dump 8', 'dump 8', 'batch 4', 'dump 8', 'batch 4'])
  })

  test('that vanishes between the read and the write is what the kernel says', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getDest, messages(destMessage()))
    transport.answer(COMMANDS.setDest, ENOENT)
    await expect(ipvs.editRealServer(WEB, SERVER, { weight: 1 })).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('of a service with a longer name for the same start is not mistaken', async () => {
    const { ipvs, transport } = await open()
    // tcp/192.0.2.1:8 and tcp/192.0.2.1:80
    transport.answer(COMMANDS.getService, ESRCH)
    transport.answer(COMMANDS.getDest, {}, messages(destMessage()))
    const settled = await Promise.allSettled([
      ipvs.editRealServer({ ...WEB, port: 8 }, SERVER, { weight: 1 }),
      ipvs.editRealServer(WEB, SERVER, { weight: 2 }),
    ])
    expect(settled).toMatchObject([{ reason: { code: 'ESRCH' } }, { value: { weight: 2 } }])
  })

  test.each([
    ['thresholds', { upperThreshold: 2 }, RangeError],
    ['another method for another family', { method: 'direct' }, undefined],
  ] as const)('refuses %s only once the server is known', async (_, changes, kind) => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getDest, messages(destMessage({ upper: 9, lower: 3, method: 2 })))
    const call = ipvs.editRealServer(WEB, SERVER, changes)
    if (kind === undefined) await call
    else {
      await expect(call).rejects.toBeInstanceOf(kind)
      expect(transport.log).toEqual(['dump 8'])
    }
  })

  test('an address may be spelt in any way', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage()))
    await Promise.all([
      ipvs.editService({ protocol: 'tcp', address: '2001:DB8:0::1', port: 1 }, {}),
      ipvs.editService({ protocol: 6, address: '2001:db8::1', port: 1 }, {}),
    ])
    expect(transport.log).toEqual(['batch 4', 'batch 2 2'])
  })
})

describe('changes that the caller goes on with', () => {
  test('do not reach the edit: one object may serve a loop', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getDest, messages(...[1, 2, 3].map((host) => destMessage({ host }))))
    const changes = { weight: 0, tunnel: { type: 'gue' as const, port: 0 } }
    const edits = [1, 2, 3].map((host) => {
      changes.weight = host * 10
      changes.tunnel.port = host
      return ipvs.editRealServer(WEB, { address: `10.0.0.${host}`, port: 80 }, changes)
    })
    changes.weight = -1
    await Promise.all(edits)
    expect(transport.sent.map((request) => member(members(request, DEST), 4))).toEqual([10, 20, 30])
    expect(transport.sent.map((request) => member(members(request, DEST), 14, 'big'))).toEqual([1, 2, 3])
  })

  test('do not reach the edit of a service', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage()))
    const schedulerFlags: ('flag-1' | 'flag-3')[] = ['flag-1']
    const persistence = { timeoutSeconds: 5 }
    const edit = ipvs.editService(WEB, { schedulerFlags, persistence })
    schedulerFlags[0] = 'flag-3'
    persistence.timeoutSeconds = 6
    await edit
    expect(flags(transport.sent[1]!)).toEqual([0x09, 0x39])
    expect(member(members(transport.sent[1]!, SERVICE), 8)).toBe(5)
  })
})
