import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import type { OpenFile } from '../../lib/transport/transport.ts'
import type { Connection } from '../../lib/model/types.ts'
import { command, kernelTests, type Netns, withNamespace, withNamespaces } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import {
  Connection as Client,
  REAL,
  sendDatagram,
  startEcho,
  VIRTUAL,
  withNetwork,
} from '../helpers/kernel-traffic.ts'
import { SPELLINGS } from '../helpers/sysctl-spellings.ts'

async function connectionsOf({ ipvs }: Netns): Promise<Connection[]> {
  const list: Connection[] = []
  for await (const connection of ipvs.connections()) list.push(connection)
  return list
}

kernelTests('sysctls', () => {
  test('are those of the namespace, whatever that of the process is', () =>
    withNamespaces(2, async (one, two) => {
      await one.ipvs.setSysctl('conntrack', 1)
      await one.ipvs.setSysctl('sync_threshold', '7 70')
      expect((await one.read('/proc/sys/net/ipv4/vs/conntrack')).trim()).toBe('1')
      expect(await one.ipvs.sysctl('sync_threshold')).toBe('7\t70')
      expect(await two.ipvs.sysctls()).toMatchObject({ conntrack: '0', sync_threshold: '3\t50' })
    }))

  test('are all that the kernel has, but for the debug level', () =>
    withNamespace(async (netns) => {
      // Schedulers that have sysctls of their own, once they are loaded.
      await netns.ipvs.addService({ protocol: 'fwmark', fwmark: 1, scheduler: 'lblc' })
      await netns.ipvs.addService({ protocol: 'fwmark', fwmark: 2, scheduler: 'lblcr' })
      const names = (await netns.run(['ls', '/proc/sys/net/ipv4/vs'])).trim().split('\n')
      expect(names).toContain('lblc_expiration')
      const read = await netns.ipvs.sysctls()
      expect(Object.keys(read).sort()).toEqual(names.filter((name) => name !== 'debug_level').sort())
      for (const name of Object.keys(read)) {
        expect(read[name], name).toBe((await netns.read(`/proc/sys/net/ipv4/vs/${name}`)).trim())
      }
    }))

  test.each(SPELLINGS)('take a number in the spellings of C: %s', (written, read) =>
    withNamespace(async ({ ipvs }) => {
      const set = ipvs.setSysctl('cache_bypass', written)
      if (read === undefined) {
        await expect(set).rejects.toMatchObject({ code: 'EINVAL' })
        return
      }
      await set
      expect(await ipvs.sysctl('cache_bypass')).toBe(read)
      expect((await ipvs.plan({ services: [], sysctls: { cache_bypass: written } })).steps).toEqual([])
    }),
  )

  test.each(['0', '0,0', '0-0', '0-0:1/1'])('take a list of CPUs, where the kernel has one: %s', (written) =>
    withNamespace(async ({ ipvs }) => {
      // From Linux 6.2.
      if ((await ipvs.sysctl('est_cpulist')) === undefined) return
      await ipvs.setSysctl('est_cpulist', written)
      expect(await ipvs.sysctl('est_cpulist')).toBe('0')
      expect((await ipvs.plan({ services: [], sysctls: { est_cpulist: written } })).steps).toEqual([])
    }),
  )

  test('stay those of the namespace, when another gets its name', async () => {
    const name = `ipvs-test-again-${String(process.pid)}`
    const add = (): void => void execFileSync('ip', ['netns', 'add', name])
    const remove = (): void => void execFileSync('ip', ['netns', 'delete', name])
    add()
    const first = await Ipvs.open({ netns: name }).finally(remove)
    await first.setSysctl('conntrack', 1)
    expect(await first.sysctl('conntrack')).toBe('1')
    add()
    const second = await Ipvs.open({ netns: name }).finally(remove)
    expect(await second.sysctl('conntrack')).toBe('0')
    await first.restore({ services: [], sysctls: { cache_bypass: '1' } })
    expect(await first.save({ sysctls: ['conntrack', 'cache_bypass'] })).toMatchObject({
      sysctls: { conntrack: '1', cache_bypass: '1' },
    })
    expect(await second.sysctl('cache_bypass')).toBe('0')
    for await (const connection of first.connections()) throw new Error(JSON.stringify(connection))
    await Promise.all([first.close(), second.close()])
  })

  test('that the kernel refuses say so', () =>
    withNamespace(async ({ ipvs }) => {
      await expect(ipvs.setSysctl('sync_version', 2)).rejects.toMatchObject({
        code: 'EINVAL',
        syscall: 'write',
      })
      await expect(ipvs.setSysctl('no_such_sysctl', 2)).rejects.toMatchObject({ code: 'ENOENT' })
    }))
})

