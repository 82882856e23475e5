import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  promises as fs,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { readState } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { until } from '../helpers/until.ts'

/** Files in folders where others may write, disks that are full, and what is not a file at all. */

const WEB = '-A -t 10.0.0.1:80 -s wlc\n'
const SAVED = `${WEB}--set 900 120 300\n`
const EVE = 4321

const isRoot = process.geteuid?.() === 0
if (!isRoot) console.error('\n*** SKIPPED: files of another user. That takes root.\n')

let folder: string
let ipvs: Ipvs
/** What every open file has its methods from. */
let handles: fs.FileHandle

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-others-'))
  ipvs = await Ipvs.open({ transport: createMemoryKernel() })
  await ipvs.restore(WEB)
  const file = await fs.open(folder)
  handles = Object.getPrototypeOf(file) as fs.FileHandle
  await file.close()
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})

const at = (name: string): string => join(folder, name)
const textOf = (name: string): string => readFileSync(at(name), 'utf8')
const failing = (code: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${code}: it fails`), { code, errno: -1, syscall: 'test' })

/** A method as it was before a test put another in its place. */
const original = (name: 'read' | 'sync'): ((...args: unknown[]) => Promise<unknown>) =>
  Reflect.get(handles, name) as (...args: unknown[]) => Promise<unknown>

/** Does something when the new file has been written and is about to reach the disk. */
function whenWritten(act: () => void): void {
  const sync = original('sync')
  vi.spyOn(handles, 'sync').mockImplementationOnce(async function (this: fs.FileHandle) {
    act()
    await sync.call(this)
  })
}

describe('a save', () => {
  test.each(['writeFile', 'chmod', 'sync', 'close'] as const)(
    'that fails in %s leaves the old file and nothing else, and names the file',
    async (method) => {
      writeFileSync(at('a.rules'), 'old')
      const { open } = fs
      vi.spyOn(fs, 'open').mockImplementation(async (path, ...args) => {
        const file = await open(path, ...args)
        if (!String(path).endsWith('.tmp')) return file
        const close = file.close.bind(file)
        return Object.assign(file, {
          async [method]() {
            if (method === 'close') await close()
            throw failing('ENOSPC')
          },
        })
      })
      const error = (await ipvs.saveToFile(at('a.rules')).catch((thrown: unknown) => thrown)) as Error
      expect(error).toMatchObject({ code: 'ENOSPC', path: at('a.rules') })
      expect(error.message).toBe(`ENOSPC: it fails '${at('a.rules')}'`)
      expect(textOf('a.rules')).toBe('old')
      expect(readdirSync(folder)).toEqual(['a.rules'])
    },
  )

  test.each(['rename', 'open'] as const)(
    'that fails in %s leaves the old file, and names the folder as it was given',
    async (method) => {
      writeFileSync(at('a.rules'), 'old')
      const { open } = fs
      vi.spyOn(fs, method).mockImplementation((async (path: string, ...args: []) => {
        if (method === 'open' && !path.endsWith('.tmp')) return open(path, ...args)
        throw Object.assign(failing('EACCES'), { path, message: `EACCES: denied '${path}'` })
      }) as never)
      const error = (await ipvs.saveToFile(at('a.rules')).catch((thrown: unknown) => thrown)) as Error
      expect(error).toMatchObject({ code: 'EACCES' })
      expect((error as { path?: string }).path).toMatch(new RegExp(`^${folder}/\\.ipvs-[0-9a-f]{8}\\.tmp$`))
      expect(error.message).not.toContain('/proc/')
      expect(textOf('a.rules')).toBe('old')
      expect(readdirSync(folder)).toEqual(['a.rules'])
    },
  )

  test('whose folder does not reach the disk says that the file was replaced', async () => {
    writeFileSync(at('a.rules'), 'old')
    const sync = original('sync')
    let code = 'EIO'
    vi.spyOn(handles, 'sync').mockImplementation(async function (this: fs.FileHandle) {
      if ((await this.stat()).isDirectory()) throw failing(code)
      await sync.call(this)
    })
    const saving = ipvs.saveToFile(at('a.rules'))
    await expect(saving).rejects.toMatchObject({ code: 'EIO', path: at('a.rules') })
    await expect(saving).rejects.toThrow('was replaced, but may be the old one again after a loss of power')
    expect(textOf('a.rules')).toBe(SAVED)
    // Of a file system that cannot.
    code = 'EINVAL'
    await ipvs.saveToFile(at('a.rules'))
  })

  test('to a disk that is full leaves the old file', async ({ skip }) => {
    mkdirSync(at('disk'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'none', at('disk')], { stdio: 'pipe' })
    } catch (error) {
      console.error(`\n*** SKIPPED: a full disk. ${(error as Error).message}\n`)
      skip()
    }
    try {
      await ipvs.saveToFile(at('disk/a.rules'))
      await ipvs.restore(
        Array.from({ length: 1200 }, (_, mark) => `-A -f ${String(mark + 1)} -s rr\n`).join(''),
        { maxDeletions: Infinity },
      )
      const saving = ipvs.saveToFile(at('disk/a.rules'))
      await expect(saving).rejects.toMatchObject({ code: 'ENOSPC', path: at('disk/a.rules') })
      expect(textOf('disk/a.rules')).toBe(SAVED)
      expect(readdirSync(at('disk'))).toEqual(['a.rules'])
    } finally {
      execFileSync('umount', [at('disk')])
    }
  })

  test('keeps no set-user-ID bit and no right of others, and leaves other names of the old file alone', async () => {
    writeFileSync(at('other'), 'old')
    linkSync(at('other'), at('a.rules'))
    chmodSync(at('a.rules'), 0o6755)
    await ipvs.saveToFile(at('a.rules'))
    expect(lstatSync(at('a.rules')).mode & 0o7777).toBe(0o600)
    expect(textOf('a.rules')).toBe(SAVED)
    expect(textOf('other')).toBe('old')
  })

  test('gives nobody the rights that a folder has for its new files', async ({ skip }) => {
    // user::rwx user:4321:rwx group::rwx mask::rwx other::rwx
    const program = `
import os, struct, sys
entries = [(1, 7, 2**32 - 1), (2, 7, 4321), (4, 7, 2**32 - 1), (16, 7, 2**32 - 1), (32, 7, 2**32 - 1)]
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
os.setxattr(sys.argv[1], 'system.posix_acl_default', acl)`
    try {
      execFileSync('python3', ['-c', program, folder], { stdio: 'pipe' })
    } catch (error) {
      console.error(`\n*** SKIPPED: a folder with access control lists. ${(error as Error).message}\n`)
      skip()
    }
    await ipvs.saveToFile(at('a.rules'))
    // The middle three are the mask: what anyone else has at most.
    expect(lstatSync(at('a.rules')).mode & 0o777).toBe(0o600)
    writeFileSync(at('other'), '')
    expect(lstatSync(at('other')).mode & 0o777).toBe(0o666)
  })

  test.each<[string, (path: string) => void]>([
    ['a FIFO', (path) => execFileSync('mkfifo', [path])],
    ['a folder', mkdirSync],
  ])('does not take the place of %s', async (_, make) => {
    make(at('a.rules'))
    const { ino } = lstatSync(at('a.rules'))
    const saving = ipvs.saveToFile(at('a.rules'))
    await expect(saving).rejects.toMatchObject({ code: 'EINVAL', path: at('a.rules') })
    await expect(saving).rejects.toThrow('is not a regular file and was not replaced')
    expect(lstatSync(at('a.rules')).ino).toBe(ino)
  })

  test('does not take the place of a device', async () => {
    await expect(ipvs.saveToFile('/dev/null', { format: 'ipvsadm' })).rejects.toMatchObject({
      code: 'EINVAL',
    })
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true)
  })

  test.each<[string, string, (path: string) => void]>([
    [
      'a link',
      'ELOOP',
      (path) => {
        symlinkSync(at('target'), path)
      },
    ],
    ['a FIFO', 'EINVAL', (path) => execFileSync('mkfifo', [path])],
  ])('does not take the place of %s that comes while it writes', async (_, code, make) => {
    writeFileSync(at('target'), 'precious')
    writeFileSync(at('a.rules'), 'old')
    whenWritten(() => {
      unlinkSync(at('a.rules'))
      make(at('a.rules'))
    })
    await expect(ipvs.saveToFile(at('a.rules'))).rejects.toMatchObject({ code, path: at('a.rules') })
    expect(lstatSync(at('a.rules')).isFile()).toBe(false)
    expect(textOf('target')).toBe('precious')
    expect(readdirSync(folder)).toEqual(['a.rules', 'target'])
  })

  test.runIf(isRoot)('by root puts nothing into a folder that takes the name of the first', async () => {
    for (const name of ['eve', 'precious']) mkdirSync(at(name))
    writeFileSync(at('eve/a.rules'), 'old')
    for (const name of ['eve', 'eve/a.rules']) chownSync(at(name), EVE, EVE)
    const { open } = fs
    vi.spyOn(fs, 'open').mockImplementation(async (path, ...args) => {
      if (String(path).endsWith('.tmp') && !existsSync(at('moved'))) {
        renameSync(at('eve'), at('moved'))
        symlinkSync(at('precious'), at('eve'))
      }
      return open(path, ...args)
    })
    await ipvs.saveToFile(at('eve/a.rules'))
    // Else the folder had a file of Eve's now, who may write into it what she likes.
    expect(readdirSync(at('precious'))).toEqual([])
    expect(textOf('moved/a.rules')).toBe(SAVED)
    expect(readdirSync(at('moved'))).toEqual(['a.rules', 'a.rules~'])
    expect(textOf('moved/a.rules~')).toBe('old')
    for (const name of readdirSync(at('moved'))) expect(lstatSync(at(`moved/${name}`)).uid).toBe(EVE)
  })

  test.runIf(isRoot)('by root does not give a file to the owner of another name of it', async () => {
    mkdirSync(at('eve'))
    chownSync(at('eve'), EVE, EVE)
    writeFileSync(at('roots'), 'old')
    linkSync(at('roots'), at('eve/a.rules'))
    await ipvs.saveToFile(at('eve/a.rules'))
    expect(lstatSync(at('eve/a.rules'))).toMatchObject({ uid: 0, nlink: 1 })
    expect(textOf('roots')).toBe('old')
    expect(lstatSync(at('roots')).uid).toBe(0)
  })

  test('removes what one that was killed has left, and nothing else', async () => {
    const hourAgo = Date.now() / 1000 - 3700
    const left = ['.ipvs-0123abcd.tmp', '.ipvs-ffffffff.tmp']
    const stays = [
      '.ipvs-00000000.tmp',
      '.ipvs-0123abcd.json',
      '.ipvs-01234.tmp',
      'a.ipvs-0123abcd.tmp',
      'x.tmp',
    ]
    for (const name of [...left, ...stays]) {
      writeFileSync(at(name), '')
      if (name !== '.ipvs-00000000.tmp') utimesSync(at(name), hourAgo, hourAgo)
    }
    mkdirSync(at('.ipvs-11111111.tmp'))
    utimesSync(at('.ipvs-11111111.tmp'), hourAgo, hourAgo)
    symlinkSync(at('x.tmp'), at('.ipvs-22222222.tmp'))
    if (isRoot) {
      writeFileSync(at('.ipvs-33333333.tmp'), '')
      chownSync(at('.ipvs-33333333.tmp'), EVE, EVE)
      utimesSync(at('.ipvs-33333333.tmp'), hourAgo, hourAgo)
      stays.push('.ipvs-33333333.tmp')
    }
    await ipvs.saveToFile(at('a.rules'))
    expect(readdirSync(folder)).toEqual(
      [...stays, '.ipvs-11111111.tmp', '.ipvs-22222222.tmp', 'a.rules'].sort(),
    )
  })

  test('takes names as they are', async () => {
    for (const name of ['two\nlines.rules', ' .rules', '$HOME.rules', 'ü.rules']) {
      await ipvs.saveToFile(at(name))
      expect(textOf(name)).toBe(SAVED)
      await ipvs.restoreFromFile(at(name))
    }
    // It would be a folder.
    const saving = ipvs.saveToFile(`${at('folder.rules')}/`, { format: 'ipvsadm' })
    await expect(saving).rejects.toMatchObject({ code: 'ENOTDIR' })
    expect(readdirSync(folder)).toHaveLength(4)
  })
})

describe('a file to read', () => {
  const refused = async (path: string, code: string, reason: string): Promise<void> => {
    const reading = readState(path, { format: 'ipvsadm' })
    await expect(reading).rejects.toMatchObject({ code, path })
    await expect(reading).rejects.toThrow(`${code}: ${path} ${reason}`)
  }

  test('that is a FIFO is refused, and does not hold up anything', async () => {
    execFileSync('mkfifo', [at('fifo')])
    symlinkSync(at('fifo'), at('link'))
    for (const name of ['fifo', 'link']) {
      await refused(at(name), 'EINVAL', 'is a FIFO, not a regular file, and was not read')
    }
    const errors: unknown[] = []
    const reconciler = ipvs.reconcile(
      { file: at('fifo') },
      { intervalMs: 10_000, onError: (error) => errors.push(error) },
    )
    await until('the run fails', () => errors.length > 0)
    await reconciler.stop()
    expect(errors).toMatchObject([{ code: 'EINVAL' }])
  })

  test('that becomes a FIFO just before it is opened is refused too', async () => {
    writeFileSync(at('a.rules'), WEB)
    const { open } = fs
    vi.spyOn(fs, 'open').mockImplementation((path, ...args) => {
      unlinkSync(at('a.rules'))
      execFileSync('mkfifo', [at('a.rules')])
      return open(path, ...args)
    })
    await refused(at('a.rules'), 'EINVAL', 'is a FIFO')
  })

  test('that is a device or a socket is refused', async () => {
    symlinkSync('/dev/zero', at('zeros'))
    await refused(at('zeros'), 'EINVAL', 'is a device')
    await refused('/dev/zero', 'EINVAL', 'is a device')
    const server = createServer().listen(at('socket'))
    await new Promise((resolve) => server.once('listening', resolve))
    await refused(at('socket'), 'EINVAL', 'is a socket')
    server.close()
  })

  test('that is longer than memory should hold is refused before it is read', async () => {
    writeFileSync(at('long.rules'), WEB)
    truncateSync(at('long.rules'), 2 ** 28 + 1)
    const read = vi.spyOn(handles, 'read')
    await refused(at('long.rules'), 'EFBIG', 'is longer than 268435456 bytes and was not read')
    expect(read).not.toHaveBeenCalled()
  })

  test('that never ends is left where it is too long', async () => {
    const zeros = openSync('/dev/zero', 'r')
    try {
      // As a shell's < /dev/zero.
      await refused(`/dev/fd/${String(zeros)}`, 'EFBIG', 'is longer than 268435456 bytes')
    } finally {
      closeSync(zeros)
    }
  })

  test('may be a pipe that a shell has opened, and is waited for', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const pipe = openSync(at('fifo'), constants.O_RDWR)
    const slept = vi.spyOn(globalThis, 'setTimeout')
    const reading = readState(`/dev/fd/${String(pipe)}`)
    await until('it waits', () => slept.mock.calls.length > 1)
    writeSync(pipe, WEB.slice(0, 9))
    await until('it waits for the rest', () => slept.mock.calls.length > 5)
    writeSync(pipe, WEB.slice(9))
    closeSync(pipe)
    expect((await reading).services).toMatchObject([{ address: '10.0.0.1', port: 80 }])
  })

  test('may be a pipe that brings nothing, which an abort ends', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const pipe = openSync(at('fifo'), constants.O_RDWR)
    const controller = new AbortController()
    const slept = vi.spyOn(globalThis, 'setTimeout')
    const reading = readState(`/dev/fd/${String(pipe)}`, { signal: controller.signal })
    await until('it waits', () => slept.mock.calls.length > 1)
    controller.abort('enough')
    await expect(reading).rejects.toBe('enough')
    closeSync(pipe)
  })

  test('may be /dev/null, and one of /proc, whose size is not known', async () => {
    expect(await readState('/dev/null', { format: 'ipvsadm' })).toMatchObject({ services: [] })
    await expect(readState('/proc/self/status', { format: 'ipvsadm' })).rejects.toThrow(
      '/proc/self/status: line 1',
    )
  })

  test('is read again where somebody writes to it, and refused where that does not end', async () => {
    const line = (port: number): string => `-A -t 10.0.0.1:${String(port)} -s wlc\n`
    writeFileSync(at('a.rules'), line(1))
    const read = original('read')
    let changes = 2
    vi.spyOn(handles, 'read').mockImplementation(async function (this: fs.FileHandle, ...args: unknown[]) {
      const got = (await read.apply(this, args)) as { bytesRead: number }
      // It has the first line of a file of two.
      if (changes > 0 && got.bytesRead === 0) appendFileSync(at('a.rules'), line(1 + changes--))
      return got as never
    })
    expect((await readState(at('a.rules'))).services).toHaveLength(3)
    changes = Infinity
    await refused(at('a.rules'), 'EAGAIN', 'was written to each time it was read; try again later')
  })

  test('leaves no file open', async () => {
    const opened = (): number =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder)
        } catch {
          return false
        }
      }).length
    writeFileSync(at('a.rules'), WEB)
    writeFileSync(at('broken.rules'), 'root:x:0:0\n')
    symlinkSync(at('a.rules'), at('link.rules'))
    execFileSync('mkfifo', [at('fifo')])
    await readState(at('a.rules'))
    await ipvs.saveToFile(at('a.rules'))
    for (const name of ['broken.rules', 'fifo', 'gone', '.'])
      await expect(readState(at(name))).rejects.toThrow()
    for (const name of ['link.rules', 'gone/a.rules'])
      await expect(ipvs.saveToFile(at(name))).rejects.toThrow()
    expect(opened()).toBe(0)
  })
})
