import { expect, test } from 'vitest'
import { concurrentKernelTests } from '../helpers/kernel.ts'
import { type Answer, countsOf, IN_VAIN_MS } from './agent.ts'
import { BEHIND_DIRECTOR, ONE_NETWORK, ROUTED, VIRTUAL } from './topologies.mjs'
import { withTopology } from './topology.ts'

/** The networks are as they are described, and the agent sees what happens in them. */
concurrentKernelTests('a topology', () => {
  test('has routes from everywhere to everywhere, and servers of each protocol and family', async () => {
    await withTopology(BEHIND_DIRECTOR, async ({ hosts, agent, sh }) => {
      await sh('director', 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1')
      await sh('router', 'ip route add 10.0.0.0/24 via 192.0.2.1', 'ip route add fd00::/64 via 2001:db8::1')
      for (const protocol of ['tcp', 'udp', 'sctp'] as const) {
        const port = await agent.serve(hosts.web1, { protocol, port: 0, name: 'one' })
        for (const address of ['10.0.0.11', 'fd00::11']) {
          const answer = await agent.ask(hosts.client, { protocol, address, port })
          expect(answer).toMatchObject({ server: 'one', said: 'hello', bytes: 5, more: 0 })
          expect(answer.address).toBe(address.includes(':') ? '2001:db8:100::100' : '198.51.100.100')
        }
      }
    })
  })

  test('answers HTTP, long lines, and with long lines; holds conversations; says what fails', async () => {
    await withTopology(ONE_NETWORK, async ({ hosts, agent }) => {
      const at = { address: '192.0.2.11', port: 80 }
      await agent.serve(hosts.web1, { port: 80, name: 'web1' })
      expect(await agent.get(hosts.client, at)).toBe('web1, for 198.51.100.100\n')
      const held = await agent.connect(hosts.neighbour, { ...at, sourcePort: 5000 })
      expect([held.server, held.answer.port, held.sourcePort]).toEqual(['web1', 5000, 5000])
      expect((await held.say('x'.repeat(100_000))).bytes).toBe(100_000)
      expect((await held.say('want 100000')).more).toBe(100_000)
      await agent.stop(hosts.web1, 'web1')
      expect((await held.say('still here')).said).toBe('still here')
      await held.close()
      await expect(agent.ask(hosts.client, at)).rejects.toThrow('ECONNREFUSED')
      const nobody = { address: '192.0.2.77', port: 80, withinMs: IN_VAIN_MS }
      await expect(agent.ask(hosts.client, nobody)).rejects.toThrow(/ETIMEDOUT|EHOSTUNREACH/)
    })
  })

  test('asks hundreds of times, from several addresses', async () => {
    await withTopology(ROUTED, async ({ hosts, agent, sh }) => {
      await sh('client', 'ip address add 198.51.100.101/24 dev eth0')
      await agent.serve(hosts.web2, { port: 80, name: 'web2' })
      const sources = ['198.51.100.100', '198.51.100.101']
      const answers = await agent.askMany(hosts.client, { address: '203.0.113.141', port: 80 }, 200, sources)
      expect(countsOf(answers)).toEqual({ web2: 200 })
      expect(countsOf(answers.map((answer) => ({ server: (answer as Answer).address })))).toEqual({
        '198.51.100.100': 100,
        '198.51.100.101': 100,
      })
    })
  })

  test('has a table of its own on each director', async () => {
    await withTopology(ONE_NETWORK, async ({ hosts }) => {
      await hosts.director.ipvs.addService({ protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 })
      expect(await hosts.director.ipvs.services()).toHaveLength(1)
      expect(await hosts.client.ipvs.services()).toEqual([])
    })
  })
})
