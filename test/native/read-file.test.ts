import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { addon, EFBIG, ENOENT, rootTests } from './addon.ts'

const folder = mkdtempSync(join(tmpdir(), 'ipvs-read-file-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

test('readFile gives the bytes of a file', async () => {
  const { failure, bytes } = await addon.readFile('/proc/sys/kernel/ostype')
  expect(failure).toBeUndefined()
  expect(new TextDecoder().decode(bytes)).toBe('Linux\n')
})

test('readFile gives an empty buffer for an empty file', async () => {
  writeFileSync(join(folder, 'empty'), '')
  const { bytes } = await addon.readFile(join(folder, 'empty'))
  expect(bytes?.byteLength).toBe(0)
})

test('readFile takes 64 KiB and not a byte more', async () => {
  writeFileSync(join(folder, 'full'), new Uint8Array(65_536).fill(7))
  const { bytes } = await addon.readFile(join(folder, 'full'))
  expect(new Uint8Array(bytes as ArrayBuffer)).toEqual(new Uint8Array(65_536).fill(7))
  writeFileSync(join(folder, 'over'), new Uint8Array(65_537))
  expect(await addon.readFile(join(folder, 'over'))).toEqual({
    failure: { errno: EFBIG, operation: 'read' },
  })
})

test('readFile of a file or in a namespace that does not exist resolves with why', async () => {
  const failure = { errno: ENOENT, operation: 'open' }
  expect(await addon.readFile(join(folder, 'none'))).toEqual({ failure })
  expect(await addon.readFile('/proc/sys/kernel/ostype', join(folder, 'none'))).toEqual({ failure })
})

rootTests('with the right to enter namespaces', () => {
  test('readFile gives a file as the namespace has it', async () => {
    const { bytes } = await addon.readFile('/proc/thread-self/net/unix', '/proc/self/ns/net')
    expect(new TextDecoder().decode(bytes).split('\n')[0]).toBe(
      readFileSync('/proc/self/net/unix', 'utf8').split('\n')[0],
    )
  })
})
