import { spawn } from 'node:child_process'
import { isIP } from 'node:net'
import { release } from 'node:os'
import { canonicalAddress } from '../model/address.ts'
import { forgetAbort, onAbort } from '../util/signals.ts'
import type { Host, Link, Route, RouteTo, Unread } from './findings/host.ts'
import { HELPERS, inputOf, MARK, type Part, SCRIPT } from './script.ts'

/** Reads what a machine is, beside IPVS. The only file of the doctor that is not pure. */

export interface HostOptions {
  /** Path of a network namespace. Default: that of this process. */
  readonly netns?: string | undefined
  /** Addresses whose routes are wanted. */
  readonly routesTo?: readonly string[]
  readonly signal?: AbortSignal | undefined
  /** How long all may take. */
  readonly limitMs?: number
}

/** Any program here is done in a moment; one that waits for something must not hold up everything. */
const LIMIT_MS = 20_000
const MOST_BYTES = 128 * 1024 * 1024
const MOST_COMPLAINT = 10_000
/** More would take seconds, and the first thousand say as much. */
const MOST_ROUTES = 1000

/** Reads a machine. What cannot be read is in `unread`; this never throws but for its signal. */
export async function readHost({
  netns,
  routesTo = [],
  signal,
  limitMs = LIMIT_MS,
}: HostOptions): Promise<Host> {
  const asked = [...new Set(routesTo)].filter((address) => isIP(address) !== 0).slice(0, MOST_ROUTES)
  const parts = await runAll(netns, inputOf(asked), { signal, limitMs })
  signal?.throwIfAborted()

  const unread: Unread[] = []
  // The first three never fail where this program is. Without its module fou ends it all, so that is the last.
  const { stdout, why } = parts('ip')
  const [links, routes, neighbours, ...more] = stdout.split('\n').flatMap((line): unknown[][] => {
    const list = jsonOf(line)
    return Array.isArray(list) ? [list.filter(isObject)] : []
  }) as [IpLink[]?, IpRoute[]?, IpNeighbour[]?, ...(FouPort | IpRoute)[][]]
  if (neighbours === undefined) unread.push({ what: 'ip', why: why ?? 'it did not print JSON' })
  const others = more.flat()

  const files = parts('files')
  if (files.stdout === '') unread.push({ what: '/proc/sys/net', why: files.why ?? 'it is empty' })
  const contents = [...files.stdout.matchAll(/^([^:\n]+):(.*)$/gm)].map(
    ([, path = '', text = '']) => [path, text] as const,
  )
  // A firewall that is not installed is none.
  const [nft, iptables, ip6tables] = (['nft', 'iptables', 'ip6tables'] as const).map((part) => {
    const { stdout: rules, why: noRules = '', ended = true } = parts(part)
    if (!ended) unread.push({ what: part, why: noRules })
    return noRules === '' ? rules : undefined
  })
  return {
    kernelRelease: release(),
    links: (links ?? []).map(linkOf),
    addresses: (links ?? []).flatMap(({ ifname, addr_info: all = [] }) =>
      all.flatMap(({ local, prefixlen }) =>
        local === undefined ? [] : [{ address: plainAddress(local), prefix: prefixlen, link: ifname }],
      ),
    ),
    routes: (routes ?? []).map(routeOf),
    asked: new Set(asked),
    routesTo: new Map(
      others.flatMap((one) => ('dst' in one ? [[plainAddress(one.dst ?? ''), routeToOf(one)]] : [])),
    ),
    neighbours: (neighbours ?? []).map(({ dst, dev, state }) => ({
      address: plainAddress(dst),
      link: dev,
      states: state ?? [],
    })),
    modules: new Set(
      contents.flatMap(([path, text]) => (path === '/proc/modules' ? [text.replace(/ .*/, '')] : [])),
    ),
    sysctls: new Map(
      contents.flatMap(([path, text]) =>
        path.startsWith('/proc/sys/') ? [[sysctlOf(path.slice('/proc/sys/'.length)), text.trim()]] : [],
      ),
    ),
    firewall: {
      ...(nft !== undefined && { nft: jsonOf(nft) }),
      ...(iptables !== undefined && { iptables }),
      ...(ip6tables !== undefined && { ip6tables }),
    },
    guePorts: others.flatMap((one) => ('gue' in one && one.port !== undefined ? [one.port] : [])),
    // Columns of ip_vs_app_seq_show(): protocol, port, connections, name.
    ...(contents.some(([path]) => path === HELPERS) && {
      helpers: contents.flatMap(([path, text]) =>
        path === HELPERS ? (/^\S+\s+\d+\s+\d+\s+(\S+)/.exec(text)?.[1] ?? []) : [],
      ),
    }),
    unread,
  }
}

