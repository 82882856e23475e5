import { memberTypes } from '../codec/attributes.ts'
import { canonicalServiceKey } from '../model/address.ts'
import { CommandAttribute, DestAttribute, ServiceAttribute } from '../model/constants.ts'
import { IpvsError } from '../model/errors.ts'
import { PERSISTENCE_ENGINES, SCHEDULERS } from '../model/schedulers.ts'
import type { Capabilities, ServiceKey, ServiceSpec } from '../model/types.ts'
import { checkServiceKey } from '../model/validate.ts'
import type { Failure, Transport } from '../transport/transport.ts'
import { dumpTable, eachMessage, settled } from './reads.ts'
import { addRealServer } from './real-servers.ts'
import { addService } from './services.ts'
import type { Session } from './session.ts'
import { flush, readInfo } from './settings.ts'

/** Tries what a kernel can do, in a namespace that nobody else uses. Without a `session` the kernel has no IPVS. */
export async function probe(session: Session | undefined): Promise<Capabilities> {
  if (session === undefined) {
    return {
      available: false,
      ipv6: false,
      schedulers: [],
      persistenceEngines: [],
      counters64: false,
      tunnelTypes: [],
      mixedFamilies: false,
    }
  }
  const info = await readInfo(session, {})
  const schedulers = await accepted(session, SCHEDULERS, (scheduler, fwmark) => ({
    protocol: 'fwmark',
    fwmark,
    scheduler,
  }))
  // Kernels before 4.2 have no 'none'.
  const scheduler = schedulers[0] ?? 'none'
  const persistenceEngines = await accepted(session, PERSISTENCE_ENGINES, (persistenceEngine, fwmark) => ({
    protocol: 'fwmark',
    fwmark: 1000 + fwmark,
    scheduler,
    persistence: {},
    persistenceEngine,
  }))
  const ipv6 = await accepted(session, ['::1'], (address) => ({
    protocol: 'tcp',
    address,
    port: 1,
    scheduler,
  }))

  await flush(session, {})
  const service: ServiceKey = { protocol: 'tcp', address: '127.0.0.1', port: 1 }
  await addService(session, service, { ...service, scheduler }, {})
  await addRealServer(session, service, { address: '127.0.0.1', method: 'tunnel' }, {})
  const reported = await session.read('probe', reportedAttributes, {})
  return {
    available: true,
    info,
    ipv6: ipv6.length > 0,
    schedulers,
    persistenceEngines,
    counters64: reported.service.has(ServiceAttribute.STATS64),
    tunnelTypes: [
      'ipip',
      ...(reported.dest.has(DestAttribute.TUN_TYPE) ? (['gue'] as const) : []),
      ...(reported.dest.has(DestAttribute.TUN_FLAGS) ? (['gre'] as const) : []),
    ],
    mixedFamilies: reported.dest.has(DestAttribute.ADDR_FAMILY),
  }
}

/** The names with which the kernel accepts a service. */
async function accepted<Name extends string>(
  session: Session,
  names: readonly Name[],
  specOf: (name: Name, number: number) => ServiceSpec,
): Promise<Name[]> {
  const taken = await Promise.all(
    names.map(async (name, index) => {
      try {
        const spec = specOf(name, index + 1)
        await addService(session, canonicalServiceKey(checkServiceKey(spec)), spec, {})
        return true
      } catch (error) {
        if (error instanceof IpvsError && REFUSED.includes(error.code)) return false
        throw error
      }
    }),
  )
  return names.filter((_, index) => taken[index])
}

/** Unknown scheduler or engine; IPv6 not built in. */
const REFUSED: readonly string[] = ['ENOENT', 'EAFNOSUPPORT']

/** Numbers of the attributes that the kernel sends: IPVS_SVC_ATTR_* and IPVS_DEST_ATTR_*. */
interface ReportedAttributes {
  readonly service: ReadonlySet<number>
  readonly dest: ReadonlySet<number>
}

/** The attributes that the kernel sends for existing services and real servers. */
async function reportedAttributes(transport: Transport): Promise<ReportedAttributes | Failure> {
  const dump = await settled(() => dumpTable(transport))
  if (dump.failure !== undefined) return dump.failure
  const service = new Set<number>()
  const dest = new Set<number>()
  await eachMessage(dump, (message) => {
    for (const type of memberTypes(message.attributes(), CommandAttribute.SERVICE)) service.add(type)
    for (const type of memberTypes(message.attributes(), CommandAttribute.DEST)) dest.add(type)
  })
  return { service, dest }
}
