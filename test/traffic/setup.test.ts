import { fileURLToPath } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { formatServiceKey, type Family, type Finding } from '../../lib/index.ts'
import { ipvs } from '../cli/terminal.ts'
import { command, concurrentKernelTests, kernelSince, type Netns, script } from '../helpers/kernel.ts'
import { IN_VAIN_MS } from './agent.ts'
import {
  addressOf,
  directRouting,
  type Filter,
  fullNat,
  local,
  marked,
  type Mode,
  nat,
  natOneNetwork,
  tunnel,
} from './modes.ts'
import { expectWay, withMode } from './prove.ts'

/** `ipvs setup` makes machines on which nothing is done yet what a mode needs, and again what they were. */

const FILTER: Filter = kernelSince(6, 12) ? 'nft' : 'iptables'
const SERVERS = ['web1', 'web2'] as const

interface Case {
  readonly mode: Mode
  /** Words behind `ipvs setup director`. */
  readonly director?: readonly string[]
  /** Words behind those that all modes have, of real servers. Absent: nothing is to be done there. */
  readonly realServer?: readonly string[]
}

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
const LAN = { ipv4: '192.0.2.0/24', ipv6: '2001:db8::/64' }

const CASES: readonly Case[] = [
  ...FAMILIES.flatMap((family): Case[] => {
    const beside = addressOf(natOneNetwork(family).topology, 'director', family)
    const behind = addressOf(nat(family).topology, 'director', family, 'back')
    const masquerade = ['--method', 'masquerade', '--director']
    return [
      { mode: withOtherRoute(nat(family)), realServer: [...masquerade, behind] },
      {
        mode: natOneNetwork(family),
        director: ['--clients', LAN[family]],
        realServer: [...masquerade, beside, '--clients', LAN[family]],
      },
      { mode: directRouting(family), realServer: [] },
    ]
  }),
  { mode: local('ipv4') },
  tunnelled('ipv4', 'ipip', 'ipv4'),
  tunnelled('ipv4', 'gue', 'ipv4'),
  tunnelled('ipv4', 'gre', 'ipv4'),
  tunnelled('ipv6', 'ipip', 'ipv4'),
  tunnelled('ipv6', 'gue', 'ipv6'),
  tunnelled('ipv4', 'gre', 'ipv6'),
]

/** What needs rules, which another program makes on each kernel. */
const WITH_RULES = FAMILIES.flatMap((family): Case[] => [
  { mode: fullNat(family, FILTER), director: ['--snat'] },
  {
    mode: marked(family, FILTER),
    director: ['--address', nat(family).target.address, '--ports', '80,443'],
  },
])

/** Real servers that have another default route than the director. */
function withOtherRoute(mode: Mode): Mode {
  const { topology } = mode
  const hosts = Object.entries(topology.hosts).map(([name, host]) => [
    name,
    (SERVERS as readonly string[]).includes(name)
      ? { ...host, routes: ['default via 10.0.0.254', 'default via fd00::254'] }
      : host,
  ])
  return { ...mode, topology: { ...topology, hosts: Object.fromEntries(hosts) as typeof topology.hosts } }
}

function tunnelled(family: Family, type: 'ipip' | 'gue' | 'gre', outer: Family, known = true): Case {
  const mode = tunnel(family, { type, checksum: false, outer })
  return {
    mode,
    realServer: [
      ...['--method', 'tunnel', '--tunnel', type === 'gue' ? 'gue:6080' : type],
      ...(known ? ['--director', addressOf(mode.topology, 'director', outer)] : []),
    ],
  }
}

/** Tunnels from any director, into the device that the kernel has for that. */
const ANY_DIRECTOR = [
  tunnelled('ipv4', 'gue', 'ipv4', false),
  tunnelled('ipv4', 'gre', 'ipv4', false),
  tunnelled('ipv6', 'ipip', 'ipv4', false),
]

/** All that setting up may change, but for modules. */
function stateOf(netns: Netns): Promise<string> {
  return netns.run([
    'sh',
    '-c',
    `ip -o address | sed 's/ tentative//'
    ip -o link | sed 's/ qdisc [a-z]*//'
    ip route show table all
    ip -6 route show table all
    ip fou show
    ip -6 fou show
    grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/* /proc/sys/net/ipv4/vs/* 2>/dev/null |
      grep -v 'ipv6/conf/\\(tunl0\\|sit0\\|gre0\\)/' # these appear once the device was up
    ${FILTER === 'nft' ? 'nft list ruleset' : 'iptables-save | grep ^-A; ip6tables-save | grep ^-A'}
    true`,
  ])
}

type SetUp = (host: Netns, ...words: readonly string[]) => Promise<string>

