import { expect, test } from 'vitest'
import { IpvsError } from '../../lib/model/errors.ts'
import type { Ipvs } from '../../lib/ipvs.ts'
import { openNative } from '../../lib/transport/native.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import type { RealServerKey, ServiceKey } from '../../lib/model/types.ts'
import { concat } from '../helpers/bytes.ts'
import { COMMANDS } from '../helpers/commands.ts'
import {
  attribute,
  destSettings,
  identity,
  ipv4,
  nest,
  serviceSettings,
  text,
  u16,
  u16be,
  u32,
  u8,
} from '../helpers/kernel-bytes.ts'
import { kernelSince, kernelTests, withNamespace } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'

const TCP: ServiceKey = { protocol: 'tcp', address: '10.0.0.1', port: 80 }
const SERVER: RealServerKey = { address: '10.1.0.1', port: 80 }

/** A request that the library would not make, and the errno that it gets. */
interface RawCase {
  readonly command: number
  readonly attributes: Uint8Array
  readonly errno: number
}

const SERVICE = nest(1, ...identity('10.0.0.1', 80))
const FULL_SERVICE = [...identity('10.0.0.2', 80), ...serviceSettings()]

function service(...extra: readonly Uint8Array[]): Uint8Array {
  return nest(1, ...FULL_SERVICE, ...extra)
}

function dest(...extra: readonly Uint8Array[]): Uint8Array {
  return concat(SERVICE, nest(2, ...destSettings({ address: '10.1.0.2' }), ...extra))
}

function daemon(...members: readonly Uint8Array[]): Uint8Array {
  return nest(3, ...members)
}

const EINVAL = 22
const ERANGE = 34
const EOPNOTSUPP = 95
const EAFNOSUPPORT = 97
const {
  newService,
  setService,
  deleteService,
  newDest,
  setDest,
  deleteDest,
  newDaemon,
  deleteDaemon,
  setConfig,
  zero,
} = COMMANDS

