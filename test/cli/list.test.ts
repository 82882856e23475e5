import { beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { ipvs } from './terminal.ts'

let kernel: MemoryKernel

/** Two services with traffic, and two without. */
beforeEach(async () => {
  kernel = createMemoryKernel()
  const table = await Ipvs.open({ transport: kernel })
  const web = await table.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80, scheduler: 'rr' })
  await web.addRealServer({ address: '10.0.0.10', port: 8080, method: 'masquerade', weight: 4 })
  await web.addRealServer({ address: '10.0.0.9', port: 8080, method: 'masquerade', weight: 1 })
  await web.addRealServer({
    address: '10.0.0.11',
    port: 8080,
    method: 'tunnel',
    weight: 0,
    tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
    upperThreshold: 100,
    lowerThreshold: 80,
  })
  await table.addService({
    protocol: 'udp',
    address: '2001:db8::1',
    port: 5060,
    onePacket: true,
    persistence: { timeoutSeconds: 60, netmask: 64 },
    persistenceEngine: 'sip',
  })
  const marked = await table.addService({
    protocol: 'fwmark',
    fwmark: 5,
    family: 'ipv6',
    scheduler: 'sh',
    schedulerFlags: ['sh-port'],
  })
  await marked.addRealServer({ address: '2001:db8::7' })
  kernel.traffic(web.key, { connections: 4 })
  kernel.traffic(web.key, { connections: 2, close: true })
  kernel.advance(2)
  await table.close()
})

describe('ipvs list in a pipe', () => {
  test('has a line for each service and each real server, sorted, with as many words as its titles', async () => {
    const { status, stdout, stderr } = await ipvs('list', { kernel })
    expect(stdout).toBe(
      [
        'SERVICE                 SERVER           SCHEDULER  METHOD      WEIGHT  ACTIVE  INACTIVE  PERSISTENT  OPTIONS',
        'fwmark6/5               -                sh         -                1       0         0           0  sh-port',
        'fwmark6/5               [2001:db8::7]:0  -          direct           1       0         0           0  -',
        'tcp/192.0.2.10:80       -                rr         -                5       4         2           0  warning=weights-ignored',
        'tcp/192.0.2.10:80       10.0.0.9:8080    -          masquerade       1       2         1           0  -',
        'tcp/192.0.2.10:80       10.0.0.10:8080   -          masquerade       4       2         1           0  -',
        'tcp/192.0.2.10:80       10.0.0.11:8080   -          tunnel           0       0         0           0  upper=100,lower=80,tunnel=gue:6080/csum,warning=port-ignored',
        'udp/[2001:db8::1]:5060  -                wlc        -                0       0         0           0  persistent=60s,netmask=64,engine=sip,one-packet',
        '',
      ].join('\n'),
    )
    expect(
      new Set(
        stdout
          .trim()
          .split('\n')
          .map((line) => line.split(/ +/).length),
      ),
    ).toEqual(new Set([9]))
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })

  test('has the order of ipvs plan', async () => {
    const addresses = ['2001:db8::10', '10.0.0.10', '2001:db8::a', '10.0.0.9']
    const services = addresses.map((address) => ({
      protocol: 'tcp' as const,
      address,
      port: 80,
      realServers: ['2001:db8::10', '2001:db8::a'].map((server) => ({
        address: server,
        method: 'tunnel' as const,
      })),
    }))
    const stdin = JSON.stringify({ services })
    kernel = createMemoryKernel()
    const plan = await ipvs('plan -', { kernel, stdin })
    await ipvs('apply - --yes', { kernel, stdin })
    const list = await ipvs('list', { kernel })
    const words = [...list.stdout.matchAll(/^(tcp\/\S+) +(\S+)/gm)].map(([, service, server]) =>
      server === '-' ? service : server,
    )
    expect(words.slice(0, 3)).toEqual(['tcp/10.0.0.9:80', '[2001:db8::a]:80', '[2001:db8::10]:80'])
    expect(words).toEqual([...plan.stdout.matchAll(/^\+ +(\S+)/gm)].map(([, word]) => word))
  })

  test('has counters with --stats', async () => {
    const { stdout } = await ipvs('list --stats', { kernel })
    const lines = stdout.split('\n').map((line) => line.split(/ +/))
    expect(lines[0]).toEqual([
      ...['SERVICE', 'SERVER', 'SCHEDULER', 'METHOD'],
      ...['CONNECTIONS', 'PACKETS-IN', 'PACKETS-OUT', 'BYTES-IN', 'BYTES-OUT', 'OPTIONS'],
    ])
    const [, , , service, server] = lines
    expect(service?.slice(0, 5)).toEqual(['tcp/192.0.2.10:80', '-', 'rr', '-', '6'])
    expect(server?.slice(0, 5)).toEqual(['tcp/192.0.2.10:80', '10.0.0.9:8080', '-', 'masquerade', '3'])
    expect(Number(server?.[5])).toBeGreaterThan(0)
  })

  test('has rates with --rates, not both', async () => {
    const { stdout } = await ipvs('list --rates', { kernel })
    expect(stdout.split('\n')[0]).toMatch(/ CONNECTIONS\/S +PACKETS-IN\/S .* OPTIONS$/)
    expect(await ipvs('list --rates --stats', { kernel })).toMatchObject({ status: 2 })
  })

  test('has its titles alone where there is nothing', async () => {
    const { stdout } = await ipvs('list', { kernel: createMemoryKernel() })
    expect(stdout).toBe('SERVICE  SERVER  SCHEDULER  METHOD  WEIGHT  ACTIVE  INACTIVE  PERSISTENT  OPTIONS\n')
  })
})

