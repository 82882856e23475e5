import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { Command } from '../../lib/model/constants.ts'
import { kernelServiceOf } from '../../lib/model/service-settings.ts'
import type { ServiceSpec } from '../../lib/model/types.ts'
import { commands, encodeService } from '../../lib/session/requests.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { formatState } from '../../lib/text.ts'
import { MARK, server, start, WEB } from './setup.ts'

/** save() on the in-memory kernel: sysctls that are not there, and what others change meanwhile. */

describe('save', () => {
  test.each([
    ['conntrak', "sysctls: this kernel has no 'conntrak': did you mean 'conntrack'?"],
    ['nosuch', "sysctls: this kernel has no 'nosuch': sysctls() lists those that a kernel has"],
    ['svc_lfactor', "sysctls: this kernel has no 'svc_lfactor': sysctls() lists those that a kernel has"],
    ['constructor', "sysctls: this kernel has no 'constructor': sysctls() lists those that a kernel has"],
    ['lblc_expiration', "sysctls: this kernel has no 'lblc_expiration': it belongs to the module ip_vs_lblc"],
  ])('refuses to save a sysctl that is not there: %s', async (name, message) => {
    const { ipvs } = await start()
    const saved = ipvs.save({ sysctls: ['conntrack', name] })
    await expect(saved).rejects.toThrow(message)
    await expect(saved).rejects.toBeInstanceOf(RangeError)
  })

  test('saves once two reads have the same sysctls', async () => {
    const { kernel, ipvs } = await start()
    const other = await Ipvs.open({ transport: kernel })
    kernel.beforeNext('getService', () => {
      kernel.beforeNext('getService', async () => {
        await other.addService({ ...MARK, scheduler: 'lblc' })
        await other.setSysctl('lblc_expiration', 60)
      })
    })
    expect((await ipvs.save({ sysctls: true })).sysctls).toMatchObject({ lblc_expiration: '60' })
  })

  test('saves the sysctls of a scheduler while a service has it, so that any kernel can restore them', async () => {
    const { ipvs } = await start()
    await ipvs.addService({ ...MARK, scheduler: 'lblc' })
    await ipvs.setSysctl('lblc_expiration', 60)
    const saved = await ipvs.save({ sysctls: true })
    expect(saved.sysctls).toMatchObject({ lblc_expiration: '60' })
    await ipvs.deleteService(MARK)
    // The module stays, and what it has.
    expect(await ipvs.sysctl('lblc_expiration')).toBe('60')
    const without = await ipvs.save({ sysctls: true })
    expect(without.sysctls).not.toHaveProperty('lblc_expiration')
    expect(await ipvs.save({ sysctls: ['lblc_expiration'] })).toMatchObject({
      sysctls: { lblc_expiration: '60' },
    })
    for (const state of [saved, without]) {
      const { ipvs: fresh } = await start()
      await fresh.restore(state)
      expect(await fresh.save({ sysctls: true })).toEqual(state)
    }
  })

  test('saves a scope while others keep changing what lies outside', async () => {
    const { kernel, ipvs } = await start()
    const other = await Ipvs.open({ transport: kernel })
    const scope = { addresses: [WEB.address] }
    const saved = await ipvs.save({ scope })
    await other.addService(MARK)
    await other.addRealServer(MARK, server(9))
    let reads = 0
    const change = async (): Promise<void> => {
      reads += 1
      kernel.beforeNext('getService', change)
      await other.editRealServer(MARK, server(9), { weight: reads + 1 })
    }
    kernel.beforeNext('getService', change)
    expect(await ipvs.save({ scope })).toEqual(saved)
    expect(reads).toBe(2)
    await expect(ipvs.save()).rejects.toMatchObject({ code: 'EAGAIN' })
  })

  test('saves what no caller may ask for', async () => {
    const { kernel, ipvs } = await start()
    const scope = { addresses: [WEB.address] }
    const saved = await ipvs.save({ scope })
    // The kernel takes a service with port 0 and no persistence.
    const key = { protocol: 'tcp', address: '10.0.0.2', port: 0 } as const
    const request = encodeService(Command.NEW_SERVICE, key, kernelServiceOf({ scheduler: 'wrr' }, 'ipv4'))
    expect(await kernel.batch([request])).toEqual([{}])
    const all = await ipvs.save({ timeouts: false, syncDaemons: false })
    expect((await ipvs.plan(all)).steps).toEqual([])
    await expect(ipvs.addService(all.services[0] as ServiceSpec)).rejects.toThrow('port 0 takes every port')
    expect(await ipvs.save({ scope })).toEqual(saved)
    expect(await ipvs.apply(saved, { scope })).toMatchObject({ steps: [] })
    expect((await ipvs.plan({ services: [] }, { scope })).deletions).toBe(8)
  })

  test('has the whole id of a sync daemon, of which eight bits travel', async () => {
    const { kernel, ipvs } = await start()
    await ipvs.stopSyncDaemon('master')
    const daemon = { state: 'master', multicastInterface: 'eth0', syncId: 0x1ff } as const
    expect(await kernel.batch([commands.startDaemon(daemon)])).toEqual([{}])
    const saved = await ipvs.save()
    expect(saved.syncDaemons).toMatchObject([daemon])
    expect((await ipvs.plan(saved)).steps).toEqual([])
    await ipvs.stopSyncDaemon('master')
    await ipvs.restore(await formatState(saved))
    expect(await ipvs.save()).toEqual(saved)
  })

  test('has all of a sync daemon, of which a kernel before 4.3 reports half', async () => {
    const ipvs = await Ipvs.open({ transport: createMemoryKernel({ version: '3.16' }) })
    const daemon = { state: 'backup', multicastInterface: 'lo', syncId: 7 } as const
    await ipvs.startSyncDaemon(daemon)
    expect(await ipvs.syncDaemons()).toEqual([daemon])
    const rest = { multicastGroup: '224.0.0.81', multicastPort: 8848, multicastTtl: 1 }
    expect((await ipvs.save()).syncDaemons).toEqual([{ ...daemon, ...rest }])
  })
})
