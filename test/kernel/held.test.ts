import { expect, test } from 'vitest'
import { formatState, type Ipvs, parseState, type State } from '../../lib/index.ts'
import { openNative } from '../../lib/transport/native.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { concat, writer } from '../helpers/bytes.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { ask, wholeTable } from '../helpers/kernel-table.ts'
import { kernelSince, kernelTests, withNamespace } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'
import type { Shell } from '../helpers/shell.ts'

/**
 * What the kernel holds can be saved: all that it takes from other programs, at
 * and beyond the limits of each attribute, is listed, saved as JSON and YAML,
 * planned, and restored to the same bytes.
 */

const { attr, u8, u16, u16be, u32, u32be, text, nest } = writer('little')
const { newService, newDest, newDaemon, deleteDaemon, setConfig, flush } = COMMANDS

const ipv4 = (type: number, ...bytes: readonly number[]): Uint8Array =>
  attr(
    type,
    Uint8Array.from({ length: 16 }, (_, at) => bytes[at] ?? 0),
  )
const ipv6 = (type: number, ...groups: readonly number[]): Uint8Array =>
  attr(
    type,
    Uint8Array.from(
      Array.from({ length: 8 }, (_, at) => groups[at] ?? 0).flatMap((group) => [group >> 8, group & 255]),
    ),
  )

const WEB = [u16(1, 2), u16(2, 6), ipv4(3, 10, 0, 0, 1), u16be(4, 80)]
const WEB6 = [u16(1, 10), u16(2, 6), ipv6(3, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), u16be(4, 80)]
const MARK = [u16(1, 2), u32(5, 7)]
const MARK6 = [u16(1, 10), u32(5, 7)]
const ipv4Service = (protocol: number, port: number): readonly Uint8Array[] => [
  u16(1, 2),
  u16(2, protocol),
  ipv4(3, 10, 0, 0, 1),
  u16be(4, port),
]

const PERSISTENT = 1
const HOST_MASK = 0xffffffff

interface ServiceMembers {
  readonly scheduler?: string
  readonly flags?: number
  readonly timeout?: number
  /** Of IPv6 the prefix length. */
  readonly netmask?: number
  readonly engine?: string
}

interface DestMembers {
  readonly family?: number
  readonly address?: Uint8Array
  readonly port?: number
  readonly method?: number
  readonly weight?: number
  readonly upper?: number
  readonly lower?: number
  readonly tunnel?: readonly [type: number, port: number, flags: number]
}

/** Requests past all checks of the library, and what the kernel answers to the last of them. */
interface Case {
  readonly requests: readonly (readonly [command: number, ...attributes: readonly Uint8Array[]])[]
  /** Default 'ok'. */
  readonly answer?: string
  /** What save() says of it. */
  readonly saved?: object
}

function service(identity: readonly Uint8Array[], settings: ServiceMembers = {}): Case['requests'][number] {
  const isIPv6 = identity[0] === WEB6[0] || identity[0] === MARK6[0]
  const { scheduler = 'rr', flags = 0, timeout = 0, netmask = isIPv6 ? 128 : HOST_MASK, engine } = settings
  return [
    newService,
    nest(
      1,
      ...identity,
      text(6, scheduler),
      u32(7, flags, 0xffffffff),
      u32(8, timeout),
      isIPv6 ? u32(9, netmask) : u32be(9, netmask),
      ...(engine === undefined ? [] : [text(11, engine)]),
    ),
  ]
}

function dest(identity: readonly Uint8Array[], settings: DestMembers = {}): Case['requests'][number] {
  const { family, address = ipv4(1, 10, 1, 0, 1), port = 80, method = 0, weight = 1 } = settings
  const { upper = 0, lower = 0, tunnel } = settings
  return [
    newDest,
    nest(1, ...identity),
    nest(
      2,
      address,
      u16be(2, port),
      u32(3, method),
      u32(4, weight),
      u32(5, upper),
      u32(6, lower),
      ...(family === undefined ? [] : [u16(11, family)]),
      ...(tunnel === undefined ? [] : [u8(13, tunnel[0]), u16be(14, tunnel[1]), u16(15, tunnel[2])]),
    ),
  ]
}

