import { expect, test } from 'vitest'
import type { Family } from '../../lib/index.ts'
import { concurrentKernelTests, kernelSince } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import type { Agent, Conversation } from './agent.ts'
import { countsOf } from './agent.ts'
import {
  CLIENT_PORT,
  directRouting,
  fullNat,
  local,
  type Mode,
  nat,
  natOneNetwork,
  sctp,
  tunnel,
  udp,
} from './modes.ts'
import { type HostDescription, type Site, withTopology } from './topology.ts'

/** Each mode as it is described: packets go the way that it says, and no other. */

/** Builds the mode's machines, all as strict as distributions make them, and sets them up. */
export function withMode<T>(mode: Mode, body: (site: Site<string>) => Promise<T>): Promise<T> {
  return withTopology(mode.topology, async (site) => {
    for (const [host, { router = false }] of Object.entries<HostDescription>(mode.topology.hosts))
      // A router that asked this would not let pass what comes with the virtual address from another network.
      if (!router) await site.sh(host, 'sysctl -qw net.ipv4.conf.all.rp_filter=1')
    await setUp(mode, site)
    return body(site)
  })
}

async function setUp(mode: Mode, { hosts, agent, sh }: Site<string>): Promise<void> {
  for (const [host, lines] of Object.entries(mode.commands)) await sh(host, ...lines)
  await netnsOf(hosts, 'director').ipvs.apply(mode.state)
  for (const [host, listeners] of Object.entries(mode.servers)) {
    for (const listener of listeners)
      await agent.serve(netnsOf(hosts, host), { ...listener, name: host })
  }
}

function netnsOf(hosts: Site<string>['hosts'], name: string): Site<string>['hosts'][string] {
  const netns = hosts[name]
  if (netns === undefined) throw new Error(`no host ${name}`)
  return netns
}

/** Where the mode's clients connect to. */
function targetOf({ state }: Mode): Parameters<Agent['ask']>[1] {
  const [{ protocol, address, port }] = state.services as [
    { protocol: 'tcp'; address: string; port: number },
  ]
  return { protocol, address, port }
}

/** Asks once, and compares what reaches each host with the way that the mode describes. */
async function expectWay(mode: Mode, { hosts, agent }: Site<string>): Promise<Conversation> {
  for (const netns of Object.values(hosts)) await agent.watch(netns)
  const conversation = await agent.connect(netnsOf(hosts, mode.client), {
    ...targetOf(mode),
    sourcePort: CLIENT_PORT,
  })
  const hops = [...mode.way.request, ...mode.way.reply]
  const wanted = (name: string): unknown[] =>
    hops.filter(({ to }) => to === name).map(({ from, to, ...packet }) => packet)
  for (const [name, netns] of Object.entries(hosts)) {
    let seen: unknown[] = []
    await until(`${name} has seen its packets`, async () => {
      seen = await agent.seen(netns)
      return seen.length >= wanted(name).length
    }).catch(() => undefined)
    expect(seen, name).toEqual(wanted(name))
  }
  const last = mode.way.request.at(-1)
  expect(conversation.server).toBe(last?.to)
  expect(`${conversation.answer.address} ${String(conversation.answer.port)}`).toBe(
    last?.source.replace(/^\[?(.*?)\]?:(\d+)$/, '$1 $2'),
  )
  return conversation
}

async function expectMode(mode: Mode): Promise<void> {
  await withMode(mode, async (site) => {
    const conversation = await expectWay(mode, site).catch(async (e) => { for (const h of Object.keys(site.hosts)) console.log(h, JSON.stringify(await site.agent.seen(site.hosts[h]!), null, 0), await site.sh(h, 'ip -s -s link show ipvs0 || true; nstat -a | grep -v " 0 " | head -60; ip addr')); throw e })
    const { hosts, agent } = site
    if (targetOf(mode).protocol !== 'udp') {
      expect((await conversation.say('want 100000')).more).toBe(100_000)
      expect((await conversation.say('x'.repeat(100_000))).bytes).toBe(100_000)
    }
    await conversation.close()
    const servers = Object.keys(mode.servers)
    const answers = await agent.askMany(netnsOf(hosts, mode.client), targetOf(mode), 2 * servers.length)
    expect(countsOf(answers)).toEqual(Object.fromEntries(servers.map((name) => [name, 2])))
  })
}

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']

concurrentKernelTests('packets go the way that is described', () => {
  const both = [nat, natOneNetwork, directRouting, local, udp, sctp]
  const tunnels = FAMILIES.flatMap((family) =>
    FAMILIES.flatMap((outer) =>
      (['ipip', 'gue', 'gre'] as const).flatMap((type) =>
        [false, ...(type === 'ipip' ? [] : [true])].map((checksum) => tunnel(family, { type, checksum, outer })),
      ),
    ),
  )
  const filters = kernelSince(6, 12) ? (['iptables', 'nft'] as const) : (['iptables'] as const)
  const full = FAMILIES.flatMap((family) => filters.map((filter) => fullNat(family, filter)))
  const modes = [...both.flatMap((mode) => FAMILIES.map((family) => mode(family))), ...tunnels, ...full]
  test.each(modes.map((mode) => [`${mode.name}, ${mode.family}`, mode] as const))('%s', (_, mode) =>
    expectMode(mode),
  )
})
