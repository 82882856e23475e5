import { describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import { ScriptedTransport } from '../helpers/scripted-transport.ts'

/**
 * What a caller can get wrong: the class of the error, and a message that names
 * the field, the value and what it may be. Nothing of it reaches the kernel.
 */

const TCP = { protocol: 'tcp', address: '192.0.2.1', port: 80 } as const
const TCP6 = { protocol: 'tcp', address: '2001:db8::1', port: 80 } as const
const SERVER = { address: '10.0.0.1', port: 80 } as const

/** A call as JavaScript may make it: no type stands in the way. */
type Untyped = Readonly<
  Record<
    | 'addRealServer'
    | 'addService'
    | 'deleteRealServer'
    | 'deleteService'
    | 'editRealServer'
    | 'editService'
    | 'flush'
    | 'realServers'
    | 'services'
    | 'setTimeouts'
    | 'snapshot'
    | 'startSyncDaemon'
    | 'stopSyncDaemon',
    (...values: unknown[]) => Promise<unknown>
  >
>
type Call = (ipvs: Untyped) => Promise<unknown>

async function untyped(transport: ScriptedTransport): Promise<Untyped> {
  return (await Ipvs.open({ transport })) as unknown as Untyped
}

async function refused(call: Call): Promise<Error> {
  const transport = new ScriptedTransport()
  const ipvs = await untyped(transport)
  const error: unknown = await call(ipvs).then(
    () => {
      throw new Error('it was taken')
    },
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(Error)
  expect(transport.log).toEqual([])
  // What is left behind does not break the next call either.
  await ipvs.flush()
  expect(transport.log).toEqual(['batch 17'])
  return error as Error
}

const inService =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.addService({ ...TCP, [field]: value })
const inPersistence =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.addService({ ...TCP, persistence: { [field]: value } })
const inServer =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.addRealServer(TCP, { ...SERVER, [field]: value })
const inTunnel =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.addRealServer(TCP, { ...SERVER, tunnel: { type: 'gue', port: 1, [field]: value } })
const inTimeouts =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.setTimeouts({ [field]: value })
const inDaemon =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'lo', [field]: value })
const inMark =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.addService({ protocol: 'fwmark', fwmark: 1, [field]: value })
const inOptions =
  (field: string, value: unknown): Call =>
  (ipvs) =>
    ipvs.services({ [field]: value })

