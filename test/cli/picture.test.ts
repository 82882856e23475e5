import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { COUNTERS, RATES, WEIGHTS } from '../../lib/cli/entries.ts'
import { pictureOfServers, pictureOfTable } from '../../lib/cli/picture.ts'
import { Printer } from '../../lib/cli/terminal/printer.ts'
import { Warned } from '../../lib/cli/warned.ts'
import {
  formatEndpoint,
  formatServiceKey,
  type RealServer,
  type Service,
  type ServiceKey,
  type SnapshotEntry,
} from '../../lib/index.ts'
import { familyOfService } from '../../lib/model/address.ts'
import { cases } from '../helpers/depth.ts'
import { holds } from '../helpers/random.ts'

const MOST_U64 = 2 ** 64 - 1
const MOST_U32 = 2 ** 32 - 1
const MOST_WEIGHT = 2 ** 31 - 1

const LONGEST_IPV6 = '2001:db8:1234:5678:9abc:def0:1234:5678'

const address = fc.oneof(
  fc.constantFrom(LONGEST_IPV6, '2001:db8::1', '255.255.255.255', '10.0.0.7'),
  fc.ipV4(),
  // As the kernel's addresses are formatted: each group whole.
  fc
    .array(fc.integer({ min: 0x1000, max: 0xffff }), { minLength: 8, maxLength: 8 })
    .map((groups) => groups.map((group) => group.toString(16)).join(':')),
)
const port = fc.constantFrom(0, 80, 65535)
const counter = fc.oneof(
  fc.constantFrom(0, 999, 99_999, 100_000, MOST_U64),
  fc.double({ min: 0, max: 64, noNaN: true }).map((bits) => Math.floor(2 ** bits)),
)
const rate = fc.constantFrom(0, 12, 123_456, MOST_U32)

const statistics = fc.record({
  stats: fc.record({
    connections: counter,
    packetsIn: counter,
    packetsOut: counter,
    bytesIn: counter,
    bytesOut: counter,
  }),
  rates: fc.record({
    connectionsPerSecond: rate,
    packetsInPerSecond: rate,
    packetsOutPerSecond: rate,
    bytesInPerSecond: rate,
    bytesOutPerSecond: rate,
  }),
})

const realServer = fc
  .tuple(
    fc.record({
      address,
      port,
      method: fc.constantFrom('masquerade', 'tunnel', 'direct', 4),
      weight: fc.constantFrom(0, 1, MOST_WEIGHT),
      upperThreshold: fc.constantFrom(0, MOST_U32),
      lowerThreshold: fc.constantFrom(0, MOST_U32),
      activeConnections: fc.constantFrom(0, 1234, MOST_U32),
      inactiveConnections: fc.constantFrom(0, 1234, MOST_U32),
      persistentConnections: fc.constantFrom(0, 1234, MOST_U32),
    }),
    fc.option(fc.constant({ type: 'gue', port: 65535, checksum: 'remcsum' } as const), { nil: undefined }),
    statistics,
  )
  .map(
    ([settings, tunnel, numbers]) =>
      ({
        ...settings,
        ...(tunnel !== undefined && { tunnel }),
        ...numbers,
        key: { address: settings.address, port: settings.port },
      }) as unknown as RealServer,
  )

const key: fc.Arbitrary<ServiceKey> = fc.oneof(
  fc.record({ protocol: fc.constantFrom<'tcp' | 'sctp' | 255>('tcp', 'sctp', 255), address, port }),
  fc.record({ protocol: fc.constant('fwmark' as const), fwmark: fc.constantFrom(1, MOST_U32) }),
)

