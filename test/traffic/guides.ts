import type { RealServerSpec, ServiceSpec, StateService } from '../../lib/index.ts'
import type { Hop } from '../docs/guide-blocks.ts'
import { BEHIND_DIRECTOR, ONE_NETWORK, ROUTED, VIRTUAL } from './topologies.ts'
import type { Topology } from './topology.ts'

/** What the guides are written from, and what their test builds. */
export interface Guide {
  readonly topology: Topology
  readonly services: readonly StateService[]
  /** The way of a request to the first real server, and of the answer. */
  readonly hops: readonly Hop[]
}

const CLIENT = '198.51.100.100:40000'
const SERVICE = `${VIRTUAL.ipv4}:80`

const WEB = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80, scheduler: 'rr' } as const

function service(
  spec: ServiceSpec,
  addresses: readonly string[],
  server: Omit<RealServerSpec, 'address'>,
): StateService[] {
  return [{ ...spec, realServers: addresses.map((address) => ({ address, ...server })) }]
}

function hop(from: string, to: string, ...packet: readonly string[]): Hop {
  return { from, to, packet }
}

/** The way of NAT with these addresses. */
function natHops(virtual: string, real: string): Hop[] {
  return [
    hop('client', 'director', `${CLIENT} → ${virtual}`),
    hop('director', 'web1', `${CLIENT} → ${real}`),
    hop('web1', 'director', `${real} → ${CLIENT}`),
    hop('director', 'client', `${virtual} → ${CLIENT}`),
  ]
}

function tunnelGuide(wrapping: string, server: Omit<RealServerSpec, 'address'>): Guide {
  return {
    topology: ROUTED,
    services: service(WEB, ['203.0.113.11', '203.0.113.141'], { method: 'tunnel', ...server }),
    hops: [
      hop('client', 'director', `${CLIENT} → ${SERVICE}`),
      hop('director', 'web1', wrapping, `${CLIENT} → ${SERVICE}`),
      hop('web1', 'client', `${SERVICE} → ${CLIENT}`),
    ],
  }
}

const BEHIND = ['10.0.0.11', '10.0.0.12']
const BESIDE = ['192.0.2.11', '192.0.2.12']

/** By page, and by the choice that a page gives. */
export const GUIDES: Readonly<Record<string, Readonly<Record<string, Guide>>>> = {
  nat: {
    nat: {
      topology: BEHIND_DIRECTOR,
      services: service(WEB, BEHIND, { port: 8080, method: 'masquerade' }),
      hops: natHops(SERVICE, '10.0.0.11:8080'),
    },
  },
  'direct-routing': {
    direct: {
      topology: ONE_NETWORK,
      services: service(WEB, BESIDE, { method: 'direct' }),
      hops: [
        hop('client', 'director', `${CLIENT} → ${SERVICE}`),
        hop('director', 'web1', `${CLIENT} → ${SERVICE}`),
        hop('web1', 'client', `${SERVICE} → ${CLIENT}`),
      ],
    },
  },
  tunnel: {
    ipip: tunnelGuide('IP-in-IP 192.0.2.1 → 203.0.113.11', {}),
    gue: tunnelGuide('GUE 192.0.2.1 → 203.0.113.11:6080', { tunnel: { type: 'gue', port: 6080 } }),
    gre: tunnelGuide('GRE 192.0.2.1 → 203.0.113.11', { tunnel: { type: 'gre' } }),
  },
  'full-nat': {
    'full-nat': {
      topology: ONE_NETWORK,
      services: service(WEB, BESIDE, { port: 8080, method: 'masquerade' }),
      hops: [
        hop('client', 'director', `${CLIENT} → ${SERVICE}`),
        hop('director', 'web1', '192.0.2.1:40000 → 192.0.2.11:8080'),
        hop('web1', 'director', '192.0.2.11:8080 → 192.0.2.1:40000'),
        hop('director', 'client', `${SERVICE} → ${CLIENT}`),
      ],
    },
  },
  local: {
    local: {
      topology: ONE_NETWORK,
      services: [
        {
          ...WEB,
          realServers: [
            { address: '192.0.2.1', method: 'local' },
            { address: '192.0.2.11', method: 'direct' },
          ],
        },
      ],
      hops: [
        hop('client', 'director', `${CLIENT} → ${SERVICE}`),
        hop('director', 'client', `${SERVICE} → ${CLIENT}`),
      ],
    },
  },
  'all-ports': {
    'all-ports': {
      topology: BEHIND_DIRECTOR,
      services: service({ ...WEB, port: 0, persistence: { timeoutSeconds: 3600 } }, BEHIND, {
        method: 'masquerade',
      }),
      hops: natHops(`${VIRTUAL.ipv4}:111`, '10.0.0.11:111'),
    },
  },
  'firewall-marks': {
    'firewall-marks': {
      topology: BEHIND_DIRECTOR,
      services: service(
        { protocol: 'fwmark', fwmark: 1, scheduler: 'rr', persistence: { timeoutSeconds: 600 } },
        BEHIND,
        { method: 'masquerade' },
      ),
      hops: natHops(`${VIRTUAL.ipv4}:443`, '10.0.0.11:443'),
    },
  },
}
