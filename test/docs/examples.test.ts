import { describe, expect, test } from 'vitest'
import { examples, pages } from './markdown.ts'
import { typeErrors } from './typescript.ts'

const COMPILER_MS = 120_000

describe('examples', () => {
  const all = pages().flatMap((page) => examples(page, 'ts'))

  test('are there', () => {
    expect(all.length).toBeGreaterThan(10)
  })

  test('compile, all of them', { timeout: COMPILER_MS }, () => {
    expect(typeErrors(all)).toEqual([])
  })

  test('that are wrong do not compile', { timeout: COMPILER_MS }, () => {
    const code = `await ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', prot: 80 })`
    const errors = typeErrors([
      { place: 'here:1', code },
      { place: 'here:2', code: `import { Ipvs } from 'ipvs'\n\nconst ipvs: string = await Ipvs.open()` },
      { place: 'here:3', code: 'const { weight } = await server.edit({ weight: 2 })' },
    ])
    expect(errors).toHaveLength(2)
    expect(errors[0]).toMatch(/^here:1, line 1 of the example: .*'prot' does not exist/s)
    expect(errors[1]).toMatch(/^here:2, line 3 of the example: .*not assignable/s)
  })
})
