import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel, type MemoryKernel, type MemoryKernelOptions } from '../../lib/testing.ts'
import type { RealServerSpec, ServiceKey, ServiceSettings } from '../../lib/model/types.ts'

const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const DNS = { protocol: 'udp', address: '10.0.0.1', port: 53 } as const

type Key = ServiceKey

/** A kernel with one service, whose servers were added in this order. */
async function withServers(
  settings: ServiceSettings,
  servers: readonly RealServerSpec[],
  { key = WEB, ...options }: MemoryKernelOptions & { key?: Key } = {},
): Promise<{ kernel: MemoryKernel; ipvs: Ipvs }> {
  const kernel = createMemoryKernel(options)
  const ipvs = await Ipvs.open({ transport: kernel })
  await ipvs.addService({ ...key, ...settings })
  for (const server of servers) await ipvs.addRealServer(key, server)
  return { kernel, ipvs }
}

/** Last numbers of the servers that so many new connections get. */
function choices(kernel: MemoryKernel, count: number, key: Key = WEB): string {
  return kernel
    .traffic(key, { connections: count })
    .map(({ realServer }) => realServer?.address.split('.').at(-1) ?? '-')
    .join('')
}

const server = (number: number, weight = 1): RealServerSpec => ({ address: `10.1.0.${number}`, weight })

describe('scheduling', () => {
  test('rr goes round from the newest, and leaves out weight 0', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1), server(2), server(3)])
    expect(choices(kernel, 7)).toBe('3213213')
    await ipvs.editRealServer(WEB, server(2), { weight: 0 })
    expect(choices(kernel, 4)).toBe('1313')
    // Deleted where the round is: it goes on with the next.
    await ipvs.deleteRealServer(WEB, server(3))
    expect(choices(kernel, 2)).toBe('11')
  })

  test('wrr gives as many as the weights say, the heavier alone before the others join', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'wrr' }, [
      server(1, 4),
      server(2, 3),
      server(3, 2),
    ])
    expect(choices(kernel, 18)).toBe('321121321321121321')
    await ipvs.editRealServer(WEB, server(1), { weight: 0 })
    await ipvs.editRealServer(WEB, server(2), { weight: 0 })
    await ipvs.editRealServer(WEB, server(3), { weight: 0 })
    expect(choices(kernel, 2)).toBe('--')
  })

  test('lc counts an active connection as 256 inactive ones; wlc by weight', async () => {
    const lc = await withServers({ scheduler: 'lc' }, [server(1), server(2)])
    const [first, second] = lc.kernel.traffic(WEB, { connections: 2 })
    expect([first?.realServer?.address, second?.realServer?.address]).toEqual(['10.1.0.2', '10.1.0.1'])
    first?.close()
    expect(choices(lc.kernel, 1)).toBe('2')
    const wlc = await withServers({ scheduler: 'wlc' }, [server(1, 3), server(2, 1)])
    expect(choices(wlc.kernel, 40).replaceAll('2', '')).toHaveLength(30)
  })

  test('sed and nq look at the connection to come, fo and ovf at the heaviest', async () => {
    const servers = [server(1, 5), server(2, 1)]
    expect(choices((await withServers({ scheduler: 'sed' }, servers)).kernel, 6)).toBe('111121')
    expect(choices((await withServers({ scheduler: 'nq' }, servers)).kernel, 3)).toBe('211')
    expect(choices((await withServers({ scheduler: 'fo' }, servers)).kernel, 8)).toBe('11111111')
    expect(choices((await withServers({ scheduler: 'ovf' }, servers)).kernel, 8)).toBe('11111122')
  })

  test.each(['sh', 'mh'])(
    '%s sends a client to the same server, by weight, and refuses for one of weight 0',
    async (scheduler) => {
      const { kernel, ipvs } = await withServers({ scheduler }, [server(1, 1), server(2, 3)])
      const clients = Array.from({ length: 400 }, (_, index) => `198.51.${index >> 8}.${index & 255}`)
      const of = (clientAddress: string): string | undefined =>
        kernel.connect(WEB, { clientAddress }).realServer?.address
      const chosen = clients.map(of)
      expect(clients.map(of)).toEqual(chosen)
      const heavy = chosen.filter((address) => address === '10.1.0.2').length
      expect(heavy).toBeGreaterThan(250)
      expect(heavy).toBeLessThan(350)
      await ipvs.editRealServer(WEB, server(2), { weight: 0 })
      const after = clients.map(of)
      if (scheduler === 'mh') {
        // Its table stays, so that clients of the other server keep it.
        for (const [index, address] of chosen.entries()) {
          expect(after[index]).toBe(address === '10.1.0.1' ? address : undefined)
        }
      } else {
        expect(after).toContain(undefined)
      }
      await ipvs.editService(WEB, { schedulerFlags: [`${scheduler as 'sh' | 'mh'}-fallback`] })
      expect(new Set(clients.map(of))).toEqual(new Set(['10.1.0.1']))
    },
  )

  test('a service without scheduler, or without servers, refuses', async () => {
    const { kernel } = await withServers({ scheduler: 'none' }, [server(1)])
    expect(kernel.connect(WEB)).toMatchObject({ realServer: undefined, state: 'REFUSED' })
    expect(kernel.connect({ ...WEB, port: 81 }).send()).toBe(false)
  })
})

