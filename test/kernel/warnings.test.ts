import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { type RealServerSpec, type ServiceSpec, type WarningCode, warningsOf } from '../../lib/index.ts'
import { kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'

/** The kernel ignores what warningsOf() says that it ignores. Every address of 10.9.9.0/24 is this host. */

/** Listens on ports 1000 and 2000, sends datagrams where it is told to, and says where each arrived. */
const AGENT = `
  const dgram = require('node:dgram')
  const bind = (port) => new Promise((bound) => dgram.createSocket('udp4').on('message', () => console.log(port)).bind(port, bound))
  Promise.all([bind(1000), bind(2000)]).then(() => console.log('ready'))
  require('node:readline').createInterface({ input: process.stdin }).on('line', (port) => {
    const socket = dgram.createSocket('udp4').on('error', () => {})
    socket.send('hello', Number(port), '10.9.9.2', () => socket.close())
  })`

const UDP = { protocol: 'udp', address: '10.9.9.2', port: 1000 } as const
const TCP = { ...UDP, protocol: 'tcp' } as const
const MARK = { protocol: 'fwmark', fwmark: 7 } as const
const persistence = { timeoutSeconds: 60 }
const to = (port: number, more: object = {}): RealServerSpec => ({ address: '10.9.9.3', port, ...more })

/** Where a datagram for port 1000 arrives, and what is said of the service. */
const PORTS: readonly (readonly [string, ServiceSpec, RealServerSpec, arrives: number, ...WarningCode[]])[] =
  [
    ['direct to another port', UDP, to(2000), 1000, 'port-ignored'],
    ['local to another port', UDP, to(2000, { method: 'local' }), 1000, 'port-ignored'],
    ['masquerade to another port', UDP, to(2000, { method: 'masquerade' }), 2000],
    ['direct to port 0', UDP, to(0), 1000],
    ['a mark, direct', MARK, to(2000), 1000, 'port-ignored'],
    ['a mark, masquerade', MARK, to(2000, { method: 'masquerade' }), 2000],
    [
      'a persistent mark, masquerade',
      { ...MARK, persistence },
      to(2000, { method: 'masquerade' }),
      1000,
      'port-ignored',
    ],
    [
      'every port, masquerade',
      { ...UDP, port: 0, persistence },
      to(2000, { method: 'masquerade' }),
      1000,
      'port-ignored',
    ],
    ['persistent, masquerade', { ...UDP, persistence }, to(2000, { method: 'masquerade' }), 2000],
    ['direct with a tunnel', UDP, to(1000, { tunnel: { type: 'gue', port: 6080 } }), 1000, 'tunnel-ignored'],
  ]

/** How a client's attempt to connect by TCP ends. */
const ATTEMPTS: readonly (readonly [string, object, RegExp, ...WarningCode[]])[] = [
  ['the engine for SIP', { persistence, persistenceEngine: 'sip' }, /timed out/i, 'persistence-engine-drops'],
  ['port 0 without persistence', { port: 0 }, /refused/i, 'needs-persistence'],
  ['persistence alone', { persistence }, /^$/],
  ['one packet', { onePacket: true }, /^$/, 'one-packet-ignored'],
  ['an engine without persistence', { persistenceEngine: 'sip' }, /^$/, 'persistence-engine-ignored'],
]

kernelTests('the kernel ignores', () => {
  test('ports and tunnels', { timeout: 60_000 }, () =>
    withHost(async (netns) => {
      const { ipvs } = netns
      const agent = netns.start([process.execPath, '-e', AGENT])
      const lines = createInterface({ input: agent.stdout })
      await once(lines, 'line')
      const rule = '-d 10.9.9.2 -p udp --dport 1000 -j MARK --set-mark 7'
      await netns.run(['iptables-legacy', '-t', 'mangle', '-A', 'OUTPUT', ...rule.split(' ')])
      for (const [title, service, server, arrives, ...codes] of PORTS) {
        await ipvs.apply({ services: [{ ...service, realServers: [server] }] }, { force: true })
        agent.stdin.write('1000\n')
        expect(await once(lines, 'line'), title).toEqual([String(arrives)])
        expect(
          (await warningsOf(await ipvs.snapshot())).map(({ code }) => code),
          title,
        ).toEqual(codes)
        const connections = []
        for await (const one of ipvs.connections()) connections.push(one.serverAddress)
        expect(connections, `${title}: IPVS had it`).toContain('10.9.9.3')
        await ipvs.flush()
      }
    }),
  )

  test('weights, where all above 0 are the same', () =>
    withHost(async (netns) => {
      const { ipvs } = netns
      const agent = netns.start([process.execPath, '-e', AGENT])
      const lines = createInterface({ input: agent.stdout })
      await once(lines, 'line')
      // Each with servers of its own: their connections outlive them, and would come back with them.
      for (const [scheduler, host, share, ...codes] of [
        ['rr', 10, 6, 'weights-ignored'],
        ['lc', 20, 6, 'weights-ignored'],
        ['wrr', 30, 2],
        ['wlc', 40, 2],
      ] as const) {
        const light = { address: `10.9.9.${String(host)}` }
        await ipvs.addService({ ...UDP, scheduler })
        await ipvs.addRealServer(UDP, light)
        await ipvs.addRealServer(UDP, { address: `10.9.9.${String(host + 1)}`, weight: 5 })
        for (let sent = 0; sent < 12; sent++) {
          const arrived = once(lines, 'line')
          agent.stdin.write('1000\n')
          await arrived
        }
        const { inactiveConnections } = await ipvs.realServer(UDP, light)
        expect([scheduler, inactiveConnections]).toEqual([scheduler, share])
        expect(
          (await warningsOf(await ipvs.snapshot())).map(({ code }) => code),
          scheduler,
        ).toEqual(codes)
        await ipvs.flush()
      }
    }))

  test('an engine, or drops what it cannot read', { timeout: 60_000 }, () =>
    withHost(async (netns) => {
      const { ipvs } = netns
      netns.start(['socat', 'TCP4-LISTEN:1000,fork,reuseaddr', 'PIPE'])
      for (const [title, more, ends, ...codes] of ATTEMPTS) {
        const service: ServiceSpec = { ...TCP, ...more }
        await ipvs.apply({ services: [{ ...service, realServers: [to(service.port)] }] }, { force: true })
        const { stderr } = await netns.tryRun([
          'socat',
          '-u',
          '/dev/null',
          'TCP4:10.9.9.2:1000,connect-timeout=1',
        ])
        expect(stderr, title).toMatch(ends)
        expect(
          (await warningsOf(await ipvs.snapshot())).map(({ code }) => code),
          title,
        ).toEqual(codes)
        await ipvs.flush()
      }
    }),
  )
})

function withHost(body: (netns: Netns) => Promise<void>): Promise<void> {
  return withNamespace(body, { setUp: () => [['route add local 10.9.9.0/24 dev lo']] })
}
