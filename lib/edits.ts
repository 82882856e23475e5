import type { Failure, Request, Transport } from './transport/transport.ts'

/**
 * The kernel's SET commands want every field, and an edit names only some. So
 * an edit reads, merges and writes: all edits that travel together read each
 * object once, and write in one batch. Two edits of one object see each other,
 * so neither undoes the other; a foreign writer between the read and the write
 * is overwritten in the fields that SET cannot leave out.
 */
export interface Edit<Current> {
  /** The same for every edit of the same object. */
  readonly id: string
  /** The object after the edit. Throws if the result is not one that the kernel takes. */
  merge(current: Current): Current
  /** The request that makes it so. */
  encode(edited: Current): Request
}

/** What became of an edit: the object as it is now, why the kernel refused, or what merge() threw. */
export type EditOutcome<Current> =
  { readonly edited: Current } | { readonly failure: Failure } | { readonly thrown: unknown }

/** Runs edits in order, given what reads the objects that they name, by `id`. */
export async function runEdits<Current, E extends Edit<Current>>(
  transport: Transport,
  edits: readonly E[],
  read: (transport: Transport, edits: readonly E[]) => Promise<ReadonlyMap<string, Current | Failure>>,
): Promise<readonly EditOutcome<Current>[]> {
  const objects = new Map(await read(transport, edits))
  const requests: Request[] = []
  const outcomes = edits.map((edit): EditOutcome<Current> & { readonly request?: number } => {
    const current = objects.get(edit.id) ?? NOT_FOUND
    if (isFailure(current)) return { failure: current }
    try {
      const edited = edit.merge(current)
      objects.set(edit.id, edited)
      return { edited, request: requests.push(edit.encode(edited)) - 1 }
    } catch (thrown) {
      return { thrown }
    }
  })
  const replies = requests.length === 0 ? [] : await transport.batch(requests)
  return outcomes.map((outcome) => {
    const failure = outcome.request === undefined ? undefined : replies[outcome.request]?.failure
    return failure === undefined ? outcome : { failure }
  })
}

/** ENOENT, as the kernel answers SET_DEST. */
const NOT_FOUND: Failure = { errno: 2 }

function isFailure(value: unknown): value is Failure {
  return typeof value === 'object' && value !== null && 'errno' in value
}
