import { expect, test } from 'vitest'
import { parseState } from '../../lib/index.ts'
import { type Director, directors } from '../helpers/getting-started.ts'
import { kernelTests, type Netns, withNamespaces } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'

/** What docs/getting-started.md says is done, with its own commands and addresses, and packets pass. */

const VIRTUAL = '192.0.2.10'

/** The page's networks: that of the clients, that behind the director, and one behind a router. */
const NETWORKS = [
  { prefix: '192.0.2.', router: '192.0.2.254' },
  { prefix: '10.0.0.', router: undefined },
  { prefix: '198.51.100.', router: '198.51.100.1' },
]

interface Hosts {
  readonly client: Netns
  readonly director: Netns
  /** By address. */
  readonly servers: ReadonlyMap<string, Netns>
}

/** A client, a director as the page has it, and hosts with these addresses, each with a strict rp_filter. */
function withHosts<T>(addresses: readonly string[], body: (hosts: Hosts) => Promise<T>): Promise<T> {
  const bridge = (address: string): string =>
    `br${String(NETWORKS.findIndex(({ prefix }) => address.startsWith(prefix)))}`
  const setUp = (names: readonly string[]): string[][] => {
    const cables = [['192.0.2.100'], ['192.0.2.1', '10.0.0.1'], ...addresses.map((address) => [address])]
    const router = NETWORKS.flatMap(({ router }, index) => [
      `link add br${String(index)} type bridge`,
      `link set br${String(index)} up`,
      ...(router === undefined ? [] : [`addr add ${router}/24 dev br${String(index)}`]),
    ])
    const hosts = cables.map((own, host) => {
      for (const [index, address] of own.entries()) {
        const port = `port${String(host)}-${String(index)}`
        router.push(
          `link add ${port} type veth peer name eth${String(index)} netns ${names[host + 1] ?? ''}`,
          `link set ${port} master ${bridge(address)} up`,
        )
      }
      const first = own[0] ?? ''
      const gateway = NETWORKS.find(({ prefix }) => first.startsWith(prefix))?.router
      return [
        ...own.flatMap((address, index) => [
          `link set eth${String(index)} up`,
          `addr add ${address}/24 dev eth${String(index)}`,
        ]),
        ...(gateway === undefined ? [] : [`route add default via ${gateway}`]),
      ]
    })
    return [router, ...hosts]
  }
  return withNamespaces(
    3 + addresses.length,
    async (...all) => {
      const [router, client, director, ...servers] = all as [Netns, Netns, Netns, ...Netns[]]
      await router.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
      for (const host of servers)
        await host.run([
          'sysctl',
          '-qw',
          'net.ipv4.conf.all.rp_filter=1',
          'net.ipv4.conf.default.rp_filter=1',
        ])
      const byAddress = servers.map((host, index) => [addresses[index] ?? '', host] as const)
      return body({ client, director, servers: new Map(byAddress) })
    },
    { setUp },
  )
}

/** Starts a server that answers with the address of its host. */
function serve(host: Netns, address: string, port: number): void {
  host.start(['socat', `TCP-LISTEN:${String(port)},fork,reuseaddr`, `SYSTEM:echo ${address}`])
}

/** What a client gets from the service; '' if nobody answers. */
async function ask(client: Netns): Promise<string> {
  const { stdout } = await client.tryRun(['socat', '-u', `TCP:${VIRTUAL}:80,connect-timeout=1`, '-'])
  return stdout.trim()
}

/** Waits until the service has answered from each of its real servers. */
async function answers(client: Netns, servers: Iterable<string>): Promise<void> {
  const missing = new Set(servers)
  await until('an answer from every real server', async () => {
    missing.delete(await ask(client))
    return missing.size === 0
  })
}

async function runAll(host: Netns, commands: readonly string[]): Promise<void> {
  for (const one of commands) await host.run(['sh', '-c', one])
}

/** Which of the page's blocks for real servers each host runs, by the index of the host. */
const BLOCKS: Readonly<Record<string, readonly (readonly number[])[]>> = {
  NAT: [[0], [0]],
  'Direct routing': [[0], [0]],
  // IP-in-IP; GRE; GUE, which needs what IP-in-IP needs too.
  Tunnels: [[0], [2], [0, 1]],
}

/** The page's director and real servers, all at work. */
async function follow<T>(page: Director, body: (hosts: Hosts) => Promise<T>): Promise<T> {
  const state = await parseState(`${page.state}\n`)
  const real = state.services?.[0]?.realServers ?? []
  return withHosts(
    real.map(({ address }) => address),
    async (hosts) => {
      await runAll(hosts.director, page.onDirector)
      for (const [index, { address, port = 80 }] of real.entries()) {
        const host = hosts.servers.get(address) as Netns
        for (const block of BLOCKS[page.title]?.[index] ?? []) await runAll(host, page.onServers[block] ?? [])
        serve(host, address, port)
      }
      await hosts.director.ipvs.apply(state)
      return body(hosts)
    },
  )
}