/** What a terminal shows of the text. */
function plain(text: string): string {
  return text.replaceAll(/\u001B\[\d+m/g, '')
}

describe('ipvs list on a terminal', () => {
  test('groups real servers under their services, which have the sums', async () => {
    const { stdout } = await ipvs('list', { kernel, columns: 120, env: { NO_COLOR: '1' } })
    expect(stdout).toBe(
      [
        'SERVICE                 SCHEDULER',
        '  SERVER                METHOD      WEIGHT  ACTIVE  INACTIVE',
        'fwmark6/5               sh               1       0         0  sh-port',
        '  [2001:db8::7]:0       direct           1       0         0',
        'tcp/192.0.2.10:80 !     rr               5       4         2',
        '  10.0.0.9:8080         masquerade       1       2         1',
        '  10.0.0.10:8080        masquerade       4       2         1',
        '  10.0.0.11:8080 !      tunnel           0       0         0  upper=100 lower=80 tunnel=gue:6080/csum',
        'udp/[2001:db8::1]:5060  wlc              0       0         0',
        '    persistent=60s netmask=64 engine=sip one-packet  no real servers',
        '',
        '! tcp/192.0.2.10:80 -> 10.0.0.11:8080: port 8080 is ignored with method tunnel: packets go to port 80. Use method',
        '  masquerade, or port 80.',
        '! tcp/192.0.2.10:80: weights are ignored with scheduler rr, except 0: all other real servers are treated alike. Use',
        '  scheduler wrr, or equal weights.',
        '',
      ].join('\n'),
    )
  })

  test('has bars, full for the largest, where all fits', async () => {
    const { stdout } = await ipvs('list', { kernel, columns: 160, env: { NO_COLOR: '1' } })
    expect(stdout).toContain(
      [
        '  SERVER                METHOD      WEIGHT              ACTIVE              INACTIVE',
        'fwmark6/5               sh               1                   0                     0  sh-port',
        '  [2001:db8::7]:0       direct           1  ██████████       0                     0',
        'tcp/192.0.2.10:80 !     rr               5                   4                     2',
        '  10.0.0.9:8080         masquerade       1  ██▌              2  ██████████         1',
        '  10.0.0.10:8080        masquerade       4  ██████████       2  ██████████         1',
        '  10.0.0.11:8080 !      tunnel           0                   0                     0  upper=100 ',
      ].join('\n'),
    )
  })

  test('draws with # where the locale has no more', async () => {
    const { stdout } = await ipvs('list', { kernel, columns: 160, env: { NO_COLOR: '1', LANG: 'C' } })
    expect(stdout).toContain(
      '  10.0.0.9:8080         masquerade       1  ###              2  ##########         1\n',
    )
  })

  test('has no bars where they do not fit', async () => {
    const { stdout } = await ipvs('list', { kernel, columns: 100, env: { NO_COLOR: '1' } })
    expect(stdout).toContain('  10.0.0.10:8080        masquerade       4       2         1\n')
    expect(stdout).not.toContain('█')
  })

  test('shows clients that persistence remembers where there are any', async () => {
    kernel = createMemoryKernel()
    const table = await Ipvs.open({ transport: kernel })
    const web = await table.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80, persistence: {} })
    await web.addRealServer({ address: '10.0.0.10' })
    const before = await ipvs('list', { kernel, columns: 120 })
    kernel.connect(web.key)
    const after = await ipvs('list', { kernel, columns: 120 })
    expect([before, after].map(({ stdout }) => stdout.includes('PERSISTENT'))).toEqual([false, true])
    await table.close()
  })

  test('is in colour, and says the same', async () => {
    const colored = await ipvs('list', { kernel, columns: 120 })
    const without = await ipvs('list', { kernel, columns: 120, env: { NO_COLOR: '1' } })
    expect(colored.stdout).toContain('\u001B[1mfwmark6/5\u001B[22m               sh ')
    expect(colored.stdout).toContain('\u001B[33m\u001B[1mtcp/192.0.2.10:80 !\u001B[22m\u001B[39m     rr ')
    // A weight of 0 stands out.
    expect(colored.stdout).toContain('\u001B[33m0\u001B[39m')
    expect(plain(colored.stdout)).toBe(without.stdout)
  })

  test('says that there is nothing', async () => {
    const { stdout } = await ipvs('list', { kernel: createMemoryKernel(), columns: 80 })
    expect(stdout).toBe('No services.\n')
  })

  test.each([
    ['a terminal', { columns: 120 }, true],
    ['a pipe', {}, false],
    ['NO_COLOR', { columns: 120, env: { NO_COLOR: '1' } }, false],
    ['NO_COLOR that is empty', { columns: 120, env: { NO_COLOR: '' } }, true],
    ['a dumb terminal', { columns: 120, env: { TERM: 'dumb' } }, false],
    ['FORCE_COLOR=0', { columns: 120, env: { FORCE_COLOR: '0' } }, false],
    ['FORCE_COLOR and NO_COLOR', { columns: 120, env: { FORCE_COLOR: '1', NO_COLOR: '1' } }, true],
  ])('decides on colours: %s', async (_, around, colors) => {
    const { stdout } = await ipvs('list', { kernel, ...around })
    expect(stdout.includes('\u001B[')).toBe(colors)
  })

  test('is in colour in a pipe with FORCE_COLOR', async () => {
    const { stdout } = await ipvs('show tcp/192.0.2.10:80', { kernel, env: { FORCE_COLOR: '1' } })
    expect(stdout.startsWith('\u001B[1mtcp/192.0.2.10:80\u001B[22m\n')).toBe(true)
  })
})

