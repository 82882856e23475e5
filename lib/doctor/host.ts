import { execFile } from 'node:child_process'
import { isIP } from 'node:net'
import { release } from 'node:os'
import { canonicalAddress } from '../model/address.ts'
import { forgetAbort, onAbort } from '../util/signals.ts'
import type { Host, Link, Route, RouteTo, Unread } from './findings/host.ts'

/** Reads what a machine is, beside IPVS. The only file of the doctor that is not pure. */

export interface HostOptions {
  /** Path of a network namespace. Default: that of this process. */
  readonly netns?: string | undefined
  /** Addresses whose routes are wanted. */
  readonly routesTo?: readonly string[]
  readonly signal?: AbortSignal | undefined
}

/** Any program here is done in a moment; one that waits for something must not hold up everything. */
const TIMEOUT_MS = 20_000
const MOST_BYTES = 128 * 1024 * 1024
/** More would take seconds, and the first thousand say as much. */
const MOST_ROUTES = 1000

const SYSCTL_FOLDERS = [
  'net/ipv4/conf',
  'net/ipv6/conf',
  'net/ipv4/vs',
  'net/ipv4/ip_forward',
  'net/netfilter',
]

/** Reads a machine. What cannot be read is in `unread`; this never throws but for its signal. */
export async function readHost({ netns, routesTo = [], signal }: HostOptions): Promise<Host> {
  const unread: Unread[] = []
  const run = async (argv: readonly string[], input?: string): Promise<Output> => {
    const inside = netns === undefined ? argv : ['nsenter', `--net=${netns}`, '--', ...argv]
    const output = await runProgram(inside, input, signal)
    signal?.throwIfAborted()
    return output
  }
  const json = async <T>(argv: readonly string[]): Promise<readonly T[]> => {
    const { stdout, why } = await run(argv)
    const list: unknown = why ?? jsonOf(stdout)
    if (Array.isArray(list)) return list as readonly T[]
    unread.push({ what: argv.join(' '), why: typeof list === 'string' ? list : 'it did not print JSON' })
    return []
  }
  const ifThere = async (...argv: readonly string[]): Promise<string | undefined> => {
    const { stdout, why } = await run(argv)
    return why === undefined ? stdout : undefined
  }
  const asked = [...new Set(routesTo)].filter((address) => isIP(address) !== 0).slice(0, MOST_ROUTES)

  const [interfaces, routes4, routes6, neighbours, modules, sysctls, fou, nft, iptables, ip6tables, answers] =
    await Promise.all([
      json<IpLink>(['ip', '-j', '-details', 'address', 'show']),
      json<IpRoute>(['ip', '-j', '-4', 'route', 'show', 'table', 'all']),
      json<IpRoute>(['ip', '-j', '-6', 'route', 'show', 'table', 'all']),
      json<IpNeighbour>(['ip', '-j', 'neighbour', 'show']),
      run(['cat', '/proc/modules']),
      // Fails for a folder that is not there, after it has printed the others.
      run(['grep', '-rs', '', ...SYSCTL_FOLDERS.map((folder) => `/proc/sys/${folder}`)]),
      // Without the module there are none.
      ifThere('ip', '-j', 'fou', 'show'),
      // A firewall that is not installed is none.
      ifThere('nft', '-j', 'list', 'ruleset'),
      ifThere('iptables-save'),
      ifThere('ip6tables-save'),
      // Fails for each address without a route, and goes on.
      run(['ip', '-j', '-force', '-batch', '-'], asked.map((address) => `route get ${address}\n`).join('')),
    ])
  if (sysctls.stdout === '') unread.push({ what: '/proc/sys/net', why: sysctls.why ?? 'it is empty' })
  const ports = jsonOf(fou ?? '')
  return {
    kernelRelease: release(),
    links: interfaces.map(linkOf),
    addresses: interfaces.flatMap(({ ifname, addr_info: all = [] }) =>
      all.flatMap(({ local, prefixlen }) =>
        local === undefined ? [] : [{ address: plainAddress(local), prefix: prefixlen, link: ifname }],
      ),
    ),
    routes: [...routes4.map((route) => routeOf(route, 32)), ...routes6.map((route) => routeOf(route, 128))],
    routesTo: new Map(
      answers.stdout
        .split('\n')
        .flatMap((line) => (jsonOf(line) as readonly IpRoute[] | undefined) ?? [])
        .map((route) => [plainAddress(route.dst ?? ''), routeToOf(route)]),
    ),
    asked: new Set(asked),
    neighbours: neighbours.map(({ dst, dev, state }) => ({
      address: plainAddress(dst),
      link: dev,
      states: state ?? [],
    })),
    modules: new Set(modules.stdout.split('\n').map((line) => line.split(' ')[0] ?? '')),
    sysctls: sysctlsOf(sysctls.stdout),
    firewall: {
      ...(nft !== undefined && { nft: jsonOf(nft) }),
      ...(iptables !== undefined && { iptables }),
      ...(ip6tables !== undefined && { ip6tables }),
    },
    guePorts: Array.isArray(ports)
      ? (ports as readonly FouPort[]).flatMap(({ port, gue }) =>
          gue !== undefined && port !== undefined ? [port] : [],
        )
      : [],
    unread,
  }
}

