import {
  formatEndpoint,
  formatServiceKey,
  type Ipvs,
  type Endpoint,
  type RealServerSpec,
  type ServiceKey,
  type State,
  type StateService,
} from '../index.ts'
import { applyTarget, type Target } from './commands/apply.ts'
import { NotFound } from './exit-status.ts'
import {
  commandFor,
  describeEntry,
  type HistoryEntry,
  historyError,
  isOfNamespace,
  openHistory,
} from './history.ts'
import type { CommonOptions, Run } from './run.ts'
import { line } from './terminal/line.ts'

/** The way back from a drain: the server becomes what the history says that it was. */

/** How the history names a server that is drained. */
export function drainName(service: ServiceKey, server: Endpoint): string {
  return `${formatServiceKey(service)} -> ${formatEndpoint(server)}`
}

export function undoDrain(
  run: Run,
  options: CommonOptions,
  key: ServiceKey,
  server: Endpoint,
): Promise<number> {
  // All other services and real servers stay as they are.
  return applyTarget(run, { ...options, prune: false }, async (ipvs) => {
    const before = await serverBefore(run, key, server)
    if (before === undefined) throw notKnown(run, key, server, await serviceNow(ipvs, key))
    const again = async (): Promise<State> => {
      const now = await serviceNow(ipvs, key)
      if (now === undefined) throw serviceGone(run, key, before.number)
      return { services: [withServer(now, before.server)] }
    }
    const state = await again()
    if (!run.json) run.note(line`back to what it was before: ${describeEntry(before.entry)}`)
    return { state, file: 'the history', again } satisfies Target
  })
}

interface Before {
  readonly entry: HistoryEntry
  readonly number: number
  readonly server: RealServerSpec
}

/**
 * The server before its newest drain. One that had weight 0 already was drained
 * before that, and is wanted as it was then.
 */
async function serverBefore(
  run: Run,
  key: ServiceKey,
  { address, port }: Endpoint,
): Promise<Before | undefined> {
  const { history, files } = await openHistory(run)
  const name = drainName(key, { address, port })
  let newest: Before | undefined
  for (const [index, file] of files.entries()) {
    const entry = await history.read(file).catch((error: unknown) => {
      run.note(line`${(historyError(error) as Error).message}`)
      return undefined
    })
    if (entry?.drained !== name || !isOfNamespace(entry, history.place)) continue
    const server = serviceIn(entry.state.services, key)?.realServers?.find((one) =>
      isOf(one, { address, port }),
    )
    if (server === undefined) continue
    const found = { entry, number: index + 1, server }
    if (server.weight !== 0) return found
    newest ??= found
  }
  return newest
}

function serviceIn(services: readonly StateService[], key: ServiceKey): StateService | undefined {
  const name = formatServiceKey(key)
  return services.find((service) => formatServiceKey(service) === name)
}

function isOf(one: RealServerSpec, other: Endpoint): boolean {
  return one.address === other.address && one.port === other.port
}

async function serviceNow(ipvs: Ipvs, key: ServiceKey): Promise<StateService | undefined> {
  const { services } = await ipvs.save({ scope: { services: [key] } })
  return serviceIn(services, key)
}

/** The service with a server as it was; of one that is there, only the weight. */
function withServer(service: StateService, before: RealServerSpec): StateService {
  const { realServers = [] } = service
  const { address, port = 0 } = before
  const found = realServers.findIndex((one) => isOf(one, { address, port }))
  const all =
    found === -1
      ? // Where the kernel puts it: before the others.
        [before, ...realServers]
      : realServers.map((one, at) => (at === found ? { ...one, weight: before.weight ?? 1 } : one))
  return { ...service, realServers: all }
}

function notKnown(run: Run, key: ServiceKey, server: Endpoint, service: StateService | undefined): NotFound {
  const place = [formatServiceKey(key), formatEndpoint(server)]
  const there = service?.realServers?.some((one) => isOf(one, server)) === true
  const method = service?.realServers?.[0]?.method
  const add = commandFor(
    run,
    'add',
    ...place,
    ...(method === undefined ? [] : [`method=${String(method)}`]),
    'weight=1',
  )
  const commands = there
    ? commandFor(run, 'weight', ...place, '1')
    : service === undefined
      ? `${commandFor(run, 'add', formatServiceKey(key))}, then ${add}`
      : add
  return new NotFound(
    `the history of this table has no drain of ${drainName(key, server)}. To bring it back: ${commands}`,
  )
}

function serviceGone(run: Run, key: ServiceKey, number: number): NotFound {
  return new NotFound(
    `the service ${formatServiceKey(key)} no longer exists. To bring back the whole table from before the drain: ${commandFor(run, 'undo', String(number))}`,
  )
}
