import { canonicalServerKey, canonicalServiceKey } from '../model/address.ts'
import { known, namesOf, object, show } from '../model/check.ts'
import { ourValue } from '../model/foreign-names.ts'
import { completeDaemon } from '../model/daemon-settings.ts'
import { endpointName, serviceName } from '../model/keys.ts'
import { STATE_LIMITS } from '../model/ranges.ts'
import { type CompleteServer, completeServer, IPIP } from '../model/server-settings.ts'
import { completeService } from '../model/service-settings.ts'
import { checkSysctlName, checkSysctlValue, completeSysctl } from '../model/sysctls.ts'
import type {
  RealServerKey,
  RealServerSettings,
  SavedState,
  ServiceKey,
  ServiceSettings,
  ServiceSpec,
  State,
  StateService,
  SyncDaemonSpec,
  Timeouts,
} from '../model/types.ts'
import {
  checkDaemonSpec,
  checkServerKey,
  checkServerSpec,
  checkServiceKey,
  checkServiceSpec,
  checkTimeouts,
  isInterfaceName,
  isModuleName,
} from '../model/validate.ts'
import { forEachOf, slices } from '../util/pace.ts'
import { formatStatePath, misuse, pathOf, type Refuse, type StatePath, withPath } from './path.ts'

/**
 * A wanted state in its complete form: every default is spelt out and every
 * address is as the kernel writes it, so that two of them can be compared. A
 * part that is absent is left as it is.
 */
export interface Wanted {
  readonly services?: readonly Entry[]
  readonly timeouts?: Partial<Timeouts>
  readonly syncDaemons?: readonly SyncDaemonSpec[]
  readonly sysctls?: Readonly<Record<string, string>>
}

/** The table of a director, as far as it was read. */
export interface Table extends Wanted {
  readonly services: readonly Entry[]
}

/** The parts of a table that are read besides its services. */
export interface Parts {
  readonly timeouts?: boolean
  readonly syncDaemons?: boolean
  /** Names; those that the kernel does not have are left out. */
  readonly sysctls?: readonly string[]
}

/** A virtual service of a table. */
export interface Entry {
  /** serviceName(key), which is made once. */
  readonly id: string
  readonly key: ServiceKey
  readonly spec: ServiceSpec
  /** In the kernel's order: newest first. */
  readonly servers: readonly CompleteServer[]
}

/** Where an editor finds the schema of a file. It says nothing about the table. */
const SCHEMA_FIELD = '$schema'
const STATE_FIELDS = namesOf<State>({
  version: true,
  services: true,
  timeouts: true,
  syncDaemons: true,
  sysctls: true,
})
const PARTS = STATE_FIELDS.filter((name) => name !== 'version')
const STATE_VERSION = 1

/** How a state is checked. */
export interface CheckOptions {
  /** Makes the error that is thrown. Default: the same one with the path before its words, and as its `path`. */
  readonly refuse?: Refuse
  /** Ends the check between two slices. */
  readonly signal?: AbortSignal | undefined
  /** Told where something is that may still be refused beside a table: a sysctl, or a name that is taken only if it is there already. */
  readonly doubtful?: ((path: StatePath) => void) | undefined
}

/**
 * Checks a state and completes it, in one pass.
 *
 * A state is checked as if TypeScript had not been there: every field as
 * validate.ts does, and that no service, no real server of a service and no
 * half of synchronisation appears twice.
 *
 * @throws {TypeError | RangeError} naming the field: `services[3].realServers[0].weight`.
 */
export async function tableOf(state: unknown, options: CheckOptions = {}): Promise<Wanted> {
  const services: Entry[] = []
  let servers: CompleteServer[] = []
  // Each part in the instant in which it is checked: whoever owns the state may change it meanwhile.
  const parts = await walk(state, options, {
    service(key, settings) {
      servers = []
      services.push({ id: serviceName(key), key, spec: completeService(key, settings), servers })
    },
    server(key, settings) {
      const server = completeServer(key, settings)
      // With another method plain IP-in-IP does not read back, but whoever asked for it is told that it is ignored.
      const ignored = settings.tunnel !== undefined && server.tunnel === undefined
      servers.push(ignored ? { ...server, tunnel: IPIP } : server)
    },
  })
  return { ...(parts.services && { services }), ...parts.others }
}

