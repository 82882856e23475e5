import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { formatState, Ipvs, parseState, readState } from '../../lib/index.ts'
import { Command } from '../../lib/model/constants.ts'
import { kernelServiceOf } from '../../lib/model/service-settings.ts'
import { encodeService } from '../../lib/session/requests.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'

/** Names that are written must be ones that the kernel's own could be; a name that is there may be anything. */

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const ODD = ['../evil', 'a b', 'a\u001b]0;x\u0007', 'my.rr', '-\n']

describe('a scheduler or an engine', () => {
  test.each(ODD)('%j is not written', async (name) => {
    const kernel = createMemoryKernel({ schedulers: ['rr', ...ODD], persistenceEngines: ['sip', ...ODD] })
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService({ ...WEB, port: 81, scheduler: 'rr' })
    kernel.clearLog()
    const engine = { persistence: {}, persistenceEngine: name }
    await expect(ipvs.addService({ ...WEB, scheduler: name })).rejects.toThrow(RangeError)
    await expect(ipvs.addService({ ...WEB, scheduler: 'rr', ...engine })).rejects.toThrow(RangeError)
    await expect(ipvs.editService({ ...WEB, port: 81 }, { scheduler: name })).rejects.toThrow(RangeError)
    await expect(
      ipvs.runSteps([{ kind: 'add-service', service: WEB, after: { ...WEB, scheduler: name } }]),
    ).rejects.toThrow('steps[0].after.scheduler must consist of letters')
    expect(kernel.log).toEqual([])
    const state = { services: [{ ...WEB, scheduler: name }] }
    await expect(ipvs.plan(state)).rejects.toThrow('services[0].scheduler must consist of letters')
    await expect(ipvs.apply(state)).rejects.toThrow('services[0].scheduler must consist of letters')
    await expect(
      ipvs.apply({ services: [{ ...WEB, port: 81, scheduler: 'rr', ...engine }] }),
    ).rejects.toThrow('persistenceEngine must consist of letters')
    expect((await ipvs.services()).map(({ port }) => port)).toEqual([81])
  })

  test.each(ODD)(
    '%j that another program put there is read, saved, planned and edited around',
    async (name) => {
      const kernel = createMemoryKernel({ schedulers: ['rr', name] })
      const ipvs = await Ipvs.open({ transport: kernel })
      const odd = encodeService(Command.NEW_SERVICE, WEB, kernelServiceOf({ scheduler: name }, 'ipv4'))
      expect(await kernel.batch([odd])).toEqual([{}])
      const saved = await ipvs.save()
      expect(saved.services[0]?.scheduler).toBe(name)
      expect((await ipvs.plan(saved)).steps).toEqual([])
      await ipvs.apply({ services: [{ ...WEB, scheduler: name, onePacket: true }] })
      expect((await ipvs.service(WEB)).onePacket).toBe(true)
      expect((await ipvs.editService(WEB, { onePacket: false })).scheduler).toBe(name)
    },
  )
})

