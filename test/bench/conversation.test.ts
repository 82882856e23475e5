import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { recorded, replayed } from '../../bench/conversation.mjs'
import type { State } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import type { Dump, Transport } from '../../lib/transport/transport.ts'

/** A conversation with a kernel that is written down, and held again without it. */

const folder = mkdtempSync(join(tmpdir(), 'ipvs-conversation-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const STATE: State = {
  services: [1, 2].map((mark) => ({
    protocol: 'fwmark',
    fwmark: mark,
    realServers: Array.from({ length: 300 }, (_, index) => ({
      address: `10.${String(mark)}.${String(index >> 8)}.${String(index & 255)}`,
    })),
  })),
  sysctls: { conntrack: '1' },
}

/** Takes the memory of its dumps back, as the addon does. */
function lending(kernel: Transport): Transport {
  const lent = async (dump: Promise<Dump>): Promise<Dump> => {
    const { messages, ...rest } = await dump
    const copies = messages.map((block) => block.slice())
    const release = (): void => {
      for (const block of copies) block.fill(0)
    }
    return { ...rest, messages: copies, release }
  }
  return new Proxy(kernel, {
    get(target, method) {
      if (method === 'dump') return (request: never) => lent(target.dump(request))
      if (method === 'dumpOfDumps')
        return (...given: Parameters<Transport['dumpOfDumps']>) => lent(target.dumpOfDumps(...given))
      const found: unknown = Reflect.get(target, method)
      return typeof found === 'function' ? (found.bind(target) as unknown) : found
    },
  })
}

async function work(transport: Transport): Promise<unknown[]> {
  const ipvs = await Ipvs.open({ transport })
  await ipvs.restore(STATE)
  const seen = [
    await ipvs.save({ sysctls: ['conntrack'] }),
    await ipvs.snapshot(),
    (await ipvs.plan({ services: [] })).steps,
    await ipvs.deleteService({ protocol: 'fwmark', fwmark: 9 }).catch((error: unknown) => String(error)),
    await ipvs.info(),
  ]
  await ipvs.close()
  return JSON.parse(JSON.stringify(seen)) as unknown[]
}

test('is the same to the library, without the kernel', async () => {
  const file = join(folder, 'same')
  const { transport, save } = recorded(lending(createMemoryKernel()))
  const seen = await work(transport)
  save(file)
  expect(seen[1]).toHaveLength(2)
  expect(await work(replayed(file))).toEqual(seen)
  // And again: nothing of it was used up.
  expect(await work(replayed(file))).toEqual(seen)
})

test('answers from the thread pool, and not before it was asked', async () => {
  const file = join(folder, 'pool')
  const { transport, save } = recorded(createMemoryKernel())
  await (await Ipvs.open({ transport })).info()
  save(file)
  const replay = replayed(file)
  let answered = false
  const answer = replay.batch([]).then(() => (answered = true))
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
  expect(answered).toBe(false)
  await answer
})

test('refuses to go on where it is asked something else', async () => {
  const file = join(folder, 'other')
  const { transport, save } = recorded(createMemoryKernel())
  await (await Ipvs.open({ transport })).info()
  save(file)
  const ipvs = await Ipvs.open({ transport: replayed(file) })
  await expect(ipvs.services()).rejects.toMatchObject({
    code: 'ERR_ASSERTION',
    actual: 'dump',
    expected: 'batch',
  })
})
