import { readFileSync, readlinkSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import type { AddonSocket, SocketOptions } from '../../lib/transport/addon.ts'
import { concat } from '../helpers/bytes.ts'
import {
  addon,
  EINVAL,
  ENOENT,
  FAMILY_NAME,
  getFamily,
  GETFAMILY,
  openFiles,
  readFile,
  request,
  rootTests,
  withSocket,
} from './addon.ts'

const many = concat(...Array.from({ length: 5000 }, () => getFamily('nlctrl')))

/** O_CLOEXEC as /proc/self/fdinfo shows it. */
const O_CLOEXEC = 0o2000000

describe('open', () => {
  test('a family that does not exist is told as that', async () => {
    const socket = new addon.Socket({ family: 'no such family', timeoutMs: 1000 })
    expect(await socket.open()).toEqual({ errno: ENOENT, operation: 'family' })
    socket.close()
  })

  test('a network namespace that does not exist is told as that', async () => {
    const socket = new addon.Socket({ family: 'nlctrl', netns: '/run/netns/no such thing', timeoutMs: 1000 })
    expect(await socket.open()).toEqual({ errno: ENOENT, operation: 'netns' })
    // A failed open can be tried again.
    expect(await socket.open()).toEqual({ errno: ENOENT, operation: 'netns' })
    socket.close()
  })

  test('a file that is no network namespace is told as that', async () => {
    const socket = new addon.Socket({ family: 'nlctrl', netns: '/proc/self/status', timeoutMs: 1000 })
    expect(await socket.open()).toEqual({ errno: EINVAL, operation: 'setns' })
    socket.close()
  })

  rootTests('with the right to enter namespaces', () => {
    test('a socket can be opened in a namespace by its path', async () => {
      await withSocket(
        async (socket) => {
          const { outcomes } = await socket.batch(getFamily('nlctrl'), 1)
          expect(outcomes[0]?.data).toBeDefined()
        },
        { netns: '/proc/self/ns/net' },
      )
    })

    test('a scratch namespace is there for its socket and moves no other thread', async () => {
      const before = readlinkSync('/proc/thread-self/ns/net')
      await withSocket((socket) => socket.dump(request(GETFAMILY)), { scratch: true })
      expect(readlinkSync('/proc/thread-self/ns/net')).toBe(before)
      // The pool threads that ran it read the process's namespace as ever.
      const files = await Promise.all(
        Array.from({ length: 8 }, () =>
          withSocket((socket) => readFile(socket, '/proc/thread-self/net/dev')),
        ),
      )
      const seen = new Set(files.map(({ bytes }) => interfaces(new TextDecoder().decode(bytes))))
      expect(seen).toEqual(new Set([interfaces(readFileSync('/proc/self/net/dev', 'utf8'))]))
    })
  })
})

/** The names in /proc/net/dev, whose counters change. */
function interfaces(text: string): string {
  return Array.from(text.matchAll(/^\s*(\S+):/gm), (match) => match[1]).join(' ')
}

describe('one call at a time', () => {
  test('a second call while one is in flight throws, and the first is not harmed', async () => {
    await withSocket(async (socket) => {
      const first = socket.batch(many, 5000)
      expect(() => socket.batch(many, 5000)).toThrow('in flight')
      expect(() => socket.dump(request(GETFAMILY))).toThrow('in flight')
      expect(() => socket.dumpOfDumps(request(GETFAMILY), GETFAMILY, FAMILY_NAME)).toThrow('in flight')
      expect(() => socket.readFiles(['/proc/version'], 100)).toThrow('in flight')
      expect(() => new addon.File(socket, '/proc/version')).toThrow('in flight')
      expect(() => socket.writeFile('/dev/null', '')).toThrow('in flight')
      expect(() => socket.open()).toThrow('in flight')
      expect((await first).outcomes).toHaveLength(5000)
      expect((await socket.batch(many, 5000)).outcomes).toHaveLength(5000)
    })
  })

  test('calls before open and after close throw', async () => {
    const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 1000 })
    expect(() => socket.dump(request(GETFAMILY))).toThrow('not open')
    expect(() => new addon.File(socket, '/proc/version')).toThrow('not open')
    await socket.open()
    expect(() => socket.open()).toThrow('open already')
    socket.close()
    expect(() => socket.dump(request(GETFAMILY))).toThrow('closed')
    expect(() => socket.readFiles(['/proc/version'], 100)).toThrow('closed')
    expect(() => new addon.File(socket, '/proc/version')).toThrow('closed')
    expect(() => socket.writeFile('/dev/null', '')).toThrow('closed')
    expect(() => socket.open()).toThrow('closed')
  })
})

