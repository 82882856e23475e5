import { expect, test } from 'vitest'
import type { ServiceSettings } from '../../lib/index.ts'
import { ipvs } from '../cli/terminal.ts'
import { wordsOf } from '../helpers/guides.ts'
import { concurrentKernelTests, kernelSince } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { type Conversation, countsOf, IN_VAIN_MS } from './agent.ts'
import { ask as askCrowd, counts, CROWD, each, serve, withCrowd } from './crowd.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/**
 * What goes wrong, in the tables of docs/weights.md, docs/maintenance.md and docs/change-scheduler.md: it is made, seen, and mended as
 * the row says. A test is named by its page and what the row says is seen. Rows that other tests prove are listed in
 * test/docs/wrong.test.ts.
 */

type DirectorSite = Site<keyof typeof BEHIND_DIRECTOR.hosts>

const WEB = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
const WEB1 = { address: '10.0.0.11', port: 8080 }
const WEB2 = { address: '10.0.0.12', port: 8080 }

/** The hosts of these pages, with the service and the weights 3 and 1. */
function withService<T>(settings: ServiceSettings, body: (site: DirectorSite) => Promise<T>): Promise<T> {
  return withTopology(BEHIND_DIRECTOR, async (site) => {
    const { agent, hosts, sh } = site
    await sh('director', 'sysctl -qw net.ipv4.ip_forward=1', `ip address add ${VIRTUAL.ipv4}/32 dev eth0`)
    for (const name of ['web1', 'web2'] as const) await agent.serve(hosts[name], { port: 8080, name })
    const service = await hosts.director.ipvs.addService({ ...WEB, ...settings })
    await service.addRealServer({ ...WEB2, method: 'masquerade' })
    await service.addRealServer({ ...WEB1, method: 'masquerade', weight: 3 })
    return body(site)
  })
}

/** Asks so many times, each in a connection of its own. */
async function ask({ agent, hosts }: DirectorSite, count: number): Promise<Record<string, number>> {
  return countsOf(await agent.askMany(hosts.client, WEB, count))
}

/** Opens connections that stay open. */
async function hold({ agent, hosts }: DirectorSite, count: number): Promise<Conversation[]> {
  const held: Conversation[] = []
  for (let at = 0; at < count; at++) held.push(await agent.connect(hosts.client, WEB))
  return held
}

/** Runs a line that begins with `ipvs` on the director. */
async function run({ hosts }: DirectorSite, line: string): Promise<{ status: number; said: string }> {
  const words = ['--netns', hosts.director.name, ...wordsOf(line)]
  const { status, stdout, stderr } = await ipvs(words, { kernel: 'real' })
  return { status, said: stdout + stderr }
}

const DONE = { status: 0 }

/** What every kernel does alike is not done on an emulated processor. */
const quick = test.skipIf(kernelSince(6, 12))

