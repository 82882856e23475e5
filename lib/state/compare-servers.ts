import { familyOfAddress } from '../model/address.ts'
import { endpointId } from '../model/keys.ts'
import type { CompleteServer } from '../model/server-settings.ts'
import type { Endpoint } from '../model/types.ts'
import { forEachOf } from '../util/pace.ts'
import { sameServer } from './equal.ts'
import type { Comparison } from './goal.ts'
import { pairs } from './pairs.ts'
import { addition, type Step } from './steps.ts'
import type { Entry } from './table.ts'

/** How the real servers of a service differ from those that are wanted. */
interface ServerDifferences {
  readonly steps: readonly Step[]
  /** Whether the service has a server with a weight above 0, and would have none. */
  readonly starved: boolean
  /** Whether they will be the wanted ones, but in another order. */
  readonly reordered: boolean
}

/** Compares the real servers of a service that is there with those of the one that is wanted. */
export async function compareServers(
  now: Entry,
  wanted: Entry,
  { prune, keepWeights }: Comparison,
): Promise<ServerDifferences> {
  const { key: service } = wanted
  const steps: Step[] = []
  let live = 0
  const withWeight = (before: CompleteServer, server: CompleteServer): CompleteServer =>
    keepWeights && server.weight !== before.weight ? { ...server, weight: before.weight } : server
  const edit = (before: CompleteServer, server: CompleteServer): void => {
    const after = withWeight(before, server)
    if (after.weight > 0) live += 1
    if (sameServer(before, after)) return
    steps.push({ kind: 'edit-server', service, server: keyOf(before), before, after })
  }

  /** Wanted ones behind the first that is not at its place. Most often there are none. */
  const rest: CompleteServer[] = []
  await forEachOf(wanted.servers, (after, index) => {
    const before = now.servers[index]
    if (rest.length === 0 && before !== undefined && sameEndpoint(before, after)) edit(before, after)
    else rest.push(after)
  })
  const others = now.servers.slice(wanted.servers.length - rest.length)
  const left = new Map<string, CompleteServer>()
  await forEachOf(others, (server) => {
    left.set(endpointId(server), server)
  })
  const missing: CompleteServer[] = []
  const kept: CompleteServer[] = []
  await forEachOf(rest, (after) => {
    const endpoint = endpointId(after)
    const before = left.get(endpoint)
    if (before === undefined) {
      missing.push(after)
      return
    }
    left.delete(endpoint)
    kept.push(before)
    edit(before, after)
  })

  const surplus = [...left.values()]
  const replaced = await replacements(missing, prune ? surplus : [])
  await forEachOf([...missing].reverse(), (server) => {
    const old = replaced.get(server)
    // One of another family has another address, and so is another machine to whoever checks its health.
    const after = old?.address === server.address ? withWeight(old, server) : server
    if (after.weight > 0) live += 1
    const step = addition(service, after)
    steps.push(old === undefined ? step : { ...step, replaces: keyOf(old) })
  })
  await forEachOf(surplus, (server) => {
    if (prune) steps.push({ kind: 'delete-server', service, server: keyOf(server), before: server })
    else if (server.weight > 0) live += 1
  })

  // New ones come in front, and those that were there keep their order.
  const first = wanted.servers.length - missing.length - kept.length
  const inFront =
    missing.length === 0 || (first === 0 && missing.every((server, at) => server === wanted.servers[at]))
  let place = -1
  const inOrder = kept.every((server) => (place = others.indexOf(server, place + 1)) >= 0)
  return {
    steps,
    starved: live === 0 && now.servers.some(({ weight }) => weight > 0),
    reordered: !inFront || !inOrder,
  }
}

/** Which servers are replaced by new ones: by their address, or else the last one left for the last one of another family. */
async function replacements(
  added: readonly CompleteServer[],
  deleted: readonly CompleteServer[],
): Promise<ReadonlyMap<CompleteServer, CompleteServer>> {
  const replaced = await pairs(added, deleted, ({ address }) => address)
  if (added.length - replaced.size !== 1 || deleted.length - replaced.size !== 1) return replaced
  const paired = new Set(replaced.values())
  const after = added.find((server) => !replaced.has(server))
  const before = deleted.find((server) => !paired.has(server))
  if (after === undefined || before?.port !== after.port) return replaced
  if (familyOfAddress(after.address) !== familyOfAddress(before.address)) {
    replaced.set(after, before)
  }
  return replaced
}

function keyOf({ address, port }: CompleteServer): Endpoint {
  return { address, port }
}

function sameEndpoint(one: CompleteServer, other: CompleteServer): boolean {
  return one.address === other.address && one.port === other.port
}
