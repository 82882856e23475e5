import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatState, parseState } from '../../lib/text.ts'
import { makeSchema, SCHEMA_FILE } from '../../scripts/schema.mjs'
import { checkState } from '../../lib/state/table.ts'
import { cases } from '../helpers/depth.ts'
import { chooseSeed } from '../helpers/random.ts'
import { states } from './arbitraries.ts'

/** The published JSON Schema, and the library's own checks: what one refuses, the other refuses. */

const schema = JSON.parse(
  readFileSync(new URL('../../state.schema.json', import.meta.url), 'utf8'),
) as Record<string, unknown>
const ajv = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false, allErrors: true })
const validate = ajv.compile(schema)

async function accepted(state: unknown): Promise<boolean> {
  return checkState(state).then(
    () => true,
    () => false,
  )
}

const tcp = { protocol: 'tcp', address: '192.0.2.1', port: 80 }
const six = { protocol: 'tcp', address: '2001:db8::1', port: 80 }
const mark = { protocol: 'fwmark', fwmark: 1 }
const service = (fields: object): object => ({ services: [{ ...tcp, ...fields }] })
const server = (fields: object): object => service({ realServers: [{ address: '10.0.0.1', ...fields }] })
const daemon = (fields: object): object => ({
  services: [],
  syncDaemons: [{ state: 'master', multicastInterface: 'eth0', ...fields }],
})

