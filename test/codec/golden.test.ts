import { describe, expect, test } from 'vitest'
import { MessageReader } from '../../lib/codec/attributes.ts'
import { decodeInfo, decodeTimeouts } from '../../lib/codec/config.ts'
import { decodeDaemon, encodeDaemon } from '../../lib/codec/daemon.ts'
import { decodeDest, encodeDest } from '../../lib/codec/real-server.ts'
import { decodeService, encodeService } from '../../lib/codec/service.ts'
import { bigints, numbers } from '../../lib/codec/stats.ts'
import { completeSettings } from '../../lib/model/server-settings.ts'
import { kernelServiceOf } from '../../lib/model/service-settings.ts'
import * as golden from '../fixtures/messages-6.12-x86_64.ts'
import { attributes, hex } from '../helpers/bytes.ts'
import { byType, membersOf, readerOf } from './helpers.ts'

/** What crossed the socket on a real kernel, read and written by our codec. */

const NO_STATS = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 }
const NO_RATES = {
  connectionsPerSecond: 0,
  packetsInPerSecond: 0,
  packetsOutPerSecond: 0,
  bytesInPerSecond: 0,
  bytesOutPerSecond: 0,
}

/** The attributes of the only message in a reply. */
function inMessage(text: string, command: number) {
  const messages = new MessageReader(hex(text), true)
  expect(messages.next()).toBe(true)
  expect(messages.command).toBe(command)
  return messages.attributes()
}

describe('messages of Linux 6.12', () => {
  test('GET_SERVICE: a persistent TCP service', () => {
    expect(decodeService(inMessage(golden.GET_SERVICE_REPLY, 1), numbers).state).toEqual({
      key: { protocol: 'tcp', address: '10.0.0.1', port: 80 },
      family: 'ipv4',
      scheduler: 'rr',
      schedulerFlags: [],
      onePacket: false,
      persistence: { timeoutSeconds: 300, netmask: '255.255.255.0' },
      stats: NO_STATS,
      rates: NO_RATES,
    })
  })

  test('NEW_SERVICE: the same service, asked for', () => {
    const request = attributes(hex(golden.NEW_SERVICE_REQUEST).subarray(20), 'little')
    const captured = byType(attributes(request[0]!.payload, 'little'))
    const settings = kernelServiceOf(
      { scheduler: 'rr', persistence: { timeoutSeconds: 300, netmask: '255.255.255.0' } },
      'ipv4',
    )
    const ours = byType(
      membersOf('little', 1, (writer) => {
        encodeService(writer, { protocol: 'tcp', address: '10.0.0.1', port: 80 }, settings)
      }),
    )
    // The capture lets every bit count, ours those that can be set.
    expect(ours).toEqual({ ...captured, 7: '010000003d000000' })
  })

  test('NEW_SERVICE: IPv6, UDP, a flag of mh', () => {
    const captured = byType(attributes(hex(golden.NEW_SERVICE_IPV6_MEMBERS), 'little'))
    const settings = kernelServiceOf({ scheduler: 'mh', schedulerFlags: ['mh-port'] }, 'ipv6')
    const ours = byType(
      membersOf('little', 1, (writer) => {
        encodeService(writer, { protocol: 'udp', address: '2001:db8::1', port: 443 }, settings)
      }),
    )
    expect(ours).toEqual({ ...captured, 7: '100000003d000000' })
  })

  test('GET_DEST: a server behind a GUE tunnel', () => {
    expect(decodeDest(inMessage(golden.GET_DEST_REPLY, 5), 'ipv4', numbers)).toEqual({
      address: '192.168.1.2',
      port: 8080,
      family: 'ipv4',
      method: 'tunnel',
      weight: 3,
      upperThreshold: 0,
      lowerThreshold: 0,
      tunnel: { type: 'gue', port: 6080 },
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
      stats: NO_STATS,
      rates: NO_RATES,
    })
  })

  test('GET_DEST: its counters as bigint', () => {
    const { stats, rates } = decodeDest(inMessage(golden.GET_DEST_REPLY, 5), 'ipv4', bigints)
    expect(stats).toEqual({ connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n })
    expect(rates).toEqual(NO_RATES)
  })

  test('NEW_DEST: the same server, asked for', () => {
    const captured = byType(attributes(hex(golden.NEW_DEST_NEST).subarray(4), 'little'))
    const settings = completeSettings({ method: 'tunnel', weight: 3, tunnel: { type: 'gue', port: 6080 } })
    const ours = byType(
      membersOf('little', 2, (writer) => {
        encodeDest(writer, { address: '192.168.1.2', port: 8080 }, settings)
      }),
    )
    // The capture leaves ADDR_FAMILY and TUN_FLAGS to the kernel's defaults.
    expect(ours).toEqual({ ...captured, 11: '0200', 15: '0000' })
  })

  test('GET_DAEMON: a master with the defaults', () => {
    expect(decodeDaemon(readerOf(hex(golden.GET_DAEMON_NEST), 'little'))).toEqual({
      state: 'master',
      multicastInterface: 'lo',
      syncId: 7,
      maxLengthBytes: 1472,
      multicastGroup: '224.0.0.81',
      multicastPort: 8848,
      multicastTtl: 1,
    })
  })

  test('NEW_DAEMON: what GET_DAEMON says, asked for', () => {
    const captured = byType(attributes(hex(golden.GET_DAEMON_NEST).subarray(4), 'little'))
    const ours = byType(
      membersOf('little', 3, (writer) => {
        encodeDaemon(writer, decodeDaemon(readerOf(hex(golden.GET_DAEMON_NEST), 'little')))
      }),
    )
    expect(ours).toEqual(captured)
  })

  test('GET_CONFIG', () => {
    expect(decodeTimeouts(readerOf(hex(golden.GET_CONFIG_BODY).subarray(4), 'little'))).toEqual({
      tcpSeconds: 900,
      tcpFinSeconds: 120,
      udpSeconds: 300,
    })
  })

  test('GET_INFO', () => {
    expect(decodeInfo(readerOf(hex(golden.GET_INFO_BODY).subarray(4), 'little'))).toEqual({
      version: '1.2.1',
      connectionTableSize: 4096,
    })
  })

  test('a dump of two services in one buffer', () => {
    const bytes = hex(golden.GET_SERVICE_REPLY + golden.GET_SERVICE_REPLY)
    const messages = new MessageReader(bytes, true)
    const ports: unknown[] = []
    while (messages.next()) ports.push(decodeService(messages.attributes(), numbers).state.key)
    expect(ports).toEqual(Array(2).fill({ protocol: 'tcp', address: '10.0.0.1', port: 80 }))
  })
})
