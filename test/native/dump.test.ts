import { expect, test } from 'vitest'
import type { DumpResult } from '../../lib/transport/addon.ts'
import { EOPNOTSUPP, FAMILY_NAME, GETFAMILY, messages, request, withSocket } from './addon.ts'

test('a dump has every message and not its end', async () => {
  const {
    failure,
    messages: blocks,
    interrupted,
  } = await withSocket((socket) => socket.dump(request(GETFAMILY)))
  expect(failure).toBeUndefined()
  expect(interrupted).toBe(false)
  const found = blocks.flatMap(messages)
  expect(found.map(({ name }) => name)).toContain('nlctrl')
  // NLM_F_MULTI, and nothing but families.
  for (const message of found) expect(message).toMatchObject({ type: 16, flags: 2, command: 1 })
})

test('a dump that the kernel refuses has its errno and no messages', async () => {
  const result = await withSocket((socket) => socket.dump(request(99)))
  expect(result).toEqual({
    failure: { errno: EOPNOTSUPP, operation: 'reply' },
    messages: [],
    interrupted: false,
  })
})

test('a socket goes on after a dump that failed', async () => {
  await withSocket(async (socket) => {
    const first = await socket.dump(request(GETFAMILY))
    await socket.dump(request(99))
    const again = await socket.dump(request(GETFAMILY))
    expect(again.messages.flatMap(messages)).toEqual(first.messages.flatMap(messages))
  })
})

test('a dump of dumps has each outer message, and behind it what its own dump gave', async () => {
  await withSocket(async (socket) => {
    const plain = (await socket.dump(request(GETFAMILY))).messages.flatMap(messages)
    const result = await socket.dumpOfDumps(request(GETFAMILY), GETFAMILY, FAMILY_NAME)
    expect(result.failure).toBeUndefined()
    // nlctrl lists all families, whatever family the inner dump asks about.
    const expected = plain.flatMap((family) => [family, ...plain])
    expect(result.messages.flatMap(messages)).toEqual(expected)
  })
})

test('a dump of dumps by an attribute that no message has is the outer dump', async () => {
  await withSocket(async (socket) => {
    const plain = await socket.dump(request(GETFAMILY))
    const result = await socket.dumpOfDumps(request(GETFAMILY), GETFAMILY, 1000)
    expect(result.messages.flatMap(messages)).toEqual(plain.messages.flatMap(messages))
  })
})

test('an inner dump that the kernel refuses fails the dump of dumps', async () => {
  const result = await withSocket((socket) => socket.dumpOfDumps(request(GETFAMILY), 99, FAMILY_NAME))
  expect(result).toEqual({
    failure: { errno: EOPNOTSUPP, operation: 'reply' },
    messages: [],
    interrupted: false,
  })
})

test('what a dump gave stays valid after its socket is closed, and while more is read', async () => {
  const read = (): Promise<DumpResult> =>
    withSocket((socket) => socket.dumpOfDumps(request(GETFAMILY), GETFAMILY, FAMILY_NAME))
  const first = await read()
  const copy = first.messages.map((block) => block.slice(0))
  for (let round = 0; round < 20; round += 1) await read()
  expect(first.messages).toEqual(copy)
})

test('what was given back is empty, and the next dumps in its memory are whole', async () => {
  await withSocket(async (socket) => {
    const read = (): Promise<DumpResult> => socket.dumpOfDumps(request(GETFAMILY), GETFAMILY, FAMILY_NAME)
    const kept = await read()
    const expected = kept.messages.flatMap(messages)
    for (let round = 0; round < 20; round += 1) {
      const { messages: blocks } = await read()
      expect(blocks.flatMap(messages)).toEqual(expected)
      socket.release(blocks)
      expect(blocks.every(({ byteLength }) => byteLength === 0)).toBe(true)
      // Once more does nothing.
      socket.release(blocks)
    }
    expect(kept.messages.flatMap(messages)).toEqual(expected)
  })
})

test('what a socket lent may come back after it was closed', async () => {
  const { socket, blocks } = await withSocket(async (socket) => ({
    socket,
    blocks: (await socket.dumpOfDumps(request(GETFAMILY), GETFAMILY, FAMILY_NAME)).messages,
  }))
  expect(blocks.some(({ byteLength }) => byteLength > 0)).toBe(true)
  socket.release(blocks)
  expect(blocks.every(({ byteLength }) => byteLength === 0)).toBe(true)
})

test('an answer that cannot be made rejects the promise, and the socket goes on', async () => {
  await withSocket(async (socket) => {
    const dump = socket.dump(request(GETFAMILY))
    Object.defineProperty(Object.prototype, 'interrupted', {
      set() {
        throw new Error('from the setter')
      },
      configurable: true,
    })
    try {
      await expect(dump).rejects.toThrow('from the setter')
    } finally {
      delete (Object.prototype as { interrupted?: boolean }).interrupted
    }
    expect((await socket.dump(request(GETFAMILY))).interrupted).toBe(false)
  })
})
