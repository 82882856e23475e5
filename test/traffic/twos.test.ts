import { expect, test } from 'vitest'
import { kernelSince, kernelTests } from '../helpers/kernel.ts'
import { COUNT, counts, each, hold, namesOf, serve, server, withCrowd } from './crowd.ts'

/** The scheduler that User Mode Linux has no module of. */
kernelTests('the scheduler twos', () => {
  test.skipIf(!kernelSince(6, 12))(
    'gives the less busy of two that it draws, and nothing to a quiescent one',
    () =>
      withCrowd(async (site) => {
        const service = await serve(
          site,
          { scheduler: 'twos' },
          { ...each(['a', 'b', 'c', 'd']), e: { weight: 0 } },
        )
        const shares = counts(namesOf(await hold(site, service)))
        expect(Object.keys(shares).sort()).toEqual(['a', 'b', 'c', 'd'])
        // One draw alone would be within this in all but a few cases too; two keep within some few of the mean.
        for (const share of Object.values(shares)) expect(Math.abs(share - COUNT / 4)).toBeLessThanOrEqual(15)
        const { ipvs } = site.hosts.director
        const weights = await ipvs.realServers(service)
        expect(weights.find(({ port }) => port === server('e').port)).toMatchObject({ activeConnections: 0 })
      }),
  )
})
