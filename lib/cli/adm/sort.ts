import type { Counter, RealServer, Service, SnapshotEntry } from '../../index.ts'
import { wordsOf } from '../../ipvsadm/numbers.ts'

/**
 * The order of ipvsadm's listings. It compares by subtraction in 32 bits, which
 * wraps, so the order is not transitive: the result depends on the kernel's
 * order and on the steps of the merge sort.
 */

const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132, fwmark: 0 }

/** The values by which an entry is compared; the first that differs decides. */
interface Ranked<T> {
  readonly entry: T
  readonly ipv6: boolean
  readonly address: readonly number[]
  readonly port: number
  /** Of a service: its mark, family and protocol, which are compared first. */
  readonly head: readonly number[]
}

export function sortServices<N extends Counter>(list: readonly SnapshotEntry<N>[]): SnapshotEntry<N>[] {
  return sorted(list.map((entry) => rankService(entry, entry.service)))
}

export function sortRealServers<N extends Counter>(list: readonly RealServer<N>[]): RealServer<N>[] {
  return sorted(
    list.map((entry) => ({
      entry,
      ipv6: entry.family === 'ipv6',
      address: wordsOf(entry.address),
      port: entry.port,
      head: [],
    })),
  )
}

function rankService<T>(entry: T, { key, family }: Service<Counter>): Ranked<T> {
  const fwmark = key.protocol === 'fwmark'
  const ipv6 = family === 'ipv6'
  const protocol = typeof key.protocol === 'number' ? key.protocol : (PROTOCOLS[key.protocol] ?? 0)
  return {
    entry,
    ipv6,
    address: fwmark ? [] : wordsOf(key.address),
    port: fwmark ? 0 : key.port,
    head: [fwmark ? key.fwmark : 0, ipv6 ? 1 : 0, protocol],
  }
}

/** Between two families as many words are compared as the left one has; missing words of the right one are 0. */
function compare(left: Ranked<unknown>, right: Ranked<unknown>): number {
  for (const [index, value] of left.head.entries()) {
    const difference = (value - (right.head[index] ?? 0)) | 0
    if (difference !== 0) return difference
  }
  for (let word = 0; word < (left.ipv6 ? 4 : 1); word++) {
    const difference = ((left.address[word] ?? 0) - (right.address[word] ?? 0)) | 0
    if (difference !== 0) return difference
  }
  return left.port - right.port
}

function sorted<T>(list: readonly Ranked<T>[]): T[] {
  return mergeSort(list).map(({ entry }) => entry)
}

/** Top-down. The left half is the smaller one. */
function mergeSort<T>(list: readonly Ranked<T>[]): readonly Ranked<T>[] {
  if (list.length < 2) return list
  const middle = list.length >> 1
  const left = mergeSort(list.slice(0, middle))
  const right = mergeSort(list.slice(middle))
  const merged: Ranked<T>[] = []
  let l = 0
  let r = 0
  for (;;) {
    const a = left[l]
    const b = right[r]
    if (a === undefined) return [...merged, ...right.slice(r)]
    if (b === undefined) return [...merged, ...left.slice(l)]
    if (compare(a, b) <= 0) {
      merged.push(a)
      l += 1
    } else {
      merged.push(b)
      r += 1
    }
  }
}
