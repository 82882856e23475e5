import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatState, parseState, type State, type StateService } from '../../lib/text.ts'
import { checkProperty, kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'

/** Our lines as the real ipvsadm takes them, and its own as we read them. */

/** The table as it is read through Ipvs, in an order that does not depend on the kernel's buckets. */
async function tableOf(netns: Netns): Promise<StateService[]> {
  const entries = await netns.ipvs.snapshot()
  return sorted(
    entries.map(({ service, realServers }) => ({
      ...service.toJSON(),
      ...(realServers.length > 0 && { realServers: realServers.map((server) => server.toJSON()) }),
    })),
  )
}

function sorted(services: readonly StateService[], servers = false): StateService[] {
  const byText = (one: unknown, other: unknown): number =>
    JSON.stringify(one) < JSON.stringify(other) ? -1 : 1
  return [...services]
    .map((service) =>
      servers && service.realServers !== undefined
        ? { ...service, realServers: [...service.realServers].sort(byText) }
        : service,
    )
    .sort(byText)
}

const LINES = `-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.1.0.3:80 -i -w 65535 --tun-type ipip
-a -t 10.0.0.1:80 -r 10.1.0.4:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
-a -t 10.0.0.1:80 -r 10.1.0.6:80 -i -w 1 --tun-type gre --tun-csum
-a -t 10.0.0.1:80 -r 10.1.0.101:65535 -m -w 2147483647 -x 100 -y 50
-A -t 10.0.0.7:0 -s wlc -p 500 -M 255.255.255.0
-A -u 10.0.0.1:80 -s mh -p 50 --pe sip -o -b mh-fallback,mh-port
-A -u 10.0.0.50:5060 -s none --pe sip
-A --sctp-service 10.0.0.1:5672 -s rr -b flag-1,flag-3
-A -t [2001:db8::1]:80 -s sh -p 10 -M 64 -b sh-port,flag-3
-a -t [2001:db8::1]:80 -r 10.1.0.1:80 -i -w 1 --tun-type ipip
-A -f 1 -s rr
-a -f 1 -r 10.1.0.1:8080 -g -w 0
-A -f 4294967295 -6 -s rr -p 99
--set 901 121 301
`

kernelTests('lines of ipvsadm', () => {
  test('are what ipvsadm -R makes of them', async () => {
    const state = await parseState(LINES)
    expect(await formatState(state, { format: 'ipvsadm' })).toBe(LINES)
    await withNamespace(async (netns) => {
      await netns.run(['ipvsadm', '-R'], LINES)
      // The kernel lists the newest server first.
      const expected = (state.services ?? []).map((service) =>
        service.realServers === undefined
          ? service
          : { ...service, realServers: [...service.realServers].reverse() },
      )
      expect(await tableOf(netns)).toEqual(sorted(expected))
      expect(await netns.ipvs.timeouts()).toEqual(state.timeouts)
    })
  })

  test('start the sync daemons that they say', async () => {
    const lines = `--start-daemon master --mcast-interface lo --syncid 5
--start-daemon backup --mcast-interface lo --syncid 6 --sync-maxlen 1400 --mcast-group 224.0.0.82 --mcast-port 8849 --mcast-ttl 2
`
    const { syncDaemons = [] } = await parseState(lines)
    await withNamespace(async (netns) => {
      await netns.run(['ip', 'route', 'add', '224.0.0.0/4', 'dev', 'lo'])
      await netns.run(
        ['ipvsadm', '-R'],
        await formatState({ services: [], syncDaemons }, { format: 'ipvsadm' }),
      )
      const running = await netns.ipvs.syncDaemons()
      expect(running).toHaveLength(2)
      for (const daemon of syncDaemons) {
        expect(running.find(({ state }) => state === daemon.state)).toMatchObject(daemon)
      }
    })
  })

  test('that ipvsadm -Sn and -S print are the table', async () => {
    await withNamespace(async (netns) => {
      // What it does not print: thresholds. What it prints as a negative number: a mark.
      await netns.run(['ipvsadm', '-R'], LINES.replace(' -x 100 -y 50', '').replace(',flag-3\n-a', '\n-a'))
      const table = await tableOf(netns)
      const numeric = await netns.run(['ipvsadm', '-Sn'])
      expect(numeric).toContain('-A -f -1 -6')
      const state = await parseState(numeric)
      expect(sorted(state.services ?? [], true)).toEqual(sorted(table, true))
      // Byte for byte but for that mark, which ipvsadm would not take back.
      expect(await formatState(state, { format: 'ipvsadm' })).toBe(numeric.replace('-f -1', '-f 4294967295'))

      const named = await netns.run(['ipvsadm', '-S'])
      const services = new Map([
        ['http', 80],
        ['sip', 5060],
        ['amqp', 5672],
        ['http-alt', 8080],
      ])
      const again = await parseState(named, {
        lookupService: (name) => services.get(name),
        lookupHost: () => undefined,
      })
      expect(sorted(again.services ?? [], true)).toEqual(sorted(table, true))
    })
  })

  test('that ipvsadm -S prints with names of hosts and services are the table', async () => {
    const services = new Map([['9pfs', 564]])
    const hosts = new Map([
      ['web ipv4', '192.0.2.1'],
      ['web-2.example ipv4', '10.1.0.2'],
      ['web6 ipv6', '2001:db8::1'],
      ['server6 ipv6', '2001:db8::9'],
    ])
    await withNamespace(async (netns) => {
      await netns.run(
        ['ipvsadm', '-R'],
        '-A -t 192.0.2.1:564 -s rr\n-a -t 192.0.2.1:564 -r 10.1.0.2:564 -m\n' +
          '-A -t [2001:db8::1]:564 -s rr\n-a -t [2001:db8::1]:564 -r [2001:db8::9]:564 -m\n',
      )
      // ipvsadm sees these files in place of the guest's.
      const files = [
        ['/etc/hosts', [...hosts].map(([name, address]) => `${address} ${name.replace(/ .*/, '')}`)],
        ['/etc/services', [...services].map(([name, port]) => `${name} ${String(port)}/tcp`)],
      ] as const
      const script = files.map(
        ([path, lines]) =>
          `file=$(mktemp); printf '%s\\n' '${lines.join("' '")}' > $file; mount --bind $file ${path}; rm $file`,
      )
      const named = await netns.run(['unshare', '-m', 'sh', '-ec', `${script.join('; ')}; ipvsadm -S`])
      expect(named).toContain('-a -t [web6]:9pfs -r [server6]:9pfs -m')
      expect(named).toContain('-a -t web:9pfs -r web-2.example:9pfs -m')
      const state = await parseState(named, {
        lookupService: (name) => services.get(name),
        lookupHost: (name, family) => hosts.get(`${name} ${family}`),
      })
      expect(sorted(state.services ?? [])).toEqual(await tableOf(netns))
    })
  })

  test('with -b and nothing, as ipvsadm prints flag 3 of sh, lose nothing but that flag', async () => {
    await withNamespace(async (netns) => {
      await netns.ipvs.addService({
        protocol: 'tcp',
        address: '10.0.0.1',
        port: 80,
        scheduler: 'sh',
        schedulerFlags: ['flag-3'],
      })
      const lines = await netns.run(['ipvsadm', '-Sn'])
      expect(lines).toBe('-A -t 10.0.0.1:80 -s sh -b \n')
      expect((await parseState(lines)).services).toEqual([
        { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'sh' },
      ])
    })
  })

  test('of random tables say the same to us and to ipvsadm', async () => {
    const server = fc.record({
      last: fc.integer({ min: 1, max: 40 }),
      port: fc.integer({ min: 1, max: 65535 }),
      method: fc.constantFrom('masquerade', 'direct', 'tunnel' as const),
      weight: fc.nat(2147483647),
      upper: fc.integer({ min: 5, max: 2147483647 }),
      lower: fc.nat(5),
    })
    const service = fc.record({
      mark: fc.boolean(),
      number: fc.integer({ min: 1, max: 60 }),
      scheduler: fc.constantFrom('rr', 'wlc', 'sh', 'mh'),
      seconds: fc.option(fc.integer({ min: 1, max: 2678400 })),
      servers: fc.uniqueArray(server, { selector: ({ last }) => last, maxLength: 4 }),
    })
    const tables = fc.uniqueArray(service, {
      selector: ({ mark, number }) => `${String(mark)} ${String(number)}`,
      maxLength: 8,
    })
    await checkProperty(
      'lines of random tables',
      fc.asyncProperty(tables, async (table) => {
        const state: State = {
          services: table.map(({ mark, number, scheduler, seconds, servers }) => ({
            ...(mark
              ? { protocol: 'fwmark', fwmark: 4294967296 - number, family: 'ipv4' }
              : { protocol: 'tcp', address: '10.0.0.1', port: number }),
            scheduler,
            ...(seconds !== null && { persistence: { timeoutSeconds: seconds, netmask: '255.255.255.255' } }),
            ...(servers.length > 0 && {
              realServers: servers.map(({ last, port, method, weight, upper, lower }) => ({
                address: `10.1.0.${String(last)}`,
                port: mark || method === 'masquerade' ? port : number,
                method,
                weight,
                upperThreshold: upper,
                ...(lower > 0 && { lowerThreshold: lower }),
                ...(method === 'tunnel' && { tunnel: { type: 'ipip' as const } }),
              })),
            }),
          })),
        }
        const lines = await formatState(state, { format: 'ipvsadm' })
        await withNamespace(async (netns) => {
          await netns.run(['ipvsadm', '-R'], lines)
          expect(sorted(await tableOf(netns), true)).toEqual(sorted(state.services ?? [], true))
          expect(sorted((await parseState(lines, { format: 'ipvsadm' })).services ?? [], true)).toEqual(
            sorted(state.services ?? [], true),
          )
        })
      }),
      10,
    )
  })
})