const daemon = (state: number, id: number, ...more: readonly Uint8Array[]): Case['requests'][number] => [
  newDaemon,
  nest(3, u32(1, state), text(2, 'd0'), u32(3, id), ...more),
]

/** A master on an interface whose name is these bytes. */
const daemonOn = (...name: readonly number[]): Case['requests'][number] => [
  newDaemon,
  nest(3, u32(1, 1), attr(2, Uint8Array.of(...name, 0)), u32(3, 0)),
]

/** One service, and what save() says of it. */
const one = (identity: readonly Uint8Array[], settings?: ServiceMembers, saved: object = {}): Case => ({
  requests: [service(identity, settings)],
  saved: { services: [saved] },
})

/** One real server, and what save() says of it. */
const server = (settings: DestMembers, saved: object = {}, identity = WEB): Case => ({
  requests: [service(identity), dest(identity, settings)],
  saved: { services: [{ realServers: [saved] }] },
})

const refused = ({ requests }: Case, answer = 'EINVAL'): Case => ({ requests, answer })

const V6_SERVER = ipv6(1, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)

const CASES: Readonly<Record<string, Case>> = {
  // Identity.
  'port 0 without persistence': one(ipv4Service(6, 0), {}, { protocol: 'tcp', port: 0 }),
  'port 0 with persistence': one(ipv4Service(6, 0), { flags: PERSISTENT, timeout: 300 }, { port: 0 }),
  'port 0 of UDP': one(ipv4Service(17, 0), {}, { protocol: 'udp', port: 0 }),
  'port 65535': one(ipv4Service(132, 65535), {}, { protocol: 'sctp', port: 65535 }),
  'protocol 0': one(ipv4Service(0, 80), {}, { protocol: 0 }),
  'protocol 50': one(ipv4Service(50, 80), {}, { protocol: 50 }),
  'protocol 256': one(ipv4Service(256, 80), {}, { protocol: 256 }),
  'protocol 65535 and port 0': one(ipv4Service(65535, 0), {}, { protocol: 65535, port: 0 }),
  'address 0.0.0.0': one([u16(1, 2), u16(2, 6), ipv4(3), u16be(4, 80)], {}, { address: '0.0.0.0' }),
  'address ::': one([WEB6[0] as Uint8Array, u16(2, 6), ipv6(3), u16be(4, 80)], {}, { address: '::' }),
  'an IPv4 address mapped into IPv6': one(
    [WEB6[0] as Uint8Array, u16(2, 6), ipv6(3, 0, 0, 0, 0, 0, 0xffff, 0xa00, 1), u16be(4, 80)],
    {},
    { address: '::ffff:10.0.0.1' },
  ),
  'a multicast address': one(
    [u16(1, 2), u16(2, 6), ipv4(3, 224, 0, 0, 1), u16be(4, 80)],
    {},
    {
      address: '224.0.0.1',
    },
  ),
  'bytes behind an IPv4 address': one(
    [u16(1, 2), u16(2, 6), ipv4(3, 10, 0, 0, 1, 9, 9, 9, 9), u16be(4, 80)],
    {},
    { address: '10.0.0.1' },
  ),
  'firewall mark 0': one([u16(1, 2), u32(5, 0)], {}, { protocol: 'tcp', address: '0.0.0.0', port: 0 }),
  'firewall mark 4294967295': one([u16(1, 2), u32(5, 0xffffffff)], {}, { fwmark: 0xffffffff }),
  'firewall mark of IPv6': one(MARK6, {}, { fwmark: 7, family: 'ipv6' }),
  // Persistence.
  'a persistence timeout of 0': one(WEB, { flags: PERSISTENT }, { persistence: { timeoutSeconds: 0 } }),
  'a persistence timeout of 4294968': one(
    WEB,
    { flags: PERSISTENT, timeout: 4294968 },
    { persistence: { timeoutSeconds: 4294968 } },
  ),
  'the longest persistence timeout of HZ 250': one(
    WEB,
    { flags: PERSISTENT, timeout: 17179869 },
    { persistence: { timeoutSeconds: 17179869 } },
  ),
  'a persistence timeout beyond 32 bits of jiffies': one(WEB, { flags: PERSISTENT, timeout: 50000000 }),
  'a persistence timeout of 4294967295': one(WEB, { flags: PERSISTENT, timeout: 0xffffffff }),
  'a netmask of 0': one(
    WEB,
    { flags: PERSISTENT, timeout: 300, netmask: 0 },
    { persistence: { netmask: '0.0.0.0' } },
  ),
  'a netmask with gaps': one(
    WEB,
    { flags: PERSISTENT, timeout: 300, netmask: 0xff00ff01 },
    { persistence: { netmask: '255.0.255.1' } },
  ),
  'a prefix length of 1': one(
    WEB6,
    { flags: PERSISTENT, timeout: 300, netmask: 1 },
    { persistence: { netmask: 1 } },
  ),
  'a prefix length of 0': refused(one(WEB6, { flags: PERSISTENT, timeout: 300, netmask: 0 })),
  'a prefix length of 129': refused(one(WEB6, { flags: PERSISTENT, timeout: 300, netmask: 129 })),
  'timeout and netmask without persistence': one(WEB, { timeout: 77, netmask: 0xffffff00 }),
  'netmask 0 without persistence': one(MARK, { netmask: 0 }),
  'an engine without persistence': one(
    ipv4Service(17, 5060),
    { engine: 'sip' },
    { persistenceEngine: 'sip' },
  ),
  'an engine on TCP': one(
    WEB,
    { flags: PERSISTENT, timeout: 300, engine: 'sip' },
    { persistenceEngine: 'sip' },
  ),
  'an engine on a firewall mark': one(MARK6, { engine: 'sip' }, { persistenceEngine: 'sip' }),
  'an engine that is not there': refused(one(WEB, { engine: 'nosuch' }), 'ENOENT'),
  // Scheduler and flags.
  'no scheduler': one(WEB, { scheduler: 'none' }, { scheduler: 'none' }),
  'a scheduler without a name': refused(one(WEB, { scheduler: '' }), 'ENOENT'),
  'one-packet on TCP': one(WEB, { flags: 4 }, { onePacket: true }),
  'one-packet and persistence on a mark': one(
    MARK,
    { flags: 5, timeout: 60 },
    { onePacket: true, persistence: { timeoutSeconds: 60 } },
  ),
  'flags of sh on rr': one(WEB, { flags: 0x38 }, { schedulerFlags: ['flag-1', 'flag-2', 'flag-3'] }),
  'all flags of sh': one(
    WEB,
    { scheduler: 'sh', flags: 0x38 },
    { schedulerFlags: ['sh-fallback', 'sh-port', 'flag-3'] },
  ),
  'all flags of mh on a mark': one(
    MARK6,
    { scheduler: 'mh', flags: 0x38 },
    { schedulerFlags: ['mh-fallback', 'mh-port', 'flag-3'] },
  ),
  'the internal flag': one(WEB, { flags: 2 }),
  'a flag without a name': one(WEB, { flags: 0x40 }, { schedulerFlags: [0x40] }),
  'the highest flag': one(
    WEB,
    { scheduler: 'sh', flags: 0x80000008 },
    { schedulerFlags: ['sh-fallback', 0x80000000] },
  ),
  'all flags there are': one(
    WEB,
    { flags: 0xffffffff, timeout: 300 },
    { onePacket: true, schedulerFlags: ['flag-1', 'flag-2', 'flag-3', 0xffffffc0] },
  ),
  // Real servers.
  'weight 0': server({ weight: 0 }, { weight: 0 }),
  'weight 2147483647': server({ weight: 0x7fffffff }, { weight: 0x7fffffff }),
  'weight 2147483648': refused(server({ weight: 0x80000000 }), 'ERANGE'),
  'an upper threshold of 2147483647': server({ upper: 0x7fffffff }, { upperThreshold: 0x7fffffff }),
  'an upper threshold of 2147483648': kernelSince(6, 12)
    ? refused(server({ upper: 0x80000000 }))
    : server({ upper: 0x80000000 }, { upperThreshold: 0x80000000 }),
  'thresholds of 4294967295': kernelSince(6, 12)
    ? refused(server({ upper: 0xffffffff, lower: 0xffffffff }))
    : server(
        { upper: 0xffffffff, lower: 0xffffffff },
        { upperThreshold: 0xffffffff, lowerThreshold: 0xffffffff },
      ),
  'a lower threshold above the upper one': refused(server({ upper: 4, lower: 5 }), 'ERANGE'),
  'a lower threshold without an upper one': refused(server({ lower: 1 }), 'ERANGE'),
  'method local': server({ method: 1 }, { method: 'local' }),
  'method 3 with another port': server({ method: 3, port: 8080 }, { method: 'direct', port: 8080 }),
  'method 4': server({ method: 4 }, { method: 'bypass' }),
  'method 5': server({ method: 5 }, { method: 5 }),
  'method 6': server({ method: 6 }, { method: 6 }),
  'method 7': server({ method: 7 }, { method: 7 }),
  'method 11, which is 3': server({ method: 11 }, { method: 'direct' }),
  'port 0': server({ port: 0 }, { port: 0 }),
  'port 0 of a mark': server({ port: 0 }, { port: 0 }, MARK),
  'the same address with two ports': {
    requests: [service(WEB), dest(WEB, { port: 0 }), dest(WEB, { port: 80 }), dest(WEB, { port: 65535 })],
    saved: { services: [{ realServers: [{ port: 65535 }, { port: 80 }, { port: 0 }] }] },
  },
  'tunnel type 255': server({ method: 2, tunnel: [255, 0, 0] }, { tunnel: { type: 255 } }),
  'everything of a tunnel type without a name': server(
    { method: 2, tunnel: [3, 65535, 65535] },
    { tunnel: { type: 3, port: 65535, checksum: 65535 } },
  ),
  'IP-in-IP with a port and a checksum': server(
    { method: 2, tunnel: [0, 6080, 1] },
    { tunnel: { type: 'ipip', port: 6080, checksum: 'csum' } },
  ),
  'GRE with remote checksum': server(
    { method: 2, tunnel: [2, 0, 2] },
    { tunnel: { type: 'gre', checksum: 'remcsum' } },
  ),
  'GUE with both checksums': server(
    { method: 2, tunnel: [1, 6080, 3] },
    { tunnel: { type: 'gue', port: 6080, checksum: 3 } },
  ),
  'GUE without a port': refused(server({ method: 2, tunnel: [1, 0, 0] })),
  'GUE without a port, and not a tunnel': refused(server({ method: 0, tunnel: [1, 0, 0] })),
  'a tunnel of a masqueraded server': server(
    { method: 0, tunnel: [2, 9, 1] },
    { method: 'masquerade', tunnel: { type: 'gre', port: 9, checksum: 'csum' } },
  ),
  'an IPv6 tunnel of an IPv4 service': server(
    { family: 10, address: V6_SERVER, method: 2 },
    { address: '2001:db8::2', method: 'tunnel' },
  ),
  'an IPv4 tunnel of an IPv6 mark': server(
    { family: 2, method: 2, port: 0 },
    { address: '10.1.0.1', method: 'tunnel' },
    MARK6,
  ),
  'an IPv6 server of an IPv4 service that is not a tunnel': refused(
    server({ family: 10, address: V6_SERVER, method: 3 }),
  ),
  'an IPv6 server of no family in an IPv4 service': server(
    { address: V6_SERVER },
    { address: '32.1.13.184' },
  ),
  'address 240.0.0.1': server({ address: ipv4(1, 240, 0, 0, 1) }, { address: '240.0.0.1' }),
  'address 0.1.2.3': server({ address: ipv4(1, 0, 1, 2, 3) }, { address: '0.1.2.3' }),
  // Timeouts.
  'the longest timeouts of HZ 250': {
    requests: [[setConfig, u32(4, 8589934), u32(5, 8589934), u32(6, 8589934)]],
    saved: { timeouts: { tcpSeconds: 8589934, tcpFinSeconds: 8589934, udpSeconds: 8589934 } },
  },
  'timeouts of 1 s': {
    requests: [[setConfig, u32(4, 1), u32(5, 1), u32(6, 1)]],
    saved: { timeouts: { tcpSeconds: 1, tcpFinSeconds: 1, udpSeconds: 1 } },
  },
  'timeouts of 0, which keep what there is': {
    requests: [[setConfig, u32(4, 0), u32(5, 0), u32(6, 0)]],
    saved: { timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 } },
  },
  // Sync daemons.
  'a sync daemon with id 256': { requests: [daemon(1, 256)], saved: { syncDaemons: [{ syncId: 256 }] } },
  'a backup with id 4294967295': {
    requests: [daemon(2, 0xffffffff)],
    saved: { syncDaemons: [{ state: 'backup', syncId: 0xffffffff }] },
  },
  'both daemons, with ids of the same low byte': {
    requests: [daemon(1, 257), daemon(2, 1)],
    saved: { syncDaemons: [{ syncId: 257 }, { syncId: 1 }] },
  },
  'a master of length 1': {
    requests: [daemon(1, 0, u16(4, 1))],
    saved: { syncDaemons: [{ maxLengthBytes: 1 }] },
  },
  'a backup of length 1, which is 1024': {
    requests: [daemon(2, 0, u16(4, 1))],
    saved: { syncDaemons: [{ maxLengthBytes: 1024 }] },
  },
  'a daemon of length 65535, which is 65507': {
    requests: [daemon(1, 0, u16(4, 65535))],
    saved: { syncDaemons: [{ maxLengthBytes: 65507 }] },
  },
  'a daemon of length 65535 in IPv6, which is 65487': {
    requests: [daemon(1, 0, u16(4, 65535), ipv6(6, 0xff05, 0, 0, 0, 0, 0, 0, 0x51))],
    saved: { syncDaemons: [{ maxLengthBytes: 65487, multicastGroup: 'ff05::51' }] },
  },
  'port and time to live 0, which are 8848 and 1': {
    requests: [daemon(1, 0, u16(7, 0), u8(8, 0))],
    saved: { syncDaemons: [{ multicastPort: 8848, multicastTtl: 1 }] },
  },
  'port 65535 and time to live 255': {
    requests: [daemon(1, 0, u16(7, 65535), u8(8, 255))],
    saved: { syncDaemons: [{ multicastPort: 65535, multicastTtl: 255 }] },
  },
  'group 239.255.255.255': {
    requests: [daemon(1, 0, attr(5, Uint8Array.of(239, 255, 255, 255)))],
    saved: { syncDaemons: [{ multicastGroup: '239.255.255.255' }] },
  },
  'an interface of 15 bytes that are not UTF-8': {
    requests: [daemonOn(...Array<number>(15).fill(0xff))],
    saved: { syncDaemons: [{ multicastInterface: '\uDCFF'.repeat(15) }] },
  },
  'an interface that is partly UTF-8': {
    requests: [daemonOn(0x61, 0xc3, 0xbc, 0xfe)],
    saved: { syncDaemons: [{ multicastInterface: 'a\uDCC3\uDCBC\uDCFE' }] },
  },
  'an interface in UTF-8 with quotes': {
    requests: [daemonOn(0xc3, 0xbc, 0x22, 0x27, 0x23)],
    saved: { syncDaemons: [{ multicastInterface: 'ü"\'#' }] },
  },
  'an interface of control characters': {
    requests: [daemonOn(0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x01, 0x7f)],
    saved: { syncDaemons: [{ multicastInterface: '\u001b[31m\u0001\u007f' }] },
  },
  'a group that is not multicast': {
    requests: [daemon(1, 0, attr(5, Uint8Array.of(240, 0, 0, 1)))],
    answer: 'EINVAL',
  },
}

