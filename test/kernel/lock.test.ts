import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { type State } from '../../lib/index.ts'
import { kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'

/** Programs that change one table at the same time. */

const LIBRARY = fileURLToPath(new URL('../../dist/index.js', import.meta.url))
const ROUNDS = 4

/** A state that no mixture of it and another is like: every service has servers of one network. */
function stateOf(network: number): State {
  const servers = Array.from({ length: 3 }, (_, index) => ({
    address: `10.${String(network)}.0.${String(index + 1)}`,
    weight: network,
  }))
  return {
    services: Array.from({ length: 100 }, (_, index) => ({
      protocol: 'fwmark',
      fwmark: index + 1,
      realServers: servers,
    })),
  }
}

/** Another process with the library. */
function start(netns: Netns, program: string): ChildProcessWithoutNullStreams {
  const whole = `import { Ipvs } from ${JSON.stringify(LIBRARY)}; const ipvs = await Ipvs.open(); ${program}`
  return netns.start([process.execPath, '--input-type=module', '-e', whole])
}

kernelTests('two programs', () => {
  test('that apply states again and again leave one of them, whole, and never undo a step', async () => {
    await withNamespace(async (netns) => {
      const children = [1, 2].map((network) =>
        start(
          netns,
          `const state = ${JSON.stringify(stateOf(network))};
          for (let round = 0; round < ${String(ROUNDS)}; round++) await ipvs.apply(state, { force: true })`,
        ),
      )
      const errors: string[] = []
      for (const child of children) child.stderr.on('data', (piece) => errors.push(String(piece)))
      const ended = await Promise.all(children.map((child) => once(child, 'exit')))
      expect(errors.join('')).toBe('')
      expect(ended).toEqual([
        [0, null],
        [0, null],
      ])
      const table = await netns.ipvs.snapshot()
      const networks = new Set(table.flatMap((entry) => entry.realServers.map(({ weight }) => weight)))
      expect([table.length, networks.size]).toEqual([100, 1])
      expect(table.every((entry) => entry.realServers.length === 3)).toBe(true)
    })
  })

  test("wait for one another; a lock ends with its process, and is no other network namespace's", async () => {
    await withNamespace(async (netns) => {
      const holder = start(netns, `await ipvs.lock(); console.log('locked'); setInterval(() => {}, 1000)`)
      const [line] = (await once(createInterface({ input: holder.stdout }), 'line')) as [string]
      expect(line).toBe('locked')
      await expect(netns.ipvs.lock({ wait: false })).rejects.toMatchObject({
        code: 'ERR_IPVS_LOCKED',
        holder: { pid: holder.pid },
      })
      await withNamespace(async (other) => (await other.ipvs.lock({ wait: false })).release())

      const onWait = vi.fn()
      const waiting = netns.ipvs.lock({ onWait })
      const applied = netns.ipvs.apply(stateOf(1))
      await until('it waits', () => onWait.mock.calls.length > 0)
      expect(await netns.run(['ipvsadm', '-S', '-n'])).toBe('')
      holder.kill('SIGKILL')
      await (await waiting).release()
      await applied
    })
  })
})
