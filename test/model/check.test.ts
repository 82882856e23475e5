import { describe, expect, test } from 'vitest'
import { MemoryKernel } from '../../lib/memory/kernel.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { likely, show } from '../../lib/model/check.ts'
import { printable } from '../../lib/model/printable.ts'
import { checkState } from '../../lib/state/table.ts'
import { planStates } from '../../lib/state/plan.ts'
import { formatState, parseState, type State } from '../../lib/text.ts'

/** Misspelt names of fields and options, and values that a message shows. */

/** A name as fingers may write it: without capitals or a letter. */
function misspellings(name: string): string[] {
  const lower = name.toLowerCase()
  const shorter = `${name.slice(0, 2)}${name.slice(3)}`
  return [...(lower === name ? [] : [lower]), shorter]
}

const SERVER = { address: '10.0.0.1' }
const SERVICE = { protocol: 'tcp', address: '192.0.2.1', port: 80, realServers: [] as unknown[] }
const MARK = { protocol: 'fwmark', fwmark: 1 }
const service = (fields: object): unknown => ({ services: [{ ...SERVICE, ...fields }] })
const server = (fields: object): unknown => service({ realServers: [{ ...SERVER, ...fields }] })

/** Each object of a state: how its errors call it, its names, and a state with more fields in one. */
const OBJECTS: Readonly<Record<string, [readonly string[], (fields: object) => unknown]>> = {
  'a state': [
    ['$schema', 'version', 'services', 'timeouts', 'syncDaemons', 'sysctls'],
    (fields) => ({ services: [], ...fields }),
  ],
  'a virtual service': [
    [
      'protocol',
      'address',
      'port',
      'scheduler',
      'schedulerFlags',
      'onePacket',
      'persistence',
      'persistenceEngine',
      'realServers',
    ],
    service,
  ],
  'a virtual service (mark)': [
    ['protocol', 'fwmark', 'family', 'scheduler', 'persistenceEngine', 'realServers'],
    (fields) => ({ services: [{ ...MARK, ...fields }] }),
  ],
  'a real server': [
    ['address', 'port', 'method', 'weight', 'upperThreshold', 'lowerThreshold', 'tunnel'],
    server,
  ],
  persistence: [['timeoutSeconds', 'netmask'], (fields) => service({ persistence: fields })],
  tunnel: [['type', 'port', 'checksum'], (fields) => server({ tunnel: { type: 'ipip', ...fields } })],
  timeouts: [['tcpSeconds', 'tcpFinSeconds', 'udpSeconds'], (fields) => ({ services: [], timeouts: fields })],
  'a sync daemon': [
    [
      'state',
      'multicastInterface',
      'syncId',
      'maxLengthBytes',
      'multicastGroup',
      'multicastPort',
      'multicastTtl',
    ],
    (fields) => ({
      services: [],
      syncDaemons: [{ state: 'master', multicastInterface: 'eth0', ...fields }],
    }),
  ],
}

const messageOf = (error: unknown): string => (error as Error).message