/** Checks a whole state, as tableOf() does, without completing its services. Gives it back as it came. */
export async function checkState(state: unknown, options: CheckOptions = {}): Promise<State> {
  await walk(state, options)
  return state as State
}

/** A state that has been checked and completed, for example one that was read from a text. */
export class CheckedState {
  readonly wanted: Wanted

  constructor(wanted: Wanted) {
    this.wanted = wanted
  }
}

/** The identities of the services of a state, which is checked. */
export async function serviceKeysOf(state: unknown): Promise<readonly ServiceKey[]> {
  const keys: ServiceKey[] = []
  await walk(state, {}, { service: (key) => keys.push(key), server: () => undefined })
  return keys
}

/** Told of each virtual service that passed, by its identity as it reads back, and of its real servers after it. */
interface Visitor {
  service(key: ServiceKey, settings: ServiceSettings): void
  server(key: Required<RealServerKey>, settings: RealServerSettings): void
}

/** Whether a state has services, and its other parts, complete. */
interface Walked {
  readonly services: boolean
  readonly others: Omit<Wanted, 'services'>
}

async function walk(
  value: unknown,
  { refuse = withPath, signal, doubtful }: CheckOptions,
  visitor?: Visitor,
): Promise<Walked> {
  const refused = (error: unknown, path: StatePath): Error =>
    refuse(error as Error, pathOf(error as Error, path))
  const check = <T>(path: StatePath, work: () => T): T => {
    try {
      return work()
    } catch (error) {
      throw refused(error, path)
    }
  }
  const listed = (path: StatePath, list: unknown): readonly unknown[] => check(path, () => array(path, list))

  const state = check([], () => stateFields(value))
  const services = new Map<string, number>()
  let index = -1
  const all = state.services === undefined ? [] : listed(['services'], state.services)
  for await (const some of slices(all, signal)) {
    for (const entry of some) {
      index += 1
      const path = ['services', index]
      const { key, realServers } = check(path, () => {
        const { realServers, ...spec } = object(entry, 'a virtual service')
        const key = canonicalServiceKey(checkServiceKey(spec))
        const settings = checkServiceSpec(spec, key, STATE_LIMITS, ['realServers'])
        once(services, serviceName(key), index, (first) => `services[${String(first)}]`)
        visitor?.service(key, settings)
        if (doubtful !== undefined) for (const field of oddNames(settings)) doubtful([...path, field])
        return { key, realServers }
      })
      if (realServers === undefined) continue
      const servers = new Map<string, number>()
      await forEachOf(listed([...path, 'realServers'], realServers), (entry, at) => {
        // Nothing is made for a refusal before there is one: these are most of a state.
        try {
          const server = canonicalServerKey(checkServerKey(entry, key))
          const settings = checkServerSpec(entry, server, key, STATE_LIMITS)
          once(servers, endpointName(server.address, server.port), at, sameServiceAt)
          visitor?.server(server, settings)
        } catch (error) {
          throw refused(error, [...path, 'realServers', at])
        }
      })
    }
  }

  const { timeouts, syncDaemons, sysctls } = state
  const daemons = new Map<string, number>()
  const namedSysctls = check(['sysctls'], () => (sysctls === undefined ? {} : object(sysctls, 'sysctls')))
  for (const name of Object.keys(namedSysctls)) {
    check(['sysctls', name], () => {
      checkSysctlName(name, 'each key')
    })
    doubtful?.(['sysctls', name])
  }
  return {
    services: state.services !== undefined,
    others: {
      ...(timeouts !== undefined && {
        timeouts: check(['timeouts'], () => ({ ...checkTimeouts(timeouts) })),
      }),
      ...(syncDaemons !== undefined && {
        syncDaemons: listed(['syncDaemons'], syncDaemons).map((daemon, index) =>
          check(['syncDaemons', index], () => {
            const spec = checkDaemonSpec(daemon, STATE_LIMITS)
            once(daemons, spec.state, index, (first) => `syncDaemons[${String(first)}]`)
            if (!isInterfaceName(spec.multicastInterface))
              doubtful?.(['syncDaemons', index, 'multicastInterface'])
            return completeDaemon(spec)
          }),
        ),
      }),
      ...(sysctls !== undefined && {
        sysctls: check(['sysctls'], () => sysctlsOf(namedSysctls)),
      }),
    },
  }
}