describe('whole numbers', () => {
  /** Every field that is a whole number, and its range. */
  const fields: readonly [
    name: string,
    field: string,
    call: (field: string, value: unknown) => Call,
    least: number,
    most: number,
  ][] = [
    ['port of a service', 'port', inService, 0, 65535],
    ['firewall mark', 'fwmark', inMark, 1, 4294967295],
    ['persistence.timeoutSeconds', 'timeoutSeconds', inPersistence, 0, 4294967],
    ['port of a server', 'port', inServer, 0, 65535],
    ['weight', 'weight', inServer, 0, 2147483647],
    ['upperThreshold', 'upperThreshold', inServer, 0, 2147483647],
    ['lowerThreshold', 'lowerThreshold', inServer, 0, 2147483647],
    ['tunnel.port', 'port', inTunnel, 0, 65535],
    ['tcpSeconds', 'tcpSeconds', inTimeouts, 1, 21474836],
    ['tcpFinSeconds', 'tcpFinSeconds', inTimeouts, 1, 21474836],
    ['udpSeconds', 'udpSeconds', inTimeouts, 1, 21474836],
    ['syncId', 'syncId', inDaemon, 0, 255],
    ['maxLengthBytes', 'maxLengthBytes', inDaemon, 1, 65507],
    ['multicastPort', 'multicastPort', inDaemon, 1, 65535],
    ['multicastTtl', 'multicastTtl', inDaemon, 1, 255],
  ]

  describe.each(fields)('%s', (_, field, call, least, most) => {
    test.each([
      ['below', least - 1],
      ['above', most + 1],
      ['far above', 2 ** 53],
      ['a fraction', 1.5],
      ['NaN', NaN],
      ['Infinity', Infinity],
      ['-Infinity', -Infinity],
      ['far below', -(2 ** 31)],
    ])('%s its range is a RangeError', async (_name, value) => {
      const error = await refused(call(field, value))
      expect(error).toBeInstanceOf(RangeError)
      expect(error.message).toContain(field)
      expect(error.message).toContain(`a whole number ${least} to ${most}`)
      expect(error.message).toContain(`got ${String(value)}`)
    })

    test.each([
      ['a numeric text', '80', "'80'"],
      ['an empty text', '', "''"],
      ['true', true, 'true'],
      ['null', null, 'null'],
      ['a bigint', 80n, '80n'],
      ['an array', [80], 'an array'],
      ['an object', { valueOf: () => 80 }, 'an object'],
      ['a function', () => 80, 'a function'],
      ['a symbol', Symbol('80'), 'Symbol(80)'],
      ['a number object', Object(80), 'an object'],
    ])('%s is a TypeError', async (_name, value, shown) => {
      const error = await refused(call(field, value))
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toContain(field)
      expect(error.message).toContain(`a whole number ${least} to ${most}`)
      expect(error.message).toContain(`got ${shown}`)
    })
  })

  test('-0 is 0', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    await ipvs.addRealServer(TCP, { ...SERVER, port: -0, weight: -0 })
    await ipvs.addRealServer(TCP, { ...SERVER, port: 0, weight: 0 })
    expect(transport.sent[0]).toEqual(transport.sent[1])
  })

  test.each(fields)('%s takes both ends of its range', async (_, field, call, least, most) => {
    const ipvs = await untyped(new ScriptedTransport())
    for (const value of [least, most]) {
      if (field === 'lowerThreshold' && value > 0) continue // only under an upperThreshold
      if (call === inTunnel && value === 0) continue // GUE needs one
      if (call === inService && value === 0) continue // needs persistence
      await call(field, value)(ipvs)
    }
  })
})

describe('addresses', () => {
  test.each([
    ['a name', 'localhost', 'names are not looked up'],
    ['brackets', '[2001:db8::1]', 'leave out the brackets'],
    ['brackets and a port', '[2001:db8::1]:80', 'leave out the brackets'],
    ['a port', '192.0.2.1:80', 'the port is a field of its own'],
    ['a zone', 'fe80::1%eth0', 'IPVS does not support zones'],
    ['a network', '192.0.2.0/24', 'give one address, not a network'],
    ['three numbers', '192.0.2', ''],
    ['five numbers', '1.2.3.4.5', ''],
    ['a number above 255', '192.0.2.256', ''],
    ['a leading zero', '192.0.2.01', ''],
    ['one number', '3221225985', ''],
    ['a trailing dot', '192.0.2.1.', ''],
    ['white space', ' 192.0.2.1', ''],
    ['a line feed at its end', '192.0.2.1\n', ''],
    ['a NUL', '192.0.2.1\0', ''],
    ['nothing', '', ''],
    ['two gaps', '1::2::3', ''],
    ['three colons', ':::', ''],
    ['nine groups', '1:2:3:4:5:6:7:8:9', ''],
    ['seven groups', '1:2:3:4:5:6:7', ''],
    ['a gap for nothing', '1:2:3:4::5:6:7:8', ''],
    ['five digits', '12345::1', ''],
    ['a dotted part in the middle', '::1.2.3.4:5', ''],
    ['a dotted part in front of a gap', '1.2.3.4::', ''],
    ['digits of another script', '١٩٢.0.2.1', ''],
    ['undefined', undefined, ''],
    ['null', null, ''],
    ['a number', 3221225985, ''],
    ['an array', ['192.0.2.1'], ''],
    ['an object', {}, ''],
    ['a text object', Object('192.0.2.1'), ''],
  ])('%s: %j', async (_, value, hint) => {
    for (const call of [inService('address', value), inServer('address', value)]) {
      const error = await refused(call)
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toMatch(/^address must be an IPv4 or IPv6 address, got /)
      expect(error.message).toContain(hint)
    }
  })

  test('a text of a megabyte is refused, and not repeated whole', async () => {
    const error = await refused(inService('address', 'x'.repeat(1 << 20)))
    expect(error.message.length).toBeLessThan(300)
    const colons = await refused(inService('address', ':'.repeat(1 << 20)))
    expect(colons.message.length).toBeLessThan(300)
  })
})