describe('connections', () => {
  test('count at once, and in counters when the estimator has looked', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [{ ...server(1), method: 'masquerade' }])
    const connection = kernel.connect(WEB)
    connection.send({ packetsIn: 3, bytesIn: 300, packetsOut: 2, bytesOut: 5000 })
    const read = (): Promise<unknown> => ipvs.realServer(WEB, server(1))
    expect(await read()).toMatchObject({ activeConnections: 1, stats: { connections: 0, packetsIn: 0 } })
    kernel.advance(2)
    expect(await read()).toMatchObject({
      activeConnections: 1,
      stats: { connections: 1, packetsIn: 5, bytesIn: 380, packetsOut: 3, bytesOut: 5040 },
      rates: { bytesOutPerSecond: 630 },
    })
    expect(await ipvs.service(WEB)).toMatchObject({ stats: { connections: 1, bytesOut: 5040 } })
    await ipvs.zero(WEB)
    expect(await read()).toMatchObject({
      stats: { connections: 0, bytesOut: 0 },
      rates: { bytesOutPerSecond: 0 },
    })
    connection.send({ packetsIn: 1 })
    kernel.advance(2)
    expect(await read()).toMatchObject({ stats: { connections: 0, packetsIn: 1, bytesOut: 0 } })
  })

  test('answers pass direct routing and tunnels by', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [{ ...server(1), method: 'direct' }])
    kernel.traffic(WEB, { connections: 3, packetsIn: 1, bytesIn: 10, packetsOut: 9, bytesOut: 900 })
    kernel.advance(2)
    expect(await ipvs.service(WEB)).toMatchObject({
      stats: { connections: 3, packetsIn: 9, bytesIn: 270, packetsOut: 0, bytesOut: 0 },
    })
  })

  test('end by their states and timeouts', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [{ ...server(1), method: 'masquerade' }])
    await ipvs.setTimeouts({ tcpSeconds: 500, tcpFinSeconds: 30 })
    const half = kernel.connect(WEB, { established: false })
    const open = kernel.connect(WEB)
    const closed = kernel.connect(WEB)
    const broken = kernel.connect(WEB)
    closed.close()
    broken.reset()
    expect(
      [half, open, closed, broken].map(({ state, expiresInSeconds }) => [state, expiresInSeconds]),
    ).toEqual([
      ['SYN_RECV', 60],
      ['ESTABLISHED', 500],
      ['TIME_WAIT', 120],
      ['CLOSE', 10],
    ])
    const gauges = async (): Promise<number[]> => {
      const { activeConnections, inactiveConnections } = await ipvs.realServer(WEB, server(1))
      return [activeConnections, inactiveConnections]
    }
    expect(await gauges()).toEqual([2, 2])
    kernel.advance(10)
    expect([broken.state, await gauges()]).toEqual(['FORGOTTEN', [2, 1]])
    kernel.advance(50)
    expect([half.state, await gauges()]).toEqual(['FORGOTTEN', [1, 1]])
    open.send()
    kernel.advance(60)
    expect([closed.state, await gauges()]).toEqual(['FORGOTTEN', [1, 0]])
    expect(open.expiresInSeconds).toBe(440)
    kernel.advance(440)
    expect(await gauges()).toEqual([0, 0])
    expect(kernel.seconds).toBe(560)
  })

  test('of direct routing wait for the timeout of a FIN', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)])
    await ipvs.setTimeouts({ tcpFinSeconds: 30 })
    const connection = kernel.connect(WEB)
    connection.close()
    expect([connection.state, connection.expiresInSeconds]).toEqual(['FIN_WAIT', 30])
  })

  test('of UDP are inactive, and one packet each leaves nothing behind', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)], { key: DNS })
    const client = { clientAddress: '198.51.100.1', clientPort: 5000 }
    kernel.connect(DNS, client)
    kernel.connect(DNS, client)
    expect(await ipvs.realServer(DNS, server(1))).toMatchObject({
      activeConnections: 0,
      inactiveConnections: 1,
    })
    await ipvs.editService(DNS, { onePacket: true })
    kernel.traffic(DNS, { connections: 5 })
    kernel.advance(2)
    expect(await ipvs.realServer(DNS, server(1))).toMatchObject({
      inactiveConnections: 1,
      stats: { connections: 6, packetsIn: 7 },
    })
  })

  test('of UDP send nothing more once they are forgotten', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)], { key: DNS })
    const connection = kernel.connect(DNS)
    kernel.advance(300)
    expect([connection.state, connection.send(), connection.reset()]).toEqual(['FORGOTTEN', false, false])
    await ipvs.editService(DNS, { onePacket: true })
    const packet = kernel.connect(DNS)
    expect([packet.realServer?.address, packet.state, packet.send()]).toEqual([
      '10.1.0.1',
      'FORGOTTEN',
      false,
    ])
    kernel.advance(2)
    expect((await ipvs.service(DNS)).stats).toMatchObject({ connections: 2, packetsIn: 2 })
  })

  test('stop at the upper threshold until they fall below the lower', async () => {
    const servers = [{ ...server(1), upperThreshold: 4, lowerThreshold: 2 }]
    const { kernel } = await withServers({ scheduler: 'rr' }, servers)
    const open = kernel.traffic(WEB, { connections: 5 })
    expect(open.map(({ realServer }) => realServer !== undefined)).toEqual([true, true, true, true, false])
    open.slice(0, 2).forEach((connection) => connection.reset())
    kernel.advance(10)
    expect(choices(kernel, 1)).toBe('-')
    open[2]?.reset()
    kernel.advance(10)
    expect(choices(kernel, 1)).toBe('1')
  })

  test.each([
    ['6.1', '1-'],
    ['6.12', '--'],
  ] as const)('of a server whose threshold is lowered by an edit: kernel %s', async (version, expected) => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)], { version })
    kernel.traffic(WEB, { connections: 3 })
    await ipvs.editRealServer(WEB, server(1), { upperThreshold: 2 })
    expect(choices(kernel, 2)).toBe(expected)
  })
})