function page(title: string): Director {
  const found = directors().find((one) => one.title === title)
  if (found === undefined) throw new Error(`the page has no ${title}`)
  return found
}

kernelTests('docs/getting-started.md', () => {
  test.each(Object.keys(BLOCKS))('sets up a director that works: %s', (title) =>
    follow(page(title), ({ client, servers }) => answers(client, servers.keys())),
  )

  test('is right about rp_filter: the larger value of all and the interface counts, and 1 drops', () =>
    follow(page('Tunnels'), async ({ client, director, servers }) => {
      const [address = '', host] = [...servers][0] ?? []
      for (const one of [...servers.keys()].slice(1))
        await director.ipvs.editRealServer(`tcp/${VIRTUAL}:80`, one, { weight: 0 })
      const seen: [string, boolean][] = []
      for (const [all, own] of ['00', '10', '01', '20', '21', '02', '11']) {
        await host?.run([
          'sysctl',
          '-qw',
          `net.ipv4.conf.all.rp_filter=${all}`,
          `net.ipv4.conf.tunl0.rp_filter=${own}`,
        ])
        seen.push([`${all}${own}`, (await ask(client)) === address])
      }
      expect(Object.fromEntries(seen)).toEqual({
        ...{ '00': true, '20': true, '21': true, '02': true },
        ...{ '10': false, '01': false, '11': false },
      })
    }))

  test('is right about arp_ignore: the larger value of all and the interface counts', () =>
    withHosts(['192.0.2.11'], async ({ client, servers }) => {
      const host = servers.get('192.0.2.11') as Netns
      await host.run(['ip', 'address', 'add', `${VIRTUAL}/32`, 'dev', 'lo'])
      const seen: [string, boolean][] = []
      for (const [all, own] of ['00', '10', '01']) {
        await host.run([
          'sysctl',
          '-qw',
          `net.ipv4.conf.all.arp_ignore=${all}`,
          `net.ipv4.conf.eth0.arp_ignore=${own}`,
        ])
        await client.run(['ip', 'neigh', 'flush', 'dev', 'eth0'])
        const { status } = await client.tryRun(['ping', '-c', '1', '-W', '1', VIRTUAL])
        seen.push([`${all}${own}`, status === 0])
      }
      expect(Object.fromEntries(seen)).toEqual({ '00': true, '10': false, '01': false })
    }))

  test('is right about send_redirects: one of all and the interface is enough to send them', () =>
    withHosts(['192.0.2.11', '192.0.2.12'], async ({ director, servers }) => {
      const [host, other] = ['192.0.2.11', '192.0.2.12'].map((address) => servers.get(address) as Netns)
      await director.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
      await host?.run(['ip', 'route', 'add', '192.0.2.12/32', 'via', '192.0.2.1'])
      await host?.run([
        'sysctl',
        '-qw',
        'net.ipv4.conf.all.accept_redirects=0',
        'net.ipv4.conf.eth0.accept_redirects=0',
      ])
      expect(other).toBeDefined()
      const sent = async (): Promise<number> => {
        const [names = '', values = ''] = (await director.read('/proc/net/snmp')).match(/^Icmp: .*$/gm) ?? []
        return Number(values.split(' ')[names.split(' ').indexOf('OutRedirects')])
      }
      const seen: [string, boolean][] = []
      for (const [all, own] of ['00', '10', '01']) {
        await director.run([
          ...['sysctl', '-qw', `net.ipv4.conf.all.send_redirects=${all}`],
          `net.ipv4.conf.eth0.send_redirects=${own}`,
        ])
        const before = await sent()
        // The kernel sends one at once, and then fewer and fewer to the same host, until it has been quiet for long.
        await host?.run(['ping', '-c', '2', '-i', '0.2', '-W', '2', '192.0.2.12'])
        seen.push([`${all}${own}`, (await sent()) > before])
      }
      expect(Object.fromEntries(seen)).toEqual({ '00': false, '10': true, '01': true })
    }))

  test('is right about ip_forward: it sets that of every interface', () =>
    withHosts([], async ({ director }) => {
      const read = (name: string): Promise<string> => director.read(`/proc/sys/net/ipv4/${name}`)
      const names = [
        'conf/all/forwarding',
        'conf/eth0/forwarding',
        'conf/eth1/forwarding',
        'conf/default/forwarding',
      ]
      for (const value of ['1', '0']) {
        await director.run(['sysctl', '-qw', `net.ipv4.ip_forward=${value}`])
        for (const name of names) expect((await read(name)).trim(), name).toBe(value)
      }
    }))
})
