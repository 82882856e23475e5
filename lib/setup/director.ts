import { canonicalAddress, canonicalServiceKey, familyOfAddress, familyOfService } from '../model/address.ts'
import { DEFAULT_METHOD } from '../model/defaults.ts'
import { serviceName } from '../model/keys.ts'
import type { AddressServiceKey, Family, ForwardingMethod, FwmarkServiceKey } from '../model/types.ts'
import { checkServiceKey } from '../model/validate.ts'
import { checkAddress, checkInterface, checkPorts } from './check.ts'
import { type Firewall, mark, sourceNat } from './firewall.ts'
import { type ServiceToSetUp, type SetupPart, type SysctlStep, withoutRepeats } from './part.ts'
import { interfaceSysctl, module, sysctl, virtualAddress } from './steps.ts'

/** How a director is to be set up. */
export interface DirectorOptions {
  /** The interface that clients' packets come by: it gets the virtual addresses, if there are any. */
  readonly interface?: string | undefined
  /** Method of services without real servers. Default: direct. */
  readonly method?: ForwardingMethod | undefined
  /** Whether the real servers see the director in the place of the clients (full NAT). Default: false. */
  readonly snat?: boolean | undefined
  /** Whether clients are in the network of the real servers, with method masquerade. Default: false. */
  readonly oneNetwork?: boolean | undefined
  /** What makes the rules of `snat` and of `marked`. Default: nft. */
  readonly firewall?: Firewall | undefined
  /** What is marked for the services that are firewall marks. Default: nothing, others do it. */
  readonly marked?: Marked | undefined
}

/** Packets that are marked. */
export interface Marked {
  readonly address: string
  /** Such as `80`, `5000-5010`, `53/udp`. Default: all. */
  readonly ports?: readonly string[] | undefined
}

interface Service {
  readonly key: AddressServiceKey | FwmarkServiceKey
  /** Of its real servers, each once. */
  readonly uses: readonly Use[]
}

interface Use {
  readonly method: ForwardingMethod
  /** Of the real server, whose packets may be of another family than the service's with a tunnel. */
  readonly family: Family
}

/** What the director of these services needs beside them, in this order. */
export function setUpDirector(services: readonly ServiceToSetUp[], options: DirectorOptions): SetupPart[] {
  const { snat = false, oneNetwork = false, firewall = 'nft' } = options
  const all = services.map((service) => read(service, options.method))
  const masqueraded = all.filter(({ uses }) => uses.some(({ method }) => method === 'masquerade'))
  const families = familiesOf(masqueraded)
  const parts: SetupPart[] = [
    {
      why: 'IPVS is a module of the kernel, and its sysctls appear with it.',
      steps: [module('ip_vs')],
    },
  ]
  if (masqueraded.some(({ key }) => key.protocol === 'tcp' && key.port === 21)) {
    parts.push({
      why: 'FTP sends addresses and ports inside its packets; this module rewrites them for NAT.',
      steps: [module('ip_vs_ftp')],
    })
  }
  if (families.length > 0) {
    parts.push({
      why:
        'With method masquerade the answers of the real servers pass through this machine, so it must forward packets.' +
        (families.includes('ipv6')
          ? ' A machine that forwards IPv6 ignores router advertisements: set accept_ra=2 on an interface that needs them.'
          : ''),
      steps: families.map(forwarding),
    })
  }
  if (masqueraded.length === 0) {
    if (snat) throw new TypeError('source NAT needs a service with method masquerade')
    if (oneNetwork) throw new TypeError('a network of clients needs a service with method masquerade')
  }
  if (oneNetwork && families.includes('ipv4')) {
    const name = interfaceOf(options)
    parts.push({
      why: "Clients are in the real servers' network: a redirect would show the real servers a shorter way to them.",
      steps: ['all', name].map((one) => interfaceSysctl('ipv4', one, 'send_redirects', 0)),
    })
  }
  if (snat) {
    parts.push({
      why: 'The real servers see this machine instead of the clients, and answer to it; for that, IPVS must track connections.',
      steps: [
        sysctl('net.ipv4.vs.conntrack', 1),
        ...masqueraded.flatMap(({ key }) => sourceNat(key, firewall)),
      ],
    })
  }
  parts.push(...marks(all, options, firewall))
  const addresses = virtualAddresses(all, options.marked)
  if (addresses.length > 0) {
    parts.push({
      why: 'Clients connect to the virtual address, so this machine must have it.',
      steps: addresses.map((address) => virtualAddress(address, interfaceOf(options), true)),
    })
  }
  if (all.some(({ uses }) => uses.some(({ method }) => method === 'tunnel'))) {
    parts.push({
      why: 'A tunnel adds 20 to 60 bytes to each packet: let ICMP "fragmentation needed" reach the clients, or raise the MTU of the links to the real servers.',
      steps: [],
    })
  }
  return withoutRepeats(parts)
}

function read(service: ServiceToSetUp, otherwise: ForwardingMethod = DEFAULT_METHOD): Service {
  const key = canonicalServiceKey(checkServiceKey(service))
  const { realServers = [] } = service
  const uses = realServers.map(({ address, method = DEFAULT_METHOD }) => ({
    method,
    family: familyOfAddress(address),
  }))
  return { key, uses: uses.length > 0 ? uses : [{ method: otherwise, family: familyOfService(key) }] }
}

/** Families whose packets are masqueraded. */
function familiesOf(services: readonly Service[]): readonly Family[] {
  const used = services.flatMap(({ uses }) => uses).filter(({ method }) => method === 'masquerade')
  return (['ipv4', 'ipv6'] as const).filter((family) => used.some((one) => one.family === family))
}

function forwarding(family: Family): SysctlStep {
  return family === 'ipv4'
    ? // inet_forward_change() sets the other too.
      sysctl('net.ipv4.ip_forward', 1, ['net.ipv4.conf.all.accept_redirects'])
    : sysctl('net.ipv6.conf.all.forwarding', 1)
}

function interfaceOf(options: DirectorOptions): string {
  if (options.interface === undefined) throw new TypeError("name the interface that clients' packets come by")
  return checkInterface(options.interface)
}

function marks(all: readonly Service[], { marked }: DirectorOptions, firewall: Firewall): SetupPart[] {
  const keys = all.flatMap(({ key }) => (key.protocol === 'fwmark' ? [key] : []))
  const [first, second] = keys
  if (marked === undefined) {
    return keys.map((key) => ({ why: `${whatGets(key)}: your own firewall rules must set it.`, steps: [] }))
  }
  if (first === undefined || second !== undefined)
    throw new TypeError('an address whose packets are marked needs one service that is a firewall mark')
  const address = checkAddress(marked.address, 'address')
  if (familyOfAddress(address) !== familyOfService(first))
    throw new TypeError(`${serviceName(first)} and address ${address} have different address families`)
  const steps = mark(first, address, checkPorts(marked.ports ?? [], 'ports'), firewall)
  return [{ why: `${whatGets(first)}: this rule sets it.`, steps }]
}

function whatGets(key: FwmarkServiceKey): string {
  return `${serviceName(key)} gets the packets that have its mark`
}

/** Those that this machine must have, each once. */
function virtualAddresses(all: readonly Service[], marked: Marked | undefined): readonly string[] {
  const addresses = all.flatMap(({ key }) => (key.protocol === 'fwmark' ? [] : [key.address]))
  return [...new Set([...addresses, ...(marked === undefined ? [] : [canonicalAddress(marked.address)])])]
}