const entry = fc
  .tuple(
    key,
    fc.constantFrom('rr', 'a-scheduler-15b', '\u001B[31m\u2028\u202E', '\u8ca0\u8377\u5206\u6563\u8ca0'),
    fc.boolean(),
    statistics,
    fc.array(realServer, { maxLength: 4 }),
  )
  .map(([key, scheduler, options, numbers, realServers]): SnapshotEntry => {
    const service = {
      key,
      family: familyOfService(key),
      scheduler,
      schedulerFlags: options ? ['sh-fallback', 'sh-port', 4294967224] : [],
      onePacket: options,
      ...(options && { persistence: { timeoutSeconds: MOST_U32, netmask: '255.255.255.0' } }),
      ...(options && { persistenceEngine: 'a-persistence-e' }),
      ...numbers,
    }
    return { service: service as unknown as Service, realServers }
  })

function printer(columns: number, env: Readonly<Record<string, string>>): Printer {
  const output = {
    isTTY: true,
    columns,
    hasColors: (around: object) => !('NO_COLOR' in around),
    write: () => true,
    on: () => undefined,
  }
  return new Printer(output, env)
}

/** Some of them with a warning. */
function warnedOf(table: readonly SnapshotEntry[]): Warned {
  const code = 'port-ignored' as const
  return new Warned(
    table.flatMap(({ service: { key }, realServers }) => [
      { code, service: key, message: `${formatServiceKey(key)}: its options are ignored` },
      ...realServers
        .filter(({ port }) => port === 80)
        .map((server) => ({
          code,
          service: key,
          server: server.key,
          message: `${formatServiceKey(key)} -> ${formatEndpoint(server.key)}: port 80 is ignored with method direct`,
        })),
    ]),
  )
}

/** Columns that a terminal needs for a line. */
function widthOf(line: string): number {
  const plain = line.replaceAll(/\u001B\[\d+m/g, '')
  return plain.length + (plain.match(/[\u2E80-\uA4CF]/g)?.length ?? 0)
}

const environment = fc.constantFrom<Readonly<Record<string, string>>>(
  { LANG: 'C.UTF-8' },
  { LANG: 'C', NO_COLOR: '1' },
)

describe('the picture of a table', () => {
  test('is never wider than the terminal, and has every name whole', () => {
    holds(
      'no line is too wide',
      fc.property(
        fc.array(entry, { maxLength: 4 }),
        fc.constantFrom(WEIGHTS, COUNTERS, RATES),
        fc.oneof(fc.integer({ min: 1, max: 39 }), fc.integer({ min: 40, max: 200 })),
        environment,
        (table, columns, width, env) => {
          const warned = warnedOf(table)
          const pictures = [
            pictureOfTable(table, columns, warned, printer(width, env), {}),
            ...table.map((one) => pictureOfServers(one, columns, warned, printer(width, env), {})),
          ]
          // Narrower than this there is no room for an indent and a number; it still ends, and names are still whole.
          if (width >= 40)
            for (const line of pictures.flat()) expect(widthOf(line.text)).toBeLessThanOrEqual(width)
          const shown = pictures[0]?.map(({ text }) => text.replaceAll(/\u001B\[\d+m|\s/g, '')).join('')
          for (const { service, realServers } of table) {
            expect(shown).toContain(formatServiceKey(service.key))
            for (const server of realServers) expect(shown).toContain(formatEndpoint(server.key))
          }
        },
      ),
    )
  })

  test('has all columns and exact numbers with --wide, whatever the width', () => {
    holds(
      'everything is there',
      fc.property(
        fc.array(entry, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 40, max: 200 }),
        (table, width) => {
          for (const columns of [WEIGHTS, COUNTERS, RATES]) {
            const lines = pictureOfTable(table, columns, new Warned([]), printer(width, { NO_COLOR: '1' }), {
              wide: true,
            })
            const rows = table.flatMap((one) => [
              columns.map((column) => column.service(one)),
              ...one.realServers.map((server) => columns.map((column) => column.server(server))),
            ])
            expect(lines).toHaveLength(rows.length + 2)
            for (const [index, row] of rows.entries()) {
              expect(lines[index + 2]?.text).toMatch(
                new RegExp(row.map((value) => ` ${String(value)}\\b`).join('.*')),
              )
            }
          }
        },
      ),
      cases(30, 300),
    )
  })
})
