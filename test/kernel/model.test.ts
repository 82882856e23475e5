import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryKernel } from '../../lib/testing.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { concat } from '../helpers/bytes.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { cases } from '../helpers/depth.ts'
import { nest, u32 } from '../helpers/kernel-bytes.ts'
import { withKernel } from '../helpers/kernel-conformance.ts'
import { anyRequest, type RandomRequest, usualServices } from '../helpers/kernel-requests.ts'
import { ask, list, wholeTable } from '../helpers/kernel-table.ts'
import { kernelTests } from '../helpers/kernel.ts'
import { INTERFACES } from '../helpers/memory.ts'
import { patient } from '../helpers/patience.mjs'
import { chooseSeed } from '../helpers/random.ts'

/**
 * The same random requests go to the in-memory kernel and to the real one: after
 * each, the answer and the whole table must be the same bytes.
 */

/** Sequences. The guest of 6.12 is slow. */
const RUNS = process.env.IPVS_GUEST === '6.12' ? cases(40, 200) : cases(200, 2000)
/** Sequences in one network namespace: what they delete makes adding slower, for minutes. */
const RUNS_EACH = 200
const LONGEST = 30

/** How often each outcome came. */
const outcomes = new Map<string, number>()

function count(outcome: string | readonly string[]): void {
  const name = typeof outcome !== 'string' ? 'dump' : outcome.startsWith('flags') ? 'read' : outcome
  outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
}

class Step implements fc.AsyncCommand<Transport, Transport> {
  readonly #request: RandomRequest

  constructor(request: RandomRequest) {
    this.#request = request
  }

  check(): boolean {
    return true
  }

  async run(memory: Transport, real: Transport): Promise<void> {
    const outcome = await this.#send(real)
    count(outcome)
    expect(await this.#send(memory), 'the answer').toEqual(outcome)
    const lines = await wholeTable(real)
    expect(await wholeTable(memory), 'the table').toEqual(lines)
  }

  toString(): string {
    const { command, dump, attributes } = this.#request
    return `${dump ? 'dump' : 'do'} ${String(command)} ${Buffer.from(concat(...attributes)).toString('hex')}`
  }

  #send(transport: Transport): Promise<string | string[]> {
    const { command, dump, attributes } = this.#request
    return (dump ? list : ask)(transport, command, ...attributes)
  }
}

/** Brings the namespace of the real kernel back to what a new one is, but for what was deleted. */
async function reset(real: Transport): Promise<void> {
  for (const state of [1, 2]) await ask(real, COMMANDS.deleteDaemon, nest(3, u32(1, state)))
  await ask(real, COMMANDS.flush)
  await ask(real, COMMANDS.setConfig, u32(4, 900), u32(5, 120), u32(6, 300))
}

kernelTests('the in-memory kernel and the real one', () => {
  test(
    `answer the same to ${RUNS} random sequences of requests`,
    { timeout: patient(RUNS * 1000) },
    async () => {
      const seed = chooseSeed('the model')
      outcomes.clear()
      for (let done = 0; done < RUNS; done += RUNS_EACH) {
        await withKernel(async ({ transport, version, hz, hashSeed }) => {
          const sequences = fc.commands([anyRequest.map((request) => new Step(request))], {
            maxCommands: LONGEST,
            size: 'max',
          })
          const property = fc.asyncProperty(
            fc.subarray([...usualServices]),
            sequences,
            async (first, steps) => {
              const memory = createMemoryKernel({ version, hz, hashSeed, interfaces: INTERFACES })
              try {
                for (const request of first) await new Step(request).run(memory, transport)
                await fc.asyncModelRun(() => ({ model: memory, real: transport }), steps)
              } finally {
                await reset(transport)
              }
            },
          )
          await fc.assert(property, { seed: seed + done, numRuns: Math.min(RUNS_EACH, RUNS - done) })
        })
      }
      const counted = [...outcomes].sort(([, one], [, other]) => other - one)
      console.log(`the model, answered alike: ${counted.map((pair) => pair.join(' ')).join(', ')}`)
      // Requests that are all refused would prove nothing.
      expect(outcomes.get('ok')).toBeGreaterThan(RUNS)
    },
  )
})
