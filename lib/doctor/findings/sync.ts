import { familyOfAddress } from '../../model/address.ts'
import { endpointName } from '../../model/keys.ts'
import type { SyncDaemon, SyncDaemonSpec } from '../../model/types.ts'
import { rulesetOf } from '../firewall/read.ts'
import { syncDropped } from './firewall.ts'
import type { Finding } from './finding.ts'
import { type Host, isUnread } from './host.ts'
import { finding, type Look } from './situation.ts'

/** Whether two directors tell each other of their connections. */

const GROUP = '224.0.0.81'
const PORT = 8848
const BREAKS = 'Connections break when the other director takes over.'

export const syncInterface: Look = function* ({ host, table }) {
  const ruleset = rulesetOf(host.firewall)
  for (const { state, multicastInterface, multicastGroup, multicastPort } of table?.syncDaemons ?? []) {
    const link = host.links.find(({ name }) => name === multicastInterface)
    const broken = (message: string, commands: readonly string[] = []): Finding =>
      finding('sync-interface', 'warning', message, BREAKS, { commands })
    if (link === undefined) {
      if (!isUnread(host, 'ip'))
        yield broken(
          `there is no interface ${multicastInterface}, which the ${state} sync daemon was started with: stop the daemon, and start it on another`,
        )
    } else if (!link.up) {
      yield broken(`interface ${link.name} of the ${state} sync daemon is down`, [
        `ip link set ${link.name} up`,
      ])
    } else if (state === 'master' && !hasAddressFor(host, link.name, multicastGroup ?? GROUP)) {
      // A backup needs none: it only hears.
      yield broken(
        `interface ${link.name} of the master sync daemon has lost its address, which the daemon sends from: give it back`,
      )
    } else {
      // Flag MULTICAST of an interface does not matter: the kernel sends and hears without it.
      for (let number = 0; number < portsOf(host); number++) {
        const port = (multicastPort ?? PORT) + number
        const where = { group: multicastGroup ?? GROUP, port, link: link.name }
        const drop = syncDropped(ruleset, state === 'master' ? 'sends' : 'hears', where)
        if (drop !== undefined) yield drop
      }
    }
  }
}

function hasAddressFor({ addresses }: Host, link: string, group: string): boolean {
  return addresses.some((one) => one.link === link && familyOfAddress(one.address) === familyOfAddress(group))
}

const SYNC_PORTS = 'net.ipv4.vs.sync_ports'

/** The kernel uses no more. (IPVS_SYNC_PORTS_MAX) */
const MOST_PORTS = 64

/** How many ports a daemon has, from its own on: on each a part of the connections is told. */
function portsOf({ sysctls }: Host): number {
  return Math.min(Number(sysctls.get(SYNC_PORTS) ?? 1), MOST_PORTS)
}

/** What both must agree about. */
interface Channel {
  readonly group: string
  readonly port: number
  readonly syncId: number
}

function channelOf({
  multicastGroup = GROUP,
  multicastPort = PORT,
  syncId = 0,
}: SyncDaemon | SyncDaemonSpec): Channel {
  return { group: multicastGroup, port: multicastPort, syncId }
}

export const syncMismatch: Look = function* ({ host, table, told }) {
  const theirs = told.peer?.syncDaemons
  if (table === undefined || theirs === undefined) return
  const ours = table.syncDaemons
  if (ours.length === 0 && theirs.length === 0) return
  const has = (list: readonly SyncDaemonSpec[], state: 'master' | 'backup'): SyncDaemonSpec | undefined =>
    list.find((daemon) => daemon.state === state)
  let pairs = 0
  for (const daemon of ours) {
    const other = has(theirs, daemon.state === 'master' ? 'backup' : 'master')
    if (other === undefined) continue
    pairs++
    const [here, there] = [channelOf(daemon), channelOf(other)]
    const differs = [
      ...(here.group === there.group && here.port === there.port
        ? []
        : [`${endpointName(here.group, here.port)} here and ${endpointName(there.group, there.port)} there`]),
      // A backup with 0 hears all.
      ...(here.syncId === there.syncId || (daemon.state === 'backup' ? here : there).syncId === 0
        ? []
        : [`sync id ${String(here.syncId)} here and ${String(there.syncId)} there`]),
    ]
    const [ports, theirPorts] = [portsOf(host), Number(told.peer?.sysctls?.sync_ports ?? portsOf(host))]
    // A backup may have more than it needs.
    const fewer = daemon.state === 'backup' ? ports < theirPorts : ports > theirPorts
    if (fewer) differs.push(`${SYNC_PORTS} is ${String(ports)} here and ${String(theirPorts)} there`)
    if (differs.length === 0) continue
    yield finding(
      'sync-mismatch',
      'warning',
      `the ${daemon.state} sync daemon and the ${other.state} of the other director differ: ${differs.join('; ')}`,
      BREAKS,
      {
        commands: [
          // Read when a daemon starts.
          ...(fewer ? [`sysctl -w ${SYNC_PORTS}=${String(theirPorts)}`] : []),
          ...restart(daemon, there),
        ],
      },
    )
  }
  if (pairs > 0) return
  const said = (list: readonly SyncDaemonSpec[]): string =>
    list.length === 0 ? 'none' : `a ${list.map(({ state }) => state).join(' and a ')}`
  yield finding(
    'sync-mismatch',
    'warning',
    `this director has ${said(ours)} of the sync daemons, the other one ${said(theirs)}: one needs a master, and the other a backup`,
    BREAKS,
  )
}

/** Commands that give a daemon another channel: it has to be stopped for that. */
function restart(
  { state, multicastInterface, maxLengthBytes, multicastTtl }: SyncDaemon,
  to: Channel,
): string[] {
  const options = [
    `--mcast-interface ${multicastInterface}`,
    `--syncid ${String(to.syncId)}`,
    ...(maxLengthBytes === undefined ? [] : [`--sync-maxlen ${String(maxLengthBytes)}`]),
    ...(to.group === GROUP ? [] : [`--mcast-group ${to.group}`]),
    ...(to.port === PORT ? [] : [`--mcast-port ${String(to.port)}`]),
    ...(multicastTtl === undefined || multicastTtl === 1 ? [] : [`--mcast-ttl ${String(multicastTtl)}`]),
  ]
  return [`ipvs adm --stop-daemon ${state}`, `ipvs adm --start-daemon ${state} ${options.join(' ')}`]
}
