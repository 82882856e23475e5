import type { CommandDefinition } from '../command.ts'
import { trafficText } from '../entries.ts'
import { STATUS } from '../exit-status.ts'
import type { Run } from '../run.ts'
import { line } from '../terminal/line.ts'
import { withUnit } from '../terminal/units.ts'

export const info: CommandDefinition = {
  name: 'info',
  description: 'Show the version of IPVS, total counters, timeouts and sync daemons.',
  examples: ['ipvs info', 'ipvs info --json'],
  define: (command) => command,
  async act(run: Run) {
    const [{ version, connectionTableSize }, table, totals, timeouts, syncDaemons] = await run.withTable(
      (ipvs) =>
        Promise.all([ipvs.info(), ipvs.snapshot(), ipvs.totals(), ipvs.timeouts(), ipvs.syncDaemons()]),
    )
    const services = table.length
    const realServers = table.reduce((total, entry) => total + entry.realServers.length, 0)
    if (run.json) {
      run.printJson({
        version,
        connectionTableSize,
        services,
        realServers,
        totals,
        timeouts,
        syncDaemons,
      })
      return STATUS.done
    }
    const { tcpSeconds, tcpFinSeconds, udpSeconds } = timeouts
    const facts: readonly (readonly [string, string])[] = [
      ['IPVS', version],
      ['connection table', `${String(connectionTableSize)} buckets`],
      ['services', String(services)],
      ['real servers', String(realServers)],
      ...Object.entries(trafficText(totals, run.terminal ? withUnit : String)),
      [
        'timeouts',
        `tcp ${String(tcpSeconds)} s, tcp after FIN ${String(tcpFinSeconds)} s, udp ${String(udpSeconds)} s`,
      ],
      ...syncDaemons.map(
        ({ state, multicastInterface, syncId }) =>
          ['sync daemon', `${state} on ${multicastInterface}, sync id ${String(syncId)}`] as const,
      ),
    ]
    run.out.lines(facts.map(([name, value]) => line`${run.out.style.dim(name.padEnd(16))}  ${value}`))
    return STATUS.done
  },
}
