import { afterEach, describe, expect, test, vi } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { RealServer, Service } from '../../lib/service.ts'
import { createMemoryKernel, type KernelCommand } from '../../lib/testing.ts'
import type { Dump } from '../../lib/transport/transport.ts'
import { attributes, concat, hex, MACHINE } from '../helpers/bytes.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { hurry } from '../helpers/hurry.ts'
import { reply, ScriptedTransport } from '../helpers/scripted-transport.ts'
import {
  destMessage,
  ENOENT,
  ESRCH,
  failure,
  forbidUnhandledRejections,
  messages,
  open,
  SERVER,
  serviceMessage,
  WEB,
} from './replies.ts'

forbidUnhandledRejections()
afterEach(() => {
  vi.restoreAllMocks()
})

const ports = (list: readonly { readonly port?: number | undefined }[]) => list.map(({ port }) => port)

describe('services', () => {
  test('come in the order of the kernel, over several pieces', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, {
      messages: [
        concat(serviceMessage({ port: 3 }), serviceMessage({ port: 1 })),
        new Uint8Array(),
        serviceMessage({ port: 2 }),
      ],
      interrupted: false,
    })
    const list = await ipvs.services()
    expect(ports(list)).toEqual([3, 1, 2])
    expect(list[0]).toBeInstanceOf(Service)
  })

  test('are none where there are none', async () => {
    const { ipvs } = await open()
    expect(await ipvs.services()).toEqual([])
  })

  test('that a moving table listed twice come once', async () => {
    const { ipvs, transport } = await open()
    const list = Array.from({ length: 40 }, (_, port) => serviceMessage({ port }))
    transport.answer(COMMANDS.getService, messages(...list, ...list.slice(20, 30)))
    expect(ports(await ipvs.services())).toEqual(Array.from({ length: 40 }, (_, port) => port))
  })

  test('have counters as numbers, or as bigint', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, messages(serviceMessage({ connections: 2n ** 60n + 1n })))
    expect((await ipvs.services())[0]?.stats.connections).toBe(2 ** 60)
    expect((await ipvs.services({ bigint: true }))[0]?.stats.connections).toBe(2n ** 60n + 1n)
    expect((await ipvs.service(WEB, { bigint: true })).stats.connections).toBe(2n ** 60n + 1n)
    expect((await ipvs.snapshot({ bigint: true }))[0]?.service.stats.connections).toBe(2n ** 60n + 1n)
  })

  test('have nothing to say of bigint where there are no counters', async () => {
    const { ipvs } = await open()
    const options = { bigint: true } as object
    await expect(ipvs.info(options)).rejects.toThrow(TypeError)
    await expect(ipvs.timeouts(options)).rejects.toThrow(TypeError)
  })

  test('a failed dump rejects', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, failure(1))
    await expect(ipvs.services()).rejects.toMatchObject({ code: 'EPERM', command: 'services' })
    await expect(ipvs.snapshot()).rejects.toMatchObject({ code: 'EPERM', command: 'snapshot' })
  })

  test('one that is not there is ESRCH', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, ESRCH)
    await expect(ipvs.service(WEB)).rejects.toMatchObject({ code: 'ESRCH', command: 'service', service: WEB })
  })

  test('that are many do not keep the JS thread all the time', async () => {
    const { ipvs, transport } = await open()
    const block = concat(...Array.from({ length: 1000 }, (_, port) => serviceMessage({ port })))
    transport.answer(COMMANDS.getService, { messages: [block, block], interrupted: false })
    hurry()
    let turns = 0
    const turn = (): void => {
      turns += 1
      next = setImmediate(turn)
    }
    let next = setImmediate(turn)
    expect(await ipvs.services()).toHaveLength(1000)
    clearImmediate(next)
    // While they are read, and while those that come twice are left out: each alone is 2000 steps.
    expect(turns).toBeGreaterThan(3000)
  })
})

