import { expect, test } from 'vitest'
import { addressAnnounced } from '../../lib/doctor/findings/addresses.ts'
import { firewallDrops } from '../../lib/doctor/findings/firewall.ts'
import type { Host } from '../../lib/doctor/findings/host.ts'
import {
  DIRECTOR,
  foundBy,
  onDirector,
  onRealServer,
  REAL_SERVER,
  server,
  service,
} from '../helpers/doctor-host.ts'
import { DOCTOR_CASES } from './cases.ts'

/** Each look, at machines that are made by hand. */
test.each(DOCTOR_CASES)('$input', ({ look, situation, finds }) => {
  const found = foundBy(look, situation)
  expect(found).toMatchObject(finds)
  for (const { message, effect, commands, where, sysctls } of found) {
    expect(`${message}${effect}`).not.toMatch(/\n|undefined|\?/)
    expect(effect).toMatch(/^[A-Z].*\.$/)
    expect(where).toBe('here')
    for (const [name, value] of Object.entries(sysctls))
      expect(commands).toContain(`sysctl -w ${name}=${value}`)
  }
})

/** Of which `ip` told nothing. */
function blind(host: Host): Host {
  return {
    ...host,
    ...{ links: [], addresses: [], routes: [], routesTo: new Map(), neighbours: [], guePorts: [] },
    unread: [{ what: 'ip', why: 'it ended with status 1' }],
  }
}

const KNOWN = service('tcp/192.0.2.10:80', { servers: [] })

test.each([
  ['director', onDirector({ host: blind(DIRECTOR) })],
  ['real server with method direct', onRealServer({ services: [KNOWN], host: blind(REAL_SERVER) })],
  [
    'real server with method masquerade',
    onRealServer({
      services: [KNOWN],
      host: blind(REAL_SERVER),
      told: { method: 'masquerade', director: '192.0.2.1' },
    }),
  ],
  [
    'real server with method tunnel',
    onRealServer({
      services: [KNOWN],
      host: blind(REAL_SERVER),
      told: { method: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
    }),
  ],
] as const)('of a %s whose addresses could not be read, nothing is said to be missing', (_, situation) => {
  const looks = new Set(DOCTOR_CASES.map(({ look }) => look))
  const found = [...looks].flatMap((look) => foundBy(look, situation))
  expect(found.map(({ code }) => code)).toEqual(['cannot-look'])
})

test('where sysctls could not be read, a real server is not said to answer ARP', () => {
  const host: Host = {
    ...{ ...REAL_SERVER, sysctls: new Map() },
    unread: [{ what: '/proc/sys/net', why: 'it is empty' }],
  }
  expect(foundBy(addressAnnounced, onRealServer({ host: { ...host, unread: [] } }))).not.toEqual([])
  expect(foundBy(addressAnnounced, onRealServer({ host }))).toEqual([])
})

test('a firewall is asked about many real servers in steps, so that others have the JS thread meanwhile', () => {
  const servers = Array.from({ length: 1000 }, (_, index) =>
    server(`10.0.${String(index >> 8)}.${String(index & 255)}:80`),
  )
  const firewall = { iptables: '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT' }
  const situation = onDirector({
    services: [service('tcp/192.0.2.10:80', { servers })],
    host: { ...DIRECTOR, firewall },
  })
  expect([...firewallDrops(situation)]).toEqual(servers.map(() => undefined))
})
