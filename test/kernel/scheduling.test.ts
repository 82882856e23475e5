import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import type {
  Connection,
  RealServerChanges,
  ServiceChanges,
  ServiceKey,
  ServiceSettings,
} from '../../lib/model/types.ts'
import { kernelTests, type Netns } from '../helpers/kernel.ts'
import { withKernel } from '../helpers/kernel-conformance.ts'
import { INTERFACES } from '../helpers/memory.ts'

/**
 * Which server each of many clients gets: from the in-memory kernel and, by
 * datagrams, from the real one.
 */

/** Sends a datagram from each of the addresses and ports that it is told, one after the other. */
const SENDER = `
  const dgram = require('node:dgram')
  require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
    const { address, port, clients } = JSON.parse(line)
    for (const [from, fromPort] of clients) {
      const socket = dgram.createSocket('udp4').on('error', () => {})
      await new Promise((bound) => socket.bind(fromPort, from, bound))
      await new Promise((sent) => socket.send('hello', port, address, sent))
      await new Promise((closed) => socket.close(closed))
    }
    console.log('sent')
  })
  console.log('ready')`

type Client = readonly [address: string, port: number]

interface Step {
  readonly clients: number
  readonly edit?: readonly [server: number, changes: RealServerChanges]
  readonly editService?: ServiceChanges
  readonly delete?: number
  readonly add?: number
}

interface Scenario {
  readonly title: string
  /** The service is one of port 0, or of a firewall mark; the clients go where they always do. */
  readonly catches?: 'every port' | 'a mark'
  readonly settings: ServiceSettings
  readonly servers: readonly RealServerChanges[]
  readonly steps: readonly Step[]
}

const weights = (...list: readonly number[]): RealServerChanges[] => list.map((weight) => ({ weight }))

const plain: readonly Step[] = [
  { clients: 24 },
  { edit: [1, { weight: 0 }], clients: 12 },
  { edit: [1, { weight: 5 }], clients: 17 },
  { delete: 0, clients: 12 },
  { add: 0, clients: 12 },
  { edit: [0, { weight: 0 }], clients: 5 },
]

const SCENARIOS: readonly Scenario[] = [
  ...['rr', 'wrr', 'lc', 'wlc', 'sed', 'nq', 'fo', 'ovf', 'dh', 'sh', 'mh'].map((scheduler) => ({
    title: `${scheduler}, while weights and servers change`,
    settings: { scheduler },
    servers: weights(4, 3, 2),
    steps: plain,
  })),
  ...(['sh', 'mh'] as const).map((scheduler) => ({
    title: `${scheduler} with ports and fallback`,
    settings: {
      scheduler,
      schedulerFlags: [`${scheduler}-port`, `${scheduler}-fallback`],
    },
    servers: weights(1, 100, 7, 2),
    steps: plain,
  })),
  {
    title: 'wrr with weights that have a divisor, and rr after it',
    settings: { scheduler: 'wrr' },
    servers: weights(10, 30, 20),
    steps: [
      { clients: 20 },
      { edit: [0, { weight: 40 }], clients: 20 },
      { editService: { scheduler: 'rr' }, clients: 7 },
    ],
  },
  {
    title: 'mh with large weights',
    settings: { scheduler: 'mh' },
    servers: weights(1, 5000, 70_000),
    steps: plain,
  },
  {
    title: 'thresholds',
    settings: { scheduler: 'rr' },
    servers: [{ upperThreshold: 3, lowerThreshold: 1 }, { upperThreshold: 5 }, {}],
    steps: [
      { clients: 20 },
      { edit: [2, { upperThreshold: 4 }], clients: 4 },
      { edit: [0, { upperThreshold: 6 }], clients: 6 },
      { edit: [1, { upperThreshold: 0 }], clients: 4 },
    ],
  },
  {
    title: 'persistence of networks, with a server that becomes quiescent',
    settings: { scheduler: 'rr', persistence: { timeoutSeconds: 600, netmask: '255.255.255.224' } },
    servers: weights(1, 1, 1),
    steps: [{ clients: 40 }, { edit: [1, { weight: 0 }], clients: 60 }, { delete: 2, clients: 60 }],
  },
  ...(['every port', 'a mark'] as const).map((catches): Scenario => ({
    title: `persistence for ${catches}`,
    catches,
    settings: { scheduler: 'rr', persistence: { timeoutSeconds: 600, netmask: '255.255.255.224' } },
    servers: weights(1, 1, 1),
    steps: [{ clients: 40 }, { edit: [1, { weight: 0 }], clients: 40 }, { delete: 2, clients: 40 }],
  })),
  {
    title: 'a mark without persistence',
    catches: 'a mark',
    settings: { scheduler: 'wrr' },
    servers: weights(3, 1, 2),
    steps: plain,
  },
]

