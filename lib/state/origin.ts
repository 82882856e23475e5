import { StateRefusal, type Refuse, withPath } from './path.ts'

/** Where states were read, so that what is refused later, beside a table, still has its place in the text. */

/** By the state, or the CheckedState: a state is plain data, which does not show where it came from. */
const ORIGINS = new WeakMap<object, Refuse>()

export function setOrigin(state: object, refuse: Refuse): void {
  ORIGINS.set(state, refuse)
}

/** Makes the error of a refusal and its place in a state. One that was not read from a text has paths alone. */
export function originOf(state: object): Refuse {
  return ORIGINS.get(state) ?? withPath
}

/** Does something with a state beside a table: a refusal names its place in the text. */
export async function placed<T>(refuse: Refuse, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof StateRefusal ? refuse(error.refused, error.path) : error
  }
}
