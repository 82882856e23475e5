import type { StateService } from '../../lib/index.ts'
import { directRouting, fullNat, local, type Mode, nat, natOneNetwork, tunnel } from './modes.ts'

/** What the guides are written from: by page, and by what a reader chooses there. */
export const GUIDES: Readonly<Record<string, Readonly<Record<string, Mode>>>> = {
  nat: { nat: nat('ipv4'), 'one-network': natOneNetwork('ipv4'), ipv6: nat('ipv6') },
  'direct-routing': { direct: directRouting('ipv4'), ipv6: directRouting('ipv6') },
  tunnel: {
    ipip: tunnel('ipv4', { type: 'ipip', checksum: false, outer: 'ipv4' }),
    gue: tunnel('ipv4', { type: 'gue', checksum: false, outer: 'ipv4' }),
    gre: tunnel('ipv4', { type: 'gre', checksum: false, outer: 'ipv4' }),
    'ipv6-over-ipv4': tunnel('ipv6', { type: 'ipip', checksum: false, outer: 'ipv4' }),
  },
  'full-nat': { 'full-nat': fullNat('ipv4', 'nft') },
  local: { local: localAndNat() },
  'all-ports': { nfs: allPorts() },
  'firewall-marks': { marks: firewallMarks() },
}

/** A director that is one of its own real servers. */
function localAndNat(): Mode {
  const mode = local('ipv4')
  const [service] = mode.state.services
  const realServers = [
    ...(service.realServers ?? []),
    { address: '10.0.0.11', method: 'masquerade' } as const,
  ]
  return { ...mode, state: { services: [{ ...service, realServers }] } }
}

function allPorts(): Mode {
  return natWithout(
    {
      protocol: 'tcp',
      address: '192.0.2.10',
      port: 0,
      scheduler: 'rr',
      persistence: { timeoutSeconds: 3600 },
    },
    111,
  )
}

function firewallMarks(): Mode {
  return natWithout(
    { protocol: 'fwmark', fwmark: 1, scheduler: 'rr', persistence: { timeoutSeconds: 600 } },
    443,
  )
}

/** NAT that keeps the ports, seen at one of them. */
function natWithout(service: StateService, port: number): Mode {
  const mode = nat('ipv4')
  const at = (text: string): string => text.replace(/:(80|8080)$/, `:${String(port)}`)
  const keep = (hops: Mode['way']['request']): Mode['way']['request'] =>
    hops.map((hop) => ({ ...hop, source: at(hop.source), destination: at(hop.destination) }))
  const realServers = ['10.0.0.11', '10.0.0.12'].map((address) => ({
    address,
    method: 'masquerade' as const,
  }))
  return {
    ...mode,
    state: { services: [{ ...service, realServers }] },
    way: { request: keep(mode.way.request), reply: keep(mode.way.reply) },
  }
}