describe('close', () => {
  test('close may be called again, and before open', async () => {
    const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 1000 })
    socket.close()
    socket.close()
    await withSocket((opened) => {
      opened.close()
      opened.close()
    })
  })

  test('close lets a call in flight finish, and closes the file then', async () => {
    const before = openFiles()
    const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 5000 })
    await socket.open()
    expect(openFiles().length).toBe(before.length + 1)
    const call = socket.batch(many, 5000)
    socket.close()
    socket.close()
    const { failure, outcomes } = await call
    expect(failure).toBeUndefined()
    expect(outcomes.filter((outcome) => outcome?.data !== undefined)).toHaveLength(5000)
    expect(openFiles().length).toBe(before.length)
  })

  test('close while it opens closes the socket once it is open', async () => {
    const before = openFiles()
    const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 5000 })
    const opening = socket.open()
    socket.close()
    expect(await opening).toBeUndefined()
    expect(openFiles().length).toBe(before.length)
    expect(() => socket.dump(request(GETFAMILY))).toThrow('closed')
  })
})

describe('files', () => {
  test('opening and closing 200 sockets, a failure among them each time, leaks no file', async () => {
    const before = openFiles()
    for (let round = 0; round < 200; round += 1) {
      await withSocket((socket) => socket.dump(request(GETFAMILY)))
      const none = new addon.Socket({ family: 'nlctrl', netns: '/proc/self/status', timeoutMs: 1000 })
      await none.open()
    }
    expect(openFiles().length).toBe(before.length)
  })

  test('a program that is started does not inherit the socket', async () => {
    const before = new Set(openFiles())
    await withSocket(() => {
      const sockets = openFiles().filter((fd) => !before.has(fd))
      expect(sockets).toHaveLength(1)
      const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${sockets[0] ?? ''}`, 'utf8'))
      expect(Number.parseInt(flags?.[1] ?? '0', 8) & O_CLOEXEC).toBe(O_CLOEXEC)
    })
  })

  test('a socket that was dropped without close is closed when it is collected', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const before = openFiles()
    await (async () => {
      const socket = new addon.Socket({ family: 'nlctrl', timeoutMs: 1000 })
      await socket.open()
    })()
    for (let round = 0; round < 100 && openFiles().length > before.length; round += 1) {
      await turn()
      collect()
    }
    expect(openFiles().length).toBe(before.length)
  })
})

describe('wrong arguments throw at once', () => {
  const options = { family: 'nlctrl', timeoutMs: 1000 }
  const wrongOptions: [string, unknown, typeof TypeError | typeof RangeError][] = [
    ['no options', undefined, TypeError],
    ['null', null, TypeError],
    ['no family', { timeoutMs: 1000 }, TypeError],
    ['an empty family', { ...options, family: '' }, RangeError],
    ['a family of 16 characters', { ...options, family: 'a'.repeat(16) }, RangeError],
    ['a family with a NUL', { ...options, family: 'nl\0ctrl' }, RangeError],
    ['a netns that is no string', { ...options, netns: 5 }, TypeError],
    ['a netns with a NUL', { ...options, netns: '/proc\0' }, RangeError],
    ['a scratch that is no boolean', { ...options, scratch: 1 }, TypeError],
    ['scratch and netns', { ...options, scratch: true, netns: '/proc/self/ns/net' }, TypeError],
    ['no timeout', { family: 'nlctrl' }, TypeError],
    ['a timeout of 0', { ...options, timeoutMs: 0 }, RangeError],
    ['a timeout of 1.5', { ...options, timeoutMs: 1.5 }, RangeError],
    ['a timeout of NaN', { ...options, timeoutMs: Number.NaN }, RangeError],
    ['a timeout of 2^31', { ...options, timeoutMs: 2 ** 31 }, RangeError],
  ]
  test.each(wrongOptions)('new Socket with %s', (_, value, kind) => {
    expect(() => new addon.Socket(value as SocketOptions)).toThrow(kind)
  })

  test('new Socket with a getter that throws', () => {
    const wrong = {
      ...options,
      get netns(): string {
        throw new Error('from the getter')
      },
    }
    expect(() => new addon.Socket(wrong)).toThrow('from the getter')
  })

  test('Socket without new, and its methods on something else', () => {
    expect(() => {
      Reflect.apply(addon.Socket, undefined, [options])
    }).toThrow(TypeError)
    const stranger = Object.create(addon.Socket.prototype as object) as AddonSocket
    expect(() => stranger.open()).toThrow(TypeError)
  })

  const one = getFamily('nlctrl')
  const wrongRequests: [string, unknown, unknown, typeof TypeError | typeof RangeError][] = [
    ['no bytes', undefined, 1, TypeError],
    ['an array', [1, 2], 1, TypeError],
    ['an ArrayBuffer', one.buffer, 1, TypeError],
    ['a Uint16Array', new Uint16Array(one.length), 1, TypeError],
    ['no count', one, undefined, TypeError],
    ['a negative count', one, -1, RangeError],
    ['half a count', one, 0.5, RangeError],
    ['a count that is too high', one, 2, RangeError],
    ['a count of 2^32 - 1', one, 2 ** 32 - 1, RangeError],
    ['a count that is too low', concat(one, one), 1, RangeError],
    ['a cut request', one.subarray(0, one.length - 4), 1, RangeError],
    ['a length of 0', new Uint8Array(8), 1, RangeError],
  ]
  test.each(wrongRequests)('batch with %s', async (_, bytes, count, kind) => {
    await withSocket(async (socket) => {
      expect(() => socket.batch(bytes as Uint8Array, count as number)).toThrow(kind)
      // It did not count as a call in flight.
      expect((await socket.batch(one, 1)).failure).toBeUndefined()
    })
  })

  test('dump with anything but one request', async () => {
    await withSocket((socket) => {
      expect(() => socket.dump(concat(one, one))).toThrow(RangeError)
      expect(() => socket.dump(new Uint8Array())).toThrow(RangeError)
      expect(() => socket.dump('dump' as never)).toThrow(TypeError)
    })
  })

  test('dumpOfDumps with numbers out of range', async () => {
    await withSocket((socket) => {
      expect(() => socket.dumpOfDumps(one, 256, 1)).toThrow(RangeError)
      expect(() => socket.dumpOfDumps(one, -1, 1)).toThrow(RangeError)
      expect(() => socket.dumpOfDumps(one, 3, 0)).toThrow(RangeError)
      expect(() => socket.dumpOfDumps(one, 3, 0x4000)).toThrow(RangeError)
      expect(() => socket.dumpOfDumps(one, 3, '1' as never)).toThrow(TypeError)
    })
  })

  test('release of anything but ArrayBuffers', async () => {
    await withSocket((socket) => {
      expect(() => {
        socket.release(undefined as never)
      }).toThrow(TypeError)
      expect(() => {
        socket.release([new Uint8Array(4)] as never)
      }).toThrow(TypeError)
    })
  })
})
