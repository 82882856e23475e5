import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { addon, EINVAL, ENOENT } from './addon.ts'

/** What the addon does for a program on its host: a lock on a file, and messages to the service manager. */

const EBADF = 9
const EWOULDBLOCK = 11
const ECONNREFUSED = 111

let folder: string
const open: number[] = []
let child: ChildProcess | undefined
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-host-'))
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})
afterEach(() => {
  for (const fd of open.splice(0)) closeSync(fd)
  child?.kill('SIGKILL')
  child = undefined
})

function openFile(): number {
  const fd = openSync(join(folder, 'lock'), 'a+')
  open.push(fd)
  return fd
}

/** A service manager that prints each datagram that it gets, as JSON. */
async function manager(address: string): Promise<() => Promise<string>> {
  const program = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0', 1))
print('ready', flush=True)
while True: print(json.dumps(s.recv(65536).decode()), flush=True)`
  const python = spawn('python3', ['-c', program, address], { stdio: ['ignore', 'pipe', 'inherit'] })
  child = python
  const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<string> => String((await lines.next()).value)
  expect(await next()).toBe('ready')
  return async () => JSON.parse(await next()) as string
}

describe('lockFile()', () => {
  test('takes the lock of a file, which another open file then does not get until that is closed', () => {
    const [one, other] = [openFile(), openFile()]
    expect(addon.lockFile(one)).toBeUndefined()
    expect(addon.lockFile(one)).toBeUndefined()
    expect(addon.lockFile(other)).toEqual({ errno: EWOULDBLOCK, operation: 'flock' })
    closeSync(open.shift() ?? -1)
    expect(addon.lockFile(other)).toBeUndefined()
  })

  test('says of a descriptor that is not open that it is not', () => {
    expect(addon.lockFile(2147483647)).toEqual({ errno: EBADF, operation: 'flock' })
  })

  test('refuses what is not a descriptor', () => {
    for (const fd of [-1, 1.5, 2147483648, NaN]) expect(() => addon.lockFile(fd)).toThrow(RangeError)
    expect(() => addon.lockFile('3' as unknown as number)).toThrow(TypeError)
  })
})

describe('notify()', () => {
  test('sends a datagram to a path, and one to an abstract name', async () => {
    for (const address of [join(folder, 'notify'), `@ipvs-test-${String(process.pid)}`]) {
      const next = await manager(address)
      const told = next()
      expect(addon.notify(address, 'READY=1\nSTATUS=3 services, ünïcode')).toBeUndefined()
      expect(await told).toBe('READY=1\nSTATUS=3 services, ünïcode')
      child?.kill('SIGKILL')
    }
  })

  test('says why nobody was told', async () => {
    expect(addon.notify(join(folder, 'nothing'), 'READY=1')).toEqual({ errno: ENOENT, operation: 'sendmsg' })
    expect(addon.notify('x'.repeat(108), 'READY=1')).toEqual({ errno: EINVAL, operation: 'sendmsg' })
    const address = join(folder, 'ended')
    await manager(address)
    child?.kill('SIGKILL')
    await once(child as ChildProcess, 'close')
    expect(addon.notify(address, 'READY=1')).toEqual({ errno: ECONNREFUSED, operation: 'sendmsg' })
  })

  test('refuses what is not a socket or a text', () => {
    expect(() => addon.notify('', 'READY=1')).toThrow(RangeError)
    expect(() => addon.notify('/run/a\0b', 'READY=1')).toThrow(RangeError)
    expect(() => addon.notify('/run/notify', 1 as unknown as string)).toThrow(TypeError)
  })
})