describe('names and choices', () => {
  test.each<[string, Call, typeof TypeError, RegExp]>([
    [
      'protocol by another name',
      inService('protocol', 'icmp'),
      TypeError,
      /^protocol must be 'tcp', 'udp', 'sctp', 'fwmark' or an IP protocol number, got 'icmp'$/,
    ],
    ['protocol in capitals', inService('protocol', 'TCP'), TypeError, /got 'TCP'/],
    ['no protocol', inService('protocol', undefined), TypeError, /got undefined/],
    [
      'protocol above 65535',
      inService('protocol', 65536),
      RangeError,
      /^protocol must be a whole number 0 to 65535, got 65536$/,
    ],
    ['protocol of a prototype', inService('protocol', 'constructor'), TypeError, /got 'constructor'/],
    ['family', inMark('family', 'inet'), TypeError, /^family must be one of 'ipv4', 'ipv6', got 'inet'$/],
    ['family null', inMark('family', null), TypeError, /got null/],
    ['scheduler, not a text', inService('scheduler', 5), TypeError, /^scheduler must be a string, got 5$/],
    [
      'scheduler, empty',
      inService('scheduler', ''),
      RangeError,
      /^scheduler must have 1 to 15 bytes and no NUL, got ''$/,
    ],
    ['scheduler, 16 bytes', inService('scheduler', 'a'.repeat(16)), RangeError, /1 to 15 bytes/],
    ['scheduler, 8 letters of 2 bytes', inService('scheduler', 'é'.repeat(8)), RangeError, /1 to 15 bytes/],
    ['scheduler with a NUL', inService('scheduler', 'r\0r'), RangeError, /no NUL/],
    [
      'scheduler undefined',
      inService('scheduler', undefined),
      TypeError,
      /^scheduler is undefined: leave it out, or give it a value$/,
    ],
    [
      'schedulerFlags, a text',
      inService('schedulerFlags', 'flag-1'),
      TypeError,
      /^schedulerFlags must be an array of flag names, got 'flag-1'$/,
    ],
    [
      'schedulerFlags, a number',
      inService('schedulerFlags', [8]),
      TypeError,
      /^schedulerFlags must be one of 'flag-1'.*, got 8$/,
    ],
    [
      'schedulerFlags without a name',
      inService('schedulerFlags', ['flag-1', 64]),
      TypeError,
      /^schedulerFlags must be one of 'flag-1'.*, got 64$/,
    ],
    ['schedulerFlags, a hole', inService('schedulerFlags', Array(1)), TypeError, /got undefined/],
    [
      'schedulerFlags of another scheduler',
      (ipvs) => ipvs.addService({ ...TCP, scheduler: 'sh', schedulerFlags: ['mh-port'] }),
      TypeError,
      /^schedulerFlags: 'mh-port' is not a flag of scheduler 'sh'$/,
    ],
    [
      'schedulerFlags of sh for the default',
      inService('schedulerFlags', ['sh-port']),
      TypeError,
      /scheduler 'wlc'/,
    ],
    ['onePacket', inService('onePacket', 1), TypeError, /^onePacket must be true or false, got 1$/],
    [
      'persistence true',
      inService('persistence', true),
      TypeError,
      /^persistence must be an object, got true$/,
    ],
    ['persistence null', inService('persistence', null), TypeError, /got null/],
    ['persistence an array', inService('persistence', []), TypeError, /got an array/],
    [
      'netmask, no mask',
      inPersistence('netmask', '255.255.255'),
      TypeError,
      /^persistence.netmask must be an IPv4 mask such as '255.255.255.0', or a prefix length 0 to 32, got '255.255.255'$/,
    ],
    ['netmask, IPv6 of an IPv4 service', inPersistence('netmask', 'ffff::'), TypeError, /netmask/],
    [
      'netmask 33',
      inPersistence('netmask', 33),
      RangeError,
      /^persistence.netmask must be a whole number 0 to 32, got 33$/,
    ],
    [
      'netmask of IPv6 as a mask',
      (ipvs) => ipvs.addService({ ...TCP6, persistence: { netmask: '255.255.255.0' } }),
      TypeError,
      /a whole number 1 to 128, got '255/,
    ],
    [
      'netmask of IPv6, 0',
      (ipvs) => ipvs.addService({ ...TCP6, persistence: { netmask: 0 } }),
      RangeError,
      /a whole number 1 to 128, got 0/,
    ],
    [
      'netmask of an IPv6 mark, 129',
      (ipvs) =>
        ipvs.addService({ protocol: 'fwmark', fwmark: 1, family: 'ipv6', persistence: { netmask: 129 } }),
      RangeError,
      /1 to 128/,
    ],
    [
      'persistenceEngine, 17 bytes',
      inService('persistenceEngine', 'a'.repeat(17)),
      RangeError,
      /^persistenceEngine must have 1 to 16 bytes/,
    ],
    ['persistenceEngine null', inService('persistenceEngine', null), TypeError, /got null/],
    ['port 0 without persistence', inService('port', 0), RangeError, /persistence/],
    [
      'method',
      inServer('method', 'nat'),
      TypeError,
      /^method must be one of 'masquerade', 'tunnel', 'direct', 'local', 'bypass', 5, 6, 7, got 'nat', which is 'masquerade' here$/,
    ],
    ['method 8', inServer('method', 8), TypeError, /got 8/],
    ['method as a text of a number', inServer('method', '5'), TypeError, /got '5'/],
    ['weight undefined', inServer('weight', undefined), TypeError, /^weight is undefined/],
    [
      'lowerThreshold alone',
      inServer('lowerThreshold', 1),
      RangeError,
      /^lowerThreshold must not be above upperThreshold \(0\), got 1: give upperThreshold too$/,
    ],
    [
      'lowerThreshold above',
      (ipvs) => ipvs.addRealServer(TCP, { ...SERVER, lowerThreshold: 3, upperThreshold: 2 }),
      RangeError,
      /upperThreshold \(2\), got 3$/,
    ],
    ['tunnel, a text', inServer('tunnel', 'ipip'), TypeError, /^tunnel must be an object, got 'ipip'$/],
    [
      'tunnel without type',
      inServer('tunnel', {}),
      TypeError,
      /^tunnel.type must be one of 'ipip', 'gue', 'gre', or a number 0 to 255, got undefined$/,
    ],
    ['tunnel.type', inTunnel('type', 'vxlan'), TypeError, /got 'vxlan'/],
    [
      'tunnel.type 256',
      inTunnel('type', 256),
      RangeError,
      /^tunnel.type must be a whole number 0 to 255, got 256$/,
    ],
    [
      'tunnel.checksum',
      inTunnel('checksum', true),
      TypeError,
      /^tunnel.checksum must be one of 'none', 'csum', 'remcsum', or a number 0 to 65535, got true$/,
    ],
    ['tunnel.checksum 65536', inTunnel('checksum', 65536), RangeError, /0 to 65535, got 65536/],
    [
      'GUE without a port',
      inServer('tunnel', { type: 'gue' }),
      RangeError,
      /^tunnel.port must be a whole number 1 to 65535 for type 'gue', got undefined$/,
    ],
    ['GUE by its number', inServer('tunnel', { type: 1, port: 0 }), RangeError, /^tunnel.port/],
    [
      'another family without a tunnel',
      (ipvs) => ipvs.addRealServer(TCP, { address: '2001:db8::2', method: 'masquerade' }),
      TypeError,
      /^method must be 'tunnel' for a real server of another family than its virtual service \(2001:db8::2, service ipv4\), got 'masquerade'$/,
    ],
    [
      'another family by default',
      (ipvs) => ipvs.addRealServer(TCP6, { address: '10.0.0.1' }),
      TypeError,
      /got 'direct'/,
    ],
    [
      'state',
      inDaemon('state', 'slave'),
      TypeError,
      /^state must be one of 'master', 'backup', got 'slave'$/,
    ],
    ['state to stop', (ipvs) => ipvs.stopSyncDaemon('both'), TypeError, /got 'both'/],
    ['no state to stop', (ipvs) => ipvs.stopSyncDaemon(), TypeError, /got undefined/],
    [
      'no interface',
      (ipvs) => ipvs.startSyncDaemon({ state: 'master' }),
      TypeError,
      /^multicastInterface must be a string, got undefined$/,
    ],
    [
      'a long interface',
      inDaemon('multicastInterface', 'a'.repeat(16)),
      RangeError,
      /^multicastInterface must have 1 to 15 bytes/,
    ],
    [
      'a group that is no address',
      inDaemon('multicastGroup', 'all'),
      TypeError,
      /^multicastGroup must be an IPv4 or IPv6 address/,
    ],
    [
      'a group below multicast',
      inDaemon('multicastGroup', '223.255.255.255'),
      RangeError,
      /^multicastGroup must be a multicast address, got '223.255.255.255'$/,
    ],
    ['a group above multicast', inDaemon('multicastGroup', '240.0.0.0'), RangeError, /multicast address/],
    [
      'a group of IPv6 that is unicast',
      inDaemon('multicastGroup', 'fe80::1'),
      RangeError,
      /multicast address/,
    ],
    [
      'a group of IPv6 with three digits',
      inDaemon('multicastGroup', 'ff0::1'),
      RangeError,
      /multicast address/,
    ],
    ['no timeouts', (ipvs) => ipvs.setTimeouts(), TypeError, /^timeouts must be an object, got undefined$/],
    ['timeout undefined', inTimeouts('udpSeconds', undefined), TypeError, /^udpSeconds is undefined/],
    ['signal, a text', inOptions('signal', 'x'), TypeError, /^signal must be an AbortSignal, got 'x'$/],
    [
      'signal, a controller',
      inOptions('signal', new AbortController()),
      TypeError,
      /^signal must be an AbortSignal, got an object$/,
    ],
    ['signal null', inOptions('signal', null), TypeError, /^signal must be an AbortSignal, got null$/],
    ['signal of a command', (ipvs) => ipvs.flush({ signal: {} }), TypeError, /^signal/],
    [
      'signal of an edit',
      (ipvs) => ipvs.editRealServer(TCP, SERVER, { weight: 1 }, { signal: 1 }),
      TypeError,
      /^signal/,
    ],
    ['bigint', inOptions('bigint', 1), TypeError, /^bigint must be true or false, got 1$/],
    [
      'stable',
      (ipvs) => ipvs.snapshot({ stable: 'yes' }),
      TypeError,
      /^stable must be true or false, got 'yes'$/,
    ],
  ])('%s', async (_, call, kind, message) => {
    const error = await refused(call)
    expect(error).toBeInstanceOf(kind)
    expect(error.message).toMatch(message)
  })
})

