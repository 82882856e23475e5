import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readHost } from '../../lib/doctor/host.ts'
import { ADDRESSES, onMachine, ROUTES } from '../helpers/fake-machine.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'

/** What is read of a machine whose programs are made by hand: well, ill or not at all. */

/** What ends only when it is ended. */
const HANGS = 'exec sleep 1000'
const LIMIT_MS = patient(1500)

test('reads links, addresses, routes, neighbours, sysctls and modules', async () => {
  onMachine({
    ip: [
      [
        ...ADDRESSES,
        {
          ...{ ifname: 'ipvs0', flags: ['POINTOPOINT', 'NOARP'], mtu: 1480, xdp: { mode: 1 } },
          linkinfo: { info_kind: 'ipip', info_data: { local: '192.0.2.11', remote: 'any' } },
        },
      ],
      ROUTES,
      [{ dst: '2001:DB8:0::1', dev: 'eth0', state: ['FAILED'] }],
      [{ dst: '192.0.2.1', dev: 'eth0', prefsrc: '192.0.2.11', flags: [], uid: 0 }],
      [{ port: 6080, gue: null, family: 'inet' }],
    ],
    sysctls: { 'net.ipv4.conf.eth0%100.rp_filter': '1', 'net.ipv4.vs.conntrack': '0' },
    programs: { nft: 'echo \'{"nftables": []}\'', 'iptables-save': 'echo "*filter"' },
  })
  const host = await readHost({ routesTo: ['192.0.2.1', '192.0.2.1', '198.51.100.1', 'web1'] })
  expect(host.links.map(({ name, up, loopback, arp }) => [name, up, loopback, arp])).toEqual([
    ['lo', true, true, true],
    ['eth0', true, false, true],
    ['ipvs0', false, false, false],
  ])
  expect(host.links.at(-1)).toMatchObject({
    kind: 'ipip',
    local: '192.0.2.11',
    remote: '',
    mtu: 1480,
    xdp: true,
  })
  expect(host.addresses.map((one) => Object.values(one).join(' '))).toEqual([
    '127.0.0.1 8 lo',
    '192.0.2.10 32 lo',
    '192.0.2.11 24 eth0',
  ])
  expect(host.routes.map(({ destination, gateway }) => [destination, gateway])).toEqual([
    ['0.0.0.0/0', '192.0.2.254'],
    ['192.0.2.0/24', undefined],
    ['::/0', '2001:db8::254'],
  ])
  expect(host.asked).toEqual(new Set(['192.0.2.1', '198.51.100.1']))
  expect(Object.fromEntries(host.routesTo)).toEqual({
    '192.0.2.1': { link: 'eth0', source: '192.0.2.11', type: 'unicast' },
  })
  expect(host.neighbours).toEqual([{ address: '2001:db8::1', link: 'eth0', states: ['FAILED'] }])
  expect(host.modules).toEqual(new Set(['ip_vs']))
  expect(Object.fromEntries(host.sysctls)).toEqual({
    'net.ipv4.conf.eth0/100.rp_filter': '1',
    'net.ipv4.vs.conntrack': '0',
  })
  expect(host.guePorts).toEqual([6080])
  expect(host.firewall).toEqual({ nft: { nftables: [] }, iptables: '*filter\n' })
  expect(host.unread).toEqual([])
})

test.each([
  ['is not there', 'echo "ip: not found" >&2; exit 127', 'ip: not found'],
  [
    'is too old for JSON',
    'echo \'Option "-j" is unknown, try "ip -help".\' >&2; exit 255',
    'Option "-j" is unknown, try "ip -help".',
  ],
  ['fails without a word', 'exit 3', 'it ended with status 3'],
  ['prints something else', 'echo hello; echo "{"', 'it did not print JSON'],
  ['prints JSON of another kind', 'echo 5; echo null; echo "{}"', 'it did not print JSON'],
])('says so if ip %s', async (_, ip, why) => {
  onMachine({ programs: { ip } })
  const host = await readHost({ routesTo: ['192.0.2.1'] })
  expect(host.unread).toEqual([{ what: 'ip', why }])
  expect([host.links, host.routes, host.sysctls.size > 0]).toEqual([[], [], true])
})

test('takes lists of something else for empty ones', async () => {
  onMachine({ ip: [[null, 5, 'eth0'], [null], [[]], [null]] })
  const host = await readHost({ routesTo: ['192.0.2.1'] })
  expect([host.links, host.routes, host.routesTo.size]).toEqual([[], [], 0])
})

test('says so if sysctls cannot be read', async () => {
  onMachine({ programs: { grep: 'exit 1' } })
  expect((await readHost({})).unread).toEqual([{ what: '/proc/sys/net', why: 'it ended with status 1' }])
})

test('ends a program that hangs, with all that it has started, and knows what came before', async () => {
  const folder = onMachine({ programs: { nft: `echo $$ >"$(dirname "$0")/pid"; ${HANGS}` } })
  const host = await readHost({ limitMs: LIMIT_MS })
  const why = `it took longer than ${String(LIMIT_MS / 1000)} s`
  expect(host.links).toHaveLength(2)
  expect(host.unread).toEqual([
    { what: 'nft', why },
    { what: 'iptables', why },
    { what: 'ip6tables', why },
  ])
  await gone(folder)
})

test('ends what it has started when it is aborted', async () => {
  const folder = onMachine({ programs: { ip: `echo $$ >"$(dirname "$0")/pid"; ${HANGS}` } })
  const controller = new AbortController()
  const reading = readHost({ signal: controller.signal })
  await until(
    'ip runs',
    () => existsSync(join(folder, 'pid')) && readFileSync(join(folder, 'pid'), 'utf8') !== '',
  )
  controller.abort(new Error('enough'))
  await expect(reading).rejects.toThrow('enough')
  await gone(folder)
})

test('reads the namespace that it is told, and says why it cannot', async () => {
  onMachine({ programs: { nsenter: 'echo "nsenter: cannot open $1" >&2; exit 1' } })
  const host = await readHost({ netns: '/run/netns/blue' })
  expect(host.unread).toContainEqual({ what: 'ip', why: 'nsenter: cannot open --net=/run/netns/blue' })
})

async function gone(folder: string): Promise<void> {
  const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'))
  await until('the program has ended', () => {
    try {
      // One that has ended, and that nobody has waited for yet, is a zombie.
      return /^State:\s*Z/m.test(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))
    } catch {
      return true
    }
  })
}