/** The fields of a state, and not those of something else. */
function stateFields(value: unknown): Readonly<Record<string, unknown>> {
  // The result of plan(), save() or readState() without an await.
  if (value instanceof Promise)
    throw new TypeError('a state must be an object, got a promise: await it first')
  if (typeof value === 'string' || ArrayBuffer.isView(value)) {
    throw new TypeError(`a state must be an object, got ${show(value)}: restore() and parseState() read text`)
  }
  const fields = object(value, 'a state')
  known(fields, STATE_FIELDS, [SCHEMA_FIELD], 'a state')
  for (const name of STATE_FIELDS) {
    if (name in fields && fields[name] === undefined) {
      throw misuse(name, `${name} is undefined: leave it out, or give it a value`)
    }
  }
  const { version, [SCHEMA_FIELD]: schema } = fields
  if (SCHEMA_FIELD in fields && typeof schema !== 'string') {
    throw misuse(SCHEMA_FIELD, `${SCHEMA_FIELD} must be a string, got ${show(schema)}`)
  }
  if (version !== undefined && version !== STATE_VERSION) {
    const later = Number.isInteger(version) && (version as number) > STATE_VERSION
    throw misuse(
      'version',
      `version must be ${String(STATE_VERSION)}, got ${show(version)}` +
        (later ? ': a newer ipvs may be able to read it' : ''),
    )
  }
  if (PARTS.every((name) => fields[name] === undefined)) {
    throw new TypeError(
      'a state must have services, timeouts, syncDaemons or sysctls; an empty table is `services: []`',
    )
  }
  return fields
}

function array(path: StatePath, list: unknown): readonly unknown[] {
  if (Array.isArray(list)) return list as unknown[]
  // `services:` with nothing after it is null in YAML.
  const hint = list === null ? `: an empty one is \`${String(path.at(-1))}: []\`` : ''
  throw new TypeError(`${formatStatePath(path)} must be an array, got ${show(list)}${hint}`)
}

/** Refuses what appears twice, and says where it appeared first. */
function once(
  seen: Map<string, number>,
  name: string,
  index: number,
  where: (first: number) => string,
): void {
  const first = seen.get(name)
  if (first !== undefined) throw new TypeError(`${name} appears twice: it is already ${where(first)}`)
  seen.set(name, index)
}

function sameServiceAt(first: number): string {
  return `realServers[${String(first)}] of the same service`
}

/** The fields of a service whose names no module of a kernel can have, or has under another name. */
function oddNames(settings: ServiceSettings): string[] {
  return (['scheduler', 'persistenceEngine'] as const).filter((field) => {
    const name = settings[field]
    if (name === undefined) return false
    return !isModuleName(name) || (field === 'scheduler' && ourValue(field, name) !== undefined)
  })
}

/** Values of sysctls as they are compared. */
function sysctlsOf(sysctls: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sysctls).map(([name, value]) => {
      try {
        return [name, completeSysctl(checkSysctlValue(name, value, name))]
      } catch (error) {
        throw misuse(name, (error as Error).message)
      }
    }),
  )
}

/** The state of a table, which shares its objects. */
export function stateOf(table: Table): Promise<SavedState>
export function stateOf(table: Wanted): Promise<State>
export async function stateOf({ services, timeouts, syncDaemons, sysctls }: Wanted): Promise<State> {
  const list: StateService[] = []
  for await (const some of slices(services ?? [])) {
    for (const { spec, servers } of some) {
      list.push({ ...spec, ...(servers.length > 0 && { realServers: servers }) })
    }
  }
  return {
    version: 1,
    ...(services !== undefined && { services: list }),
    ...(timeouts !== undefined && { timeouts }),
    ...(syncDaemons !== undefined && { syncDaemons }),
    ...(sysctls !== undefined && { sysctls }),
  }
}