kernelTests('connections', () => {
  test('are those of the namespace, of both families, with the templates of persistence', () =>
    withNetwork(async ({ client, director, host }) => {
      await startEcho(host, 'tcp', 7001)
      await startEcho(host, 'udp', 5300)
      const { ipvs } = director
      const web = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
      const web6 = { protocol: 'tcp', address: VIRTUAL.ipv6, port: 80 } as const
      const dns = { protocol: 'udp', address: VIRTUAL.ipv4, port: 53 } as const
      await ipvs.addService({ ...web, persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' } })
      await ipvs.addRealServer(web, { address: REAL.ipv4, port: 7001, method: 'masquerade' })
      await ipvs.addService(web6)
      await ipvs.addRealServer(web6, { address: REAL.ipv6, port: 7001, method: 'masquerade' })
      await ipvs.addService(dns)
      await ipvs.addRealServer(dns, { address: REAL.ipv4, port: 5300, method: 'masquerade' })
      const open = [await Client.open(client, VIRTUAL.ipv4, 80), await Client.open(client, VIRTUAL.ipv6, 80)]
      await sendDatagram(client, VIRTUAL.ipv4, 53)

      const list = await connectionsOf(director)
      const text = await command(['ip', 'netns', 'exec', director.name, 'ipvsadm', '-Lcn'])
      expect(list).toHaveLength(text.trim().split('\n').length - 2)
      for (const { expiresSeconds, state } of list) {
        expect(expiresSeconds, state).toBeGreaterThan(0)
        expect(expiresSeconds, state).toBeLessThanOrEqual(900)
      }
      const { ipv4: server } = REAL
      expect(list).toEqual(
        expect.arrayContaining([
          expect.objectContaining({
            protocol: 'tcp',
            clientAddress: '10.1.0.2',
            virtualAddress: VIRTUAL.ipv4,
            virtualPort: 80,
            serverAddress: server,
            serverPort: 7001,
            state: 'ESTABLISHED',
            template: false,
          }),
          expect.objectContaining({
            clientAddress: '10.1.0.0',
            clientPort: 0,
            serverPort: 7001,
            state: 'ASSURED',
            template: true,
          }),
          expect.objectContaining({
            clientAddress: 'fd01::2',
            virtualAddress: VIRTUAL.ipv6,
            serverAddress: REAL.ipv6,
            state: 'ESTABLISHED',
          }),
          expect.objectContaining({ protocol: 'udp', clientPort: 5555, serverPort: 5300, state: 'UDP' }),
        ]),
      )
      // Nobody else's: the client's namespace has none.
      expect(await connectionsOf(client)).toEqual([])
      for (const connection of open) await connection.close()
    }))

  test('are all there where the list takes several pieces, and others use the same Ipvs meanwhile', () =>
    withNetwork(async ({ client, director }) => {
      const { ipvs } = director
      const dns = { protocol: 'udp', address: VIRTUAL.ipv4, port: 53 } as const
      await ipvs.addService(dns)
      await ipvs.addRealServer(dns, { address: REAL.ipv4, port: 5300, method: 'masquerade' })
      const count = 2500
      // A connection for each port of the client. Nobody answers.
      await client.run([
        'node',
        '-e',
        `const { createSocket } = require('node:dgram')
        let left = ${String(count)}
        const next = (port) => {
          const socket = createSocket('udp4').bind(port, () =>
            socket.send('x', 53, '${VIRTUAL.ipv4}', () => {
              socket.close()
              if (--left > 0) next(port + 1)
            }))
        }
        next(10000)`,
      ])
      // Up to Linux 6.13 the kernel goes on by position in one table for all namespaces: where
      // the connections of another end meanwhile, it skips some.
      await until('the list is complete', async () => {
        const ports = new Set<number>()
        for await (const { clientPort } of ipvs.connections()) {
          ports.add(clientPort)
          if (ports.size % 1000 === 0) expect(await ipvs.services()).toHaveLength(1)
        }
        return ports.size === count
      })
      const left = ipvs.connections()
      await left.next()
      await left.return()
    }))

  test('of a firewall mark have the mark in their template', () =>
    withNetwork(async ({ client, director, host }) => {
      await startEcho(host, 'tcp', 7001)
      const mark = { protocol: 'fwmark', fwmark: 7 } as const
      await director.run([
        'sh',
        '-c',
        `iptables-legacy -t mangle -A PREROUTING -d ${VIRTUAL.ipv4} -p tcp --dport 7001 -j MARK --set-mark 7`,
      ])
      await director.ipvs.addService({ ...mark, persistence: { timeoutSeconds: 60 } })
      await director.ipvs.addRealServer(mark, { address: REAL.ipv4, method: 'masquerade' })
      const connection = await Client.open(client, VIRTUAL.ipv4, 7001)
      const templates = (await connectionsOf(director)).filter(({ template }) => template)
      expect(templates).toEqual([
        expect.objectContaining({ protocol: 0, virtualAddress: '0.0.0.7', virtualPort: 0, serverPort: 0 }),
      ])
      await connection.close()
    }))
})

kernelTests('totals', () => {
  test('are those of all services of the namespace, and outlive them', () =>
    withNetwork(async ({ client, director, host }) => {
      await startEcho(host, 'tcp', 7001)
      const { ipvs } = director
      const keys = [80, 81].map((port) => ({ protocol: 'tcp', address: VIRTUAL.ipv4, port }) as const)
      for (const key of keys) {
        await ipvs.addService(key)
        await ipvs.addRealServer(key, { address: REAL.ipv4, port: 7001, method: 'masquerade' })
        const connection = await Client.open(client, VIRTUAL.ipv4, key.port)
        await connection.close()
      }
      // The kernel looks every two seconds, and at each for itself.
      let counted: bigint[] = []
      await until('the totals are the sums of the services', async () => {
        const services = await ipvs.services({ bigint: true })
        counted = Object.values((await ipvs.totals({ bigint: true })).stats) as bigint[]
        const sums = Object.keys(services[0]?.stats ?? {}).map((name) =>
          services.reduce((sum, { stats }) => sum + stats[name as keyof typeof stats], 0n),
        )
        return counted[0] === 2n && sums.join() === counted.join()
      })
      for (const count of counted) expect(count).toBeGreaterThan(0n)
      await ipvs.flush()
      expect(Object.values((await ipvs.totals({ bigint: true })).stats)).toEqual(counted)
      await ipvs.zero()
      expect(Object.values((await ipvs.totals()).stats)).toEqual([0, 0, 0, 0, 0])
      // Nothing ever passed here, nor in the in-memory kernel, which writes the same file.
      const file = (await createMemoryKernel().openProcNet('ip_vs_stats')) as OpenFile
      const none = new TextDecoder().decode((await file.read()) as Uint8Array)
      expect(await client.read('/proc/net/ip_vs_stats')).toBe(none)
    }))
})
