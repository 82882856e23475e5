import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { ROOT } from '../docs/markdown.ts'
import { ipvs } from './terminal.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

/** What an editor takes for the schema: the first word that follows. */
const MODELINE = /^# yaml-language-server: \$schema=(\S+)\n/

test('YAML in a file begins with the path of the schema, and only there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-schema-'))
  try {
    const kernel = createMemoryKernel()
    const path = join(folder, 'table.yml')
    expect(await ipvs(['save', path], { kernel })).toMatchObject({ status: 0 })
    expect(MODELINE.exec(readFileSync(path, 'utf8'))?.[1]).toBe(join(ROOT, 'state.schema.json'))
    // It is a comment for everything else.
    expect(await ipvs(['check', path])).toMatchObject({ status: 0 })
    expect(await ipvs(['diff', path, 'live'], { kernel })).toMatchObject({ status: 0, stderr: '' })
    expect((await ipvs('save --format yaml', { kernel })).stdout).toMatch(/^version: 1\n/)
    const json = join(folder, 'table.json')
    await ipvs(['save', json], { kernel })
    expect(readFileSync(json, 'utf8')).toMatch(/^\{/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a folder with a blank in its name is named by a URL', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipvs schema-'))
  try {
    mkdirSync(join(folder, 'lib/cli'), { recursive: true })
    cpSync(join(ROOT, 'lib/cli/schema-file.ts'), join(folder, 'lib/cli/schema-file.ts'))
    const copy = join(folder, 'lib/cli/schema-file.ts')
    const { schemaForEditors } = (await import(copy)) as typeof import('../../lib/cli/schema-file.ts')
    expect(schemaForEditors()).toBeUndefined()
    cpSync(join(ROOT, 'state.schema.json'), join(folder, 'state.schema.json'))
    const url = schemaForEditors() ?? ''
    expect(url).toMatch(/^file:\S+$/)
    expect(fileURLToPath(url)).toBe(join(folder, 'state.schema.json'))
  } finally {
    rmSync(folder, { recursive: true })
  }
})