/** An interface with routes to multicast groups of both families. */
const INTERFACE = [
  'link add d0 type dummy',
  'link set d0 up',
  'addr add 10.9.9.1/24 dev d0',
  'addr add fd00::1/64 dev d0 nodad',
  'route add 224.0.0.0/4 dev d0',
  '-6 route replace ff00::/8 dev d0',
]

/** Those of daemonOn(). */
const ODD_INTERFACES = String.raw`
for name in \
  '\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377' 'a\303\274\376' \
  '\303\274\042\047\043' '\033[31m\001\177'
do
  name=$(printf "$name")
  ip link add "$name" type dummy
  ip link set "$name" up
done`

/** A namespace with an interface, and a way to its kernel past all checks. */
function withRaw(
  body: (raw: { readonly transport: Transport; readonly ipvs: Ipvs; readonly shell: Shell }) => Promise<void>,
): Promise<void> {
  return withNamespace(async (netns) => {
    for (const line of INTERFACE) await netns.run(['ip', ...line.split(' ')])
    await netns.run(['sh', '-ec', ODD_INTERFACES])
    const { path, ipvs } = netns
    const transport = await openNative({ netns: path, timeoutMs: patient(5000) })
    if ('errno' in transport) throw new Error(`errno ${String(transport.errno)}`)
    try {
      await body({ transport, ipvs, shell: netns.shell() })
    } finally {
      await transport.close()
    }
  })
}

