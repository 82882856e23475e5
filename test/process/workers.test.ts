import { describe, expect, test } from 'vitest'
import { run, runWell } from './run.ts'

/** Worker threads that end at a stage of a socket's life, several at once and again and again. */

const STAGES = [
  'constructed',
  'opening',
  'opening in a scratch namespace',
  'open',
  'in a batch',
  'in a dump',
  'in a dump of dumps',
  'in a batch, and closed',
  'reading a file in a namespace',
  'on many sockets at once',
]

const ROUNDS = '10'
const WORKERS = '4'

describe.each(STAGES)('workers that are %s', (stage) => {
  test('and terminated', { timeout: 70_000 }, async () => {
    expect(JSON.parse(await runWell('workers', [stage, 'terminate', ROUNDS, WORKERS]))).toEqual([1])
  })

  test('and return without closing', { timeout: 70_000 }, async () => {
    expect(JSON.parse(await runWell('workers', [stage, 'return', '3', WORKERS]))).toEqual([0])
  })

  test('and exit', { timeout: 70_000 }, async () => {
    expect(JSON.parse(await runWell('workers', [stage, 'exit', '3', WORKERS]))).toEqual([0])
  })

  test('and throw', { timeout: 70_000 }, async () => {
    expect(JSON.parse(await runWell('workers', [stage, 'throw', '2', WORKERS]))).toEqual([
      'thrown on purpose',
    ])
  })

  test('when the process exits', async () => {
    expect(await run('exit-with-workers', [stage])).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})

// Until it ends a worker may still call, when no call to JavaScript succeeds any more.
describe.each(['call', 'construct'])('workers that %s again and again', (what) => {
  test('and are terminated', { timeout: 70_000 }, async () => {
    expect(JSON.parse(await runWell('busy-workers', [what, '100', '3']))).toEqual([1])
  })
})
