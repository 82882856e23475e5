import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Ipvs } from '../../lib/index.ts'
import { ipvs as ourCommand } from '../cli/terminal.ts'
import { historyIn, type Step, stepsOf } from '../docs/console.ts'
import { examples, type Page, pages } from '../docs/markdown.ts'
import { kernelTests } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'
import { type Answer, countsOf } from './agent.ts'
import { BEHIND_DIRECTOR, VIRTUAL } from './topologies.mjs'
import { type Site, withTopology } from './topology.ts'

/**
 * The classic tasks: docs/weights.md, docs/maintenance.md and docs/change-scheduler.md. Their commands and their code are run as
 * they stand there, under traffic, each way on a director of its own.
 */

type DirectorSite = Site<keyof typeof BEHIND_DIRECTOR.hosts>
type Answers = (Answer | { readonly error: string })[]

const COUNT = 200
const WEB = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80 } as const
const WAYS = ['the command', 'the library'] as const
type Way = (typeof WAYS)[number]

let history: string
beforeAll(() => {
  history = mkdtempSync(join(tmpdir(), 'ipvs-tasks-'))
})
afterAll(() => {
  rmSync(history, { recursive: true })
})

/** The hosts of these pages: NAT, and two real servers that listen. */
function withDirector<T>(body: (site: DirectorSite) => Promise<T>): Promise<T> {
  return withTopology(BEHIND_DIRECTOR, async (site) => {
    await site.sh(
      'director',
      'sysctl -qw net.ipv4.ip_forward=1',
      `ip address add ${VIRTUAL.ipv4}/32 dev eth0`,
    )
    for (const name of ['web1', 'web2'] as const)
      await site.agent.serve(site.hosts[name], { port: 8080, name })
    return body(site)
  })
}

/** A part of a page, by its heading; the part before the first has the page's own. */
function section(page: string, heading: string): Page {
  const { name, lines } = pages().find((one) => one.name === `docs/${page}.md`) ?? { name: page, lines: [] }
  const start = lines.findIndex((line) => line === `# ${heading}` || line === `## ${heading}`)
  if (start < 0) throw new Error(`docs/${page}.md has no heading '${heading}'`)
  const next = lines.findIndex((line, index) => index > start && line.startsWith('## '))
  const end = next < 0 ? lines.length : next
  // Each line stays where it is, for messages.
  return { name, lines: lines.map((line, index) => (index >= start && index < end ? line : '')) }
}

/** Does what a part of a page says: its shell, and then its commands or its code. */
async function follow(site: DirectorSite, part: Page, way: Way = 'the command'): Promise<void> {
  const { director } = site.hosts
  const shell = examples(part, 'sh')
  const [steps, programs] = [stepsOf(part), examples(part, 'ts')]
  expect(shell.length + steps.length).toBeGreaterThan(0)
  for (const { code } of shell) await site.sh('director', code)
  if (way === 'the library' && steps.length > 0) {
    expect(programs).not.toEqual([])
    for (const { code } of programs) await runProgram(code, director.ipvs)
  } else {
    for (const step of steps) await runStep(site, step)
  }
}

async function runProgram(code: string, ipvs: Ipvs): Promise<void> {
  const AsyncFunction = runProgram.constructor as new (
    name: string,
    body: string,
  ) => (ipvs: Ipvs) => Promise<void>
  await new AsyncFunction('ipvs', code)(ipvs)
}

/** Runs a command of `ipvs`, and compares what it prints, but not what goes to standard error, which names the namespace. */
async function runStep(
  { hosts: { director } }: DirectorSite,
  { command, output, place }: Step,
): Promise<void> {
  const words = [...command.split(' ').slice(1), '--netns', director.name]
  const env = historyIn(history)
  const { status, stdout, stderr } = await ourCommand(words, { kernel: 'real', env })
  expect({ status, stdout }, `${place}: ${stderr}`).toEqual({
    status: 0,
    stdout: output.replaceAll(/^ipvs: .*\n/gm, ''),
  })
}

/** Asks once in a connection of its own, so many times. */
async function ask({ agent, hosts }: DirectorSite, count = COUNT): Promise<Record<string, number>> {
  return countsOf(await agent.askMany(hosts.client, WEB, count))
}

/** Two clients ask all the time while some work is done, and before and after; gives all answers. */
async function underTraffic(
  { agent, hosts }: DirectorSite,
  work: (more: (count: number) => Promise<Answers>) => Promise<void>,
): Promise<Answers> {
  const answers: Answers = []
  let stop = false
  const client = async (): Promise<void> => {
    while (!stop) answers.push(...(await agent.askMany(hosts.client, WEB, 5)))
  }
  const clients = [client(), client()]
  /** Waits for so many more answers, and gives them. */
  const more = async (count: number): Promise<Answers> => {
    const from = answers.length
    await until(`${String(count)} more answers`, () => answers.length >= from + count, 60_000)
    return answers.slice(from)
  }
  try {
    await more(50)
    await work(more)
    await more(Math.max(50, COUNT - answers.length))
  } finally {
    stop = true
    await Promise.all(clients)
  }
  return answers
}

