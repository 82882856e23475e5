import { expect, test } from 'vitest'
import { kernelSince, kernelTests, type Netns } from '../helpers/kernel.ts'
import { Connection, type Network, REAL, startEcho, VIRTUAL, withNetwork } from '../helpers/kernel-traffic.ts'
import { until } from '../helpers/until.ts'

/** Services by firewall mark, with marks that iptables and nftables set: both as the guest has them. */

const MARK = 7
const PORTS = [8080, 8443]
const FAMILIES = ['ipv4', 'ipv6'] as const

/** A director that marks two ports of its virtual addresses. The services by that mark get the connections to both. */
async function expectMarked({ client, director, host }: Network): Promise<void> {
  for (const port of PORTS) await startEcho(host, 'tcp', port)
  for (const family of FAMILIES) {
    const key = { protocol: 'fwmark', fwmark: MARK, family } as const
    const service = await director.ipvs.addService({ ...key, scheduler: 'rr' })
    await service.addRealServer({ address: REAL[family], method: 'masquerade' })
    for (const port of PORTS) await (await Connection.open(client, VIRTUAL[family], port)).close()
    await until(
      'the service has counted both connections',
      async () => (await director.ipvs.service(key)).stats.connections === PORTS.length,
    )
  }
}

/** Marks by the older program or by that for nftables, of one family. */
async function mark(director: Netns, program: string, address: string): Promise<void> {
  const match = ['-d', address, '-p', 'tcp', '-m', 'multiport', '--dports', PORTS.join(',')]
  await director.run([
    ...[program, '-t', 'mangle', '-A', 'PREROUTING', ...match, '-j', 'MARK', '--set-mark', String(MARK)],
  ])
}

kernelTests('a service by firewall mark', () => {
  test('gets the connections that iptables and ip6tables mark', async () => {
    await withNetwork(async (network) => {
      await mark(network.director, 'iptables', VIRTUAL.ipv4)
      await mark(network.director, 'ip6tables', VIRTUAL.ipv6)
      await expectMarked(network)
    })
  })

  test.skipIf(!kernelSince(6, 12))('gets the connections that nft marks', async () => {
    await withNetwork(async (network) => {
      const marks = `tcp dport { ${PORTS.join(', ')} } meta mark set ${String(MARK)}`
      await network.director.run([
        'nft',
        `table inet director {
          chain marks {
            type filter hook prerouting priority mangle;
            ip daddr ${VIRTUAL.ipv4} ${marks}
            ip6 daddr ${VIRTUAL.ipv6} ${marks}
          }
        }`,
      ])
      await expectMarked(network)
    })
  })

  test.skipIf(process.env.IPVS_GUEST !== '6.1')('nft says that there are no nf_tables', async () => {
    await withNetwork(async ({ director }) => {
      await expect(director.run(['nft', 'list', 'ruleset'])).rejects.toThrow(
        /nft: this guest's kernel, User Mode Linux 6\.1, is built without nf_tables for IP: use iptables here/,
      )
    })
  })
})
