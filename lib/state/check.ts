import { canonicalServerKey, canonicalServiceKey } from '../model/address.ts'
import { fieldOf, known, namesOf, object, show } from '../model/check.ts'
import { endpointName, serviceName } from '../model/keys.ts'
import { checkSysctlName, checkSysctlValue } from '../model/sysctls.ts'
import type { RealServerKey, RealServerSettings, ServiceKey, ServiceSettings, State } from '../model/types.ts'
import {
  checkDaemonSpec,
  checkServerKey,
  checkServerSpec,
  checkServiceKey,
  checkServiceSpec,
  checkTimeouts,
  STATE_LIMITS,
} from '../model/validate.ts'
import { Pace } from '../util/pace.ts'

/** Where something is in a state: `['services', 3, 'realServers', 0, 'weight']`. */
export type StatePath = readonly (string | number)[]

/** The path as people write it: `services[3].realServers[0].weight`. */
export function formatStatePath(path: StatePath): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${String(step)}]`
    else text += text === '' ? step : `.${step}`
  }
  return text
}

/** What checkState() may be told. */
export interface CheckOptions {
  /** Paces the work; default one of its own. */
  readonly pace?: Pace
  /** Told of each virtual service that passed, with its identity as it is read back. */
  readonly onService?: (key: ServiceKey, settings: ServiceSettings) => void
  /** Told of each real server that passed, after its service. */
  readonly onServer?: (key: Required<RealServerKey>, settings: RealServerSettings) => void
  /** Makes what is thrown of a refusal. Default: the same error with the path before its words, and as its `path`. */
  readonly refuse?: (error: Error, path: StatePath) => Error
}

/** Where an editor finds the schema of a text. It says nothing of the table. */
const SCHEMA_FIELD = '$schema'
const STATE_FIELDS = namesOf<State>({
  version: true,
  services: true,
  timeouts: true,
  syncDaemons: true,
  sysctls: true,
})
const STATE_VERSION = 1

/**
 * Checks a whole state as if TypeScript had not been there: every field as
 * validate.ts does, and that no service, no real server of a service and no
 * half of synchronisation comes twice. What passes is a state that needs no
 * further check; it is given back as it came.
 */
export async function checkState(value: unknown, options: CheckOptions = {}): Promise<State> {
  const { pace = new Pace(), refuse = withPath, onService, onServer } = options

  const refused = (error: unknown, path: StatePath): Error => {
    const field = fieldOf(error as Error)
    return refuse(error as Error, field === undefined ? path : [...path, ...field.split('.')])
  }
  const check = <T>(path: StatePath, work: () => T): T => {
    try {
      return work()
    } catch (error) {
      throw refused(error, path)
    }
  }
  const listed = (path: StatePath, list: unknown): readonly unknown[] =>
    check(path, () => {
      if (Array.isArray(list)) return list as unknown[]
      // `services:` with nothing after it is null in YAML.
      const hint = list === null ? `: an empty one is \`${String(path.at(-1))}: []\`` : ''
      throw new TypeError(`${formatStatePath(path)} must be an array, got ${show(list)}${hint}`)
    })

  const state = check([], () => {
    if (typeof value === 'string' || ArrayBuffer.isView(value)) {
      throw new TypeError(
        `a state must be an object, got ${show(value)}: restore() and parseState() read a text`,
      )
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
      throw misuse(SCHEMA_FIELD, `${SCHEMA_FIELD} must be a text, got ${show(schema)}`)
    }
    if (version !== undefined && version !== STATE_VERSION) {
      const later = Number.isInteger(version) && (version as number) > STATE_VERSION
      throw misuse(
        'version',
        `version must be ${String(STATE_VERSION)}, got ${show(version)}` +
          (later ? ': a newer ipvs may be able to read it' : ''),
      )
    }
    if (fields.services === undefined) {
      throw new TypeError('a state must have services: an empty table is `services: []`')
    }
    return fields
  })

  const services = new Map<string, number>()
  for (const [index, entry] of listed(['services'], state.services).entries()) {
    const path = ['services', index]
    const { key, realServers } = check(path, () => {
      const { realServers, ...spec } = object(entry, 'a virtual service')
      const key = canonicalServiceKey(checkServiceKey(spec))
      const settings = checkServiceSpec(spec, key, STATE_LIMITS)
      once(services, serviceName(key), index, (first) => `services[${String(first)}]`)
      onService?.(key, settings)
      return { key, realServers }
    })
    if (pace.due()) await pace.rest()
    if (realServers === undefined) continue

    const servers = new Map<string, number>()
    for (const [at, entry] of listed([...path, 'realServers'], realServers).entries()) {
      // Nothing is made for a refusal before there is one: these are most of a state.
      try {
        const server = canonicalServerKey(checkServerKey(entry, key))
        const settings = checkServerSpec(entry, server, key, STATE_LIMITS)
        once(servers, endpointName(server.address, server.port), at, sameServiceAt)
        onServer?.(server, settings)
      } catch (error) {
        throw refused(error, [...path, 'realServers', at])
      }
      if (pace.due()) await pace.rest()
    }
  }

  if (state.timeouts !== undefined) check(['timeouts'], () => checkTimeouts(state.timeouts))
  if (state.syncDaemons !== undefined) {
    const daemons = new Map<string, number>()
    for (const [index, daemon] of listed(['syncDaemons'], state.syncDaemons).entries()) {
      check(['syncDaemons', index], () => {
        once(
          daemons,
          checkDaemonSpec(daemon, STATE_LIMITS).state,
          index,
          (first) => `syncDaemons[${String(first)}]`,
        )
      })
    }
  }
  if (state.sysctls !== undefined) {
    check(['sysctls'], () => {
      checkSysctls(object(state.sysctls, 'sysctls'))
    })
  }
  return value as State
}

/** Refuses what comes twice, and says where it came first. */
function once(
  seen: Map<string, number>,
  name: string,
  index: number,
  where: (first: number) => string,
): void {
  const first = seen.get(name)
  if (first !== undefined) throw new TypeError(`${name} comes twice: it is ${where(first)} already`)
  seen.set(name, index)
}

function sameServiceAt(first: number): string {
  return `realServers[${String(first)}] of the same service`
}

function checkSysctls(sysctls: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(sysctls)) {
    try {
      checkSysctlName(name)
      // A number would be written just as well, but reads back as this.
      if (typeof value !== 'string') {
        throw new TypeError(`sysctl ${name} must be a text such as '1', in quotes, got ${show(value)}`)
      }
      checkSysctlValue(name, value)
    } catch (error) {
      const { message } = error as Error
      throw misuse(name, message)
    }
  }
}

function misuse(field: string, message: string): Error {
  return Object.assign(new TypeError(message), { field })
}

/** services[3].realServers[0].weight must be ..., or services[3]: a virtual service has no field ... */
function withPath(error: Error, path: StatePath): Error {
  const text = formatStatePath(path)
  const message = describeAt(error, path)
  const Kind = error instanceof RangeError ? RangeError : TypeError
  return Object.assign(new Kind(message, { cause: error }), { path: text })
}

/** What was wrong, and where in the state, in one sentence. */
export function describeAt(error: Error, path: StatePath): string {
  const field = fieldOf(error)
  const text = formatStatePath(path)
  if (text === '' || error.message.startsWith(text)) return error.message
  if (field !== undefined && error.message.startsWith(`${field} must`)) {
    return `${text}${error.message.slice(field.length)}`
  }
  const owner =
    field === undefined ? text : formatStatePath(path.slice(0, path.length - field.split('.').length))
  return owner === '' ? error.message : `${owner}: ${error.message}`
}
