import { execFileSync } from 'node:child_process'
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

  test('gives these names', () => {
    expect(loaded.exports).toEqual(expect.arrayContaining(['Ipvs', 'IpvsError', 'RealServer', 'Service']))
  })
})
