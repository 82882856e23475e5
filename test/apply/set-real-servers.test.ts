import { describe, expect, test } from 'vitest'
import { BEFORE, DNS, server, start, WEB, writes } from './setup.ts'

/** setRealServers(): the real servers of one service, and nothing else. */

describe('setRealServers', () => {
  test('makes the servers of one service equal to a list, and touches nothing else', async () => {
    const { ipvs, kernel } = await start()
    const before = await ipvs.save()
    const { steps, applied } = await ipvs.setRealServers(WEB, [server(2, { weight: 7 }), server(9)])
    expect(applied).toBe(true)
    expect(steps.map(({ kind }) => kind)).toEqual([
      'add-server',
      'edit-server',
      'delete-server',
      'delete-server',
      'delete-server',
    ])
    expect(writes(kernel)).toHaveLength(5)
    const after = await ipvs.save()
    const without = (state: typeof before): unknown =>
      state.services.map((service) =>
        'address' in service && service.port === 80 ? { ...service, realServers: [] } : service,
      )
    expect(without(after)).toEqual(without(before))
    expect((await ipvs.realServers(WEB)).map(({ address, weight }) => [address, weight])).toEqual([
      ['10.1.0.9', 1],
      ['10.1.0.2', 7],
    ])
    expect((await ipvs.setRealServers(WEB, await ipvs.realServers(WEB))).steps).toEqual([])
  })

  test('is a method of a service that was read, and takes its settings as they are by now', async () => {
    const { ipvs, kernel } = await start()
    const web = await ipvs.service(WEB)
    await ipvs.editService(WEB, { scheduler: 'sh', persistence: { timeoutSeconds: 60 } })
    kernel.clearLog()
    // And as they are when they are read: another program is faster.
    kernel.beforeNext('getService', async () => {
      const { Ipvs } = await import('../../lib/ipvs.ts')
      await (await Ipvs.open({ transport: kernel })).editService(WEB, { scheduler: 'mh' })
    })
    await web.setRealServers([server(1)])
    expect(await web.refresh()).toMatchObject({ scheduler: 'mh', persistence: { timeoutSeconds: 60 } })
    expect(writes(kernel).filter((command) => command === 'editService')).toEqual(['editService'])
    expect(await web.realServers()).toHaveLength(1)
  })

  test('does not add a service that is missing', async () => {
    const { ipvs, kernel } = await start()
    const missing = { ...WEB, port: 8080 }
    await expect(ipvs.setRealServers(missing, [server(1)])).rejects.toMatchObject({
      code: 'ESRCH',
      command: 'setRealServers',
      service: missing,
    })
    expect(writes(kernel)).toEqual([])
  })

  test('does not take the last live server without force', async () => {
    const { ipvs, kernel } = await start()
    for (const list of [[], [server(1, { weight: 0 })]]) {
      await expect(ipvs.setRealServers(WEB, list)).rejects.toMatchObject({ code: 'ERR_IPVS_GUARD' })
    }
    expect(writes(kernel)).toEqual([])
    await ipvs.setRealServers(DNS, [], { force: true })
    expect(await ipvs.realServers(DNS)).toEqual([])
    expect(await ipvs.realServers(WEB)).toHaveLength(4)
  })

  test('drains those that go, keeps weights, and changes nothing in a dry run', async () => {
    const { ipvs, kernel } = await start({ ...BEFORE, syncDaemons: [] })
    const clients = kernel.traffic(WEB, { connections: 8 })
    const seen = new Set<string>()
    const list = [server(2, { weight: 1 })]
    const dry = await ipvs.setRealServers(WEB, list, { dryRun: true, keepWeights: true })
    expect([dry.applied, dry.deletions]).toEqual([false, 3])
    await ipvs.setRealServers(WEB, list, {
      keepWeights: true,
      drain: { intervalMs: 10, waitFor: 'active' },
      onProgress: ({ phase }) => {
        seen.add(phase)
        for (const client of clients) client.close()
      },
    })
    expect(seen).toContain('drain')
    expect((await ipvs.realServers(WEB)).map(({ address, weight }) => [address, weight])).toEqual([
      ['10.1.0.2', 5],
    ])
    expect((await ipvs.setRealServers(WEB, [server(3)], { prune: false })).deletions).toBe(0)
    await expect(ipvs.setRealServers(WEB, [], { maxDeletions: 1, force: false })).rejects.toThrow(
      '2 services and real servers',
    )
  })

  test.each<[unknown, object, string]>([
    [[server(1), server(2, { weight: -1 })], {}, 'realServers[1].weight must be a whole number'],
    [[server(1), server(1)], {}, 'realServers[1]: 10.1.0.1:8080 appears twice'],
    ['10.0.0.1', {}, "realServers must be an array, got '10.0.0.1'"],
    [[{ addres: '10.0.0.1' }], {}, 'realServers[0]'],
    [[], { scope: { fwmarks: [1] } }, "options have no field 'scope'"],
    [[], { drain: true }, 'drain must be an object'],
  ])('refuses %j with %j', async (list, options, message) => {
    const { ipvs, kernel } = await start()
    await expect(ipvs.setRealServers(WEB, list as never, options)).rejects.toThrow(message)
    expect(writes(kernel)).toEqual([])
  })
})
