import { expect, test } from 'vitest'
import { formatState, Ipvs, parseState } from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { directors } from '../helpers/getting-started.ts'

/** Each kind of director of docs/getting-started.md is set up with the command and with the library, to the same table. */

/** The table after some work on an empty kernel. */
async function tableAfter(work: (ipvs: Ipvs) => Promise<unknown>): Promise<string> {
  const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
  await work(ipvs)
  const { services } = await ipvs.save()
  // The order of real servers is the kernel's: newest first.
  const sorted = services.map(({ realServers = [], ...service }) => ({
    ...service,
    realServers: [...realServers].sort((one, other) => (one.address < other.address ? -1 : 1)),
  }))
  return formatState({ services: sorted })
}

test('there are NAT, direct routing and tunnels', () => {
  expect(directors().map(({ title }) => title)).toEqual(['NAT', 'Direct routing', 'Tunnels'])
})

test.each(directors().map((one) => [one.title, one] as const))(
  '%s is the same with the command and with the library',
  async (_, { state, program }) => {
    const byFile = await tableAfter(async (ipvs) => ipvs.apply(await parseState(`${state}\n`)))
    const AsyncFunction = tableAfter.constructor as new (
      name: string,
      body: string,
    ) => (ipvs: Ipvs) => Promise<void>
    const byProgram = await tableAfter((ipvs) => new AsyncFunction('ipvs', program)(ipvs))
    expect(byProgram).toBe(byFile)
    expect(byFile).toContain('"method"')
  },
)