interface Output {
  readonly stdout: string
  /** Why it failed, if it did. */
  readonly why?: string
}

/** Runs a program to its end, with limits on its time and its output. */
function runProgram(
  [file = '', ...args]: readonly string[],
  input: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Output> {
  return new Promise((resolve) => {
    const options = {
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: MOST_BYTES,
      env: { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
    } as const
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      if (signal !== undefined) forgetAbort(signal, end)
      if (error === null) resolve({ stdout })
      else resolve({ stdout, why: firstLine(stderr) || firstLine(error.message) || 'it failed' })
    })
    const end = (): void => {
      child.kill('SIGKILL')
    }
    if (signal !== undefined) onAbort(signal, end)
    child.stdin?.on('error', () => undefined) // one that ended without reading
    child.stdin?.end(input)
  })
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? ''
}

/** What is read of the JSON of ip(8). */
interface IpLink {
  readonly ifname: string
  readonly flags?: readonly string[]
  readonly mtu?: number
  readonly linkinfo?: {
    readonly info_kind?: string
    readonly info_data?: { readonly local?: string; readonly remote?: string }
  }
  readonly xdp?: unknown
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen: number }[]
}

interface IpRoute {
  readonly dst?: string
  readonly gateway?: string
  readonly dev?: string
  readonly prefsrc?: string
  readonly type?: string
  readonly table?: string
}

interface IpNeighbour {
  readonly dst: string
  readonly dev: string
  readonly state?: readonly string[]
}

interface FouPort {
  readonly port?: number
  readonly gue?: unknown
}

function linkOf({ ifname, flags = [], mtu = 0, linkinfo = {}, xdp }: IpLink): Link {
  const end = (address: string | undefined): string =>
    address === undefined || address === 'any' ? '' : address
  return {
    name: ifname,
    up: flags.includes('UP'),
    loopback: flags.includes('LOOPBACK'),
    arp: !flags.includes('NOARP'),
    multicast: flags.includes('MULTICAST'),
    mtu,
    kind: linkinfo.info_kind ?? '',
    xdp: xdp !== undefined,
    local: end(linkinfo.info_data?.local),
    remote: end(linkinfo.info_data?.remote),
  }
}

function routeOf({ dst = '', gateway, dev, type = 'unicast', table = 'main' }: IpRoute, bits: number): Route {
  const everywhere = bits === 32 ? '0.0.0.0/0' : '::/0'
  return {
    destination: dst === 'default' ? everywhere : dst.includes('/') ? dst : `${dst}/${String(bits)}`,
    ...(gateway !== undefined && { gateway }),
    ...(dev !== undefined && { link: dev }),
    type,
    table,
  }
}

function routeToOf({ gateway, dev = '', prefsrc, type = 'unicast' }: IpRoute): RouteTo {
  return {
    ...(gateway !== undefined && { gateway }),
    link: dev,
    ...(prefsrc !== undefined && { source: prefsrc }),
    type,
  }
}

/** Lines `/proc/sys/net/ipv4/conf/eth0/rp_filter:0`; a dot in the name of an interface is a slash in that of a sysctl. */
function sysctlsOf(text: string): ReadonlyMap<string, string> {
  const lines = text.split('\n').flatMap((line) => {
    const [, path = '', value = ''] = /^\/proc\/sys\/([^:]+):(.*)$/.exec(line) ?? []
    if (path === '') return []
    const name = path
      .split('/')
      .map((word) => word.replaceAll('.', '/'))
      .join('.')
    return [[name, value.trim()] as const]
  })
  return new Map(lines)
}

/** An address as the kernel's table has it. */
function plainAddress(text: string): string {
  return isIP(text) === 0 ? text : canonicalAddress(text)
}

/** `undefined` for what is not JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
