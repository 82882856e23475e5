import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMemoryKernel } from '../../lib/testing.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { COMMANDS, join, nest, u32 } from '../helpers/kernel-bytes.ts'
import { withKernel } from '../helpers/kernel-conformance.ts'
import { anyRequest, type RandomRequest } from '../helpers/kernel-requests.ts'
import { ask, list, wholeTable } from '../helpers/kernel-table.ts'
import { kernelTests } from '../helpers/kernel.ts'
import { INTERFACES } from '../helpers/memory.ts'

/**
 * The same random requests go to the in-memory kernel and to the real one: after
 * each, the answer and the whole table must be the same bytes. IPVS_MODEL_RUNS
 * says how many sequences (2,000; on the slow guest of 6.12 200), IPVS_SEED repeats them.
 */

const RUNS = Number(process.env.IPVS_MODEL_RUNS ?? (process.env.IPVS_GUEST === '6.12' ? 200 : 2000))
/** Sequences in one network namespace: what they delete makes adding slower, for minutes. */
const RUNS_EACH = 200
const LONGEST = 30
const SEED = process.env.IPVS_SEED === undefined ? Date.now() | 0 : Number(process.env.IPVS_SEED)

/** The two kernels, each through its transport. */
interface Both {
  readonly real: Transport
  /** Master and backup, if the real kernel was told to start them. */
  readonly daemons: Set<number>
}

/** How often each outcome came. */
const outcomes = new Map<string, number>()

function count(outcome: string | readonly string[]): void {
  const name = typeof outcome !== 'string' ? 'dump' : outcome.startsWith('flags') ? 'read' : outcome
  outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
}

class Step implements fc.AsyncCommand<Transport, Both> {
  readonly #request: RandomRequest

  constructor(request: RandomRequest) {
    this.#request = request
  }

  check(): boolean {
    return true
  }

  async run(memory: Transport, both: Both): Promise<void> {
    const outcome = await this.#send(both.real)
    count(outcome)
    expect(await this.#send(memory), 'the answer').toEqual(outcome)
    const lines = await wholeTable(both.real)
    expect(await wholeTable(memory), 'the table').toEqual(lines)
    if (this.#request.command === COMMANDS.newDaemon && outcome === 'ok') {
      for (const state of [1, 2]) {
        const runs = lines.some((line) => line.includes(` command 9 version 1: 3:{ 1:0${String(state)}`))
        if (!runs || both.daemons.has(state)) continue
        both.daemons.add(state)
      }
    }
    if (this.#request.command === COMMANDS.deleteDaemon && outcome === 'ok') await stopDaemons(both, memory)
  }

  toString(): string {
    const { command, dump, attributes } = this.#request
    return `${dump ? 'dump' : 'do'} ${String(command)} ${Buffer.from(join(...attributes)).toString('hex')}`
  }

  #send(transport: Transport): Promise<string | string[]> {
    const { command, dump, attributes } = this.#request
    return (dump ? list : ask)(transport, command, ...attributes)
  }
}

async function stopDaemons({ real, daemons }: Both, memory?: Transport): Promise<void> {
  for (const state of daemons) {
    for (const transport of memory === undefined ? [real] : [real, memory]) {
      await ask(transport, COMMANDS.deleteDaemon, nest(3, u32(1, state)))
    }
  }
  daemons.clear()
}

kernelTests('the in-memory kernel and the real one', () => {
  test(`answer the same to ${String(RUNS)} random sequences of requests`, { timeout: 580_000 }, async () => {
    console.log(`the model: IPVS_SEED=${String(SEED)} IPVS_MODEL_RUNS=${String(RUNS)}`)
    outcomes.clear()
    for (let done = 0; done < RUNS; done += RUNS_EACH) {
      await withKernel(async ({ transport, version, hz, hashSeed }) => {
        const sequences = fc.commands([anyRequest.map((request) => new Step(request))], {
          maxCommands: LONGEST,
          size: 'max',
        })
        const property = fc.asyncProperty(sequences, async (steps) => {
          const both: Both = { real: transport, daemons: new Set() }
          const memory = createMemoryKernel({ version, hz, hashSeed, interfaces: INTERFACES })
          try {
            await fc.asyncModelRun(() => ({ model: memory, real: both }), steps)
          } finally {
            await stopDaemons(both)
            await ask(transport, COMMANDS.flush)
            await ask(transport, COMMANDS.setConfig, u32(4, 900), u32(5, 120), u32(6, 300))
          }
        })
        await fc.assert(property, { seed: SEED + done, numRuns: Math.min(RUNS_EACH, RUNS - done) })
      })
    }
    const counted = [...outcomes].sort(([, one], [, other]) => other - one)
    console.log(`the model, answered alike: ${counted.map((pair) => pair.join(' ')).join(', ')}`)
    // Requests that are all refused would prove nothing.
    expect(outcomes.get('ok')).toBeGreaterThan(RUNS)
  })
})
