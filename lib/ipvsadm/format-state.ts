import { canonicalAddress, familyOfService, formatIPv4 } from '../model/address.ts'
import { endpointName } from '../model/keys.ts'
import type {
  RealServerSpec,
  SchedulerFlag,
  State,
  StateService,
  SyncDaemonSpec,
  Tunnel,
} from '../model/types.ts'
import { formatStatePath, type StatePath } from '../state/check.ts'
import type { Pace } from '../util/pace.ts'
import { Pieces } from '../util/pieces.ts'

/** Something of a state that lines of ipvsadm cannot say. */
export interface StateLoss {
  /** Where in the state, such as `services[3].realServers[0].method`. */
  readonly path: string
  /** What cannot be said, and what stands in the lines instead. */
  readonly reason: string
}

/** ipvsadm takes up to 31 days. */
const MAX_TIMEOUT_SECONDS = 31 * 24 * 3600

/**
 * Writes a state as `ipvsadm -Sn` prints it, in the order of the state: byte
 * for byte where that can say it. Thresholds, timeouts and sync daemons, which
 * `ipvsadm -S` leaves out, are written as `ipvsadm -R` takes them, and marks
 * from 2^31 on as positive numbers, which it takes too. A director without sync
 * daemons has no line that says so: that is no loss, as lines never say what is not.
 */
export async function formatLines(
  state: State,
  lose: (loss: StateLoss) => void,
  pace: Pace,
): Promise<string> {
  const writer = new LineWriter(lose)
  for (const [index, service] of state.services.entries()) {
    const path = ['services', index]
    const key = writer.service(service, path)
    if (pace.due()) await pace.rest()
    if (key === undefined) continue
    const written = new Map<string, number>()
    for (const [at, server] of (service.realServers ?? []).entries()) {
      writer.server(server, service, key, [...path, 'realServers', at], written)
      if (pace.due()) await pace.rest()
    }
  }
  writer.timeouts(state.timeouts)
  writer.daemons(state.syncDaemons)
  for (const name of Object.keys(state.sysctls ?? {})) {
    writer.loseAt(['sysctls', name], 'there is no line for a sysctl: it is left out')
  }
  return writer.text()
}

class LineWriter {
  readonly #lose: (loss: StateLoss) => void
  readonly #out = new Pieces()

  constructor(lose: (loss: StateLoss) => void) {
    this.#lose = lose
  }

  text(): string {
    return this.#out.text()
  }

  loseAt(path: StatePath, reason: string): void {
    this.#lose({ path: formatStatePath(path), reason })
  }

  /** Writes the -A line, and gives how the service is named in those of its servers; undefined if it has no name there. */
  service(service: StateService, path: StatePath): string | undefined {
    const key = this.#serviceKey(service, path)
    if (key === undefined) return undefined
    const scheduler = service.scheduler ?? 'wlc'
    if (!isWord(scheduler)) {
      this.loseAt([...path, 'scheduler'], `'${scheduler}' is not one word: the service is left out`)
      return undefined
    }
    let line = `-A ${key} -s ${scheduler}`
    const { persistence, persistenceEngine } = service
    if (persistence !== undefined) {
      const { timeoutSeconds = 300, netmask } = persistence
      const seconds = Math.min(Math.max(timeoutSeconds, 1), MAX_TIMEOUT_SECONDS)
      if (seconds !== timeoutSeconds) {
        this.loseAt(
          [...path, 'persistence', 'timeoutSeconds'],
          `-p takes 1 to ${String(MAX_TIMEOUT_SECONDS)} seconds, not ${String(timeoutSeconds)}: ${String(seconds)} is written`,
        )
      }
      line += ` -p ${String(seconds)}`
      const mask = netmaskText(netmask, familyOfService(service))
      if (mask !== undefined) line += ` -M ${mask}`
    }
    if (persistenceEngine !== undefined) {
      if (isWord(persistenceEngine)) line += ` --pe ${persistenceEngine}`
      else
        this.loseAt([...path, 'persistenceEngine'], `'${persistenceEngine}' is not one word: it is left out`)
    }
    if (service.onePacket === true) {
      if (['udp', 17, 'fwmark'].includes(service.protocol)) line += ' -o'
      else this.loseAt([...path, 'onePacket'], '-o is for UDP and firewall marks alone: it is left out')
    }
    const flags = flagNames(service.schedulerFlags ?? [], scheduler)
    if (flags.length > 0) line += ` -b ${flags.join(',')}`
    this.#out.add(`${line}\n`)
    return key
  }