describe.each(Object.entries(OBJECTS))('a field of %s', (what, [names, make]) => {
  const called = what.replace(/ \(.*/, '')

  test.each(names.flatMap((name) => misspellings(name).map((wrong): [string, string] => [wrong, name])))(
    'that is misspelt is told what it may mean: %s for %s',
    async (wrong, name) => {
      const message = await checkState(make({ [wrong]: 1 })).then(() => 'it was taken', messageOf)
      expect(message).toContain(`${called} ${have(called)} no field '${wrong}': did you mean '${name}'?`)
    },
  )

  test('that is unknown is told all there are', async () => {
    const message = await checkState(make({ xyz: 1 })).then(() => 'it was taken', messageOf)
    expect(message).toContain(`${called} ${have(called)} no field 'xyz', only '`)
    const list = message.slice(message.indexOf('only '))
    for (const name of names) expect(list).toContain(`'${name}'`)
  })
})

test('the end of a longer name is told which', async () => {
  const message = await checkState(service({ servers: [] })).then(() => 'it was taken', messageOf)
  expect(message).toBe("services[0]: a virtual service has no field 'servers': did you mean 'realServers'?")
  expect(likely('interface', ['state', 'multicastInterface'])).toBe('multicastInterface')
  expect(likely('PersistenceEngine', ['persistence', 'persistenceEngine'])).toBe('persistenceEngine')
  expect(likely('rs', ['realServers'])).toBeUndefined()
})

type Untyped = Readonly<Record<string, (...values: unknown[]) => unknown>>

/** Each call with options: their names, and the call. */
const CALLS: Readonly<Record<string, [readonly string[], (ipvs: Untyped, options: object) => unknown]>> = {
  'Ipvs.open': [
    ['netns', 'timeoutMs', 'transport'],
    (_, options) => (Ipvs as unknown as Untyped).open?.(options),
  ],
  'Ipvs.probe': [
    ['netns', 'timeoutMs', 'transport'],
    (_, options) => (Ipvs as unknown as Untyped).probe?.(options),
  ],
  parseState: [
    ['format', 'lookupService', 'lookupHost', 'signal'],
    (_, options) => parseState('{}', options),
  ],
  formatState: [['format', 'onLoss', 'signal'], (_, options) => formatState({ services: [] }, options)],
  planStates: [
    ['prune', 'keepWeights', 'scope'],
    (_, options) => planStates({ services: [] }, { services: [] }, options),
  ],
  info: [['signal'], (ipvs, options) => ipvs.info?.(options)],
  timeouts: [['signal'], (ipvs, options) => ipvs.timeouts?.(options)],
  setTimeouts: [['signal'], (ipvs, options) => ipvs.setTimeouts?.({}, options)],
  flush: [['signal'], (ipvs, options) => ipvs.flush?.(options)],
  zero: [['signal'], (ipvs, options) => ipvs.zero?.(MARK, options)],
  services: [['signal', 'bigint'], (ipvs, options) => ipvs.services?.(options)],
  service: [['signal', 'bigint'], (ipvs, options) => ipvs.service?.(MARK, options)],
  addService: [['signal'], (ipvs, options) => ipvs.addService?.(MARK, options)],
  editService: [['signal'], (ipvs, options) => ipvs.editService?.(MARK, {}, options)],
  deleteService: [['signal'], (ipvs, options) => ipvs.deleteService?.(MARK, options)],
  realServers: [['signal', 'bigint'], (ipvs, options) => ipvs.realServers?.(MARK, options)],
  realServer: [['signal', 'bigint'], (ipvs, options) => ipvs.realServer?.(MARK, SERVER, options)],
  addRealServer: [['signal'], (ipvs, options) => ipvs.addRealServer?.(MARK, SERVER, options)],
  editRealServer: [['signal'], (ipvs, options) => ipvs.editRealServer?.(MARK, SERVER, {}, options)],
  deleteRealServer: [['signal'], (ipvs, options) => ipvs.deleteRealServer?.(MARK, SERVER, options)],
  snapshot: [['signal', 'bigint', 'stable'], (ipvs, options) => ipvs.snapshot?.(options)],
  syncDaemons: [['signal'], (ipvs, options) => ipvs.syncDaemons?.(options)],
  startSyncDaemon: [
    ['signal'],
    (ipvs, options) => ipvs.startSyncDaemon?.({ state: 'master', multicastInterface: 'lo' }, options),
  ],
  stopSyncDaemon: [['signal'], (ipvs, options) => ipvs.stopSyncDaemon?.('master', options)],
  sysctls: [['signal'], (ipvs, options) => ipvs.sysctls?.(options)],
  sysctl: [['signal'], (ipvs, options) => ipvs.sysctl?.('conntrack', options)],
  setSysctl: [['signal'], (ipvs, options) => ipvs.setSysctl?.('conntrack', '1', options)],
  totals: [['signal', 'bigint'], (ipvs, options) => ipvs.totals?.(options)],
  save: [['timeouts', 'syncDaemons', 'sysctls', 'scope', 'signal'], (ipvs, options) => ipvs.save?.(options)],
  saveToFile: [
    ['format', 'onLoss', 'keep', 'allowEmpty', 'timeouts', 'syncDaemons', 'sysctls', 'scope', 'signal'],
    (ipvs, options) => ipvs.saveToFile?.('/nowhere/x.json', options),
  ],
  plan: [
    ['prune', 'keepWeights', 'scope', 'signal'],
    (ipvs, options) => ipvs.plan?.({ services: [] }, options),
  ],
  apply: [
    [
      'prune',
      'keepWeights',
      'scope',
      'allow',
      'maxDeletions',
      'force',
      'dryRun',
      'drain',
      'onProgress',
      'signal',
    ],
    (ipvs, options) => ipvs.apply?.({ services: [] }, options),
  ],
  setRealServers: [
    ['prune', 'keepWeights', 'allow', 'maxDeletions', 'force', 'dryRun', 'drain', 'onProgress', 'signal'],
    (ipvs, options) => ipvs.setRealServers?.({ protocol: 'fwmark', fwmark: 5 }, [], options),
  ],
  'apply with a drain': [
    ['timeoutMs', 'waitFor', 'intervalMs'],
    (ipvs, drain) => ipvs.apply?.({ services: [] }, { drain }),
  ],
  restore: [
    ['format', 'lookupService', 'lookupHost', 'prune', 'allow', 'signal'],
    (ipvs, options) => ipvs.restore?.('{}', options),
  ],
  restoreFromFile: [
    ['format', 'lookupService', 'lookupHost', 'prune', 'allow', 'signal'],
    (ipvs, options) => ipvs.restoreFromFile?.('/nowhere/x.json', options),
  ],
  reconcile: [
    ['intervalMs', 'maxIntervalMs', 'onRun', 'onError', 'prune', 'signal'],
    (ipvs, options) => ipvs.reconcile?.({ services: [] }, options),
  ],
  'reconcile from a file': [
    ['file', 'format', 'lookupService', 'lookupHost'],
    (ipvs, options) => ipvs.reconcile?.({ file: 'x', ...options }, { onError: () => undefined }),
  ],
}

describe.each(Object.entries(CALLS))('an option of %s', (_, [names, call]) => {
  const refusal = async (options: object): Promise<string> => {
    const ipvs = await Ipvs.open({ transport: new MemoryKernel() })
    try {
      await call(ipvs as unknown as Untyped, options)
      return 'it was taken'
    } catch (error) {
      return messageOf(error)
    } finally {
      await ipvs.close()
    }
  }

  test.each(names.flatMap((name) => misspellings(name).map((wrong): [string, string] => [wrong, name])))(
    'that is misspelt is told what it may mean: %s for %s',
    async (wrong, name) => {
      expect(await refusal({ [wrong]: 1 })).toContain(` no field '${wrong}': did you mean '${name}'?`)
    },
  )

  test('that is unknown is told all there are', async () => {
    const message = await refusal({ xyz: 1 })
    const list = message.slice(message.indexOf(" no field 'xyz', only '"))
    for (const name of names) expect(list).toContain(`'${name}'`)
  })
})

const have = (called: string): string => (called === 'timeouts' ? 'have' : 'has')

describe('a value in a message', () => {
  test.each<[unknown, string]>([
    ['a\x1b]0;x\x07', "'a\\u001b]0;x\\u0007'"],
    ['a\r\nb\tc\0\x7f\x9b', "'a\\r\\nb\\tc\\u0000\\u007f\\u009b'"],
    ['\u202egnp.exe\u2066\u200b\ufeff', "'\\u202egnp.exe\\u2066\\u200b\\ufeff'"],
    ['a\u2028b\u2029', "'a\\u2028b\\u2029'"],
    ['\ud800 \u{e0041}', "'\\ud800 \\udb40\\udc41'"],
    ['größe 😀 日本', "'größe 😀 日本'"],
    ['x'.repeat(101), `'${'x'.repeat(100)}...'`],
    [Symbol('\x1b'), 'Symbol(\\u001b)'],
  ])('has no control characters: %j', (value, shown) => {
    expect(show(value)).toBe(shown)
  })

  test('of no control characters is as it is', () => {
    expect(printable("it's 'quoted' \\ here")).toBe("it's 'quoted' \\ here")
  })

  test.each<[string, unknown]>([
    ['a value', service({ scheduler: 'a\x1b]0;title of the terminal\x07' })],
    ['a name of a field', service({ 'a\x1b[2J': 1 })],
    ['an address', service({ address: '10.0.0.1\x1b[2J' })],
    ['a flag', service({ schedulerFlags: ['\x1b[2J'] })],
    ['a flag of another scheduler', service({ scheduler: 'x\x1b[2J', schedulerFlags: ['sh-port'] })],
    ['a sysctl', { services: [], sysctls: { conntrack: '\x1b[2J' } }],
    ['a multicast group', { services: [], syncDaemons: [{ state: '\x1b[2J', multicastInterface: 'a' }] }],
    ['a version', { services: [], version: '\x1b[2J' }],
    ['a method', server({ method: '\x1b[2J' })],
  ])('of a state that is refused has none: %s', async (_, state) => {
    const message = await checkState(state as State).then(() => '', messageOf)
    expect(message).toContain('\\u001b')
    expect(message).not.toContain('\x1b')
  })
})
