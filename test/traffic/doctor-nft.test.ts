import { expect, test } from 'vitest'
import { concurrentKernelTests, kernelSince } from '../helpers/kernel.ts'
import { IN_VAIN_MS } from './agent.ts'
import { expectMended } from './faults.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { withTopology } from './topology.ts'

/** Rules of nft, as doctor-table.test.ts has those of iptables. User Mode Linux 6.1 has no nf_tables. */

const KEY = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const

const FAULTS = [
  [
    'chain input { type filter hook input priority filter; policy drop; ct state established,related accept\n }',
    'firewall-drops',
  ],
  [
    'set web { type inet_service; elements = { 80, 443 }; }\n chain refuse { tcp dport @web reject\n }\n chain input { type filter hook input priority filter; jump refuse\n }',
    'firewall-drops',
  ],
  [
    'chain forward { type filter hook forward priority filter; ct state vmap { invalid : drop, established : accept }\n }',
    'firewall-drops',
  ],
  [
    `chain first { type filter hook prerouting priority mangle; ip daddr ${VIRTUAL.ipv4} tcp dport { 80, 443 } meta mark set 7\n }`,
    'service-shadowed',
  ],
] as const

concurrentKernelTests('the doctor, of a firewall of nft', () => {
  test.runIf(kernelSince(6, 12))('finds what drops packets and answers, and what marks them', async () => {
    await withTopology(BEHIND_DIRECTOR, async (site) => {
      const { hosts, agent, sh } = site
      const { ipvs } = hosts.director
      await sh('director', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`, 'sysctl -qw net.ipv4.ip_forward=1')
      await agent.serve(hosts.web1, { port: 80, name: 'web1' })
      const realServers = [{ address: '10.0.0.11', port: 80, method: 'masquerade' }] as const
      // Nothing answers there.
      const marked = {
        protocol: 'fwmark',
        fwmark: 7,
        realServers: [{ address: '10.0.0.12', method: 'masquerade' }],
      } as const
      await ipvs.restore({ services: [{ ...KEY, realServers }, marked] })
      for (const [rules, code] of FAULTS) {
        const found = await expectMended(site, {
          ...{ code, on: 'director' },
          serves: () => agent.ask(hosts.client, { ...KEY, withinMs: IN_VAIN_MS * 3 }),
          make: () => sh('director', `nft 'table inet test {\n${rules}\n}'`),
          ...(code === 'service-shadowed' && {
            byHand: async () => {
              // It leaves what the mark takes: now back to before.
              await sh('director', 'nft flush ruleset')
              await ipvs.restore({ services: [{ ...KEY, realServers }, marked] })
            },
          }),
        })
        expect(found.services[0]).toEqual(KEY)
        await sh('director', 'nft flush ruleset')
      }
    })
  })
})
