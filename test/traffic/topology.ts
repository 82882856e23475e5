import { type Netns, withNamespaces } from '../helpers/kernel.ts'
import { Agent } from './agent.ts'
import { cables, ROUTER_SYSCTLS } from './cables.mjs'

/**
 * Machines and the networks between them: data, from which a test builds namespaces, a guide its picture and
 * its table of addresses. What the machines do besides, such as a virtual address, is not here: that is set up.
 */
export interface Topology {
  /** Name of a network, such as `clients`, to what is said of it in a guide. */
  readonly networks: Readonly<Record<string, Network>>
  /** By name, such as `client`, `director`, `web1`. */
  readonly hosts: Readonly<Record<string, HostDescription>>
}

export interface Network {
  /** In words, such as "the clients' network". */
  readonly title: string
  /** Bytes that its machines send at once. Default: 1500. */
  readonly mtu?: number
}

export interface HostDescription {
  /** In words, such as "the director". */
  readonly title: string
  /** Name of an interface, such as eth0, to where it leads. In the order of their numbers. */
  readonly interfaces: Readonly<Record<string, Interface>>
  /** Routes beside those to its own networks, as ip(8) reads them: `default via 10.0.0.1`. */
  readonly routes?: readonly string[]
  /** Whether it is a router: forwards packets of both families. Default: false. */
  readonly router?: boolean
}

export interface Interface {
  readonly network: string
  /** With their prefix lengths: `10.0.0.1/24`. */
  readonly addresses: readonly string[]
}

/** A topology that was built. */
export interface Site<Name extends string> {
  /** By their names in the topology. */
  readonly hosts: Readonly<Record<Name, Netns>>
  readonly agent: Agent
  /** Runs lines of shell on a host, as root, of which all succeed; gives what they printed. */
  readonly sh: (host: Name, ...lines: readonly string[]) => Promise<string>
}

/**
 * Builds a topology of network namespaces: a bridge for each network in a namespace of their own, and a cable
 * from it to each interface. All is gone afterwards.
 */
export function withTopology<T extends Topology, Result>(
  topology: T,
  body: (site: Site<keyof T['hosts'] & string>) => Promise<Result>,
): Promise<Result> {
  type Name = keyof T['hosts'] & string
  const names = Object.keys(topology.hosts) as Name[]
  return withNamespaces(
    1 + names.length,
    async (_switch, ...namespaces) => {
      const hosts = Object.fromEntries(
        namespaces.map((netns, index) => [names[index], netns]),
      ) as Site<Name>['hosts']
      const sh = (host: Name, ...lines: readonly string[]): Promise<string> =>
        hosts[host].run(['sh', '-ec', lines.join('\n')])
      for (const name of names) {
        if (topology.hosts[name]?.router === true) await sh(name, `sysctl -qw ${ROUTER_SYSCTLS.join(' ')}`)
      }
      const agent = new Agent()
      try {
        return await body({ hosts, agent, sh })
      } finally {
        await agent.end()
      }
    },
    { setUp: ([, ...namespaces]) => cables(topology, namespaces) },
  )
}
