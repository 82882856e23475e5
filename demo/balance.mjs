// All that the demo does with the library. The demo prints these functions as they stand here, so what you see is what
// ran. The addresses are those of the small network in network.mjs.
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * A virtual service that shares its connections between two real servers, three to one.
 *
 * @param {import('ipvs').Ipvs} ipvs
 */
export async function addService(ipvs) {
  const web = await ipvs.addService({
    protocol: 'tcp',
    address: '192.0.2.10',
    port: 80,
    scheduler: 'wrr',
  })
  const method = 'masquerade'
  await web.addRealServer({ address: '10.0.0.11', method, weight: 3 })
  await web.addRealServer({ address: '10.0.0.12', method, weight: 1 })
  return web
}

/**
 * The real servers once the kernel has counted that many connections in all: it adds up its counters every two seconds.
 *
 * @param {import('ipvs').Service} web
 * @param {number} connections
 */
export async function readCounters(web, connections) {
  const deadline = Date.now() + 20_000
  for (;;) {
    const servers = await web.realServers()
    const counted = servers.reduce((sum, server) => sum + server.stats.connections, 0)
    if (counted >= connections) return servers
    if (Date.now() > deadline) {
      throw new Error(`the kernel has counted ${counted} connections, not ${connections}`)
    }
    await sleep(50)
  }
}

/**
 * Takes a real server out of service without breaking a connection.
 *
 * @param {import('ipvs').RealServer} server
 * @param {(progress: import('ipvs').DrainProgress) => void} onProgress
 * @param {number} intervalMs
 */
export async function takeOut(server, onProgress, intervalMs) {
  const { outcome } = await server.drain({
    waitFor: 'active',
    timeoutMs: 30_000,
    intervalMs,
    onProgress,
  })
  return outcome
}
