import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { buildOnce } from '../../scripts/build-once.mjs'

test('the reference builds without a warning', () => {
  // A warning is an error here, whose message has it.
  expect(readdirSync(buildOnce('reference'))).toContain('index.html')
})
