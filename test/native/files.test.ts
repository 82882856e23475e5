import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { AddonSocket, FileContent } from '../../lib/transport/addon.ts'
import { concat } from '../helpers/bytes.ts'
import {
  addon,
  EFBIG,
  EINVAL,
  EISDIR,
  ENOENT,
  GETFAMILY,
  openFiles,
  readFile,
  request,
  rootTests,
  withSocket,
} from './addon.ts'

const folder = mkdtempSync(join(tmpdir(), 'ipvs-files-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const OWN_NAMESPACE = '/proc/self/ns/net'

function writeFile(path: string, content: string, netns?: string): Promise<unknown> {
  return withSocket((socket) => socket.writeFile(path, content), netns === undefined ? {} : { netns })
}

/** A file of so many bytes. */
function fileOf(name: string, size: number): { readonly path: string; readonly content: Uint8Array } {
  const content = Uint8Array.from({ length: size }, (_, index) => index % 251)
  writeFileSync(join(folder, name), content)
  return { path: join(folder, name), content }
}

function text({ bytes }: FileContent): string {
  return new TextDecoder().decode(bytes)
}

describe('a file', () => {
  test('gives its bytes piece by piece, whole but for the last, and then none', async () => {
    const { path, content } = fileOf('pieces', 200_000)
    await withSocket(async (socket) => {
      const file = new addon.File(socket, path)
      expect(await file.open()).toBeUndefined()
      const pieces: Uint8Array[] = []
      for (let piece = 1; piece > 0;) {
        const { failure, bytes } = await file.read(65_536)
        expect(failure).toBeUndefined()
        piece = bytes?.byteLength ?? 0
        pieces.push(new Uint8Array(bytes as ArrayBuffer))
      }
      expect(pieces.map(({ length }) => length)).toEqual([65_536, 65_536, 65_536, 3392, 0])
      expect(Buffer.compare(concat(...pieces), content)).toBe(0)
      expect((await file.read(0)).bytes?.byteLength).toBe(0)
      file.close()
    })
  })

  test('is read while the socket has a call in flight, and after it is closed', async () => {
    const { path, content } = fileOf('outlives', 10)
    const before = openFiles().length
    const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 5000 })
    await socket.open()
    const file = new addon.File(socket, path)
    await file.open()
    const call = socket.dump(request(GETFAMILY))
    expect((await file.read(4)).bytes).toEqual(content.slice(0, 4).buffer)
    expect((await call).messages.length).toBeGreaterThan(0)
    socket.close()
    expect((await file.read(100)).bytes).toEqual(content.slice(4).buffer)
    file.close()
    expect(openFiles()).toHaveLength(before)
  })

  test('that does not exist, or is a folder, says so', async () => {
    await withSocket(async (socket) => {
      const none = join(folder, 'none')
      const file = new addon.File(socket, none)
      expect(await file.open()).toEqual({ errno: ENOENT, operation: 'open' })
      expect(() => file.read(1)).toThrow('the file is not open')
      // It may come.
      writeFileSync(none, 'here')
      expect(await file.open()).toBeUndefined()
      expect(text(await file.read(100))).toBe('here')
      rmSync(none)
      file.close()
      expect(await readFile(socket, '/proc')).toEqual({ failure: { errno: EISDIR, operation: 'read' } })
    })
  })

  test('takes one call at a time, and none once it is closed', async () => {
    const { path, content } = fileOf('one', 500_000)
    const before = openFiles().length
    await withSocket(async (socket) => {
      const file = new addon.File(socket, path)
      const opening = file.open()
      expect(() => file.open()).toThrow('the file has a call in flight')
      expect(() => file.read(1)).toThrow('the file has a call in flight')
      await opening
      expect(() => file.open()).toThrow('the file is open already')
      const reading = file.read(1 << 20)
      expect(() => file.read(1)).toThrow('the file has a call in flight')
      file.close()
      file.close()
      expect(Buffer.compare(new Uint8Array((await reading).bytes as ArrayBuffer), content)).toBe(0)
      expect(() => file.read(1)).toThrow('the file is closed')
      expect(() => file.open()).toThrow('the file is closed')
      const closed = new addon.File(socket, path)
      closed.close()
      expect(() => closed.open()).toThrow('the file is closed')
      const late = new addon.File(socket, path)
      const lateOpening = late.open()
      late.close()
      expect(await lateOpening).toBeUndefined()
    })
    expect(openFiles()).toHaveLength(before)
  })

  test('belongs to a socket, and to nothing that only looks like one', async () => {
    await withSocket((socket) => {
      const made = Object.create(addon.Socket.prototype as object) as AddonSocket
      const file = new addon.File(socket, '/proc/version')
      for (const other of [undefined, null, 7, {}, made, file, new Proxy(socket, {})]) {
        expect(() => new addon.File(other as never, '/proc/version')).toThrow('socket must be a Socket')
      }
      const methodOf = (of: object): (() => void) =>
        (Object.getPrototypeOf(of) as { readonly close: () => void }).close
      expect(() => {
        Reflect.apply(methodOf(socket), file, [])
      }).toThrow(TypeError)
      expect(() => {
        Reflect.apply(methodOf(file), socket, [])
      }).toThrow(TypeError)
      for (const path of ['', '/proc\0']) expect(() => new addon.File(socket, path)).toThrow(RangeError)
      expect(() => new addon.File(socket, 5 as never)).toThrow(TypeError)
      for (const size of [-1, 0.5, NaN, 2 ** 20 + 1]) expect(() => file.read(size)).toThrow(RangeError)
      expect(() => file.read('1' as never)).toThrow(TypeError)
    })
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
  test('a file is that of the namespace, and stays it when the socket is closed', async () => {
    // It lists each socket of the namespace by its inode.
    const sockets = '/proc/thread-self/net/netlink'
    const rows = (content: FileContent): string[] => text(content).trimEnd().split('\n').slice(1)
    const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 5000, scratch: true })
    await socket.open()
    const whole = rows(await readFile(socket, sockets))
    const later = new addon.File(socket, sockets)
    await later.open()
    const never = new addon.File(socket, sockets)
    socket.close()
    const own = rows(await withSocket((other) => readFile(other, sockets)))
    expect(whole.length).toBeGreaterThan(0)
    expect(own.length).toBeGreaterThan(0)
    expect(whole.filter((row) => own.includes(row))).toEqual([])
    expect(rows(await later.read(1 << 20)).filter((row) => own.includes(row))).toEqual([])
    later.close()
    // The namespace is there as long as a file that may still be opened in it.
    expect(await never.open()).toBeUndefined()
    expect(rows(await never.read(1 << 20)).filter((row) => own.includes(row))).toEqual([])
    never.close()
  })

  test('writeFile says what the file of the namespace says', async () => {
    const failure = await writeFile('/proc/sys/net/ipv4/ip_default_ttl', '999', OWN_NAMESPACE)
    expect(failure).toEqual({ errno: EINVAL, operation: 'write' })
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

test('readFiles takes as much as is allowed and not a byte more', async () => {
  const { path, content } = fileOf('full', 100_000)
  const read = (maxBytes: number): Promise<readonly FileContent[]> =>
    withSocket((socket) => socket.readFiles([path], maxBytes))
  expect(Buffer.compare(new Uint8Array((await read(100_000))[0]?.bytes as ArrayBuffer), content)).toBe(0)
  expect(await read(99_999)).toEqual([{ failure: { errno: EFBIG, operation: 'read' } }])
  fileOf('full', 0)
  expect((await read(0))[0]?.bytes?.byteLength).toBe(0)
})

test('readFiles does not begin where a getter of its paths began another call', async () => {
  await withSocket(async (socket) => {
    let other: Promise<unknown> | undefined
    const paths = Object.defineProperty(['/proc/version'], 0, {
      get: () => {
        other = socket.readFiles(['/proc/version'], 1000)
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
    expect(() => socket.writeFile('/dev/null', 7 as never)).toThrow(TypeError)
    expect(() => socket.readFiles('/proc/version' as never, 1)).toThrow(TypeError)
    expect(() => socket.readFiles([5 as never], 1)).toThrow(TypeError)
    expect(() => socket.readFiles(['/proc/version', ''], 1)).toThrow(RangeError)
    expect(() => socket.readFiles(['/proc/version'], -1)).toThrow(RangeError)
    expect(() => socket.readFiles(['/proc/version'], 2 ** 20 + 1)).toThrow(RangeError)
  })
})