describe('objects', () => {
  test.each<[string, (value: unknown) => Call, string]>([
    ['a service to add', (value) => (ipvs) => ipvs.addService(value), 'a virtual service'],
    ['a service to delete', (value) => (ipvs) => ipvs.deleteService(value), 'a virtual service'],
    [
      'changes of a service',
      (value) => (ipvs) => ipvs.editService(TCP, value),
      'changes of a virtual service',
    ],
    ['a server to add', (value) => (ipvs) => ipvs.addRealServer(TCP, value), 'a real server'],
    ['a server to delete', (value) => (ipvs) => ipvs.deleteRealServer(TCP, value), 'a real server'],
    [
      'changes of a server',
      (value) => (ipvs) => ipvs.editRealServer(TCP, SERVER, value),
      'changes of a real server',
    ],
    ['timeouts', (value) => (ipvs) => ipvs.setTimeouts(value), 'timeouts'],
    ['a sync daemon', (value) => (ipvs) => ipvs.startSyncDaemon(value), 'a sync daemon'],
    ['a server of no service', (value) => (ipvs) => ipvs.realServers(value), 'a virtual service'],
  ])('%s must be one', async (_, call, what) => {
    for (const [value, shown] of [
      [undefined, 'undefined'],
      [null, 'null'],
      ['tcp', "'tcp'"],
      [5, '5'],
      [[], 'an array'],
      [() => undefined, 'a function'],
    ] as const) {
      const error = await refused(call(value))
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toBe(`${what} must be an object, got ${shown}`)
    }
  })

  test.each<[string, Call, string]>([
    [
      'a letter is missing',
      inServer('wight', 5),
      "a real server has no field 'wight': did you mean 'weight'?",
    ],
    ['capitals', inServer('Weight', 5), "a real server has no field 'Weight': did you mean 'weight'?"],
    [
      'two letters changed places',
      inServer('wieght', 5),
      "a real server has no field 'wieght': did you mean 'weight'?",
    ],
    [
      'a unit is missing',
      inPersistence('timeout', 5),
      "persistence has no field 'timeout': did you mean 'timeoutSeconds'?",
    ],
    [
      'an abbreviation',
      inService('sched', 'rr'),
      "a virtual service has no field 'sched': did you mean 'scheduler'?",
    ],
    [
      'the start of a longer name',
      inTimeouts('tcp', 5),
      "timeouts have no field 'tcp': did you mean 'tcpSeconds'?",
    ],
    [
      'the option of a read',
      inOptions('bigInt', true),
      "options have no field 'bigInt': did you mean 'bigint'?",
    ],
    [
      'the option of a snapshot',
      (ipvs) => ipvs.snapshot({ stabel: true }),
      "options have no field 'stabel': did you mean 'stable'?",
    ],
    [
      'a key whose family would be the default',
      (ipvs) => ipvs.deleteService({ protocol: 'fwmark', fwmark: 1, famly: 'ipv6' }),
      "a virtual service has no field 'famly': did you mean 'family'?",
    ],
    [
      'a service without its address',
      (ipvs) => ipvs.deleteService({ protocol: 'tcp', adress: '192.0.2.10', port: 80 }),
      "a virtual service has no field 'adress': did you mean 'address'?",
    ],
    [
      'a service without its protocol',
      (ipvs) => ipvs.deleteService({ protocoll: 'tcp', address: '192.0.2.10', port: 80 }),
      "a virtual service has no field 'protocoll': did you mean 'protocol'?",
    ],
    [
      'a real server without its address',
      (ipvs) => ipvs.deleteRealServer(TCP, { adress: '10.0.0.1' }),
      "a real server has no field 'adress': did you mean 'address'?",
    ],
    [
      'a key whose port would be the default',
      (ipvs) => ipvs.deleteRealServer(TCP, { address: '10.0.0.1', prot: 8080 }),
      "a real server has no field 'prot': did you mean 'port'?",
    ],
    [
      'an edit',
      (ipvs) => ipvs.editRealServer(TCP, SERVER, { weigth: 0 }),
      "changes of a real server have no field 'weigth': did you mean 'weight'?",
    ],
    ['a daemon', inDaemon('syncID', 0), "a sync daemon has no field 'syncID': did you mean 'syncId'?"],
    ['a tunnel', inTunnel('checksums', 'csum'), "tunnel has no field 'checksums': did you mean 'checksum'?"],
  ])('a misspelt field is told what it may mean: %s', async (_, call, message) => {
    const error = await refused(call)
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toBe(message)
  })

  test('a field without any likeness is told all there are', async () => {
    const error = await refused(inTimeouts('icmp', 5))
    expect(error.message).toBe(
      "timeouts have no field 'icmp', only 'tcpSeconds', 'tcpFinSeconds', 'udpSeconds'",
    )
    expect((await refused(inOptions('stable', true))).message).toContain("no field 'stable'")
    expect((await refused(inMark('port', 80))).message).toContain("no field 'port'")
    expect((await refused(inService('fwmark', 80))).message).toContain("no field 'fwmark'")
    expect(
      (await refused((ipvs) => ipvs.editRealServer(TCP, SERVER, { address: '10.0.0.2' }))).message,
    ).toContain("no field 'address'")
  })

  test('__proto__ out of JSON is a field like any other', async () => {
    const spec: unknown = JSON.parse('{"address": "10.0.0.1", "__proto__": {"weight": 5}}')
    expect((await refused((ipvs) => ipvs.addRealServer(TCP, spec))).message).toContain("no field '__proto__'")
    const constructor: unknown = JSON.parse('{"address": "10.0.0.1", "constructor": 1}')
    expect((await refused((ipvs) => ipvs.addRealServer(TCP, constructor))).message).toContain('constructor')
  })

  test('what an object inherits is checked too', async () => {
    expect(await refused((ipvs) => ipvs.setTimeouts(Object.create({ tcpSeconds: -1 })))).toBeInstanceOf(
      RangeError,
    )
    expect(
      await refused((ipvs) => ipvs.addRealServer(TCP, Object.create({ ...SERVER, weight: -1 }))),
    ).toBeInstanceOf(RangeError)
    expect(
      await refused((ipvs) => ipvs.editRealServer(TCP, SERVER, Object.create({ weight: '1' }))),
    ).toBeInstanceOf(TypeError)
  })

  test('an object without a prototype is as good as any', async () => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    await ipvs.addService(Object.assign(Object.create(null), TCP) as typeof TCP)
    expect(transport.log).toEqual(['batch 1'])
  })

  test('what a getter throws reaches the caller', async () => {
    const thrown = new Error('not today')
    const getter = (field: string) => ({
      get [field](): never {
        throw thrown
      },
    })
    expect(await refused((ipvs) => ipvs.addService(getter('protocol')))).toBe(thrown)
    expect(await refused((ipvs) => ipvs.addRealServer(TCP, { ...SERVER, tunnel: getter('type') }))).toBe(
      thrown,
    )
    expect(await refused((ipvs) => ipvs.editService(TCP, getter('scheduler')))).toBe(thrown)
    expect(await refused((ipvs) => ipvs.setTimeouts(getter('udpSeconds')))).toBe(thrown)
    expect(await refused((ipvs) => ipvs.services(getter('signal')))).toBe(thrown)
  })

  test('a getter that throws later, while the request is written, spoils no other request', async () => {
    let reads = 0
    const spec = {
      ...SERVER,
      get weight(): number {
        reads += 1
        if (reads > 2) throw new Error('not any more')
        return 1
      },
    }
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    await ipvs.addRealServer(TCP, spec).catch(() => undefined)
    await ipvs.deleteService(TCP)
    const clean = new ScriptedTransport()
    await (await Ipvs.open({ transport: clean })).deleteService(TCP)
    expect(transport.sent.at(-1)).toEqual(clean.sent[0])
  })

  test('a proxy that throws is no worse', async () => {
    const trap = new Proxy({}, { get: () => { throw new RangeError('trapped') } }) // prettier-ignore
    expect((await refused((ipvs) => ipvs.addService(trap))).message).toBe('trapped')
  })
})