describe('persistence', () => {
  const settings = { scheduler: 'rr', persistence: { timeoutSeconds: 100, netmask: '255.255.255.0' } }

  test('keeps a network with its server until its time is over', async () => {
    const { kernel, ipvs } = await withServers(settings, [server(1), server(2)])
    const from = (clientAddress: string): string | undefined =>
      kernel.connect(WEB, { clientAddress }).realServer?.address
    expect(from('198.51.100.1')).toBe('10.1.0.2')
    expect(from('198.51.101.1')).toBe('10.1.0.1')
    expect(from('198.51.100.77')).toBe('10.1.0.2')
    expect(await ipvs.realServer(WEB, server(2))).toMatchObject({
      persistentConnections: 1,
      activeConnections: 2,
    })
    // The template lives as long as its connections do, a hundred seconds at a time.
    kernel.advance(899)
    expect(await ipvs.realServer(WEB, server(2))).toMatchObject({
      persistentConnections: 1,
      activeConnections: 2,
    })
    kernel.advance(101)
    expect(await ipvs.realServer(WEB, server(2))).toMatchObject({
      persistentConnections: 0,
      activeConnections: 0,
    })
  })

  test('outlives its time while connections depend on it, by a minute each time', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr', persistence: { timeoutSeconds: 5 } }, [
      server(1),
    ])
    const connection = kernel.connect(WEB)
    const left = async (): Promise<number | undefined> => {
      for await (const one of ipvs.connections()) if (one.template) return one.expiresSeconds
      return undefined
    }
    kernel.advance(4)
    expect(await left()).toBe(1)
    kernel.advance(1)
    expect(await left()).toBe(60)
    connection.reset()
    kernel.advance(59)
    expect(await left()).toBe(1)
    kernel.advance(1)
    expect(await left()).toBeUndefined()
  })

  test('of port 0 has clients of the port that they say, 80 if they say none', async () => {
    const key = { ...WEB, port: 0 }
    const { kernel, ipvs } = await withServers(
      { scheduler: 'rr', persistence: { timeoutSeconds: 60 } },
      [{ address: '10.1.0.1', port: 0 }],
      { key },
    )
    kernel.connect(key)
    kernel.connect(key, { virtualPort: 443 })
    const ports: number[][] = []
    for await (const one of ipvs.connections()) {
      if (!one.template) ports.push([one.virtualPort, one.serverPort])
    }
    expect(ports).toEqual([
      [80, 80],
      [443, 443],
    ])
  })

  test('sends its clients to a quiescent server, unless the sysctl says otherwise', async () => {
    const { kernel, ipvs } = await withServers(settings, [server(1), server(2)])
    const again = (): string | undefined =>
      kernel.connect(WEB, { clientAddress: '198.51.100.1' }).realServer?.address
    expect(again()).toBe('10.1.0.2')
    await ipvs.editRealServer(WEB, server(2), { weight: 0 })
    expect(again()).toBe('10.1.0.2')
    await ipvs.setSysctl('expire_quiescent_template', 1)
    expect(again()).toBe('10.1.0.1')
  })

  test('of UDP is sure of a client once an answer has passed the director', async () => {
    const masqueraded = { ...server(1), method: 'masquerade' as const }
    const { kernel, ipvs } = await withServers(settings, [masqueraded], { key: DNS })
    const connection = kernel.connect(DNS)
    const states = async (): Promise<string[]> => {
      const found: string[] = []
      for await (const { template, state } of ipvs.connections()) if (template) found.push(state)
      return found
    }
    expect(await states()).toEqual(['NONE'])
    connection.send({ packetsIn: 1 })
    expect(await states()).toEqual(['NONE'])
    connection.send({ packetsOut: 1 })
    expect(await states()).toEqual(['ASSURED'])
  })

  test('lists the template of a server that is gone without its ports, once a client has looked for it', async () => {
    const { kernel, ipvs } = await withServers(settings, [server(1), server(2)])
    const client = { clientAddress: '198.51.100.1' }
    kernel.connect(WEB, client)
    await ipvs.deleteRealServer(WEB, server(2))
    const templates = async (): Promise<string[]> => {
      const found: string[] = []
      for await (const one of ipvs.connections()) {
        if (one.template)
          found.push(`${String(one.virtualPort)} ${one.serverAddress} ${String(one.serverPort)}`)
      }
      return found.sort()
    }
    expect(await templates()).toEqual(['80 10.1.0.2 80'])
    expect(kernel.connect(WEB, client).realServer?.address).toBe('10.1.0.1')
    expect(await templates()).toEqual(['65535 10.1.0.2 65535', '80 10.1.0.1 80'])
  })

  test('of port 0 takes every port that has no service, of a mark every packet that has it', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)])
    const any = { ...WEB, port: 0 }
    await ipvs.addService({ ...any, ...settings })
    await ipvs.addRealServer(any, server(7))
    await ipvs.addRealServer(any, server(8))
    const client = { clientAddress: '198.51.100.1' }
    const ports = [8080, 8081, 80].map((port) => kernel.connect({ ...WEB, port }, client).realServer)
    expect(ports.map((chosen) => chosen?.address)).toEqual(['10.1.0.8', '10.1.0.8', '10.1.0.1'])
    const mark = { protocol: 'fwmark', fwmark: 3 } as const
    await ipvs.addService({ ...mark, ...settings })
    await ipvs.addRealServer(mark, server(9))
    expect(kernel.connect(mark, { ...client, protocol: 'udp' })).toMatchObject({
      realServer: { address: '10.1.0.9', port: 0 },
      state: 'UDP',
    })
  })
})

