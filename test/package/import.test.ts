import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildLibrary } from '../helpers/built-library.ts'

describe('importing the library', () => {
  let loaded: { addon: boolean; handles: string[]; exports: string[] }

  beforeAll(() => {
    // A child that shows what importing did, in a process where nothing else was imported.
    const script = `
      const dlopen = process.dlopen
      let addon = false
      process.dlopen = (...values) => { addon = true; return dlopen.apply(process, values) }
      const handles = process.getActiveResourcesInfo()
      const ipvs = await import(process.env.IPVS_TEST_LIBRARY)
      // Reading the files has to end first.
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
      const more = process.getActiveResourcesInfo().filter((name) => !handles.includes(name))
      console.log(JSON.stringify({ addon, handles: more, exports: Object.keys(ipvs).sort() }))
    `
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, IPVS_TEST_LIBRARY: buildLibrary().url, NODE_DEBUG: '' },
      encoding: 'utf8',
    })
    loaded = JSON.parse(output) as typeof loaded
  })

  test('does not load the addon', () => {
    expect(loaded.addon).toBe(false)
  })

  test('starts nothing', () => {
    expect(loaded.handles).toEqual([])
  })

  test('does not load the doctor', () => {
    const dist = fileURLToPath(new URL('.', buildLibrary().url))
    const [index, doctor] = ['index.js', 'doctor.js'].map((file) => readFileSync(join(dist, file), 'utf8'))
    // What only the doctor knows.
    expect(doctor).toContain('send_redirects')
    expect(index).not.toContain('send_redirects')
    expect(index).toContain('import("./doctor.js")')
  })

  test('loads the doctor when it is asked', () => {
    const script = `
      const { diagnose } = await import(process.env.IPVS_TEST_LIBRARY)
      console.log((await diagnose({ role: 'router' }).catch((error) => error)).message)
    `
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, IPVS_TEST_LIBRARY: buildLibrary().url, NODE_DEBUG: '' },
      encoding: 'utf8',
    })
    expect(output).toMatch(/^role must be .*'router'/)
  })

  test('gives these names', () => {
    expect(loaded.exports).toEqual(expect.arrayContaining(['Ipvs', 'IpvsError', 'RealServer', 'Service']))
  })
})