describe('changes', () => {
  test.each<[string, Call, RegExp]>([
    [
      'scheduler undefined',
      (ipvs) => ipvs.editService(TCP, { scheduler: undefined }),
      /^scheduler is undefined/,
    ],
    [
      'persistence undefined',
      (ipvs) => ipvs.editService(TCP, { persistence: undefined }),
      /^persistence is undefined/,
    ],
    [
      'engine undefined',
      (ipvs) => ipvs.editService(TCP, { persistenceEngine: undefined }),
      /^persistenceEngine is undefined/,
    ],
    [
      'weight null',
      (ipvs) => ipvs.editRealServer(TCP, SERVER, { weight: null }),
      /^weight must be a whole number/,
    ],
    [
      'flags of no scheduler',
      (ipvs) => ipvs.editService(TCP, { schedulerFlags: ['rr-port'] }),
      /^schedulerFlags must be one of/,
    ],
    [
      'an IPv6 prefix of an IPv4 service',
      (ipvs) => ipvs.editService(TCP, { persistence: { netmask: 64 } }),
      /0 to 32, got 64/,
    ],
    [
      'no persistence for port 0',
      (ipvs) => ipvs.editService({ ...TCP, port: 0 }, { persistence: null }),
      /port 0/,
    ],
  ])('%s', async (_, call, message) => {
    expect((await refused(call)).message).toMatch(message)
  })
})