describe('real servers', () => {
  test('come in the order of the kernel, and once each', async () => {
    const { ipvs, transport } = await open()
    const list = Array.from({ length: 20 }, (_, host) => destMessage({ host }))
    transport.answer(COMMANDS.getDest, messages(...list, ...list.slice(3, 6)))
    const servers = await ipvs.realServers(WEB)
    expect(servers.map(({ address }) => address)).toEqual(
      Array.from({ length: 20 }, (_, host) => `10.0.0.${host}`),
    )
    expect(servers[0]).toBeInstanceOf(RealServer)
    expect(servers[0]?.service).toEqual(WEB)
  })

  test('are none of an empty service, which is not a missing one', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    const web = await ipvs.addService(WEB)
    expect(await ipvs.realServers(WEB)).toEqual([])
    kernel.failNext({ command: 'getService', errno: 'EPERM' })
    await expect(ipvs.realServers(WEB)).rejects.toMatchObject({ code: 'EPERM' })
    await web.delete()
    await expect(ipvs.realServers(WEB)).rejects.toMatchObject({
      code: 'ESRCH',
      command: 'realServers',
      service: WEB,
    })
  })

  test('one is found by address and port, however that is spelt', async () => {
    const { ipvs, transport } = await open()
    transport.always(
      COMMANDS.getDest,
      messages(destMessage({ port: 0 }), destMessage({ port: 80, weight: 7 })),
    )
    expect(await ipvs.realServer(WEB, SERVER)).toMatchObject({ port: 80, weight: 7 })
    expect(await ipvs.realServer(WEB, { address: '10.0.0.1' })).toMatchObject({ port: 80 })
    expect(await ipvs.realServer(WEB, { address: '10.0.0.1', port: 0 })).toMatchObject({ port: 0, weight: 1 })
    await expect(ipvs.realServer(WEB, { address: '10.0.0.1', port: 81 })).rejects.toMatchObject({
      code: 'ENOENT',
      command: 'realServer',
      service: WEB,
      realServer: { address: '10.0.0.1', port: 81 },
    })
  })
})

describe('snapshot', () => {
  test('has every service with its servers', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getService,
      messages(
        serviceMessage({ port: 1 }),
        destMessage({ host: 2 }),
        destMessage({ host: 1 }),
        serviceMessage({ port: 2 }),
        destMessage({ host: 3 }),
      ),
    )
    const table = await ipvs.snapshot()
    expect(JSON.parse(JSON.stringify(table))).toEqual([
      {
        service: { ...WEB, port: 1, scheduler: 'wlc' },
        realServers: [
          { address: '10.0.0.2', port: 80, method: 'direct', weight: 1 },
          { address: '10.0.0.1', port: 80, method: 'direct', weight: 1 },
        ],
      },
      {
        service: { ...WEB, port: 2, scheduler: 'wlc' },
        realServers: [{ address: '10.0.0.3', port: 80, method: 'direct', weight: 1 }],
      },
    ])
    expect(table[1]?.realServers[0]?.service).toEqual({ ...WEB, port: 2 })
  })

  test('leaves out what vanished between the dumps, and keeps what is only empty', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getService,
      messages(
        serviceMessage({ port: 1 }),
        destMessage(),
        ...[2, 3, 4].map((port) => serviceMessage({ port })),
      ),
      messages(serviceMessage({ port: 2 })),
      ESRCH,
      messages(serviceMessage({ port: 4 })),
    )
    const table = await ipvs.snapshot()
    expect(ports(table.map(({ service }) => service))).toEqual([1, 2, 4])
  })

  test('fails where asking after an empty service fails: that is no proof that it is gone', async () => {
    for (const errno of [1, 2, 105, 110]) {
      const { ipvs, transport } = await open()
      transport.answer(COMMANDS.getService, messages(serviceMessage()), failure(errno))
      await expect(ipvs.snapshot()).rejects.toMatchObject({ errno: -errno, command: 'snapshot' })
    }
  })

  test('has nothing twice', async () => {
    const { ipvs, transport } = await open()
    const servers = Array.from({ length: 15 }, (_, host) => destMessage({ host }))
    const services = Array.from({ length: 15 }, (_, port) => [
      serviceMessage({ port }),
      ...servers,
      ...servers.slice(5),
    ])
    transport.answer(COMMANDS.getService, messages(...services.flat(), ...services.slice(3, 5).flat()))
    const table = await ipvs.snapshot()
    expect(ports(table.map(({ service }) => service))).toEqual(Array.from({ length: 15 }, (_, port) => port))
    for (const { realServers } of table) expect(realServers).toHaveLength(15)
  })

  test('has nothing twice where services without servers are gone by the time they are asked after', async () => {
    const { ipvs, transport } = await open()
    const services = Array.from({ length: 11 }, (_, port) => [
      serviceMessage({ port }),
      ...(port < 4 ? [] : [destMessage()]),
    ])
    // Twelve were listed, which takes more than one piece; eight are left.
    transport.answer(
      COMMANDS.getService,
      messages(...services.flat(), ...services.slice(10).flat()),
      ESRCH,
      ESRCH,
      ESRCH,
      ESRCH,
    )
    const table = await ipvs.snapshot()
    expect(ports(table.map(({ service }) => service))).toEqual([4, 5, 6, 7, 8, 9, 10])
  })

  describe('stable', () => {
    const version = (weight: number) => messages(serviceMessage(), destMessage({ weight }))

    test('reads until two agree', async () => {
      const { ipvs, transport } = await open()
      transport.answer(COMMANDS.getService, version(1), version(2), version(3), version(3))
      const table = await ipvs.snapshot({ stable: true })
      expect(table[0]?.realServers[0]?.weight).toBe(3)
      expect(transport.log).toHaveLength(4)
    })

    test('does not mind counters', async () => {
      const { ipvs, transport } = await open()
      transport.answer(
        COMMANDS.getService,
        messages(serviceMessage({ connections: 1 }), destMessage({ active: 1, connections: 1 })),
        messages(serviceMessage({ connections: 2 }), destMessage({ active: 5, connections: 2 })),
      )
      expect((await ipvs.snapshot({ stable: true }))[0]?.service.stats.connections).toBe(2)
      expect(transport.log).toHaveLength(2)
    })

    test('gives up after eight reads with EAGAIN', async () => {
      const { ipvs, transport } = await open()
      transport.answer(COMMANDS.getService, ...[1, 2, 1, 2, 1, 2, 1, 2].map(version))
      await expect(ipvs.snapshot({ stable: true })).rejects.toMatchObject({
        code: 'EAGAIN',
        command: 'snapshot',
      })
      expect(transport.log).toHaveLength(8)
    })

    test('sees a service or a server come or go', async () => {
      const { ipvs, transport } = await open()
      const two = messages(serviceMessage(), destMessage(), serviceMessage({ port: 81 }), destMessage())
      const more = messages(serviceMessage(), destMessage(), destMessage({ host: 2 }))
      transport.answer(COMMANDS.getService, version(1), two, more, version(1), version(1))
      await ipvs.snapshot({ stable: true })
      expect(transport.log).toHaveLength(5)
    })
  })
})

