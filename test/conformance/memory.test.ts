import { describe, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { INTERFACES } from '../helpers/memory.ts'
import { CASES } from './cases.ts'

describe.each(['6.1', '6.12'] as const)('the in-memory kernel %s', (version) => {
  test.each(CASES)('$title', async ({ run }) => {
    const hz = version === '6.1' ? 100 : 250
    const hashSeed = 0x50
    const transport = createMemoryKernel({ version, hz, hashSeed, interfaces: INTERFACES })
    const ipvs = await Ipvs.open({ transport })
    await run({ transport, ipvs, version, hz, hashSeed })
    await ipvs.close()
  })
})
