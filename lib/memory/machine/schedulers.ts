import { ServiceFlag } from '../../model/constants.ts'
import { fold } from './addresses.ts'
import { hash32 } from './hash.ts'
import { gcd, Maglev } from './maglev.ts'
import type { Dest, VirtualService } from './table.ts'
import { type Client, type SchedulerState } from './table.ts'
import type { Feature } from './versions.ts'

/** Starts a scheduler for a service; undefined for 'none', which schedules nothing. */
export function bindScheduler(
  name: string,
  service: VirtualService,
  features: ReadonlySet<Feature>,
): SchedulerState | undefined {
  if (name === 'none') return undefined
  return (SCHEDULERS.get(name) ?? wlc)(service, features)
}

type Bind = (service: VirtualService, features: ReadonlySet<Feature>) => SchedulerState

const SCHEDULERS: ReadonlyMap<string, Bind> = new Map<string, Bind>([
  ['rr', (service): SchedulerState => new RoundRobin(service)],
  ['wrr', (service): SchedulerState => new WeightedRoundRobin(service)],
  ['lc', lc],
  ['wlc', wlc],
  ['sed', sed],
  ['nq', nq],
  ['fo', fo],
  ['ovf', ovf],
  ['dh', (service): SchedulerState => new DestinationHash(service)],
  ['sh', (service, features): SchedulerState => new SourceHash(service, features)],
  ['mh', (service): SchedulerState => new Maglev(service)],
  // Simplified: the locality schedulers have no cache here, and twos makes no random choice.
  ['lblc', wlc],
  ['lblcr', wlc],
  ['twos', wlc],
])

function isUsable({ settings, overloaded }: Dest): boolean {
  return settings.weight > 0 && !overloaded
}

/** The usable server for which `isBetter` than the best so far; the first of equals. */
function best(
  { dests }: VirtualService,
  isBetter: (dest: Dest, best: Dest) => boolean,
  may: (dest: Dest) => boolean = isUsable,
): Dest | undefined {
  let found: Dest | undefined
  for (const dest of dests) {
    if (may(dest) && (found === undefined || isBetter(dest, found))) found = dest
  }
  return found
}

/** An active connection weighs as much as 256 inactive ones (ip_vs_dest_conn_overhead()). */
function load({ active, inactive }: Dest): number {
  return active * 256 + inactive
}

function lc(service: VirtualService): SchedulerState {
  return { schedule: () => best(service, (dest, least) => load(dest) < load(least)) }
}

/** Whether a server has less load for its weight. */
function lighter(of: (dest: Dest) => number): (dest: Dest, least: Dest) => boolean {
  return (dest, least) => of(least) * dest.settings.weight > of(dest) * least.settings.weight
}

function wlc(service: VirtualService): SchedulerState {
  return { schedule: () => best(service, lighter(load)) }
}

/** Including the new connection. */
const expected = ({ active }: Dest): number => active + 1

function sed(service: VirtualService): SchedulerState {
  return { schedule: () => best(service, lighter(expected)) }
}

function nq(service: VirtualService): SchedulerState {
  return {
    schedule: () =>
      service.dests.find((dest) => isUsable(dest) && dest.active === 0) ?? best(service, lighter(expected)),
  }
}

const heavier = (dest: Dest, most: Dest): boolean => dest.settings.weight > most.settings.weight

function fo(service: VirtualService): SchedulerState {
  return { schedule: () => best(service, heavier) }
}

function ovf(service: VirtualService): SchedulerState {
  return {
    schedule: () => best(service, heavier, (dest) => isUsable(dest) && dest.active <= dest.settings.weight),
  }
}

/** The position of a round: at a server, or undefined at the head of the list. */
class Round {
  readonly #service: VirtualService
  last: Dest | undefined

  constructor(service: VirtualService) {
    this.#service = service
  }

  /** The place of the last server, -1 at the head. */
  get place(): number {
    return this.last === undefined ? -1 : this.#service.dests.indexOf(this.last)
  }
}

class RoundRobin implements SchedulerState {
  readonly #service: VirtualService
  readonly #round: Round

  constructor(service: VirtualService) {
    this.#service = service
    this.#round = new Round(service)
  }

