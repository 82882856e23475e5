import { type ChildProcess, spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Ipvs, parseState } from '../../lib/index.ts'
import { run, stepsOf } from '../docs/console.ts'
import { examples, type Page, pages } from '../docs/markdown.ts'
import { installCommand } from '../helpers/installed-command.ts'
import { guestTests, type Netns } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'
import { countsOf, IN_VAIN_MS } from './agent.ts'
import { learned, release, take, untilLearned } from './directors.ts'
import { TWO_DIRECTORS, TWO_DIRECTORS_ONE_NETWORK, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/** docs/high-availability.md, with the real keepalived: its configuration, its commands and its code. */

type Name = keyof typeof TWO_DIRECTORS.hosts
type DirectorName = 'director1' | 'director2'

const DIRECTORS = ['director1', 'director2'] as const
const SERVICE = { address: VIRTUAL.ipv4, port: 80 } as const

const page = ((): Page => {
  const found = pages().find(({ name }) => name === 'docs/high-availability.md')
  if (found === undefined) throw new Error('there is no docs/high-availability.md')
  return found
})()

/** The block of the page that has this in it. */
function block(language: string, what: string): string {
  const found = examples(page, language).find(({ code }) => code.includes(what))
  if (found === undefined) throw new Error(`the page has no ${language} with ${what}`)
  return found.code
}

const CONFIGURATION = block('text', 'vrrp_instance')
const SYSTEM = block('sh', 'modprobe ip_vs')
const TABLE = `${block('yaml', 'services:')}\n`

/** What the page says to change for the other director, and for both here: many take-overs in little time. */
function configurationOf(director: DirectorName, ...changes: readonly (readonly [string, string])[]): string {
  const all = director === 'director2' ? [['priority 100', 'priority 90'] as const, ...changes] : changes
  return all.reduce((text, [from, to]) => {
    expect(text).toContain(from)
    return text.replace(from, to)
  }, CONFIGURATION)
}

const QUICK = ['advert_int 1', 'advert_int 0.5'] as const
const PREEMPT = ['    nopreempt\n', ''] as const
const DELAY = ['    nopreempt\n', '    preempt_delay 3\n'] as const

/** Starts keepalived with a configuration, as systemd does, and waits until it is a backup, as it is at first. */
async function startKeepalived(host: Netns, text: string): Promise<ChildProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-keepalived-'))
  const file = join(folder, 'keepalived.conf')
  writeFileSync(file, text)
  const pids = ['pid', 'checkers_pid', 'vrrp_pid'].map((name) => `--${name}=${join(folder, name)}`)
  const child = host.start(['keepalived', '--dont-fork', '--log-console', `--use-file=${file}`, ...pids])
  let log = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (piece: string) => (log += piece))
  await until('keepalived has started', () => {
    if (child.exitCode !== null) throw new Error(`keepalived has ended: ${log}`)
    return log.includes('Entering BACKUP STATE')
  })
  return child
}

async function stop(keepalived: ChildProcess): Promise<void> {
  process.kill(keepalived.pid as number, 'SIGTERM')
  await until('keepalived has ended', () => keepalived.exitCode !== null)
}

/** Kills keepalived with all its processes. */
async function kill(keepalived: ChildProcess): Promise<void> {
  process.kill(-(keepalived.pid as number), 'SIGKILL')
  await until('keepalived is gone', () => keepalived.signalCode !== null)
}

/** Whether a director has the virtual address. */
async function holds({ sh }: Pick<Site<DirectorName>, 'sh'>, director: DirectorName): Promise<boolean> {
  return (await sh(director, `ip -o address show to ${VIRTUAL.ipv4} dev eth0`)) !== ''
}

async function untilHolds(
  site: Pick<Site<DirectorName>, 'sh'>,
  director: DirectorName,
  wanted = true,
): Promise<void> {
  await until(
    `${director} ${wanted ? 'has' : 'has given up'} the address`,
    async () => (await holds(site, director)) === wanted,
    30_000,
  )
}

