import type { State } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { FailingTransport } from '../helpers/failing-transport.ts'

/** A table in the in-memory kernel and a state that is wanted instead, for all tests of apply(). */

export const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
export const DNS = { protocol: 'udp', address: '10.0.0.1', port: 53 } as const
export const MARK = { protocol: 'fwmark', fwmark: 7 } as const
export const server = (last: number, more: object = {}) =>
  ({ address: `10.1.0.${String(last)}`, port: 8080, method: 'masquerade', ...more }) as const

/** What is there before, and what is wanted: every kind of step lies between. */
export const BEFORE: State = {
  services: [
    { ...WEB, scheduler: 'wlc', realServers: [server(1), server(2, { weight: 5 }), server(3), server(4)] },
    { ...DNS, scheduler: 'rr', realServers: [server(1), server(2)] },
  ],
  timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
  syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 1 }],
  sysctls: { conntrack: '0', sync_threshold: '3 50' },
}
export const WANTED: State = {
  services: [
    {
      ...WEB,
      scheduler: 'sh',
      schedulerFlags: ['sh-port'],
      persistence: { timeoutSeconds: 60, netmask: 24 },
      realServers: [server(5, { weight: 9 }), server(2, { weight: 0 }), server(3, { upperThreshold: 10 })],
    },
    { ...MARK, realServers: [server(6), server(7)] },
  ],
  timeouts: { tcpSeconds: 1000 },
  syncDaemons: [
    { state: 'master', multicastInterface: 'eth0', syncId: 2 },
    { state: 'backup', multicastInterface: 'eth0', syncId: 2, maxLengthBytes: 1400 },
  ],
  sysctls: { conntrack: '1', sync_threshold: '5\t60' },
}
export const ALL = { timeouts: true, syncDaemons: true, sysctls: ['conntrack', 'sync_threshold'] }

export async function start(state: State = BEFORE): Promise<{
  readonly kernel: MemoryKernel
  readonly transport: FailingTransport
  readonly ipvs: Ipvs
}> {
  const kernel = createMemoryKernel()
  const transport = new FailingTransport(kernel)
  const ipvs = await Ipvs.open({ transport })
  await ipvs.restore(state)
  kernel.clearLog()
  transport.writes = 0
  return { kernel, transport, ipvs }
}

export const writes = (kernel: MemoryKernel): string[] =>
  kernel.log.filter(({ command }) => !String(command).startsWith('get')).map(({ command }) => String(command))

/** A table without the order of its services and servers: a server that was deleted and comes back is in front. */
export function unordered(state: State): unknown {
  const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)
  return {
    ...state,
    services: (state.services ?? [])
      .map((service) => ({ ...service, realServers: [...(service.realServers ?? [])].sort(byText) }))
      .sort(byText),
  }
}
