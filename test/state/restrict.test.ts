import { describe, expect, test } from 'vitest'
import { Ipvs, restrictState, type Scope, type ServiceKey, type State } from '../../lib/index.ts'
import { createMemoryKernel } from '../../lib/testing.ts'

/** The part of a state that lies inside a scope. */

const inside = {
  protocol: 'tcp',
  address: '192.0.2.10',
  port: 80,
  scheduler: 'wlc',
  realServers: [{ address: '10.0.0.7', port: 80, method: 'direct', weight: 1 }],
} as const
const six = { protocol: 'tcp', address: '2001:DB8::1', port: 80, scheduler: 'rr' } as const
const mark = { protocol: 'fwmark', fwmark: 5, family: 'ipv4', scheduler: 'rr' } as const
const outside = { protocol: 'tcp', address: '198.51.100.1', port: 80, scheduler: 'rr' } as const
const WHOLE: State = {
  version: 1,
  services: [outside, inside, six, mark],
  timeouts: { tcpSeconds: 900 },
  syncDaemons: [],
  sysctls: { conntrack: '1' },
}

describe('restrictState', () => {
  test.each<[string, Scope, State['services']]>([
    ['addresses and marks', { addresses: ['192.0.2.0/24'], fwmarks: [5] }, [inside, mark]],
    ['an IPv6 network', { addresses: ['2001:db8::/32'] }, [six]],
    ['a function', ({ protocol }) => protocol === 'fwmark', [mark]],
    ['nothing', {}, []],
  ])('gives the services inside, as they came, for %s', async (_, scope, services) => {
    expect(await restrictState(WHOLE, scope)).toEqual({ services })
  })

  test('gives what save() saves of the same scope', async () => {
    const scope = { addresses: ['192.0.2.10'] }
    const ipvs = await Ipvs.open({ transport: createMemoryKernel() })
    await ipvs.restore({ services: [inside, outside] })
    const { services } = await ipvs.save({ scope })
    expect(await restrictState({ services: [inside, outside] }, scope)).toEqual({ services })
  })

  test('asks a function for each service as it is read back', async () => {
    const asked: ServiceKey[] = []
    await restrictState({ services: [six] }, (key) => {
      asked.push(key)
      return true
    })
    expect(asked).toEqual([{ protocol: 'tcp', address: '2001:db8::1', port: 80 }])
  })

  test.each<[string, unknown, unknown, string]>([
    ['a state that is none', { services: [{}] }, {}, 'services[0]'],
    ['a scope that is none', WHOLE, 'all', "scope must be an object, got 'all'"],
    [
      'an answer that is none',
      WHOLE,
      () => 1,
      'scope must return true or false, got 1 for tcp/198.51.100.1:80',
    ],
  ])('refuses %s', async (_, state, scope, message) => {
    await expect(restrictState(state as State, scope as Scope)).rejects.toThrow(message)
  })
})