concurrentKernelTests('what goes wrong with weights', () => {
  quick('weights: The connections that are open are not 3:1', () =>
    withService({ scheduler: 'wrr' }, async (site) => {
      const { ipvs: table } = site.hosts.director
      const open = async (): Promise<number[]> =>
        Promise.all([WEB1, WEB2].map(async (key) => (await table.realServer(WEB, key)).activeConnections))
      const held = await hold(site, 8)
      expect(countsOf(held)).toEqual({ web1: 6, web2: 2 })
      // Those of the strong server are the short ones.
      for (const one of held.filter(({ server }) => server === 'web1')) await one.close()
      await until('they are over', async () => (await open())[0] === 0)
      expect(countsOf(await hold(site, 4))).toEqual({ web1: 3, web2: 1 })
      expect(await open()).toEqual([3, 3])

      expect(await run(site, 'ipvs set tcp/192.0.2.10:80 scheduler=wlc')).toMatchObject(DONE)
      await hold(site, 10)
      // What has just ended counts a little.
      const [one = 0, other = 0] = await open()
      expect(one + other).toBe(16)
      expect([3, 4]).toContain(other)
    }),
  )

  quick('weights: Some clients always get the same server', () =>
    withService({ scheduler: 'wrr', persistence: {} }, async (site) => {
      expect(await ask(site, 8)).toEqual({ web1: 8 })
      expect(await run(site, 'ipvs set tcp/192.0.2.10:80 persistence=none')).toMatchObject(DONE)
      expect(await ask(site, 8)).toEqual({ web1: 6, web2: 2 })
    }),
  )

  quick('weights: One server gets nothing', () =>
    withService({ scheduler: 'wrr' }, async (site) => {
      const { ipvs: table } = site.hosts.director
      const show = async (): Promise<string> => (await run(site, 'ipvs show tcp/192.0.2.10:80')).said
      await table.editRealServer(WEB, WEB1, { weight: 0 })
      expect(await ask(site, 4)).toEqual({ web2: 4 })
      expect(await show()).toMatch(/10\.0\.0\.11:8080 .* 0 /)
      await table.editRealServer(WEB, WEB1, { weight: 3, upperThreshold: 1 })
      const [first] = await hold(site, 1)
      expect(first?.server).toBe('web1')
      expect(await ask(site, 4)).toEqual({ web2: 4 })
      expect(await show()).toMatch(/10\.0\.0\.11:8080 .* upper=1\n/)
      await table.editRealServer(WEB, WEB1, { upperThreshold: 0 })
      expect(await ask(site, 8)).toEqual({ web1: 6, web2: 2 })
    }),
  )

  quick('weights: One connection has most of the load', () =>
    withService({ scheduler: 'wrr' }, async (site) => {
      const [one] = await hold(site, 1)
      const servers = []
      for (let request = 0; request < 8; request++) servers.push(await one?.say('a request'))
      expect(servers.map((answer) => answer?.server)).toEqual(Array.from({ length: 8 }, () => 'web1'))
      await one?.close()
      expect(await ask(site, 8)).toEqual({ web1: 6, web2: 2 })
    }),
  )
})

concurrentKernelTests('what goes wrong with maintenance', () => {
  const DRAIN = 'ipvs drain tcp/192.0.2.10:80 10.0.0.11:8080 --keep --wait-for active'

  quick('maintenance: Refused with status 3: `would be left without a real server`', () =>
    withService({ scheduler: 'wrr' }, async (site) => {
      await site.hosts.director.ipvs.editRealServer(WEB, WEB2, { weight: 0 })
      const { status, said } = await run(site, DRAIN)
      expect(status).toBe(3)
      expect(said).toContain('would be left without a real server')
      expect(await ask(site, 4)).toEqual({ web1: 4 })
      expect(await run(site, 'ipvs weight tcp/192.0.2.10:80 10.0.0.12:8080 1')).toMatchObject(DONE)
      expect(await run(site, DRAIN)).toMatchObject(DONE)
      expect(await ask(site, 4)).toEqual({ web2: 4 })
    }),
  )

  quick('maintenance: After five minutes the command ends with status 1, and the server has weight 0', () =>
    withService({ scheduler: 'wrr' }, async (site) => {
      const { agent, hosts } = site
      const [one] = await hold(site, 1)
      expect(one?.server).toBe('web1')
      // The five minutes themselves are tested with a clock of the test's own, in test/apply/drain.test.ts.
      expect(await run(site, `${DRAIN} --timeout 0.1`)).toMatchObject({ status: 1 })
      expect((await hosts.director.ipvs.realServer(WEB, WEB1)).weight).toBe(0)
      expect((await one?.say('still here'))?.server).toBe('web1')
      const drained = run(site, `${DRAIN} --timeout 600`)
      await agent.stop(hosts.web1, 'web1')
      await one?.close()
      expect(await drained).toMatchObject(DONE)
      expect(await ask(site, 4)).toEqual({ web2: 4 })
    }),
  )

  quick('maintenance: Clients of `sh` are refused', () =>
    withService({ scheduler: 'sh' }, async (site) => {
      const [before = ''] = Object.keys(await ask(site, 4))
      const { ipvs: table } = site.hosts.director
      await table.editRealServer(WEB, before === 'web1' ? WEB1 : WEB2, { weight: 0 })
      expect(await ask(site, 4)).toEqual({ ECONNREFUSED: 4 })
      expect(await run(site, 'ipvs set tcp/192.0.2.10:80 schedulerFlags=sh-fallback')).toMatchObject(DONE)
      expect(await ask(site, 4)).toEqual({ [before === 'web1' ? 'web2' : 'web1']: 4 })
    }),
  )
})

