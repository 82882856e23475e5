import { fieldOf } from '../model/check.ts'

/** Where something is in a state: `['services', 3, 'realServers', 0, 'weight']`. */
export type StatePath = readonly (string | number)[]

/** The path as people write it: `services[3].realServers[0].weight`. */
export function formatStatePath(path: StatePath): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${String(step)}]`
    else text += text === '' ? step : `.${step}`
  }
  return text
}

/** Makes the error that is thrown of a refusal and its place in the state. */
export type Refuse = (error: Error, path: StatePath) => Error

/** The same error with the path before its words: services[3].realServers[0].weight must be ... */
export function withPath(error: Error, path: StatePath): Error {
  const Kind = error instanceof RangeError ? RangeError : TypeError
  return Object.assign(new Kind(describeAt(error, path), { cause: error }), { path: formatStatePath(path) })
}

/** The error and its place in the state, in one sentence. */
export function describeAt(error: Error, path: StatePath): string {
  const field = fieldOf(error)
  const text = formatStatePath(path)
  if (text === '' || error.message.startsWith(text)) return error.message
  if (field !== undefined && error.message.startsWith(`${field} must`)) {
    return `${text}${error.message.slice(field.length)}`
  }
  const owner =
    field === undefined ? text : formatStatePath(path.slice(0, path.length - field.split('.').length))
  return owner === '' ? error.message : `${owner}: ${error.message}`
}

/** The path of what an error is about, which may be a field of what is at `path`. */
export function pathOf(error: Error, path: StatePath): StatePath {
  const field = fieldOf(error)
  return field === undefined ? path : [...path, ...field.split('.')]
}

/** A refusal of something in a state, on its way to where the state came from. */
export class StateRefusal extends Error {
  readonly refused: Error
  readonly path: StatePath

  constructor(refused: Error, path: StatePath) {
    super(refused.message)
    this.refused = refused
    this.path = path
  }
}

/** A TypeError about a field. */
export function misuse(field: string, message: string): Error {
  return Object.assign(new TypeError(message), { field })
}