describe('a dump that the kernel calls interrupted', () => {
  const old = { messages: [serviceMessage({ port: 1 })], interrupted: true }

  test('is read again, by whatever reads one', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    const web = await ipvs.addService(WEB)
    const server = await web.addRealServer(SERVER)
    await ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'lo' })
    const readers: [KernelCommand, () => Promise<unknown>][] = [
      ['getService', () => ipvs.services()],
      ['getService', () => ipvs.snapshot()],
      ['getRealServers', () => ipvs.snapshot()],
      ['getService', () => ipvs.save()],
      ['getRealServers', () => ipvs.realServers(WEB)],
      ['getRealServers', () => ipvs.realServer(WEB, SERVER)],
      ['getRealServers', () => server.edit({ weight: 5 })],
      ['getSyncDaemons', () => ipvs.syncDaemons()],
    ]
    for (const [command, read] of readers) {
      const asked = async () => {
        kernel.clearLog()
        await read()
        return kernel.log.filter((request) => request.command === command).length
      }
      const once = await asked()
      kernel.interruptNextDump(command as 'getService')
      expect(await asked(), read.toString()).toBeGreaterThan(once)
    }
  })

  test('is not what a caller gets', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, old, old, messages(serviceMessage({ port: 2 })))
    // Nothing comes after the third.
    expect(ports(await ipvs.services())).toEqual([2])
  })

  test('eight times in a row is EAGAIN', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getService, old)
    await expect(ipvs.services()).rejects.toMatchObject({ code: 'EAGAIN', command: 'services' })
    expect(transport.log).toHaveLength(8)
    transport.always(COMMANDS.getDest, old)
    await expect(ipvs.editRealServer(WEB, SERVER, { weight: 5 })).rejects.toMatchObject({
      code: 'EAGAIN',
      command: 'editRealServer',
      service: WEB,
      realServer: SERVER,
    })
    expect(transport.sent).toEqual([])
  })

  test('and failed as well is a failure', async () => {
    const { ipvs, transport } = await open()
    transport.answer(COMMANDS.getService, { ...old, failure: { errno: 105, syscall: 'recvmsg' } })
    // A second would not fail.
    await expect(ipvs.services()).rejects.toMatchObject({ code: 'ENOBUFS' })
  })
})

