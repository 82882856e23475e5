import { describe, expect, test } from 'vitest'
import { ourField, ourValue } from '../../lib/model/foreign-names.ts'
import { METHODS } from '../../lib/model/ranges.ts'
import { SCHEDULERS } from '../../lib/model/schedulers.ts'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

describe('values of other programs', () => {
  test.each([
    ['method', 'nat', 'masquerade'],
    ['method', '-m', 'masquerade'],
    ['method', 'DR', 'direct'],
    ['method', 'droute', 'direct'],
    ['method', 'tun', 'tunnel'],
    ['method', 'ipip', 'tunnel'],
    ['method', 'LocalNode', 'local'],
    ['method', 'Masquerade', 'masquerade'],
    ['scheduler', 'round-robin', 'rr'],
    ['scheduler', 'Weighted Least-Connection', 'wlc'],
    ['scheduler', 'source_hash', 'sh'],
    ['scheduler', 'WRR', 'wrr'],
    ['protocol', 'TCP', 'tcp'],
    ['protocol', 'https', 'tcp'],
    ['protocol', '-f', 'fwmark'],
  ] as const)('%s %s is %s', (field, given, ours) => {
    expect(ourValue(field, given)).toBe(ours)
  })

  test('are not found for what is ours, nor for what nobody has', () => {
    for (const method of METHODS) expect(ourValue('method', method)).toBeUndefined()
    for (const scheduler of SCHEDULERS) expect(ourValue('scheduler', scheduler)).toBeUndefined()
    for (const given of ['vxlan', '', 5, undefined]) expect(ourValue('method', given)).toBeUndefined()
    // Of a module that Linux does not have.
    expect(ourValue('scheduler', 'my-sched')).toBeUndefined()
  })
})

describe('fields of other programs', () => {
  test.each([
    ['vip', ['address', 'port'], 'address'],
    ['lb_algo', ['scheduler'], 'scheduler'],
    ['lb_kind', ['method', 'weight'], 'method'],
    ['real_servers', ['realServers'], 'realServers'],
    ['backends', ['realServers'], 'realServers'],
    ['persistence_timeout', ['persistence'], 'persistence.timeoutSeconds'],
    ['u-threshold', ['upperThreshold'], 'upperThreshold'],
    // A real server has no scheduler.
    ['lb_algo', ['method', 'weight'], undefined],
  ])('%s among %j is %s', (given, fields, ours) => {
    expect(ourField(given, fields)).toBe(ours)
  })
})

test('a state with a scheduler of another name is refused before anything is done', async () => {
  const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
  const service = { protocol: 'tcp', address: '192.0.2.10', port: 80, scheduler: 'weighted-rr' } as const
  await expect(ipvs.apply({ services: [service] })).rejects.toThrow(
    "scheduler must be the name of a scheduler of the kernel, got 'weighted-rr', which is 'wrr' here",
  )
  expect(await ipvs.services()).toEqual([])
  await ipvs.close()
})
