import { once } from 'node:events'
import { expect, test } from 'vitest'
import { IpvsError } from '../../lib/model/errors.ts'
import type { SnapshotEntry } from '../../lib/ipvs.ts'
import { kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'

/**
 * Services that nobody touches: firewall marks, the first of them with real
 * servers. So many that a dump comes in some fifteen pieces, for the writer works
 * between those.
 */
const MARKS = 1500
const MARKS_WITH_SERVERS = 300
const SERVERS = 3

/** Another process that adds and deletes services as fast as it can, until told to stop. */
function startWriter(netns: Netns): { stop: () => Promise<void> } {
  const lines: string[] = []
  const each = (line: (address: string) => string): void => {
    for (let last = 1; last <= 60; last++) lines.push(line(`10.0.0.${String(last)}:80`))
  }
  each((address) => `-A -t ${address} -s rr`)
  each((address) => (address.endsWith('5:80') ? `-a -t ${address} -r 10.1.0.1:80 -m` : ''))
  each((address) => `-D -t ${address}`)
  const round = `${lines.filter((line) => line !== '').join('\n')}\n`

  const child = netns.start(['ipvsadm', '-R'])
  const ended = once(child, 'exit')
  const order = { stop: false }
  const feeding = (async (): Promise<void> => {
    // Enough for a while is always in the pipe.
    while (!order.stop && child.stdin.writable) {
      if (child.stdin.write(round)) continue
      await Promise.race([once(child.stdin, 'drain').catch(() => undefined), ended])
    }
    child.stdin.end()
  })()
  return {
    stop: async () => {
      order.stop = true
      await feeding
      await ended
    },
  }
}

async function fill({ ipvs }: Netns): Promise<void> {
  const calls: Promise<unknown>[] = []
  for (let fwmark = 1; fwmark <= MARKS; fwmark++) {
    calls.push(ipvs.addService({ protocol: 'fwmark', fwmark, scheduler: 'rr' }))
    for (let last = 1; last <= SERVERS && fwmark <= MARKS_WITH_SERVERS; last++) {
      calls.push(
        ipvs.addRealServer(
          { protocol: 'fwmark', fwmark },
          { address: `10.2.0.${String(last)}`, weight: fwmark },
        ),
      )
    }
  }
  await Promise.all(calls)
}

/** What is wrong with a snapshot that holds for none, whatever was written meanwhile. */
function findFaults(table: readonly SnapshotEntry[]): string[] {
  const faults: string[] = []
  const seen = new Set<string>()
  for (const { service, realServers } of table) {
    const name = JSON.stringify(service.key)
    if (seen.has(name)) faults.push(`${name} is there twice`)
    seen.add(name)
    const servers = realServers.map(({ address, weight }) => `${address} ${String(weight)}`).join()
    const { fwmark } = service
    if (fwmark === undefined) {
      if (servers !== '' && servers !== '10.1.0.1 1') faults.push(`${name} has ${servers}`)
    } else {
      // Nobody touches these, so if one is there it is whole.
      const whole = [3, 2, 1].map((last) => `10.2.0.${String(last)} ${String(fwmark)}`).join()
      if (servers !== (fwmark <= MARKS_WITH_SERVERS ? whole : '')) faults.push(`${name} has ${servers}`)
    }
  }
  return faults
}

/** How many of the services that nobody touches a snapshot has. */
function countMarks(table: readonly SnapshotEntry[]): number {
  return table.filter(({ service }) => service.protocol === 'fwmark').length
}

kernelTests('other writers', () => {
  test('never make a snapshot or a list fail, nor give anything twice', () =>
    withNamespace(async (netns) => {
      const { ipvs } = netns
      await fill(netns)
      const writer = startWriter(netns)
      try {
        const sizes = new Set<number>()
        let reads = 0
        let torn = 0
        const start = performance.now()
        await until(
          'twenty snapshots, or half a minute of them, that saw the writer at work',
          async () => {
            const table = await ipvs.snapshot()
            expect(findFaults(table)).toEqual([])
            sizes.add(table.length)
            if (countMarks(table) < MARKS) torn += 1
            const services = await ipvs.services()
            expect(new Set(services.map(({ key }) => JSON.stringify(key))).size).toBe(services.length)
            reads += 1
            return sizes.size >= 3 && (reads >= 20 || performance.now() - start > 30_000)
          },
          100_000,
        )
        console.log(
          `of ${String(reads)} snapshots ${String(torn)} lack services that were there all the time`,
        )
      } finally {
        await writer.stop()
      }
      const table = await ipvs.snapshot({ stable: true })
      expect(findFaults(table)).toEqual([])
      expect(table).toHaveLength(MARKS)
    }))

  test('let a stable snapshot succeed or reject with EAGAIN, and succeed when they stop', () =>
    withNamespace(async (netns) => {
      const { ipvs } = netns
      await fill(netns)
      const writer = startWriter(netns)
      try {
        await until('the writer is at work', async () => (await ipvs.services()).length > MARKS)
        const outcomes: string[] = []
        const start = performance.now()
        for (let read = 0; read < 3 && performance.now() - start < 30_000; read++) {
          const outcome = await ipvs.snapshot({ stable: true }).then(
            (table) => {
              expect(findFaults(table)).toEqual([])
              // Two reads that both lack the same services are as good as impossible.
              expect(countMarks(table)).toBe(MARKS)
              return 'read'
            },
            (error: unknown) => {
              if (!(error instanceof IpvsError) || error.code !== 'EAGAIN') throw error
              expect(error).toMatchObject({ errno: -11, command: 'snapshot' })
              expect(error.message).toMatch(/kept changing/)
              return 'EAGAIN'
            },
          )
          outcomes.push(outcome)
        }
        console.log(`stable snapshots beside a writer: ${outcomes.join(', ')}`)
      } finally {
        await writer.stop()
      }
      const [one, two] = [await ipvs.snapshot({ stable: true }), await ipvs.snapshot({ stable: true })]
      expect(one).toHaveLength(MARKS)
      expect(JSON.stringify(one)).toBe(JSON.stringify(two))
    }))

  test('may delete a service while its real servers are asked for', () =>
    withNamespace(async (netns) => {
      const other = await netns.open()
      const key = { protocol: 'fwmark', fwmark: 1 } as const
      const outcomes = new Set<string>()
      for (let round = 0; round < 40; round++) {
        await netns.ipvs.addService({ ...key, scheduler: 'rr' })
        const [read] = await Promise.all([
          netns.ipvs.realServers(key).then(
            (servers) => `${String(servers.length)} servers`,
            (error: unknown) => (error as IpvsError).code,
          ),
          other.deleteService(key),
        ])
        outcomes.add(read)
      }
      for (const outcome of outcomes) expect(['0 servers', 'ESRCH']).toContain(outcome)
    }))
})
