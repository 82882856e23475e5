import { canonicalAddress, canonicalServiceKey } from '../model/address.ts'
import { DEFAULT_SCHEDULER } from '../model/defaults.ts'
import { endpointName } from '../model/keys.ts'
import { printable } from '../model/printable.ts'
import { completeServer } from '../model/server-settings.ts'
import { completeService } from '../model/service-settings.ts'
import type {
  RealServerSpec,
  ServiceSettings,
  State,
  StateService,
  SyncDaemonSpec,
  Tunnel,
} from '../model/types.ts'
import { formatStatePath, type StatePath } from '../state/path.ts'
import { slices } from '../util/pace.ts'
import { Pieces } from '../util/pieces.ts'
import { markWords, methodOption, NO_OPTION, PROTOCOL_OPTIONS, serverLine, serviceLine } from './lines.ts'
import { INT_MAX, isTunnelType, MAX_SECONDS, SCHEDULER_FLAGS, tunnelTakes } from './options.ts'

/** Part of a state that lines of ipvsadm cannot say. */
export interface StateLoss {
  /** Where in the state, such as `services[3].realServers[0].method`. */
  readonly path: string
  /** What cannot be said, and what the lines say instead. */
  readonly reason: string
}

/**
 * Writes a state as `ipvsadm -Sn` prints it, in the order of the state: byte
 * for byte where that can say it. Thresholds, timeouts and sync daemons, which
 * `ipvsadm -S` leaves out, are written as `ipvsadm -R` takes them, and marks
 * from 2^31 on as positive numbers, which it takes too. That a director has no
 * sync daemons cannot be said in a line, but is not a loss: lines never say
 * what is absent.
 */
export async function formatLines(
  state: State,
  lose: (loss: StateLoss) => void,
  signal: AbortSignal | undefined,
): Promise<string> {
  const writer = new StateWriter(lose)
  if (state.services === undefined) {
    writer.loseAt(
      ['services'],
      'ipvsadm lines always describe all services, and this state has no `services`: none are written',
    )
  }
  let index = 0
  for await (const some of slices(state.services ?? [], signal)) {
    for (const service of some) {
      const path = ['services', index]
      index += 1
      const name = writer.service(service, path)
      if (name === undefined) continue
      const written = new Map<string, number>()
      let at = 0
      for await (const few of slices(service.realServers ?? [], signal)) {
        for (const server of few) {
          writer.server(server, service, name, [...path, 'realServers', at], written)
          at += 1
        }
      }
    }
  }
  writer.timeouts(state.timeouts)
  writer.daemons(state.syncDaemons)
  for (const name of Object.keys(state.sysctls ?? {})) {
    writer.loseAt(['sysctls', name], 'there is no line for a sysctl: it is left out')
  }
  return writer.text()
}

/** Writes lines that can be read back. What has no option is lost, and the nearest that has one is written. */
class StateWriter {
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