function errorsIn(answers: Answers): Answers {
  return answers.filter((answer) => 'error' in answer)
}

kernelTests('two web servers at 3:1', () => {
  test.each(WAYS)('by %s', (way) =>
    withDirector(async (site) => {
      await follow(site, section('weights', 'Set up'), way)
      expect(await ask(site)).toEqual({ web1: 150, web2: 50 })
      await follow(site, section('weights', 'Change the weights'), way)
      expect(await ask(site)).toEqual({ web1: 100, web2: 100 })
    }),
  )

  test('and weights that change all the time lose no request', () =>
    withDirector(async (site) => {
      const { ipvs } = site.hosts.director
      await follow(site, section('weights', 'Set up'))
      const answers = await underTraffic(site, async (more) => {
        for (let edit = 0; edit < 30; edit++) {
          const address = edit % 2 === 0 ? '10.0.0.11' : '10.0.0.12'
          await ipvs.editRealServer(WEB, { address, port: 8080 }, { weight: edit % 4 })
          await more(3)
        }
        for (const [address, weight] of [
          ['10.0.0.11', 1],
          ['10.0.0.12', 3],
        ] as const)
          await ipvs.editRealServer(WEB, { address, port: 8080 }, { weight })
      })
      expect(errorsIn(answers)).toEqual([])
      expect(answers.length).toBeGreaterThanOrEqual(COUNT)
      expect(await ask(site)).toEqual({ web1: 50, web2: 150 })
    }))
})

kernelTests('maintenance of a server', () => {
  test.each(WAYS)('loses no request, by %s', (way) =>
    withDirector(async (site) => {
      const { agent, hosts } = site
      await follow(site, section('maintenance', 'Maintenance of a server without a lost request'))
      const held = await Promise.all([1, 2, 3, 4].map(() => agent.connect(hosts.client, WEB)))
      const own = held.filter((one) => one.server === 'web1')
      expect(own.length).toBeGreaterThan(0)
      const answers = await underTraffic(site, async (more) => {
        let done = false
        const drained = follow(site, section('maintenance', 'Take it out'), way).then(() => (done = true))
        const server = { address: '10.0.0.11', port: 8080 }
        await until(
          'its weight is 0',
          async () => (await hosts.director.ipvs.realServer(WEB, server)).weight === 0,
        )
        await more(20) // whose connections may be from before
        expect(countsOf(await more(20))).not.toHaveProperty('web1')
        for (const one of own) expect((await one.say('still here')).server).toBe('web1')
        expect(done).toBe(false)
        for (const one of own) await one.close()
        await drained

        await agent.stop(hosts.web1, 'web1')
        expect(errorsIn(await more(50))).toEqual([])
        await agent.serve(hosts.web1, { port: 8080, name: 'web1' })
        await follow(site, section('maintenance', 'Bring it back'), way)
        await more(20)
        expect(countsOf(await more(20))).toHaveProperty('web1')
      })
      expect(errorsIn(answers)).toEqual([])
      expect(answers.length).toBeGreaterThanOrEqual(COUNT)
      for (const one of held.filter((other) => !own.includes(other)))
        expect((await one.say('still here')).server).toBe('web2')
      expect(await ask(site)).toEqual({ web1: 150, web2: 50 })
    }),
  )
})

kernelTests('another scheduler under traffic', () => {
  test.each(WAYS)('loses no request and no connection, by %s', (way) =>
    withDirector(async (site) => {
      const { agent, hosts } = site
      await follow(site, section('change-scheduler', 'From rr to wrr under traffic'))
      expect(await ask(site, 20)).toEqual({ web1: 10, web2: 10 })
      const held = await Promise.all([1, 2, 3, 4].map(() => agent.connect(hosts.client, WEB)))
      const answers = await underTraffic(site, async () => {
        for (const heading of [
          'The weights first',
          'Hold new connections for a moment',
          'Change the scheduler',
          'Let them in',
        ])
          await follow(site, section('change-scheduler', heading), way)
      })
      expect(errorsIn(answers)).toEqual([])
      expect(answers.length).toBeGreaterThanOrEqual(COUNT)
      expect((await hosts.director.ipvs.service(WEB)).scheduler).toBe('wrr')
      expect(await ask(site)).toEqual({ web1: 150, web2: 50 })
      for (const one of held) expect((await one.say('still here')).server).toBe(one.server)
    }),
  )
})
