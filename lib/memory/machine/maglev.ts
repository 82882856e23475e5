import { ServiceFlag } from '../../model/constants.ts'
import { fold } from './addresses.ts'
import { hsiphash } from './hash.ts'
import type { Client, Dest, SchedulerState, VirtualService } from './table.ts'

/** Maglev hashing as ip_vs_mh.c does it: each server fills its share of a table of prime size. */

/** CONFIG_IP_VS_MH_TAB_INDEX 12. */
const SLOTS = 4093
const SHARE_BITS = 6

/** The keys of the two hashes are constants of the kernel. */
const OFFSET_KEY = 2654435761n
const SKIP_KEY = 2654446892n

export class Maglev implements SchedulerState {
  readonly #service: VirtualService
  #table: readonly Dest[] = []

  constructor(service: VirtualService) {
    this.#service = service
    this.changed()
  }

  changed(): void {
    this.#table = populate(this.#service.dests)
  }

  schedule({ address, port }: Client): Dest | undefined {
    const { flags } = this.#service.settings
    const value = (flags & ServiceFlag.SCHED2) === 0 ? fold(address) : fold(address) + port
    const first = slot(value)
    const dest = this.#table[first]
    if (dest === undefined || isUsable(dest)) return dest
    if ((flags & ServiceFlag.SCHED1) === 0) return undefined
    for (let offset = 0; offset < SLOTS; offset++) {
      const other = this.#table[slot(value + ((first + offset) % SLOTS))]
      if (other === undefined || isUsable(other)) return other
    }
    return undefined
  }
}

function slot(value: number): number {
  return hsiphash(value, OFFSET_KEY) % SLOTS
}

function isUsable({ settings, overloaded }: Dest): boolean {
  return settings.weight > 0 && !overloaded
}

/** The servers take turns in filling free slots, each along a path of its own, as many at a time as its weight. */
function populate(dests: readonly Dest[]): readonly Dest[] {
  const weights = dests.map(({ lastWeight }) => lastWeight)
  const unit = weights.reduce(gcd, 0)
  if (unit === 0) return []
  const highest = 32 - Math.clz32(Math.floor(Math.max(...weights) / unit))
  const shift = Math.max(0, highest - SHARE_BITS)
  const paths = dests.map((dest, index) => {
    const weight = weights[index] as number
    const value = fold(dest.identity.address) + dest.identity.port
    return {
      dest,
      at: hsiphash(value, OFFSET_KEY) % SLOTS,
      skip: (hsiphash(value, SKIP_KEY) % (SLOTS - 1)) + 1,
      turns: Math.floor(weight / unit) >> shift || Number(weight !== 0),
    }
  })
  const table: Dest[] = []
  const taken = new Uint8Array(SLOTS)
  for (let filled = 0; filled < SLOTS;) {
    for (const path of paths) {
      for (let turn = 0; turn < path.turns && filled < SLOTS; turn++) {
        while (taken[path.at] === 1) path.at = (path.at + path.skip) % SLOTS
        taken[path.at] = 1
        table[path.at] = path.dest
        filled += 1
      }
    }
  }
  return table
}

export function gcd(one: number, other: number): number {
  return other === 0 ? one : gcd(other, one % other)
}
