import { describe, expect, test } from 'vitest'
import { rootTests } from '../native/addon.ts'
import { runWell } from './run.ts'

describe.concurrent('open files left behind', () => {
  test.each([
    'open and close 1,000 times',
    'close in mid-request 1,000 times',
    'fail to open 200 times',
    'close while opening 200 times',
    'drop 200 open sockets without closing them',
    'drop 50 sockets with a request under way',
    'drop 200 open files without closing them',
    'never open 1,000 sockets',
  ])('%s: none', async (name) => {
    expect(await runWell('leaks', [name], { flags: ['--expose-gc'] })).toBe('none\n')
  })

  rootTests('with the right to enter namespaces', () => {
    test('close 50 files of a namespace, and their sockets: none', async () => {
      expect(await runWell('leaks', ['close 50 files of a namespace, and their sockets'])).toBe('none\n')
    })
  })
})