interface Output {
  readonly stdout: string
  /** Why it failed, if it did. */
  readonly why?: string
  /** false: it came to no end of its own. */
  readonly ended?: boolean
}

interface Limits {
  readonly signal: AbortSignal | undefined
  readonly limitMs: number
}

/** Runs the programs, with limits on their time and their output. Gives what each said. */
async function runAll(
  netns: string | undefined,
  input: string,
  limits: Limits,
): Promise<(part: Part) => Output> {
  const argv = ['sh', '-c', SCRIPT]
  const { stdout, why = 'it was not run' } = await runProgram(
    netns === undefined ? argv : ['nsenter', `--net=${netns}`, '--', ...argv],
    input,
    limits,
  )
  const outputs = new Map<string, Output>()
  // Name and output of one, then status and complaint, then the next.
  const pieces = stdout.split(MARK).slice(1)
  for (let index = 0; index + 1 < pieces.length; index += 2) {
    const [said = '', end = ''] = pieces.slice(index, index + 2)
    const name = firstLine(said)
    const [, status = '', complaint = ''] = /^(\d+) ([^]*)$/.exec(end) ?? []
    outputs.set(name, {
      stdout: said.slice(name.length + 1),
      ...(status !== '0' && { why: firstLine(complaint) || `it ended with status ${status}` }),
    })
  }
  return (part) => outputs.get(part) ?? { stdout: '', why, ended: false }
}

/** Runs a program to its end, or ends it with all that it has started. */
function runProgram(
  [file = '', ...args]: readonly string[],
  input: string,
  { signal, limitMs }: Limits,
): Promise<Output> {
  return new Promise((resolve) => {
    const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` }
    // A group of its own: what a shell has started does not end with it.
    const child = spawn(file, args, { env, detached: true })
    const chunks: Buffer[] = []
    let length = 0
    let complaint = ''
    let why: string | undefined
    const end = (reason: string): void => {
      why ??= reason
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      } catch {
        // All have ended meanwhile.
      }
      // Or one that left the group could hold them open.
      child.stdout.destroy()
      child.stderr.destroy()
    }
    const abort = (): void => {
      end('aborted')
    }
    const timer = setTimeout(() => {
      end(`it took longer than ${String(limitMs / 1000)} s`)
    }, limitMs)
    if (signal !== undefined) onAbort(signal, abort)
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if ((length += chunk.length) > MOST_BYTES) end(`it printed more than ${String(MOST_BYTES)} bytes`)
    })
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < MOST_COMPLAINT) complaint += chunk.toString()
    })
    const done = (reason?: string): void => {
      clearTimeout(timer)
      if (signal !== undefined) forgetAbort(signal, abort)
      why ??= reason
      resolve({ stdout: Buffer.concat(chunks).toString(), ...(why !== undefined && { why }) })
    }
    child.on('error', ({ message }) => {
      done(message)
    })
    child.on('close', (status) => {
      done(status === 0 ? undefined : firstLine(complaint) || `it ended with status ${String(status)}`)
    })
    child.stdin.on('error', () => undefined) // one that ended without reading
    child.stdin.end(input)
  })
}

function firstLine(text: string): string {
  return text.split('\n')[0]?.trim() ?? ''
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
  readonly pref?: string
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
    mtu,
    kind: linkinfo.info_kind ?? '',
    xdp: xdp !== undefined,
    local: end(linkinfo.info_data?.local),
    remote: end(linkinfo.info_data?.remote),
  }
}

/** A route to a single address has no prefix length, and a default one no address; IPv4 and IPv6 are in one list. */
function routeOf({ dst = '', gateway, dev, pref, type = 'unicast', table = 'main' }: IpRoute): Route {
  // What only routes of IPv6 have.
  const six = pref !== undefined
  const destination = dst === 'default' ? (six ? '::/0' : '0.0.0.0/0') : dst
  return {
    destination: destination.includes('/') ? destination : `${dst}/${six ? '128' : '32'}`,
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

/** Name of a sysctl: a dot in the name of an interface is a slash there. */
function sysctlOf(path: string): string {
  return path
    .split('/')
    .map((word) => word.replaceAll('.', '/'))
    .join('.')
}

/** An address as the kernel's table has it. */
function plainAddress(text: string): string {
  return isIP(text) === 0 ? text : canonicalAddress(text)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** `undefined` for what is not JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
