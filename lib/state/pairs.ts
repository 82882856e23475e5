import { forEachOf } from '../util/pace.ts'

/** Pairs what is added with what is deleted, where just one of either has a name. */
export async function pairs<New, Old>(
  added: readonly New[],
  deleted: readonly Old[],
  nameOf: (one: New | Old) => string,
): Promise<Map<New, Old>> {
  const found = new Map<New, Old>()
  if (added.length === 0 || deleted.length === 0) return found
  const news = await onlyOnes(added, nameOf)
  const olds = await onlyOnes(deleted, nameOf)
  await forEachOf([...news], ([name, one]) => {
    const old = olds.get(name)
    if (one !== undefined && old !== undefined) found.set(one, old)
  })
  return found
}

/** By name; `undefined` where several have the same. */
async function onlyOnes<T>(
  list: readonly T[],
  nameOf: (one: T) => string,
): Promise<Map<string, T | undefined>> {
  const named = new Map<string, T | undefined>()
  await forEachOf(list, (one) => {
    const name = nameOf(one)
    named.set(name, named.has(name) ? undefined : one)
  })
  return named
}
