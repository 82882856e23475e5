import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { addon, EFBIG, EINVAL, ENOENT, rootTests } from './addon.ts'

const folder = mkdtempSync(join(tmpdir(), 'ipvs-files-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

test('readFile gives the bytes of a file', async () => {
  const { failure, bytes } = await addon.readFile('/proc/sys/kernel/ostype', undefined, 100)
  expect(failure).toBeUndefined()
  expect(new TextDecoder().decode(bytes)).toBe('Linux\n')
})

test('readFile gives an empty buffer for an empty file', async () => {
  writeFileSync(join(folder, 'empty'), '')
  const { bytes } = await addon.readFile(join(folder, 'empty'), undefined, 0)
  expect(bytes?.byteLength).toBe(0)
})

test('readFile takes as much as is allowed and not a byte more', async () => {
  const content = Uint8Array.from({ length: 200_000 }, (_, index) => index)
  writeFileSync(join(folder, 'full'), content)
  const { bytes } = await addon.readFile(join(folder, 'full'), undefined, 200_000)
  expect(new Uint8Array(bytes as ArrayBuffer)).toEqual(content)
  expect(await addon.readFile(join(folder, 'full'), undefined, 199_999)).toEqual({
    failure: { errno: EFBIG, operation: 'read' },
  })
})

test('readFile of a file or in a namespace that does not exist resolves with why', async () => {
  const failure = { errno: ENOENT, operation: 'open' }
  expect(await addon.readFile(join(folder, 'none'), undefined, 1)).toEqual({ failure })
  expect(await addon.readFile('/proc/sys/kernel/ostype', join(folder, 'none'), 1)).toEqual({ failure })
})

test('writeFile writes to a file that exists, and says why it cannot', async () => {
  writeFileSync(join(folder, 'written'), '0')
  expect(await addon.writeFile(join(folder, 'written'), undefined, '1')).toBeUndefined()
  expect(readFileSync(join(folder, 'written'), 'utf8')).toBe('1')
  expect(await addon.writeFile(join(folder, 'none'), undefined, '1')).toEqual({
    errno: ENOENT,
    operation: 'open',
  })
  expect((await addon.writeFile('/dev/full', undefined, '1'))?.operation).toBe('write')
})

rootTests('with the right to enter namespaces', () => {
  test('readFile gives a file as the namespace has it', async () => {
    const { bytes } = await addon.readFile('/proc/thread-self/net/unix', '/proc/self/ns/net', 1 << 20)
    expect(new TextDecoder().decode(bytes).split('\n')[0]).toBe(
      readFileSync('/proc/self/net/unix', 'utf8').split('\n')[0],
    )
  })

  test('writeFile says what the file of the namespace says', async () => {
    const failure = await addon.writeFile('/proc/sys/net/ipv4/ip_default_ttl', '/proc/self/ns/net', '999')
    expect(failure).toEqual({ errno: EINVAL, operation: 'write' })
  })
})

test('what is no path, size or content throws', () => {
  expect(() => addon.readFile(5 as never, undefined, 1)).toThrow(TypeError)
  expect(() => addon.readFile('', undefined, 1)).toThrow(RangeError)
  expect(() => addon.readFile('/proc\0', undefined, 1)).toThrow(RangeError)
  expect(() => addon.readFile('/proc', null as never, 1)).toThrow(TypeError)
  expect(() => addon.readFile('/proc/version', undefined, -1)).toThrow(RangeError)
  expect(() => addon.readFile('/proc/version', undefined, 2 ** 28 + 1)).toThrow(RangeError)
  expect(() => addon.writeFile('/dev/null', undefined, 7 as never)).toThrow(TypeError)
})
