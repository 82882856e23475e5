import { describe, expect, test } from 'vitest'
import type { Connection } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { SPELLINGS } from '../helpers/sysctl-spellings.ts'

/** Readers of what netlink does not carry, on the in-memory kernel. */

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const

async function all(connections: AsyncIterable<Connection>): Promise<Connection[]> {
  const list: Connection[] = []
  for await (const connection of connections) list.push(connection)
  return list
}

describe('sysctls', () => {
  test('are read together or one by one, and set', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    expect(await ipvs.sysctls()).toMatchObject({ conntrack: '0', sync_threshold: '3\t50' })
    await ipvs.setSysctl('conntrack', 1)
    await ipvs.setSysctl('sync_threshold', '5 60')
    expect(await ipvs.sysctl('conntrack')).toBe('1')
    expect(await ipvs.sysctl('sync_threshold')).toBe('5\t60')
    expect(await ipvs.sysctl('no_such_sysctl')).toBeUndefined()
  })

  test.each(SPELLINGS)('take a number in the spellings of C: %s', async (written, read) => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    const set = ipvs.setSysctl('sync_qlen_max', written)
    if (read === undefined) await expect(set).rejects.toMatchObject({ code: 'EINVAL' })
    else await set
    expect(await ipvs.sysctl('sync_qlen_max')).toBe(read ?? '16384')
  })

  test('that cannot be set say why', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await expect(ipvs.setSysctl('no_such_sysctl', 1)).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'open',
    })
    await expect(ipvs.setSysctl('sync_version', 2)).rejects.toMatchObject({
      code: 'EINVAL',
      command: 'setSysctl',
      message: expect.stringContaining('net.ipv4.vs.sync_version to "2"') as string,
    })
    kernel.privileged = false
    await expect(ipvs.setSysctl('conntrack', 1)).rejects.toMatchObject({ code: 'EACCES' })
  })

  test('are files of one folder, and take one line', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    for (const name of ['', '../conf/all/forwarding', 'a/b', 'A', 'a b', 7]) {
      await expect(ipvs.sysctl(name as string), String(name)).rejects.toThrow(/sysctl/)
      await expect(ipvs.setSysctl(name as string, 1), String(name)).rejects.toThrow(/sysctl/)
    }
    for (const value of ['1\n', '\0', 1.5, NaN, true, undefined]) {
      await expect(ipvs.setSysctl('conntrack', value as string), String(value)).rejects.toThrow(
        /sysctl conntrack/,
      )
    }
    expect(await ipvs.sysctl('conntrack')).toBe('0')
  })
})

describe('connections', () => {
  test('are those of clients, and the templates of persistence', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService({ ...WEB, persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' } })
    await ipvs.addRealServer(WEB, { address: '10.1.0.1', port: 8080, method: 'masquerade' })
    kernel.connect(WEB, { clientAddress: '198.51.100.7', clientPort: 40000 })
    kernel.advance(10)
    const common = {
      protocol: 'tcp',
      virtualAddress: '10.0.0.1',
      virtualPort: 80,
      serverAddress: '10.1.0.1',
      serverPort: 8080,
    }
    const found = await all(ipvs.connections())
    expect(found).toHaveLength(2)
    expect(found).toEqual(
      expect.arrayContaining([
        {
          ...common,
          clientAddress: '198.51.100.7',
          clientPort: 40000,
          state: 'ESTABLISHED',
          expiresSeconds: 890,
          template: false,
        },
        {
          ...common,
          clientAddress: '198.51.100.0',
          clientPort: 0,
          state: 'ASSURED',
          expiresSeconds: 50,
          template: true,
        },
      ]),
    )
  })

  test('of a firewall mark have the mark in their template', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    const key = { protocol: 'fwmark', fwmark: 7 } as const
    await ipvs.addService({ ...key, persistence: { timeoutSeconds: 60 } })
    await ipvs.addRealServer(key, { address: '10.1.0.1', method: 'masquerade' })
    kernel.connect(key, { clientAddress: '198.51.100.7' })
    const [template] = (await all(ipvs.connections())).filter((connection) => connection.template)
    expect(template).toMatchObject({ protocol: 0, virtualAddress: '0.0.0.7', virtualPort: 0, serverPort: 0 })
  })

  test('may be left early, and are refused after close()', async () => {
    const kernel = createMemoryKernel()
    const ipvs = await Ipvs.open({ transport: kernel })
    await ipvs.addService(WEB)
    await ipvs.addRealServer(WEB, { address: '10.1.0.1', method: 'masquerade' })
    kernel.traffic(WEB, { connections: 100 })
    let seen = 0
    for await (const connection of ipvs.connections()) {
      expect(connection.state).toBe('ESTABLISHED')
      seen += 1
      if (seen === 10) break
    }
    expect(seen).toBe(10)
    await ipvs.close()
    await expect(all(ipvs.connections())).rejects.toMatchObject({ code: 'EBADF', command: 'connections' })
  })
})
