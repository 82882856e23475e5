import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { ipvs } from './terminal.ts'

const KEY = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const

let kernel: MemoryKernel
let table: Ipvs
let folder: string
let file: string

beforeEach(async () => {
  kernel = createMemoryKernel()
  table = await Ipvs.open({ transport: kernel })
  await table.addService(KEY)
  folder = mkdtempSync(join(tmpdir(), 'ipvs-save-'))
  file = join(folder, 'table.json')
  return () => {
    rmSync(folder, { recursive: true })
  }
})

async function saveTimes(count: number, ...more: string[]): Promise<void> {
  for (let mark = 1; mark <= count; mark++) {
    await table.addService({ protocol: 'fwmark', fwmark: mark })
    expect(await ipvs(['save', file, ...more], { kernel })).toEqual({ status: 0, stdout: '', stderr: '' })
  }
}

describe('ipvs save', () => {
  test('keeps the version before', async () => {
    await saveTimes(3)
    expect(readdirSync(folder).sort()).toEqual(['table.json', 'table.json~'])
    expect(readFileSync(`${file}~`, 'utf8')).toContain('"fwmark": 2')
    expect(readFileSync(`${file}~`, 'utf8')).not.toContain('"fwmark": 3')
  })

  test.each([
    ['0', ['table.json']],
    ['2', ['table.json', 'table.json~', 'table.json~2']],
  ])('--keep %s keeps as many', async (number, names) => {
    await saveTimes(4, '--keep', number)
    expect(readdirSync(folder).sort()).toEqual(names)
  })

  test('refuses to replace services by an empty table, unless told to', async () => {
    await saveTimes(1)
    const before = readFileSync(file, 'utf8')
    await table.flush()
    const { status, stderr } = await ipvs(['save', file], { kernel })
    expect(status).toBe(3)
    expect(stderr).toBe(
      `ipvs: ${file} was not replaced: it has 2 services, and the table to save has none. If that is intended, give --allow-empty.\n`,
    )
    expect(readFileSync(file, 'utf8')).toBe(before)
    expect(await ipvs(['save', file, '--allow-empty'], { kernel })).toMatchObject({ status: 0 })
    expect(readFileSync(`${file}~`, 'utf8')).toBe(before)
  })

  test.each([
    'save --keep 3',
    'save - --allow-empty',
    'save --keep many table.json',
    'save --keep 101 table.json',
  ])('takes %s for a mistake', async (line) => {
    expect(await ipvs(line, { kernel })).toMatchObject({ status: 2, stdout: '' })
  })
})
