import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from './markdown.ts'

test('the reference builds without a warning', { timeout: 120_000 }, () => {
  const typedoc = join(ROOT, 'node_modules/typedoc/bin/typedoc')
  const options = ['--emit', 'none', '--logLevel', 'Warn']
  expect(execFileSync(process.execPath, [typedoc, ...options], { cwd: ROOT, encoding: 'utf8' })).toBe('')
})
