import { beforeAll, describe, expect, test } from 'vitest'
import { buildLibrary, type BuiltLibrary } from '../helpers/built-library.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed, Random } from '../helpers/random.ts'
import { runWell } from './run.ts'

/**
 * Workers that are terminated at any moment, also between the stages of workers.test.ts. What is drawn follows from the
 * seed; what a moment meets is up to the threads.
 */

const ACTS = [
  'Ipvs.open()',
  'Ipvs.open() in a namespace',
  'Ipvs.probe()',
  'load',
  'construct',
  'open and close',
  'open a family that is not there',
  'open in namespaces',
  'batch',
  'dump',
  'read files',
  'close in mid-request',
  'use many sockets at once',
]

const WORKERS = cases(300, 5000)
const PER_PROCESS = 25
/** How long a worker does the same again and again at most: each takes less than this. */
const LIFE_US = 4000

/** What a worker does, and its end in milliseconds. */
type Life = readonly [act: string, moment: number]

const seed = chooseSeed('workers terminated at a moment of chance')
const random = new Random(seed)
const processes = Array.from({ length: WORKERS / PER_PROCESS }, (_, index) => ({
  number: index + 1,
  lanes: index % 2 === 0 ? 4 : 1,
  lives: Array.from({ length: PER_PROCESS }, (): Life => [random.pick(ACTS), random.below(LIFE_US) / 1000]),
}))

let library: BuiltLibrary
beforeAll(() => {
  library = buildLibrary()
})

describe.concurrent(`workers terminated at a moment of chance, seed ${String(seed)}`, () => {
  test.each(processes)('process $number, with $lanes at a time', async ({ lanes, lives }) => {
    const env = { IPVS_TEST_LIBRARY: library.url }
    expect(JSON.parse(await runWell('chance', [String(lanes), JSON.stringify(lives)], { env }))).toEqual([1])
  })
})