  changed(deleted?: { readonly dest: Dest; readonly place: number }): void {
    if (deleted === undefined || deleted.dest !== this.#round.last) return
    this.#round.last = this.#service.dests[deleted.place - 1]
  }

  schedule(): Dest | undefined {
    const { dests } = this.#service
    const { place } = this.#round
    const found = [...dests.slice(place + 1), ...dests.slice(0, place + 1)].find(isUsable)
    if (found !== undefined) this.#round.last = found
    return found
  }
}

/** Goes round with a required weight that falls from the highest in steps of the greatest common divisor. */
class WeightedRoundRobin implements SchedulerState {
  readonly #service: VirtualService
  readonly #round: Round
  #required = 0
  #highest = 0
  #step = 1

  constructor(service: VirtualService) {
    this.#service = service
    this.#round = new Round(service)
    this.#measure()
    this.#required = this.#highest
  }

  changed(): void {
    this.#round.last = undefined
    this.#measure()
    if (this.#required > this.#highest || this.#required === 0) this.#required = this.#highest
    else if (this.#step > 1) this.#required = Math.floor(this.#required / this.#step) * this.#step + 1
  }

  schedule(): Dest | undefined {
    if (this.#highest === 0) return undefined
    const { dests } = this.#service
    const last = this.#round.place
    // Looks at every server once for each required weight, and once more up to the start.
    const passes = Math.ceil(this.#highest / this.#step) + 1
    let from = last + 1
    for (let pass = 0; pass <= passes; pass++) {
      for (const dest of dests.slice(from)) {
        if (dest.overloaded || dest.settings.weight < this.#required) continue
        this.#round.last = dest
        return dest
      }
      from = 0
      this.#required -= this.#step
      if (this.#required <= 0) this.#required = this.#highest
    }
    this.#round.last = undefined
    return undefined
  }

  #measure(): void {
    const weights = this.#service.dests.map(({ settings }) => settings.weight)
    this.#step = weights.reduce(gcd, 0) || 1
    // So that the last pass requires 1.
    this.#highest = Math.max(0, ...weights) - (this.#step - 1)
    if (weights.every((weight) => weight === 0)) this.#highest = 0
  }
}

const TABLE_BITS = 8
const SLOTS = 1 << TABLE_BITS

class DestinationHash implements SchedulerState {
  readonly #service: VirtualService

  constructor(service: VirtualService) {
    this.#service = service
  }

  schedule({ virtualAddress }: Client): Dest | undefined {
    const { dests } = this.#service
    // The kernel's table has the servers in rotation.
    const dest = dests[hash32(fold(virtualAddress), TABLE_BITS) % dests.length]
    return dest !== undefined && isUsable(dest) ? dest : undefined
  }
}

/** A table of 256 places, which the servers fill in turn, each as many as its weight. */
class SourceHash implements SchedulerState {
  readonly #service: VirtualService
  readonly #hasFlags: boolean
  #table: readonly Dest[] = []

  constructor(service: VirtualService, features: ReadonlySet<Feature>) {
    this.#service = service
    this.#hasFlags = features.has('schedulerFlags')
    this.changed()
  }

  changed(): void {
    const { dests } = this.#service
    const table: Dest[] = []
    for (let index = 0; dests.length > 0 && table.length < SLOTS; index++) {
      const dest = dests[index % dests.length] as Dest
      for (let place = 0; place < Math.max(1, dest.settings.weight) && table.length < SLOTS; place++) {
        table.push(dest)
      }
    }
    this.#table = table
  }

  schedule({ address, port }: Client): Dest | undefined {
    const flags = this.#hasFlags ? this.#service.settings.flags : 0
    const value = (flags & ServiceFlag.SCHED2) === 0 ? fold(address) : fold(address) + port
    const first = hash32(value, TABLE_BITS)
    const dest = this.#table[first]
    if (dest === undefined || isUsable(dest)) return dest
    if ((flags & ServiceFlag.SCHED1) === 0) return undefined
    for (let offset = 0; offset < SLOTS; offset++) {
      const other = this.#table[(((first + offset) % SLOTS) + first) % SLOTS] as Dest
      if (isUsable(other)) return other
    }
    return undefined
  }
}
