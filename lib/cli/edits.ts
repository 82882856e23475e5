import {
  formatEndpoint,
  formatServiceKey,
  IpvsError,
  type RealServerKey,
  type RealServerSpec,
  type ServiceKey,
  type StateService,
} from '../index.ts'
import { familyOfService } from '../model/address.ts'
import { Errno } from '../model/errno.ts'
import { STATE_LIMITS } from '../model/ranges.ts'
import { completeServer, completeSettings, mergeSettings } from '../model/server-settings.ts'
import {
  ALL_FLAGS,
  kernelServiceOf,
  mergeService,
  newService,
  specOfService,
} from '../model/service-settings.ts'
import {
  checkServerChanges,
  checkServerKey,
  checkServerSpec,
  checkServiceChanges,
  checkServiceSpec,
} from '../model/validate.ts'

/**
 * What the verbs make of a table: pure. Each function takes the services that
 * are there, gives the ones that are wanted, and leaves those that it is not
 * about as they are, the very same objects.
 *
 * Changes are as fields.ts reads them, and checked as those of the library's own edits.
 */

type Services = readonly StateService[]
type Changes = Readonly<Record<string, unknown>>

/** The real servers that a verb is about: of one service, or everywhere. */
export interface Target {
  readonly service: ServiceKey | undefined
  /** A port that is absent is that of the service; everywhere it means every port. */
  readonly servers: readonly RealServerKey[]
}

/** Adds a service. */
export function addService(services: Services, service: ServiceKey, changes: Changes): Services {
  if (find(services, service) !== undefined) {
    throw new IpvsError({ errno: Errno.EEXIST, command: 'addService', service })
  }
  const settings = checkServiceSpec(withoutNull(changes), service)
  return [{ ...service, ...settings }, ...services]
}

/**
 * Adds real servers to a service. New ones come in front, as the kernel puts them.
 * @param adding the command that adds the service, for an error if it is missing.
 */
export function addServers(
  services: Services,
  service: ServiceKey,
  servers: readonly RealServerKey[],
  changes: Changes,
  adding: string,
): Services {
  const there = find(services, service)
  if (there === undefined) {
    throw new IpvsError({
      errno: Errno.ESRCH,
      command: 'addRealServer',
      service,
      message: `ESRCH: there is no virtual service ${formatServiceKey(service)}; add it first: ${adding}`,
    })
  }
  const { realServers = [] } = there
  const added = servers.map((server) => {
    const key = checkServerKey(server, service)
    if (realServers.some((one) => isSame(one, key, service))) {
      throw new IpvsError({ errno: Errno.EEXIST, command: 'addRealServer', service, realServer: key })
    }
    return { ...key, ...checkServerSpec(changes, key, service) }
  })
  return replaced(services, there, { ...there, realServers: [...added, ...realServers] })
}

/** Changes a service: what is not named stays. */
export function editService(services: Services, service: ServiceKey, changes: Changes): Services {
  const there = get(services, service)
  const checked = checkServiceChanges(changes, service)
  const family = familyOfService(service)
  const { realServers } = there
  const { persistence } = checked
  if (
    there.persistence === undefined &&
    persistence?.netmask !== undefined &&
    persistence.timeoutSeconds === undefined
  )
    throw new RangeError(
      `persistence.netmask is of no use while ${formatServiceKey(service)} has no persistence: give persistence=SECONDS too`,
    )
  const kernel = mergeService(kernelServiceOf(there, family, ALL_FLAGS), checked, family)
  const spec = specOfService(newService(service, kernel).state)
  return replaced(services, there, { ...spec, ...(realServers !== undefined && { realServers }) })
}

/** Changes real servers: what is not named stays. */
export function editServers(services: Services, target: Target, changes: Changes): Services {
  const checked = checkServerChanges(changes)
  return withServers(services, target, (server, service) => {
    const key = checkServerKey(server, service)
    const merged = completeServer(key, mergeSettings(completeSettings(server), checked))
    checkServerSpec(merged, key, service, STATE_LIMITS)
    return merged
  })
}

/** Takes a service away, with its real servers. */
export function removeService(services: Services, service: ServiceKey): Services {
  const there = get(services, service)
  return services.filter((one) => one !== there)
}

/** Takes real servers away. */
export function removeServers(services: Services, target: Target): Services {
  return withServers(services, target, () => undefined)
}

/** Does something with each real server that is meant, all of which must be there. */
function withServers(
  services: Services,
  { service, servers }: Target,
  edit: (server: RealServerSpec, service: ServiceKey) => RealServerSpec | undefined,
): Services {
  if (service !== undefined) get(services, service)
  const missing = new Set(servers)
  const wanted = services.map((one) => {
    const { realServers = [] } = one
    const meant = (server: RealServerSpec): RealServerKey[] =>
      servers.filter((key) => isMeant(server, key, one, service === undefined))
    if (!realServers.some((server) => meant(server).length > 0)) return one
    const edited = realServers.flatMap((server) => {
      const keys = meant(server)
      for (const key of keys) missing.delete(key)
      return keys.length === 0 ? server : (edit(server, one) ?? [])
    })
    return { ...one, realServers: edited }
  })
  const [absent] = missing
  if (absent !== undefined) throw absentServer(services, service, absent)
  return wanted
}

function isMeant(
  server: RealServerSpec,
  key: RealServerKey,
  service: ServiceKey,
  everyPort: boolean,
): boolean {
  if (everyPort && key.port === undefined) return server.address === key.address
  return isSame(server, key, service)
}

function isSame(one: RealServerKey, other: RealServerKey, service: ServiceKey): boolean {
  return one.address === other.address && portOf(one, service) === portOf(other, service)
}

function portOf(server: RealServerKey, service: ServiceKey): number {
  return checkServerKey(server, service).port
}

function absentServer(services: Services, service: ServiceKey | undefined, key: RealServerKey): IpvsError {
  const details = { errno: Errno.ENOENT, command: 'realServer', realServer: key }
  if (service === undefined) {
    return new IpvsError({
      ...details,
      message: `ENOENT: no service has the real server ${formatEndpoint(key)}`,
    })
  }
  const name = `${formatServiceKey(service)} -> ${formatEndpoint(checkServerKey(key, service))}`
  const others = (find(services, service)?.realServers ?? []).filter(({ address }) => address === key.address)
  const meant = others.length === 0 ? '' : `: did you mean ${others.map(formatEndpoint).join(' or ')}?`
  return new IpvsError({ ...details, service, message: `ENOENT: there is no real server ${name}${meant}` })
}

function find(services: Services, service: ServiceKey): StateService | undefined {
  const name = formatServiceKey(service)
  return services.find((one) => formatServiceKey(one) === name)
}

function get(services: Services, service: ServiceKey): StateService {
  const found = find(services, service)
  if (found === undefined) throw new IpvsError({ errno: Errno.ESRCH, command: 'service', service })
  return found
}

function replaced(services: Services, old: StateService, one: StateService): Services {
  return services.map((service) => (service === old ? one : service))
}

/** Of something new nothing can be taken away. */
function withoutNull(changes: Changes): Changes {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== null))
}
