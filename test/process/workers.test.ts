import { describe, expect, test } from 'vitest'
import { cases } from '../helpers/depth.ts'
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

const WORKERS = '4'
const STAGES_PER_PROCESS = cases(5, 1)

/** How workers end, how many rounds of them at each stage, and what a worker ends with. */
const ENDINGS: readonly (readonly [ending: string, rounds: number, end: string])[] = [
  ['terminate', cases(2, 10), '1'],
  ['return', cases(1, 3), '0'],
  ['exit', cases(1, 3), '0'],
  ['throw', cases(1, 3), 'thrown on purpose'],
]

const PROCESSES = ENDINGS.flatMap(([ending, rounds, end]) =>
  Array.from({ length: STAGES.length / STAGES_PER_PROCESS }, (_, index) => {
    const stages = STAGES.slice(index * STAGES_PER_PROCESS, (index + 1) * STAGES_PER_PROCESS)
    return { ending, rounds: String(rounds), end, stages, first: stages[0] }
  }),
)

describe.concurrent('workers', () => {
  test.each(PROCESSES)(
    'at the stages from "$first" on end well by $ending',
    async ({ ending, rounds, end, stages }) => {
      expect(await run('workers', [ending, rounds, WORKERS, ...stages])).toEqual({
        code: 0,
        signal: null,
        stdout: stages.map((stage) => `${stage}: ${end}\n`).join(''),
        stderr: '',
      })
    },
  )

  test.each(STAGES)('that are %s end with the process', async (stage) => {
    expect(await run('exit-with-workers', [stage])).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })

  test('and scripts may be ended inside a call of the addon', async () => {
    const ends = (await runWell('inside', [])).trim().split('\n')
    expect(ends).toEqual([
      'fills exports: 1',
      'makes the constants: 1',
      'reads family: 1',
      'reads netns: 1',
      'reads scratch: 1',
      'reads timeoutMs: 1',
      'answers open(): 1',
      'answers batch(): 1',
      'answers dump(): 1',
      'reads a path: 1',
      'answers read(): 1',
      'releases a dump: 1',
      ...Array.from({ length: 5 }, () => 'ERR_SCRIPT_EXECUTION_TIMEOUT'),
    ])
  })
})
