import { expect } from 'vitest'
import type { Netns } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import type { Conversation, Packet } from './agent.ts'
import { CLIENT_PORT, type Mode } from './modes.ts'
import { type HostDescription, type Site, withTopology } from './topology.ts'

/** What tests of modes share: a mode that is set up, and its packets at each hop. */

/** The machines of a mode, by name. */
export interface ModeSite extends Omit<Site<string>, 'hosts'> {
  readonly host: (name: string) => Netns
}

/** Builds the mode's machines, all as strict as distributions make them, sets them up, and starts the servers. */
export function withMode<T>(mode: Mode, body: (site: ModeSite) => Promise<T>): Promise<T> {
  return withTopology(mode.topology, async ({ hosts, agent, sh }) => {
    const host = (name: string): Netns => {
      const netns = hosts[name]
      if (netns === undefined) throw new Error(`no host ${name}`)
      return netns
    }
    for (const [name, { router = false }] of Object.entries<HostDescription>(mode.topology.hosts)) {
      // A router that asked this would not let pass what comes from another network with the virtual address.
      const strict = router ? [] : ['sysctl -qw net.ipv4.conf.all.rp_filter=1']
      const lines = [...strict, ...(mode.commands[name] ?? [])]
      if (lines.length > 0) await sh(name, ...lines)
    }
    await host('director').ipvs.apply(mode.state)
    for (const [name, listeners] of Object.entries(mode.servers))
      for (const listener of listeners) await agent.serve(host(name), { ...listener, name })
    return body({ host, agent, sh })
  })
}

/** Begins a conversation, and compares what reaches each host with the way that the mode describes. */
export async function expectWay(mode: Mode, { host, agent }: ModeSite): Promise<Conversation> {
  const names = Object.keys(mode.topology.hosts)
  for (const name of names) await agent.watch(host(name))
  const conversation = await agent.connect(host(mode.client), { ...mode.target, sourcePort: CLIENT_PORT })
  const hops = [...mode.way.request, ...mode.way.reply]
  for (const name of names) {
    const expected = hops
      .filter(({ to }) => to === name)
      .map(({ from: _from, to: _to, ...packet }): Packet => packet)
    const seen = await until(`${name} has seen what it should`, async () => {
      const packets = await agent.seen(host(name))
      return packets.length >= expected.length && packets
    })
    expect(seen, name).toEqual(expected)
  }
  const arrived = mode.way.request.at(-1)
  expect(conversation.server).toBe(arrived?.to)
  const { address, port } = conversation.answer
  expect(arrived?.source).toBe(
    address.includes(':') ? `[${address}]:${String(port)}` : `${address}:${String(port)}`,
  )
  return conversation
}