describe('the memory of a dump', () => {
  /** A dump whose messages are gone once it is released, as those of the addon are. */
  function lent(message: Uint8Array, interrupted = false): { dump: Dump; releases: () => number } {
    let count = 0
    const block = message.slice()
    const release = () => {
      count += 1
      block.fill(0)
    }
    return { dump: { messages: [block], release, interrupted }, releases: () => count }
  }

  test('is given back once its messages were read', async () => {
    const { ipvs, transport } = await open()
    const list = lent(serviceMessage({ port: 1 }))
    const table = lent(concat(serviceMessage({ port: 2 }), destMessage()))
    const servers = lent(destMessage({ weight: 7 }))
    transport.answer(COMMANDS.getService, list.dump, table.dump)
    transport.answer(COMMANDS.getDest, servers.dump)
    expect(ports(await ipvs.services())).toEqual([1])
    expect((await ipvs.snapshot())[0]).toMatchObject({ service: { port: 2 }, realServers: [SERVER] })
    expect(await ipvs.realServers(WEB)).toMatchObject([{ weight: 7 }])
    expect([list, table, servers].map(({ releases }) => releases())).toEqual([1, 1, 1])
  })

  test('is given back once before an interrupted one is read again', async () => {
    const { ipvs, transport } = await open()
    const first = lent(serviceMessage({ port: 1 }), true)
    const second = lent(serviceMessage({ port: 2 }))
    transport.answer(COMMANDS.getService, first.dump, second.dump)
    expect(ports(await ipvs.services())).toEqual([2])
    expect([first.releases(), second.releases()]).toEqual([1, 1])
  })
})

describe('additions', () => {
  test('give what was added without asking the kernel', async () => {
    const { ipvs, transport } = await open()
    const web = await ipvs.addService({
      protocol: 17,
      address: '2001:DB8::1',
      port: 53,
      scheduler: 'mh',
      schedulerFlags: ['mh-port'],
      onePacket: true,
      persistence: {},
    })
    expect(web.toJSON()).toEqual({
      protocol: 'udp',
      address: '2001:db8::1',
      port: 53,
      scheduler: 'mh',
      schedulerFlags: ['mh-port'],
      onePacket: true,
      persistence: { timeoutSeconds: 300, netmask: 128 },
    })
    const server = await web.addRealServer({ address: '2001:DB8::2', method: 'tunnel', weight: 0 })
    expect(server.toJSON()).toEqual({
      address: '2001:db8::2',
      port: 53,
      method: 'tunnel',
      weight: 0,
      tunnel: { type: 'ipip' },
    })
    expect([server.activeConnections, server.stats.connections, server.rates.bytesInPerSecond]).toEqual([
      0, 0, 0,
    ])
    expect(transport.log).toEqual(['batch 1', 'batch 5'])
  })

  test('to a firewall mark have port 0 by default', async () => {
    const { ipvs } = await open()
    const mark = await ipvs.addService({ protocol: 'fwmark', fwmark: 7 })
    expect(mark).toMatchObject({ fwmark: 7, family: 'ipv4', address: undefined, port: undefined })
    expect((await mark.addRealServer({ address: '10.0.0.1' })).port).toBe(0)
    expect(mark.toJSON()).toEqual({ protocol: 'fwmark', fwmark: 7, family: 'ipv4', scheduler: 'wlc' })
  })

  test('go back in as they came out', async () => {
    const { ipvs, transport } = await open()
    const web = await ipvs.addService({
      ...WEB,
      scheduler: 'sh',
      schedulerFlags: ['sh-port'],
      persistence: { netmask: 24 },
    })
    await ipvs.addService(web.toJSON())
    const server = await web.addRealServer({
      ...SERVER,
      tunnel: { type: 'gue', port: 9, checksum: 'csum' },
      upperThreshold: 5,
    })
    await web.addRealServer(server.toJSON())
    const [one, two, three, four] = transport.sent
    expect(one).toEqual(two)
    expect(three).toEqual(four)
  })
})