const setUp: SetUp = async (host, ...words) => {
  const { status, stdout, stderr } = await ipvs(['setup', ...words, '--netns', host.name], { kernel: 'real' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

/** What the doctor finds wrong, told what setup was told. A note may say of a tunnel that it is narrow. */
async function wrongWith(host: Netns, [role = '', ...words]: readonly string[]): Promise<string[]> {
  const clients = words.indexOf('--clients')
  const told = role === 'director' ? [] : words.filter((_, index) => clients < 0 || index < clients)
  const { stdout } = await ipvs(['doctor', '--role', role, ...told, '--netns', host.name, '--json'], {
    kernel: 'real',
  })
  const findings = JSON.parse(stdout) as Finding[]
  return findings.filter(({ severity }) => severity !== 'note').map(({ code }) => code)
}

async function expectSetUp({ mode, director = [], realServer }: Case, run: SetUp = setUp): Promise<void> {
  const state = { services: mode.state.services }
  await withMode({ ...mode, state, commands: {} }, async (site) => {
    const { host, agent } = site
    const target = { ...mode.target, withinMs: IN_VAIN_MS }
    const roles = [
      { netns: host('director'), words: ['director', ...director] },
      ...(realServer === undefined ? [] : SERVERS).map((name) => ({
        netns: host(name),
        words: [
          ...[
            'real-server',
            '--service',
            formatServiceKey(mode.target as Parameters<typeof formatServiceKey>[0]),
          ],
          ...(realServer ?? []),
        ],
      })),
    ]
    // One real server is as good as two.
    const looked = roles.slice(0, 2)
    const states = (): Promise<string[]> => Promise.all(looked.map(({ netns }) => stateOf(netns)))
    const before = await states()
    await expect(agent.ask(host(mode.client), target)).rejects.toThrow()

    for (const { netns, words } of roles) expect(await run(netns, ...words, '--apply', '--yes')).not.toBe('')
    const conversation = await expectWay(mode, site)
    await conversation.close()

    for (const { netns, words } of looked) expect(await wrongWith(netns, words)).toEqual([])

    const after = await states()
    for (const { netns, words } of looked)
      expect(await run(netns, ...words, '--apply', '--yes')).toBe('nothing to do\n')
    expect(await states()).toEqual(after)

    for (const { netns, words } of looked) await run(netns, words[0] ?? '', '--undo', '--yes')
    expect(await states()).toEqual(before)
  })
}

const titled = (cases: readonly Case[]): [string, Case][] =>
  cases.map((one) => [`${one.mode.name}, ${one.mode.family}`, one])

concurrentKernelTests('machines are set up, and put back as they were', () => {
  beforeAll(async () => {
    // Each brings a device to all namespaces, which no undo takes away.
    await script('modprobe -a ip_vs ipip sit ip_gre ip6_tunnel ip6_gre fou fou6')
  })

  // What makes no rules is the same on both kernels.
  const elsewhere = kernelSince(6, 12)
  test.each(titled(WITH_RULES))('%s', (_, one) => expectSetUp(one))
  test.skipIf(elsewhere).each(titled(CASES))('%s', (_, one) => expectSetUp(one))
  test.skipIf(elsewhere).each(titled(ANY_DIRECTOR))('%s, from any director', (_, one) => expectSetUp(one))

  test.skipIf(elsewhere)('by the command as it is built', async () => {
    const file = fileURLToPath(new URL('../../dist/cli/ipvs.cjs', import.meta.url))
    await expectSetUp({ mode: directRouting('ipv4'), realServer: [] }, (host, ...words) =>
      command([process.execPath, file, 'setup', ...words, '--netns', host.name]),
    )
  })

  test.skipIf(elsewhere)('what a script did before it failed is taken back', async () => {
    await withMode({ ...nat('ipv4'), commands: {} }, async ({ host }) => {
      const before = await stateOf(host('director'))
      const words = ['setup', 'director', '--interface', 'eth9', '--apply', '--yes']
      const { status, stdout, stderr } = await ipvs([...words, '--netns', host('director').name], {
        kernel: 'real',
      })
      expect({ status, stderr }).toEqual({
        status: 8,
        stderr:
          'ipvs: Cannot find device "eth9"; this failed: ip address add 192.0.2.10/32 dev eth9; what this run had done was taken back\n',
      })
      expect(stdout.split('\n')).toEqual([
        'sysctl -w net.ipv4.ip_forward=1',
        'ip address add 192.0.2.10/32 dev eth9',
        'sysctl -w net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=1',
        '',
      ])
      expect(await stateOf(host('director'))).toBe(before)
    })
  })

  test.skipIf(elsewhere)('what somebody has changed since is not taken back', async () => {
    await withMode({ ...nat('ipv4'), commands: {} }, async ({ host, sh }) => {
      await setUp(host('director'), 'director', '--apply', '--yes')
      await sh('director', 'ip address delete 192.0.2.10/32 dev eth0')
      const said = await setUp(host('director'), 'director', '--undo', '--yes')
      expect(said).toBe('sysctl -w net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=1\n')
    })
  })
})
