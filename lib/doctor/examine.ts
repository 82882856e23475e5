import type { Ipvs, SnapshotEntry } from '../ipvs.ts'
import { canonicalAddress } from '../model/address.ts'
import { address, checkOptions, oneOf } from '../model/check.ts'
import { DEFAULT_METHOD, DEFAULT_SCHEDULER } from '../model/defaults.ts'
import { serviceKeyOf, serviceName } from '../model/keys.ts'
import type { Connection, Persistence, ServiceKey } from '../model/types.ts'
import { checkServerChanges, checkTunnel, netnsPath } from '../model/validate.ts'
import { checkState, type Entry, tableOf } from '../state/table.ts'
import { type ReadService, warningsOf } from '../state/warnings.ts'
import { Pace } from '../util/pace.ts'
import type { Finding, Severity } from './findings/finding.ts'
import { notAvailable, schedulersAndEngines, unread } from './findings/access.ts'
import { addressAnnounced, addressOnDirector, addressOnRealServer } from './findings/addresses.ts'
import {
  answersAroundDirector,
  forwardingOff,
  portsIgnored,
  redirectsSent,
  routesToServers,
} from './findings/forwarding.ts'
import { sourceCheck, tunnelMissing, tunnelTooNarrow } from './findings/tunnels.ts'
import {
  connectionsNearLimit,
  deletedHoldClients,
  hashSmall,
  quiescentHoldClients,
  reuseHoldsClients,
  trackingFull,
} from './findings/capacity.ts'
import { firewallDrops, firewallDropsOnRealServer, sourceUnchanged } from './findings/firewall.ts'
import { besideEbpf, besideKubeProxy } from './findings/neighbours.ts'
import { syncInterface, syncMismatch } from './findings/sync.ts'
import {
  allQuiescent,
  ftpUnaided,
  noServers,
  persistenceOfOne,
  persistenceOverlaps,
  schedulerChanges,
  shadowed,
} from './findings/table.ts'
import { readHost } from './host.ts'
import { commandInNetns } from './in-netns.ts'
import type { Look, ServiceSeen, Situation, TableSeen } from './findings/situation.ts'
import type { DiagnoseOptions } from './options.ts'

/** Everything that is looked for on a director, in the order in which a packet meets it. */
const ON_DIRECTOR: readonly Look[] = [
  unread,
  schedulersAndEngines,
  addressOnDirector,
  forwardingOff,
  redirectsSent,
  routesToServers,
  portsIgnored,
  tunnelTooNarrow,
  firewallDrops,
  sourceUnchanged,
  noServers,
  allQuiescent,
  shadowed,
  persistenceOverlaps,
  persistenceOfOne,
  ftpUnaided,
  schedulerChanges,
  trackingFull,
  connectionsNearLimit,
  hashSmall,
  deletedHoldClients,
  quiescentHoldClients,
  reuseHoldsClients,
  syncInterface,
  syncMismatch,
  besideKubeProxy,
  besideEbpf,
]

/** And on a real server. */
const ON_REAL_SERVER: readonly Look[] = [
  unread,
  tunnelMissing,
  sourceCheck,
  addressOnRealServer,
  addressAnnounced,
  firewallDropsOnRealServer,
  answersAroundDirector,
]

const OPTIONS = [
  'netns',
  'timeoutMs',
  'transport',
  'role',
  'services',
  'state',
  'peer',
  'method',
  'tunnel',
  'director',
  'signal',
]

/** The options that a role does not have. */
const OTHERS = {
  director: ['method', 'tunnel', 'director'],
  'real-server': ['timeoutMs', 'transport', 'state', 'peer'],
} as const

/** The library, which is in another file once it is published: here only what it does is needed. */
type Library = Pick<typeof Ipvs, 'open' | 'probe'>

/** See diagnose(). */
export async function examine(library: Library, options: DiagnoseOptions): Promise<Finding[]> {
  checkOptions(options, OPTIONS)
  const { role = 'director', signal } = options
  oneOf(role, 'role', ['director', 'real-server'])
  const [strange] = OTHERS[role].filter((name) => options[name] !== undefined)
  if (strange !== undefined)
    throw new TypeError(`${strange} goes with role ${role === 'director' ? "'real-server'" : "'director'"}`)
  signal?.throwIfAborted()
  const seen = await (role === 'director' ? onDirector(library, options) : onRealServer(options))
  const { netns } = options
  const findings = seen.map((found) =>
    netns === undefined || found.where !== 'here'
      ? found
      : { ...found, commands: found.commands.map((command) => commandInNetns(command, netns)) },
  )
  return findings.sort((one, other) => rank(one.severity) - rank(other.severity))
}

function rank(severity: Severity): number {
  return ['error', 'warning', 'note'].indexOf(severity)
}

