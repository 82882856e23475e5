import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { FileContent } from '../../lib/transport/addon.ts'
import { EFBIG, EINVAL, ENOENT, rootTests, withSocket } from './addon.ts'

const folder = mkdtempSync(join(tmpdir(), 'ipvs-files-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const OWN_NAMESPACE = '/proc/self/ns/net'

function readFile(path: string, maxBytes: number, netns?: string): Promise<FileContent> {
  return withSocket((socket) => socket.readFile(path, maxBytes), netns === undefined ? {} : { netns })
}

function writeFile(path: string, content: string, netns?: string): Promise<unknown> {
  return withSocket((socket) => socket.writeFile(path, content), netns === undefined ? {} : { netns })
}

test('readFile gives the bytes of a file', async () => {
  const { failure, bytes } = await readFile('/proc/sys/kernel/ostype', 100)
  expect(failure).toBeUndefined()
  expect(new TextDecoder().decode(bytes)).toBe('Linux\n')
})

test('readFile gives an empty buffer for an empty file', async () => {
  writeFileSync(join(folder, 'empty'), '')
  const { bytes } = await readFile(join(folder, 'empty'), 0)
  expect(bytes?.byteLength).toBe(0)
})

test('readFile takes as much as is allowed and not a byte more', async () => {
  const content = Uint8Array.from({ length: 200_000 }, (_, index) => index)
  writeFileSync(join(folder, 'full'), content)
  const { bytes } = await readFile(join(folder, 'full'), 200_000)
  expect(new Uint8Array(bytes as ArrayBuffer)).toEqual(content)
  expect(await readFile(join(folder, 'full'), 199_999)).toEqual({
    failure: { errno: EFBIG, operation: 'read' },
  })
})

test('readFile of a file that does not exist resolves with why', async () => {
  expect(await readFile(join(folder, 'none'), 1)).toEqual({
    failure: { errno: ENOENT, operation: 'open' },
  })
})

test('writeFile writes to a file that exists, and says why it cannot', async () => {
  writeFileSync(join(folder, 'written'), '0')
  expect(await writeFile(join(folder, 'written'), '1')).toBeUndefined()
  expect(readFileSync(join(folder, 'written'), 'utf8')).toBe('1')
  expect(await writeFile(join(folder, 'none'), '1')).toEqual({
    errno: ENOENT,
    operation: 'open',
  })
  expect(await writeFile('/dev/full', '1')).toMatchObject({ operation: 'write' })
})

rootTests('with the right to enter namespaces', () => {
  test('readFile gives a file as the namespace has it', async () => {
    const { bytes } = await readFile('/proc/thread-self/net/unix', 1 << 20, OWN_NAMESPACE)
    expect(new TextDecoder().decode(bytes).split('\n')[0]).toBe(
      readFileSync('/proc/self/net/unix', 'utf8').split('\n')[0],
    )
  })

  test('writeFile says what the file of the namespace says', async () => {
    const failure = await writeFile('/proc/sys/net/ipv4/ip_default_ttl', '999', OWN_NAMESPACE)
    expect(failure).toEqual({ errno: EINVAL, operation: 'write' })
  })

  test('a scratch namespace has files of its own', async () => {
    // It lists each socket of the namespace by its inode.
    const sockets = '/proc/thread-self/net/netlink'
    const { bytes: scratch } = await withSocket((socket) => socket.readFile(sockets, 1 << 20), {
      scratch: true,
    })
    const { bytes: own } = await readFile(sockets, 1 << 20)
    const rows = (bytes: ArrayBuffer | undefined): string[] =>
      new TextDecoder().decode(bytes).trimEnd().split('\n').slice(1)
    expect(rows(scratch).length).toBeGreaterThan(0)
    expect(rows(scratch).filter((row) => rows(own).includes(row))).toEqual([])
  })
})

test('readFiles gives each file, in order, and why one cannot be read', async () => {
  const paths = ['/proc/sys/kernel/ostype', join(folder, 'none'), '/proc', '/proc/sys/kernel/ostype']
  const files = await withSocket((socket) => socket.readFiles(paths, 100))
  expect(files.map(({ bytes }) => bytes && new TextDecoder().decode(bytes))).toEqual([
    'Linux\n',
    undefined,
    undefined,
    'Linux\n',
  ])
  expect(files.map(({ failure }) => failure)).toEqual([
    undefined,
    { errno: 2, operation: 'open' },
    { errno: 21, operation: 'read' },
    undefined,
  ])
  expect(await withSocket((socket) => socket.readFiles([], 100))).toEqual([])
})

test('readFiles does not begin where a getter of its paths began another call', async () => {
  await withSocket(async (socket) => {
    let other: Promise<unknown> | undefined
    const paths = Object.defineProperty(['/proc/version'], 0, {
      get: () => {
        other = socket.readFile('/proc/version', 100)
        return '/proc/version'
      },
    })
    expect(() => socket.readFiles(paths, 100)).toThrow('in flight')
    await other
    expect(() =>
      socket.readFiles(
        Object.defineProperty([''], 0, {
          get: () => {
            throw new Error('mine')
          },
        }),
        100,
      ),
    ).toThrow('mine')
  })
})

test('what is no path, size or content throws', async () => {
  await withSocket((socket) => {
    expect(() => socket.readFile(5 as never, 1)).toThrow(TypeError)
    expect(() => socket.readFile('', 1)).toThrow(RangeError)
    expect(() => socket.readFile('/proc\0', 1)).toThrow(RangeError)
    expect(() => socket.readFile('/proc/version', -1)).toThrow(RangeError)
    expect(() => socket.readFile('/proc/version', 2 ** 28 + 1)).toThrow(RangeError)
    expect(() => socket.writeFile('/dev/null', 7 as never)).toThrow(TypeError)
    expect(() => socket.readFiles('/proc/version' as never, 1)).toThrow(TypeError)
    expect(() => socket.readFiles([5 as never], 1)).toThrow(TypeError)
    expect(() => socket.readFiles(['/proc/version', ''], 1)).toThrow(RangeError)
    expect(() => socket.readFiles(['/proc/version'], -1)).toThrow(RangeError)
  })
})
