import { expect, test } from 'vitest'
import { diagnose, type DiagnoseOptions, type Family, formatServiceKey } from '../../lib/index.ts'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import {
  addressOf,
  allMarked,
  allPorts,
  directRouting,
  ftp,
  fullNat,
  local,
  marked,
  type Mode,
  nat,
  natOneNetwork,
  onePacket,
  sctp,
  sip,
  tunnel,
  udp,
} from './modes.ts'
import { withMode } from './prove.ts'

/** In each mode that is set up as it should be, the doctor finds nothing: on the director, and on each real server. */

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']

/** Networks that have room for the header of a tunnel, around packets of full size. */
function wide(mode: Mode): Mode {
  const networks = Object.entries(mode.topology.networks).map(([name, network]) => [
    name,
    name === 'internet' ? network : { ...network, mtu: 1600 },
  ])
  return {
    ...mode,
    topology: { ...mode.topology, networks: Object.fromEntries(networks) as Mode['topology']['networks'] },
  }
}

const TUNNELS = [
  { type: 'ipip', checksum: false },
  { type: 'gue', checksum: false },
  { type: 'gre', checksum: true },
] as const

const MODES: readonly Mode[] = FAMILIES.flatMap((family) => [
  nat(family),
  natOneNetwork(family),
  directRouting(family),
  local(family),
  udp(family),
  sctp(family),
  onePacket(family),
  fullNat(family, 'iptables'),
  allPorts(family),
  marked(family, 'iptables'),
  allMarked(family, 'iptables'),
  ftp(family),
  sip(family),
  ...TUNNELS.flatMap((kind) => FAMILIES.map((outer) => wide(tunnel(family, { ...kind, outer })))),
])

/** What is told of a real server of a mode. */
function realServerOf({ name, topology, state }: Mode): DiagnoseOptions {
  const [{ realServers: [server] = [] }] = state.services
  const { method = 'direct', address = '', tunnel: kind } = server ?? {}
  if (method !== 'masquerade' && method !== 'direct' && method !== 'tunnel')
    throw new Error(`there is no real server with method ${String(method)}`)
  const network = Object.keys(topology.networks).includes('back') ? 'back' : undefined
  return {
    role: 'real-server',
    services: state.services.map((service) => formatServiceKey(service)),
    method,
    ...(kind !== undefined && { tunnel: kind }),
    // With full NAT the director is the client, and a route there is all that answers need.
    ...(!name.startsWith('full-nat') && {
      director: addressOf(topology, 'director', address.includes(':') ? 'ipv6' : 'ipv4', network),
    }),
  }
}

concurrentKernelTests('the doctor finds nothing', () => {
  test.each(MODES.map((mode) => [mode.name, mode.family, mode] as const))(
    'with %s, %s',
    async (...[, , mode]) => {
      await withMode(mode, async ({ host }) => {
        expect(await diagnose({ netns: host('director').name })).toEqual([])
        for (const name of Object.keys(mode.servers)) {
          if (name === 'director') continue
          expect(await diagnose({ ...realServerOf(mode), netns: host(name).name }), name).toEqual([])
        }
      })
    },
  )
})