concurrentKernelTests('what goes wrong with another scheduler', () => {
  const HOLD = 'INPUT -d 192.0.2.10 -p tcp --dport 80 --syn -j DROP'

  // On User Mode Linux 6.1, which has one processor, the kernel need not wait.
  test.runIf(kernelSince(6, 12))(
    'change-scheduler: Some clients are refused in the moment of the change',
    () =>
      withService({ scheduler: 'rr' }, async (site) => {
        const { ipvs: table } = site.hosts.director
        await until('some were refused', async () => {
          const asking = ask(site, 20)
          for (const scheduler of ['wrr', 'rr']) await table.editService(WEB, { scheduler })
          const { ECONNREFUSED = 0 } = await asking
          return ECONNREFUSED > 0
        })
        // That none is refused where new connections are held is tested in tasks.test.ts.
        expect(await ask(site, 4)).toEqual({ web1: 2, web2: 2 })
      }),
  )

  quick('change-scheduler: Nobody gets a new connection', () =>
    withService({ scheduler: 'wrr' }, async (site) => {
      const { agent, hosts, sh } = site
      const [open] = await hold(site, 1)
      await sh('director', `iptables -I ${HOLD}`)
      await expect(agent.ask(hosts.client, { ...WEB, withinMs: IN_VAIN_MS })).rejects.toThrow('ETIMEDOUT')
      expect((await open?.say('still here'))?.server).toBe('web1')
      expect(await sh('director', 'iptables -S INPUT')).toContain('-j DROP')
      await sh('director', `iptables -D ${HOLD}`)
      expect(await sh('director', 'iptables -S INPUT')).not.toContain('-j DROP')
      expect(await ask(site, 4)).toEqual({ web1: 3, web2: 1 })
    }),
  )

  quick('change-scheduler: ENOENT', () =>
    withService({ scheduler: 'rr' }, async (site) => {
      const { status, said } = await run(site, 'ipvs set tcp/192.0.2.10:80 scheduler=nosuch')
      expect(status).not.toBe(0)
      expect(said).toContain('ENOENT')
      expect((await site.hosts.director.ipvs.service(WEB)).scheduler).toBe('rr')
      expect(await ask(site, 4)).toEqual({ web1: 2, web2: 2 })
    }),
  )

  quick('change-scheduler: Most clients get another server than before', () =>
    withCrowd(async (site) => {
      for (const [persistence, most] of [
        [undefined, true],
        [{}, false],
      ] as const) {
        const service = await serve(site, { scheduler: 'sh' }, each(['a', 'b', 'c', 'd']))
        if (persistence !== undefined) await site.hosts.director.ipvs.editService(service, { persistence })
        const before = await askCrowd(site, service, CROWD.ipv4)
        expect(Object.keys(counts(before))).toHaveLength(4)
        await site.hosts.director.ipvs.editService(service, { scheduler: 'mh' })
        const after = await askCrowd(site, service, CROWD.ipv4)
        const moved = after.filter((name, at) => name !== before[at]).length
        if (most) expect(moved).toBeGreaterThan(CROWD.ipv4.length / 2)
        else expect(moved).toBe(0)
      }
    }),
  )

  quick('change-scheduler: UDP clients lose a datagram', () =>
    withService({ scheduler: 'wrr' }, async ({ agent, hosts, sh }) => {
      const dns = { protocol: 'udp', address: VIRTUAL.ipv4, port: 53 } as const
      const service = await hosts.director.ipvs.addService({ ...dns, scheduler: 'rr' })
      // Refused: there is no real server, as there is none without a scheduler.
      await expect(agent.ask(hosts.client, { ...dns, withinMs: IN_VAIN_MS })).rejects.toThrow('ECONNREFUSED')
      await agent.serve(hosts.web1, { protocol: 'udp', port: 53, name: 'web1' })
      await service.addRealServer({ address: '10.0.0.11', method: 'masquerade' })
      const arrived = await agent.capture(hosts.web1, 'eth0')
      const rule = HOLD.replace('-p tcp --dport 80 --syn', '-p udp --dport 53')
      await sh('director', `iptables -I ${rule}`)
      await expect(agent.ask(hosts.client, { ...dns, withinMs: IN_VAIN_MS })).rejects.toThrow('ETIMEDOUT')
      await sh('director', `iptables -D ${rule}`)
      const datagrams = async (): Promise<number> =>
        (await arrived()).filter(({ port, source }) => port === 53 && source !== '10.0.0.11').length
      expect((await agent.ask(hosts.client, dns)).server).toBe('web1')
      expect(await datagrams()).toBe(1)
    }),
  )
})