describe('ipvs list --json', () => {
  test('has everything, without colours, on a terminal too', async () => {
    const { stdout } = await ipvs('list --json', { kernel, columns: 80 })
    const { services } = JSON.parse(stdout) as { services: Record<string, unknown>[] }
    expect(services.map(({ service }) => service)).toEqual([
      'fwmark6/5',
      'tcp/192.0.2.10:80',
      'udp/[2001:db8::1]:5060',
    ])
    expect(services[2]).toEqual({
      service: 'udp/[2001:db8::1]:5060',
      protocol: 'udp',
      address: '2001:db8::1',
      port: 5060,
      family: 'ipv6',
      scheduler: 'wlc',
      schedulerFlags: [],
      onePacket: true,
      persistence: { timeoutSeconds: 60, netmask: 64 },
      persistenceEngine: 'sip',
      stats: { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 },
      rates: {
        connectionsPerSecond: 0,
        packetsInPerSecond: 0,
        packetsOutPerSecond: 0,
        bytesInPerSecond: 0,
        bytesOutPerSecond: 0,
      },
      warnings: [],
      realServers: [],
    })
    const servers = services[1]?.realServers as Record<string, unknown>[]
    expect(servers.map(({ server }) => server)).toEqual(['10.0.0.9:8080', '10.0.0.10:8080', '10.0.0.11:8080'])
    expect(servers[2]).toMatchObject({
      address: '10.0.0.11',
      port: 8080,
      family: 'ipv4',
      method: 'tunnel',
      weight: 0,
      upperThreshold: 100,
      lowerThreshold: 80,
      tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
    })
    expect(servers[0]).toMatchObject({
      activeConnections: 2,
      inactiveConnections: 1,
      stats: { connections: 3 },
    })
  })

  test('of nothing is an empty list', async () => {
    const { stdout } = await ipvs('list --json', { kernel: createMemoryKernel() })
    expect(JSON.parse(stdout)).toEqual({ services: [] })
  })
})

