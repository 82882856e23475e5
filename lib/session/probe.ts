import type { Ipvs } from '../ipvs.ts'
import { DestAttribute, ServiceAttribute } from '../model/constants.ts'
import { IpvsError } from '../model/errors.ts'
import type { Capabilities, Scheduler, ServiceSpec } from '../model/types.ts'

const SCHEDULERS: readonly Scheduler[] = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'dh',
  'sh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
  'twos',
]
const PERSISTENCE_ENGINES = ['sip']

/** Tries what a kernel can do. `ipvs` works in a namespace that nobody else uses; absent, the kernel has no IPVS. */
export async function probe(ipvs: Ipvs | undefined): Promise<Capabilities> {
  if (ipvs === undefined) {
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
  const info = await ipvs.info()
  const schedulers = await accepted(ipvs, SCHEDULERS, (scheduler, fwmark) => ({
    protocol: 'fwmark',
    fwmark,
    scheduler,
  }))
  // Kernels before 4.2 have no 'none'.
  const scheduler = schedulers[0] ?? 'none'
  const persistenceEngines = await accepted(ipvs, PERSISTENCE_ENGINES, (persistenceEngine, fwmark) => ({
    protocol: 'fwmark',
    fwmark: 1000 + fwmark,
    scheduler,
    persistence: {},
    persistenceEngine,
  }))
  const ipv6 = await accepted(ipvs, ['::1'], (address) => ({
    protocol: 'tcp',
    address,
    port: 1,
    scheduler,
  }))

  await ipvs.flush()
  const service = await ipvs.addService({ protocol: 'tcp', address: '127.0.0.1', port: 1, scheduler })
  await service.addRealServer({ address: '127.0.0.1', method: 'tunnel' })
  const reported = await ipvs.reportedAttributes()
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

/** The names with which the kernel takes a service. */
async function accepted<Name extends string>(
  ipvs: Ipvs,
  names: readonly Name[],
  specOf: (name: Name, number: number) => ServiceSpec,
): Promise<Name[]> {
  const taken = await Promise.all(
    names.map(async (name, index) => {
      try {
        await ipvs.addService(specOf(name, index + 1))
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