describe('Ipvs.open', () => {
  const open = (options: unknown) => Ipvs.open(options as object)

  test.each([
    ['null', null, TypeError, 'options must be an object, got null'],
    ['a text', '/run/netns/x', TypeError, "options must be an object, got '/run/netns/x'"],
    [
      'a misspelt option',
      { timeout: 5 },
      TypeError,
      "options have no field 'timeout': did you mean 'timeoutMs'?",
    ],
    ['timeoutMs 0', { timeoutMs: 0 }, RangeError, 'timeoutMs must be a whole number 1 to 2147483647, got 0'],
    [
      'timeoutMs as a text',
      { timeoutMs: '5' },
      TypeError,
      "timeoutMs must be a whole number 1 to 2147483647, got '5'",
    ],
    ['netns that is no text', { netns: 5 }, TypeError, 'netns must be a name or a path, got 5'],
    [
      'netns that is empty',
      { netns: '' },
      RangeError,
      "netns must be a name under /run/netns or a path, got ''",
    ],
    ['netns ..', { netns: '..' }, RangeError, "netns must be a name under /run/netns or a path, got '..'"],
    [
      'netns with a NUL',
      { netns: 'a\0b' },
      RangeError,
      "netns must be a name under /run/netns or a path, got 'a\\u0000b'",
    ],
    [
      'two ways at once',
      { netns: 'x', transport: new ScriptedTransport() },
      TypeError,
      'netns cannot be used together with transport',
    ],
    ['a transport that is none', { transport: null }, TypeError, 'transport must be an object, got null'],
  ])('refuses %s', async (_, options, kind, message) => {
    const error = await open(options).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(kind)
    expect((error as Error).message).toBe(message)
  })
})