describe('ipvs show', () => {
  test('tells all of a service', async () => {
    const { status, stdout } = await ipvs('show udp/[2001:DB8:0::1]:5060', { kernel })
    expect(status).toBe(0)
    expect(stdout).toBe(
      [
        'udp/[2001:db8::1]:5060',
        '  scheduler    wlc',
        '  persistence  60 s, netmask 64, engine sip',
        '  scheduled    each packet by itself',
        '  connections  0 active, 0 inactive, 0 persistent; 0 so far (0/s)',
        '  in           0 packets (0/s), 0 bytes (0/s)',
        '  out          0 packets (0/s), 0 bytes (0/s)',
        '',
        '  no real servers',
        '',
      ].join('\n'),
    )
  })

  test('tells all of its real servers', async () => {
    const { stdout } = await ipvs('show tcp/192.0.2.10:80', { kernel })
    expect(stdout).toContain('  connections  4 active, 2 inactive, 0 persistent; 6 so far (')
    expect(stdout).toContain(
      [
        '',
        '  SERVER          METHOD      WEIGHT  ACTIVE  INACTIVE  PERSISTENT  OPTIONS',
        '  10.0.0.9:8080   masquerade       1       2         1           0  -',
        '  10.0.0.10:8080  masquerade       4       2         1           0  -',
        '  10.0.0.11:8080  tunnel           0       0         0           0  upper=100,lower=80,tunnel=gue:6080/csum,warning=port-ignored',
        '',
        '  SERVER          METHOD      CONNECTIONS  PACKETS-IN  ',
      ].join('\n'),
    )
    expect(stdout).toMatch(/\n! tcp\/192\.0\.2\.10:80: weights are ignored with scheduler rr, .*\n$/)
  })

  test('--json is what list has of it', async () => {
    const [all, one] = await Promise.all([
      ipvs('list --json', { kernel }),
      ipvs('show fwmark6/5 --json', { kernel }),
    ])
    expect(JSON.parse(one.stdout)).toEqual((JSON.parse(all.stdout) as { services: unknown[] }).services[0])
  })
})

describe('what the kernel ignores', () => {
  beforeEach(async () => {
    kernel = createMemoryKernel()
    const table = await Ipvs.open({ transport: kernel })
    const web = await table.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80 })
    await web.addRealServer({ address: '10.0.0.7', port: 8080 })
    await web.addRealServer({ address: '10.0.0.8', port: 80 })
    await table.close()
  })

  test('is a word of the options in a pipe', async () => {
    const { stdout } = await ipvs('list', { kernel })
    expect(stdout).toMatch(/ 10\.0\.0\.7:8080 .* warning=port-ignored\n/)
    expect(stdout).toMatch(/ 10\.0\.0\.8:80 .* -\n/)
  })

  test('is marked on a terminal, and told below, with --stats too', async () => {
    for (const line of ['list', 'list --stats', 'list --wide', 'show tcp/192.0.2.10:80']) {
      const { stdout } = await ipvs(line, { kernel, columns: 80, env: { NO_COLOR: '1' } })
      expect(stdout).toMatch(/\n {2}10\.0\.0\.7:8080 ! +direct /)
      expect(stdout).toMatch(/\n {2}10\.0\.0\.8:80 +direct /)
      expect(stdout.replaceAll('\n ', '')).toMatch(
        /\n\n! tcp\/192\.0\.2\.10:80 -> 10\.0\.0\.7:8080: port 8080 is ignored with method direct: .*\n$/,
      )
    }
  })

  test('is in the JSON of what it is about', async () => {
    const { stdout } = await ipvs('show tcp/192.0.2.10:80 --json', { kernel })
    const { warnings, realServers } = JSON.parse(stdout) as {
      warnings: unknown[]
      realServers: { warnings: { code: string; message: string }[] }[]
    }
    expect(warnings).toEqual([])
    expect(realServers.map((server) => server.warnings.map(({ code }) => code))).toEqual([
      ['port-ignored'],
      [],
    ])
    expect(realServers[0]?.warnings[0]?.message).toContain('port 8080 is ignored')
  })
})

describe('ipvs info', () => {
  test('tells versions, timeouts and sync daemons', async () => {
    const table = await Ipvs.open({ transport: kernel })
    await table.startSyncDaemon({ state: 'master', multicastInterface: 'eth0', syncId: 7 })
    await table.close()
    const { stdout } = await ipvs('info', { kernel })
    expect(stdout).toBe(
      [
        'IPVS              1.2.1',
        'connection table  4096 buckets',
        'services          3',
        'real servers      4',
        'connections       6 so far (1/s)',
        'in                16 packets (2/s), 640 bytes (80/s)',
        'out               10 packets (1/s), 400 bytes (50/s)',
        'timeouts          tcp 900 s, tcp after FIN 120 s, udp 300 s',
        'sync daemon       master on eth0, sync id 7',
        '',
      ].join('\n'),
    )
    const json = await ipvs('info --json', { kernel })
    expect(JSON.parse(json.stdout)).toMatchObject({
      version: '1.2.1',
      connectionTableSize: 4096,
      services: 3,
      realServers: 4,
      totals: { stats: { connections: 6, bytesOut: 400 }, rates: { bytesOutPerSecond: 50 } },
      timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
      syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 7 }],
    })
  })
})