  /** Writes the -A line, and gives the options that name the service in it; undefined if it was left out. */
  service(service: StateService, path: StatePath): string | undefined {
    const name = this.#serviceName(service, path)
    if (name === undefined) return undefined
    const { scheduler = DEFAULT_SCHEDULER } = service
    if (!isWord(scheduler)) {
      this.loseAt([...path, 'scheduler'], `'${scheduler}' is not one word: the service is left out`)
      return undefined
    }
    const complete = completeService(canonicalServiceKey(service), service)
    const persistence = this.#persistence(complete.persistence, [...path, 'persistence'])
    let { persistenceEngine, onePacket } = complete
    if (persistenceEngine !== undefined && !isWord(persistenceEngine)) {
      this.loseAt([...path, 'persistenceEngine'], `'${persistenceEngine}' is not one word: it is left out`)
      persistenceEngine = undefined
    }
    if (onePacket === true && !['udp', 17, 'fwmark'].includes(service.protocol)) {
      this.loseAt([...path, 'onePacket'], '-o is only for UDP and firewall marks: it is left out')
      onePacket = false
    }
    const { schedulerFlags = [] } = complete
    const unnamed = schedulerFlags.find((flag) => !SCHEDULER_FLAGS.has(flag))
    if (unnamed !== undefined) {
      this.loseAt(
        [...path, 'schedulerFlags'],
        `there is no option for the flags ${String(unnamed)}: they are left out`,
      )
    }
    this.#add(
      serviceLine(name, {
        scheduler,
        schedulerFlags,
        ...(persistence !== undefined && { persistence }),
        ...(persistenceEngine !== undefined && { persistenceEngine }),
        onePacket: onePacket === true,
      }),
    )
    return name
  }

  #persistence(persistence: ServiceSettings['persistence'], path: StatePath): ServiceSettings['persistence'] {
    if (persistence === undefined) return undefined
    const { timeoutSeconds = 0 } = persistence
    const seconds = Math.min(Math.max(timeoutSeconds, 1), MAX_SECONDS)
    if (seconds !== timeoutSeconds) {
      this.loseAt(
        [...path, 'timeoutSeconds'],
        `-p takes 1 to ${String(MAX_SECONDS)} seconds, not ${String(timeoutSeconds)}: ${String(seconds)} is written`,
      )
    }
    return { ...persistence, timeoutSeconds: seconds }
  }

  /** Writes the -a line. `written` has the endpoints that the service has so far, and the index of each. */
  server(
    server: RealServerSpec,
    service: StateService,
    name: string,
    path: StatePath,
    written: Map<string, number>,
  ): void {
    const servicePort = service.protocol === 'fwmark' ? 0 : service.port
    const { port = servicePort } = server
    const address = canonicalAddress(server.address)
    const complete = completeServer({ address, port }, server)
    // With -g and -i ipvsadm takes the port of the service, whatever a line says.
    const ownPort = complete.method === 'masquerade' || service.protocol === 'fwmark'
    const endpoint = endpointName(address, ownPort ? port : servicePort)
    const first = written.get(endpoint)
    if (first !== undefined) {
      this.loseAt(
        path,
        `a line can only say ${endpoint}, the same as realServers[${String(first)}] of this service: it is left out`,
      )
      return
    }
    written.set(endpoint, Number(path.at(-1)))
    let { method } = complete
    if (method === 'local' || methodOption(method) === NO_OPTION) {
      this.loseAt([...path, 'method'], `there is no option for ${JSON.stringify(method)}: -g is written`)
      method = 'direct'
    }
    if (!ownPort && port !== servicePort) {
      this.loseAt(
        [...path, 'port'],
        `with ${methodOption(method)} ipvsadm takes the port of the service, not ${String(port)}: ${String(servicePort)} is written`,
      )
    }
    const tunnel = this.#tunnel(complete.tunnel, method === 'tunnel' ? undefined : method, [
      ...path,
      'tunnel',
    ])
    const { weight } = complete
    const upperThreshold = this.#threshold('-x', complete.upperThreshold, [...path, 'upperThreshold'])
    const lowerThreshold = this.#threshold('-y', complete.lowerThreshold, [...path, 'lowerThreshold'])
    this.#add(
      serverLine(name, endpoint, {
        ...(method !== undefined && { method }),
        weight,
        upperThreshold,
        lowerThreshold,
        ...(tunnel !== undefined && { tunnel }),
      }),
    )
  }

  #threshold(option: string, threshold = 0, path: StatePath): number {
    if (threshold <= INT_MAX) return threshold
    const most = String(INT_MAX)
    this.loseAt(path, `${option} takes up to ${most}, not ${String(threshold)}: ${most} is written`)
    return INT_MAX
  }

  timeouts(timeouts: State['timeouts']): void {
    if (timeouts === undefined) return
    const words = (['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'] as const).map((name) => {
      // 0 keeps the present value.
      const seconds = timeouts[name] ?? 0
      if (seconds <= MAX_SECONDS) return String(seconds)
      this.loseAt(
        ['timeouts', name],
        `--set takes up to ${String(MAX_SECONDS)} seconds, not ${String(seconds)}: ${String(MAX_SECONDS)} is written`,
      )
      return String(MAX_SECONDS)
    })
    this.#add(`--set ${words.join(' ')}`)
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
      // Only the lower eight bits are sent.
      const sent = syncId & 255
      if (sent !== syncId) {
        this.loseAt(
          ['syncDaemons', index, 'syncId'],
          `--syncid takes 0 to 255, not ${String(syncId)}: ${String(sent)} is written, which is the same on the wire`,
        )
      }
      let line = `--start-daemon ${state} --mcast-interface ${multicastInterface} --syncid ${String(sent)}`
      if (daemon.maxLengthBytes !== undefined) line += ` --sync-maxlen ${String(daemon.maxLengthBytes)}`
      if (daemon.multicastGroup !== undefined)
        line += ` --mcast-group ${canonicalAddress(daemon.multicastGroup)}`
      if (daemon.multicastPort !== undefined) line += ` --mcast-port ${String(daemon.multicastPort)}`
      if (daemon.multicastTtl !== undefined) line += ` --mcast-ttl ${String(daemon.multicastTtl)}`
      this.#add(line)
    }
  }

  #add(line: string): void {
    this.#out.add(`${line}\n`)
  }

  #serviceName(service: StateService, path: StatePath): string | undefined {
    if (service.protocol === 'fwmark') return markWords(service.fwmark, service.family)
    const option = PROTOCOL_OPTIONS[service.protocol]
    if (option === undefined) {
      this.loseAt(
        [...path, 'protocol'],
        `there is no option for IP protocol ${String(service.protocol)}: the service is left out`,
      )
      return undefined
    }
    if (service.port === 0 && service.persistence === undefined) {
      this.loseAt([...path, 'port'], 'port 0 needs -p, and the service has no persistence: it is left out')
      return undefined
    }
    return `${option} ${endpointName(canonicalAddress(service.address), service.port)}`
  }

  /** The nearest tunnel that has options; `unused` is the method if it is not -i. */
  #tunnel(tunnel: Tunnel | undefined, unused: RealServerSpec['method'], path: StatePath): Tunnel | undefined {
    if (tunnel === undefined) return undefined
    if (unused !== undefined) {
      this.loseAt(path, `${methodOption(unused)} takes no tunnel: it is left out`)
      return undefined
    }
    const { type, port, checksum = 'none' } = tunnel
    if (!isTunnelType(type)) {
      this.loseAt([...path, 'type'], `there is no option for tunnel type ${String(type)}: ipip is written`)
      return { type: 'ipip' }
    }
    if (port !== undefined && !tunnelTakes(type, 'tun-port')) {
      this.loseAt([...path, 'port'], `tunnel type ${type} takes no --tun-port: it is left out`)
    }
    const option =
      typeof checksum === 'string' && checksum !== 'none' ? (`tun-${checksum}` as const) : undefined
    if (checksum === 'none' || (option !== undefined && tunnelTakes(type, option))) return tunnel
    this.loseAt(
      [...path, 'checksum'],
      `tunnel type ${type} has no option for checksum ${JSON.stringify(checksum)}: it is left out`,
    )
    return { type, ...(port !== undefined && { port }) }
  }
}

/**
 * Whether a text stays one word: for ipvsadm, which knows no quotes, for our own
 * reader, which does, in a file, which is UTF-8, and on a terminal.
 */
function isWord(text: string): boolean {
  return /^[^\s"'#][^\s"']*$/.test(text) && printable(text) === text
}