/** The page's two directors, with real servers that serve; nobody has the addresses yet. */
async function withDirectors(body: (site: Site<Name>) => Promise<void>): Promise<void> {
  await withTopology(TWO_DIRECTORS, async (site) => {
    const { hosts, agent, sh } = site
    const state = await parseState(TABLE)
    for (const name of DIRECTORS) {
      await sh(name, SYSTEM)
      await hosts[name].ipvs.apply(state)
    }
    for (const name of ['web1', 'web2'] as const) await agent.serve(hosts[name], { port: 8080, name })
    await body(site)
  })
}

guestTests('docs/high-availability.md', 'keepalived', () => {
  test(
    'does what it says: a connection survives a crash, and a return',
    { timeout: patient(120_000) },
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ipvs-ha-'))
      writeFileSync(join(folder, 'table.yaml'), TABLE)
      const { env } = installCommand()
      await withTopology(TWO_DIRECTORS, async (site) => {
        const { hosts, agent, sh } = site
        const { client, director1, director2 } = hosts
        const inside = (name: DirectorName, line: string, input = ''): string => {
          const argv = ['netns', 'exec', hosts[name].name, 'bash', '-ec', line]
          const { stdout, stderr, status } = spawnSync('ip', argv, {
            ...{ cwd: folder, env, input, encoding: 'utf8' },
          })
          expect([status, stderr], line).toEqual([0, ''])
          return stdout
        }
        for (const name of ['web1', 'web2'] as const) {
          await sh(name, block('sh', 'ip route replace default'))
          await agent.serve(hosts[name], { port: 8080, name })
        }
        // One by the command and one by the library.
        for (const name of DIRECTORS) await sh(name, SYSTEM)
        inside('director1', 'ipvs apply table.yaml')
        const AsyncFunction = withDirectors.constructor as new (
          name: string,
          body: string,
        ) => (ipvs: Ipvs) => Promise<void>
        await new AsyncFunction('ipvs', block('ts', 'startSyncDaemon'))(director2.ipvs)
        expect(block('sh', 'ipvs save |')).toBe('ipvs save | ssh director2 ipvs diff live -')
        expect(inside('director2', 'ipvs diff live -', inside('director1', 'ipvs save'))).toBe('')

        const excluded = block('text', 'virtual_ipaddress_excluded')
        const both = ['\n}', `\n${excluded}\n}`] as const
        const configuration = (name: DirectorName): string => {
          const text = configurationOf(name)
          const end = text.lastIndexOf(both[0])
          return text.slice(0, end) + text.slice(end).replace(...both)
        }
        const first = await startKeepalived(director1, configuration('director1'))
        await untilHolds(site, 'director1')
        const steps = stepsOf(page, 'console directors')
        expect(steps).not.toEqual([])
        for (const step of steps)
          expect(run(step, folder, env, ['ip', 'netns', 'exec', director1.name]), step.command).toBe(
            step.output,
          )

        const second = await startKeepalived(director2, configuration('director2'))
        for (const name of DIRECTORS) {
          await sh(name, 'sysctl -qw net.ipv6.conf.all.forwarding=1')
          const service = await hosts[name].ipvs.addService({
            ...{ protocol: 'tcp', address: VIRTUAL.ipv6, port: 80, scheduler: 'rr' },
          })
          for (const address of ['fd00::11', 'fd00::12'])
            await service.addRealServer({ address, port: 8080, method: 'masquerade' })
        }
        const held = [
          await agent.connect(client, SERVICE),
          await agent.connect(client, { address: VIRTUAL.ipv6, port: 80 }),
        ]
        for (const { sourcePort } of held) await untilLearned(director2, sourcePort)
        expect(await sh('director2', block('sh', 'grep SYNC'))).toMatch(/SYNC/)

        // The machine is off.
        await kill(first)
        await sh('director1', 'ip link set eth0 down; ip link set eth1 down')
        await untilHolds(site, 'director2')
        for (const conversation of held) {
          expect((await conversation.say('still here')).server).toBe(conversation.server)
        }
        expect(countsOf(await agent.askMany(client, SERVICE, 4))).toEqual({ web1: 2, web2: 2 })

        // And on again. It gets the connections, and not the addresses.
        await sh(
          'director1',
          ...release([VIRTUAL.ipv4, 'eth0'], ['10.0.0.1', 'eth1']),
          'ip link set eth0 up; ip link set eth1 up',
          'ip route add default via 192.0.2.254',
        )
        await startKeepalived(director1, configuration('director1'))
        const later = await agent.connect(client, SERVICE)
        await untilLearned(director1, later.sourcePort)
        expect(await holds(site, 'director2')).toBe(true)
        expect(await holds(site, 'director1')).toBe(false)
        await stop(second)
        await untilHolds(site, 'director1')
        expect((await later.say('still here')).said).toBe('still here')
      })
    },
  )

  test.concurrent.each([
    ['with preemption loses the connections', [PREEMPT]],
    ['with preempt_delay loses those that were silent meanwhile', [DELAY]],
    ['with nopreempt gets them first', []],
  ])('a director that comes back %s', async (_, preempting) => {
    await withDirectors(async (site) => {
      const { hosts, agent } = site
      const { client, director1, director2, web1 } = hosts
      const changes = [QUICK, ...preempting]
      // As if it were off: what is sent now, it does not get.
      await director1.ipvs.stopSyncDaemon('backup')
      await web1.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'eth0', syncId: 51 })
      const second = await startKeepalived(director2, configurationOf('director2', ...changes))
      await untilHolds(site, 'director2')
      await director2.ipvs.setSysctl('sync_refresh_period', 1)
      const held = await agent.connect(client, SERVICE)
      const silent = await agent.connect(client, SERVICE)
      for (const { sourcePort } of [held, silent]) await untilLearned(web1, sourcePort)
      await director1.ipvs.apply(await parseState(TABLE))
      await startKeepalived(director1, configurationOf('director1', ...changes))
      if (preempting.length > 0) {
        await untilHolds(site, 'director1')
        await untilHolds(site, 'director2', false)
        await expect(held.say('still here?')).rejects.toMatchObject({ code: 'ECONNRESET' })
        return
      }
      await until('it is sent again', async () => {
        await held.say('still here')
        return (await learned(director1)).includes(held.sourcePort)
      })
      expect(await holds(site, 'director2')).toBe(true)
      await stop(second)
      await untilHolds(site, 'director1')
      expect((await held.say('still here')).said).toBe('still here')
      await expect(silent.say('still here?')).rejects.toMatchObject({ code: 'ECONNRESET' })
    })
  })

  test.concurrent(
    'with VRRP dropped both have the address: new connections may fail, old ones continue',
    async () => {
      await withDirectors(async (site) => {
        const { hosts, agent, sh } = site
        const { client, director2 } = hosts
        const target = { ...SERVICE, withinMs: IN_VAIN_MS }
        const often = ['vrrp_garp_master_refresh 60', 'vrrp_garp_master_refresh 1'] as const
        const macs = await Promise.all(
          DIRECTORS.map(async (name) => ({
            front: (await sh(name, 'cat /sys/class/net/eth0/address')).trim(),
            back: (await sh(name, 'cat /sys/class/net/eth1/address')).trim(),
          })),
        )
        /** Which director the router and the real servers have in their tables of neighbours. */
        const choose = async (router: number, servers: number, state = 'permanent'): Promise<void> => {
          await sh(
            'router',
            `ip neigh replace ${VIRTUAL.ipv4} dev eth1 lladdr ${macs[router]?.front ?? ''} nud ${state}`,
          )
          for (const name of ['web1', 'web2'] as const)
            await sh(
              name,
              `ip neigh replace 10.0.0.1 dev eth0 lladdr ${macs[servers]?.back ?? ''} nud ${state}`,
            )
        }
        for (const name of DIRECTORS) await sh(name, 'iptables -I INPUT -p vrrp -j DROP')
        for (const name of DIRECTORS) await startKeepalived(hosts[name], configurationOf(name, QUICK, often))
        for (const name of DIRECTORS) await untilHolds(site, name)

        await choose(0, 0)
        const held = await agent.connect(client, SERVICE)
        await untilLearned(director2, held.sourcePort)
        for (const director of [0, 1]) {
          await choose(director, director)
          expect(countsOf(await agent.askMany(client, target, 2))).toEqual({ web1: 1, web2: 1 })
        }
        await choose(0, 1)
        await expect(agent.ask(client, target)).rejects.toMatchObject({ code: 'ETIMEDOUT' })
        expect((await held.say('still here')).said).toBe('still here')

        // The page's rules come first. The address stays with one, which says so until everyone has heard it.
        for (const name of DIRECTORS) await sh(name, block('sh', 'iptables -I INPUT'))
        await untilHolds(site, 'director2', false)
        expect(await holds(site, 'director1')).toBe(true)
        await sh('router', 'sysctl -qw net.ipv4.neigh.eth1.base_reachable_time_ms=3600000')
        await choose(1, 0, 'reachable')
        await until('the router has heard it', async () =>
          (await sh('router', `ip neigh show ${VIRTUAL.ipv4}`)).includes(macs[0]?.front ?? '?'),
        )
        await choose(0, 0)
        expect(countsOf(await agent.askMany(client, target, 4))).toEqual({ web1: 2, web2: 2 })
        expect((await held.say('still here')).said).toBe('still here')
      })
    },
  )

  test.concurrent(
    'keepalived gives up the addresses if half of it is killed, leaves them if all is, and gives them up at its start',
    async () => {
      await withDirectors(async (site) => {
        const { hosts, agent } = site
        const first = await startKeepalived(hosts.director1, configurationOf('director1', QUICK))
        await untilHolds(site, 'director1')
        let second = await startKeepalived(hosts.director2, configurationOf('director2', QUICK))
        const held = await agent.connect(hosts.client, SERVICE)
        await untilLearned(hosts.director2, held.sourcePort)

        process.kill(first.pid as number, 'SIGKILL')
        await untilHolds(site, 'director1', false)
        await untilHolds(site, 'director2')
        expect((await held.say('still here')).said).toBe('still here')

        await startKeepalived(hosts.director1, configurationOf('director1', QUICK))
        await kill(second)
        await untilHolds(site, 'director1')
        expect(await holds(site, 'director2')).toBe(true)
        expect((await held.say('still here')).said).toBe('still here')
        second = await startKeepalived(hosts.director2, configurationOf('director2', QUICK))
        await untilHolds(site, 'director2', false)

        // An interface that fails takes the addresses of both.
        await site.sh('director1', 'ip link set eth1 down')
        await untilHolds(site, 'director1', false)
        await untilHolds(site, 'director2')
        expect((await held.say('still here')).said).toBe('still here')
      })
    },
  )

  test.concurrent('directors that are real servers too: one sync daemon each, as VRRP decides', async () => {
    await withTopology(TWO_DIRECTORS_ONE_NETWORK, async (site) => {
      const { hosts, agent, sh } = site
      const { client, director1, director2 } = hosts
      const changes = [
        QUICK,
        ['global_defs {', `global_defs {\n${block('text', 'lvs_sync_daemon')}`],
        ['    track_interface {\n        eth1\n    }\n', ''],
        ['        10.0.0.1/32 dev eth1\n', ''],
      ] as const
      for (const name of DIRECTORS) {
        await sh(
          name,
          SYSTEM,
          'sysctl -qw net.ipv4.vs.backup_only=1',
          'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2',
          ...take([VIRTUAL.ipv4, 'lo']),
        )
        const service = await hosts[name].ipvs.addService({
          ...{ protocol: 'tcp', ...SERVICE, scheduler: 'rr' },
        })
        for (const address of ['192.0.2.1', '192.0.2.2']) await service.addRealServer({ address })
        await agent.serve(hosts[name], { port: 80, name })
      }
      const runs = async (director: Netns, state: string): Promise<void> => {
        await until(`the ${state} runs`, async () => {
          const daemons = await director.ipvs.syncDaemons()
          return daemons.length === 1 && daemons[0]?.state === state && daemons[0].syncId === 51
        })
      }
      const first = await startKeepalived(director1, configurationOf('director1', ...changes))
      await untilHolds(site, 'director1')
      await startKeepalived(director2, configurationOf('director2', ...changes))
      await runs(director1, 'master')
      await runs(director2, 'backup')
      expect(countsOf(await agent.askMany(client, SERVICE, 8))).toEqual({ director1: 4, director2: 4 })
      const held = [await agent.connect(client, SERVICE), await agent.connect(client, SERVICE)]
      for (const { sourcePort } of held) await untilLearned(director2, sourcePort)

      await stop(first)
      await untilHolds(site, 'director2')
      await runs(director2, 'master')
      expect(new Set(held.map(({ server }) => server)).size).toBe(2)
      for (const conversation of held) expect((await conversation.say('still here')).said).toBe('still here')
    })
  })
})