/** All of them meet the rules of withRules(). */
const RAW_CASES: Readonly<Record<string, RawCase>> = {
  'no service at all': { command: newService, attributes: new Uint8Array(0), errno: EINVAL },
  'a service without identity': {
    command: newService,
    attributes: nest(1, ...serviceSettings()),
    errno: EINVAL,
  },
  'a service without port': {
    command: deleteService,
    attributes: nest(1, u16(1, 2), u16(2, 6), ipv4(3, '10.0.0.1')),
    errno: EINVAL,
  },
  'a service of an unknown address family': {
    command: newService,
    attributes: service(u16(1, 3)),
    errno: EAFNOSUPPORT,
  },
  'a service without scheduler': {
    command: newService,
    attributes: nest(1, ...identity('10.0.0.2', 80), u32(7, 0, 0xffffffff), u32(8, 0), u32(9, 0xffffffff)),
    errno: EINVAL,
  },
  'settings missing come before the service that is missing': {
    command: setService,
    attributes: nest(1, ...identity('10.0.0.9', 80)),
    errno: EINVAL,
  },
  'a scheduler name of 16 letters': {
    command: newService,
    attributes: service(text(6, 'x'.repeat(16))),
    errno: EINVAL,
  },
  'a scheduler name without its end': {
    command: newService,
    attributes: service(attribute(6, new TextEncoder().encode('rr'))),
    errno: EINVAL,
  },
  'an engine name of 17 letters': {
    command: newService,
    attributes: service(text(11, 'x'.repeat(17))),
    errno: EINVAL,
  },
  'a prefix length of 129': {
    command: newService,
    attributes: nest(
      1,
      u16(1, 10),
      u16(2, 6),
      attribute(3, new Uint8Array(16)),
      u16be(4, 80),
      ...serviceSettings(),
      u32(9, 129),
    ),
    errno: EINVAL,
  },
  'a prefix length of 0': {
    command: newService,
    attributes: nest(
      1,
      u16(1, 10),
      u16(2, 6),
      attribute(3, new Uint8Array(16)),
      u16be(4, 80),
      ...serviceSettings(),
      u32(9, 0),
    ),
    errno: EINVAL,
  },
  'an address of 17 bytes': {
    command: newService,
    attributes: service(attribute(3, new Uint8Array(17))),
    errno: EINVAL,
  },
  'a service cut short': {
    command: deleteService,
    attributes: attribute(1, new Uint8Array(3)),
    errno: ERANGE,
  },
  'a service with a port cut short': {
    command: deleteService,
    attributes: nest(1, ...identity('10.0.0.1', 80), attribute(4, new Uint8Array(1))),
    errno: EINVAL,
  },
  'a real server missing': { command: newDest, attributes: SERVICE, errno: EINVAL },
  'the missing service comes before the missing real server': {
    command: newDest,
    attributes: nest(1, ...identity('10.0.0.9', 80)),
    errno: 3,
  },
  'a real server without weight': {
    command: newDest,
    attributes: concat(SERVICE, nest(2, ipv4(1, '10.1.0.2'), u16be(2, 80), u32(3, 3), u32(5, 0), u32(6, 0))),
    errno: EINVAL,
  },
  'a real server of an unknown address family': {
    command: newDest,
    attributes: dest(u16(11, 3)),
    errno: EAFNOSUPPORT,
  },
  'a weight of 2^31': { command: newDest, attributes: dest(u32(4, 2 ** 31)), errno: ERANGE },
  'a weight of 2^31 at an edit': {
    command: setDest,
    attributes: concat(SERVICE, nest(2, ...destSettings({ address: '10.1.0.1', weight: 2 ** 31 }))),
    errno: ERANGE,
  },
  'a lower threshold above the upper one': {
    command: newDest,
    attributes: dest(u32(5, 1), u32(6, 2)),
    errno: ERANGE,
  },
  'a GUE tunnel without port': { command: newDest, attributes: dest(u32(3, 2), u8(13, 1)), errno: EINVAL },
  'a GUE tunnel without port, for a method that does not tunnel': {
    command: newDest,
    attributes: dest(u8(13, 1)),
    errno: EINVAL,
  },
  'another family without a tunnel': {
    command: newDest,
    attributes: dest(u16(11, 10), attribute(1, Uint8Array.of(0x20, 1, ...new Array<number>(14).fill(1)))),
    errno: EINVAL,
  },
  'a real server to delete without port': {
    command: deleteDest,
    attributes: concat(SERVICE, nest(2, ipv4(1, '10.1.0.1'))),
    errno: EINVAL,
  },
  'a sync daemon without members': { command: newDaemon, attributes: daemon(), errno: EINVAL },
  'a sync daemon of state 3': {
    command: newDaemon,
    attributes: daemon(u32(1, 3), text(2, 'lo'), u32(3, 0)),
    errno: EINVAL,
  },
  'a sync daemon for a group that is not multicast': {
    command: newDaemon,
    attributes: daemon(u32(1, 1), text(2, 'lo'), u32(3, 0), attribute(5, Uint8Array.of(10, 0, 0, 1))),
    errno: EINVAL,
  },
  'a sync daemon for an IPv6 group that is not multicast': {
    command: newDaemon,
    attributes: daemon(u32(1, 1), text(2, 'lo'), u32(3, 0), attribute(6, new Uint8Array(16).fill(0x20))),
    errno: EINVAL,
  },
  'an interface name of 16 letters': {
    command: newDaemon,
    attributes: daemon(u32(1, 1), text(2, 'x'.repeat(16)), u32(3, 0)),
    errno: EINVAL,
  },
  'a sync daemon of state 0 to stop': { command: deleteDaemon, attributes: daemon(u32(1, 0)), errno: EINVAL },
  'a negative timeout': { command: setConfig, attributes: u32(4, 2 ** 31), errno: EINVAL },
  'a timeout that no HZ can hold': { command: setConfig, attributes: u32(6, 2 ** 31 - 1), errno: EINVAL },
  'a timeout cut short': { command: setConfig, attributes: attribute(4, new Uint8Array(2)), errno: ERANGE },
  'a service to zero without identity': { command: zero, attributes: nest(1), errno: EINVAL },
  'a command that only answers': {
    command: COMMANDS.setInfo,
    attributes: new Uint8Array(0),
    errno: EOPNOTSUPP,
  },
  'a command that there is not': { command: 200, attributes: new Uint8Array(0), errno: EOPNOTSUPP },
  'command 0': { command: 0, attributes: new Uint8Array(0), errno: EOPNOTSUPP },
  'a dump only': { command: COMMANDS.getDest, attributes: SERVICE, errno: EOPNOTSUPP },
}

