import { whatPassed } from './list.ts'
import type { Session } from '../run.ts'

/** `ipvs info` */
export async function info(session: Session): Promise<number> {
  const [{ version, connectionTableSize }, table, totals, timeouts, syncDaemons] = await session.withTable(
    (ipvs) => Promise.all([ipvs.info(), ipvs.snapshot(), ipvs.totals(), ipvs.timeouts(), ipvs.syncDaemons()]),
  )
  const services = table.length
  const realServers = table.reduce((total, entry) => total + entry.realServers.length, 0)
  if (session.json) {
    session.printJson({
      version,
      connectionTableSize,
      services,
      realServers,
      totals,
      timeouts,
      syncDaemons,
    })
    return 0
  }
  const { tcpSeconds, tcpFinSeconds, udpSeconds } = timeouts
  const facts: readonly (readonly [string, string])[] = [
    ['IPVS', version],
    ['connection table', `${String(connectionTableSize)} buckets`],
    ['services', String(services)],
    ['real servers', String(realServers)],
    ...Object.entries(whatPassed(totals)),
    [
      'timeouts',
      `tcp ${String(tcpSeconds)} s, tcp after FIN ${String(tcpFinSeconds)} s, udp ${String(udpSeconds)} s`,
    ],
    ...syncDaemons.map(
      ({ state, multicastInterface, syncId }) =>
        ['sync daemon', `${state} on ${multicastInterface}, sync id ${String(syncId)}`] as const,
    ),
  ]
  session.print(facts.map(([name, value]) => `${session.style.dim(name.padEnd(16))}  ${value}\n`).join(''))
  return 0
}
