import { readFile } from 'node:fs/promises'
import { expect } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { command, kernelTests } from '../helpers/kernel.ts'
import { inGuest, unload } from '../helpers/modules.ts'

const KEY = { protocol: 'fwmark', fwmark: 1, family: 'ipv4' } as const

/** The number by which requests reach ip_vs. */
async function familyId(): Promise<string> {
  const list = await command(['genl', 'ctrl', 'list'])
  return /Name: IPVS\s+ID: (\w+)/.exec(list)?.[1] ?? 'none'
}

kernelTests('reloading the module', () => {
  inGuest('gives ip_vs another number, and an open Ipvs goes on, whatever it is asked first', async () => {
    const asks: readonly ((ipvs: Ipvs) => Promise<unknown>)[] = [
      (ipvs) => ipvs.info(),
      (ipvs) => ipvs.services(),
      (ipvs) => ipvs.snapshot(),
      (ipvs) => expect(ipvs.realServers(KEY)).rejects.toMatchObject({ code: 'ESRCH' }),
      (ipvs) =>
        Promise.all([
          ipvs.addService(KEY),
          ipvs.editService(KEY, { scheduler: 'rr' }),
          ipvs.addRealServer(KEY, { address: '10.0.0.1' }),
          ipvs.snapshot().then((table) => {
            expect(table[0]?.realServers).toHaveLength(1)
          }),
          ipvs.deleteService(KEY),
        ]),
    ]
    await using ipvs = await Ipvs.open()
    await ipvs.info()
    for (const ask of asks) {
      const before = await familyId()
      await unload()
      await command(['modprobe', 'ip_vs'])
      expect(await familyId()).not.toBe(before)
      await ask(ipvs)
    }
  })

  inGuest('loads the module by itself when it is gone, as kernels since 5.16 do', async () => {
    await using ipvs = await Ipvs.open()
    await unload()
    expect(await familyId()).toBe('none')
    expect(await ipvs.services()).toEqual([])
    expect(await readFile('/proc/modules', 'utf8')).toMatch(/^ip_vs /m)
    await unload()
    await (await Ipvs.open()).close()
    expect(await readFile('/proc/modules', 'utf8')).toMatch(/^ip_vs /m)
  })
})
