import { formatEndpoint, formatServiceKey, type Ipvs, parseServiceKey } from '../index.ts'
import { fieldCandidates, isField } from './fields.ts'

/** What a shell offers for the words of a verb: services, real servers and fields. */

/** A word that the last one may become, and what it is. */
export type Candidate = readonly [word: string, description?: string]

/** Runs something on the table. Gives nothing where that cannot be read. */
type Known = (body: (ipvs: Ipvs) => Promise<Candidate[]>) => Promise<Candidate[]>

export async function serviceCandidates(ipvs: Ipvs): Promise<Candidate[]> {
  const services = await ipvs.services()
  return services.map(({ key, scheduler }) => [formatServiceKey(key), scheduler])
}

/** What the words of a verb are about. */
interface Words {
  /** Absent with --everywhere. */
  readonly service: string | undefined
  /** Those behind the service. */
  readonly given: readonly string[]
  /** Whether the real servers are to be added. */
  readonly adds: boolean
  /** Whether fields may follow. */
  readonly fields: boolean
}

/** Real servers that are not named yet, and fields. */
export async function wordCandidates(
  { service, given, adds, fields }: Words,
  word: string,
  known: Known,
): Promise<Candidate[]> {
  const named = given.filter((one) => !isField(one))
  const subject = service === undefined || named.length > 0 ? 'server' : 'service'
  const some = fields ? fieldCandidates(subject, word, given) : []
  if (isField(word)) return [...some]
  const servers = await known((ipvs) =>
    service === undefined || adds ? serversElsewhere(ipvs, service) : serversOf(ipvs, service),
  )
  return [...servers.filter(([name]) => !named.includes(name)), ...some]
}

async function serversOf(ipvs: Ipvs, service: string): Promise<Candidate[]> {
  const servers = await ipvs.realServers(parseServiceKey(service))
  return servers.map(({ key, weight }) => [formatEndpoint(key), `weight ${String(weight)}`])
}

/**
 * The real servers of other services than this one, and where they are. Without
 * one, those of all, and the machines.
 */
async function serversElsewhere(ipvs: Ipvs, service: string | undefined): Promise<Candidate[]> {
  const places = new Map<string, Set<string>>()
  const note = (server: string, place: string): void => {
    places.set(server, (places.get(server) ?? new Set()).add(place))
  }
  for (const {
    service: { key },
    realServers,
  } of await ipvs.snapshot()) {
    for (const { address, port } of realServers) {
      if (service === undefined) note(address, formatServiceKey(key))
      note(formatEndpoint({ address, port }), formatServiceKey(key))
    }
  }
  const here = service && formatServiceKey(parseServiceKey(service))
  return [...places]
    .filter(([, services]) => here === undefined || !services.has(here))
    .map(([server, services]) => [server, [...services].join(' ')])
}
