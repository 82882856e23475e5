import { describe, expect, test } from 'vitest'
import { run, runWell } from './run.ts'

/** A process ends at every stage of a socket's life: as it would have without the addon, and soon. */

const STAGES = [
  'loaded',
  'constructed',
  'opening',
  'opening a family that is not there',
  'opening in a scratch namespace',
  'opening in a namespace that is not there',
  'opening and closed',
  'open',
  'in a batch',
  'in a batch that fails',
  'in a dump',
  'in a dump of dumps',
  'in a batch, and closed',
  'reading a file',
  'reading a file in a namespace',
  'on many sockets at once',
  'closed',
]

describe.concurrent.each(STAGES)('a process that ends %s', (stage) => {
  test.each(['return', 'exit', 'exit after a tick'])('by %s ends well', async (ending) => {
    await runWell('end', [stage, ending])
  })

  test.each(['throw', 'throw in a callback'])('by %s says so, and nothing else', async (ending) => {
    const { code, signal, stdout, stderr } = await run('end', [stage, ending])
    expect({ code, signal, stdout }).toEqual({ code: 1, signal: null, stdout: '' })
    expect(stderr).toContain('Error: thrown on purpose')
    expect(stderr).not.toMatch(/FATAL|node::|assert/i)
  })

  test('by a signal is ended by it', async () => {
    expect(await run('end', [stage, 'signal'])).toEqual({
      code: null,
      signal: 'SIGTERM',
      stdout: '',
      stderr: '',
    })
  })
})
