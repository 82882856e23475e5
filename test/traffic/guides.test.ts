import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ipvs } from '../cli/terminal.ts'
import { stepsOfBlock } from '../docs/console.ts'
import { type Block, blocksOf, guidePage, runProgram, wordsOf } from '../helpers/guides.ts'
import { kernelSince, kernelTests, type Netns, script } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'
import type { Packet } from './agent.ts'
import { GUIDES } from './guides.ts'
import { CLIENT_PORT } from './modes.ts'
import { withTopology } from './topology.ts'

/** What the guides of the forwarding modes ask of a reader works, as they print it, and shows what they say. */

/** Which of two ways to write a rule this kernel takes. */
const FILTER = kernelSince(6, 12) ? 'nft' : 'iptables'

/** The page, what the reader chooses there, and how the services are added. */
const CHOICES = Object.entries(GUIDES).flatMap(([page, guides]) =>
  Object.keys(guides).flatMap((guide, index) => {
    // Of further choices of a page one way: that both come to the same table is tested without a kernel.
    const ways = ['command', 'library'].filter((_, way) => index === 0 || index % 2 === way)
    // The newer kernel, which takes its time, shows what the other cannot.
    const onlyHere = blocksOf(guidePage(page)).some(({ tags }) => tags.includes('nft'))
    const taken = FILTER === 'iptables' ? ways : onlyHere ? ways.slice(0, 1) : []
    return taken.map((how) => [page, guide, how] as const)
  }),
)

let tools: string

/** A curl for machines without one. */
const CURL = `#!/bin/sh
while [ "\${1#-}" != "$1" ]; do shift; done
exec busybox wget -q -O - "$1"
`

kernelTests('a guide', () => {
  beforeAll(() => {
    tools = mkdtempSync(join(tmpdir(), 'ipvs-guides-'))
    writeFileSync(join(tools, 'curl'), CURL, { mode: 0o755 })
  })
  afterAll(() => {
    rmSync(tools, { recursive: true })
  })

  test.each(CHOICES)('of docs/%s.md works: %s, by %s', async (page, guide, how) => {
    const chosen = new Set([guide, how, FILTER])
    const blocks = blocksOf(guidePage(page)).filter(({ tags }) =>
      tags.every((tag) => tag === 'serve' || chosen.has(tag)),
    )
    const { mode } = GUIDES[page]?.[guide] ?? {}
    if (mode === undefined) throw new Error(`there is no guide ${page}, ${guide}`)
    await withTopology(mode.topology, async ({ hosts, agent }) => {
      const all = Object.values(hosts)
      // As strict as some distributions make a host: a guide has to say what must be loosened. A router is not, or no
      // answer of another network's real server could have the virtual address.
      const strict = Object.entries(hosts).filter(([name]) => mode.topology.hosts[name]?.router !== true)
      await script(
        strict
          .map(([, { name }]) => `ip netns exec ${name} sysctl -qw net.ipv4.conf.all.rp_filter=1`)
          .join('\n'),
      )
      for (const host of all) await agent.watch(host)
      try {
        for (const block of blocks)
          for (const machine of block.machines) {
            const host = hosts[machine]
            if (host === undefined) throw new Error(`${block.place}: there is no ${machine}`)
            await follow(block, host)
          }
      } finally {
        await endServers(all)
      }
      const seen = new Set<string>()
      for (const [machine, host] of Object.entries(hosts))
        for (const packet of await agent.seen(host)) seen.add(arrived(machine, packet))
      const drawn = [...mode.way.request, ...mode.way.reply].map(({ to, ...packet }) => arrived(to, packet))
      // With persistence a client meets one server alone, which need not be that of the picture.
      const other = drawn.map((line) => line.replaceAll('web1', 'web2').replaceAll('10.0.0.11', '10.0.0.12'))
      const way = other.every((line) => seen.has(line)) ? other : drawn
      expect(way.filter((line) => !seen.has(line))).toEqual([])
    })
  })
})

/** A packet that reached a machine, with the client's port, which may be any, as in the pictures. */
function arrived(machine: string, { source, destination, outer }: Packet): string {
  const asDrawn = (endpoint: string): string => {
    const [, port = ''] = /:(\d+)$/.exec(endpoint) ?? []
    return Number(port) >= 32_768 ? endpoint.replace(/\d+$/, String(CLIENT_PORT)) : endpoint
  }
  const around = outer === undefined ? '' : `${outer.tunnel} ${outer.source} ${outer.destination} `
  return `${machine}: ${around}${asDrawn(source)} ${asDrawn(destination)}`
}

/** Does what one block says on a machine. */
async function follow({ language, code, place, tags }: Block, host: Netns): Promise<void> {
  if (language === 'ts') {
    await runProgram(code, host.ipvs)
  } else if (language === 'console') {
    for (const { command, output, place: where } of stepsOfBlock({ place, code })) {
      let said = ''
      // The first packets may come while addresses are still looked up, or tried for duplicates.
      await until(`${where}: ${command}`, async () => (said = await run(host, command)) === output).catch(
        () => undefined,
      )
      expect(said, where).toBe(output)
    }
  } else if (tags.includes('serve')) {
    await serve(host, code.split('\n'))
  } else {
    // Our own command in this process: to start Node takes longer than all the rest.
    const isOurs = (line: string): boolean => line.startsWith('ipvs ')
    const lines = code.split('\n')
    for (const line of lines.filter(isOurs)) await own(host, line)
    const others = lines.filter((line) => !isOurs(line))
    if (others.length > 0) await host.run(['sh', '-ec', others.join('\n')])
  }
}

async function run(host: Netns, command: string): Promise<string> {
  const path = `PATH=${process.env.PATH ?? ''}${delimiter}${tools}`
  // Where no packet passes, a client would wait for minutes.
  const limit = String(patient(10_000) / 1000)
  const { stdout, stderr } = await host.tryRun(['timeout', limit, 'env', path, 'bash', '-c', command])
  return stdout + stderr
}

/** Runs a line that begins with `ipvs`. */
async function own(host: Netns, line: string): Promise<void> {
  const words = ['--netns', host.name, ...wordsOf(line)]
  const { status, stdout, stderr } = await ipvs(words, { kernel: 'real' })
  expect({ line, status, said: stdout + stderr }).toMatchObject({ status: 0 })
}

/** Starts servers, and waits until they listen. They go on until endServers(). */
async function serve(host: Netns, lines: readonly string[]): Promise<void> {
  // Not as children of this process, which is large: to start one takes three times as long.
  await host.run(['sh', '-c', lines.map((line) => `${line} </dev/null >/dev/null 2>&1 &`).join('\n')])
  const ports = lines.map((line) => Number(/TCP\d?-LISTEN:(\d+)/.exec(line)?.[1]))
  const listens = ports.map(
    (port) => new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')} \\S+ 0A `),
  )
  await until(`servers listen: ${lines.join('; ')}`, async () => {
    const sockets = await host.run(['cat', '/proc/net/tcp', '/proc/net/tcp6'])
    return listens.every((pattern) => pattern.test(sockets))
  })
}

/** Ends what still runs on the machines. */
async function endServers(hosts: readonly Netns[]): Promise<void> {
  await script(hosts.map(({ name }) => `ip netns pids ${name} | xargs -r kill`).join('\n'))
}
