import { expect, test } from 'vitest'
import { concat } from '../helpers/bytes.ts'
import {
  attribute,
  EINVAL,
  EMSGSIZE,
  ENOENT,
  EOPNOTSUPP,
  FAMILY_ID,
  getFamily,
  getNoFamily,
  GETFAMILY,
  messages,
  request,
  withSocket,
} from './addon.ts'

test('a batch has an outcome for each request, in order', async () => {
  const requests = [getFamily('nlctrl'), getNoFamily(), request(99), getFamily('nlctrl')]
  const { failure, outcomes } = await withSocket((socket) => socket.batch(concat(...requests), 4))
  expect(failure).toBeUndefined()
  expect(outcomes).toHaveLength(4)
  for (const index of [0, 3]) {
    const data = outcomes[index]?.data
    expect(data).toBeInstanceOf(ArrayBuffer)
    expect(messages(data as ArrayBuffer)).toEqual([{ type: 16, flags: 0, command: 1, name: 'nlctrl' }])
    expect(outcomes[index]?.failure).toBeUndefined()
  }
  expect(outcomes[1]).toEqual({ failure: { errno: ENOENT, operation: 'reply' } })
  expect(outcomes[2]).toEqual({ failure: { errno: EOPNOTSUPP, operation: 'reply' } })
})

test('3,000 requests that succeed and fail by turns keep their order and lose no outcome', async () => {
  const requests = Array.from({ length: 3000 }, (_, index) =>
    index % 3 === 0 ? getFamily('nlctrl') : getNoFamily(),
  )
  const { failure, outcomes } = await withSocket((socket) =>
    socket.batch(concat(...requests), requests.length),
  )
  expect(failure).toBeUndefined()
  expect(outcomes.map((outcome) => outcome?.failure?.errno ?? 'data')).toEqual(
    requests.map((_, index) => (index % 3 === 0 ? 'data' : ENOENT)),
  )
})

test('a batch of no requests has no outcomes', async () => {
  const result = await withSocket((socket) => socket.batch(new Uint8Array(), 0))
  expect(result).toEqual({ outcomes: [] })
})

test('a failure has the words that the kernel sent', async () => {
  // A family id wants two bytes.
  const bad = request(GETFAMILY, attribute(FAMILY_ID, Uint8Array.of(1)))
  const { outcomes } = await withSocket((socket) => socket.batch(concat(bad, bad), 2))
  for (const outcome of outcomes) {
    expect(outcome?.failure?.operation).toBe('reply')
    expect(outcome?.failure?.message).toMatch(/policy|attribute/i)
  }
})

test('a request that is too long for any send fails alone', async () => {
  const long = request(
    GETFAMILY,
    attribute(77, new Uint8Array(60_000)),
    ...Array.from({ length: 3 }, () => attribute(77, new Uint8Array(65_000))),
  )
  const { failure, outcomes } = await withSocket((socket) =>
    socket.batch(concat(getFamily('nlctrl'), long, request(GETFAMILY)), 3),
  )
  expect(failure).toBeUndefined()
  expect(outcomes[0]?.data).toBeDefined()
  expect(outcomes[1]).toEqual({ failure: { errno: EMSGSIZE, operation: 'sendmsg' } })
  expect(outcomes[2]).toEqual({ failure: { errno: EINVAL, operation: 'reply' } })
})

test('the requests are copied, so that they may be changed once the call was made', async () => {
  const bytes = concat(getFamily('nlctrl'), getFamily('nlctrl'))
  const { outcomes } = await withSocket((socket) => {
    const result = socket.batch(bytes, 2)
    bytes.fill(0xff)
    return result
  })
  expect(outcomes.map((outcome) => outcome?.failure)).toEqual([undefined, undefined])
})

test('requests may be a view into a larger buffer', async () => {
  const one = getFamily('nlctrl')
  const bytes = concat(Uint8Array.of(1, 2, 3), one, Uint8Array.of(4))
  const { outcomes } = await withSocket((socket) => socket.batch(bytes.subarray(3, 3 + one.length), 1))
  expect(outcomes[0]?.data).toBeDefined()
})

test('batches on several sockets at a time do not mix', async () => {
  const each = Array.from({ length: 8 }, (_, index) =>
    index % 2 === 0 ? getFamily('nlctrl') : getNoFamily(),
  )
  const results = await Promise.all(
    each.map((one) =>
      withSocket((socket) => socket.batch(concat(...Array.from({ length: 500 }, () => one)), 500)),
    ),
  )
  results.forEach(({ outcomes }, index) => {
    const expected = index % 2 === 0 ? undefined : ENOENT
    expect(new Set(outcomes.map((outcome) => outcome?.failure?.errno))).toEqual(new Set([expected]))
  })
})
