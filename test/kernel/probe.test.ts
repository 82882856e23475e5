import { readdir, readlink } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { SCHEDULERS } from '../helpers/kernel-arbitraries.ts'
import { kernelTests, withNamespace } from '../helpers/kernel.ts'

kernelTests('probe', () => {
  test('finds all that this kernel can do: twos only in 6.12, for User Mode Linux has no such module', () =>
    withNamespace(async ({ ipvs, name }) => {
      const capabilities = await Ipvs.probe({ netns: name })
      expect(capabilities).toEqual({
        available: true,
        info: await ipvs.info(),
        ipv6: true,
        schedulers: SCHEDULERS.filter((scheduler) => scheduler !== 'none'),
        persistenceEngines: ['sip'],
        counters64: true,
        tunnelTypes: ['ipip', 'gue', 'gre'],
        mixedFamilies: true,
      })
    }))

  test('says what is so: each scheduler that it names is one that a service takes', () =>
    withNamespace(async ({ ipvs }) => {
      const { schedulers } = await Ipvs.probe()
      await Promise.all(
        schedulers.map((scheduler, index) =>
          ipvs.addService({ protocol: 'fwmark', fwmark: index + 1, scheduler }),
        ),
      )
      expect(new Set((await ipvs.services()).map(({ scheduler }) => scheduler))).toEqual(new Set(schedulers))
    }))

  test('leaves nothing behind: no namespace, no service, no open file', () =>
    withNamespace(async (netns) => {
      const own = await Ipvs.open()
      const left = async (): Promise<unknown> => ({
        names: (await readdir('/run/netns')).sort(),
        files: (
          await Promise.all(
            (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
          )
        )
          .filter((target) => target.startsWith('net:') || target.startsWith('socket:'))
          .sort(),
        here: await readlink('/proc/self/ns/net'),
        tables: await Promise.all([own.services(), netns.ipvs.services()]),
      })
      await netns.ipvs.addService({ protocol: 'fwmark', fwmark: 1 })
      const before = await left()
      await Ipvs.probe()
      await Ipvs.probe({ netns: netns.name })
      expect(await left()).toEqual(before)
      await own.close()
    }))
})