describe('the schema and the library', () => {
  test.each<[string, unknown]>([
    ['an empty table', { services: [] }],
    ['a version', { version: 1, services: [] }],
    ['a schema', { $schema: 'https://example.org/state.schema.json', services: [] }],
    ['a service', service({})],
    ['a mark', { services: [mark] }],
    ['a mark with a family', { services: [{ ...mark, family: 'ipv6', fwmark: 4294967295 }] }],
    ['a protocol number', service({ protocol: 50 })],
    ['port 0 with persistence', service({ port: 0, persistence: {} })],
    ['port 0 without persistence', service({ port: 0 })],
    ['the longest persistence', service({ persistence: { timeoutSeconds: 42949672 } })],
    ['flags without a name', service({ schedulerFlags: ['flag-1', 64, 4294967232] })],
    ['the highest thresholds', server({ upperThreshold: 4294967295, lowerThreshold: 4294967295 })],
    ['the highest id of a daemon', daemon({ syncId: 4294967295 })],
    ['flags of sh', service({ scheduler: 'sh', schedulerFlags: ['sh-port', 'flag-3'] })],
    ['flags of mh', service({ scheduler: 'mh', schedulerFlags: ['mh-port'] })],
    ['masks', service({ persistence: { netmask: '255.255.0.0' } })],
    ['a length for IPv4', service({ persistence: { netmask: 0 } })],
    ['a length for IPv6', { services: [{ ...six, persistence: { netmask: 128 } }] }],
    ['a length for an IPv6 mark', { services: [{ ...mark, family: 'ipv6', persistence: { netmask: 128 } }] }],
    ['IPv4 in IPv6', { services: [{ ...six, address: '::ffff:192.0.2.1' }] }],
    ['IPv4 at the end of six groups', { services: [{ ...six, address: '0:0:0:0:0:FFFF:192.0.2.1' }] }],
    ['nothing but two colons', { services: [{ ...six, address: '::' }] }],
    ['seven groups and two colons', { services: [{ ...six, address: '1:2:3:4:5:6:7::' }] }],
    ['thresholds', server({ upperThreshold: 5, lowerThreshold: 5 })],
    ['a lower threshold of 0 alone', server({ lowerThreshold: 0 })],
    ['a tunnel to the other family', server({ address: '2001:db8::1', method: 'tunnel' })],
    [
      'a tunnel to the other family, of a mark',
      { services: [{ ...mark, family: 'ipv6', realServers: [{ address: '10.0.0.1', method: 'tunnel' }] }] },
    ],
    ['a name of seven letters of two bytes', service({ scheduler: 'ü'.repeat(7) })],
    ['a GUE tunnel', server({ method: 'tunnel', tunnel: { type: 'gue', port: 1, checksum: 'remcsum' } })],
    ['a tunnel without a name', server({ tunnel: { type: 255, port: 0, checksum: 65535 } })],
    ['method 5', server({ method: 5 })],
    [
      'everything of a daemon',
      daemon({
        syncId: 255,
        maxLengthBytes: 65507,
        multicastGroup: 'FF05::51',
        multicastPort: 1,
        multicastTtl: 255,
      }),
    ],
    [
      'both daemons',
      {
        services: [],
        syncDaemons: [
          { state: 'backup', multicastInterface: 'eth0' },
          { state: 'master', multicastInterface: 'eth0' },
        ],
      },
    ],
    ['timeouts', { services: [], timeouts: { tcpSeconds: 1, udpSeconds: 21474836 } }],
    ['sysctls', { services: [], sysctls: { conntrack: '1', sync_threshold: '3\t50' } }],
    ['sysctls that are numbers', { services: [], sysctls: { conntrack: 1, conn_lfactor: -4 } }],
    ['timeouts alone', { timeouts: { tcpSeconds: 1 } }],
    ['daemons alone', { version: 1, syncDaemons: [] }],
    ['sysctls alone', { sysctls: {} }],
  ])('both take %s', async (_, state) => {
    expect(validate(state), JSON.stringify(validate.errors)).toBe(true)
    expect(await accepted(state)).toBe(true)
  })

  test.each<[string, unknown]>([
    ['nothing', {}],
    ['nothing but a version', { version: 1 }],
    ['nothing but a schema', { $schema: 'https://example.org/state.schema.json' }],
    ['null', null],
    ['an array', []],
    ['a schema that is no text', { $schema: {}, services: [] }],
    ['another version', { version: 2, services: [] }],
    ['an unknown field', { services: [], name: 'x' }],
    ['services that are no array', { services: {} }],
    ['a service that is none', { services: [1] }],
    ['no protocol', { services: [{ address: '192.0.2.1', port: 80 }] }],
    ['a protocol without a name', service({ protocol: 'icmp' })],
    ['a protocol number', service({ protocol: 65536 })],
    ['no address', { services: [{ protocol: 'tcp', port: 80 }] }],
    ['no port', { services: [{ protocol: 'tcp', address: '192.0.2.1' }] }],
    ['an address', service({ address: '192.0.2.256' })],
    ['an address with a zero', service({ address: '192.0.2.01' })],
    ['a name for an address', service({ address: 'example.org' })],
    ['an address in brackets', service({ address: '[2001:db8::1]' })],
    ['two groups', service({ address: '1:2' })],
    ['nine groups', service({ address: '1:2:3:4:5:6:7:8:9' })],
    ['eight groups and two colons', service({ address: '1:2:3:4::5:6:7:8' })],
    ['two colons twice', service({ address: '1::2::3' })],
    ['three colons', service({ address: ':::' })],
    ['a group of five digits', service({ address: '::12345' })],
    ['six groups and two colons before IPv4', service({ address: '1:2:3:4:5:6::192.0.2.1' })],
    ['IPv4 in the middle', service({ address: '::192.0.2.1:1' })],
    ['half an IPv4 in IPv6', service({ address: '::192.0.2' })],
    ['an IPv4 with a zero in IPv6', service({ address: '::192.0.2.01' })],
    ['a zone', service({ address: 'fe80::1%eth0' })],
    ['a port', service({ port: 65536 })],
    ['half a port', service({ port: 80.5 })],
    ['a port in quotes', service({ port: '80' })],
    ['a mark of 0', { services: [{ ...mark, fwmark: 0 }] }],
    ['a mark of 2^32', { services: [{ ...mark, fwmark: 4294967296 }] }],
    ['no mark', { services: [{ protocol: 'fwmark' }] }],
    ['a family', { services: [{ ...mark, family: 'inet' }] }],
    ['an address for a mark', { services: [{ ...mark, address: '192.0.2.1' }] }],
    ['a mark for an address', service({ fwmark: 1 })],
    ['an unknown field of a service', service({ sheduler: 'rr' })],
    ['an empty scheduler', service({ scheduler: '' })],
    ['a long scheduler', service({ scheduler: '1234567890123456' })],
    ['a NUL in a scheduler', service({ scheduler: 'a\0' })],
    ['an unknown flag', service({ schedulerFlags: ['flag-4'] })],
    ['flags that are none', service({ schedulerFlags: 'flag-1' })],
    ['a flag of another scheduler', service({ scheduler: 'mh', schedulerFlags: ['sh-port'] })],
    ['a flag of sh without it', service({ schedulerFlags: ['sh-port'] })],
    ['onePacket that is neither', service({ onePacket: 1 })],
    ['null for persistence', service({ persistence: null })],
    ['an unknown field of persistence', service({ persistence: { timeout: 1 } })],
    ['persistence below 0', service({ persistence: { timeoutSeconds: -1 } })],
    ['persistence that wraps', service({ persistence: { timeoutSeconds: 42949673 } })],
    ['a flag that has a name', service({ schedulerFlags: [8] })],
    ['more flags than there are bits', service({ schedulerFlags: [4294967296] })],
    ['half a flag', service({ schedulerFlags: [64.5] })],
    ['a mask', service({ persistence: { netmask: '255.255.255' } })],
    ['a length beyond IPv4', service({ persistence: { netmask: 33 } })],
    ['a length of 0 for IPv6', { services: [{ ...six, persistence: { netmask: 0 } }] }],
    [
      'a mask for an IPv6 mark',
      { services: [{ ...mark, family: 'ipv6', persistence: { netmask: '255.0.0.0' } }] },
    ],
    ['a long engine', service({ persistenceEngine: '12345678901234567' })],
    ['servers that are none', service({ realServers: {} })],
    ['null for servers', service({ realServers: null })],
    ['a server without address', service({ realServers: [{ port: 80 }] })],
    ['an unknown field of a server', server({ wieght: 1 })],
    ['a method', server({ method: 'nat' })],
    ['method 4', server({ method: 4 })],
    ['a weight', server({ weight: 2147483648 })],
    ['a weight below 0', server({ weight: -1 })],
    ['a threshold alone', server({ lowerThreshold: 1 })],
    ['a threshold above none', server({ lowerThreshold: 1, upperThreshold: 0 })],
    ['a server of another family', server({ address: '2001:db8::1' })],
    ['a server of another family, masqueraded', server({ address: '2001:db8::1', method: 'masquerade' })],
    [
      'a server of IPv4 below one of IPv6',
      { services: [{ ...six, realServers: [{ address: '10.0.0.1', method: 'masquerade' }] }] },
    ],
    [
      'a server of another family than its mark',
      { services: [{ ...mark, realServers: [{ address: '2001:db8::1' }] }] },
    ],
    ['a tunnel without type', server({ tunnel: {} })],
    ['a tunnel type', server({ tunnel: { type: 'vxlan' } })],
    ['a tunnel type of 256', server({ tunnel: { type: 256 } })],
    ['GUE without port', server({ tunnel: { type: 'gue' } })],
    ['GUE with port 0', server({ tunnel: { type: 'gue', port: 0 } })],
    ['GUE by its number, without port', server({ tunnel: { type: 1 } })],
    ['a checksum', server({ tunnel: { type: 'gre', checksum: 'crc' } })],
    ['an unknown field of a tunnel', server({ tunnel: { type: 'gre', key: 1 } })],
    ['a timeout of 0', { services: [], timeouts: { tcpSeconds: 0 } }],
    ['a timeout that is too long', { services: [], timeouts: { tcpSeconds: 21474837 } }],
    ['an unknown timeout', { services: [], timeouts: { tcp: 1 } }],
    ['a daemon of no state', daemon({ state: 'both' })],
    ['a daemon without interface', { services: [], syncDaemons: [{ state: 'master' }] }],
    ['a long interface', daemon({ multicastInterface: '1234567890123456' })],
    ['a sync id', daemon({ syncId: 4294967296 })],
    ['a threshold', server({ upperThreshold: 4294967296 })],
    ['a length', daemon({ maxLengthBytes: 65508 })],
    ['a group', daemon({ multicastGroup: '10.0.0.1' })],
    ['a group of IPv6', daemon({ multicastGroup: 'fe80::1' })],
    ['half a group of IPv6', daemon({ multicastGroup: 'ff02:' })],
    ['a port of 0', daemon({ multicastPort: 0 })],
    ['a time to live', daemon({ multicastTtl: 256 })],
    ['an unknown field of a daemon', daemon({ interface: 'eth0' })],
    [
      'three daemons',
      { services: [], syncDaemons: Array(3).fill({ state: 'master', multicastInterface: 'a' }) },
    ],
    ...(['master', 'backup'] as const).map((state): [string, unknown] => [
      `a ${state} twice`,
      { services: [], syncDaemons: Array(2).fill({ state, multicastInterface: 'eth0' }) },
    ]),
    ['a sysctl that is true', { services: [], sysctls: { conntrack: true } }],
    ['a sysctl that is half a number', { services: [], sysctls: { conntrack: 0.5 } }],
    ['a sysctl elsewhere', { services: [], sysctls: { '../x': '1' } }],
    ['a sysctl of two lines', { services: [], sysctls: { conntrack: '1\n2' } }],
  ])('both refuse %s', async (_, state) => {
    expect(validate(state)).toBe(false)
    expect(await accepted(state)).toBe(false)
  })

  test('take what formatState() writes, whatever that is', async () => {
    await fc.assert(
      fc.asyncProperty(states(), async (state) => {
        const text = await formatState(state)
        expect(validate(JSON.parse(text)), JSON.stringify(validate.errors)).toBe(true)
        await parseState(text)
      }),
      { seed: chooseSeed('schema'), numRuns: cases(100, 2_000) },
    )
  })

  /** What a schema cannot say. */
  const beyond: readonly RegExp[] = [
    // Of a daemon it can.
    /^services.* appears twice/,
    /must not be above upperThreshold \([1-9]/,
    // It counts letters, where the kernel counts bytes.
    /must have 1 to 1[56] bytes and no NUL, got '.*\P{ASCII}/u,
  ]

  test.each<[string, unknown]>([
    ['a service twice', { services: [six, { ...six, address: '2001:DB8:0::1' }] }],
    [
      'a server twice',
      service({ realServers: [{ address: '10.0.0.1' }, { address: '10.0.0.1', port: 80 }] }),
    ],
    ['thresholds the wrong way round', server({ lowerThreshold: 6, upperThreshold: 5 })],
    ['a name of nine letters of two bytes', service({ scheduler: 'ü'.repeat(9) })],
  ])('the library alone refuses %s', async (_, state) => {
    expect(validate(state), JSON.stringify(validate.errors)).toBe(true)
    const { message } = (await checkState(state).catch((error: unknown) => error)) as Error
    expect(beyond.filter((reason) => reason.test(message))).toHaveLength(1)
  })

  test('agree on what is an address', async () => {
    const group = fc.constantFrom('0', 'a', 'fFfF', '2001', '12345', 'g')
    const tail = fc.constantFrom('', '192.0.2.1', '192.0.2.256', '192.0.2', '01.2.3.4')
    const groups = (minLength: number): fc.Arbitrary<string[]> =>
      fc.array(fc.constantFrom('0', 'a1', 'fFfF'), { minLength, maxLength: 8 })
    const join = (parts: readonly string[]): string => parts.filter((part) => part !== '').join(':')
    const addresses = fc.oneof(
      fc.tuple(groups(6), tail).map(([all, end]) => join([...all, end])),
      fc
        .tuple(groups(0), groups(0), tail)
        .map(([one, other, end]) => `${join(one)}::${join([...other, end])}`),
      fc
        .array(fc.oneof(group, tail, fc.constantFrom(':', '::', ':::')), { maxLength: 18 })
        .map((all) => all.join('')),
    )
    const numRuns = cases(500, 3_000)
    let taken = 0
    await fc.assert(
      fc.asyncProperty(addresses, async (address) => {
        const valid = await accepted(service({ address }))
        taken += Number(valid)
        expect(validate(service({ address })), address).toBe(valid)
        const multicastGroup = `ff02:${address}`
        expect(validate(daemon({ multicastGroup })), multicastGroup).toBe(
          await accepted(daemon({ multicastGroup })),
        )
      }),
      { seed: chooseSeed('addresses'), numRuns },
    )
    expect(taken).toBeGreaterThan(numRuns / 30)
  })

  test('agree on a state of which any one value is another, or gone', async () => {
    const GONE = Symbol('gone')
    const odd: readonly unknown[] = [
      null,
      true,
      -1,
      0,
      1,
      0.5,
      256,
      65536,
      2 ** 32,
      '',
      'x',
      '1',
      'tcp',
      [],
      {},
      '1:2',
      'ff02:',
      '10.0.0.1',
      '2001:db8::1',
      'master',
      'backup',
      'tunnel',
      'masquerade',
      'ipv6',
      'ü'.repeat(9),
      GONE,
      GONE,
      GONE,
    ]
    const numRuns = cases(300, 2_000)
    let compared = 0
    await fc.assert(
      fc.asyncProperty(states(), fc.nat(), fc.constantFrom(...odd), async (state, where, value) => {
        const copy = structuredClone(state) as unknown
        const places: [Record<string, unknown>, string][] = []
        const collect = (part: unknown): void => {
          if (typeof part !== 'object' || part === null) return
          for (const name of Object.keys(part)) {
            places.push([part as Record<string, unknown>, name])
            collect((part as Record<string, unknown>)[name])
          }
        }
        collect(copy)
        const [owner, name] = places[where % places.length] as [Record<string, unknown>, string]
        if (value !== GONE) owner[name] = value
        else if (Array.isArray(owner)) owner.splice(Number(name), 1)
        else Reflect.deleteProperty(owner, name)
        const refusal: unknown = await checkState(copy).catch((error: unknown) => error)
        if (refusal instanceof Error && beyond.some((reason) => reason.test(refusal.message))) return
        compared += 1
        expect(validate(copy), `${name} ${String(value)} ${JSON.stringify(copy)} ${String(refusal)}`).toBe(
          !(refusal instanceof Error),
        )
      }),
      { seed: chooseSeed('schema and checks'), numRuns },
    )
    expect(compared).toBeGreaterThan(numRuns / 2)
  })

  test('the schema is what its script makes now: npm run schema', async () => {
    expect(readFileSync(SCHEMA_FILE, 'utf8')).toBe(await makeSchema())
  })

  test('the schema is in the package, under its name', () => {
    const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      exports: Record<string, unknown>
      files: string[]
    }
    expect(manifest.exports['./state.schema.json']).toBe('./state.schema.json')
    expect(manifest.files).toContain('state.schema.json')
  })
})
