import { canonicalAddress, canonicalServiceKey, portOfService } from '../model/address.ts'
import { definedOf } from '../model/check.ts'
import { DEFAULT_METHOD, DEFAULT_SCHEDULER } from '../model/defaults.ts'
import { endpointName } from '../model/keys.ts'
import { printable } from '../model/printable.ts'
import type { Range } from '../model/ranges.ts'
import { completeServer, IPIP } from '../model/server-settings.ts'
import { completeService } from '../model/service-settings.ts'
import type {
  ForwardingMethod,
  RealServerSpec,
  ServiceSettings,
  State,
  StateService,
  SyncDaemonSpec,
  Tunnel,
} from '../model/types.ts'
import { needsPersistence } from '../model/validate.ts'
import { formatStatePath, type StatePath } from '../state/path.ts'
import { slices } from '../util/pace.ts'
import { Pieces } from '../util/pieces.ts'
import { markWords, methodOption, NO_OPTION, protocolOption, serverLine, serviceLine } from './lines.ts'
import { DAEMON_OPTIONS, isTunnelType, optionFor, RANGES, tunnelTakes } from './options.ts'
import { serverPort, takesOnePacket, TIMEOUT_ORDER } from './rules.ts'

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
  for (const name of Object.keys(definedOf(state.sysctls ?? {}))) {
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
    if (onePacket === true && !takesOnePacket(service.protocol)) {
      this.loseAt([...path, 'onePacket'], '-o is only for UDP and firewall marks: it is left out')
      onePacket = false
    }
    const { schedulerFlags = [] } = complete
    const unnamed = schedulerFlags.find((flag) => typeof flag === 'number')
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
    const [least, most] = RANGES.persistent
    const seconds = Math.min(Math.max(timeoutSeconds, least), most)
    if (seconds !== timeoutSeconds) {
      this.loseAt(
        [...path, 'timeoutSeconds'],
        `-p takes ${String(least)} to ${String(most)} seconds, not ${String(timeoutSeconds)}: ${String(seconds)} is written`,
      )
    }
    return { ...persistence, timeoutSeconds: seconds }
  }

  /** Writes the -a line. `before` has the endpoints that the service has so far, and the index of each. */
  server(
    server: RealServerSpec,
    service: StateService,
    name: string,
    path: StatePath,
    before: Map<string, number>,
  ): void {
    const { port = portOfService(service) } = server
    const address = canonicalAddress(server.address)
    const complete = completeServer({ address, port }, server)
    let { method = DEFAULT_METHOD } = complete
    const linePort = serverPort(service, method, port)
    const endpoint = endpointName(address, linePort)
    const first = before.get(endpoint)
    if (first !== undefined) {
      this.loseAt(
        path,
        `a line can only say ${endpoint}, the same as realServers[${String(first)}] of this service: it is left out`,
      )
      return
    }
    before.set(endpoint, Number(path.at(-1)))
    if (method === 'local' || methodOption(method) === NO_OPTION) {
      this.loseAt([...path, 'method'], `there is no option for ${JSON.stringify(method)}: -g is written`)
      method = 'direct'
    }
    if (port !== linePort) {
      this.loseAt(
        [...path, 'port'],
        `with ${methodOption(method)} ipvsadm takes the port of the service, not ${String(port)}: ${String(linePort)} is written`,
      )
    }
    const tunnel = this.#tunnel(complete.tunnel, method, [...path, 'tunnel'])
    const { weight } = complete
    const upperThreshold = this.#atMost(RANGES['u-threshold'], complete.upperThreshold, '-x', [
      ...path,
      'upperThreshold',
    ])
    const lowerThreshold = this.#atMost(RANGES['l-threshold'], complete.lowerThreshold, '-y', [
      ...path,
      'lowerThreshold',
    ])
    this.#add(
      serverLine(name, endpoint, {
        method,
        weight,
        upperThreshold,
        lowerThreshold,
        ...(tunnel !== undefined && { tunnel }),
      }),
    )
  }

  /** A number, or the largest that an option takes. */
  #atMost([, most]: Range, number = 0, option: string, path: StatePath, unit = ''): number {
    if (number <= most) return number
    this.loseAt(
      path,
      `${option} takes up to ${String(most)}${unit}, not ${String(number)}: ${String(most)} is written`,
    )
    return most
  }

  timeouts(timeouts: State['timeouts']): void {
    if (timeouts === undefined) return
    const words = TIMEOUT_ORDER.map((name) =>
      // 0 keeps the present value.
      String(this.#atMost(RANGES.set, timeouts[name], '--set', ['timeouts', name], ' seconds')),
    )
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
      const [least, most] = RANGES.syncid
      const sent = syncId & most
      if (sent !== syncId) {
        this.loseAt(
          ['syncDaemons', index, 'syncId'],
          `--syncid takes ${String(least)} to ${String(most)}, not ${String(syncId)}: ${String(sent)} is written, which is the same on the wire`,
        )
      }
      const group = daemon.multicastGroup
      const fields = {
        ...daemon,
        syncId: sent,
        ...(group !== undefined && { multicastGroup: canonicalAddress(group) }),
      }
      let line = `--start-daemon ${state}`
      for (const [option, field] of Object.entries(DAEMON_OPTIONS)) {
        const value = fields[field]
        if (value !== undefined) line += ` --${option} ${String(value)}`
      }
      this.#add(line)
    }
  }

  #add(line: string): void {
    this.#out.add(`${line}\n`)
  }

  #serviceName(service: StateService, path: StatePath): string | undefined {
    if (service.protocol === 'fwmark') return markWords(service.fwmark, service.family)
    const option = protocolOption(service.protocol)
    if (option === undefined) {
      this.loseAt(
        [...path, 'protocol'],
        `there is no option for IP protocol ${String(service.protocol)}: the service is left out`,
      )
      return undefined
    }
    if (needsPersistence(service) && service.persistence === undefined) {
      this.loseAt([...path, 'port'], 'port 0 needs -p, and the service has no persistence: it is left out')
      return undefined
    }
    return `${option} ${endpointName(canonicalAddress(service.address), service.port)}`
  }

  /** The nearest tunnel that has options. */
  #tunnel(tunnel: Tunnel | undefined, method: ForwardingMethod, path: StatePath): Tunnel | undefined {
    if (tunnel === undefined) return undefined
    if (method !== 'tunnel') {
      this.loseAt(path, `${methodOption(method)} takes no tunnel: it is left out`)
      return undefined
    }
    const { type, port, checksum = 'none' } = tunnel
    if (!isTunnelType(type)) {
      this.loseAt([...path, 'type'], `there is no option for tunnel type ${String(type)}: ipip is written`)
      return IPIP
    }
    if (port !== undefined && !tunnelTakes(type, 'tun-port')) {
      this.loseAt([...path, 'port'], `tunnel type ${type} takes no --tun-port: it is left out`)
    }
    const key = optionFor('checksum', checksum)?.key
    if (checksum === 'none' || (key !== undefined && tunnelTakes(type, key))) return tunnel
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