  /** Writes the -a line. `written` says which endpoints the service has so far, and whose they are. */
  server(
    server: RealServerSpec,
    service: StateService,
    key: string,
    path: StatePath,
    written: Map<string, number>,
  ): void {
    const { address, method = 'direct', weight = 1, upperThreshold = 0, lowerThreshold = 0 } = server
    const servicePort = service.protocol === 'fwmark' ? 0 : service.port
    const { port = servicePort } = server
    // What is not rewritten has the port of the service, whatever a line says.
    const ownPort = method === 'masquerade' || service.protocol === 'fwmark'
    const endpoint = endpointName(canonicalAddress(address), ownPort ? port : servicePort)
    const first = written.get(endpoint)
    if (first !== undefined) {
      this.loseAt(
        path,
        `in lines it is ${endpoint}, as realServers[${String(first)}] of the same service is: it is left out`,
      )
      return
    }
    written.set(endpoint, Number(path.at(-1)))
    let letter = '-g'
    if (method === 'masquerade') letter = '-m'
    else if (method === 'tunnel') letter = '-i'
    else if (method !== 'direct') {
      this.loseAt(
        [...path, 'method'],
        `there is no option for ${JSON.stringify(method)}: -g is written, as ipvsadm does`,
      )
    }
    if (!ownPort && port !== servicePort) {
      this.loseAt(
        [...path, 'port'],
        `with ${letter} ipvsadm takes the port of the service, not ${String(port)}: ${String(servicePort)} is written`,
      )
    }
    let line = `-a ${key} -r ${endpoint} ${letter} -w ${String(weight)}`
    if (method === 'tunnel') line += this.#tunnel(server.tunnel ?? { type: 'ipip' }, [...path, 'tunnel'])
    else if (server.tunnel !== undefined && !isPlain(server.tunnel)) {
      this.loseAt([...path, 'tunnel'], `${letter} takes no tunnel: it is left out`)
    }
    if (upperThreshold !== 0) line += ` -x ${String(upperThreshold)}`
    if (lowerThreshold !== 0) line += ` -y ${String(lowerThreshold)}`
    this.#out.add(`${line}\n`)
  }

  timeouts(timeouts: State['timeouts']): void {
    if (timeouts === undefined) return
    const words = (['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const).map((name) => {
      // 0 keeps what there is.
      const seconds = timeouts[name] ?? 0
      if (seconds <= MAX_TIMEOUT_SECONDS) return String(seconds)
      this.loseAt(
        ['timeouts', name],
        `--set takes up to ${String(MAX_TIMEOUT_SECONDS)} seconds, not ${String(seconds)}: that is written`,
      )
      return String(MAX_TIMEOUT_SECONDS)
    })
    this.#out.add(`--set ${words.join(' ')}\n`)
  }

  daemons(daemons: readonly SyncDaemonSpec[] | undefined): void {
    for (const [index, daemon] of (daemons ?? []).entries()) {
      const { state, multicastInterface, syncId = 0 } = daemon
      if (!isWord(multicastInterface)) {
        this.loseAt(
          ['syncDaemons', index, 'multicastInterface'],
          `'${multicastInterface}' is not one word: the daemon is left out`,
        )
        continue
      }
      let line = `--start-daemon ${state} --mcast-interface ${multicastInterface} --syncid ${String(syncId)}`
      if (daemon.maxLengthBytes !== undefined) line += ` --sync-maxlen ${String(daemon.maxLengthBytes)}`
      if (daemon.multicastGroup !== undefined)
        line += ` --mcast-group ${canonicalAddress(daemon.multicastGroup)}`
      if (daemon.multicastPort !== undefined) line += ` --mcast-port ${String(daemon.multicastPort)}`
      if (daemon.multicastTtl !== undefined) line += ` --mcast-ttl ${String(daemon.multicastTtl)}`
      this.#out.add(`${line}\n`)
    }
  }