describe('drain', () => {
  test.each<[string, object, RegExp]>([
    ['timeoutMs', { timeoutMs: -1 }, /^timeoutMs must be a whole number 0 to 2147483647, got -1$/],
    ['intervalMs', { intervalMs: 9 }, /^intervalMs must be a whole number 10 to 2147483647, got 9$/],
    ['atTimeout', { atTimeout: 'drop' }, /^atTimeout must be one of 'keep', 'delete', got 'drop'$/],
    ['waitFor', { waitFor: 'none' }, /^waitFor must be one of 'all', 'active', got 'none'$/],
    ['keep', { keep: 1 }, /^keep must be true or false, got 1$/],
    ['force', { force: 'yes' }, /^force must be true or false, got 'yes'$/],
    ['onProgress', { onProgress: 'log' }, /^onProgress must be a function, got 'log'$/],
    ['signal', { signal: {} }, /^signal must be an AbortSignal, got an object$/],
    ['a misspelt option', { timeout: 5 }, /^options have no field 'timeout': did you mean 'timeoutMs'\?$/],
  ])('refuses %s', async (_, options, message) => {
    const transport = new ScriptedTransport()
    const ipvs = await Ipvs.open({ transport })
    const server = await ipvs.addRealServer(TCP, SERVER)
    await expect(server.drain(options)).rejects.toThrow(message)
    expect(transport.log).toEqual(['batch 5'])
  })
})