describe('the rest', () => {
  test('info and timeouts are read out of the reply', async () => {
    const { ipvs, transport } = await open()
    transport.answer(
      COMMANDS.getInfo,
      messages(reply.message({ command: 14 }, reply.u32(1, 0x010201), reply.u32(2, 4096))),
    )
    transport.answer(
      COMMANDS.getConfig,
      messages(reply.message({ command: 12 }, reply.u32(4, 900), reply.u32(5, 120), reply.u32(6, 300))),
    )
    expect(await Promise.all([ipvs.info(), ipvs.timeouts()])).toEqual([
      { version: '1.2.1', connectionTableSize: 4096 },
      { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
    ])
  })

  test('requests carry what was asked for', async () => {
    const { ipvs, transport } = await open()
    await Promise.all([
      ipvs.setTimeouts({ tcpSeconds: 1, udpSeconds: 3 }),
      ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'lo' }),
      ipvs.stopSyncDaemon('backup'),
      ipvs.zero(),
      ipvs.zero(WEB),
    ])
    expect(transport.log).toEqual(['batch 12 9 10 16 16'])
    const [set, start, stop, all, one] = transport.sent
    expect(set?.attributes).toEqual(concat(reply.u32(4, 1), reply.u32(6, 3)))
    expect(start?.attributes).toEqual(reply.nest(3, reply.u32(1, 2), reply.text(2, 'lo'), reply.u32(3, 0)))
    expect(stop?.attributes).toEqual(reply.nest(3, reply.u32(1, 2)))
    expect(all?.attributes).toHaveLength(0)
    expect(attributes(one!.attributes, MACHINE).map(({ type }) => type)).toEqual([1])
  })

  test('sync daemons come as the kernel lists them', async () => {
    const { ipvs, transport } = await open()
    const daemon = (state: number) =>
      reply.message({ command: 9 }, reply.nest(3, reply.u32(1, state), reply.text(2, 'lo'), reply.u32(3, 5)))
    transport.answer(COMMANDS.getDaemon, messages(daemon(1), daemon(2)))
    expect(await ipvs.syncDaemons()).toEqual([
      { state: 'master', multicastInterface: 'lo', syncId: 5 },
      { state: 'backup', multicastInterface: 'lo', syncId: 5 },
    ])
    expect(await ipvs.syncDaemons()).toEqual([])
  })

  test('refresh reads the object itself again', async () => {
    const { ipvs, transport } = await open()
    const web = await ipvs.addService(WEB)
    transport.answer(COMMANDS.getService, messages(serviceMessage({ scheduler: 'rr' })))
    transport.answer(COMMANDS.getDest, messages(destMessage({ weight: 4 })))
    const server = await web.addRealServer(SERVER)
    expect((await web.refresh()).scheduler).toBe('rr')
    expect((await server.refresh()).weight).toBe(4)
    expect(web.scheduler).toBe('wlc')
  })
})

describe('probe', () => {
  test('works in a scratch namespace, closes that, and leaves a given transport open', async () => {
    const scratch = new ScriptedTransport()
    scratch.answer(
      COMMANDS.getInfo,
      messages(reply.message({ command: 14 }, reply.u32(1, 0x010201), reply.u32(2, 4096))),
    )
    // rr, wrr and the rest in order; only the first three are there.
    scratch.answer(
      COMMANDS.newService,
      {},
      {},
      {},
      ...Array<typeof ENOENT>(11).fill(ENOENT),
      {},
      failure(97),
      {},
    )
    scratch.answer(COMMANDS.getService, messages(serviceMessage(), destMessage({ method: 2 })))
    const transport = new ScriptedTransport()
    transport.scratch = scratch
    expect(await Ipvs.probe({ transport })).toEqual({
      available: true,
      info: { version: '1.2.1', connectionTableSize: 4096 },
      ipv6: false,
      schedulers: ['rr', 'wrr', 'lc'],
      persistenceEngines: ['sip'],
      counters64: true,
      tunnelTypes: ['ipip', 'gue', 'gre'],
      mixedFamilies: true,
    })
    expect(transport.log).toEqual(['openScratch'])
    expect(scratch.log.at(-1)).toBe('close')
  })

  test('of an old kernel finds what it lacks', async () => {
    const scratch = new ScriptedTransport()
    scratch.answer(COMMANDS.getInfo, messages(reply.message({ command: 14 }, reply.u32(1, 0x010201))))
    const old = reply.message(
      { command: 5 },
      reply.nest(2, reply.attr(1, hex('7f000001000000000000000000000000'))),
    )
    const service = reply.message(
      { command: 1 },
      reply.nest(1, reply.u16(1, 2), reply.u32(5, 1), reply.nest(10)),
    )
    scratch.answer(COMMANDS.getService, messages(service, old))
    const transport = new ScriptedTransport()
    transport.scratch = scratch
    expect(await Ipvs.probe({ transport })).toMatchObject({
      counters64: false,
      tunnelTypes: ['ipip'],
      mixedFamilies: false,
    })
  })

  test('rejects where the namespace cannot be made, and closes what it opened where it fails', async () => {
    const transport = new ScriptedTransport()
    transport.scratch = { errno: 1, syscall: 'unshare' }
    await expect(Ipvs.probe({ transport })).rejects.toMatchObject({
      code: 'EPERM',
      command: 'probe',
      syscall: 'unshare',
    })
    const scratch = new ScriptedTransport()
    scratch.answer(COMMANDS.getInfo, failure(1))
    transport.scratch = scratch
    await expect(Ipvs.probe({ transport })).rejects.toMatchObject({ code: 'EPERM' })
    expect(scratch.log.at(-1)).toBe('close')
  })
})