/** A namespace with the service TCP and its real server SERVER, and a way to it past all validation. */
function withRules(body: (transport: Transport, ipvs: Ipvs) => Promise<void>): Promise<void> {
  return withNamespace(async ({ path, ipvs }) => {
    await ipvs.addService({ ...TCP, scheduler: 'rr' })
    await ipvs.addRealServer(TCP, SERVER)
    const transport = await openNative({ netns: path, timeoutMs: patient(5000) })
    if ('errno' in transport) throw new Error(`errno ${String(transport.errno)}`)
    try {
      await body(transport, ipvs)
    } finally {
      await transport.close()
    }
  })
}

kernelTests('errors that validation prevents', () => {
  test('come as the errno that the kernel has for each, and become an IpvsError', () =>
    withRules(async (transport, ipvs) => {
      const before = JSON.stringify(await ipvs.snapshot())
      const cases = Object.entries(RAW_CASES)
      const replies = await transport.batch(
        cases.map(([, { command, attributes }]) => ({ command, attributes })),
      )
      const errnos = cases.map(([name], index) => [name, replies[index]?.failure?.errno])
      expect(Object.fromEntries(errnos)).toEqual(
        Object.fromEntries(cases.map(([name, { errno }]) => [name, errno])),
      )

      // One at a time they fail alike, and none has changed anything.
      for (const [name, { command, attributes, errno }] of cases) {
        const [reply] = await transport.batch([{ command, attributes }])
        expect(reply?.failure?.errno, name).toBe(errno)
        // The kernel refused: no system call failed.
        expect(reply?.failure?.syscall, name).toBeUndefined()
      }
      expect(JSON.stringify(await ipvs.snapshot())).toBe(before)

      const error = new IpvsError({
        errno: ERANGE,
        command: 'addRealServer',
        service: TCP,
        realServer: SERVER,
      })
      expect(error.message).toMatch(
        /^ERANGE: addRealServer tcp\/10\.0\.0\.1:80 -> 10\.1\.0\.1:80: .*weight of 2\^31/,
      )
      expect(new IpvsError({ errno: EAFNOSUPPORT, command: 'addService' }).message).toMatch(
        /CONFIG_IP_VS_IPV6/,
      )
      expect(new IpvsError({ errno: EOPNOTSUPP, command: 'info' }).message).toMatch(
        /does not have the command/,
      )
    }))

  test("have the kernel's own words where it has some", () =>
    withRules(async (transport) => {
      const [reply] = await transport.batch([
        { command: setConfig, attributes: attribute(4, new Uint8Array(2)) },
      ])
      const { failure } = reply ?? {}
      expect(failure).toEqual({ errno: ERANGE, message: 'Attribute failed policy validation' })
      const error = new IpvsError({
        errno: ERANGE,
        command: 'setTimeouts',
        kernelMessage: failure?.message ?? '',
      })
      expect(error.message).toContain('The kernel says: Attribute failed policy validation.')
    }))

  test('depend on the version for an upper threshold from 2^31 on: 6.1 takes it, 6.12 answers EINVAL', () =>
    withRules(async (transport, ipvs) => {
      const [reply] = await transport.batch([{ command: newDest, attributes: dest(u32(5, 2 ** 31)) }])
      if (kernelSince(6, 12)) {
        expect(reply?.failure?.errno).toBe(EINVAL)
      } else {
        expect(reply).toEqual({})
        expect((await ipvs.realServer(TCP, { address: '10.1.0.2' })).upperThreshold).toBe(2 ** 31)
      }
    }))
})
