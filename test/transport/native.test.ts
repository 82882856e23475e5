import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Addon,
  type AddonFile,
  type AddonSocket,
  type DumpResult,
  type Failure,
  type FileContent,
  INTERFACE_VERSION,
} from '../../lib/transport/addon.ts'
import { concat } from '../helpers/bytes.ts'
import { destMessage, serviceMessage, WEB } from '../session/replies.ts'

/** What native.ts makes of the addon's answers: here an addon gives them that asks no kernel. */

let file: FileContent
let dump: DumpResult
const released: (readonly ArrayBuffer[])[] = []

class FakeSocket implements AddonSocket {
  open = (): Promise<undefined> => Promise.resolve(undefined)
  batch = () => Promise.resolve({ outcomes: [] })
  dump = (): Promise<DumpResult> => Promise.resolve(dump)
  dumpOfDumps = (): Promise<DumpResult> => Promise.resolve(dump)
  readFiles = (paths: readonly string[]): Promise<FileContent[]> => Promise.resolve(paths.map(() => file))
  writeFile = () => Promise.resolve(undefined)
  close = (): void => undefined

  release(messages: readonly ArrayBuffer[]): void {
    released.push(messages)
    // They are gone, as the addon's are.
    for (const buffer of messages) structuredClone(buffer, { transfer: [buffer] })
  }
}

class FakeFile implements AddonFile {
  open = (): Promise<Failure | undefined> => Promise.resolve(file.failure)
  read = (): Promise<FileContent> => Promise.resolve({})
  close = (): void => undefined
}

const addon: Addon = {
  interfaceVersion: INTERFACE_VERSION,
  Socket: FakeSocket,
  File: FakeFile,
  lockFile: () => undefined,
  notify: () => undefined,
  constants: {},
}
let Ipvs: typeof import('../../lib/ipvs.ts').Ipvs
// native.ts looks for the addon once, so this library is loaded anew, and so is that of the tests after these.
beforeAll(async () => {
  vi.stubEnv('IPVS_ADDON', import.meta.filename)
  vi.spyOn(process, 'dlopen').mockImplementation((module) => {
    Object.assign(module, { exports: addon })
  })
  vi.resetModules()
  ;({ Ipvs } = await import('../../lib/ipvs.ts'))
})
afterAll(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  vi.resetModules()
})

beforeEach(() => {
  released.length = 0
})

describe('a sysctl', () => {
  const bytesOf = (text: string): ArrayBuffer => Uint8Array.from(new TextEncoder().encode(text)).buffer

  test('is the text of its file, and absent where there is no file', async () => {
    const ipvs = await Ipvs.open()
    file = { bytes: bytesOf('3\t50\n') }
    expect(await ipvs.sysctl('sync_threshold')).toBe('3\t50')
    file = { failure: { errno: 2, operation: 'open' } }
    expect(await ipvs.sysctl('sync_threshold')).toBeUndefined()
    expect(await ipvs.sysctls()).toEqual({})
  })

  test.each<[string, Failure, object]>([
    ['too many open files', { errno: 24, operation: 'open' }, { code: 'EMFILE', syscall: 'open' }],
    ['no permission', { errno: 13, operation: 'open' }, { code: 'EACCES', syscall: 'open' }],
    ['a read that fails', { errno: 2, operation: 'read' }, { code: 'ENOENT', syscall: 'read' }],
    [
      'a namespace that cannot be entered',
      { errno: 1, operation: 'setns' },
      { code: 'EPERM', syscall: 'setns' },
    ],
    ['no thread for it', { errno: 11, operation: 'pthread_create' }, { code: 'EAGAIN' }],
    ['a namespace that is gone', { errno: 2, operation: 'netns' }, { code: 'ENOENT', syscall: 'open' }],
  ])('that cannot be read is not taken for absent: %s', async (_, failure, error) => {
    const ipvs = await Ipvs.open()
    file = { failure }
    await expect(ipvs.sysctl('conntrack')).rejects.toMatchObject({ ...error, command: 'sysctl' })
    await expect(ipvs.sysctls()).rejects.toMatchObject({ ...error, command: 'sysctls' })
    await expect(ipvs.connections().next()).rejects.toMatchObject({ ...error, command: 'connections' })
  })
})

describe('the memory of a dump', () => {
  const bufferOf = (...list: readonly Uint8Array[]): ArrayBuffer => Uint8Array.from(concat(...list)).buffer

  test('is given back whole, once, when its messages were read', async () => {
    const ipvs = await Ipvs.open()
    const first = [bufferOf(serviceMessage({ port: 1 })), bufferOf(serviceMessage({ port: 2 }))]
    dump = { messages: first, interrupted: false }
    expect((await ipvs.services()).map(({ key }) => key)).toMatchObject([{ port: 1 }, { port: 2 }])
    const second = [bufferOf(destMessage({ weight: 7 }))]
    dump = { messages: second, interrupted: false }
    expect(await ipvs.realServers(WEB)).toMatchObject([{ weight: 7 }])
    const third = [bufferOf(serviceMessage({ port: 3 }), destMessage())]
    dump = { messages: third, interrupted: false }
    expect(await ipvs.snapshot()).toHaveLength(1)
    expect(released).toEqual([first, second, third])
    expect(released.flat().every(({ byteLength }) => byteLength === 0)).toBe(true)
  })
})
