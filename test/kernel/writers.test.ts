import { once } from 'node:events'
import { expect, test } from 'vitest'
import { IpvsError } from '../../lib/errors.ts'
import type { SnapshotEntry } from '../../lib/ipvs.ts'
import { kernelTests, type Netns, until, withNamespace } from '../helpers/kernel.ts'

/** Services that nobody touches: so many marks, each with so many real servers. */
const MARKS = 300
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
    while (!order.stop) if (!child.stdin.write(round)) await once(child.stdin, 'drain')
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
    for (let last = 1; last <= SERVERS; last++) {
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

/** Checks what holds for every snapshot, whatever was written meanwhile. */
function expectSound(table: readonly SnapshotEntry[]): void {
  const keys = table.map(({ service }) => JSON.stringify(service.key))
  expect(new Set(keys).size).toBe(keys.length)
  for (const { service, realServers } of table) {
    expect(new Set(realServers.map(({ address }) => address)).size).toBe(realServers.length)
    if (service.protocol === 'fwmark') {
      // Nobody touches these, so if one is there it is whole.
      expect(realServers.map(({ weight }) => weight)).toEqual(
        Array.from({ length: SERVERS }, () => service.fwmark),
      )
    } else {
      expect(realServers.length).toBeLessThanOrEqual(1)
      expect(service.scheduler).toBe('rr')
    }
  }
}

kernelTests('other writers', () => {
  test('never make a snapshot or a list fail, nor give anything twice', () =>
    withNamespace(async (netns) => {
      const { ipvs } = netns
      await fill(netns)
      const writer = startWriter(netns)
      const sizes = new Set<number>()
      let reads = 0
      await until(
        'thirty snapshots that saw the writer at work',
        async () => {
          const table = await ipvs.snapshot()
          expectSound(table)
          sizes.add(table.length)
          const services = await ipvs.services()
          expect(new Set(services.map(({ key }) => JSON.stringify(key))).size).toBe(services.length)
          reads += 1
          return reads >= 30 && sizes.size >= 5
        },
        30_000,
      )
      await writer.stop()
      const table = await ipvs.snapshot({ stable: true })
      expectSound(table)
      expect(table).toHaveLength(MARKS)
    }))

  test('let a stable snapshot succeed or reject with EAGAIN, and succeed when they stop', () =>
    withNamespace(async (netns) => {
      const { ipvs } = netns
      await fill(netns)
      const writer = startWriter(netns)
      await until('the writer is at work', async () => (await ipvs.services()).length > MARKS)
      const outcomes: string[] = []
      for (let read = 0; read < 5; read++) {
        const outcome = await ipvs.snapshot({ stable: true }).then(
          (table) => {
            expectSound(table)
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
      await writer.stop()
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