async function onDirector(library: Library, options: DiagnoseOptions): Promise<Finding[]> {
  const { netns, timeoutMs, transport, signal, services: only, state, peer } = options
  const open = {
    ...(netns !== undefined && { netns }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(transport !== undefined && { transport }),
  }
  const keys = only?.map(serviceKeyOf)
  const wanted =
    state === undefined ? undefined : seenInState((await tableOf(state, { signal })).services ?? [])
  let table: TableSeen | undefined
  const findings: Finding[] = []
  try {
    table = await readTable(() => library.open(open), wanted === undefined ? keys : [], signal)
  } catch (error) {
    const found = notAvailable(error)
    if (found === undefined) throw error
    findings.push(found)
  }
  const all = wanted ?? table?.services ?? []
  const names = keys?.map(serviceName)
  const services = names === undefined ? all : all.filter(({ key }) => names.includes(serviceName(key)))
  const missing = names?.find((name) => !services.some(({ key }) => serviceName(key) === name))
  if (missing !== undefined && wanted !== undefined)
    throw new RangeError(`services: ${missing} is not in the state`)
  const host = await readHost({
    netns: netns === undefined ? undefined : netnsPath(netns),
    routesTo: services.flatMap(({ servers }) => servers.map(({ address }) => address)),
    signal,
  })
  const situation: Situation = {
    role: 'director',
    host,
    services,
    ...(table !== undefined && { table }),
    ...(wanted !== undefined && table !== undefined && { capabilities: await library.probe(open) }),
    warnings: await warningsOf(services.map(readServiceOf)),
    told: { method: 'direct', ...(peer !== undefined && { peer: await checkState(peer) }) },
  }
  return [...findings, ...(await lookAt(situation, ON_DIRECTOR, signal))]
}

async function onRealServer(options: DiagnoseOptions): Promise<Finding[]> {
  const { netns, signal, services: keys = [], method = 'direct', tunnel, director } = options
  if (keys.length === 0)
    throw new TypeError('services must name the virtual services: a real server has no table of its own')
  oneOf(method, 'method', ['masquerade', 'direct', 'tunnel'])
  if (tunnel !== undefined) {
    checkServerChanges({ tunnel })
    checkTunnel(tunnel)
  }
  const services = keys.map((key) => ({
    key: serviceKeyOf(key),
    scheduler: 'none',
    onePacket: false,
    servers: [],
  }))
  const gateway = director === undefined ? undefined : canonicalAddress(address(director, 'director'))
  const host = await readHost({
    netns: netns === undefined ? undefined : netnsPath(netns),
    routesTo: gateway === undefined ? [] : [gateway],
    signal,
  })
  const situation: Situation = {
    role: 'real-server',
    host,
    services,
    warnings: [],
    told: {
      method,
      ...(tunnel !== undefined && { tunnel }),
      ...(gateway !== undefined && { director: gateway }),
    },
  }
  return lookAt(situation, ON_REAL_SERVER, signal)
}

/** Others have the JS thread meanwhile: a table may have 100,000 real servers. */
async function lookAt(
  situation: Situation,
  looks: readonly Look[],
  signal: AbortSignal | undefined,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const pace = new Pace()
  const rest = async (): Promise<void> => {
    await pace.rest()
    signal?.throwIfAborted()
  }
  for (const look of looks) {
    for (const found of look(situation)) {
      if (found !== undefined) findings.push(found)
      if (pace.due()) await rest()
    }
    await rest()
  }
  return findings
}

/** Rejects with ESRCH if one of these services is missing: an empty list of findings would say that all is well. */
async function readTable(
  open: () => Promise<Ipvs>,
  keys: readonly ServiceKey[] | undefined,
  signal: AbortSignal | undefined,
): Promise<TableSeen> {
  const ipvs = await open()
  try {
    await Promise.all((keys ?? []).map((key) => ipvs.service(key, { signal })))
    const [table, info, syncDaemons] = await Promise.all([
      ipvs.snapshot({ signal }),
      ipvs.info({ signal }),
      ipvs.syncDaemons({ signal }),
    ])
    return {
      ...{ services: table.map(seenInTable), info, syncDaemons },
      connections: await someConnections(ipvs, signal),
    }
  } finally {
    await ipvs.close()
  }
}

/** Before Linux 6.14 a kernel that has a million would work for minutes to list them. */
const MOST_CONNECTIONS = 10_000

async function someConnections(ipvs: Ipvs, signal: AbortSignal | undefined): Promise<Connection[]> {
  const connections: Connection[] = []
  for await (const connection of ipvs.connections({ signal })) {
    if (connections.push(connection) >= MOST_CONNECTIONS) break
  }
  return connections
}

function seenInTable({ service, realServers }: SnapshotEntry): ServiceSeen {
  const { key, scheduler, persistence, persistenceEngine, onePacket } = service
  return {
    key,
    scheduler,
    onePacket,
    ...(persistence !== undefined && { persistence }),
    ...(persistenceEngine !== undefined && { persistenceEngine }),
    servers: realServers,
  }
}

function seenInState(entries: readonly Entry[]): ServiceSeen[] {
  return entries.map(({ key, spec, servers }) => ({
    key,
    scheduler: spec.scheduler ?? DEFAULT_SCHEDULER,
    onePacket: spec.onePacket ?? false,
    // Completed by tableOf().
    ...(spec.persistence !== undefined && { persistence: spec.persistence as Persistence }),
    ...(spec.persistenceEngine !== undefined && { persistenceEngine: spec.persistenceEngine }),
    servers: servers.map(({ address, port, method = DEFAULT_METHOD, weight, tunnel }) => ({
      ...{ address, port, method, weight },
      ...(tunnel !== undefined && { tunnel }),
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
    })),
  }))
}

function readServiceOf({
  key,
  scheduler,
  onePacket,
  persistence,
  persistenceEngine,
  servers,
}: ServiceSeen): ReadService {
  return {
    service: {
      key,
      scheduler,
      schedulerFlags: [],
      onePacket,
      persistence,
      persistenceEngine,
    } as ReadService['service'],
    realServers: servers,
  }
}
