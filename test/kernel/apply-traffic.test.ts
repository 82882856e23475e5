import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { RealServerSpec, State } from '../../lib/index.ts'
import { kernelTests, type Netns } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'
import { REAL, VIRTUAL, withNetwork } from '../helpers/kernel-traffic.ts'

/** A service changes under the traffic of real HTTP, and no client notices. */

const WEB = { protocol: 'tcp', address: VIRTUAL.ipv4, port: 80, scheduler: 'wlc' } as const
const PORTS = [8001, 8002, 8003, 8004]
const APPLIES = 100

/** HTTP servers that answer with their port, a little later, on connections that stay open. */
const SERVERS = `
  const http = require('node:http')
  for (const port of process.argv.slice(1).map(Number)) {
    http.createServer((request, response) => setTimeout(() => response.end(String(port)), 5)).listen(port, '0.0.0.0')
  }`

/** Four clients that ask one thing after the other, each on a connection of its own, and count. Ends on a line. */
const CLIENTS = `
  const http = require('node:http')
  let stop = false
  const count = { done: 0, failed: [] }
  const ask = () => new Promise((resolve) => {
    const request = http.get({ host: process.argv[1], port: 80, agent: false, timeout: Number(process.argv[2]) }, (response) => {
      response.resume().on('end', () => { count.done += 1; resolve() })
    })
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('error', (error) => { count.failed.push(String(error)); resolve() })
  })
  const client = async () => { while (!stop) await ask() }
  const clients = [client(), client(), client(), client()]
  process.stdin.once('data', async () => {
    stop = true
    await Promise.all(clients)
    console.log(JSON.stringify(count))
    process.exit()
  })`

async function listens(host: Netns): Promise<void> {
  const server = host.start(['node', '-e', SERVERS, ...PORTS.map(String)])
  const last = `:${(PORTS.at(-1) ?? 0).toString(16).toUpperCase()} 00000000:0000 0A`
  await until(
    'the servers listen',
    async () => {
      if (server.exitCode !== null) throw new Error(`the servers ended with ${String(server.exitCode)}`)
      return (await readFile(`/proc/${String(server.pid)}/net/tcp`, 'utf8').catch(() => '')).includes(last)
    },
    60_000,
  )
}

kernelTests('a hundred applies under traffic', () => {
  test('lose no connection', () =>
    withNetwork(async ({ client, director, host }) => {
      await listens(host)
      const { ipvs } = director
      const server = (port: number, weight: number): RealServerSpec => ({
        address: REAL.ipv4,
        port,
        method: 'masquerade',
        weight,
      })
      // Never the same two in a row: servers come, change their weight, and go.
      const wanted = (index: number): State => ({
        services: [
          {
            ...WEB,
            // Another scheduler is the one change for which the kernel refuses connections: see editService().
            scheduler: 'wlc',
            realServers: [0, 1].map((at) => server(PORTS[(index + at) % PORTS.length] ?? 0, 1 + (index % 3))),
          },
        ],
      })
      await ipvs.restore(wanted(0))
      const clients = client.start(['node', '-e', CLIENTS, VIRTUAL.ipv4, String(patient(5000))])
      let said = ''
      clients.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
      const started = async (): Promise<boolean> => (await ipvs.service(WEB)).stats.connections > 20
      await until('there is traffic', started, 60_000)

      let deleted = 0
      for (let index = 1; index <= APPLIES; index++) {
        const { deletions } = await ipvs.apply(wanted(index), {
          drain: { waitFor: 'active', intervalMs: 10, timeoutMs: patient(20_000) },
        })
        deleted += deletions
      }
      expect(deleted).toBe(APPLIES)
      clients.stdin.write('enough\n')
      await once(clients, 'exit')
      const { done, failed } = JSON.parse(said) as {
        readonly done: number
        readonly failed: readonly string[]
      }
      console.log(
        `${String(APPLIES)} applies under traffic: ${String(done)} requests, ${String(failed.length)} failed`,
      )
      expect(failed).toEqual([])
      expect(done).toBeGreaterThan(100)
    }))
})
