import { serviceName } from '../../model/keys.ts'
import type {
  Capabilities,
  Connection,
  Endpoint,
  Info,
  Persistence,
  Scheduler,
  ServiceKey,
  SyncDaemon,
  ForwardingMethod,
  Tunnel,
  State,
} from '../../model/types.ts'
import type { Warning } from '../../state/warnings.ts'
import { EXPLANATIONS } from './explanations.ts'
import type { Finding, FindingCode, Role, Severity } from './finding.ts'
import { type Host, word } from './host.ts'

/** All that findings are made from: what was read of a machine and of its table, and what the caller told. */
export interface Situation {
  readonly role: Role
  readonly host: Host
  /** The services that are looked at: those of the table, or of a wanted state. A real server knows their keys alone. */
  readonly services: readonly ServiceSeen[]
  /** The table as it is; `undefined` on a real server, or if it could not be read. */
  readonly table?: TableSeen
  /** What the kernel can do: asked only if `services` are those of a wanted state, which is not in the table yet. */
  readonly capabilities?: Capabilities
  /** What the kernel ignores of the services. */
  readonly warnings: readonly Warning[]
  readonly told: Told
}

/** What the kernel cannot be asked, so the caller tells it. */
export interface Told {
  /** How a director reaches this real server. */
  readonly method: ForwardingMethod
  readonly tunnel?: Tunnel
  /** Address of the director in the network of this real server. */
  readonly director?: string
  /** What was saved on the other director. */
  readonly peer?: State
}

export interface ServiceSeen {
  readonly key: ServiceKey
  readonly scheduler: Scheduler
  readonly persistence?: Persistence
  readonly persistenceEngine?: string
  readonly onePacket: boolean
  readonly servers: readonly ServerSeen[]
}

export interface ServerSeen extends Endpoint {
  readonly method: ForwardingMethod
  readonly weight: number
  readonly tunnel?: Tunnel
  /** 0 in a wanted state. */
  readonly activeConnections: number
  readonly inactiveConnections: number
  readonly persistentConnections: number
}

export interface TableSeen {
  readonly services: readonly ServiceSeen[]
  readonly info: Info
  readonly syncDaemons: readonly SyncDaemon[]
  /** Some thousand of the connections, at most. */
  readonly connections: readonly Connection[]
}

/**
 * Looks for one kind of trouble, or a few that are alike. Pure: the same situation has the same findings. Where that takes
 * long, it yields `undefined` now and then, so that whoever asks can let others have the JS thread.
 */
export type Look = (situation: Situation) => Iterable<Finding | undefined>

/** Makes a finding; what is left out is empty. */
export function finding(
  code: FindingCode,
  severity: Severity,
  message: string,
  effect: string,
  more: Partial<Pick<Finding, 'services' | 'servers' | 'commands' | 'where' | 'sysctls'>> = {},
): Finding {
  const { sysctls = {} } = more
  const settings = Object.entries(sysctls).map(([name, value]) => `sysctl -w ${word(name)}=${value}`)
  return {
    code,
    severity,
    message,
    effect,
    services: more.services ?? [],
    servers: more.servers ?? [],
    commands: [...settings, ...(more.commands ?? [])],
    where: more.where ?? 'here',
    sysctls,
    guide: EXPLANATIONS[code],
  }
}

export function keysOf(services: readonly ServiceSeen[]): ServiceKey[] {
  return services.map(({ key }) => key)
}

/** Services by their address. A firewall mark has none that could be seen. */
export function byVirtualAddress(
  services: readonly ServiceSeen[],
): ReadonlyMap<string, readonly ServiceSeen[]> {
  const found = new Map<string, ServiceSeen[]>()
  for (const service of services) {
    const { key } = service
    if (key.protocol === 'fwmark') continue
    const others = found.get(key.address)
    if (others === undefined) found.set(key.address, [service])
    else others.push(service)
  }
  return found
}

/** The addresses of services, each once. */
export function virtualAddresses(services: readonly ServiceSeen[]): readonly string[] {
  return [...byVirtualAddress(services).keys()]
}

/** More names would hide what a line says; the finding has the keys of all. */
const MOST_NAMES = 3

export function namesOf(services: readonly ServiceSeen[]): string {
  const more = services.length - MOST_NAMES
  const names = services.slice(0, MOST_NAMES).map(({ key }) => serviceName(key))
  return `${names.join(', ')}${more > 0 ? ` and ${String(more)} more` : ''}`
}
