import { Errno } from '../model/errno.ts'
import type { Failure, Request, Transport } from '../transport/transport.ts'
import { slices } from '../util/pace.ts'

/**
 * The kernel's SET commands need every field, and an edit names only some. So an
 * edit reads, merges and writes. Edits that travel together read each object once
 * and write in one batch; those that follow a refused edit of the same object are
 * merged and written again. Two edits of one object see each other, so neither
 * undoes the other. A foreign write between the read and the write is overwritten
 * in the fields that SET cannot leave out.
 */
interface Edit<Current> {
  /** The same for every edit of the same object. */
  readonly id: string
  /** The object after the edit. Throws if the kernel would not accept the result. */
  merge(current: Current): Current
  /** The request that makes it so. */
  encode(edited: Current): Request
}

/** The outcome of an edit: the object as it is now, why the kernel refused, or the error that merge() threw. */
export type EditOutcome<Current> =
  { readonly edited: Current } | { readonly failure: Failure } | { readonly thrown: unknown }

/** Runs edits in order. `read` has the objects that they name, as they were read, by `id`. */
export async function runEdits<Current>(
  transport: Transport,
  edits: readonly Edit<Current>[],
  read: ReadonlyMap<string, Current | Failure>,
): Promise<readonly EditOutcome<Current>[]> {
  const run = new Run(transport, read)
  const again = new Map<string, Numbered<Current>[]>()
  for (const one of await run.send([...edits.entries()])) {
    const [, { id }] = one
    const list = again.get(id)
    if (list === undefined) again.set(id, [one])
    else list.push(one)
  }
  // From here on at most one edit of each object is in flight: none builds on one that may be refused.
  for (let turn = 0; again.size > 0; turn++) {
    const next: Numbered<Current>[] = []
    for (const [id, list] of again) {
      const one = list[turn]
      if (one === undefined) again.delete(id)
      else next.push(one)
    }
    await run.send(next)
    for (const [index, { id }] of next) {
      const outcome = run.outcomes[index]
      if (outcome === undefined || !('failure' in outcome) || outcome.failure.syscall === undefined) continue
      // The socket failed: as within one batch, later edits are not sent either.
      for (const [behind] of again.get(id)?.slice(turn + 1) ?? [])
        run.outcomes[behind] = { failure: NOT_SENT }
      again.delete(id)
    }
  }
  return run.outcomes
}

/** An edit, and its place among all. */
type Numbered<Current> = readonly [number, Edit<Current>]

class Run<Current> {
  readonly outcomes: EditOutcome<Current>[] = []
  readonly #transport: Transport
  readonly #objects: Map<string, Current | Failure>

  constructor(transport: Transport, read: ReadonlyMap<string, Current | Failure>) {
    this.#transport = transport
    this.#objects = new Map(read)
  }

  /** Sends edits together. Returns those that built on an edit which the kernel refused: their outcome means nothing. */
  async send(edits: readonly Numbered<Current>[]): Promise<readonly Numbered<Current>[]> {
    const requests: Request[] = []
    /** With `before` those that have a request, in order; without it those that threw. */
    const made: { readonly one: Numbered<Current>; readonly before?: { readonly object: Current } }[] = []
    for await (const some of slices(edits)) {
      for (const one of some) {
        const [index, edit] = one
        const before = this.#objects.get(edit.id) ?? NOT_FOUND
        if (isFailure(before)) {
          this.outcomes[index] = { failure: before }
          continue
        }
        try {
          const edited = edit.merge(before)
          requests.push(edit.encode(edited))
          this.#objects.set(edit.id, edited)
          this.outcomes[index] = { edited }
          made.push({ one, before: { object: before } })
        } catch (thrown) {
          this.outcomes[index] = { thrown }
          made.push({ one })
        }
      }
    }
    const replies = requests.length === 0 ? [] : await this.#transport.batch(requests)

    const refused = new Set<string>()
    /** Objects with an edit that was lost or never sent. */
    const failed = new Set<string>()
    const again: Numbered<Current>[] = []
    let next = 0
    for await (const some of slices(made)) {
      for (const { one, before } of some) {
        const [index, { id }] = one
        const failure = before === undefined ? undefined : replies[next++]?.failure
        if (refused.has(id)) {
          // Whatever its outcome was.
          again.push(one)
        } else if (before !== undefined && failure !== undefined) {
          this.outcomes[index] = { failure }
          // An edit that was lost or never sent says nothing about the next one.
          if (failure.syscall === undefined) {
            refused.add(id)
            this.#objects.set(id, before.object)
          } else failed.add(id)
        } else if (before === undefined && failed.has(id)) {
          // It was merged into a state that may not exist.
          this.outcomes[index] = { failure: NOT_SENT }
        }
      }
    }
    return again
  }
}

/** The addon's answer for requests after the one at which the socket failed. */
const NOT_SENT: Failure = { errno: Errno.ECANCELED, syscall: 'sendmsg' }

/** The kernel's answer to SET_DEST. */
const NOT_FOUND: Failure = { errno: Errno.ENOENT }

function isFailure(value: unknown): value is Failure {
  return typeof value === 'object' && value !== null && 'errno' in value
}
