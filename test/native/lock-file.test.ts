import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { tryLockFile } from '../../lib/transport/lock-file.ts'
import type { LockHolder, TransportLock } from '../../lib/transport/transport.ts'
import { addon, openFiles } from './addon.ts'
import { until } from '../helpers/until.ts'

/** The lock of a network namespace: the file behind it. */

const OWN = '/proc/self/ns/net'
const [EPERM, ENOENT, ELOOP] = [1, 2, 40]

let parent: string
let folder: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'ipvs-lock-'))
  folder = join(parent, 'ipvs')
})
afterEach(() => {
  rmSync(parent, { recursive: true })
})

async function locked(): Promise<TransportLock> {
  const taken = await tryLockFile(addon, OWN, folder)
  if (!('release' in taken)) throw new Error(JSON.stringify(taken))
  return taken
}

const lockFile = (): string => join(folder, readdirSync(folder)[0] ?? '')

test('a second one is told who has it, and gets it when the first has released it', async () => {
  const files = openFiles()
  const first = await locked()
  expect(await tryLockFile(addon, OWN, folder)).toEqual({
    holder: { pid: process.pid, command: expect.any(String) as string },
  })
  await first.release()
  await (await locked()).release()
  expect(openFiles()).toEqual(files)
})

test('it ends with a process that is killed', async () => {
  await (await locked()).release()
  const holder = spawn('flock', [lockFile(), 'sh', '-c', 'echo locked; read line'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(holder.stdout, 'data')
  writeFileSync(lockFile(), '{"pid": "4711"')
  expect(await tryLockFile(addon, OWN, folder)).toEqual({ holder: {} })
  writeFileSync(lockFile(), JSON.stringify({ pid: 4711, command: 7 }))
  expect(await tryLockFile(addon, OWN, folder)).toEqual({ holder: { pid: 4711 } satisfies LockHolder })
  // flock(1) gives the descriptor to its command, which has to end as well.
  holder.kill('SIGKILL')
  holder.stdin.end()
  const again = await until('it is free', async () => {
    const taken = await tryLockFile(addon, OWN, folder)
    return 'release' in taken && taken
  })
  await again.release()
})

test('only its owner may read the folder and the file', async () => {
  const lock = await locked()
  expect(lstatSync(folder).mode & 0o777).toBe(0o700)
  expect(lstatSync(lockFile()).mode & 0o777).toBe(0o600)
  await lock.release()
})

test('it is not had in a folder that others may write to, or behind a link', async () => {
  mkdirSync(folder)
  chmodSync(folder, 0o777)
  expect(await tryLockFile(addon, OWN, folder)).toEqual({ errno: EPERM, syscall: 'open' })
  chmodSync(folder, 0o755)
  await (await locked()).release()
  const file = lockFile()
  rmSync(file)
  symlinkSync(join(parent, 'elsewhere'), file)
  expect(await tryLockFile(addon, OWN, folder)).toEqual({ errno: ELOOP, syscall: 'open' })
  rmSync(folder, { recursive: true })
  symlinkSync(parent, folder)
  expect(await tryLockFile(addon, OWN, folder)).toEqual({ errno: EPERM, syscall: 'open' })
})

test('it is not had where there is no network namespace, or no place for the folder', async () => {
  expect(await tryLockFile(addon, join(parent, 'nothing'), folder)).toEqual({
    errno: ENOENT,
    syscall: 'stat',
  })
  expect(await tryLockFile(addon, OWN, join(parent, 'a/b'))).toEqual({ errno: ENOENT, syscall: 'mkdir' })
})
