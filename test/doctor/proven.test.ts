import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { EXPLANATIONS } from '../../lib/doctor/findings/explanations.ts'

/** What no kernel of a guest can show, and why. */
const UNPROVEN = {
  'connections-near-limit': 'conn_max is new in Linux 7.2',
}

test('each finding is made, seen and mended on a real kernel', () => {
  const folder = new URL('../traffic/', import.meta.url)
  const tests = readdirSync(folder)
    .filter((file) => /^doctor.*\.test\.ts$/.test(file))
    .map((file) => readFileSync(new URL(file, folder), 'utf8'))
    .join('\n')
  const unproven = Object.keys(EXPLANATIONS).filter((code) => !tests.includes(`'${code}'`))
  expect(unproven).toEqual(Object.keys(UNPROVEN))
})