/**
 * The bytes of all configuration. Timeout and netmask of a service without
 * persistence are left out, as a state leaves them out: the kernel keeps and
 * reports them, but ip_vs_sched_persist() and ip_vs_new_conn_out() alone use
 * them, and only for services with the flag. Who sets the flag later has to
 * give both anew: SET_SERVICE wants all attributes.
 */
async function configuration(transport: Transport): Promise<string[]> {
  return (await wholeTable(transport)).map((line) => {
    const flags = /^[^{]*\{ 1:\w{4} .*? 7:(\w\w)/.exec(line)?.[1]
    const isPersistent = flags === undefined || (parseInt(flags, 16) & PERSISTENT) !== 0
    return isPersistent ? line : line.replace(/ 8:\w+ 9:\w+/, '')
  })
}

/**
 * What people see of services and real servers: what ipvsadm and /proc/net/ip_vs
 * print. The latter has persistence timeouts in jiffies; of one that has
 * overflown it shows a part of a second, which no message has. ipvsadm prints
 * the seconds. Linux 6.12 runs on an emulated processor, which takes minutes
 * for that many programs: there the bytes have to do.
 */
async function seen(shell: Shell): Promise<string> {
  if (kernelSince(6, 12)) return ''
  const { stdout } = await shell.script('ipvsadm -Sn; ipvsadm -Ln; cat /proc/net/ip_vs')
  return stdout.replaceAll(/ persistent -?\d+ (?=[\dA-F]{8}$)/gm, ' persistent ')
}

/** Empties it, with the timeouts of the beginning. */
async function reset(transport: Transport): Promise<void> {
  await ask(transport, flush)
  await ask(transport, deleteDaemon, nest(3, u32(1, 1)))
  await ask(transport, deleteDaemon, nest(3, u32(1, 2)))
  await ask(transport, setConfig, u32(4, 900), u32(5, 120), u32(6, 300))
}

/** A request as ask() takes it. */
function joined([command, ...attributes]: Case['requests'][number]): readonly [number, Uint8Array] {
  return [command, concat(...attributes)]
}

async function play(
  { transport, ipvs, shell }: { readonly transport: Transport; readonly ipvs: Ipvs; readonly shell: Shell },
  { requests, answer = 'ok', saved }: Case,
): Promise<void> {
  const empty = await configuration(transport)
  let last = ''
  for (const request of requests) last = await ask(transport, ...joined(request))
  expect(last).toBe(answer)
  if (answer !== 'ok') return
  const held = await configuration(transport)
  const shown = await seen(shell)
  for (const { key } of await ipvs.services()) await ipvs.realServers(key)
  await ipvs.syncDaemons()

  const state = await ipvs.save()
  if (saved !== undefined) expect(state).toMatchObject(saved)
  for (const format of ['json', 'yaml'] as const) {
    const written = await formatState(state, { format })
    const read = await parseState(written, { format })
    expect(read).toEqual(state)
    expect((await ipvs.plan(read)).steps).toEqual([])
    await reset(transport)
    expect(await configuration(transport)).toEqual(empty)
    await ipvs.restore(written, { format })
    expect(await configuration(transport)).toEqual(held)
    if (format === 'json') expect(await seen(shell)).toBe(shown)
  }
  // Back from something else, by edits alone.
  const { services } = state
  const other: State = {
    services: services.map(({ realServers, ...service }) => ({
      ...service,
      scheduler: 'lc',
      schedulerFlags: [],
      onePacket: true,
      persistence: {},
      ...(realServers !== undefined && {
        realServers: realServers.map(({ address, port, method }) => ({
          address,
          ...(port !== undefined && { port }),
          ...(method !== undefined && { method }),
          weight: 9,
          upperThreshold: 9,
          lowerThreshold: 3,
          tunnel: { type: 'gue', port: 1 },
        })),
      }),
    })),
  }
  await ipvs.apply(other, { force: true })
  await ipvs.apply(state, { force: true, allow: ['edit-service', 'edit-server'] })
  expect(await configuration(transport)).toEqual(held)
  expect(await seen(shell)).toBe(shown)
}

/** The real servers of datagrams from one client, one after the other, and the templates that they left. */
async function sendFrom(
  shell: Shell,
  count: number,
): Promise<{
  readonly servers: readonly string[]
  readonly templates: number
  readonly seconds: readonly number[]
}> {
  const { stdout } = await shell.script(
    `for port in $(seq 5000 ${String(4999 + count)}); do
      echo x | socat -u - UDP4-SENDTO:10.9.9.1:80,bind=10.9.9.1:$port
    done; ipvsadm -Lnc`,
  )
  const entries = [
    ...stdout.matchAll(/^UDP +(\d+):(\d+) +\S+ +10\.\d+\.\d+\.\d+:(\d+) +\S+ +(\S+):80 *$/gm),
  ].map(([, minutes, seconds, port, server = '']) => ({
    isTemplate: port === '0',
    server,
    seconds: Number(minutes) * 60 + Number(seconds),
  }))
  const connections = entries.filter(({ isTemplate }) => !isTemplate)
  return {
    servers: connections.map(({ server }) => server),
    templates: entries.length - connections.length,
    seconds: connections.map(({ seconds }) => seconds),
  }
}

kernelTests('timeout and netmask of a service', () => {
  const OWN = [u16(1, 2), u16(2, 17), ipv4(3, 10, 9, 9, 1), u16be(4, 80)]
  const SETTINGS = { timeout: 77, netmask: 0xff000000 }

  test.each([
    {
      title: 'with persistence: a template, and one real server',
      flags: PERSISTENT,
      templates: 1,
      servers: 1,
    },
    { title: 'without: none, and both real servers', flags: 0, templates: 0, servers: 2 },
  ])('$title', async ({ flags, templates, servers }) => {
    await withRaw(async ({ transport, shell }) => {
      await ask(transport, ...joined(service(OWN, { ...SETTINGS, flags })))
      for (const last of [2, 3]) {
        await ask(transport, ...joined(dest(OWN, { address: ipv4(1, 10, 9, 9, last), method: 3 })))
      }
      const sent = await sendFrom(shell, 4)
      expect(sent.servers).toHaveLength(4)
      expect(sent.templates).toBe(templates)
      expect(new Set(sent.servers).size).toBe(servers)
      // Those of UDP, not of persistence.
      for (const seconds of sent.seconds) expect(seconds).toBeGreaterThan(77)
    })
  })
})

kernelTests('what the kernel holds', () => {
  test('is saved, planned and restored to the same bytes, whatever it is', () =>
    withRaw(async (raw) => {
      const outcomes: Record<string, string> = {}
      for (const [name, one] of Object.entries(CASES)) {
        await reset(raw.transport)
        try {
          await play(raw, one)
          outcomes[name] = 'as it should be'
        } catch (error) {
          outcomes[name] = (error as Error).message
        }
      }
      const expected = Object.fromEntries(Object.keys(CASES).map((name) => [name, 'as it should be']))
      expect(outcomes).toEqual(expected)
    }))
})
