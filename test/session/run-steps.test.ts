import { expect, test } from 'vitest'
import { Ipvs, planStates, type RunnableStep, type State } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'

/** ipvs.runSteps(): an outcome for each step, nothing read and nothing rolled back. */

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const DNS = { protocol: 'udp', address: '192.0.2.10', port: 53 } as const
const SERVER = { address: '10.0.0.7', port: 80 } as const

async function start(): Promise<{ readonly ipvs: Ipvs; readonly kernel: MemoryKernel }> {
  const kernel = createMemoryKernel()
  return { kernel, ipvs: await Ipvs.open({ transport: kernel }) }
}

test('runs the steps of a plan: the table is then as the plan wanted it', async () => {
  const { ipvs } = await start()
  const state: State = {
    services: [
      { ...WEB, scheduler: 'wrr', realServers: [{ ...SERVER, weight: 3 }, { address: '10.0.0.8' }] },
      { ...DNS, onePacket: true },
    ],
    timeouts: { udpSeconds: 60 },
    sysctls: { conntrack: '1' },
  }
  const { steps } = await ipvs.plan(state)
  expect(await ipvs.runSteps(steps)).toEqual(steps.map((step) => ({ step })))
  expect((await ipvs.plan(state)).steps).toEqual([])
})

test('goes on past a step that fails, and says of each what became of it', async () => {
  const { ipvs, kernel } = await start()
  const steps = [
    { kind: 'add-service', service: WEB, after: WEB },
    { kind: 'add-server', service: DNS, server: SERVER, after: SERVER },
    { kind: 'set-sysctl', name: 'no_such_thing', after: '1' },
    { kind: 'add-server', service: WEB, server: SERVER, after: SERVER },
    { kind: 'stop-daemon', state: 'backup' },
  ] as const satisfies RunnableStep[]
  kernel.clearLog()
  const outcomes = await ipvs.runSteps(steps)
  expect(outcomes.map(({ step }) => step)).toEqual(steps)
  expect(outcomes.map(({ error }) => error?.code)).toEqual([undefined, 'ESRCH', 'ENOENT', undefined, 'ESRCH'])
  expect(outcomes[1]?.error).toMatchObject({ command: 'addRealServer', service: DNS, realServer: SERVER })
  expect(outcomes[2]?.error?.message).toContain('no_such_thing')
  // Nothing is read.
  expect(kernel.log.map(({ command }) => command)).toEqual([
    'addService',
    'addRealServer',
    'addRealServer',
    'stopSyncDaemon',
  ])
  expect(await ipvs.realServers(WEB)).toHaveLength(1)
})

test('writes every field of an edit: a setting that is left out gets its default', async () => {
  const { ipvs } = await start()
  const web = await ipvs.addService({ ...WEB, scheduler: 'sh', schedulerFlags: ['sh-port'], persistence: {} })
  await web.addRealServer({ ...SERVER, weight: 5, upperThreshold: 9 })
  await ipvs.runSteps([
    { kind: 'edit-service', service: WEB, after: { ...WEB, scheduler: 'rr' } },
    { kind: 'edit-server', service: WEB, server: SERVER, after: { ...SERVER, weight: 2 } },
  ])
  const { services } = await ipvs.save({ timeouts: false, syncDaemons: false })
  expect(services).toEqual([
    { ...WEB, scheduler: 'rr', realServers: [{ ...SERVER, method: 'direct', weight: 2 }] },
  ])
})

test.each<[string, unknown, string]>([
  ['no array', 'add-service', "steps must be an array, got 'add-service'"],
  ['a number', [5], 'steps[0]: a step must be an object, got 5'],
  ['an unknown kind', [{ kind: 'add' }], "steps[0].kind must be one of 'add-service', "],
  [
    'no service',
    [{ kind: 'delete-service' }],
    'steps[0]: a virtual service must be an object, got undefined',
  ],
  [
    'a weight that cannot be',
    [
      { kind: 'delete-service', service: WEB },
      { kind: 'edit-server', service: WEB, server: SERVER, after: { ...SERVER, weight: -1 } },
    ],
    'steps[1].after.weight must be a whole number 0 to 2147483647, got -1',
  ],
  [
    'a scheduler that is no name',
    [{ kind: 'add-service', service: WEB, after: { ...WEB, scheduler: '' } }],
    'steps[0].after.scheduler must ',
  ],
  [
    'a daemon without interface',
    [{ kind: 'start-daemon', state: 'master', after: { state: 'master' } }],
    'steps[0].after.multicastInterface must be',
  ],
  [
    'a timeout of 0',
    [{ kind: 'set-timeouts', after: { tcpSeconds: 0 } }],
    'steps[0].after.tcpSeconds must be',
  ],
  [
    'a sysctl elsewhere',
    [{ kind: 'set-sysctl', name: '../x', after: '1' }],
    'steps[0]: sysctl must be a name',
  ],
])('refuses %s, and sends nothing', async (_, steps, message) => {
  const { ipvs, kernel } = await start()
  await ipvs.addService(DNS)
  kernel.clearLog()
  await expect(ipvs.runSteps(steps as RunnableStep[])).rejects.toThrow(message)
  expect(kernel.log).toEqual([])
})

test('waits its turn, is dropped by a signal until then, and ends with EBADF after close()', async () => {
  const { ipvs, kernel } = await start()
  const steps = [{ kind: 'add-service', service: WEB, after: WEB }] as const
  const reason = new Error('enough')
  await expect(ipvs.runSteps(steps, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  const first = ipvs.addService(DNS)
  const second = ipvs.runSteps(steps)
  await Promise.all([first, second])
  expect(kernel.log.map(({ command }) => command)).toEqual(['addService', 'addService'])
  await ipvs.close()
  await expect(ipvs.runSteps(steps)).rejects.toMatchObject({ code: 'EBADF', command: 'runSteps' })
})

test('takes its place in the order of calls, and what its steps are when they are checked', async () => {
  const { ipvs, kernel } = await start()
  const after = { ...SERVER, weight: 5, tunnel: { type: 'gue', port: 5 } as { type: 'gue'; port: number } }
  const steps: RunnableStep[] = [
    { kind: 'add-service', service: WEB, after: WEB },
    { kind: 'add-server', service: WEB, server: SERVER, after: { ...after, method: 'tunnel' } },
  ]
  kernel.beforeNext('addService', () => {
    after.weight = NaN
    after.tunnel.port = NaN
    steps.length = 0
  })
  const ran = ipvs.runSteps(steps)
  const deleted = ipvs.deleteRealServer(WEB, SERVER)
  await Promise.all([ran, deleted])
  expect(await ipvs.realServers(WEB)).toEqual([])
  expect(kernel.log.map(({ command }) => command).slice(0, 3)).toEqual([
    'addService',
    'addRealServer',
    'deleteRealServer',
  ])
})

test('takes what planStates() gives, of which a step says what was before', async () => {
  const { ipvs } = await start()
  await ipvs.addService(WEB)
  const { steps } = await planStates(await ipvs.save(), { services: [] })
  expect(steps).toMatchObject([{ kind: 'delete-service', before: { scheduler: 'wlc' } }])
  await ipvs.runSteps(steps)
  expect(await ipvs.services()).toEqual([])
})