/** Client number so many: some come from one network, some from far away. */
function client(number: number): Client {
  return [`10.8.${String((number * 37) % 5)}.${String((number * 101) % 250)}`, 20_000 + number]
}

kernelTests('scheduling', () => {
  test('gives each client the same server in memory as in the real kernel', { timeout: 400_000 }, () =>
    withKernel(async ({ version, hz }, netns) => {
      await netns.run(['ip', 'route', 'add', 'local', '10.8.0.0/16', 'dev', 'lo'])
      const sender = netns.start([process.execPath, '-e', SENDER])
      const lines = createInterface({ input: sender.stdout })
      await once(lines, 'line')
      for (const [index, scenario] of SCENARIOS.entries()) {
        const memory = createMemoryKernel({ version, hz, interfaces: INTERFACES })
        const ipvs = await Ipvs.open({ transport: memory })
        const real = netns.ipvs
        // Servers that no other scenario has, since connections outlive them.
        const address = (server: number): string => `10.9.9.${String(10 * index + server + 10)}`
        const addresses = new Set(scenario.servers.map((_, server) => address(server)))
        const target = { protocol: 'udp', address: '10.9.9.2', port: 1000 + index } as const
        const key = await serviceKey(scenario, target, netns)
        const to = target === key ? {} : { virtualPort: target.port }
        const marked =
          key.protocol === 'fwmark' ? { protocol: target.protocol, virtualAddress: target.address } : {}
        for (const kernel of [ipvs, real]) {
          await kernel.addService({ ...key, ...scenario.settings })
          for (const [server, settings] of scenario.servers.entries()) {
            await kernel.addRealServer(key, { address: address(server), ...settings })
          }
        }
        let first = 0
        for (const [at, step] of scenario.steps.entries()) {
          for (const kernel of [ipvs, real]) {
            if (step.edit !== undefined) {
              await kernel.editRealServer(key, { address: address(step.edit[0]) }, step.edit[1])
            }
            if (step.editService !== undefined) await kernel.editService(key, step.editService)
            if (step.delete !== undefined)
              await kernel.deleteRealServer(key, { address: address(step.delete) })
            if (step.add !== undefined)
              await kernel.addRealServer(key, { address: address(step.add), weight: 3 })
          }
          const clients = Array.from({ length: step.clients }, (_, number) => client(first + number))
          first += step.clients
          sender.stdin.write(`${JSON.stringify({ ...target, clients })}\n`)
          await once(lines, 'line')
          const there = new Map(
            (await connectionsTo(addresses, real)).map((one) => [
              `${one.clientAddress}:${String(one.clientPort)}`,
              one,
            ]),
          )
          const wanted = clients.map(
            ([from, port]) => there.get(`${from}:${String(port)}`)?.serverAddress ?? 'none',
          )
          const got = clients.map(
            ([clientAddress, clientPort]) =>
              memory.connect(key, { clientAddress, clientPort, ...to, ...marked }).realServer?.address ??
              'none',
          )
          if (at === 0) expect(wanted[0], `${scenario.title}: the first client`).not.toBe('none')
          expect(got, `${scenario.title}, step ${String(at)}`).toEqual(wanted)
        }
        const gauges = async (kernel: Ipvs): Promise<number[][]> =>
          (await kernel.realServers(key)).map((server) => [
            server.activeConnections,
            server.inactiveConnections,
            server.persistentConnections,
          ])
        expect(await gauges(ipvs), scenario.title).toEqual(await gauges(real))
        expect(await connectionsTo(addresses, ipvs), scenario.title).toEqual(
          await connectionsTo(addresses, real),
        )
      }
    }),
  )
})

/** The service of a scenario for clients that go to `target`. */
async function serviceKey(
  { catches }: Scenario,
  target: { readonly protocol: 'udp'; readonly address: string; readonly port: number },
  netns: Netns,
): Promise<ServiceKey> {
  if (catches === 'every port') return { ...target, port: 0 }
  if (catches === undefined) return target
  const { address, port } = target
  const rule = `-d ${address} -p udp --dport ${String(port)} -j MARK --set-mark ${String(port)}`
  await netns.run(['iptables-legacy', '-t', 'mangle', '-A', 'OUTPUT', ...rule.split(' ')])
  return { protocol: 'fwmark', fwmark: port }
}

/** The connections and templates of some servers, without what goes by the clock, in an order of our own. */
async function connectionsTo(servers: ReadonlySet<string>, kernel: Ipvs): Promise<Connection[]> {
  const list: Connection[] = []
  for await (const connection of kernel.connections()) {
    if (servers.has(connection.serverAddress)) list.push({ ...connection, expiresSeconds: 0 })
  }
  return list.sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1))
}
