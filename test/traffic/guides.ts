import type { StateService } from '../../lib/index.ts'
import type { DirectorOptions } from '../../lib/setup/director.ts'
import type { RealServerOptions } from '../../lib/setup/real-server.ts'
import {
  allPorts,
  directRouting,
  fullNat,
  local,
  marked,
  type Mode,
  nat,
  natOneNetwork,
  tunnel,
} from './modes.ts'

/** What a part of a guide is written from, and what its test builds. */
export interface Guide {
  readonly mode: Mode
  /** The table that the guide makes: of the mode's, but for one that does more. */
  readonly services: readonly StateService[]
  readonly director: DirectorOptions & { readonly interface: string }
  readonly realServer: RealServerOptions
  /** The hosts that are set up as real servers. None: there is nothing to do there. */
  readonly realServers: readonly string[]
}

const BOTH = ['web1', 'web2']
const BEHIND: RealServerOptions = { method: 'masquerade', director: '10.0.0.1' }

/** By page, and by what a reader chooses there. */
export const GUIDES: Readonly<Record<string, Readonly<Record<string, Guide>>>> = {
  nat: {
    nat: guide(nat('ipv4'), BEHIND),
    'one-network': guide(
      natOneNetwork('ipv4'),
      { method: 'masquerade', director: '192.0.2.1', clients: '192.0.2.0/24', interface: 'eth0' },
      { director: { interface: 'eth0', oneNetwork: true } },
    ),
    ipv6: guide(nat('ipv6'), { method: 'masquerade', director: 'fd00::1' }),
  },
  'direct-routing': {
    direct: guide(directRouting('ipv4'), { method: 'direct' }),
    ipv6: guide(directRouting('ipv6'), { method: 'direct' }),
  },
  tunnel: {
    ipip: tunnelGuide(tunnel('ipv4', { type: 'ipip', checksum: false, outer: 'ipv4' })),
    gue: tunnelGuide(tunnel('ipv4', { type: 'gue', checksum: false, outer: 'ipv4' })),
    gre: tunnelGuide(tunnel('ipv4', { type: 'gre', checksum: false, outer: 'ipv4' })),
    'ipv6-over-ipv4': tunnelGuide(tunnel('ipv6', { type: 'ipip', checksum: false, outer: 'ipv4' })),
  },
  'full-nat': {
    'full-nat': guide(fullNat('ipv4', 'nft'), BEHIND, {
      director: { interface: 'eth0', snat: true },
      realServers: [],
    }),
  },
  local: { local: localGuide() },
  'all-ports': { nfs: persistentGuide(allPorts('ipv4'), 3600) },
  'firewall-marks': {
    marks: persistentGuide(marked('ipv4', 'nft'), 600, {
      interface: 'eth0',
      marked: { address: '192.0.2.10', ports: ['80', '443'] },
    }),
  },
}

function guide(mode: Mode, realServer: RealServerOptions, rest: Partial<Guide> = {}): Guide {
  return {
    ...{
      mode,
      services: mode.state.services,
      director: { interface: 'eth0' },
      realServer,
      realServers: BOTH,
    },
    ...rest,
  }
}

function tunnelGuide(mode: Mode): Guide {
  const used = mode.state.services[0].realServers?.[0]?.tunnel
  return guide(mode, { method: 'tunnel', director: '192.0.2.1', tunnel: used })
}

/** A director that is one of its own real servers. */
function localGuide(): Guide {
  const mode = local('ipv4')
  const [service] = mode.state.services
  const other = { address: '10.0.0.11', method: 'masquerade' } as const
  return guide(mode, BEHIND, {
    services: [{ ...service, realServers: [...(service.realServers ?? []), other] }],
    realServers: ['web1'],
  })
}

/** A client stays for so long with its real server, in the first service of the mode, which is of TCP. */
function persistentGuide(
  mode: Mode,
  timeoutSeconds: number,
  director: Guide['director'] = { interface: 'eth0' },
): Guide {
  const [service] = mode.state.services
  return guide(mode, BEHIND, { services: [{ ...service, persistence: { timeoutSeconds } }], director })
}