describe('a name that cannot be written', () => {
  const service = { protocol: 'tcp', address: '192.0.2.10', port: 80 }
  const LINES = '-A -t 192.0.2.9:80 -s rr\n-A -t 192.0.2.10:80 -s my.rr\n'
  const start = async (): Promise<{ ipvs: Ipvs; kernel: MemoryKernel }> => {
    const kernel = createMemoryKernel()
    return { ipvs: await Ipvs.open({ transport: kernel }), kernel }
  }

  test.each<[string, string, number, number, string]>([
    [
      'JSON',
      JSON.stringify({ services: [{ ...service, scheduler: 'my.rr' }] }),
      1,
      65,
      'services[0].scheduler',
    ],
    [
      'JSON in lines',
      JSON.stringify(
        { services: [service, { ...service, port: 81, persistence: {}, persistenceEngine: 'a b' }] },
        null,
        1,
      ),
      13,
      4,
      'services[1].persistenceEngine',
    ],
    [
      'YAML',
      'services:\n- protocol: tcp\n  address: 192.0.2.10\n  port: 80\n  scheduler: my.rr\n',
      5,
      3,
      'services[0].scheduler',
    ],
    [
      'YAML of a daemon',
      'syncDaemons:\n- state: master\n  multicastInterface: a/b\n',
      3,
      3,
      'syncDaemons[0].multicastInterface',
    ],
    ['ipvsadm lines', LINES, 2, 1, 'services[1].scheduler'],
  ])('has its place in %s', async (_, text, line, column, path) => {
    const field = path.slice(path.lastIndexOf('.') + 1)
    const error = { name: 'StateSyntaxError', code: 'ERR_IPVS_STATE_SYNTAX', line, column, path }
    const message = new RegExp(`^line ${String(line)}, column ${String(column)}: .*\\.${field} must `)
    const { ipvs, kernel } = await start()
    const state = await parseState(text)
    for (const refused of [
      () => ipvs.plan(state),
      () => ipvs.apply(state),
      () => ipvs.restore(text),
      () => ipvs.apply(state, { keepGoing: true }),
    ]) {
      await expect(refused()).rejects.toMatchObject({
        ...error,
        message: expect.stringMatching(message) as string,
      })
    }
    expect(kernel.log.filter(({ command }) => !String(command).startsWith('get'))).toEqual([])
  })

  test('has its place in a file, for a restore and for a reconciler too', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ipvs-names-'))
    const file = join(folder, 'web.rules')
    try {
      writeFileSync(file, LINES)
      const { ipvs } = await start()
      const message = `${file}: line 2, column 1: services[1].scheduler must consist of letters`
      const state = await readState(file)
      await expect(ipvs.plan(state)).rejects.toThrow(message)
      await expect(ipvs.restoreFromFile(file)).rejects.toThrow(message)
      const error = await new Promise((resolve) => {
        const reconciler = ipvs.reconcile({ file }, { onError: resolve })
        void reconciler.runNow().then(() => reconciler.stop())
      })
      expect(error).toMatchObject({ message: expect.stringContaining(message) as string, file })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('has its path alone in a state that was not read, or is a copy of one that was', async () => {
    const { ipvs } = await start()
    const state = await parseState(LINES)
    const { services } = state
    const error = { name: 'RangeError', path: 'services[1].scheduler' }
    await expect(ipvs.plan({ services: services ?? [] })).rejects.toMatchObject(error)
  })

  test('a thousand and more of them take no time to find', async () => {
    const { ipvs } = await start()
    const many = Array.from({ length: 3000 }, (_, port) => ({
      ...service,
      port: port + 1,
      scheduler: 'my.rr',
    }))
    for (const format of ['json', 'yaml', 'ipvsadm'] as const) {
      const text = await formatState({ services: many } as never, { format })
      await expect(ipvs.restore(text)).rejects.toThrow('scheduler must consist of letters')
    }
  })
})

describe('a sysctl that the kernel does not have', () => {
  test.each([
    ['{"services": [],\n "sysctls": {"conntrac": 1}}', 2, 14],
    ['services: []\nsysctls:\n  conntrac: 1\n', 3, 3],
  ])('has its place in %j', async (text, line, column) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    await expect(ipvs.plan(await parseState(text))).rejects.toMatchObject({
      message: `line ${String(line)}, column ${String(column)}: sysctls.conntrac: there is no such sysctl; did you mean 'conntrack'?`,
      path: 'sysctls.conntrac',
    })
  })
})

test.each(['a/b', 'a b', '..', 'eth0:1', 'a\u001bb'])('no sync daemon is started on %j', async (name) => {
  const kernel = createMemoryKernel()
  const ipvs = await Ipvs.open({ transport: kernel })
  const daemon = { state: 'master', multicastInterface: name } as const
  const refused = name.includes('\u001b') ? 'ENODEV' : undefined
  // dev_valid_name() lets control characters pass, so there may be such an interface.
  const message = refused ?? 'multicastInterface must be the name of a network interface'
  await expect(ipvs.startSyncDaemon(daemon)).rejects.toThrow(message)
  await expect(ipvs.apply({ syncDaemons: [daemon] })).rejects.toThrow(message)
})

test('a text may be bytes, and is then UTF-8 or tells where it is not', async () => {
  const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
  const text = '{"services": [{"protocol": "tcp", "address": "192.0.2.10", "port": 80}]}'
  const bytes = new TextEncoder().encode(text)
  expect(await parseState(bytes)).toEqual(await parseState(text))
  await ipvs.restore(bytes)
  expect(await ipvs.services()).toHaveLength(1)
  bytes[20] = 0xff
  await expect(parseState(bytes)).rejects.toThrow('line 1, column 21: byte 0xff is not valid in UTF-8')
  await expect(ipvs.restore(bytes)).rejects.toThrow('line 1, column 21')
})