  #serviceKey(service: StateService, path: StatePath): string | undefined {
    if (service.protocol === 'fwmark') {
      return `-f ${String(service.fwmark)}${service.family === 'ipv6' ? ' -6' : ''}`
    }
    const option = SERVICE_OPTIONS[service.protocol]
    if (option === undefined) {
      this.loseAt(
        [...path, 'protocol'],
        `there is no option for IP protocol ${String(service.protocol)}: the service is left out`,
      )
      return undefined
    }
    return `${option} ${endpointName(canonicalAddress(service.address), service.port)}`
  }

  #tunnel({ type, port = 0, checksum = 'none' }: Tunnel, path: StatePath): string {
    const kind = TUNNEL_TYPES[type]
    if (kind === undefined) {
      this.loseAt([...path, 'type'], `there is no option for tunnel type ${String(type)}: ipip is written`)
      return ' --tun-type ipip'
    }
    let text = ` --tun-type ${kind.name}`
    if (kind.port) text += ` --tun-port ${String(port)}`
    else if (port !== 0)
      this.loseAt([...path, 'port'], `tunnel type ${kind.name} takes no --tun-port: it is left out`)
    const option = CHECKSUM_OPTIONS[checksum]
    if (option !== undefined && kind.checksums.includes(option)) return `${text} ${option}`
    if (option !== '--tun-nocsum') {
      this.loseAt(
        [...path, 'checksum'],
        `tunnel type ${kind.name} has no option for checksum ${JSON.stringify(checksum)}: it is left out`,
      )
    }
    return kind.checksums.length === 0 ? text : `${text} --tun-nocsum`
  }
}

const SERVICE_OPTIONS: Readonly<Record<string, string | undefined>> = {
  tcp: '-t',
  udp: '-u',
  sctp: '--sctp-service',
  6: '-t',
  17: '-u',
  132: '--sctp-service',
}

const IPIP = { name: 'ipip', port: false, checksums: [] as string[] }
const GUE = { name: 'gue', port: true, checksums: ['--tun-nocsum', '--tun-csum', '--tun-remcsum'] }
const GRE = { name: 'gre', port: false, checksums: ['--tun-nocsum', '--tun-csum'] }

/** By name, and by the number in the kernel that reads back as the name. */
const TUNNEL_TYPES: Readonly<Record<string | number, typeof IPIP | undefined>> = {
  ipip: IPIP,
  0: IPIP,
  gue: GUE,
  1: GUE,
  gre: GRE,
  2: GRE,
}

const CHECKSUM_OPTIONS: Readonly<Record<string | number, string | undefined>> = {
  none: '--tun-nocsum',
  0: '--tun-nocsum',
  csum: '--tun-csum',
  1: '--tun-csum',
  remcsum: '--tun-remcsum',
  2: '--tun-remcsum',
}

/** Plain IP-in-IP, which a server has that says nothing of a tunnel. */
function isPlain({ type, port = 0, checksum = 'none' }: Tunnel): boolean {
  return (type === 'ipip' || type === 0) && port === 0 && (checksum === 'none' || checksum === 0)
}

/** What stays one word for ipvsadm, which knows no quotes, and for this reader, which does. */
function isWord(text: string): boolean {
  return /^[^\s"'#][^\s"']*$/.test(text)
}

/** The mask if it is not that of a single host, which is ipvsadm's default. */
function netmaskText(netmask: string | number | undefined, family: 'ipv4' | 'ipv6'): string | undefined {
  if (netmask === undefined) return undefined
  if (family === 'ipv6') return netmask === 128 ? undefined : String(netmask)
  const text =
    typeof netmask === 'string' ? netmask : formatIPv4(netmask === 0 ? 0 : (-1 << (32 - netmask)) >>> 0)
  return text === '255.255.255.255' ? undefined : text
}

/** Names as ipvsadm prints them: those of sh and mh have two of their own. */
function flagNames(flags: readonly SchedulerFlag[], scheduler: string): string[] {
  const own = scheduler === 'sh' || scheduler === 'mh' ? scheduler : undefined
  const has = (...names: SchedulerFlag[]): boolean => names.some((name) => flags.includes(name))
  const names: string[] = []
  if (has('flag-1', 'sh-fallback', 'mh-fallback'))
    names.push(own === undefined ? 'flag-1' : `${own}-fallback`)
  if (has('flag-2', 'sh-port', 'mh-port')) names.push(own === undefined ? 'flag-2' : `${own}-port`)
  if (has('flag-3')) names.push('flag-3')
  return names
}