describe('time', () => {
  test('goes on for a year at once, to what it comes to in steps', async () => {
    const made = await Promise.all(
      [0, 1].map(() =>
        withServers({ scheduler: 'rr', persistence: { timeoutSeconds: 300 } }, [server(1), server(2)]),
      ),
    )
    const [whole, parts] = made as [(typeof made)[0], (typeof made)[0]]
    for (const { kernel } of made) kernel.traffic(WEB, { connections: 1000, bytesIn: 1_000_000 })
    whole.kernel.advance(600)
    for (let second = 0; second < 600; second++) parts.kernel.advance(1)
    expect(await whole.ipvs.snapshot()).toEqual(await parts.ipvs.snapshot())
    whole.kernel.advance(365 * 86_400)
    const [one] = await whole.ipvs.realServers(WEB)
    expect(one).toMatchObject({
      activeConnections: 0,
      persistentConnections: 0,
      stats: { connections: 500 },
      rates: { bytesInPerSecond: 0 },
    })
  })
})

describe('the trash', () => {
  test('gives a server back with its connections and counters, for up to three minutes', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)])
    const connection = kernel.connect(WEB)
    kernel.advance(2)
    await ipvs.deleteRealServer(WEB, server(1))
    expect(connection.send()).toBe(false)
    await ipvs.addRealServer(WEB, { ...server(1), weight: 7 })
    expect(await ipvs.realServer(WEB, server(1))).toMatchObject({
      weight: 7,
      activeConnections: 1,
      stats: { connections: 1 },
    })
    expect(connection.send()).toBe(true)
    connection.reset()
    kernel.advance(10)
    await ipvs.deleteRealServer(WEB, server(1))
    kernel.advance(181)
    await ipvs.addRealServer(WEB, server(1))
    expect(await ipvs.realServer(WEB, server(1))).toMatchObject({ stats: { connections: 0 } })
  })

  test('gives it back to a new service without counters', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)])
    kernel.connect(WEB)
    kernel.advance(2)
    await ipvs.deleteService(WEB)
    await ipvs.addService(WEB)
    await ipvs.addRealServer(WEB, server(1))
    const read = await ipvs.realServer(WEB, server(1))
    expect(read).toMatchObject({ activeConnections: 1, stats: { connections: 0 } })
  })

  test('with expire_nodest_conn a connection ends with the next packet', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1)])
    await ipvs.setSysctl('expire_nodest_conn', 1)
    const connection = kernel.connect(WEB)
    await ipvs.deleteRealServer(WEB, server(1))
    expect(connection.state).toBe('ESTABLISHED')
    connection.send()
    expect(connection.state).toBe('FORGOTTEN')
  })
})

describe('the library over it', () => {
  test('drains a server: it waits for the last connection', async () => {
    const { kernel, ipvs } = await withServers({ scheduler: 'rr' }, [server(1), server(2)])
    const [connection] = kernel.traffic(WEB, { connections: 1 })
    const draining = (await ipvs.realServer(WEB, server(2))).drain({
      intervalMs: 10,
      onProgress: ({ activeConnections }) => {
        if (activeConnections > 0) connection?.close()
        kernel.advance(60)
      },
    })
    expect(await draining).toMatchObject({ outcome: 'deleted', last: { waitsFor: [] } })
    expect(await ipvs.realServers(WEB)).toHaveLength(1)
  })
})
